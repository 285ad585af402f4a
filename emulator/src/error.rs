//! Errors of starting and controlling an emulator.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Reason why an emulator could not start or refused a control call.
///
/// No variant contains a secret or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The address is not a loopback address. The default credentials are
    /// public, so only the API may listen on another address, and only with TLS
    /// and a client that the caller sets.
    #[error(
        "address {0} is not a loopback address; use 127.0.0.1 or ::1 \
         (api_address also takes other addresses, with TLS and a client of your own)"
    )]
    NotLoopback(IpAddr),
    /// A listener could not be bound, usually because the port is in use.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The requested address; port 0 means any free port.
        address: SocketAddr,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The emulator's thread or runtime could not start.
    #[error("cannot start the emulator's thread: {0}")]
    Thread(#[source] io::Error),
    /// A key or a certificate could not be made.
    #[error("cannot make a key or certificate: {0}")]
    Crypto(String),
    /// A builder setting or an argument is not valid; the text names it.
    #[error("{0}")]
    Invalid(String),
    /// The client id is not one of the emulator's clients.
    #[error("unknown client id")]
    UnknownClient,
    /// The file of [`authority_file`](crate::EmulatorBuilder::authority_file) could
    /// not be read or created.
    #[error("cannot read or create authority_file {}: {source}", path.display())]
    AuthorityFile {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write the file: {0}")]
    Write(#[source] io::Error),
}
