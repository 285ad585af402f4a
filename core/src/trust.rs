//! Certificate authorities that a client trusts: the system's, and private ones.
//!
//! Files may be mounted late, replaced, or unreadable for a moment. So nothing
//! incomplete is remembered, and all of them are read again after a failed
//! verification.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::RootCertStore;
use rustls_native_certs::CertificateResult;
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

/// The system's roots, cached after all of them could be read. Reading them
/// takes some milliseconds, thirty times as long as a handshake.
static SYSTEM: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();

/// Certificate authorities that a client trusts.
pub(crate) struct Trust {
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
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        let file = |trust: &Self| {
            let file = trust.file.as_ref();
            file.map(|file| (file.path.clone(), file.certificates.load_full()))
        };
        self.given == other.given && file(self) == file(other)
    }
}

impl Eq for Trust {}

/// Roots that connections are verified with.
pub(crate) struct Roots {
    pub(crate) store: Arc<RootCertStore>,
    /// Number of roots of the system.
    pub(crate) system: usize,
    /// Number of private roots, from settings.
    pub(crate) private: usize,
    /// Whether all of the system's roots could be read, and there are some.
    is_complete: bool,
}

#[cfg(test)]
impl Roots {
    /// Roots of which only the numbers matter.
    pub(crate) fn for_test(system: usize, private: usize) -> Self {
        let mut store = RootCertStore::empty();
        let anchor = rustls_pki_types::TrustAnchor {
            subject: Vec::new().into(),
            subject_public_key_info: Vec::new().into(),
            name_constraints: None,
        };
        store.roots = vec![anchor; system + private];
        Self {
            store: Arc::new(store),
            system,
            private,
            is_complete: true,
        }
    }
}

impl Trust {
    /// Reads `ca_file` and parses `ca_pem`.
    pub(crate) fn new(ca_file: Option<PathBuf>, ca_pem: &[u8]) -> Result<Self> {
        let file = ca_file.map(|path| {
            let certificates = ArcSwap::from_pointee(read_ca_file(&path)?);
            Ok(CaFile { path, certificates })
        });
        Ok(Self {
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
        let (mut store, is_complete) = system_roots(again);
        let system = store.len();
        let from_file = self.file.as_ref().map(|file| file.certificates.load_full());
        let private = from_file.iter().flat_map(|list| list.iter());
        let private: Vec<_> = private.chain(&self.given).collect();
        if !private.is_empty() {
            let store = Arc::make_mut(&mut store);
            // They were checked when they were read.
            store.add_parsable_certificates(private.into_iter().cloned());
        }
        Roots {
            private: store.len() - system,
            store,
            system,
            is_complete,
        }
    }
}

/// The system's roots, and whether all could be read and there are some. A system
/// without certificates is not an error, since a private authority may be enough.
fn system_roots(again: bool) -> (Arc<RootCertStore>, bool) {
    let cached = SYSTEM.load_full();
    let again = again && std::env::var_os("SSL_CERT_FILE").is_none_or(can_read_again);
    if let Some(roots) = cached.as_ref().filter(|_| !again) {
        return (Arc::clone(roots), true);
    }
    let mut roots = RootCertStore::empty();
    let found = load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(target: "layerfi_auth", added, ignored, "read the system's certificates");
    for error in &found.errors {
        tracing::warn!(target: "layerfi_auth", %error, "cannot read a certificate of the system");
    }
    if added == 0 || !found.errors.is_empty() {
        // What was complete before is better than a part.
        return cached.map_or_else(|| (Arc::new(roots), false), |cached| (cached, true));
    }
    let roots = Arc::new(roots);
    SYSTEM.store(Some(Arc::clone(&roots)));
    (roots, true)
}

/// Whether a file can be read a second time. A pipe, such as `<(vault …)`, is empty
/// then, and opening it would block the engine's thread.
fn can_read_again(path: impl AsRef<Path>) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Reads the certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or else of the
/// system. An empty variable counts as unset; rustls-native-certs takes it for the
/// name of a file.
fn load_native_certs() -> CertificateResult {
    #[cfg(all(unix, not(target_os = "macos")))]
    if std::env::var_os("SSL_CERT_FILE").is_some_and(|file| file.is_empty()) {
        let mut dirs: Vec<PathBuf> = std::env::var_os("SSL_CERT_DIR")
            .map(|dirs| std::env::split_paths(&dirs).collect())
            .unwrap_or_default();
        dirs.retain(|dir| !dir.as_os_str().is_empty());
        let mut file = None;
        if dirs.is_empty() {
            let system = openssl_probe::probe();
            file = system.cert_file;
            dirs = system.cert_dir;
        }
        let mut found = rustls_native_certs::load_certs_from_paths(file.as_deref(), None);
        for dir in &dirs {
            let more = rustls_native_certs::load_certs_from_paths(None, Some(dir));
            found.certs.extend(more.certs);
            found.errors.extend(more.errors);
        }
        found.certs.sort_unstable_by(|a, b| a.cmp(b));
        found.certs.dedup();
        return found;
    }
    rustls_native_certs::load_native_certs()
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
        .and_then(|file| file.take(MAX_CA_FILE + 1).read_to_end(&mut pem))
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
    use super::*;

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
