//! Opens streams to a Redis server, over TCP, TLS or a unix socket, and signs in.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{StoreError, StoreErrorKind};
use crate::error::seconds;
use crate::http::{resolve, tls, tls_error};
use crate::secret::{Secret, SecretBuffer};
use crate::shared_cache::StoreNode;
use crate::sys::fork::PerProcess;
use crate::trust::{Roots, TrustStore};

/// Largest answer of a server, in bytes.
pub(super) const MAX_ANSWER: u64 = 64 * 1024;

/// When the next address of a host is tried as well (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// What to do about a server that does not answer a handshake.
const NO_TLS: &str = "check that the port in {shared_cache} is the one for TLS; for a server \
                      without TLS, start {shared_cache} with redis://";

/// What to do about a unix socket that does not open.
#[cfg(unix)]
const NO_SOCKET: &str = "check the path in {shared_cache}, that the server runs with this \
                         unixsocket, and that this user may open it (unixsocketperm)";

/// Longest answer to a sign-in.
const MAX_LINES: usize = 1024;

/// Error for an error that a server answered with. Only its code is shown, because the
/// text may quote the command.
pub(super) fn server_error(node: &str, text: &str) -> StoreError {
    let has_too_many = text.contains("max number of clients");
    let code = code(text);
    let kind = match code {
        _ if has_too_many => StoreErrorKind::Busy,
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => StoreErrorKind::Auth,
        "LOADING" | "BUSY" | "CLUSTERDOWN" | "MASTERDOWN" => StoreErrorKind::Busy,
        "MOVED" | "ASK" | "TRYAGAIN" => StoreErrorKind::Moved,
        _ => StoreErrorKind::Protocol,
    };
    let what = match code {
        _ if has_too_many => "has reached its limit of connections (maxclients)".to_owned(),
        "NOAUTH" => "requires a password (NOAUTH)".to_owned(),
        "WRONGPASS" => "refused the user name or the password (WRONGPASS)".to_owned(),
        "NOPERM" => {
            "refused a command or a key, because the user has no right to it (NOPERM)".to_owned()
        }
        "DENIED" => {
            "accepts no connections from other machines (DENIED, protected-mode)".to_owned()
        }
        "LOADING" => "is loading its data (LOADING)".to_owned(),
        "CLUSTERDOWN" => "belongs to a cluster that is down (CLUSTERDOWN)".to_owned(),
        "MASTERDOWN" => "is a replica that has lost its master (MASTERDOWN)".to_owned(),
        "MOVED" => "redirected more than 3 times, or not to a valid address (MOVED)".to_owned(),
        "ASK" | "TRYAGAIN" => format!("is moving the key to another node ({code})"),
        _ => format!("answered with the error {code}"),
    };
    let remedy = match code {
        _ if has_too_many => "raise maxclients of the server, or start fewer processes at once",
        "NOAUTH" => {
            "add the password to {shared_cache}: redis://:password@host, or \
             redis://user:password@host"
        }
        "WRONGPASS" => {
            "check the user name and the password in {shared_cache}, and that the user exists and \
             is on"
        }
        "DENIED" => {
            "set a password (requirepass) or users (ACL SETUSER) on the server, or turn its \
             protected-mode off"
        }
        "LOADING" => "wait until the server has loaded its data",
        "BUSY" => "wait until the script that the server runs has ended, or end it (SCRIPT KILL)",
        "CLUSTERDOWN" => "check the cluster with redis-cli cluster info",
        "MASTERDOWN" => "set {shared_cache} to the master and not to a replica",
        _ => return StoreError::new(kind, format!("{node} {what}")),
    };
    StoreError::new(kind, format!("{node} {what}")).with_remedy(remedy)
}

/// Code of an error of a server: its first word in capital letters. Versions put other
/// texts before it, and have no code for missing rights of a script.
pub(super) fn code(text: &str) -> &str {
    if text.contains("executing the script can't") || text.contains("ACL failure in script") {
        return "NOPERM";
    }
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_code = |word: &&str| {
        (3..=20).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_uppercase())
    };
    words.find(is_code).unwrap_or("unknown")
}

