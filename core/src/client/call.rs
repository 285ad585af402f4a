//! Async calls: those with requests of their own run on the engine's thread, and those that
//! only wait for shared requests wait where they are.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::deadline::Deadline;
use crate::engine::runtime::{self, Task, Wait};
use crate::engine::{Engine, keep_warm};
use crate::error::Result;

/// Runs an async call on the engine's thread, until its deadline. The returned
/// future only waits; dropping it cancels the call, though never a request that
/// other calls share.
pub(super) async fn run<T, F>(
    engine: &Arc<Engine>,
    timeout: Duration,
    call: impl FnOnce(Arc<Engine>, Deadline) -> F + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    engine.check_may_wait()?;
    keep_warm::ensure(engine);
    let deadline = Deadline::after(timeout);
    let own = Arc::clone(engine);
    let bounded: BoxFuture<'static, Result<T>> = Box::pin(async move {
        // Made here: a future that is moved in would be copied, and be in the box twice.
        let call = pin!(call(own, deadline.clone()));
        // As a `dyn`, so that the code of `bound` exists once per result type, not per call.
        let call: Pin<&mut (dyn Future<Output = Result<T>> + Send)> = call;
        deadline.bound(call).await
    });
    if runtime::is_engine_thread() {
        // A call inside a call that already runs on this thread.
        return bounded.await;
    }
    runtime::spawn_boxed(bounded)?.await
}

/// Runs an async call that only waits for requests which other calls share. Each ends
/// at the timeout that the client was built with. So a call with that timeout, or a
/// longer one, needs no timer and no task on the engine's thread while it waits for one
/// of them: the caller itself waits. If it has to wait for another one, which may end
/// later than the call's deadline, it gets a timer.
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
    let deadline = Deadline::after(timeout);
    Wait::new(Box::pin(async move {
        let mut call = pin!(call(engine, deadline.clone()));
        let mut timer = None;
        poll_fn(|cx| {
            if let Poll::Ready(result) = call.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if timer.is_none() && deadline.progress().waits_again() {
                timer = Some(timer_until(&deadline)?);
            }
            timer
                .as_mut()
                .map_or(Poll::Pending, |timer| Pin::new(timer).poll(cx))
        })
        .await
    }))
}

/// Task that fails at a deadline.
fn timer_until<T: Send + 'static>(deadline: &Deadline) -> Result<Task<Result<T>>> {
    let deadline = deadline.clone();
    runtime::spawn(async move { deadline.bound(pin!(pending())).await })
}
