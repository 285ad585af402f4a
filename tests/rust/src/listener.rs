//! Listeners that tests put in the client's way.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// A listener that nobody may connect to.
pub struct Canary(TcpListener);

impl Canary {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Whether somebody has connected.
    pub fn was_met(&self) -> bool {
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

/// A forward proxy that carries every `CONNECT` to one place, or refuses all.
pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    /// Carries whatever is asked for to `target`.
    pub fn to(target: SocketAddr) -> Self {
        Self::start(Some(target), "")
    }

    /// Answers each request with this head.
    pub fn refusing(head: &'static str) -> Self {
        Self::start(None, head)
    }

    fn start(target: Option<SocketAddr>, refusal: &'static str) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let (address, runtime) =
            accept(move |stream| serve(stream, target, refusal, Arc::clone(&seen)));
        Self {
            address,
            heads,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the requests it got.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// A line to one place that can go dead under those who use it, and says
/// nothing: as behind a cut cable, or a gateway that forgot its connections.
pub struct Line {
    address: SocketAddr,
    dead: watch::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Line {
    pub fn to(target: SocketAddr) -> Self {
        let dead = watch::Sender::new(());
        let of_all = dead.clone();
        let (address, runtime) = accept(move |mut client| {
            let mut dead = of_all.subscribe();
            async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    // Both ends stay open, and nothing passes any more.
                    _ = dead.changed() => std::future::pending().await,
                }
            }
        });
        Self {
            address,
            dead,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections of now are dead. New ones are not.
    pub fn cut(&self) {
        self.dead.send_replace(());
    }
}

/// Accepts on a port of its own, in a runtime of its own, which ends it when
/// it is dropped.
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
    refusal: &'static str,
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
        let _ = client.write_all(refusal.as_bytes()).await;
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
