//! Certificate authorities that a client trusts: the system's or Mozilla's, and
//! private ones.
//!
//! Files may be mounted late, replaced, or unreadable for a moment. So nothing
//! incomplete is remembered, and all of them are read again after a failed
//! verification.

pub(crate) mod pem;
mod system;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use self::pem::parse_ca;
use self::system::{can_read_again, system_roots};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::descriptors;

/// How often all files are read again after failed verifications, in seconds.
const RELOAD_INTERVAL: u64 = 10;

/// The same, if something was missing or invalid when they were last read.
const INCOMPLETE_INTERVAL: u64 = 1;

/// Largest CA file, in bytes: four times the bundle of a whole system.
const MAX_CA_FILE: u64 = 1024 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b25_mozillas_roots_are_all_there() {
        let store = TrustStore::new(Trust::Bundled, None, b"").unwrap();
        let roots = store.roots();
        assert_eq!(roots.public, webpki_roots::TLS_SERVER_ROOTS.len());
        assert_eq!((roots.store.len(), roots.private), (roots.public, 0));
    }
}
