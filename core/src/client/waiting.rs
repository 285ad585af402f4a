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
const GRACE: Duration = Duration::from_millis(250);

/// How long a thread waits for a call.
pub(super) struct Patience {
    ends: Instant,
    timeout: Duration,
}

impl Patience {
    /// For a call with this timeout that begins now.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            ends: Instant::now() + timeout + GRACE,
            timeout,
        }
    }

    /// Waits for at most this long, or until the call is given up. `None` means that the
    /// call is not over.
    pub(super) fn wait<T>(
        &self,
        at_most: Duration,
        wait: impl FnOnce(Duration) -> Option<Result<T>>,
    ) -> Option<Result<T>> {
        let left = self.ends.saturating_duration_since(Instant::now());
        wait(at_most.min(left)).or_else(|| (at_most >= left).then(|| Err(self.over())))
    }

    fn over(&self) -> Error {
        let timeout = seconds(self.timeout);
        Error::attempt_timeout(format!("no result within {timeout}"))
    }
}

/// Call that goes on while a thread waits for it. Its requests run on the engine's
/// thread, as those of any call. Dropping it cancels the call, though never a request
/// that other calls share.
#[must_use]
pub struct Waiting<T> {
    call: Fuse<BoxFuture<'static, Result<T>>>,
    woken: Arc<Woken>,
    patience: Patience,
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
            patience: Patience::new(timeout),
        })
    }

    /// Waits for at most this long. `None` means that the call is not over. After the
    /// call's deadline it returns an error. Not for use after it has returned a result.
    pub fn wait(&mut self, at_most: Duration) -> Option<Result<T>> {
        self.patience.wait(at_most, |at_most| {
            let waker = Waker::from(Arc::clone(&self.woken));
            let mut cx = Context::from_waker(&waker);
            let until = Instant::now() + at_most;
            loop {
                if let Poll::Ready(result) = Pin::new(&mut self.call).poll(&mut cx) {
                    return Some(result);
                }
                if !self.woken.wait(until) {
                    return None;
                }
            }
        })
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
