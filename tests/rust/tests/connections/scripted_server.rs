//! HTTPS server whose connections follow a script.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use layerfi_auth_tests::{Handshakes, MAX_WAIT, accept};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// What one connection does. Each ends after it.
#[derive(Clone, Copy)]
pub enum Connection {
    /// Serves one request over HTTP/1.1 and says that the connection stays open.
    Http1,
    /// Serves one request over HTTP/2.
    Http2,
    /// Refuses the first stream, and serves the second.
    RefusedStream,
    /// Reads the head of a request and sends GOAWAY with this last stream.
    GoAway { last_stream: u8 },
    /// Resets the first stream with INTERNAL_ERROR.
    ResetStream,
}

type Stream = tokio_rustls::server::TlsStream<TcpStream>;

pub struct ScriptedServer {
    address: SocketAddr,
    ca: String,
    seen: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    handshakes: Handshakes,
    _runtime: tokio::runtime::Runtime,
}

impl ScriptedServer {
    /// Starts a server; the script is repeated when all its connections were made.
    pub fn start(script: &'static [Connection]) -> Self {
        let name = vec!["127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(name).unwrap();
        let key = own.signing_key.serialize_der().try_into().unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = match script[0] {
            Connection::Http1 => vec![b"http/1.1".to_vec()],
            _ => vec![b"h2".to_vec()],
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let number = AtomicUsize::new(0);
        let seen = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = (Arc::clone(&seen), Arc::clone(&ended));
        let handshakes = Handshakes::default();
        let made = handshakes.clone();
        let (address, runtime) = accept(move |tcp| {
            let connection = script[number.fetch_add(1, Ordering::SeqCst) % script.len()];
            let acceptor = acceptor.clone();
            let (seen, ended) = counted.clone();
            let made = made.clone();
            async move {
                let stream = acceptor.accept(tcp).await.unwrap();
                made.count(stream.get_ref().1);
                match connection {
                    Connection::Http1 => serve_http1(stream, &seen).await,
                    Connection::Http2 => serve_http2(stream, &seen, None).await,
                    Connection::RefusedStream => {
                        serve_http2(stream, &seen, Some(h2::Reason::REFUSED_STREAM)).await;
                    }
                    Connection::ResetStream => {
                        serve_http2(stream, &seen, Some(h2::Reason::INTERNAL_ERROR)).await;
                    }
                    Connection::GoAway { last_stream } => {
                        if last_stream > 0 {
                            seen.fetch_add(1, Ordering::SeqCst);
                        }
                        go_away(stream, last_stream).await;
                    }
                }
                ended.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            address,
            ca: own.cert.pem(),
            seen,
            ended,
            handshakes,
            _runtime: runtime,
        }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// Requests that a real server would have processed.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// Connections that have ended.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

async fn serve_http1(mut stream: Stream, seen: &AtomicUsize) {
    let mut head = Vec::new();
    // With its body.
    while !head.ends_with(b"\r\n\r\n{}") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    seen.fetch_add(1, Ordering::SeqCst);
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let _ = stream.write_all(response).await;
    let _ = stream.shutdown().await;
}

/// Serves one request. With `reset`, the first stream is reset with this reason.
async fn serve_http2(stream: Stream, seen: &AtomicUsize, reset: Option<h2::Reason>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut reset = reset;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        if let Some(reason) = reset.take() {
            respond.send_reset(reason);
            if reason == h2::Reason::REFUSED_STREAM {
                continue;
            }
            seen.fetch_add(1, Ordering::SeqCst);
        } else {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut body = respond
                .send_response(http::Response::new(()), false)
                .unwrap();
            body.send_data(Bytes::from_static(b"{}"), true).unwrap();
        }
        connection.graceful_shutdown();
    }
}

/// Sends GOAWAY when the head of the first request has arrived (RFC 9113, section 6.8).
async fn go_away(mut stream: Stream, last_stream: u8) {
    const HEADERS: u8 = 1;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&settings).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend([0, 0, 0, last_stream]);
    frame.extend([0; 4]);
    stream.write_all(&frame).await.unwrap();
    let _ = stream.shutdown().await;
    // Until the client closes. Closing with unread bytes resets the connection, and then
    // the client may not get to read the frame.
    let mut sink = tokio::io::sink();
    let unread = tokio::io::copy(&mut stream, &mut sink);
    let _ = tokio::time::timeout(MAX_WAIT, unread).await;
}
