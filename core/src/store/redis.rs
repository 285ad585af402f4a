//! Store in a Redis or Valkey server: one, the master that Sentinels name, or a cluster.
//!
//! Each operation is one Lua script, sent as text, so that a server that restarted needs
//! no preparation. A process has one connection, made when it is needed. After a failure
//! nobody asks the store for a while (`breaker.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::{Cmd, ServerError, Value};

use super::breaker::{Breaker, Permit};
use super::connection::{Connection, limit_or_patience};
use super::stream::{self, Io, Limit, SignIn, TlsSettings, code, server_error};
use super::{
    Action, Found, LookUp, Names, Operation, Published, Reply, StoreError, StoreErrorKind,
    TokenStore,
};
use crate::error::seconds;
use crate::shared_cache::{StoreNode, StoreServer};
use crate::sys::events::debug;
use crate::sys::fork::PerProcess;
use crate::sys::jitter;
use crate::sys::sync::{Mutex, lock};
use crate::trust::TrustStore;

pub(super) const LOOK_UP: &str = include_str!("scripts/look_up.lua");
const PUBLISH: &str = include_str!("scripts/publish.lua");
pub(super) const RELEASE: &str = include_str!("scripts/release.lua");

/// How long a connection may take: name, TCP, TLS and password. Enough for one
/// retransmission of a SYN, which a full queue of a server costs.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// From this time on, a call that is cancelled counts as a failure of the store.
const SLOW: Duration = Duration::from_millis(100);

/// How long one of several Sentinels may take.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(400);

/// Most redirects of a cluster that one command follows.
const MAX_REDIRECTS: usize = 3;

/// Most slots of a cluster whose node is remembered.
const MAX_ROUTES: usize = 4096;

/// Store in a Redis or Valkey server.
pub(crate) struct RedisStore {
    settings: Arc<Settings>,
    /// Connections of this process. A forked child must not use its parent's.
    state: PerProcess<State>,
}

struct Settings {
    server: StoreServer,
    tls: TlsSettings,
    /// Number of the Sentinel that answered last.
    sentinel: AtomicUsize,
}

#[derive(Default)]
struct State {
    breaker: Mutex<Breaker>,
    /// Connections by node of a cluster; `None` for the server of the settings.
    connections: Mutex<HashMap<Target, Attempt>>,
    /// Nodes of a cluster by slot, as redirects told.
    routes: Mutex<HashMap<u16, StoreNode>>,
    /// Whether the server refused to write last.
    refuses: AtomicBool,
}

type Target = Option<StoreNode>;

/// Attempt to connect, which all callers share, and its result.
type Attempt = Shared<BoxFuture<'static, Result<Arc<Connection>, StoreError>>>;

/// Permission to ask the store.
struct Pass<'a> {
    store: &'a RedisStore,
    state: &'a State,
    permit: Option<Permit>,
    since: Instant,
}

impl RedisStore {
    pub(crate) fn new(server: StoreServer, trust: Arc<TrustStore>) -> Arc<Self> {
        let settings = Settings {
            server,
            tls: TlsSettings::new(trust),
            sentinel: AtomicUsize::new(0),
        };
        Arc::new(Self {
            settings: Arc::new(settings),
            state: PerProcess::new(),
        })
    }

    fn state(&self) -> &State {
        self.state.get_or_init(State::default)
    }

    /// Where the settings say that the store is, for messages.
    pub(super) fn place(&self) -> String {
        let nodes = self.settings.server.nodes.iter();
        let nodes: Vec<_> = nodes.map(ToString::to_string).collect();
        nodes.join(",")
    }

    /// Runs a script on the keys of a token. Returns what it answers, and who answered.
    pub(super) async fn eval(
        &self,
        names: &Names,
        script: &str,
        arguments: &[&[u8]],
    ) -> Result<(Answer, Arc<str>), StoreError> {
        let mut pass = self.enter()?;
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(3);
        command.arg(&names.value).arg(&names.lease).arg(&names.note);
        for argument in arguments {
            command.arg(*argument);
        }
        let result = self.ask(pass.state, slot(&names.value), &command).await;
        // A slot that moves to another node says nothing about the others.
        let failure = result.as_ref().err();
        pass.finish(failure.filter(|error| error.kind != StoreErrorKind::Moved));
        result
    }

