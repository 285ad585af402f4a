//! The certificate authorities of the system: where its files are, and what is in them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::pem::{malformed, strict_pem};
use crate::sys::events::debug;

/// The roots of the system's bundle, cached after all of it could be read.
static BUNDLE: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

/// The same for the system's folders.
static FOLDERS: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

/// Whether the folders are used where there is a bundle: since a verification
/// failed. On most systems they contain the same certificates, in hundreds of files.
static USES_FOLDERS: AtomicBool = AtomicBool::new(false);

/// How much of a bundle is read at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// The longest text without a certificate in a bundle that is read in pieces.
const MAX_COMMENT: usize = 256 * 1024;

/// The system's roots, and whether all could be read and there are some. A system
/// without certificates is not an error, since a private authority may be enough.
///
/// A bundle without errors is enough. The folders are read if there is none, and
/// `again`, after a failed verification.
pub(super) fn system_roots(again: bool) -> (Arc<RootCertStore>, bool) {
    if again {
        USES_FOLDERS.store(true, Ordering::Relaxed);
    }
    let uses_folders = USES_FOLDERS.load(Ordering::Relaxed);
    if !uses_folders && let Some(bundle) = BUNDLE.load_full() {
        return (bundle, true);
    }
    let places = Places::find();
    let (bundle, has_all) = cached(&BUNDLE, again && places.can_read_again(), || {
        places.bundle()
    });
    if has_all && !bundle.is_empty() && !uses_folders {
        return (bundle, true);
    }
    let (folders, has_all_of_folders) = cached(&FOLDERS, again, || places.folders());
    let roots = union(bundle, &folders);
    let is_complete = has_all && has_all_of_folders && !roots.is_empty();
    (roots, is_complete)
}

/// The roots of one source, and whether all of them could be read. Reads them if they
/// are not cached, or `again`. What was complete before is better than a part.
fn cached(
    cache: &ArcSwapOption<RootCertStore>,
    again: bool,
    read: impl FnOnce() -> Found,
) -> (Arc<RootCertStore>, bool) {
    let known = cache.load_full();
    if let Some(roots) = known.as_ref().filter(|_| !again) {
        return (Arc::clone(roots), true);
    }
    let found = read();
    let (added, ignored) = (found.roots.len(), found.ignored);
    for place in &found.places {
        let place = tracing::field::debug(place);
        debug!(
            [place = place, added = added, ignored = ignored],
            "read the system's certificates"
        );
    }
    for error in &found.errors {
        tracing::warn!(target: "layerfi_auth", %error, "cannot read a certificate of the system");
    }
    let has_all = found.errors.is_empty();
    match known {
        // An empty file may be one that is being written.
        Some(known) if !has_all || found.roots.is_empty() => (known, false),
        _ => {
            let roots = Arc::new(found.roots);
            if has_all && !roots.is_empty() {
                cache.store(Some(Arc::clone(&roots)));
            }
            (roots, has_all)
        }
    }
}

/// Both, without those that are in both. The same roots if the folders add none.
fn union(bundle: Arc<RootCertStore>, folders: &Arc<RootCertStore>) -> Arc<RootCertStore> {
    if bundle.is_empty() {
        return Arc::clone(folders);
    }
    let mut known: HashSet<_> = bundle.roots.iter().collect();
    let more: Vec<_> = folders
        .roots
        .iter()
        .filter(|root| known.insert(root))
        .collect();
    if more.is_empty() {
        return bundle;
    }
    let all = bundle.roots.iter().chain(more).cloned();
    Arc::new(all.collect())
}

