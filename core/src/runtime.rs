//! Where flights run: in the caller's Tokio runtime if that drives itself, else
//! in one of this library's own, on a single thread, started on first use and
//! made anew after a fork.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::cache::Spawn;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::Generational;
use crate::signals;

/// One background runtime for all clients of a process. It lives as long as
/// the process: its thread sleeps when there is nothing to do, and a client
/// that comes later finds it running.
static BACKGROUND: ArcSwapOption<Generational<Background>> = ArcSwapOption::const_empty();

struct Background {
    handle: Handle,
    /// The thread ends when this goes.
    _running: oneshot::Sender<()>,
}

/// The background runtime's handle.
pub(crate) fn background() -> Result<Handle> {
    let started = BACKGROUND.load_full();
    if let Some(handle) = handle_of(started.as_deref()) {
        return Ok(handle);
    }
    let fresh = Arc::new(Generational::new(start()?));
    let before = BACKGROUND.compare_and_swap(&started, Some(Arc::clone(&fresh)));
    // If another thread was faster, its runtime serves, and ours ends here.
    handle_of(before.as_deref())
        .or_else(|| handle_of(Some(&fresh)))
        .ok_or_else(|| failed("a fork came in between"))
}

fn handle_of(background: Option<&Generational<Background>>) -> Option<Handle> {
    background
        .and_then(Generational::get)
        .map(|background| background.handle.clone())
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the background thread cannot be started ({why})"),
        "check the process's limits on threads and file descriptors; a retry may help",
    )
}

fn start() -> Result<Background> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("layerfi-auth-io")
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    let (running, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("layerfi-auth".to_owned());
    let run = move || drop(runtime.block_on(stopped));
    signals::blocked(|| thread.spawn(run)).map_err(failed)?;
    Ok(Background {
        handle,
        _running: running,
    })
}

/// Spawns where the caller is, or in the background.
///
/// A runtime of one thread runs only while somebody is in its `block_on`. A
/// flight in it would stand still between two calls, a refresh would never be
/// made, and callers elsewhere would wait for both.
pub(crate) struct Runtime;

impl Spawn for Runtime {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        let drives_itself = |here: &Handle| here.runtime_flavor() == RuntimeFlavor::MultiThread;
        let runtime = match Handle::try_current() {
            Ok(here) if drives_itself(&here) => here,
            _ => background()?,
        };
        drop(runtime.spawn(task));
        Ok(())
    }
}

/// A call that runs in the background while a thread waits for it. Dropping
/// it cancels the call, though never a flight that others share.
#[cfg_attr(
    not(feature = "blocking"),
    allow(dead_code, reason = "the blocking client's")
)]
#[must_use]
pub struct Pending<T> {
    answer: mpsc::Receiver<Result<T>>,
    task: Generational<tokio::task::AbortHandle>,
    deadline: Instant,
}

#[cfg_attr(
    not(feature = "blocking"),
    allow(dead_code, reason = "the blocking client's")
)]
impl<T: Send + 'static> Pending<T> {
    /// Starts `call`, which has until `timeout`.
    pub(crate) fn start(
        timeout: Duration,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Self> {
        let (sender, answer) = mpsc::sync_channel(1);
        let task = background()?.spawn(async move {
            // The waiting thread may be gone by now; nobody misses the answer.
            let _ = sender.send(call.await);
        });
        Ok(Self {
            answer,
            task: Generational::new(task.abort_handle()),
            deadline: Instant::now() + timeout,
        })
    }

    /// Waits for so long at the most; `None` means not yet. Past the call's
    /// own deadline it is an error. Must not be called from the background
    /// thread itself (that is, from a credentials provider).
    pub fn wait(&self, at_most: Duration) -> Option<Result<T>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.answer.recv_timeout(at_most.min(left)) {
            Ok(result) => Some(result),
            Err(mpsc::RecvTimeoutError::Timeout) if at_most < left => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Some(Err(Error::timeout("no result within the call's timeout")))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(Error::new(
                ErrorKind::Internal,
                "the call's task ended without a result",
                "it panicked: report this, with the panic's text from standard error",
            ))),
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// The call's own, or [`ErrorKind::Timeout`] at the deadline.
    pub fn join(self) -> Result<T> {
        loop {
            if let Some(result) = self.wait(Duration::MAX) {
                return result;
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}