    /// Logs when the server begins to refuse writes, as a full one or a replica does, and
    /// when it stores a token again.
    fn log_refusal(&self, answer: &Answer, node: &str) {
        let refuses = &self.state().refuses;
        match answer.refusal(node) {
            Some(error) if !refuses.swap(true, Ordering::Relaxed) => tracing::warn!(
                target: "layerfi_auth",
                kind = "refused",
                server = self.place(),
                "the shared cache takes no new tokens, each process fetches its own: {}",
                error.what
            ),
            None if answer.state() == "stored" && refuses.swap(false, Ordering::Relaxed) => {
                tracing::info!(
                    target: "layerfi_auth",
                    server = self.place(),
                    "the shared cache takes new tokens again"
                );
            }
            _ => {}
        }
    }

    fn enter(&self) -> Result<Pass<'_>, StoreError> {
        let state = self.state();
        match lock(&state.breaker).enter(Instant::now()) {
            Some(permit) => Ok(Pass {
                store: self,
                state,
                permit: Some(permit),
                since: Instant::now(),
            }),
            None => {
                let what = "the shared cache failed shortly before";
                Err(StoreError::new(StoreErrorKind::Down, what))
            }
        }
    }

    /// Sends a command, and follows the redirects of a cluster. (Not `ASK`: while a slot
    /// moves, a node answers commands with several keys with `TRYAGAIN`.) A connection that is
    /// closed is replaced once, because it may have been so for long.
    async fn ask(
        &self,
        state: &State,
        slot: u16,
        command: &Cmd,
    ) -> Result<(Answer, Arc<str>), StoreError> {
        let mut target: Target = lock(&state.routes).get(&slot).cloned();
        let mut may_retry = true;
        let mut may_ask_sentinels = self.settings.server.sentinel_service.is_some();
        let mut redirects = 0;
        loop {
            let connected = self.connection(state, &target).await;
            let answered = match connected {
                Ok(connection) => {
                    let answer = connection.call(command).await;
                    answer.map(|answer| (answer, connection))
                }
                Err(error) => Err(error),
            };
            let (answer, connection) = match answered {
                Ok(answered) => answered,
                Err(error) => {
                    let was_routed = target.take().is_some();
                    lock(&state.routes).remove(&slot);
                    if may_retry && (was_routed || error.kind == StoreErrorKind::Closed) {
                        may_retry = false;
                        continue;
                    }
                    return Err(error);
                }
            };
            let node = connection.node();
            let error = match answer {
                Value::ServerError(error) => error,
                answer => {
                    let answer = Answer::parse(node, answer)?;
                    // The master has become a replica.
                    if may_ask_sentinels && answer.refusal_code().as_deref() == Some("READONLY") {
                        may_ask_sentinels = false;
                        connection.close();
                        continue;
                    }
                    return Ok((answer, Arc::clone(node)));
                }
            };
            let details = error.details().unwrap_or_default();
            let redirect = match error.code() {
                "MOVED" if redirects < MAX_REDIRECTS => redirect(details, &target, self),
                _ => None,
            };
            let Some((slot, to)) = redirect else {
                return Err(refused(node, &error));
            };
            redirects += 1;
            let mut routes = lock(&state.routes);
            if routes.len() >= MAX_ROUTES {
                routes.clear();
            }
            routes.insert(slot, to.clone());
            drop(routes);
            target = Some(to);
        }
    }

    /// Connects, and returns the name of the server.
    pub(super) async fn connect_now(&self) -> Result<Arc<str>, StoreError> {
        let connection = self.connection(self.state(), &None).await?;
        Ok(Arc::clone(connection.node()))
    }

    /// Sends another command to the server of the settings.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, StoreError> {
        let connection = self.connection(self.state(), &None).await?;
        connection.call(command).await
    }

    /// The connection to a node. If there is none, all callers wait for one attempt,
    /// which goes on if they are cancelled.
    async fn connection(
        &self,
        state: &State,
        target: &Target,
    ) -> Result<Arc<Connection>, StoreError> {
        let attempt = {
            let mut connections = lock(&state.connections);
            connections.retain(|_, attempt| is_usable(attempt));
            let attempt = connections.entry(target.clone());
            attempt.or_insert_with(|| self.connect(target)).clone()
        };
        attempt.await
    }

    fn connect(&self, target: &Target) -> Attempt {
        let settings = Arc::clone(&self.settings);
        let target = target.clone();
        let task = tokio::spawn(async move {
            let connecting = settings.connect(target.as_ref());
            // Each step has a limit of its own, with a better error.
            let limit = CONNECT_TIMEOUT + Duration::from_millis(50);
            let result = tokio::time::timeout(limit, connecting).await;
            result.unwrap_or_else(|_| {
                let waited = seconds(CONNECT_TIMEOUT);
                let what = format!("no connection to the shared cache within {waited}");
                Err(StoreError::new(StoreErrorKind::Connect, what))
            })
        });
        let lost = || StoreError::new(StoreErrorKind::Closed, "the attempt to connect has ended");
        let result = task.map(move |result| result.unwrap_or_else(|_| Err(lost())));
        result.boxed().shared()
    }
}

