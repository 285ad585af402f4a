//! One value with its life.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Fetched, policy};
use crate::clock::{Clock, Now};
use crate::fork;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, random};

/// A value, and all that decides whether it may be handed out.
pub(crate) struct Entry<V> {
    pub(crate) value: V,
    born: Now,
    /// The age at which it is dead.
    life: u64,
    /// The age up to which it is handed out without a wait.
    soft_life: u64,
    /// The age from which it was to be refreshed when it came.
    first_refresh_age: u64,
    /// The age from which it is refreshed; moved on by whoever takes that on.
    refresh_age: AtomicU64,
    /// The clock's tick at which it was last found good, refresh not due. Saves
    /// every further caller within the tick the reading of both clocks.
    good_at: AtomicU64,
    /// A refresh has been due: from here on serving it is serving stale.
    stale: AtomicBool,
    /// The process that drew the refresh age.
    generation: AtomicU32,
}

/// What a value is good for at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// To be handed out, and a refresh is due.
    Refresh,
    /// Not to be handed out without trying for a better one.
    Spent,
}

impl<V> Entry<V> {
    pub(super) fn new(fetched: Fetched<V>) -> Self {
        let life = policy::life(fetched.lifetime);
        let reserve = Duration::from_secs_f64(
            fetched.lifetime.as_secs_f64() * fetched.reserve.clamp(0.0, 1.0),
        );
        let soft_life = policy::oldest_with_remaining(life, policy::nanos(reserve));
        let refresh_age = policy::refresh_age(soft_life, random());
        Self {
            value: fetched.value,
            born: fetched.requested_at,
            life,
            soft_life,
            first_refresh_age: refresh_age,
            refresh_age: AtomicU64::new(refresh_age),
            good_at: AtomicU64::new(0),
            stale: AtomicBool::new(false),
            generation: AtomicU32::new(fork::generation()),
        }
    }

    /// The hit path: one reading of one clock, as long as the tick lasts.
    #[inline]
    pub(super) fn verdict(&self, clock: &Clock) -> Verdict {
        let tick = clock.tick();
        if self.good_at.load(Ordering::Relaxed) == tick {
            return Verdict::Good;
        }
        self.judge(clock, tick)
    }

    fn judge(&self, clock: &Clock, tick: u64) -> Verdict {
        let age = clock.now().age(self.born);
        if !policy::is_alive(age, self.soft_life) {
            return Verdict::Spent;
        }
        if age >= self.refresh_age.load(Ordering::Relaxed) {
            return Verdict::Refresh;
        }
        self.good_at.store(tick, Ordering::Relaxed);
        Verdict::Good
    }

    pub(super) fn is_alive(&self, now: Now) -> bool {
        policy::is_alive(now.age(self.born), self.life)
    }

    /// Whether it may be handed out without a wait.
    pub(super) fn is_good(&self, now: Now) -> bool {
        policy::is_alive(now.age(self.born), self.soft_life)
    }

    /// The same for a caller with a wish of its own.
    pub(super) fn has_remaining(&self, now: Now, wanted: Duration) -> bool {
        let oldest = policy::oldest_with_remaining(self.life, policy::nanos(wanted));
        policy::is_alive(now.age(self.born), oldest)
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Takes on the refresh that is due. At most one caller gets `true`; the
    /// next chance comes after `budget`, should the refresh get lost.
    pub(super) fn claim_refresh(&self, now: Now, budget: Duration) -> bool {
        let age = now.age(self.born);
        let due = self.refresh_age.load(Ordering::Relaxed);
        if age < due {
            return false;
        }
        let change = |next| {
            self.refresh_age
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        let this = fork::generation();
        if self.generation.load(Ordering::Relaxed) != this
            && self.generation.swap(this, Ordering::Relaxed) != this
        {
            let redrawn = policy::refresh_age_after_fork(due, self.soft_life, random());
            if redrawn > age {
                change(redrawn);
                return false;
            }
        }
        let claimed = change(age.saturating_add(policy::nanos(budget)));
        if claimed {
            self.stale.store(true, Ordering::Relaxed);
        }
        claimed
    }

    /// The next refresh, after a fetch that failed. It may have been for
    /// somebody whom this value did not suffice: that is no reason to refresh
    /// it sooner than it is due.
    pub(super) fn postpone_refresh(&self, now: Now, wait: u64) {
        let next = now.age(self.born).saturating_add(wait);
        self.refresh_age
            .store(next.max(self.first_refresh_age), Ordering::Relaxed);
    }

    /// Whether this one was requested later than `other`.
    pub(super) fn is_younger_than(&self, other: &Self) -> bool {
        self.born.mono > other.born.mono
    }

    /// When it dies, by the monotonic clock alone.
    pub(super) fn dies_at(&self) -> u64 {
        self.born.mono.saturating_add(self.life)
    }

    /// How long until a refresh is due.
    pub(crate) fn until_refresh(&self, now: Now) -> Duration {
        let due = self.refresh_age.load(Ordering::Relaxed);
        Duration::from_nanos(due.saturating_sub(now.age(self.born)))
    }
}