/// Whether a file can be read a second time. A pipe, such as `<(vault …)`, is empty
/// then, and opening it would block the engine's thread.
pub(super) fn can_read_again(path: impl AsRef<Path>) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Where the system's certificates are.
struct Places {
    file: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

/// What was read.
struct Found {
    /// Where it was read.
    places: Vec<PathBuf>,
    roots: RootCertStore,
    /// Certificates that cannot be roots.
    ignored: usize,
    errors: Vec<String>,
}

impl Places {
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`, or else those of the distribution. An empty
    /// variable counts as unset.
    fn find() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let folders = variable("SSL_CERT_DIR");
        let folders = folders.iter().flat_map(std::env::split_paths);
        let places = Self {
            file: variable("SSL_CERT_FILE").map(PathBuf::from),
            folders: folders
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
        };
        #[cfg(all(unix, not(target_os = "macos")))]
        if places.are_none() {
            let found = openssl_probe::probe();
            return Self {
                file: found.cert_file,
                folders: found.cert_dir,
            };
        }
        places
    }

    fn are_none(&self) -> bool {
        self.file.is_none() && self.folders.is_empty()
    }

    fn can_read_again(&self) -> bool {
        self.file.as_ref().is_none_or(can_read_again)
    }

    /// Reads the file. macOS and Windows have a store of their own.
    fn bundle(&self) -> Found {
        if let Some(file) = &self.file {
            return read_bundle(file);
        }
        if cfg!(all(unix, not(target_os = "macos"))) || !self.are_none() {
            return Found::new();
        }
        let mut found = Found::new();
        found.add_all(
            "the system's store".into(),
            rustls_native_certs::load_native_certs(),
        );
        found
    }

    fn folders(&self) -> Found {
        let mut found = Found::new();
        for folder in &self.folders {
            let read = rustls_native_certs::load_certs_from_paths(None, Some(folder));
            found.add_all(folder.clone(), read);
        }
        found
    }
}

impl Found {
    fn new() -> Self {
        Self {
            places: Vec::new(),
            roots: RootCertStore::empty(),
            ignored: 0,
            errors: Vec::new(),
        }
    }

    /// Keeps of a certificate what a root needs: name and key.
    fn add(&mut self, certificate: CertificateDer<'_>) {
        if self.roots.add(certificate).is_err() {
            self.ignored += 1;
        }
    }

    fn add_all(&mut self, place: PathBuf, read: rustls_native_certs::CertificateResult) {
        self.places.push(place);
        for certificate in read.certs {
            self.add(certificate);
        }
        let errors = read.errors.iter().map(ToString::to_string);
        self.errors.extend(errors);
    }
}

/// Reads the bundle of a system, which has some 150 certificates.
fn read_bundle(path: &Path) -> Found {
    let empty = || Found {
        places: vec![path.to_owned()],
        ..Found::new()
    };
    let mut found = empty();
    if can_read_again(path) {
        let pieces = File::open(path)
            .and_then(|file| read_pieces(file, |certificate| found.add(certificate)));
        if let Ok(Some(())) = pieces {
            return found;
        }
        found = empty();
    }
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) => {
            found.errors.push(format!("{path:?}: {error}"));
            return found;
        }
    };
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        match certificate {
            Ok(certificate) => found.add(certificate),
            Err(error) => found
                .errors
                .push(format!("{path:?}: {}", malformed(&error))),
        }
    }
    found
}

/// Passes on each certificate of a file as [`strict_pem`] does. Each becomes a root before
/// the next is read: the text and the certificates of a bundle are 400 kB, which would stay
/// in the memory of the process.
fn read_pieces(
    mut file: impl Read,
    mut found: impl FnMut(CertificateDer<'static>),
) -> io::Result<Option<()>> {
    const END: &[u8] = b"\n-----END CERTIFICATE-----\n";
    let mut text = Vec::with_capacity(2 * PIECE);
    loop {
        let limit = u64::try_from(PIECE).unwrap_or(u64::MAX);
        let is_last = file.by_ref().take(limit).read_to_end(&mut text)? == 0;
        // Up to the end of the last certificate that is there as a whole.
        let end = match text.windows(END.len()).rposition(|part| part == END) {
            _ if is_last => text.len(),
            Some(start) => start + END.len(),
            None if text.len() > MAX_COMMENT => return Ok(None),
            None => continue,
        };
        let piece = text.get(..end).and_then(|piece| str::from_utf8(piece).ok());
        if piece
            .and_then(|piece| strict_pem(piece, &mut found))
            .is_none()
        {
            return Ok(None);
        }
        if is_last {
            return Ok(Some(()));
        }
        text.drain(..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b25_a_bundle_is_read_in_pieces_as_it_is_read_in_one() {
        let pem: String = (0..300)
            .map(|number| {
                let base64 = "MIIB".repeat(16) + "\n";
                let lines = base64.repeat(number % 20 + 1);
                let comment = "# \u{e9}\u{20ac}\n".repeat(number % 7);
                format!("{comment}-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
            })
            .collect();
        assert!(pem.len() > 10 * PIECE);
        let mut whole = Vec::new();
        assert!(strict_pem(&pem, |certificate| whole.push(certificate)).is_some());
        assert_eq!(whole.len(), 300);
        let without_line_end = pem.trim_end().to_owned();
        for pem in [&pem, &without_line_end, &format!("{pem}# a comment\n")] {
            let mut read = Vec::new();
            let pieces = read_pieces(pem.as_bytes(), |certificate| read.push(certificate));
            assert!(pieces.unwrap().is_some());
            assert!(read == whole, "{} of 300 certificates", read.len());
        }
        // The library reads what is in another form.
        let other = pem.replace('\n', "\r\n");
        let long_comment = "#".repeat(MAX_COMMENT + PIECE);
        for pem in [
            &other,
            &long_comment,
            &format!("{pem}-----BEGIN"),
            &pem.replacen("MI", "M*", 1),
        ] {
            let pieces = read_pieces(pem.as_bytes(), |_| {});
            assert!(pieces.unwrap().is_none());
        }
    }
}
