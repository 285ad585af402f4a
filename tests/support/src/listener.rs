//! Ports and listeners on loopback: a port that refuses connections, a listener that
//! must not be used, a proxy, and a link that can be cut.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// Port that no other test gets while this value exists. Connections to it are refused
/// until a server listens on it that sets `SO_REUSEADDR`.
///
/// A free port without a reservation can go to another test of the same moment.
#[derive(Debug)]
pub struct ReservedPort(TcpSocket);

impl ReservedPort {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}

/// Listener that must receive no connection.
pub struct Canary(TcpListener);

impl Canary {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// Its base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Returns whether a connection was made.
    pub fn was_contacted(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

/// Forward proxy: tunnels every `CONNECT` to one address, or rejects all requests.
pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    /// Tunnels every request to `target` and ignores the host that it names.
    pub fn to(target: SocketAddr) -> Self {
        Self::start(Some(target), "")
    }

    /// Answers each request with `response`.
    pub fn rejecting(response: &'static str) -> Self {
        Self::start(None, response)
    }

    fn start(target: Option<SocketAddr>, rejection: &'static str) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let (address, runtime) =
            accept(move |stream| serve(stream, target, rejection, Arc::clone(&seen)));
        Self {
            address,
            heads,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request heads received so far.
    pub fn request_heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// TCP relay to one address whose open connections can stop passing bytes
/// without being closed, as when a cable is cut or a NAT gateway drops its state.
pub struct CuttableLink {
    address: SocketAddr,
    cut: watch::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

impl CuttableLink {
    pub fn to(target: SocketAddr) -> Self {
        let cut = watch::Sender::new(());
        let sender = cut.clone();
        let (address, runtime) = accept(move |mut client| {
            let mut cut = sender.subscribe();
            async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    // Both connections stay open, but no more bytes pass.
                    _ = cut.changed() => std::future::pending().await,
                }
            }
        });
        Self {
            address,
            cut,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the open connections. New connections work.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }
}

/// Accepts connections on a new port. Dropping the returned runtime stops it.
pub fn accept<F>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, tokio::runtime::Runtime)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (address, runtime)
}

async fn serve(
    mut client: TcpStream,
    target: Option<SocketAddr>,
    rejection: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    seen.lock()
        .unwrap()
        .push(String::from_utf8_lossy(&head).into_owned());
    let Some(target) = target else {
        let _ = client.write_all(rejection.as_bytes()).await;
        return;
    };
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    if client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .is_ok()
    {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_port_refuses_connections_until_a_server_listens() {
        let port = ReservedPort::new();
        let connect = || std::net::TcpStream::connect(port.address());
        for _ in 0..2 {
            let error = connect().expect_err("a connection was accepted");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            // The standard library sets SO_REUSEADDR.
            let listener = TcpListener::bind(port.address()).unwrap();
            connect().unwrap();
            drop(listener);
        }
    }
}
