//! Background thread on which all I/O of the engine runs: one per process, with
//! its own Tokio runtime. It is started on first use, again after a fork, and again after
//! the program has closed its descriptors.
//!
//! A caller's future only waits for a result. So calls work under any executor,
//! even in a runtime that is not driven or has a paused clock, and connections do
//! not end with the runtime that first used them.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
#[cfg(feature = "blocking")]
use std::task::Waker;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tracing::instrument::WithSubscriber as _;

use crate::cache::Spawn;
use crate::cache::promise::{self, Awaited, Promise, promise};
use crate::error::{Error, ErrorKind, Result};
use crate::http::resolve;
use crate::sys::fork::{self, Generation, PerProcess, Stamped};
use crate::sys::{descriptors, threads};

/// The thread of all clients. It runs until the process ends, and sleeps when
/// there is nothing to do.
static ENGINE: PerProcess<BackgroundThread> = PerProcess::new();

/// The end of this generation, for callers that wait.
static END: PerProcess<End> = PerProcess::new();

/// Descriptors that a new runtime opens at most.
const DESCRIPTORS: usize = 6;

thread_local! {
    static IS_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// Thread that drives a Tokio runtime. It ends when this is dropped.
pub(crate) struct BackgroundThread {
    handle: Handle,
    _running: Stamped<oneshot::Sender<()>>,
}

impl BackgroundThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// A retryable error if no thread or file descriptor is available.
    pub(crate) fn start(name: &str, is_engine: bool) -> Result<Self> {
        let failed = |why| cannot_start(name, &why);
        let generation = Generation::current();
        let (running, stopped) = oneshot::channel::<()>();
        // The thread is started before there is a runtime: a runtime may not be
        // dropped on the engine's thread, which calls this for credentials.
        let (give, given) = oneshot::channel::<Stamped<Runtime>>();
        threads::start(name, move || {
            // Leaked if the program has closed its descriptors.
            let Ok(runtime) = given.blocking_recv() else {
                return;
            };
            // Dropped before the runtime.
            let _abandon = AbandonOnPanic(generation);
            IS_ENGINE.set(is_engine);
            if let Some(runtime) = runtime.get() {
                runtime.block_on(async { drop(stopped.await) });
            }
            fork::notice();
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
            .on_thread_park(move || sleep_if_over(generation))
            .on_thread_unpark(move || sleep_if_over(generation))
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        if let Err(runtime) = give.send(Stamped::new(runtime)) {
            if let Some(runtime) = runtime.into_inner() {
                runtime.shutdown_background();
            }
            return Err(failed(io::Error::other("it has ended")));
        }
        Ok(Self {
            handle,
            _running: Stamped::new(running),
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
        Task(Some(Tied::to_end(end(), || self.handle.spawn(task))))
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        // Dropping `_running` wakes the thread, through a descriptor.
        fork::notice();
    }
}

/// Tokio panics if its poll of the sockets fails, as it does after a program has closed
/// all descriptors.
struct AbandonOnPanic(Generation);

impl Drop for AbandonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
            end_abandoned_waits();
        }
    }
}

/// Stops the current thread for ever if the program has closed its descriptors. If it
/// went on, or ended, it would use or close numbers that may be the program's now.
fn sleep_if_over(generation: Generation) {
    if generation.is_over() {
        end_abandoned_waits();
        loop {
            std::thread::park();
        }
    }
}

fn engine() -> Result<&'static BackgroundThread> {
    ENGINE.get_or_try_init(|| {
        end_abandoned_waits();
        check_tokio()?;
        fork::mark().map_err(|why| cannot_start("layerfi-auth", &why))?;
        // Started in advance: a request may find that no other thread can be started.
        resolve::start().map_err(|why| cannot_start("layerfi-dns", &why))?;
        BackgroundThread::start("layerfi-auth", true)
    })
}