fn is_usable(attempt: &Attempt) -> bool {
    match attempt.peek() {
        None => true,
        Some(Ok(connection)) => connection.is_open(),
        Some(Err(_)) => false,
    }
}

impl Settings {
    async fn connect(&self, target: Option<&StoreNode>) -> Result<Arc<Connection>, StoreError> {
        let server = &self.server;
        let limit = Limit::new(CONNECT_TIMEOUT);
        let node = match (target, &server.sentinel_service) {
            (Some(node), _) => node.clone(),
            (None, Some(service)) => self.master(service, limit).await?,
            (None, None) => {
                let node = server.nodes.first().cloned();
                node.ok_or_else(|| StoreError::new(StoreErrorKind::Connect, "there is no server"))?
            }
        };
        let name: Arc<str> = node.to_string().into();
        let mut stream = self.open(&node, limit).await?;
        let sign_in = self.sign_in(server.database);
        stream::sign_in(&mut *stream, &name, &sign_in, limit).await?;
        Connection::new(name, stream).await
    }

    async fn open(&self, node: &StoreNode, limit: Limit) -> Result<Box<dyn Io>, StoreError> {
        stream::open(node, self.server.tls.then_some(&self.tls), limit).await
    }

    fn sign_in(&self, database: i64) -> SignIn<'_> {
        SignIn {
            username: self.server.username.as_deref(),
            password: self.server.password.as_ref(),
            database,
        }
    }

    /// Asks one Sentinel after the other where the master is, first the one that
    /// answered last.
    async fn master(&self, service: &str, limit: Limit) -> Result<StoreNode, StoreError> {
        let sentinels = &self.server.nodes;
        let first = self.sentinel.load(Ordering::Relaxed);
        let mut failure = StoreError::new(StoreErrorKind::Connect, "there is no Sentinel");
        for at in 0..sentinels.len() {
            let number = (first + at) % sentinels.len();
            let Some(sentinel) = sentinels.get(number) else {
                continue;
            };
            let asked = self.ask_sentinel(sentinel, service, limit);
            match tokio::time::timeout(SENTINEL_TIMEOUT, asked).await {
                Ok(Ok(master)) => {
                    self.sentinel.store(number, Ordering::Relaxed);
                    return Ok(master);
                }
                Ok(Err(error)) => failure = error,
                Err(_) => {
                    let waited = seconds(SENTINEL_TIMEOUT);
                    let what = format!("the Sentinel {sentinel} gave no answer within {waited}");
                    failure = StoreError::new(StoreErrorKind::Timeout, what);
                }
            }
        }
        Err(failure)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &StoreNode,
        service: &str,
        limit: Limit,
    ) -> Result<StoreNode, StoreError> {
        let name: Arc<str> = format!("the Sentinel {sentinel}").into();
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(service);
        // A Sentinel may need no password where its servers do.
        let stream = self.open(sentinel, limit).await?;
        let connection = Connection::new(Arc::clone(&name), stream).await?;
        let mut answer = connection.call(&question).await?;
        if let Value::ServerError(error) = &answer
            && error.code() == "NOAUTH"
        {
            let mut stream = self.open(sentinel, limit).await?;
            stream::sign_in(&mut *stream, &name, &self.sign_in(0), limit).await?;
            let connection = Connection::new(Arc::clone(&name), stream).await?;
            answer = connection.call(&question).await?;
        }
        match answer {
            Value::ServerError(error) => {
                let error = refused(&name, &error);
                Err(match error.kind {
                    StoreErrorKind::Protocol => error.with_remedy(
                        "check that the addresses in {shared_cache} are those of Sentinels, whose \
                         port is 26379 by default; for a server itself, use redis://",
                    ),
                    _ => error,
                })
            }
            Value::Nil => {
                let what = format!("{name} does not know the service of the setting");
                let error = StoreError::new(StoreErrorKind::Connect, what);
                Err(error.with_remedy(
                    "check the name of the service in {shared_cache}, after the addresses of the \
                     Sentinels; SENTINEL MASTERS lists those that there are",
                ))
            }
            Value::Array(parts) => {
                let mut parts = parts.into_iter().map(text);
                let host = parts.next().flatten();
                let port = parts.next().flatten().and_then(|port| port.parse().ok());
                match (host, port) {
                    (Some(host), Some(port)) => Ok(StoreNode::Tcp { host, port }),
                    _ => Err(unexpected(&name)),
                }
            }
            _ => Err(unexpected(&name)),
        }
    }
}

