//! The emulator's clock: the system's, moved by an offset, or stopped.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::lock;

/// Milliseconds since the Unix epoch.
pub(crate) type UnixMillis = i64;

/// One clock for token lifetimes, the rate limit and the `Date` header, so that
/// tests move time instead of waiting for it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    state: Mutex<ClockState>,
}

#[derive(Debug, Default)]
struct ClockState {
    offset: i64,
    stopped_at: Option<UnixMillis>,
}

impl Clock {
    pub(crate) fn now(&self) -> UnixMillis {
        let state = lock(&self.state);
        state
            .stopped_at
            .unwrap_or_else(system_millis)
            .saturating_add(state.offset)
    }

    /// Moves the clock, back if `by` is negative. A stopped clock moves too.
    pub(crate) fn shift(&self, by: i64) {
        let mut state = lock(&self.state);
        // A century each way keeps every later sum far from overflow.
        let century = 100 * 366 * 86_400_000;
        state.offset = state.offset.saturating_add(by).clamp(-century, century);
    }

    pub(crate) fn stop(&self) {
        let mut state = lock(&self.state);
        if state.stopped_at.is_none() {
            state.stopped_at = Some(system_millis());
        }
    }

    /// Runs again from where it stopped, so that nothing jumps.
    pub(crate) fn run(&self) {
        let mut state = lock(&self.state);
        if let Some(at) = state.stopped_at.take() {
            state.offset = state.offset.saturating_sub(system_millis() - at);
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.state).stopped_at.is_some()
    }

    pub(crate) fn reset(&self) {
        *lock(&self.state) = ClockState::default();
    }
}

fn system_millis() -> UnixMillis {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// A duration in milliseconds, capped instead of wrapped.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The form of the `Date` header.
pub(crate) fn http_date(at: UnixMillis) -> String {
    let since = Duration::from_millis(u64::try_from(at).unwrap_or(0));
    // httpdate panics past the year 9999; the clamp in `shift` keeps us far off.
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_stands_moves_by_hand_and_runs_on_without_a_jump() {
        let clock = Clock::default();
        clock.stop();
        let at = clock.now();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(clock.now(), at);
        clock.shift(1_000);
        assert_eq!(clock.now(), at + 1_000);
        clock.shift(-3_000);
        assert_eq!(clock.now(), at - 2_000);
        clock.run();
        assert!((clock.now() - (at - 2_000)).abs() < 1_000);
        clock.reset();
        assert!((clock.now() - system_millis()).abs() < 1_000);
    }

    #[test]
    fn absurd_shifts_are_capped() {
        let clock = Clock::default();
        clock.shift(i64::MAX);
        clock.shift(i64::MAX);
        assert!(http_date(clock.now()).ends_with("GMT"));
        clock.shift(i64::MIN);
        clock.shift(i64::MIN);
        assert!(http_date(clock.now()).contains("1970"));
    }
}
