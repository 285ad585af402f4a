//! Looks up host names.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use tokio::sync::oneshot;

use crate::threads;

/// Addresses of a host. Dropping the future does not end the lookup, but the
/// command does not wait for it.
///
/// Tokio's own lookup panics if no thread can be started.
pub(crate) async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (sender, found) = oneshot::channel();
    threads::start("resolve", move || {
        let addresses = (host, port).to_socket_addrs().map(Iterator::collect);
        let _ = sender.send(addresses);
    })?;
    found
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the lookup's thread has ended")))
}
