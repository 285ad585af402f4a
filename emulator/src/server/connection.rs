//! One connection to the API: TLS handshake, HTTP, takeover.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::server::body::ResponseBody;
use crate::server::dispatch::dispatch;
use crate::server::http_server;
use crate::server::stream::{SharedIo, Stream};
use crate::server::takeover::{ConnectionHandle, End, Takeover, close, drain};
use crate::state::connections::{ConnectionAction, InFlight};
use crate::state::shared::State;
use crate::state::traffic::OpenConnection;
use crate::tls::options::{HttpVersions, TlsTrouble};

/// The fatal alert `protocol_version` in a TLS 1.1 record.
const PROTOCOL_VERSION_ALERT: &[u8] = &[21, 3, 2, 0, 2, 2, 70];

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
        match tls.trouble {
            Some(TlsTrouble::HandshakeStall) => return drain(&mut stream).await,
            Some(TlsTrouble::Tls11) => {
                state.traffic.tls_failed();
                // After the ClientHello, as a server would.
                if stream.read(&mut [0; 1024]).await.is_ok() {
                    let _ = stream.write_all(PROTOCOL_VERSION_ALERT).await;
                    close(stream).await;
                }
                return;
            }
            Some(TlsTrouble::PlainHttp) => {}
            _ => match handshake(&state, tls.config, stream).await {
                Some(encrypted) => stream = encrypted,
                None => return,
            },
        }
    }
    let versions = state.config.http_versions;
    serve_http(&state, stream, versions, open, |handle, request| {
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
    state: &Arc<State>,
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
    let io = SharedIo::new(stream);
    let handle = ConnectionHandle {
        number: open.number(),
        takeover,
        io: io.clone(),
    };
    let mut registered = state.connections.register(open.number());
    let in_flight = Arc::clone(&registered.in_flight);
    let settings = state.settings();
    let finish = Arc::new(Notify::new());
    let requests = AtomicU32::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
        let is_last = settings.requests_per_connection == Some(number);
        if is_last {
            finish.notify_one();
        }
        // hyper may write a response that is ready before it sees the notification.
        let close = is_last && request.version() != Version::HTTP_2;
        let in_flight = InFlight::new(&in_flight);
        let response = respond(handle.clone(), request);
        async move {
            let mut response = response.await?;
            drop(in_flight);
            if close {
                let value = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, value);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let idle = idle_for(
        settings.idle_timeout_ms.map(Duration::from_millis),
        registered.in_flight.subscribe(),
    );
    let takeover = {
        let server = http_server::new(versions);
        let connection = server.serve_connection(TokioIo::new(io.clone()), service);
        let (mut connection, mut idle) = (pin!(connection), pin!(idle));
        let end = |end| Takeover {
            steps: Vec::new(),
            end,
        };
        loop {
            tokio::select! {
                // The connection ended without a takeover.
                _ = connection.as_mut() => break None,
                takeover = takeovers.recv() => break takeover,
                () = idle.as_mut() => break Some(end(End::Close)),
                () = finish.notified() => connection.as_mut().graceful_shutdown(),
                action = registered.orders.recv() => match action {
                    Some(ConnectionAction::Close) => break Some(end(End::Close)),
                    Some(ConnectionAction::Reset) => break Some(end(End::Reset)),
                    Some(ConnectionAction::Finish) => connection.as_mut().graceful_shutdown(),
                    Some(ConnectionAction::Freeze) => {
                        let releases = &state.releases;
                        io.freeze(releases.more_than(releases.count()));
                    },
                    None => {}
                },
            }
        }
    };
    takeover?.run(SharedIo::take(&io)?).await
}

/// Resolves when no request was in flight for this time; never without a time.
async fn idle_for(time: Option<Duration>, mut in_flight: watch::Receiver<usize>) {
    let Some(time) = time else {
        return std::future::pending().await;
    };
    loop {
        let _ = in_flight.wait_for(|&count| count == 0).await;
        if tokio::time::timeout(time, in_flight.changed())
            .await
            .is_err()
        {
            return;
        }
    }
}
