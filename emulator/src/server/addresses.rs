//! Socket addresses and URLs of the emulator.

use std::net::SocketAddr;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) tls: bool,
}

impl Addresses {
    /// The base URL of the API, without a slash at its end: clients append one.
    pub(crate) fn api_url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.api)
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.api_url())
    }

    /// Always plain HTTP, because a test gets the CA certificate from it.
    pub(crate) fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }
}