/// The slot and the node of a redirect, `3999 127.0.0.1:6381`. Without a host, it is
/// another port of the host that answered.
fn redirect(text: &str, from: &Target, store: &RedisStore) -> Option<(u16, StoreNode)> {
    let (slot, node) = text.split_once(' ')?;
    let (host, port) = node.rsplit_once(':')?;
    let host = match (host, from.as_ref().or(store.settings.server.nodes.first())) {
        ("", Some(StoreNode::Tcp { host, .. })) => host.clone(),
        ("" | "?", _) => return None,
        (host, _) => host.trim_matches(['[', ']']).to_owned(),
    };
    let port = port.parse().ok()?;
    Some((slot.parse().ok()?, StoreNode::Tcp { host, port }))
}

/// Slot of a key in a cluster: CRC-16/XMODEM of what is in the braces.
pub(super) fn slot(name: &str) -> u16 {
    let tag = name
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or(name, |(tag, _)| tag);
    let crc = tag.bytes().fold(0_u16, |mut crc, byte| {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
        crc
    });
    crc % 16384
}

impl Pass<'_> {
    /// Tells the breaker how it went, and logs when the store goes down or comes back.
    fn finish(&mut self, failure: Option<&StoreError>) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let changed = {
            let mut breaker = lock(&self.state.breaker);
            match failure {
                None => breaker.succeed(permit),
                Some(_) => breaker.fail(permit, Instant::now(), jitter::random()),
            }
        };
        let place = || self.store.place();
        match failure {
            Some(error) if changed => tracing::warn!(
                target: "layerfi_auth",
                kind = error.kind.as_str(),
                server = place(),
                "the shared cache is down, each process fetches its own tokens: {}",
                error.what
            ),
            None if changed => tracing::info!(
                target: "layerfi_auth",
                server = place(),
                "the shared cache is back"
            ),
            Some(error) => debug!(
                [kind = error.kind.as_str()],
                "the shared cache failed: {}", error.what
            ),
            None => {}
        }
    }
}

impl Drop for Pass<'_> {
    /// Without a result the caller was cancelled. A caller whose timeout is short is
    /// cancelled before the store's own timeouts; a silent store must not cost each of
    /// its calls that time.
    fn drop(&mut self) {
        if self.since.elapsed() >= limit_or_patience(SLOW) {
            let what = format!("{} did not answer in time", self.store.place());
            self.finish(Some(&StoreError::new(StoreErrorKind::Timeout, what)));
        } else if let Some(permit) = self.permit {
            lock(&self.state.breaker).cancel(permit);
        }
    }
}

/// What a script answered: a state, and values.
pub(super) struct Answer {
    state: String,
    values: std::vec::IntoIter<Value>,
}

