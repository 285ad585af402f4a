//! What callers that miss agree on: the flight in the air, and what past
//! failures mean for the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Entry, policy};
use crate::clock::Now;
use crate::error::{Error, Result};
use crate::fork;
use crate::sync::{Mutex, MutexGuard, lock, random};

/// The agreement under its lock. Belongs to one process: after a fork its lock
/// may be held by a thread that is no more, and its flight is another's.
pub(super) struct Control<V> {
    generation: u32,
    state: Mutex<State<V>>,
}

pub(super) struct State<V> {
    flight: Option<Flight<V>>,
    /// Counts flights, so that a late one does not end a newer one.
    flights: u64,
    /// Failures in a row, and what followed from them.
    failures: u32,
    last_error: Option<Error>,
    quiet_until: u64,
    pub(super) invalidations: policy::Invalidations,
}

/// A fetch in the air.
struct Flight<V> {
    number: u64,
    /// When it is to be over by its own budget, by the monotonic clock.
    ends_by: u64,
    landing: Landing<V>,
}

/// Where a flight's waiters learn how it ended.
pub(super) type Landing<V> = watch::Receiver<Option<Landed<V>>>;
pub(super) type Landed<V> = Result<Arc<Entry<V>>>;

/// How long after its budget a flight is given up. A flight ends by itself
/// within its budget, unless the runtime it runs in is not driven any more.
pub(super) const GRACE: Duration = Duration::from_secs(1);

impl<V> Control<V> {
    pub(super) fn new() -> Self {
        Self {
            generation: fork::generation(),
            state: Mutex::new(State {
                flight: None,
                flights: 0,
                failures: 0,
                last_error: None,
                quiet_until: 0,
                invalidations: policy::Invalidations::new(),
            }),
        }
    }

    pub(super) fn is_of_this_process(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<V>> {
        lock(&self.state)
    }
}

impl<V> State<V> {
    /// The landing of the flight that something can still come of. (The sender
    /// is gone where its task was dropped with its runtime.)
    pub(super) fn in_the_air(&self, now: Now) -> Option<&Landing<V>> {
        self.flight
            .as_ref()
            .filter(|flight| now.mono < flight.ends_by && flight.landing.has_changed().is_ok())
            .map(|flight| &flight.landing)
    }

    /// Notes that a flight begins; gives its number and both ends of its landing.
    pub(super) fn take_off(
        &mut self,
        now: Now,
        budget: Duration,
    ) -> (u64, watch::Sender<Option<Landed<V>>>, Landing<V>) {
        let (sender, landing) = watch::channel(None);
        self.flights += 1;
        let number = self.flights;
        let ends_by = now.mono.saturating_add(policy::nanos(budget + GRACE));
        self.flight = Some(Flight {
            number,
            ends_by,
            landing: landing.clone(),
        });
        (number, sender, landing)
    }

    /// Notes that a flight is over; `false` if it was given up before, and is
    /// not the one that counts any more.
    pub(super) fn touch_down(&mut self, number: u64) -> bool {
        let counts = self
            .flight
            .as_ref()
            .is_some_and(|flight| flight.number == number);
        if counts {
            self.flight = None;
        }
        counts
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.last_error = None;
        self.quiet_until = 0;
    }

    /// Takes in a failure; gives how long to wait before the next refresh.
    pub(super) fn failed(&mut self, error: &Error, now: Now) -> u64 {
        self.failures = self.failures.saturating_add(1);
        let quiet = policy::quiet_time(self.failures, error, random());
        self.quiet_until = now.mono.saturating_add(quiet);
        self.last_error = Some(error.clone());
        policy::refresh_backoff(self.failures, error, random()).max(quiet)
    }

    pub(super) fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }

    /// The error to answer with at once, while it is too early to ask again.
    pub(super) fn quiet(&self, now: Now) -> Option<&Error> {
        if now.mono < self.quiet_until {
            self.last_error.as_ref()
        } else {
            None
        }
    }
}
