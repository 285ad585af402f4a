//! Socket addresses and URLs of the emulator.

use std::net::SocketAddr;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) control: SocketAddr,
    /// `None` without a proxy.
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) tls: bool,
    /// Whether clients reach the proxy over TLS.
    pub(crate) proxy_tls: bool,
}

impl Addresses {
    /// The base URL of the API, without a slash at its end: clients append one.
    pub(crate) fn api_url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.api)
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.api_url())
    }

    /// The URL of the proxy, without credentials.
    pub(crate) fn proxy_url(&self) -> Option<String> {
        let scheme = if self.proxy_tls { "https" } else { "http" };
        self.proxy.map(|address| format!("{scheme}://{address}"))
    }

    /// Always plain HTTP, because a test gets the CA certificate from it.
    pub(crate) fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }
}
