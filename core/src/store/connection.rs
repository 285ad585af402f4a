//! Connection to one server, which many callers share. It ends when it is idle, and
//! after any failure.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use tokio::task::AbortHandle;

use super::stream::{self, Io, Limited, Received};
use super::{StoreError, StoreErrorKind};
use crate::error::seconds;
use crate::sys::sync::{Mutex, lock};

/// How long an answer may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
thread_local! {
    /// In place of the limits below a second, in tests that are about something else.
    pub(super) static PATIENCE: std::cell::Cell<Option<Duration>> =
        const { std::cell::Cell::new(None) };
}

/// A limit, or what a test has set in its place: a busy machine may exceed the limit.
pub(super) fn limit_or_patience(limit: Duration) -> Duration {
    #[cfg(test)]
    if let Some(patience) = PATIENCE.get() {
        return patience;
    }
    limit
}

/// Idle time after which a connection is closed: 10,000 idle processes would take all
/// connections of a server (`maxclients`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connection to a server, signed in.
pub(super) struct Connection {
    /// `host:port` or the path of the socket, for messages.
    node: Arc<str>,
    /// `None` when it is closed.
    open: Mutex<Option<Open>>,
    received: Arc<Received>,
    /// Whether a command was answered.
    has_answered: AtomicBool,
    last_used: Mutex<Instant>,
}

struct Open {
    redis: MultiplexedConnection,
    /// The task that reads and writes.
    task: AbortHandle,
}

impl Connection {
    /// Drives a stream in a task of its own.
    pub(super) async fn new(node: Arc<str>, stream: Box<dyn Io>) -> Result<Arc<Self>, StoreError> {
        let received = Arc::new(Received::new());
        let stream = Limited {
            stream,
            received: Arc::clone(&received),
        };
        // Nothing is sent: no name of the library, no user.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (redis, driver) = made.map_err(|_| {
            StoreError::new(StoreErrorKind::Closed, format!("{node} is not usable"))
        })?;
        let connection = Arc::new(Self {
            node,
            open: Mutex::new(None),
            received,
            has_answered: AtomicBool::new(false),
            last_used: Mutex::new(Instant::now()),
        });
        let task = tokio::spawn(drive(driver, Arc::downgrade(&connection))).abort_handle();
        *lock(&connection.open) = Some(Open { redis, task });
        Ok(connection)
    }

    pub(super) fn node(&self) -> &Arc<str> {
        &self.node
    }

    pub(super) fn is_open(&self) -> bool {
        let open = lock(&self.open);
        open.as_ref().is_some_and(|open| !open.task.is_finished())
    }

    /// Sends a command and waits for its answer. Cancelling it does not disturb others.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, StoreError> {
        let redis = lock(&self.open).as_ref().map(|open| open.redis.clone());
        let Some(mut redis) = redis else {
            return Err(self.closed());
        };
        let _expected = self.received.expect_answer();
        self.touch();
        let mut answer = pin!(redis.send_packed_command(command));
        let mut answered =
            tokio::time::timeout(limit_or_patience(ANSWER_TIMEOUT), answer.as_mut()).await;
        if answered.is_err() {
            // It may have come while this process was stopped or had no processor.
            tokio::task::yield_now().await;
            if let Some(answer) = answer.now_or_never() {
                answered = Ok(answer);
            }
        }
        self.touch();
        let error = match answered {
            Ok(Ok(value)) => {
                self.has_answered.store(true, Ordering::Relaxed);
                return Ok(value);
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        // Its other answers may be as wrong or late.
        self.abandon();
        let Some(error) = error else {
            let waited = seconds(ANSWER_TIMEOUT);
            let what = format!("{} did not answer within {waited}", self.node);
            return Err(StoreError::new(StoreErrorKind::Timeout, what));
        };
        if self.received.has_too_many() {
            let kib = stream::MAX_ANSWER / 1024;
            let what = format!("{} sent an answer of more than {kib} KiB", self.node);
            return Err(StoreError::new(StoreErrorKind::Protocol, what));
        }
        if error.kind() == redis::ErrorKind::Parse {
            let what = format!("{} does not speak the protocol of Redis", self.node);
            return Err(StoreError::new(StoreErrorKind::Protocol, what));
        }
        Err(self.closed())
    }

    fn closed(&self) -> StoreError {
        let greeting = self.received.greeting(&self.node);
        if let Some(error) = greeting.filter(|_| !self.has_answered.load(Ordering::Relaxed)) {
            return error;
        }
        let what = format!("{} closed the connection", self.node);
        StoreError::new(StoreErrorKind::Closed, what)
    }

    fn touch(&self) {
        *lock(&self.last_used) = Instant::now();
    }

    /// How long it may still be idle.
    fn idle_left(&self) -> Duration {
        IDLE_TIMEOUT.saturating_sub(lock(&self.last_used).elapsed())
    }

    /// Lets no other command begin. It is closed when those in progress are answered.
    pub(super) fn close(&self) {
        drop(lock(&self.open).take());
    }

    /// Closes it at once.
    fn abandon(&self) {
        if let Some(open) = lock(&self.open).take() {
            open.task.abort();
        }
    }
}

/// Reads and writes until the connection is closed, or idle.
async fn drive(driver: impl Future<Output = ()>, connection: Weak<Connection>) {
    let driver = pin!(driver);
    let idle = pin!(until_idle(&connection));
    let ended = select(driver, idle).await;
    if let Some(connection) = connection.upgrade() {
        connection.close();
    }
    if let Either::Right(((), driver)) = ended {
        // It ends when it has sent its last bytes and told the server.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, driver).await;
    }
}

async fn until_idle(connection: &Weak<Connection>) {
    loop {
        let left = match connection.upgrade() {
            Some(connection) => connection.idle_left(),
            None => return,
        };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}