/// With its feature `signal`, Tokio keeps a pipe for the whole process, which each runtime
/// reads. Once the program has closed it, a new runtime would read from a file of the
/// program.
fn check_tokio() -> Result<()> {
    #[cfg(unix)]
    if crate::sys::tokio_signals::are_enabled() && fork::has_closed_descriptors() {
        return Err(Error::new(
            ErrorKind::Internal,
            "the program closed the file descriptors of Tokio's signal handling, which Tokio \
             cannot open again",
            "close all descriptors (closefrom) before the first call, or close only those that \
             the program has opened; or build the program without Tokio's feature signal",
        ));
    }
    Ok(())
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

/// The end of a generation without a fork.
struct End {
    promise: Promise<()>,
    awaited: Awaited<()>,
}

/// Waits for the end of this generation.
fn end() -> promise::Wait<()> {
    let end = END.get_or_init(|| {
        let (promise, awaited) = promise();
        End { promise, awaited }
    });
    end.awaited.clone().wait()
}

/// Wakes the callers that wait for a background thread without descriptors.
fn end_abandoned_waits() {
    for end in END.abandoned() {
        // A runtime of the program, whose descriptors are closed too, may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| end.promise.end()));
    }
}

/// What a caller waits with for a background thread. After a fork, or after the program
/// has closed the thread's descriptors, it is neither used nor dropped, and the wait ends
/// with an error.
pub(crate) struct Tied<T> {
    value: Stamped<(T, promise::Wait<()>)>,
    /// Whether there is nothing left to wait for.
    is_over: bool,
}

impl<T> Tied<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::to_end(end(), || value)
    }

    fn to_end(end: promise::Wait<()>, make: impl FnOnce() -> T) -> Self {
        Self {
            value: Stamped::new((make(), end)),
            is_over: false,
        }
    }

    /// Polls the value.
    pub(crate) fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R>> {
        if let Some((value, _)) = self.value.get_mut()
            && let Poll::Ready(result) = poll(value, cx)
        {
            return Poll::Ready(Ok(result));
        }
        self.poll_end(cx).map(Err)
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn get(&self) -> Result<&T> {
        fork::notice();
        match self.value.get() {
            Some((value, _)) => Ok(value),
            None => Err(self.abandoned().unwrap_or_else(descriptors_closed)),
        }
    }

    /// The error with which the wait ends, if it has no result any more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.value.get_mut() {
            // The engine's thread ends together with this wait.
            Some(_) if is_engine_thread() => Poll::Pending,
            Some((_, end)) => Pin::new(end).poll(cx).map(|_| descriptors_closed()),
            None => Poll::Ready(self.abandoned().unwrap_or_else(descriptors_closed)),
        }
    }

    /// The error of a wait for a thread that this process does not have any more.
    fn abandoned(&self) -> Option<Error> {
        match self.value.get() {
            Some(_) => None,
            None if self.value.has_forked() => Some(forked()),
            None => Some(descriptors_closed()),
        }
    }
}

impl<T> Drop for Tied<T> {
    fn drop(&mut self) {
        if !self.is_over {
            fork::notice();
        }
    }
}

/// Task on a background thread. Dropping it cancels the task. In a forked child
/// the parent's tasks cannot be reached.
pub(crate) struct Task<T>(Option<Tied<JoinHandle<T>>>);

impl<T> Task<T> {
    /// Lets the task run to its end, although no caller waits for it.
    pub(crate) fn detach(mut self) {
        if let Some(mut task) = self.0.take() {
            task.is_over = true;
        }
    }

    /// Wakes a waiting thread when the task can have no result any more.
    #[cfg(feature = "blocking")]
    pub(crate) fn wake_at_end(&mut self, waker: &Waker) {
        if let Some(task) = &mut self.0
            && task.poll_end(&mut Context::from_waker(waker)).is_ready()
        {
            waker.wake_by_ref();
        }
    }

    /// Error of a task that ended without a result.
    #[cfg(feature = "blocking")]
    pub(crate) fn lost(&self) -> Error {
        fork::notice();
        self.abandoned().unwrap_or_else(panicked)
    }

    /// The error of a task whose thread this process does not have any more.
    #[cfg(feature = "blocking")]
    pub(crate) fn abandoned(&self) -> Option<Error> {
        self.0.as_ref()?.abandoned()
    }
}

impl<T> Future for Task<Result<T>> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(task) = &mut self.0 else {
            return Poll::Ready(Err(panicked()));
        };
        let ended = ready!(task.poll(cx, |handle, cx| Pin::new(handle).poll(cx)));
        task.is_over = true;
        Poll::Ready(match ended? {
            Ok(result) => result,
            Err(error) => {
                // Tokio panics without its descriptors.
                fork::notice();
                Err(task.abandoned().unwrap_or_else(|| lost(&error)))
            }
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = &mut self.0
            && !task.is_over
        {
            // Cancelling wakes the thread, through a descriptor.
            fork::notice();
            task.is_over = true;
            if let Some((handle, _)) = task.value.get() {
                handle.abort();
            }
        }
    }
}

/// Wait of a caller for a shared request. In a forked child the parent's requests do
/// not exist, and their locks may be locked for ever.
pub(crate) struct Wait<T>(Tied<BoxFuture<'static, Result<T>>>);

impl<T> Wait<T> {
    pub(crate) fn new(call: BoxFuture<'static, Result<T>>) -> Self {
        Self(Tied::new(call))
    }
}

impl<T> Future for Wait<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let call = &mut self.0;
        let result = ready!(call.poll(cx, |call, cx| call.as_mut().poll(cx)));
        call.is_over = true;
        Poll::Ready(result?)
    }
}

fn forked() -> Error {
    Error::new(
        ErrorKind::Transport,
        "the process forked during the call",
        "call again in the child",
    )
}

fn descriptors_closed() -> Error {
    Error::new(
        ErrorKind::Transport,
        "the program closed this library's file descriptors during the call",
        "call again; close all descriptors (closefrom) before the first call, or close only \
         those that the program has opened",
    )
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
        "call again",
    )
}

/// Runs the cache's fetches on the engine's thread.
pub(crate) struct EngineThread;

impl Spawn for EngineThread {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        spawn_boxed(task).map(Task::detach)
    }
}
