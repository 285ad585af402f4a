//! Deadline of a call, and the progress of the call.
//!
//! Each call creates one deadline at its start and passes it on. When it
//! expires, the error says what was tried: the number of attempts, the last
//! failure and the host.

mod limit;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::limit::within;
use crate::error::{Error, Result};
use crate::sys::sync::{Mutex, lock};

/// The longest timeout. A longer one could overflow a clock.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(any(test, feature = "test-util"))]
thread_local! {
    /// Whether this thread runs a simulation in the paused time of Tokio.
    static FOLLOWS_TOKIO: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Makes all deadlines of this thread follow the time of Tokio, or not.
#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "for the simulation")
)]
pub(crate) fn follow_tokio(follow: bool) {
    FOLLOWS_TOKIO.set(follow);
}

fn now() -> Instant {
    #[cfg(any(test, feature = "test-util"))]
    if FOLLOWS_TOKIO.get() {
        return tokio::time::Instant::now().into_std();
    }
    Instant::now()
}

/// End of a call, with the call's progress.
#[derive(Clone)]
pub(crate) struct Deadline {
    at: Instant,
    timeout: Duration,
    progress: Progress,
}

impl Deadline {
    /// Deadline `timeout` from now; a day at most.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self::with_progress(timeout, Progress::default())
    }

    pub(crate) fn with_progress(timeout: Duration, progress: Progress) -> Self {
        let timeout = timeout.min(MAX_TIMEOUT);
        Self {
            at: now() + timeout,
            timeout,
            progress,
        }
    }

    /// Moment at which the call ends.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Time left; zero after the deadline.
    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(now())
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Runs `call` until the deadline. Needs the timers of the engine's runtime. `call`
    /// is pinned, because futures of calls are large and moving one copies it.
    pub(crate) async fn bound<T>(
        &self,
        call: Pin<&mut (impl Future<Output = Result<T>> + ?Sized)>,
    ) -> Result<T> {
        let result = within(self.at, call).await;
        result.unwrap_or_else(|| Err(self.expired()))
    }

    /// Error of a call that reached its deadline.
    pub(crate) fn expired(&self) -> Error {
        let Tried {
            attempts,
            last,
            waits_for,
        } = self.progress.tried();
        Error::deadline(self.timeout, attempts, last, waits_for)
    }
}

/// Progress of a call: what it has tried so far. Clones share it, so that a
/// call that waits for a shared request can report what that request tried.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    own: Tried,
    /// The shared request that the call waits for.
    shared: Option<Progress>,
    /// Whether the call has waited for another one before.
    waits_again: bool,
}

/// Number of attempts of a call, and the failure of the last one.
#[derive(Clone, Default)]
pub(crate) struct Tried {
    pub(crate) attempts: u32,
    pub(crate) last: Option<Error>,
    /// Name of what the call waits for, such as a host.
    pub(crate) waits_for: Option<Arc<str>>,
}

impl Progress {
    /// Records what the call waits for now.
    pub(crate) fn waits_for(&self, what: &Arc<str>) {
        let what = Arc::clone(what);
        lock(&self.0).own.waits_for = Some(what);
    }

    /// Records a failed attempt.
    pub(crate) fn failed(&self, error: &Error) {
        let error = error.clone();
        let mut state = lock(&self.0);
        state.own.attempts += 1;
        let before = state.own.last.replace(error);
        drop(state);
        // Dropped after the lock is released: an error may contain one of the
        // user, whose destructor is the user's code.
        drop(before);
    }

    /// Records that the call waits for a request that other calls share.
    pub(crate) fn share(&self, shared: &Progress) {
        if !Arc::ptr_eq(&self.0, &shared.0) {
            let mut state = lock(&self.0);
            let before = state.shared.replace(shared.clone());
            state.waits_again = before.is_some();
            drop(state);
            drop(before);
        }
    }

    /// Whether the call waits for a second shared request, or a later one.
    pub(crate) fn waits_again(&self) -> bool {
        lock(&self.0).waits_again
    }

    fn tried(&self) -> Tried {
        let (own, shared) = {
            let state = lock(&self.0);
            (state.own.clone(), state.shared.clone())
        };
        match shared.map(|shared| shared.tried()) {
            Some(shared) if own.attempts == 0 => shared,
            _ => own,
        }
    }
}