/// A stream of any kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// TLS settings for the connections to the store.
pub(super) struct TlsSettings {
    trust: Arc<TrustStore>,
    /// Settings for the newest roots. Kept, because they hold the sessions that new
    /// connections resume. Per process, because another thread may hold their lock
    /// during a fork.
    kept: PerProcess<ArcSwapOption<Kept>>,
}

struct Kept {
    roots: Arc<Roots>,
    connector: TlsConnector,
}

impl TlsSettings {
    pub(super) fn new(trust: Arc<TrustStore>) -> Self {
        Self {
            trust,
            kept: PerProcess::new(),
        }
    }

    fn get(&self) -> Result<Arc<Kept>, StoreError> {
        let roots = self.trust.roots();
        let kept = self.kept.get_or_init(ArcSwapOption::empty);
        if let Some(current) = kept.load_full()
            && Arc::ptr_eq(&current.roots, &roots)
        {
            return Ok(current);
        }
        let mut config = tls::client_config(&roots)
            .map_err(|error| StoreError::new(StoreErrorKind::Tls, error.message()))?;
        // Redis has no names for its protocol.
        config.alpn_protocols.clear();
        let fresh = Arc::new(Kept {
            roots,
            connector: Arc::new(config).into(),
        });
        kept.store(Some(Arc::clone(&fresh)));
        Ok(fresh)
    }
}

/// Time limit for all steps of a connection.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    ends: Instant,
    whole: Duration,
}

impl Limit {
    pub(super) fn new(whole: Duration) -> Self {
        let ends = Instant::now() + whole;
        Self { ends, whole }
    }

    /// Runs a step. If it takes too long, `late` says what did.
    async fn run<T>(
        self,
        kind: StoreErrorKind,
        late: impl FnOnce() -> String,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = tokio::time::timeout_at(self.ends.into(), step).await;
        result.unwrap_or_else(|_| {
            let what = format!("{} within {}", late(), seconds(self.whole));
            Err(StoreError::new(kind, what))
        })
    }
}

/// Opens a stream, and makes its TLS handshake if there are TLS settings.
pub(super) async fn open(
    node: &StoreNode,
    tls: Option<&TlsSettings>,
    limit: Limit,
) -> Result<Box<dyn Io>, StoreError> {
    let late = || format!("no connection to {node}");
    let (host, port) = match node {
        StoreNode::Tcp { host, port } => (&**host, *port),
        #[cfg(unix)]
        StoreNode::Unix(path) => {
            let connect = async {
                let stream = tokio::net::UnixStream::connect(path).await;
                stream.map_err(|why| cannot_connect(node, &why).with_remedy(NO_SOCKET))
            };
            let stream = limit.run(StoreErrorKind::Connect, late, connect).await?;
            return Ok(Box::new(stream));
        }
        #[cfg(not(unix))]
        StoreNode::Unix(_) => {
            let why = io::Error::from(io::ErrorKind::Unsupported);
            return Err(cannot_connect(node, &why));
        }
    };
    let tcp = || limit.run(StoreErrorKind::Connect, late, connect(node, host, port));
    let Some(tls) = tls else {
        return Ok(Box::new(tcp().await?));
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| StoreError::new(StoreErrorKind::Tls, format!("{node} is no name for TLS")))?;
    let mut is_first = true;
    loop {
        let settings = tls.get()?;
        let stream = tcp().await?;
        let late = || format!("{node} did not answer the TLS handshake");
        let handshake = async {
            let handshake = settings.connector.connect(name.clone(), stream);
            Ok(handshake.await)
        };
        let handshake = limit.run(StoreErrorKind::Tls, late, handshake).await;
        let error = match handshake.map_err(|error| error.with_remedy(NO_TLS))? {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => error,
        };
        let Some(cause) = tls::find_error(&error) else {
            let what = format!("{node} closed the connection during the TLS handshake ({error})");
            return Err(StoreError::new(StoreErrorKind::Tls, what).with_remedy(NO_TLS));
        };
        // The certificates may have been mounted or rotated since they were read.
        let is_refused = matches!(cause, rustls::Error::InvalidCertificate(_));
        if is_first && is_refused && tls.trust.reload(&settings.roots) {
            is_first = false;
            continue;
        }
        let (what, remedy) = tls_error::explain(&cause, host, &node.to_string(), &settings.roots);
        let error = StoreError::new(StoreErrorKind::Tls, what);
        return Err(match cause {
            rustls::Error::InvalidMessage(_) => error.with_remedy(NO_TLS),
            _ => error.with_remedy(remedy.replace("the URL", "{shared_cache}")),
        });
    }
}

