//! Current TLS configuration, and its change while the emulator runs.

use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::ServerConfig;

use crate::error::EmulatorError;
use crate::lock::lock;
use crate::tls::authority::Authority;
use crate::tls::options::{HttpVersions, TlsTrouble, TlsVersions};

/// TLS configuration of the next handshakes.
#[derive(Clone)]
pub(crate) struct ServedTls {
    pub(crate) trouble: Option<TlsTrouble>,
    pub(crate) config: Arc<ServerConfig>,
    authority: Arc<Authority>,
}

/// Versions, and the configuration at start and now.
pub(crate) struct Tls {
    tls_versions: TlsVersions,
    http_versions: HttpVersions,
    initial: ServedTls,
    current: Mutex<ServedTls>,
}

impl Tls {
    pub(crate) fn new(
        authority: Authority,
        trouble: Option<TlsTrouble>,
        tls_versions: TlsVersions,
        http_versions: HttpVersions,
    ) -> Result<Self, EmulatorError> {
        let config = authority.server_config(trouble, tls_versions, http_versions)?;
        let initial = ServedTls {
            trouble,
            config,
            authority: Arc::new(authority),
        };
        Ok(Self {
            tls_versions,
            http_versions,
            current: Mutex::new(initial.clone()),
            initial,
        })
    }

    /// The authority's certificate in PEM.
    pub(crate) fn ca_pem(&self) -> String {
        self.current().authority.pem()
    }

    pub(crate) fn current(&self) -> ServedTls {
        lock(&self.current).clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<TlsTrouble>) -> Result<(), EmulatorError> {
        let mut current = lock(&self.current);
        let authority = Arc::clone(&current.authority);
        *current = self.served(authority, trouble)?;
        Ok(())
    }

    /// Makes a new authority, and a new certificate that it signs.
    pub(crate) fn rotate(&self) -> Result<(), EmulatorError> {
        let mut current = lock(&self.current);
        let authority = Arc::new(current.authority.renewed()?);
        *current = self.served(authority, current.trouble)?;
        Ok(())
    }

    fn served(
        &self,
        authority: Arc<Authority>,
        trouble: Option<TlsTrouble>,
    ) -> Result<ServedTls, EmulatorError> {
        let config = authority.server_config(trouble, self.tls_versions, self.http_versions)?;
        Ok(ServedTls {
            trouble,
            config,
            authority,
        })
    }

    pub(crate) fn reset(&self) {
        lock(&self.current).clone_from(&self.initial);
    }
}
