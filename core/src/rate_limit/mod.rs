//! Rate limiter of batches: grants permits so that the requests stay within the
//! server's limit. The estimate of that limit is in [`window`].

mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use self::window::{Reading, Window};
use crate::error::{Error, ErrorKind};
use crate::retry::retry_after;
use crate::sys::fork::{PerProcess, Stamped};
use crate::sys::sync::{Mutex, lock};

/// Rate limiter of one client's batches.
pub(crate) struct RateLimiter {
    /// Per process: after a fork the parent's lock may stay locked forever, and
    /// its requests in flight are not those of the child.
    state: PerProcess<Arc<State>>,
    documented: u32,
    is_known: bool,
}

struct State {
    window: Mutex<Window>,
    started: Instant,
    /// Limit if responses contain none.
    documented: Option<u32>,
}

impl State {
    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1_000.0
    }
}

impl RateLimiter {
    /// Rate limiter for `documented` requests per second. `is_known` says whether
    /// that is the limit of the environment, or an assumption for an unknown
    /// system. The assumption is dropped when a response contains no limit.
    pub(crate) fn new(documented: u32, is_known: bool) -> Self {
        Self {
            state: PerProcess::new(),
            documented,
            is_known,
        }
    }

    fn state(&self) -> &Arc<State> {
        self.state.get_or_init(|| {
            Arc::new(State {
                window: Mutex::new(Window::new(self.documented)),
                started: Instant::now(),
                documented: self.is_known.then_some(self.documented),
            })
        })
    }

    /// Returns a permit for one request, or the wait before the next try.
    fn poll(&self) -> Result<Permit, Duration> {
        let state = self.state();
        let acquired = lock(&state.window).acquire(state.now());
        match acquired {
            Ok(()) => Ok(Permit {
                state: Stamped::new(Arc::clone(state)),
                stage: Stage::Unused,
            }),
            Err(wait) => Err(Duration::from_secs_f64(wait.max(1.0) / 1_000.0)),
        }
    }

    /// Returns a permit for one request, if one is available now.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        self.poll().ok()
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self) -> Permit {
        loop {
            match self.poll() {
                Ok(permit) => return permit,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// Permit to send one request. If it is dropped before the request is sent, the
/// permit is returned. If it is dropped without a response, as by a cancelled
/// call, the request counts as lost. In a forked child the parent's permits
/// have no effect.
pub(crate) struct Permit {
    state: Stamped<Arc<State>>,
    stage: Stage,
}

enum Stage {
    Unused,
    Sent,
    Answered,
}

impl Permit {
    /// Records that the request is being sent.
    pub(crate) fn sent(&mut self) {
        self.stage = Stage::Sent;
    }

    /// Processes the response to the request.
    pub(crate) fn answered(mut self, outcome: Result<&HeaderMap, &Error>) {
        self.stage = Stage::Answered;
        let Some(state) = self.state.get() else {
            return;
        };
        let now = state.now();
        let mut window = lock(&state.window);
        match outcome {
            Ok(headers) => window.answered(Reading::of(headers), state.documented, now),
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let wait = match error.retry_after() {
                    Some(_) => retry_after(error),
                    None => Duration::from_secs(1),
                };
                window.limited(wait, now);
            }
            Err(_) => window.lost(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(state) = self.state.get() else {
            return;
        };
        match self.stage {
            Stage::Unused => lock(&state.window).unused(),
            Stage::Sent => lock(&state.window).lost(),
            Stage::Answered => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork;

    #[test]
    fn b13_parents_requests_do_not_count_in_the_child() {
        let limiter = RateLimiter::new(100, true);
        let parents: Vec<_> = (0..50).map_while(|_| limiter.poll().ok()).collect();
        assert_eq!(parents.len(), 50);
        assert!(limiter.poll().is_err(), "the parent's burst is used up");
        fork::pretend::fork();
        let childs: Vec<_> = (0..50).map_while(|_| limiter.poll().ok()).collect();
        assert_eq!(childs.len(), 50, "the child has its own burst");
        // Dropping the parent's permits does not return permits to the child.
        drop(parents);
        assert!(limiter.poll().is_err());
    }

    #[test]
    fn b13_lock_that_was_held_at_the_fork_is_not_waited_for() {
        let limiter = RateLimiter::new(100, true);
        let parents = limiter.poll().ok();
        let state = Arc::clone(limiter.state());
        let held = lock(&state.window);
        fork::pretend::fork();
        assert!(limiter.poll().is_ok());
        drop(parents);
        drop(held);
    }

    #[test]
    fn b17_unused_permit_is_returned() {
        let limiter = RateLimiter::new(100, true);
        for _ in 0..40 {
            drop(limiter.poll().ok().unwrap());
        }
        let wait = limiter.poll().err();
        assert!(wait.is_none(), "unused permits delay others by {wait:?}");
    }
}
