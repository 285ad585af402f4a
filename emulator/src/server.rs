//! Listening: sockets, TLS handshakes, and one task a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::connection::{Handle, SharedIo, Stream};
use crate::dispatch::dispatch;
use crate::error::EmulatorError;
use crate::state::State;
use crate::tls::{HttpVersions, TlsTrouble};
use crate::traffic::OpenConnection;

/// A head that takes longer than this is given up; so is a handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bounds a connection's buffer, and with it the head of a request.
const HEAD_CAP: usize = 64 * 1024;
/// After a failed accept (no file handles left, mostly): not at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Binds without a runtime, so that starting can fail before there is one.
pub(crate) fn bind(address: IpAddr, port: u16) -> Result<std::net::TcpListener, EmulatorError> {
    if !address.is_loopback() {
        return Err(EmulatorError::NotLoopback(address));
    }
    bind_anywhere(address, port)
}

/// Any address: the caller has seen to it that nothing public is behind it.
pub(crate) fn bind_anywhere(
    address: IpAddr,
    port: u16,
) -> Result<std::net::TcpListener, EmulatorError> {
    let failed = |source| EmulatorError::Bind { port, source };
    // Sets SO_REUSEADDR, so that a port can be used again at once.
    let listener = std::net::TcpListener::bind(SocketAddr::new(address, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Accepts for as long as the runtime lives, and gives each stream to `serve`.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A byte that drips must leave when it is written.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection of Layer's, from its first byte to its last.
pub(crate) async fn serve(state: Arc<State>, tcp: TcpStream) {
    let open = state.traffic.connected();
    let stream: Box<dyn Stream> = match state.tls() {
        None => Box::new(tcp),
        Some((Some(TlsTrouble::HandshakeStall), _)) => return stall(tcp).await,
        Some((_, config)) => {
            let handshake = TlsAcceptor::from(config).accept(tcp);
            match tokio::time::timeout(HEAD_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(_)) | Err(_) => return state.traffic.tls_failed(),
            }
        }
    };
    serve_http(state, stream, &open).await;
}

async fn serve_http(state: Arc<State>, stream: Box<dyn Stream>, open: &OpenConnection) {
    let (takeover, mut takeovers) = mpsc::unbounded_channel();
    let handle = Handle {
        number: open.number(),
        takeover,
    };
    let io = SharedIo::new(stream);
    let versions = state.fixed.http_versions;
    let service = service_fn(move |request| dispatch(Arc::clone(&state), handle.clone(), request));
    let server = builder(versions);
    let takeover = {
        let connection = server.serve_connection(TokioIo::new(io.clone()), service);
        tokio::select! {
            // A connection that ended by itself needs no takeover.
            _ = connection => None,
            takeover = takeovers.recv() => takeover,
        }
    };
    if let (Some(takeover), Some(stream)) = (takeover, io.take()) {
        takeover.carry_out(stream).await;
    }
}

pub(crate) fn builder(versions: HttpVersions) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_CAP)
        .http2()
        .timer(TokioTimer::new());
    match versions {
        HttpVersions::Both => server,
        HttpVersions::Http1 => server.http1_only(),
        HttpVersions::Http2 => server.http2_only(),
    }
}

/// Swallows what comes and says nothing, until the client gives up.
async fn stall(tcp: TcpStream) {
    let mut scratch = [0; 1024];
    loop {
        if tcp.readable().await.is_err() {
            return;
        }
        match tcp.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
