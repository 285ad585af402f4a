//! Where the emulator listens, as sockets and as URLs.

use std::net::SocketAddr;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) tls: bool,
}

impl Addresses {
    /// The base of the API, with no slash at its end: clients append to it.
    pub(crate) fn api_url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.api)
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.api_url())
    }

    /// Plain HTTP always: a test must be able to ask for the CA somewhere.
    pub(crate) fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }
}