async fn connect(node: &StoreNode, host: &str, port: u16) -> Result<TcpStream, StoreError> {
    let connect = async {
        let addresses = resolve::addresses(host, port).await?;
        let stream = connect_any(addresses).await?;
        // Small commands are sent at once.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connect.await.map_err(|why| cannot_connect(node, &why))
}

fn cannot_connect(node: &StoreNode, why: &io::Error) -> StoreError {
    StoreError::new(
        StoreErrorKind::Connect,
        format!("cannot connect to {node}: {why}"),
    )
}

/// Connects to the address that answers first. The next one is tried after a failure, or
/// while there is no answer.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = addresses.into_iter();
    let mut open = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    loop {
        let next = rest.next();
        let is_last = next.is_none();
        open.extend(next.map(TcpStream::connect));
        let wait = if is_last { Duration::MAX } else { NEXT_ADDRESS };
        match tokio::time::timeout(wait, open.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) if is_last => return Err(failure),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Whether a server ended the connection because it requires a client certificate. With
/// TLS 1.3 it says so after the handshake.
fn is_certificate_required(error: &io::Error) -> bool {
    let alert = rustls::AlertDescription::CertificateRequired;
    tls::find_error(error) == Some(rustls::Error::AlertReceived(alert))
}

fn certificate_required(node: &str) -> StoreError {
    let what = format!("{node} requires a client certificate, which is not supported");
    StoreError::new(StoreErrorKind::Tls, what).with_remedy(
        "set tls-auth-clients of the server to no or optional, and require a password instead",
    )
}

/// User, password and database of a connection.
pub(super) struct SignIn<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a Secret>,
    pub(super) database: i64,
}

/// Sends user, password and database, if there are some. By hand, so that no library
/// keeps a copy of the password.
pub(super) async fn sign_in(
    stream: &mut dyn Io,
    node: &str,
    with: &SignIn<'_>,
    limit: Limit,
) -> Result<(), StoreError> {
    let late = || format!("{node} did not answer the sign-in");
    let talk = sign_in_now(stream, node, with);
    limit.run(StoreErrorKind::Timeout, late, talk).await
}

async fn sign_in_now(stream: &mut dyn Io, node: &str, with: &SignIn<'_>) -> Result<(), StoreError> {
    let mut sent = SecretBuffer::with_capacity(256);
    let mut asked = Vec::new();
    let password = with.password.map(Secret::expose).unwrap_or_default();
    match with.username {
        Some(user) => push_command(&mut sent, &["AUTH", user, password]),
        None if !password.is_empty() => push_command(&mut sent, &["AUTH", password]),
        None => {}
    }
    if !sent.is_empty() {
        asked.push("AUTH");
    }
    if with.database != 0 {
        push_command(&mut sent, &["SELECT", &with.database.to_string()]);
        asked.push("SELECT");
    }
    if asked.is_empty() {
        return Ok(());
    }
    let closed = |why: io::Error| {
        if is_certificate_required(&why) {
            return certificate_required(node);
        }
        let what = format!("the connection to {node} broke during the sign-in: {why}");
        StoreError::new(StoreErrorKind::Closed, what)
    };
    // An answer may be there although the server has closed the connection.
    let written = stream.write_all(&sent).await;
    let mut received = Vec::with_capacity(MAX_LINES);
    for command in asked {
        let line = match read_line(stream, &mut received).await {
            Ok(line) => line,
            Err(error) => return Err(closed(written.err().unwrap_or(error))),
        };
        if line == "+OK" {
            continue;
        }
        let Some(error) = line.strip_prefix('-') else {
            let what = format!("{node} does not speak the protocol of Redis");
            return Err(StoreError::new(StoreErrorKind::Protocol, what));
        };
        let found = server_error(node, error);
        let code = code(error);
        return Err(match (command, found.kind) {
            ("AUTH", StoreErrorKind::Protocol) => StoreError::new(
                StoreErrorKind::Auth,
                format!("{node} refused the user name or the password ({code})"),
            )
            .with_remedy(
                "if the server has no password, remove it from {shared_cache}; if it has users, \
                 write redis://user:password@host",
            ),
            ("SELECT", StoreErrorKind::Protocol) => StoreError::new(
                StoreErrorKind::Protocol,
                format!("{node} has no database {} ({code})", with.database),
            )
            .with_remedy(
                "end {shared_cache} with the number of a database that the server has; a cluster \
                 has only 0",
            ),
            ("SELECT", StoreErrorKind::Auth) => StoreError::new(
                StoreErrorKind::Auth,
                format!(
                    "{node} refused to select the database {}, because the user has no right to \
                     it ({code})",
                    with.database
                ),
            )
            .with_remedy("give the user the right +select, or use the database 0"),
            _ => found,
        });
    }
    Ok(())
}

fn push_command(buffer: &mut SecretBuffer, arguments: &[&str]) {
    buffer.push(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        buffer.push(format!("${}\r\n", argument.len()).as_bytes());
        buffer.push(argument.as_bytes());
        buffer.push(b"\r\n");
    }
}

/// The next line. What is read of the following ones stays in `received`.
async fn read_line(stream: &mut dyn Io, received: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = received.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = received.drain(..end + 2).take(end).collect();
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        if received.len() >= MAX_LINES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is too long",
            ));
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Bytes that a server has sent, and may have sent.
pub(super) struct Received {
    bytes: AtomicU64,
    limit: AtomicU64,
    in_flight: AtomicU64,
    has_too_many: AtomicBool,
    requires_certificate: AtomicBool,
    /// The first bytes. A server that accepts no more clients says so in them, before it
    /// is asked, and closes the connection.
    head: OnceLock<Vec<u8>>,
}

