//! The certificate authorities of the system: where its files are, and what is in them.

use std::collections::HashSet;
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

/// The system's roots, and whether all could be read and there are some. A system
/// without certificates is not an error, since a private authority may be enough.
///
/// If the bundle was read without errors, the folders are not read. They are read without
/// such a bundle, and with `again`, after a failed verification.
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
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) => {
            found.errors.push(format!("{path:?}: {error}"));
            return found;
        }
    };
    // Each becomes a root at once: all of them together would be 150 kB, which stay in the
    // memory of the process.
    let text = std::str::from_utf8(&pem).ok();
    if text
        .and_then(|text| strict_pem(text, |certificate| found.add(certificate)))
        .is_some()
    {
        return found;
    }
    let mut found = empty();
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
