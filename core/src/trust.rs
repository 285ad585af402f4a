//! Certificate authorities that a client trusts: the system's or Mozilla's, and
//! private ones.
//!
//! Files may be mounted late, replaced, or unreadable for a moment. So nothing
//! incomplete is remembered, and all of them are read again after a failed
//! verification.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::descriptors;

/// How often all files are read again after failed verifications, in seconds.
const RELOAD_INTERVAL: u64 = 10;

/// The same, if something was missing or invalid when they were last read.
const INCOMPLETE_INTERVAL: u64 = 1;

/// Largest CA file, in bytes: four times the bundle of a whole system.
const MAX_CA_FILE: u64 = 1024 * 1024;

/// The roots of the system's bundle, cached after all of it could be read.
static BUNDLE: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

/// The same for the system's folders.
static FOLDERS: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

/// Whether the folders are used where there is a bundle: since a verification
/// failed. On most systems they contain the same certificates, in hundreds of files.
static USES_FOLDERS: AtomicBool = AtomicBool::new(false);

/// Which certificate authorities a client trusts. Those of
/// [`ca_file`](crate::ClientBuilder::ca_file) and [`ca_pem`](crate::ClientBuilder::ca_pem)
/// are always trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// `system`: those of the system. The default.
    #[default]
    System,
    /// `bundled`: Mozilla's, which are compiled in. For container images without
    /// certificates. A new version of this library is needed to change them.
    Bundled,
    /// `ca_only`: no others than those of `ca_file` and `ca_pem`.
    CaOnly,
}

impl Trust {
    /// All values, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::System, Self::Bundled, Self::CaOnly];

    /// Name, as in `LAYER_TRUST`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Bundled => "bundled",
            Self::CaOnly => "ca_only",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Trust {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|trust| trust.as_str() == name);
        found.ok_or_else(|| {
            let got: String = name.chars().take(40).collect();
            Error::config(
                "trust",
                format!("trust must be system, bundled or ca_only, got {got:?}"),
                "set {trust} to one of these names, in lower case",
            )
        })
    }
}

/// Certificate authorities that a client trusts.
pub(crate) struct TrustStore {
    trust: Trust,
    /// From the setting `ca_pem`.
    given: Vec<CertificateDer<'static>>,
    /// From the setting `ca_file`.
    file: Option<CaFile>,
    /// The newest roots. New connections use them if they are complete.
    current: ArcSwapOption<Roots>,
    /// When the files were last read again, in seconds since 1970.
    reloaded_at: AtomicU64,
    /// Whether something was missing or invalid then.
    reload_failed: AtomicBool,
}

struct CaFile {
    path: PathBuf,
    /// What it contained when it was last valid.
    certificates: ArcSwap<Vec<CertificateDer<'static>>>,
}

/// Whether two clients trust the same: also what their file contained when it was
/// last read, so that a client does not get the roots of one that was made before the
/// file was replaced.
impl PartialEq for TrustStore {
    fn eq(&self, other: &Self) -> bool {
        let file = |trust: &Self| {
            let file = trust.file.as_ref();
            file.map(|file| (file.path.clone(), file.certificates.load_full()))
        };
        self.trust == other.trust && self.given == other.given && file(self) == file(other)
    }
}

impl Eq for TrustStore {}

/// Roots that connections are verified with.
pub(crate) struct Roots {
    pub(crate) store: Arc<RootCertStore>,
    pub(crate) trust: Trust,
    /// Number of roots of the system, or of Mozilla.
    pub(crate) public: usize,
    /// Number of private roots, from settings.
    pub(crate) private: usize,
    /// Whether all of the system's roots could be read, and there are some.
    is_complete: bool,
}

impl Roots {
    /// No roots, for connections without TLS.
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(RootCertStore::empty()),
            trust: Trust::CaOnly,
            public: 0,
            private: 0,
            is_complete: true,
        })
    }

    #[cfg(test)]
    /// Roots of which only the numbers matter.
    pub(crate) fn for_test(trust: Trust, public: usize, private: usize) -> Self {
        let mut store = RootCertStore::empty();
        let anchor = rustls_pki_types::TrustAnchor {
            subject: Vec::new().into(),
            subject_public_key_info: Vec::new().into(),
            name_constraints: None,
        };
        store.roots = vec![anchor; public + private];
        Self {
            store: Arc::new(store),
            trust,
            public,
            private,
            is_complete: true,
        }
    }
}

