//! Emulator clock: the system clock plus an offset, or stopped.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lock::lock;

/// Milliseconds since the Unix epoch.
pub(crate) type UnixMillis = i64;

/// Largest offset in milliseconds, a century. It prevents overflow in all later
/// sums.
const MAX_OFFSET: i64 = 100 * 366 * 86_400_000;

/// Clock of token lifetimes, the rate limit and the `Date` header. Tests move
/// it instead of waiting.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    time: Mutex<Time>,
}

/// Offset from the system clock, and the system time of a stop.
#[derive(Debug, Default)]
struct Time {
    offset: i64,
    stopped_at: Option<UnixMillis>,
}

impl Time {
    fn at(&self, system: UnixMillis) -> UnixMillis {
        self.stopped_at
            .unwrap_or(system)
            .saturating_add(self.offset)
    }

    fn shift(&mut self, by: i64) {
        self.offset = self
            .offset
            .saturating_add(by)
            .clamp(-MAX_OFFSET, MAX_OFFSET);
    }

    fn stop(&mut self, system: UnixMillis) {
        self.stopped_at.get_or_insert(system);
    }

    /// Continues from the time of the stop.
    fn run(&mut self, system: UnixMillis) {
        if let Some(at) = self.stopped_at.take() {
            self.offset = self.offset.saturating_sub(system - at);
        }
    }
}

impl Clock {
    pub(crate) fn now(&self) -> UnixMillis {
        lock(&self.time).at(system_millis())
    }

    /// Moves the clock, also a stopped one; back if `by` is negative.
    pub(crate) fn shift(&self, by: i64) {
        lock(&self.time).shift(by);
    }

    pub(crate) fn stop(&self) {
        lock(&self.time).stop(system_millis());
    }

    pub(crate) fn run(&self) {
        lock(&self.time).run(system_millis());
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.time).stopped_at.is_some()
    }

    pub(crate) fn reset(&self) {
        *lock(&self.time) = Time::default();
    }
}

fn system_millis() -> UnixMillis {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// A duration in milliseconds, limited to `i64::MAX`.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The time in the format of the `Date` header.
pub(crate) fn http_date(at: UnixMillis) -> String {
    let since = Duration::from_millis(u64::try_from(at).unwrap_or(0));
    // httpdate panics after the year 9999, which MAX_OFFSET excludes.
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_clock_moves_only_by_shifts_and_continues_without_a_jump() {
        let mut time = Time::default();
        time.stop(10_000);
        assert_eq!(time.at(15_000), 10_000, "a stopped clock must not run");
        time.stop(16_000);
        assert_eq!(time.at(17_000), 10_000, "a second stop must do nothing");
        time.shift(1_000);
        assert_eq!(time.at(18_000), 11_000, "a stopped clock must be movable");
        time.shift(-3_000);
        assert_eq!(time.at(19_000), 8_000, "a shift back must move it back");
        time.run(20_000);
        assert_eq!(time.at(20_000), 8_000, "running again must not jump");
        assert_eq!(time.at(20_500), 8_500, "it must run at normal speed");
    }

    #[test]
    fn clock_stops_runs_and_resets() {
        let clock = Clock::default();
        clock.stop();
        assert!(clock.is_stopped(), "the clock must be stopped");
        clock.shift(-1_000_000);
        clock.run();
        assert!(!clock.is_stopped(), "the clock must run");
        assert!(
            clock.now() < system_millis(),
            "the shift must stay after running again"
        );
        clock.reset();
        let before = system_millis();
        let now = clock.now();
        let after = system_millis();
        assert!(
            (before..=after).contains(&now),
            "after a reset the clock must be the system clock: {before} <= {now} <= {after}"
        );
    }

    #[test]
    fn shift_of_more_than_a_century_is_limited() {
        let clock = Clock::default();
        clock.shift(i64::MAX);
        clock.shift(i64::MAX);
        let date = http_date(clock.now());
        assert!(date.ends_with("GMT"), "not an HTTP date: {date}");
        clock.shift(i64::MIN);
        clock.shift(i64::MIN);
        let date = http_date(clock.now());
        assert!(
            date.contains("1970"),
            "a time before the epoch must give 1970, got {date}"
        );
    }
}