impl Answer {
    fn parse(node: &str, answer: Value) -> Result<Self, StoreError> {
        let Value::Array(values) = answer else {
            return Err(unexpected(node));
        };
        let mut values = values.into_iter();
        let state = values.next().and_then(text);
        let state = state.ok_or_else(|| unexpected(node))?;
        if state == "failed" {
            let code = values.next_back().and_then(text).unwrap_or_default();
            return Err(server_error(node, &code));
        }
        Ok(Self { state, values })
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// Why the server refused to write; `None` if it did not.
    pub(super) fn refusal(&self, node: &str) -> Option<StoreError> {
        let code = self.refusal_code()?;
        let (why, remedy) = match &*code {
            "READONLY" => (
                "it is a replica",
                "set {shared_cache} to the master, or to Sentinels (redis+sentinel://)",
            ),
            "OOM" => (
                "it is full",
                "raise maxmemory, or set maxmemory-policy to volatile-ttl if it is noeviction",
            ),
            "MISCONF" => (
                "it cannot save its data",
                "check the disk and the log of the server; for a server that is only a cache, set \
                 save \"\"",
            ),
            "NOREPLICAS" => (
                "too few replicas are connected to it",
                "check the replicas of the server, or set min-replicas-to-write to 0",
            ),
            _ => {
                let what = format!("{node} refused to write ({code})");
                return Some(StoreError::new(StoreErrorKind::Busy, what));
            }
        };
        let what = format!("{node} refused to write: {why} ({code})");
        Some(StoreError::new(StoreErrorKind::Busy, what).with_remedy(remedy))
    }

    fn refusal_code(&self) -> Option<String> {
        match self.values.as_slice().last() {
            Some(Value::BulkString(error)) if self.state == "refused" => {
                Some(code(&String::from_utf8_lossy(error)).to_owned())
            }
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.values.next() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<i64> {
        match self.values.next() {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        }
    }

    fn time(&mut self) -> Option<u64> {
        self.number().and_then(|time| time.try_into().ok())
    }

    fn look_up(mut self) -> Option<LookUp> {
        let now = self.time()?;
        let note = self.bytes();
        let found = match &*self.state {
            "entry" => Found::Entry(self.bytes()?),
            "note" => Found::Note,
            "lease" => Found::Lease,
            "refused" => Found::Refused,
            "held" => Found::Held(match self.number()? {
                -1 => None,
                // It ended in this moment, or there is none.
                left => Some(Duration::from_millis(left.try_into().unwrap_or(0))),
            }),
            _ => return None,
        };
        Some(LookUp { now, found, note })
    }

    fn published(mut self, node: &str) -> Result<Published, StoreError> {
        let now = self.time().ok_or_else(|| unexpected(node))?;
        match &*self.state {
            "stored" => Ok(Published::Stored),
            "younger" => match self.bytes() {
                Some(entry) => Ok(Published::Younger { now, entry }),
                None => Err(unexpected(node)),
            },
            _ => Err(self.refusal(node).unwrap_or_else(|| unexpected(node))),
        }
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Whether the user has no right to a command or a key.
pub(super) fn is_no_permission(error: &ServerError) -> bool {
    error.code() == "NOPERM"
}

fn refused(node: &str, error: &ServerError) -> StoreError {
    let details = error.details().unwrap_or_default();
    server_error(node, &format!("{} {details}", error.code()))
}

pub(super) fn unexpected(node: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Protocol,
        format!("{node} sent an answer that is not expected"),
    )
}

/// Milliseconds as text. Not 0, which no key can live.
fn milliseconds(keep: Duration) -> String {
    keep.as_millis().clamp(1, u128::from(u32::MAX)).to_string()
}

impl TokenStore for RedisStore {
    fn run<'a>(&'a self, operation: Operation<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        Box::pin(async move {
            let Operation {
                names,
                owner,
                action,
            } = operation;
            match action {
                Action::LookUp { seen, lease } => {
                    let lease = match lease {
                        Duration::ZERO => "0".to_owned(),
                        lease => milliseconds(lease),
                    };
                    let arguments = [seen, &owner.0, lease.as_bytes()];
                    let (answer, node) = self.eval(names, LOOK_UP, &arguments).await?;
                    self.log_refusal(&answer, &node);
                    let look = answer.look_up().ok_or_else(|| unexpected(&node))?;
                    Ok(Reply::LookUp(look))
                }
                Action::Publish { entry, keep } => {
                    let keep = milliseconds(keep);
                    let arguments = [&owner.0[..], entry, keep.as_bytes()];
                    let (answer, node) = self.eval(names, PUBLISH, &arguments).await?;
                    self.log_refusal(&answer, &node);
                    answer.published(&node).map(Reply::Published)
                }
                Action::Release { note, keep } => {
                    let keep = milliseconds(keep);
                    let arguments = [&owner.0[..], note, keep.as_bytes()];
                    self.eval(names, RELEASE, &arguments).await?;
                    Ok(Reply::Released)
                }
            }
        })
    }

    fn is_up(&self) -> bool {
        lock(&self.state().breaker).is_up()
    }
}
