//! Async calls that run on the engine's thread.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::deadline::Deadline;
use crate::engine::runtime::{self, Wait};
use crate::engine::{Engine, keep_warm};
use crate::error::Result;

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
    engine.check_may_wait()?;
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
    if let Err(error) = engine.check_may_wait() {
        return Wait::new(Box::pin(std::future::ready(Err(error))));
    }
    if timeout < engine.config.timeout {
        return Wait::new(Box::pin(async move { run(&engine, timeout, call).await }));
    }
    keep_warm::ensure(&engine);
    Wait::new(Box::pin(call(engine, Deadline::after(timeout))))
}
