//! For the command `doctor` only, and not part of the API: the proxy and the
//! certificates of a client, and the engine's explanations. So both always agree.

use std::sync::Arc;

use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use crate::client::Client;
use crate::config::ProxyServer;
use crate::error::{Error, ErrorKind};
use crate::http::{tls_error, tunnel};
use crate::setting_names::FromVariables;
use crate::trust::Roots;

pub use crate::config::Refusal;

/// Proxy that a client uses for a URL.
pub struct Proxy {
    server: Arc<ProxyServer>,
    variables: FromVariables,
}

impl Proxy {
    /// The proxy for a URL; `None` if the client connects directly.
    #[must_use]
    pub fn of(client: &Client, url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let proxies = &client.engine.config.http.proxies;
        Some(Self {
            server: Arc::clone(proxies.of(&url)?),
            variables: client.engine.config.variables,
        })
    }

    /// Its URL, without user name and password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url.as_str()
    }

    /// Opens a tunnel to `target`, `host:port`, over a connection to the proxy.
    ///
    /// # Errors
    /// What the proxy answered.
    pub async fn open(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        target: &str,
    ) -> Result<(), Refusal> {
        tunnel::open(stream, &self.server, target).await
    }

    /// What a refusal means, and what to do about it.
    #[must_use]
    pub fn explain(&self, host: &str, refusal: &Refusal) -> Error {
        tunnel::refused(&self.server, host, refusal).naming(self.variables)
    }
}

/// Certificates that a client trusts.
pub struct Trusted {
    roots: Arc<Roots>,
    variables: FromVariables,
}

impl Trusted {
    /// Those of a client.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        let config = &client.engine.config;
        Self {
            // A client reads the rest after a failed handshake.
            roots: config.http.trust.all_roots(),
            variables: config.variables,
        }
    }

    /// The certificates in rustls's form.
    #[must_use]
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots.store)
    }

    /// How many there are, and where they come from.
    #[must_use]
    pub fn summary(&self) -> String {
        self.roots.to_string()
    }

    /// What a failed handshake means, and what to do about it. `address` is
    /// `host:port`.
    #[must_use]
    pub fn explain(&self, error: &rustls::Error, address: &str) -> Error {
        let peer = address.strip_suffix(":443").unwrap_or(address);
        let (what, remedy) = tls_error::explain(error, peer, address, &self.roots);
        Error::new(ErrorKind::Tls, what, remedy).naming(self.variables)
    }
}
