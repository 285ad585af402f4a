//! Calls that run on the engine's thread while the caller waits.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::deadline::Deadline;
use crate::engine::runtime::{self, Task, Wait};
use crate::engine::{Engine, keep_warm};
use crate::error::{Error, ErrorKind, Result, seconds};

/// Runs an async call on the engine's thread, until its deadline. The returned
/// future only waits; dropping it cancels the call, though never a request that
/// other calls share.
pub(super) async fn run<T, F>(
    engine: &Arc<Engine>,
    timeout: Duration,
    call: impl FnOnce(Arc<Engine>, Deadline) -> F,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    keep_warm::ensure(engine);
    let deadline = Deadline::after(timeout);
    // Boxed, so that the code below exists once per result type, not per call.
    let mut call: BoxFuture<'static, Result<T>> =
        Box::pin(call(Arc::clone(engine), deadline.clone()));
    let bounded = async move { deadline.bound(call.as_mut()).await };
    if runtime::is_engine_thread() {
        // A call inside a call that already runs on this thread.
        return bounded.await;
    }
    runtime::spawn(bounded)?.await
}

/// Runs an async call that only waits for requests which other calls share. These end
/// at the timeout that the client was built with. So a call with that timeout, or a
/// longer one, needs no timer and no task on the engine's thread: the caller itself
/// waits.
pub(super) fn run_shared<T, F>(
    engine: &Arc<Engine>,
    timeout: Duration,
    call: impl FnOnce(Arc<Engine>, Deadline) -> F + Send + 'static,
) -> Wait<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let engine = Arc::clone(engine);
    if timeout < engine.config.timeout {
        return Wait::new(Box::pin(async move { run(&engine, timeout, call).await }));
    }
    keep_warm::ensure(&engine);
    Wait::new(Box::pin(call(engine, Deadline::after(timeout))))
}

/// Call that was started by [`Client::start`](super::blocking::Client::start).
/// Dropping it cancels the call, though never a request that other calls share.
#[must_use]
pub struct Pending<T> {
    result: mpsc::Receiver<Result<T>>,
    task: Task<()>,
    deadline: Instant,
    timeout: Duration,
}

impl<T: Send + 'static> Pending<T> {
    pub(super) fn start(
        timeout: Duration,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Self> {
        if runtime::is_engine_thread() {
            return Err(Error::new(
                ErrorKind::Internal,
                "a blocking call on the library's own thread would deadlock",
                "do not make blocking calls in a log callback or subscriber",
            ));
        }
        let (sender, result) = mpsc::sync_channel(1);
        let task = runtime::spawn(async move {
            // The waiting thread may have stopped waiting.
            let _ = sender.send(call.await);
        })?;
        Ok(Self {
            result,
            task,
            deadline: Instant::now() + timeout,
            timeout,
        })
    }

    /// Waits for at most this long. `None` means that the call is still
    /// running. After the call's deadline it returns an error.
    pub fn wait(&self, at_most: Duration) -> Option<Result<T>> {
        // The call itself ends at its deadline, with an error that says what it
        // tried. This limit is for an engine thread that has stopped.
        const GRACE: Duration = Duration::from_millis(250);
        let left = (self.deadline + GRACE).saturating_duration_since(Instant::now());
        match self.result.recv_timeout(at_most.min(left)) {
            Ok(result) => Some(result),
            Err(mpsc::RecvTimeoutError::Timeout) if at_most < left => None,
            Err(mpsc::RecvTimeoutError::Timeout) => Some(Err(Error::attempt_timeout(format!(
                "no result within {}",
                seconds(self.timeout)
            )))),
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(self.task.lost())),
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// The errors of the call, or [`ErrorKind::Timeout`] at its deadline.
    pub fn join(self) -> Result<T> {
        loop {
            if let Some(result) = self.wait(Duration::MAX) {
                return result;
            }
        }
    }
}
