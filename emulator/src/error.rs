//! What can go wrong when an emulator is started or scripted.

use std::io;
use std::net::IpAddr;

/// Why an emulator could not be started, or an order to it was refused.
///
/// No variant carries a secret or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The address is not a loopback address. The emulator hands out working
    /// tokens to whoever knows public defaults, so it listens elsewhere only
    /// with TLS and a client of your own, and gives no control there.
    #[error("the emulator listens on loopback only, not on {0}")]
    NotLoopback(IpAddr),
    /// A listener could not be bound, most often because the port is in use.
    #[error("cannot listen on port {port}")]
    Bind {
        /// The port that was asked for; 0 means any free one.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The emulator's own thread or runtime could not be started.
    #[error("cannot start the emulator's thread")]
    Thread(#[source] io::Error),
    /// A key or a certificate could not be made.
    #[error("cannot make a key or certificate: {0}")]
    Crypto(String),
    /// A builder setting, or an order, that makes no sense; the text says which.
    #[error("{0}")]
    Invalid(String),
    /// A client that the emulator does not know.
    #[error("no such client")]
    UnknownClient,
    /// A file could not be written.
    #[error("cannot write the file")]
    Write(#[source] io::Error),
}
