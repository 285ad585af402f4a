//! Background thread on which all I/O of the engine runs: one per process, with
//! its own Tokio runtime. It is started on first use, and again after a fork.
//!
//! A caller's future only waits for a result. So calls work under any executor,
//! even in a runtime that is not driven or has a paused clock, and connections do
//! not end with the runtime that first used them.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tracing::instrument::WithSubscriber as _;

use crate::cache::Spawn;
use crate::error::{Error, ErrorKind, Result};
use crate::http::resolve;
use crate::sys::fork::{self, PerProcess, Stamped};
use crate::sys::{descriptors, threads};

/// The thread of all clients. It runs until the process ends, and sleeps when
/// there is nothing to do.
static ENGINE: PerProcess<ArcSwap<BackgroundThread>> = PerProcess::new();

/// Descriptors that a new runtime opens at most.
const DESCRIPTORS: usize = 6;

thread_local! {
    static IS_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// Thread that drives a Tokio runtime. It ends when this is dropped.
pub(crate) struct BackgroundThread {
    handle: Handle,
    alive: Alive,
    _running: oneshot::Sender<()>,
}

/// Whether a background thread runs.
#[derive(Clone)]
struct Alive(Weak<()>);

impl Alive {
    /// Whether the thread has ended. Tokio panics if its poll of the sockets fails,
    /// as it does after a program has closed all of its descriptors.
    fn has_ended(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl BackgroundThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// A retryable error if no thread or file descriptor is available.
    pub(crate) fn start(name: &str, is_engine: bool) -> Result<Self> {
        let failed = |why| cannot_start(name, &why);
        let (running, stopped) = oneshot::channel::<()>();
        // The thread is started before there is a runtime: a runtime may not be
        // dropped on the engine's thread, which calls this for credentials.
        let (give, given) = oneshot::channel::<Runtime>();
        let is_alive = Arc::new(());
        let alive = Alive(Arc::downgrade(&is_alive));
        threads::start(name, move || {
            if let Ok(runtime) = given.blocking_recv() {
                IS_ENGINE.set(is_engine);
                // Dropped before the runtime, which drops the tasks.
                let until_stopped = async move {
                    let _ = stopped.await;
                    drop(is_alive);
                };
                runtime.block_on(until_stopped);
            }
        })
        .map_err(failed)?;
        // Another crate may turn on Tokio's signal handling, which panics without
        // a descriptor.
        descriptors::check_free(DESCRIPTORS).map_err(failed)?;
        // Not `enable_all`, which also enables features that other crates turn
        // on.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("layerfi-auth-io")
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        if let Err(runtime) = give.send(runtime) {
            runtime.shutdown_background();
            return Err(failed(io::Error::other("it has ended")));
        }
        Ok(Self {
            handle,
            alive,
            _running: running,
        })
    }

    /// Starts a task on the thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.spawn_boxed(Box::pin(task))
    }

    /// As [`spawn`](Self::spawn). Boxed, so that the runtime's code exists once per result
    /// type, not per task.
    fn spawn_boxed<T: Send + 'static>(&self, mut task: BoxFuture<'static, T>) -> Task<T> {
        // A log subscriber that is set for one thread or scope also receives the
        // events of the task.
        if tracing::dispatcher::has_been_set() {
            task = Box::pin(task.with_current_subscriber());
        }
        let handle = self.handle.spawn(task);
        Task {
            handle: Some(Stamped::new(handle)),
            #[cfg(feature = "blocking")]
            thread: self.alive.clone(),
        }
    }
}

fn engine() -> Result<Arc<BackgroundThread>> {
    let start = || {
        // Started in advance: a request may find that no other thread can be started.
        resolve::start().map_err(|why| cannot_start("layerfi-dns", &why))?;
        BackgroundThread::start("layerfi-auth", true)
    };
    let current = ENGINE.get_or_try_init(|| start().map(ArcSwap::from_pointee))?;
    let engine = current.load_full();
    if !engine.alive.has_ended() {
        return Ok(engine);
    }
    // If several threads replace it, the first one wins.
    let fresh = Arc::new(start()?);
    drop(current.compare_and_swap(&engine, fresh));
    Ok(current.load_full())
}

fn cannot_start(name: &str, why: &io::Error) -> Error {
    let remedy = match why.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            "a sandbox (seccomp) forbids a system call: allow clone3, epoll_create1, eventfd2 and \
             fcntl"
        }
        _ => "raise the process's limits on threads and file descriptors, or retry later",
    };
    Error::new(
        ErrorKind::Transport,
        format!("cannot start the background thread {name}: {why}"),
        remedy,
    )
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

/// As [`spawn`], without another box.
pub(crate) fn spawn_boxed<T: Send + 'static>(task: BoxFuture<'static, T>) -> Result<Task<T>> {
    engine().map(|engine| engine.spawn_boxed(task))
}

/// Task on a background thread. Dropping it cancels the task. In a forked child
/// the parent's tasks cannot be reached.
pub(crate) struct Task<T> {
    handle: Option<Stamped<JoinHandle<T>>>,
    #[cfg(feature = "blocking")]
    thread: Alive,
}

impl<T> Task<T> {
    /// Lets the task run to its end, although no caller waits for it.
    pub(crate) fn detach(mut self) {
        drop(self.handle.take());
    }

    fn handle(&mut self) -> Option<&mut JoinHandle<T>> {
        self.handle.as_mut().and_then(Stamped::get_mut)
    }

    /// Error of a task that ended without a result.
    #[cfg(feature = "blocking")]
    pub(crate) fn lost(&self) -> Error {
        if self.thread.has_ended() {
            thread_ended()
        } else {
            panicked()
        }
    }
}

impl<T> Future for Task<Result<T>> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        match self.handle() {
            Some(handle) => Pin::new(handle)
                .poll(cx)
                .map(|result| result.unwrap_or_else(|error| Err(lost(&error)))),
            None => Poll::Ready(Err(forked())),
        }
    }
}

/// Wait of a caller for a shared request. In a forked child the parent's requests do
/// not exist, and their locks may be locked for ever.
pub(crate) struct Wait<T>(Stamped<BoxFuture<'static, Result<T>>>);

impl<T> Wait<T> {
    pub(crate) fn new(call: BoxFuture<'static, Result<T>>) -> Self {
        // The first poll would notice it and take the call for one of the parent's.
        fork::notice();
        Self(Stamped::new(call))
    }
}

impl<T> Future for Wait<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        match self.0.get_mut() {
            Some(call) => call.as_mut().poll(cx),
            None => Poll::Ready(Err(forked())),
        }
    }
}

fn forked() -> Error {
    Error::new(
        ErrorKind::Transport,
        "the process forked during the call",
        "call again in the child",
    )
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
        panicked()
    } else {
        thread_ended()
    }
}

fn panicked() -> Error {
    let remedy = "see the panic's text on standard error: correct your credentials provider if it \
                  is its own, or report it as a bug in layerfi-auth";
    Error::new(ErrorKind::Internal, "a background task panicked", remedy)
}

fn thread_ended() -> Error {
    Error::new(
        ErrorKind::Transport,
        "the background thread ended during the call",
        "call again; the next call starts another thread",
    )
}

/// Runs the cache's fetches on the engine's thread.
pub(crate) struct EngineThread;

impl Spawn for EngineThread {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        spawn_boxed(task).map(Task::detach)
    }
}
