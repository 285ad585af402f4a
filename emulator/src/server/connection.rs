//! One connection to the API: TLS handshake, HTTP, takeover.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::server::body::ResponseBody;
use crate::server::dispatch::dispatch;
use crate::server::http_server;
use crate::server::stream::{SharedIo, Stream};
use crate::server::takeover::{ConnectionHandle, drain};
use crate::state::shared::State;
use crate::state::traffic::OpenConnection;
use crate::tls::options::{HttpVersions, TlsTrouble};

/// Serves a connection until it ends.
pub(crate) async fn serve(state: Arc<State>, tcp: TcpStream) {
    let open = state.traffic.connected();
    serve_stream(state, Box::new(tcp), &open).await;
}

/// Serves the API on a stream, which can be a tunnel, until it ends.
pub(crate) async fn serve_stream(
    state: Arc<State>,
    mut stream: Box<dyn Stream>,
    open: &OpenConnection,
) {
    if let Some(tls) = state.tls() {
        if tls.trouble == Some(TlsTrouble::HandshakeStall) {
            return drain(&mut stream).await;
        }
        match handshake(&state, tls.config, stream).await {
            Some(encrypted) => stream = encrypted,
            None => return,
        }
    }
    let versions = state.config.http_versions;
    serve_http(stream, versions, open, |handle, request| {
        dispatch(Arc::clone(&state), handle, request)
    })
    .await;
}

/// The stream inside TLS; `None` if the handshake failed.
pub(crate) async fn handshake(
    state: &State,
    config: Arc<ServerConfig>,
    stream: Box<dyn Stream>,
) -> Option<Box<dyn Stream>> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(http_server::HEAD_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(_)) | Err(_) => {
            state.traffic.tls_failed();
            None
        }
    }
}

/// Serves HTTP until the connection ends. Returns the stream only if a takeover
/// made it a tunnel.
pub(crate) async fn serve_http<F, R>(
    stream: Box<dyn Stream>,
    versions: HttpVersions,
    open: &OpenConnection,
    respond: F,
) -> Option<Box<dyn Stream>>
where
    F: Fn(ConnectionHandle, Request<Incoming>) -> R,
    R: Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + 'static,
{
    let (takeover, mut takeovers) = mpsc::unbounded_channel();
    let handle = ConnectionHandle {
        number: open.number(),
        takeover,
    };
    let io = SharedIo::new(stream);
    let server = http_server::new(versions);
    let service = service_fn(move |request| respond(handle.clone(), request));
    let takeover = {
        let connection = server.serve_connection(TokioIo::new(io.clone()), service);
        tokio::select! {
            // The connection ended without a takeover.
            _ = connection => None,
            takeover = takeovers.recv() => takeover,
        }
    };
    takeover?.run(io.take()?).await
}
