//! Keeping in step with the server's rate limit: leave to send, and what
//! became of it. What is to be believed is in [`belief`].

mod belief;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;

use self::belief::{Belief, Reading};
use crate::error::{Error, ErrorKind};
use crate::fork::Generational;
use crate::sync::{Mutex, lock};

/// The belief under its lock. It belongs to one process: after a fork the lock
/// may be held by a thread that is no more, and what is in flight never comes
/// back to the child.
struct Ledger {
    belief: Mutex<Belief>,
    started: Instant,
    /// The limit that holds where answers tell none.
    documented: Option<u32>,
}

impl Ledger {
    fn new(documented: u32, known: bool) -> Self {
        Self {
            belief: Mutex::new(Belief::new(documented)),
            started: Instant::now(),
            documented: known.then_some(documented),
        }
    }

    /// Never 0, which means "not known yet" to the belief.
    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX / 2) + 1
    }
}

/// One client's pace in batches.
pub(crate) struct Pace {
    ledger: ArcSwap<Generational<Ledger>>,
    documented: u32,
    known: bool,
}

impl Pace {
    /// `documented` is what Layer grants in this environment; `known` says
    /// whether it is Layer's, or a system about which nothing is documented.
    pub(crate) fn new(documented: u32, known: bool) -> Self {
        let ledger = Generational::new(Ledger::new(documented, known));
        Self {
            ledger: ArcSwap::from_pointee(ledger),
            documented,
            known,
        }
    }

    /// The ledger of this process.
    fn ledger(&self) -> Arc<Generational<Ledger>> {
        let ledger = self.ledger.load_full();
        if ledger.is_current() {
            return ledger;
        }
        let fresh = Generational::new(Ledger::new(self.documented, self.known));
        drop(self.ledger.compare_and_swap(&ledger, Arc::new(fresh)));
        self.ledger.load_full()
    }

    /// Leave to send a request now, or how long to wait before asking again.
    fn take(&self) -> Result<Permit, Duration> {
        let current = self.ledger();
        // None only where a fork comes between the two lines; the next look
        // finds the child's.
        let taken = current
            .get()
            .map_or(Err(1), |ledger| lock(&ledger.belief).take(ledger.now()));
        match taken {
            Ok(()) => Ok(Permit {
                ledger: current,
                state: State::Unused,
            }),
            Err(wait) => Err(Duration::from_millis(wait.unsigned_abs())),
        }
    }

    /// Leave to send a request, if it is to be had now.
    pub(crate) fn at_once(&self) -> Option<Permit> {
        self.take().ok()
    }

    /// Waits until a request may be sent.
    pub(crate) async fn ready(&self) -> Permit {
        loop {
            match self.take() {
                Ok(permit) => return permit,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// Leave to send one request. Dropped before that it is given back; dropped
/// without an answer, as when the call is cancelled, the request counts as
/// lost. In the child of a fork the parent's say nothing to anyone.
pub(crate) struct Permit {
    ledger: Arc<Generational<Ledger>>,
    state: State,
}

enum State {
    Unused,
    Sent,
    Answered,
}

impl Permit {
    /// The request is on its way from here on.
    pub(crate) fn sent(&mut self) {
        self.state = State::Sent;
    }

    /// Takes in what became of the request.
    pub(crate) fn answered(mut self, outcome: Result<&HeaderMap, &Error>) {
        self.state = State::Answered;
        let Some(ledger) = self.ledger.get() else {
            return;
        };
        let now = ledger.now();
        let mut belief = lock(&ledger.belief);
        match outcome {
            Ok(headers) => belief.answered(Reading::of(headers), ledger.documented, now),
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
                belief.limited(wait, now);
            }
            Err(_) => belief.lost(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(ledger) = self.ledger.get() else {
            return;
        };
        match self.state {
            State::Unused => lock(&ledger.belief).unused(),
            State::Sent => lock(&ledger.belief).lost(),
            State::Answered => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork;

    #[test]
    fn b13_the_parents_requests_are_not_the_childs() {
        for in_flight in [32, 95] {
            let pace = Pace::new(100, true);
            let parents: Vec<_> = (0..in_flight).map_while(|_| pace.take().ok()).collect();
            assert_eq!(parents.len(), in_flight);
            fork::pretend::fork();
            let childs: Vec<_> = (0..95).map_while(|_| pace.take().ok()).collect();
            assert_eq!(childs.len(), 95, "{in_flight} in flight in the parent");
            // What the child drops of its parent's is no answer to it.
            drop(parents);
            assert!(pace.take().is_err());
        }
    }

    #[test]
    fn b13_a_lock_of_the_pace_held_at_the_fork_is_not_waited_for() {
        let pace = Pace::new(100, true);
        let parents = pace.take().ok();
        let ledger = pace.ledger();
        let held = lock(&ledger.get().unwrap().belief);
        fork::pretend::fork();
        assert!(pace.take().is_ok());
        drop(parents);
        drop(held);
    }

    #[test]
    fn b17_leave_that_is_not_used_is_given_back() {
        let pace = Pace::new(100, true);
        for _ in 0..1_000 {
            drop(pace.take().ok().unwrap());
        }
        let held: Vec<_> = (0..95).map_while(|_| pace.take().ok()).collect();
        assert_eq!(held.len(), 95);
        assert!(pace.take().is_err());
    }
}
