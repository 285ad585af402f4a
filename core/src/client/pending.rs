//! Blocking calls that run on the engine's thread while the caller waits, or does something
//! else.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::waiting::{GRACE, would_deadlock};
use crate::engine::runtime::{self, Task};
use crate::error::{Error, Result, seconds};

/// Call that was started by [`Client::start`](super::blocking::Client::start).
/// Dropping it cancels the call, though never a request that other calls share.
#[must_use]
pub struct Pending<T> {
    result: Arc<Place<Result<T>>>,
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
            return Err(would_deadlock());
        }
        let result = Arc::<Place<_>>::default();
        let ending = Ending(Arc::clone(&result));
        let mut task = runtime::spawn(async move { ending.0.end(Some(call.await)) })?;
        task.wake_at_end(&Waker::from(Arc::clone(&result)));
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
        let left = (self.deadline + GRACE).saturating_duration_since(Instant::now());
        match self.result.take(at_most.min(left)) {
            State::Ended(Some(result)) => Some(result),
            State::Ended(None) => Some(Err(self.task.lost())),
            State::Running if at_most < left => None,
            State::Running => Some(Err(Error::attempt_timeout(format!(
                "no result within {}",
                seconds(self.timeout)
            )))),
        }
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

#[derive(Default)]
enum State<T> {
    #[default]
    Running,
    /// Without a result if the task was dropped, or the result was taken.
    Ended(Option<T>),
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Running),
            has_ended: Condvar::new(),
        }
    }
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