/// The numbers of roots: "146 trusted certificates of the system and 0 of ca_file".
impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            public, private, ..
        } = self;
        match self.trust {
            Trust::System => write!(
                f,
                "{public} trusted certificates of the system and {private} of ca_file"
            ),
            Trust::Bundled => write!(
                f,
                "{public} trusted certificates of Mozilla, compiled in, and {private} of ca_file"
            ),
            Trust::CaOnly => write!(
                f,
                "{private} trusted certificates of ca_file; trust is ca_only"
            ),
        }
    }
}

impl TrustStore {
    /// Reads `ca_file` and parses `ca_pem`.
    pub(crate) fn new(trust: Trust, ca_file: Option<PathBuf>, ca_pem: &[u8]) -> Result<Self> {
        if trust == Trust::CaOnly && ca_file.is_none() && ca_pem.is_empty() {
            return Err(Error::config(
                "trust",
                "trust is ca_only without a ca_file, so that no server would be trusted",
                "set {ca_file} to a PEM file with the certificate of your authority, or set \
                 {trust} to system",
            ));
        }
        let file = ca_file.map(|path| {
            let certificates = ArcSwap::from_pointee(read_ca_file(&path)?);
            Ok(CaFile { path, certificates })
        });
        Ok(Self {
            trust,
            file: file.transpose()?,
            given: if ca_pem.is_empty() {
                Vec::new()
            } else {
                parse_ca(ca_pem, "ca_file")?
            },
            current: ArcSwapOption::empty(),
            reloaded_at: AtomicU64::new(0),
            reload_failed: AtomicBool::new(false),
        })
    }

    /// Roots for new connections.
    pub(crate) fn roots(&self) -> Arc<Roots> {
        if let Some(roots) = self.current.load_full().filter(|roots| roots.is_complete) {
            return roots;
        }
        let roots = Arc::new(self.read(false));
        self.current.store(Some(Arc::clone(&roots)));
        roots
    }

    /// All roots that a connection can be verified with after a failed verification.
    pub(crate) fn all_roots(&self) -> Arc<Roots> {
        Arc::new(self.read(true))
    }

    /// Reads all files again, unless that was done recently: called after a
    /// verification with `used` failed. Returns whether there are other roots now.
    pub(crate) fn reload(&self, used: &Roots) -> bool {
        let differ = |roots: &Roots| roots.store.roots != used.store.roots;
        if self.current.load().as_deref().is_some_and(differ) {
            return true;
        }
        if !self.may_reload(used) {
            return false;
        }
        let mut failed = false;
        if let Some(file) = self.file.as_ref().filter(|file| can_read_again(&file.path)) {
            match read_ca_file(&file.path) {
                Ok(certificates) => file.certificates.store(Arc::new(certificates)),
                Err(error) => {
                    failed = true;
                    tracing::warn!(
                        target: "layerfi_auth",
                        %error,
                        "cannot read ca_file again; its last valid content is used"
                    );
                }
            }
        }
        let fresh = self.read(true);
        failed |= !fresh.is_complete;
        self.reload_failed.store(failed, Ordering::Relaxed);
        let changed = differ(&fresh);
        if changed {
            self.current.store(Some(Arc::new(fresh)));
        }
        changed
    }

    /// Whether the files may be read again now. Of many threads, one gets `true`.
    fn may_reload(&self, used: &Roots) -> bool {
        let is_complete = used.is_complete && !self.reload_failed.load(Ordering::Relaxed);
        let interval = if is_complete {
            RELOAD_INTERVAL
        } else {
            INCOMPLETE_INTERVAL
        };
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_secs();
        let last = self.reloaded_at.load(Ordering::Relaxed);
        // Also if the clock was set back.
        now.abs_diff(last) >= interval
            && self
                .reloaded_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn read(&self, again: bool) -> Roots {
        let (mut store, is_complete) = match self.trust {
            Trust::System => system_roots(again),
            Trust::Bundled => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
                (Arc::new(roots.collect()), true)
            }
            Trust::CaOnly => (Arc::new(RootCertStore::empty()), true),
        };
        let public = store.len();
        let from_file = self.file.as_ref().map(|file| file.certificates.load_full());
        let private = from_file.iter().flat_map(|list| list.iter());
        let private: Vec<_> = private.chain(&self.given).cloned().collect();
        if !private.is_empty() {
            store = with_private(store, private);
        }
        Roots {
            private: store.len() - public,
            store,
            trust: self.trust,
            public,
            is_complete,
        }
    }
}

/// Public and private roots together, as made last in this process. Making them copies
/// all public ones, which takes as long as a tenth of a handshake.
static COMBINED: ArcSwapOption<Combined> = ArcSwapOption::const_empty();

