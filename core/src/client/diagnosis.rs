//! For the command `doctor` only, and not part of the API: the proxy and the
//! certificates of a client, and the engine's explanations. So both always agree.

use std::sync::Arc;

use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use crate::client::Client;
use crate::config::ProxyServer;
use crate::http::{tls_error, tunnel};
use crate::trust::Roots;

pub use crate::config::Refusal;

/// Proxy that a client uses for a URL.
pub struct Proxy(Arc<ProxyServer>);

impl Proxy {
    /// The proxy for a URL; `None` if the client connects directly.
    #[must_use]
    pub fn of(client: &Client, url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let proxies = &client.engine.config.http.proxies;
        proxies.of(&url).cloned().map(Self)
    }

    /// Its URL, without user name and password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url.as_str()
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
        tunnel::open(stream, &self.0, target).await
    }

    /// What a refusal means, and what to do about it.
    #[must_use]
    pub fn explain(&self, host: &str, refusal: &Refusal) -> (String, String) {
        tunnel::explain(&self.0, host, refusal)
    }
}

/// Certificates that a client trusts.
pub struct Trusted(Arc<Roots>);

impl Trusted {
    /// Those of a client.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        Self(client.engine.config.http.trust.roots())
    }

    /// The certificates in rustls's form.
    #[must_use]
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0.store)
    }

    /// What a failed handshake means, and what to do about it. `address` is
    /// `host:port`.
    #[must_use]
    pub fn explain(&self, error: &rustls::Error, address: &str) -> (String, String) {
        let peer = address.strip_suffix(":443").unwrap_or(address);
        tls_error::explain(error, peer, address, &self.0)
    }
}
