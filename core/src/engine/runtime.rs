//! Background thread on which all I/O of the engine runs: one per process, with
//! its own Tokio runtime. It is started on first use, and again after a fork.
//!
//! A caller's future only waits for a result. So calls work under any executor,
//! even in a runtime that is not driven or has a paused clock, and connections do
//! not end with the runtime that first used them.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tracing::instrument::WithSubscriber as _;

use crate::cache::Spawn;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::fork::{self, PerProcess, Stamped};
use crate::sys::signals;

/// The thread of all clients. It runs until the process ends, and sleeps when
/// there is nothing to do.
static ENGINE: PerProcess<BackgroundThread> = PerProcess::new();

thread_local! {
    static IS_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// Thread that drives a Tokio runtime. It ends when this is dropped.
pub(crate) struct BackgroundThread {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl BackgroundThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// A retryable error if no thread or file descriptor is available.
    pub(crate) fn start(name: &str, is_engine: bool) -> Result<Self> {
        let failed = |why: std::io::Error| {
            Error::new(
                ErrorKind::Transport,
                format!("cannot start the background thread {name}: {why}"),
                "raise the process's limits on threads and file descriptors, or retry later",
            )
        };
        // Not `enable_all`, which also enables features that other crates turn
        // on.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("layerfi-auth-io")
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let run = move || {
            IS_ENGINE.set(is_engine);
            drop(runtime.block_on(stopped));
        };
        signals::blocked(|| thread.spawn(run)).map_err(failed)?;
        Ok(Self {
            handle,
            _running: running,
        })
    }

    /// Starts a task on the thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        // A log subscriber that is set for one thread or scope also receives the
        // events of the task.
        // Boxed, so that the runtime's code exists once per result type, not per task.
        let task: BoxFuture<'static, T> = Box::pin(task.with_current_subscriber());
        let handle = self.handle.spawn(task);
        Task(Some(Stamped::new(handle)))
    }
}

fn engine() -> Result<&'static BackgroundThread> {
    fork::notice();
    ENGINE.get_or_try_init(|| BackgroundThread::start("layerfi-auth", true))
}

/// Handle of the engine's runtime.
#[cfg(test)]
pub(crate) fn handle() -> Result<Handle> {
    engine().map(|engine| engine.handle.clone())
}

/// Whether the current thread is the engine's, where blocking would stop all I/O.
pub(crate) fn is_engine_thread() -> bool {
    IS_ENGINE.get()
}

/// Starts a task on the engine's thread.
pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<Task<T>> {
    engine().map(|engine| engine.spawn(task))
}

/// Task on a background thread. Dropping it cancels the task. In a forked child
/// the parent's tasks cannot be reached.
pub(crate) struct Task<T>(Option<Stamped<JoinHandle<T>>>);

impl<T> Task<T> {
    /// Lets the task run to its end, although no caller waits for it.
    pub(crate) fn detach(mut self) {
        drop(self.0.take());
    }

    fn handle(&mut self) -> Option<&mut JoinHandle<T>> {
        self.0.as_mut().and_then(Stamped::get_mut)
    }
}

impl<T> Future for Task<Result<T>> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        match self.handle() {
            Some(handle) => Pin::new(handle)
                .poll(cx)
                .map(|result| result.unwrap_or_else(|error| Err(lost(&error)))),
            None => Poll::Ready(Err(Error::new(
                ErrorKind::Transport,
                "the process forked during the call",
                "call again in the child",
            ))),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle() {
            handle.abort();
        }
    }
}

fn lost(error: &JoinError) -> Error {
    if error.is_panic() {
        let remedy = "see the panic's text on standard error: correct your credentials provider if it \
                      is its own, or report it as a bug in layerfi-auth";
        return Error::new(ErrorKind::Internal, "a background task panicked", remedy);
    }
    Error::new(
        ErrorKind::Internal,
        "the call's background task was cancelled",
        "the process is shutting down",
    )
}

/// Runs the cache's fetches on the engine's thread.
pub(crate) struct EngineThread;

impl Spawn for EngineThread {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        spawn(task).map(Task::detach)
    }
}
