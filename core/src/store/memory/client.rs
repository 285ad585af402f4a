//! A process's connection to a store in memory.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::MemoryStore;
use crate::store::breaker::{Breaker, Permit};
use crate::store::{Operation, Reply, StoreError, StoreErrorKind, TokenStore};
use crate::sys::jitter::random;
use crate::sys::sync::{Mutex, lock};

/// How long the connection of a process may take, how long an answer may take, and how
/// long the connection stays without use, as in [`RedisStore`](crate::store::redis::RedisStore).
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A process's connection to a [`MemoryStore`], with the limits and the circuit breaker
/// of the real one.
pub(crate) struct MemoryClient {
    store: Arc<MemoryStore>,
    breaker: Mutex<Breaker>,
    last_used: Mutex<Option<Instant>>,
    /// No packet gets to the store or back.
    is_cut_off: AtomicBool,
}

impl MemoryClient {
    pub(crate) fn new(store: Arc<MemoryStore>) -> Self {
        Self {
            store,
            breaker: Mutex::default(),
            last_used: Mutex::default(),
            is_cut_off: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_cut_off(&self, is_cut_off: bool) {
        self.is_cut_off.store(is_cut_off, Ordering::Relaxed);
    }

    async fn limited(
        &self,
        operation: impl Future<Output = Result<Reply, StoreError>>,
    ) -> Result<Reply, StoreError> {
        let now = Instant::now();
        let permit = lock(&self.breaker)
            .enter(now.into_std())
            .ok_or_else(|| StoreError::new(StoreErrorKind::Down, "it failed shortly before"))?;
        let mut pass = Pass {
            client: self,
            permit: Some(permit),
        };
        let result = self.ask(now, operation).await;
        pass.permit = None;
        let mut breaker = lock(&self.breaker);
        if result.is_ok() {
            breaker.succeed(permit);
        } else {
            breaker.fail(permit, Instant::now().into_std(), random());
        }
        result
    }

    async fn ask(
        &self,
        now: Instant,
        operation: impl Future<Output = Result<Reply, StoreError>>,
    ) -> Result<Reply, StoreError> {
        let last_used = *lock(&self.last_used);
        if last_used.is_none_or(|last| now.saturating_duration_since(last) > IDLE_TIMEOUT) {
            bounded(CONNECT_TIMEOUT, self.reach(self.store.connect())).await?;
        }
        let result = bounded(ANSWER_TIMEOUT, self.reach(operation)).await;
        *lock(&self.last_used) = result.is_ok().then(Instant::now);
        result
    }

    async fn reach<T>(&self, operation: impl Future<Output = T>) -> T {
        if self.is_cut_off.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        operation.await
    }
}

/// Permission to ask, which is given back if the caller is cancelled.
struct Pass<'a> {
    client: &'a MemoryClient,
    permit: Option<Permit>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit {
            lock(&self.client.breaker).cancel(permit);
        }
    }
}

async fn bounded<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let result = tokio::time::timeout(limit, operation).await;
    result.unwrap_or_else(|_| {
        Err(StoreError::new(
            StoreErrorKind::Timeout,
            "no answer in time",
        ))
    })
}

impl TokenStore for MemoryClient {
    fn run<'a>(&'a self, operation: Operation<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        Box::pin(self.limited(self.store.run(operation)))
    }

    fn is_up(&self) -> bool {
        lock(&self.breaker).is_up()
    }
}