/// How much of the first bytes is kept.
const HEAD: usize = 64;

impl Received {
    pub(super) fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            // An error may come before the first command.
            limit: AtomicU64::new(MAX_ANSWER),
            in_flight: AtomicU64::new(0),
            has_too_many: AtomicBool::new(false),
            requires_certificate: AtomicBool::new(false),
            head: OnceLock::new(),
        }
    }

    /// Allows the answer to one more command, until the result is dropped.
    pub(super) fn expect_answer(&self) -> Expected<'_> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let received = self.bytes.load(Ordering::Relaxed);
        let limit = received.saturating_add(in_flight.saturating_mul(MAX_ANSWER));
        self.limit.fetch_max(limit, Ordering::Relaxed);
        Expected(self)
    }

    /// Error with which the server closed the connection before it was asked.
    pub(super) fn greeting(&self, node: &str) -> Option<StoreError> {
        if self.requires_certificate.load(Ordering::Relaxed) {
            return Some(certificate_required(node));
        }
        let head = String::from_utf8_lossy(self.head.get()?);
        let line = head.lines().next()?.strip_prefix('-')?;
        Some(server_error(node, line))
    }

    /// Whether the server has sent more than it was allowed to.
    pub(super) fn has_too_many(&self) -> bool {
        self.has_too_many.load(Ordering::Relaxed)
    }
}

/// Command that is not answered yet.
pub(super) struct Expected<'a>(&'a Received);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Stream that fails when the server sends too much.
pub(super) struct Limited {
    pub(super) stream: Box<dyn Io>,
    pub(super) received: Arc<Received>,
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &result
            && is_certificate_required(error)
        {
            let requires = &self.received.requires_certificate;
            requires.store(true, Ordering::Relaxed);
        }
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        let received = &self.received;
        if !bytes.is_empty() {
            let head = || bytes.iter().copied().take(HEAD).collect();
            received.head.get_or_init(head);
        }
        let read = bytes.len() as u64;
        let total = received.bytes.fetch_add(read, Ordering::Relaxed) + read;
        if total > received.limit.load(Ordering::Relaxed) {
            received.has_too_many.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        result
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
