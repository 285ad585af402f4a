//! One connection to the API: TLS handshake, HTTP, takeover.

use std::io;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::server::dispatch::dispatch;
use crate::server::http_server;
use crate::server::stream::{SharedIo, Stream};
use crate::server::takeover::ConnectionHandle;
use crate::state::shared::State;
use crate::state::traffic::OpenConnection;
use crate::tls::options::TlsTrouble;

/// Serves a connection until it ends.
pub(crate) async fn serve(state: Arc<State>, tcp: TcpStream) {
    let open = state.traffic.connected();
    let stream: Box<dyn Stream> = match state.tls() {
        None => Box::new(tcp),
        Some(tls) if tls.trouble == Some(TlsTrouble::HandshakeStall) => return stall(tcp).await,
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.config).accept(tcp);
            match tokio::time::timeout(http_server::HEAD_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(_)) | Err(_) => return state.traffic.tls_failed(),
            }
        }
    };
    serve_http(state, stream, &open).await;
}

async fn serve_http(state: Arc<State>, stream: Box<dyn Stream>, open: &OpenConnection) {
    let (takeover, mut takeovers) = mpsc::unbounded_channel();
    let handle = ConnectionHandle {
        number: open.number(),
        takeover,
    };
    let io = SharedIo::new(stream);
    let server = http_server::new(state.config.http_versions);
    let service = service_fn(move |request| dispatch(Arc::clone(&state), handle.clone(), request));
    let takeover = {
        let connection = server.serve_connection(TokioIo::new(io.clone()), service);
        tokio::select! {
            // The connection ended without a takeover.
            _ = connection => None,
            takeover = takeovers.recv() => takeover,
        }
    };
    if let (Some(takeover), Some(stream)) = (takeover, io.take()) {
        takeover.run(stream).await;
    }
}

/// Reads and discards until the client closes the connection.
async fn stall(tcp: TcpStream) {
    let mut discarded = [0; 1024];
    loop {
        if tcp.readable().await.is_err() {
            return;
        }
        match tcp.try_read(&mut discarded) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