struct Combined {
    public: Arc<RootCertStore>,
    private: Vec<CertificateDer<'static>>,
    both: Arc<RootCertStore>,
}

fn with_private(
    public: Arc<RootCertStore>,
    private: Vec<CertificateDer<'static>>,
) -> Arc<RootCertStore> {
    if let Some(last) = COMBINED.load_full()
        && Arc::ptr_eq(&last.public, &public)
        && last.private == private
    {
        return Arc::clone(&last.both);
    }
    let mut both = RootCertStore::clone(&public);
    // They were checked when they were read.
    both.add_parsable_certificates(private.iter().cloned());
    let both = Arc::new(both);
    COMBINED.store(Some(Arc::new(Combined {
        public,
        private,
        both: Arc::clone(&both),
    })));
    both
}

/// The system's roots, and whether all could be read and there are some. A system
/// without certificates is not an error, since a private authority may be enough.
///
/// A bundle without errors is enough. The folders are read if there is none, and
/// `again`, after a failed verification.
fn system_roots(again: bool) -> (Arc<RootCertStore>, bool) {
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
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certificates);
    for place in &found.places {
        tracing::debug!(target: "layerfi_auth", ?place, added, ignored, "read the system's certificates");
    }
    for error in &found.errors {
        tracing::warn!(target: "layerfi_auth", %error, "cannot read a certificate of the system");
    }
    let has_all = found.errors.is_empty();
    match known {
        // An empty file may be one that is being written.
        Some(known) if !has_all || roots.is_empty() => (known, false),
        _ => {
            let roots = Arc::new(roots);
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
fn can_read_again(path: impl AsRef<Path>) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Where the system's certificates are.
struct Places {
    file: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

/// What was read.
#[derive(Default)]
struct Found {
    /// Where it was read.
    places: Vec<PathBuf>,
    certificates: Vec<CertificateDer<'static>>,
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
            return Found::default();
        }
        let mut found = Found::default();
        found.add(
            "the system's store".into(),
            rustls_native_certs::load_native_certs(),
        );
        found
    }

    fn folders(&self) -> Found {
        let mut found = Found::default();
        for folder in &self.folders {
            let read = rustls_native_certs::load_certs_from_paths(None, Some(folder));
            found.add(folder.clone(), read);
        }
        found
    }
}

impl Found {
    fn add(&mut self, place: PathBuf, read: rustls_native_certs::CertificateResult) {
        self.places.push(place);
        self.certificates.extend(read.certs);
        let errors = read.errors.iter().map(ToString::to_string);
        self.errors.extend(errors);
    }
}

/// Reads the bundle of a system, which has some 150 certificates.
fn read_bundle(path: &Path) -> Found {
    let mut found = Found {
        places: vec![path.to_owned()],
        ..Found::default()
    };
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) => {
            found.errors.push(format!("{path:?}: {error}"));
            return found;
        }
    };
    if let Some(certificates) = std::str::from_utf8(&pem).ok().and_then(strict_pem) {
        found.certificates = certificates;
        return found;
    }
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        match certificate {
            Ok(certificate) => found.certificates.push(certificate),
            Err(error) => found
                .errors
                .push(format!("{path:?}: {}", malformed(&error))),
        }
    }
    found
}

/// Certificates of PEM text in the form of RFC 7468, in which all bundles are: lines of
/// 64 characters. `None` for any other text, which only rustls-pki-types reads. Its
/// decoder takes four times as long, more than the rest of a process's first token.
pub(crate) fn strict_pem(mut text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    let mut base64 = Vec::new();
    loop {
        // Lines between certificates are comments.
        while !text.starts_with('-') {
            let (comment, rest) = text.split_once('\n').unwrap_or((text, ""));
            if comment.contains('\r') {
                return None;
            }
            if rest.is_empty() {
                return Some(certificates);
            }
            text = rest;
        }
        text = text.strip_prefix("-----BEGIN CERTIFICATE-----\n")?;
        let (lines, rest) = text.split_at(text.find('-')?);
        text = rest.strip_prefix("-----END CERTIFICATE-----")?;
        text = if text.is_empty() {
            text
        } else {
            text.strip_prefix('\n')?
        };
        base64.clear();
        for line in lines.as_bytes().chunks(65) {
            base64.extend_from_slice(line.strip_suffix(b"\n")?);
        }
        let der = BASE64_STANDARD.decode(&base64).ok()?;
        certificates.push(der.into());
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |why: String| {
        Error::config(
            "ca_file",
            format!("ca_file {path:?} {why}"),
            "check the path in {ca_file}, and the permissions of the file",
        )
    };
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| {
            // Space for all of it, so that it is read at once.
            let length = file.metadata().map_or(0, |file| file.len());
            pem.reserve_exact(length.min(MAX_CA_FILE) as usize + 1);
            file.take(MAX_CA_FILE + 1).read_to_end(&mut pem)
        })
        .map_err(|error| {
            if descriptors::is_at_limit(&error) {
                // The file may be right.
                return Error::new(
                    ErrorKind::Transport,
                    format!("ca_file {path:?} cannot be read ({error})"),
                    "raise the process's limit on file descriptors, or retry later",
                );
            }
            failed(format!("cannot be read ({error})"))
        })?;
    if pem.len() as u64 > MAX_CA_FILE {
        return Err(failed("is larger than 1 MiB".to_owned()));
    }
    parse_ca(&pem, &format!("ca_file {path:?}"))
}

