//! Cached value with its lifetime.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::policy;
use crate::sys::clock::{Clock, Now};
use crate::sys::fork;
use crate::sys::jitter::random;
use crate::sys::sync::{AtomicBool, AtomicU32, AtomicU64};

/// New value with the data that determines its lifetime.
pub(crate) struct Fetched<V> {
    pub(crate) value: V,
    /// Read before the request was sent, because the server may count the
    /// lifetime from then.
    pub(crate) requested_at: Now,
    pub(crate) lifetime: Duration,
    /// Share of the lifetime that must be left for a caller to get the value
    /// without a wait; 0 if it can be served until it expires.
    pub(crate) reserve: f64,
}

impl<V> Fetched<V> {
    /// When it expires, by the monotonic clock alone.
    pub(super) fn expires_at(&self) -> u64 {
        let lifetime = u64::try_from(self.lifetime.as_nanos()).unwrap_or(u64::MAX);
        self.requested_at.mono.saturating_add(lifetime)
    }
}

/// Cached value, with everything that decides whether it may be served. Ages are
/// in nanoseconds.
pub(crate) struct Entry<V> {
    pub(crate) value: V,
    requested_at: Now,
    /// Age at which the value expires.
    life: u64,
    /// Age up to which the value is served without a wait, by default.
    soft_life: u64,
    /// Share of the lifetime after which it is refreshed (the bits of an
    /// `f64`).
    refresh_share: AtomicU64,
    /// Age before which no other refresh is tried.
    next_refresh: AtomicU64,
    /// Clock tick of the last successful check, and [`STALE`] if a refresh was due.
    /// Other callers in the same tick need not read both clocks.
    good_at: AtomicU64,
    /// Whether a refresh is due. From then on, each hit counts as a stale hit.
    stale: AtomicBool,
    /// Process generation that drew the refresh share.
    generation: AtomicU32,
}

/// Bit of [`Entry::good_at`] that no clock tick has.
const STALE: u64 = 1 << 63;

/// Verdict on a value at the current time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Valid.
    Good,
    /// Valid, and a refresh is due.
    Refresh,
    /// Too old: may be served only if a fetch of a newer value fails.
    Spent,
}

impl<V> Entry<V> {
    pub(super) fn new(fetched: Fetched<V>) -> Self {
        let life = policy::life(fetched.lifetime);
        let reserve = Duration::from_secs_f64(
            fetched.lifetime.as_secs_f64() * fetched.reserve.clamp(0.0, 1.0),
        );
        Self {
            value: fetched.value,
            requested_at: fetched.requested_at,
            life,
            soft_life: policy::oldest_with_remaining(life, policy::nanos(reserve)),
            refresh_share: AtomicU64::new(policy::refresh_share(random()).to_bits()),
            next_refresh: AtomicU64::new(0),
            good_at: AtomicU64::new(0),
            stale: AtomicBool::new(false),
            generation: AtomicU32::new(fork::generation()),
        }
    }

    /// Whether a hit of a value that was found valid in this clock tick is a stale hit,
    /// for callers without a `min_remaining`; `None` if it must be checked. This is the
    /// hit path.
    #[inline]
    pub(super) fn hit_at(&self, tick: u64) -> Option<bool> {
        let good_at = self.good_at.load(Ordering::Relaxed);
        if good_at == tick {
            Some(false)
        } else if good_at == tick | STALE {
            Some(true)
        } else {
            None
        }
    }

    /// Verdict for a caller that requires a lifetime of `min_remaining`, or the
    /// default. `tick` was read from the clock before.
    pub(super) fn check(
        &self,
        clock: &Clock,
        tick: u64,
        min_remaining: Option<Duration>,
    ) -> Verdict {
        let verdict = self.verdict_at(clock.now(), min_remaining);
        if verdict == Verdict::Good && min_remaining.is_none() {
            let stamp = |is_stale| if is_stale { tick | STALE } else { tick };
            let is_stale = self.is_stale();
            self.good_at.store(stamp(is_stale), Ordering::SeqCst);
            // Another thread may have claimed the refresh meanwhile.
            if !is_stale && self.stale.load(Ordering::SeqCst) {
                self.good_at.store(stamp(true), Ordering::SeqCst);
            }
        }
        verdict
    }

