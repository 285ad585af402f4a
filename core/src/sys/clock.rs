//! The two clocks that measure a token's age, and a clock for tests.
//!
//! A token's age is the *greater* of its ages by the monotonic and by the wall
//! clock. The monotonic clock stops while a machine is suspended or a snapshot
//! is frozen; the wall clock can be set back. Either clock alone would let an
//! expired token be served.

#[cfg(any(test, feature = "test-util"))]
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the monotonic clock shows when the machine starts: two days, twice the longest
/// lifetime of a token. A process may use a token that another machine requested before
/// this one started, so the time of that request must not be negative.
const BOOT: u64 = 2 * 24 * 3_600 * 1_000_000_000;

/// Reading of both clocks, in nanoseconds. The wall clock counts from the Unix
/// epoch, the monotonic clock from two days before the machine's start.
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

    /// Reading of both clocks this long before: at most two days before the machine's
    /// start.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "only a shared cache has older values")
    )]
    pub(crate) fn before(self, age: Duration) -> Self {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        Self {
            mono: self.mono.saturating_sub(age),
            wall: self.wall.saturating_sub(age),
        }
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
                mono: system::monotonic() + BOOT,
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

/// Clock that moves only when a test moves it, or with the time of Tokio.
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug)]
pub struct TestClock(Arc<std::sync::Mutex<TestTime>>);

#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
struct TestTime {
    now: Now,
    changes: u64,
    /// Where the time of Tokio is added to `now`: the time that Tokio had then.
    start: Option<tokio::time::Instant>,
}

#[cfg(any(test, feature = "test-util"))]
impl TestTime {
    /// Time of Tokio since the start, in nanoseconds.
    fn elapsed(&self) -> u64 {
        self.start.map_or(0, |start| {
            let elapsed = tokio::time::Instant::now().saturating_duration_since(start);
            elapsed.as_nanos() as u64
        })
    }
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
        Self::starting_at(None)
    }

    /// Creates a clock that also moves with [`tokio::time::Instant::now`]: in a runtime
    /// whose time is paused, it moves when that time is advanced, which happens by itself
    /// while all tasks sleep. Read it within one runtime only, because each has its own
    /// paused time. The clock can still be moved by hand, in addition.
    #[must_use]
    pub fn following_tokio() -> Self {
        Self::starting_at(Some(tokio::time::Instant::now()))
    }

    fn starting_at(start: Option<tokio::time::Instant>) -> Self {
        let now = Now {
            mono: BOOT + 1_000_000_000_000,
            wall: 1_780_000_000_000_000_000,
        };
        Self(Arc::new(std::sync::Mutex::new(TestTime {
            now,
            changes: 1,
            start,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        let mut time = self.lock();
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
        let time = self.lock();
        let elapsed = time.elapsed();
        Now {
            mono: time.now.mono + elapsed,
            wall: time.now.wall + elapsed,
        }
    }

    #[inline(never)]
    fn tick(&self) -> u64 {
        let time = self.lock();
        // Neither of them ever decreases, so the sum changes if one does.
        time.changes + time.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, TestTime> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
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
    fn b30_token_from_before_the_boot_has_its_age() {
        // The tick is the kernel's own monotonic clock, which starts at 0.
        let (tick, now) = (Clock::System.tick(), Clock::System.now());
        assert!(
            now.mono >= tick + BOOT,
            "{} ns at {tick} ns after the start of the machine",
            now.mono
        );
        // A test clock starts 1,000 s after the boot.
        for (clock, name) in [
            (Clock::System, "the system's clock"),
            (Clock::Test(TestClock::new()), "a test clock"),
        ] {
            let now = clock.now();
            let start = now.before(Duration::from_secs(24 * 3_600));
            // The wall clock tells nothing.
            let start = Now {
                wall: now.wall,
                ..start
            };
            assert_eq!(now.age(start), 24 * 3_600 * SECOND, "by {name}");
        }
    }

    #[test]
    fn time_before_both_clocks_is_their_start() {
        let start = Clock::System.now().before(Duration::MAX);
        assert_eq!(start, Now { mono: 0, wall: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn test_clock_follows_the_time_of_tokio() {
        let test = TestClock::following_tokio();
        let clock = Clock::Test(test.clone());
        let (tick, start) = (clock.tick(), clock.now());
        assert_eq!((clock.tick(), clock.now()), (tick, start), "a paused time");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now().age(start), 3_600 * SECOND, "after a sleep");
        let slept = clock.tick();
        assert_ne!(slept, tick, "the tick after a sleep");
        test.advance(Duration::from_secs(60));
        assert_eq!(clock.now().age(start), 3_660 * SECOND, "moved by hand");
        assert_ne!(clock.tick(), slept, "the tick after a move by hand");
        test.set_wall_back(Duration::from_secs(7_200));
        assert_eq!(
            clock.now().age(start),
            3_660 * SECOND,
            "wall clock set back"
        );
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
