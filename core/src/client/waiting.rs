//! Calls that a thread waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse};

use crate::engine::runtime;
use crate::error::{Error, ErrorKind, Result, seconds};

/// How long after its deadline a call is given up. It ends by itself, with an error that
/// says what it tried; this is for an engine's thread that has stopped.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// Call that goes on while a thread waits for it. Its requests run on the engine's
/// thread, as those of any call. Dropping it cancels the call, though never a request
/// that other calls share.
#[must_use]
pub struct Waiting<T> {
    call: Fuse<BoxFuture<'static, Result<T>>>,
    woken: Arc<Woken>,
    deadline: Instant,
    timeout: Duration,
}

impl<T: Send + 'static> Waiting<T> {
    pub(super) fn new(
        timeout: Duration,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Self> {
        if runtime::is_engine_thread() {
            return Err(would_deadlock());
        }
        // A task of Tokio that blocks here has a budget, which only grows when it yields.
        let call: BoxFuture<'static, _> = Box::pin(tokio::task::unconstrained(call));
        Ok(Self {
            call: call.fuse(),
            woken: Arc::default(),
            deadline: Instant::now() + timeout,
            timeout,
        })
    }

    /// Waits for at most this long. `None` means that the call is not over. After the
    /// call's deadline it returns an error. Not for use after it has returned a result.
    pub fn wait(&mut self, at_most: Duration) -> Option<Result<T>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        let left = (self.deadline + GRACE).saturating_duration_since(Instant::now());
        let until = Instant::now() + at_most.min(left);
        loop {
            if let Poll::Ready(result) = Pin::new(&mut self.call).poll(&mut cx) {
                return Some(result);
            }
            if self.woken.wait(until) {
                continue;
            }
            return (at_most >= left).then(|| {
                let timeout = seconds(self.timeout);
                Err(Error::attempt_timeout(format!(
                    "no result within {timeout}"
                )))
            });
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// The errors of the call, or [`ErrorKind::Timeout`] at its deadline.
    pub fn join(mut self) -> Result<T> {
        loop {
            if let Some(result) = self.wait(Duration::MAX) {
                return result;
            }
        }
    }
}

pub(super) fn would_deadlock() -> Error {
    Error::new(
        ErrorKind::Internal,
        "a blocking call on the library's own thread would deadlock",
        "do not make blocking calls in a log callback or subscriber",
    )
}

/// Whether the waiting thread has something to do.
#[derive(Default)]
struct Woken {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Woken {
    /// Waits until it is woken or this moment. Returns whether it was woken.
    fn wait(&self, until: Instant) -> bool {
        let is_woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let (mut is_woken, _) = self
            .changed
            .wait_timeout_while(is_woken, left, |is_woken| !*is_woken)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *is_woken)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
