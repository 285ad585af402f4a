//! TCP listeners.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::error::EmulatorError;

/// Pause after a failed accept, for example without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Binds a loopback address. Works without a runtime, so that the builder can
/// report an error before it starts one.
pub(crate) fn bind(address: IpAddr, port: u16) -> Result<std::net::TcpListener, EmulatorError> {
    if !address.is_loopback() {
        return Err(EmulatorError::NotLoopback(address));
    }
    bind_any(address, port)
}

/// Binds any address. The caller has checked that TLS is on and that the
/// credentials are not the public ones.
pub(crate) fn bind_any(address: IpAddr, port: u16) -> Result<std::net::TcpListener, EmulatorError> {
    let address = SocketAddr::new(address, port);
    let failed = |source| EmulatorError::Bind { address, source };
    // std sets SO_REUSEADDR, so the port can be used again at once.
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Accepts connections until the runtime ends, each in its own task.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Faults that send single bytes need them to be sent at once.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}
