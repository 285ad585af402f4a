//! The two clocks that measure a token's age, and a clock for tests.
//!
//! A token's age is the *greater* of its ages by the monotonic and by the wall
//! clock. The monotonic clock stops while a machine is suspended or a snapshot
//! is frozen; the wall clock can be set back. Either clock alone would let an
//! expired token be served.

#[cfg(any(test, feature = "test-util"))]
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reading of both clocks, in nanoseconds. The wall clock counts from the Unix
/// epoch, the monotonic clock from an arbitrary moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) mono: u64,
    pub(crate) wall: u64,
}

impl Now {
    /// Time since `start`, in nanoseconds: the greater of the times by both clocks.
    pub(crate) fn age(self, start: Self) -> u64 {
        let mono = self.mono.saturating_sub(start.mono);
        let wall = self.wall.saturating_sub(start.wall);
        mono.max(wall)
    }

    pub(crate) fn system_time(self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_nanos(self.wall))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// Source of the time.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The kernel's coarse clocks: no system call, a third of the cost of
    /// `Instant::now()`, and a resolution of about 4 ms, which is enough for token
    /// lifetimes.
    System,
    #[cfg(any(test, feature = "test-util"))]
    Test(TestClock),
}

impl Clock {
    pub(crate) fn now(&self) -> Now {
        match self {
            Self::System => Now {
                mono: system::monotonic(),
                wall: system::wall(),
            },
            #[cfg(any(test, feature = "test-util"))]
            Self::Test(clock) => clock.now(),
        }
    }

    /// Stamp that changes when the result of [`Clock::now`] changes.
    ///
    /// The kernel moves both coarse clocks at the same tick, so reading one of
    /// them, at half the cost, tells whether a tick has passed. (A wall clock that
    /// is *set* between two ticks is noticed at the next one, as with any clock of
    /// this resolution.)
    #[inline]
    pub(crate) fn tick(&self) -> u64 {
        match self {
            Self::System => system::monotonic(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Test(clock) => clock.tick(),
        }
    }
}

/// The kernel's coarse clocks, on systems that have them.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
mod system {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    #[inline]
    pub(super) fn monotonic() -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse))
    }

    #[inline]
    pub(super) fn wall() -> u64 {
        nanos(clock_gettime(ClockId::RealtimeCoarse))
    }

    #[inline]
    fn nanos(time: Timespec) -> u64 {
        // Never negative on a machine that has booted after 1970.
        (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64)
    }
}

/// The standard library's clocks, on other systems: exact, and slightly slower.
#[cfg(any(
    test,
    not(any(target_os = "linux", target_os = "android", target_os = "freebsd"))
))]
#[cfg_attr(
    any(target_os = "linux", target_os = "android", target_os = "freebsd"),
    allow(dead_code, reason = "on these systems only its tests use it")
)]
mod exact {
    use std::sync::LazyLock;
    use std::time::{Instant, SystemTime};

    /// Reference point: an instant only measures the time since another.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(super) fn monotonic() -> u64 {
        u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn wall() -> u64 {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
use exact as system;

/// Clock that moves only when a test moves it.
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug)]
pub struct TestClock(Arc<std::sync::Mutex<TestTime>>);

#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
struct TestTime {
    now: Now,
    changes: u64,
}

#[cfg(any(test, feature = "test-util"))]
impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, feature = "test-util"))]
impl TestClock {
    /// Creates a clock at an arbitrary moment of 2026.
    #[must_use]
    pub fn new() -> Self {
        let now = Now {
            mono: 1_000_000_000_000,
            wall: 1_780_000_000_000_000_000,
        };
        Self(Arc::new(std::sync::Mutex::new(TestTime {
            now,
            changes: 1,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        let mut time = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut time.now);
        time.changes += 1;
    }

    /// Moves both clocks forward, as passing time does.
    pub fn advance(&self, by: Duration) {
        self.change(|now| {
            now.mono += by.as_nanos() as u64;
            now.wall += by.as_nanos() as u64;
        });
    }

    /// Moves only the wall clock forward, as a suspended machine does.
    pub fn suspend(&self, by: Duration) {
        self.change(|now| now.wall += by.as_nanos() as u64);
    }

    /// Moves the wall clock back, as an administrator may do.
    pub fn set_wall_back(&self, by: Duration) {
        self.change(|now| now.wall = now.wall.saturating_sub(by.as_nanos() as u64));
    }

    /// Time of the wall clock.
    #[must_use]
    pub fn system_time(&self) -> SystemTime {
        self.now().system_time()
    }

    #[inline(never)]
    fn now(&self) -> Now {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .now
    }

    #[inline(never)]
    fn tick(&self) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn b09_age_is_the_greater_of_both_clocks() {
        let start = Now {
            mono: 100 * SECOND,
            wall: 1_000 * SECOND,
        };
        for (mono, wall, age, what) in [
            (100, 1_000, 0, "at the start"),
            (110, 1_010, 10, "time passes"),
            (100, 1_500, 500, "suspended, or the wall clock set forward"),
            (
                110,
                500,
                10,
                "a wall clock set back does not extend the lifetime",
            ),
            (
                90,
                900,
                0,
                "both before the start: a reading from another core",
            ),
        ] {
            let now = Now {
                mono: mono * SECOND,
                wall: wall * SECOND,
            };
            assert_eq!(now.age(start), age * SECOND, "{what}");
        }
    }

    #[test]
    fn system_clocks_agree_with_the_standard_library() {
        let exact = Now {
            mono: exact::monotonic(),
            wall: exact::wall(),
        };
        for now in [Clock::System.now(), exact] {
            let wall = now.system_time();
            let difference = match SystemTime::now().duration_since(wall) {
                Ok(late) => late,
                Err(early) => early.duration(),
            };
            assert!(difference < Duration::from_secs(1), "{difference:?}");
        }
        assert!(exact::monotonic() >= exact.mono);
    }
}
