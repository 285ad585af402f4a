//! Blocking calls that run on the engine's thread while the caller waits, or does something
//! else.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::waiting::{Patience, would_deadlock};
use crate::engine::runtime::{self, Task};
use crate::error::Result;

/// Call that was started by [`Client::start`](super::blocking::Client::start).
/// Dropping it cancels the call, though never a request that other calls share.
#[must_use]
pub struct Pending<T> {
    result: Arc<Place<Result<T>>>,
    task: Task<()>,
    patience: Patience,
}

impl<T: Send + 'static> Pending<T> {
    pub(super) fn start(
        timeout: Duration,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Self> {
        if runtime::is_engine_thread() {
            return Err(would_deadlock());
        }
        let result = Arc::new(Place {
            state: Mutex::new(State::Running),
            has_ended: Condvar::new(),
        });
        let ending = Ending(Arc::clone(&result));
        let mut task = runtime::spawn(async move { ending.0.end(Some(call.await)) })?;
        task.wake_at_end(&Waker::from(Arc::clone(&result)));
        Ok(Self {
            result,
            task,
            patience: Patience::new(timeout),
        })
    }

    /// Waits for at most this long. `None` means that the call is still
    /// running. After the call's deadline it returns an error.
    pub fn wait(&self, at_most: Duration) -> Option<Result<T>> {
        self.patience
            .wait(at_most, |at_most| match self.result.take(at_most) {
                State::Ended(Some(result)) => Some(result),
                State::Ended(None) => Some(Err(self.task.lost())),
                State::Running => None,
            })
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// The errors of the call, or [`Timeout`](crate::ErrorKind::Timeout) at its deadline.
    pub fn join(self) -> Result<T> {
        loop {
            if let Some(result) = self.wait(Duration::MAX) {
                return result;
            }
        }
    }
}

/// Where a task leaves its result for a thread that waits. A channel of the standard
/// library would do as well, but its code is 8 kB for each type of result.
struct Place<T> {
    state: Mutex<State<T>>,
    has_ended: Condvar,
}

enum State<T> {
    Running,
    /// Without a result if the task was dropped, or the result was taken.
    Ended(Option<T>),
}

impl<T> Place<T> {
    fn end(&self, result: Option<T>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Running) {
            *state = State::Ended(result);
        }
        drop(state);
        self.has_ended.notify_all();
    }

    /// Waits for the end, for at most this long.
    fn take(&self, at_most: Duration) -> State<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .has_ended
            .wait_timeout_while(state, at_most, |state| matches!(state, State::Running))
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Running => State::Running,
            State::Ended(result) => State::Ended(result.take()),
        }
    }
}

impl<T: Send> Wake for Place<T> {
    /// The process has lost the thread of the task.
    fn wake(self: Arc<Self>) {
        self.end(None);
    }
}

/// Ends the wait also if the task is dropped before its end, or panics.
struct Ending<T>(Arc<Place<T>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.end(None);
    }
}