    /// The only place that decides whether a value may be served.
    pub(super) fn verdict_at(&self, now: Now, min_remaining: Option<Duration>) -> Verdict {
        let (age, limit) = (now.age(self.requested_at), self.limit(min_remaining));
        if !policy::is_alive(age, limit) {
            Verdict::Spent
        } else if age >= self.refresh_age(limit) {
            Verdict::Refresh
        } else {
            Verdict::Good
        }
    }

    /// Age up to which the value is served to a caller with this
    /// `min_remaining`.
    fn limit(&self, min_remaining: Option<Duration>) -> u64 {
        min_remaining.map_or(self.soft_life, |wanted| {
            policy::oldest_with_remaining(self.life, policy::nanos(wanted))
        })
    }

    /// Age from which it is refreshed for callers with this limit.
    fn refresh_age(&self, limit: u64) -> u64 {
        self.first_refresh_age(limit)
            .max(self.next_refresh.load(Ordering::Relaxed))
    }

    fn first_refresh_age(&self, limit: u64) -> u64 {
        let share = f64::from_bits(self.refresh_share.load(Ordering::Relaxed));
        policy::scale(limit, share)
    }

    pub(super) fn is_alive(&self, now: Now) -> bool {
        policy::is_alive(now.age(self.requested_at), self.life)
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Claims the refresh that is due. At most one caller gets `true`. If its
    /// refresh never ends, another caller can claim it after `budget`.
    pub(super) fn claim_refresh(
        &self,
        now: Now,
        min_remaining: Option<Duration>,
        budget: Duration,
    ) -> bool {
        let (age, limit) = (now.age(self.requested_at), self.limit(min_remaining));
        let next = self.next_refresh.load(Ordering::Relaxed);
        if age < self.refresh_age(limit) {
            return false;
        }
        fork::notice();
        let this = fork::generation();
        if self.generation.load(Ordering::Relaxed) != this
            && self.generation.swap(this, Ordering::Relaxed) != this
        {
            // Forked children have the same value with the same refresh share.
            // Each child draws a new share, so that they do not refresh together.
            let share = f64::from_bits(self.refresh_share.load(Ordering::Relaxed));
            let share = policy::refresh_share_after_fork(share, random());
            self.refresh_share.store(share.to_bits(), Ordering::Relaxed);
            if age < self.refresh_age(limit) {
                return false;
            }
        }
        let claimed = self
            .next_refresh
            .compare_exchange(
                next,
                age.saturating_add(policy::nanos(budget)),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok();
        if claimed && age >= self.first_refresh_age(self.soft_life) {
            self.stale.store(true, Ordering::SeqCst);
            self.good_at.store(0, Ordering::SeqCst);
        }
        claimed
    }

    /// Postpones the next refresh.
    pub(super) fn postpone_refresh(&self, now: Now, wait: u64) {
        let next = now.age(self.requested_at).saturating_add(wait);
        self.next_refresh.store(next, Ordering::Relaxed);
    }

    /// Age: the greater of the ages by both clocks.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "for a shared cache")
    )]
    pub(crate) fn age(&self, now: Now) -> Duration {
        Duration::from_nanos(now.age(self.requested_at))
    }

    /// Age up to which it is served to a caller who requires `min_remaining`, or the
    /// default. Its refreshes are timed by this age.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "for a shared cache")
    )]
    pub(crate) fn oldest(&self, min_remaining: Option<Duration>) -> Duration {
        Duration::from_nanos(self.limit(min_remaining))
    }

    /// When it was requested, which is when its lifetime began.
    #[cfg(test)]
    pub(crate) fn requested_at(&self) -> Now {
        self.requested_at
    }

    /// Whether this value was requested later than `other`.
    pub(super) fn is_younger_than(&self, other: &Self) -> bool {
        self.requested_at.mono > other.requested_at.mono
    }

    /// Expiry by the monotonic clock alone.
    pub(super) fn expires_at(&self) -> u64 {
        self.requested_at.mono.saturating_add(self.life)
    }

    /// Time until a refresh is due.
    pub(crate) fn until_refresh(&self, now: Now) -> Duration {
        let due = self.refresh_age(self.soft_life);
        Duration::from_nanos(due.saturating_sub(now.age(self.requested_at)))
    }
}