/// Parses PEM text of one or more certificates and checks that each can be a root.
/// `place` is where it comes from.
pub(crate) fn parse_ca(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |why: &str| {
        Error::config(
            "ca_file",
            format!("{place} is not valid: {why}"),
            "set {ca_file} to a PEM file with one or more certificates",
        )
    };
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(malformed(&error)))?;
    if certificates.is_empty() {
        return Err(bad("it has no certificate"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| bad(&error.to_string()))?;
    }
    Ok(certificates)
}

/// Describes what is wrong with PEM text. The error's own text would quote it,
/// and a file that was named by mistake may contain anything.
fn malformed(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of the PEM text has no end",
        pem::Error::IllegalSectionStart { .. } => {
            "a section of the PEM text has an invalid first line"
        }
        pem::Error::Base64Decode(_) => "the PEM text is not valid base64",
        _ => "it is not PEM text",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn b25_carriage_returns_in_a_bundle_are_left_to_the_library() {
        for pem in [
            "# comment\r-----BEGIN CERTIFICATE-----\n",
            "# comment\r",
            "# comment\r\n# another\n",
        ] {
            assert_eq!(strict_pem(pem), None, "{pem:?}");
        }
    }

    fn read_by_library(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<_, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        certificates.ok()
    }

    fn armored(der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    }

    proptest! {
        #[test]
        fn b25_bundle_of_usual_form_is_read_as_the_library_reads_it(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..4),
            comment in "[a-zA-Z #\\n]*",
        ) {
            let mut pem = String::new();
            for der in &contents {
                pem.push_str(&format!("{comment}\n{}", armored(der)));
            }
            pem.push_str(&comment);
            let read = strict_pem(&pem);
            prop_assert_eq!(&read, &read_by_library(&pem));
            let expected: Vec<_> = contents.into_iter().map(CertificateDer::from).collect();
            prop_assert_eq!(read, Some(expected));
        }

        #[test]
        fn b25_bundle_of_another_form_is_left_to_the_library(
            der in prop::collection::vec(any::<u8>(), 1..300),
            at in any::<prop::sample::Index>(),
            new in prop::sample::select(vec![
                "", "\n", "\r", "\r\n", " ", "-", "-----", "=", "==", "A", "é", "-----BEGIN ",
                "-----END CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\n",
            ]),
            removed in 0..3_usize,
        ) {
            let mut pem = armored(&der);
            pem.push_str(&armored(b"another"));
            let at = at.index(pem.len());
            pem.replace_range(at..(at + removed).min(pem.len()), new);
            if let Some(read) = strict_pem(&pem) {
                prop_assert_eq!(Some(read), read_by_library(&pem), "{}", pem);
            }
        }
    }

    #[test]
    fn b25_mozillas_roots_are_all_there() {
        let store = TrustStore::new(Trust::Bundled, None, b"").unwrap();
        let roots = store.roots();
        assert_eq!(roots.public, webpki_roots::TLS_SERVER_ROOTS.len());
        assert_eq!((roots.store.len(), roots.private), (roots.public, 0));
    }

    #[test]
    fn b22_invalid_ca_is_refused_without_quoting_it() {
        for pem in [
            &b""[..],
            b"hello",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            b"-----BEGIN canary",
            b"-----BEGIN canary-----\n",
        ] {
            let error = parse_ca(pem, "ca_file").unwrap_err();
            assert_eq!(error.field(), Some("ca_file"));
            // Neither as text nor as a list of byte values.
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("canary") && !shown.contains("99, 97"),
                "{shown}"
            );
        }
    }
}
