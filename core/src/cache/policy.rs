//! When to refresh, when a value is dead, how long to be quiet. Pure functions
//! of lifetime, time and history; times in nanoseconds.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::retry::LONGEST_RETRY_AFTER;

const SECOND: u64 = 1_000_000_000;

/// The coarsest tick that kernels have (100 Hz): a coarse clock may be late by
/// as much, and a value's verdict is remembered for as long.
const TICK: u64 = SECOND / 100;

/// The life in which a value is handed out: a tick less than the server's, so
/// that by no clock is one served that has died.
pub(super) fn life(lifetime: Duration) -> u64 {
    nanos(lifetime).saturating_sub(TICK)
}

/// The age from which a value is refreshed: 75 to 85 % of the life in which it
/// is handed out, drawn anew for each value, so that a fleet that started
/// together does not ask together. A share of the life, not a fixed time: a
/// window of minutes would refresh a short-lived value on every call.
pub(super) fn refresh_age(life: u64, random: f64) -> u64 {
    scale(life, 0.75 + 0.10 * random)
}

/// After a fork: children hold the same value with the same refresh age, so
/// each draws a new one, later than the parent's by up to a tenth of the life.
pub(super) fn refresh_age_after_fork(refresh_age: u64, life: u64, random: f64) -> u64 {
    // Kept below 95 %, so that a refresh has time before the value dies.
    refresh_age.max((refresh_age + scale(life, 0.10 * random)).min(scale(life, 0.95)))
}

/// Whether a value of this age may still be handed out.
pub(super) fn is_alive(age: u64, life: u64) -> bool {
    age < life
}

/// How old a value may be to have `wanted` of its life left. A wish that the
/// server's lifetimes cannot meet is cut to nine tenths: otherwise each call
/// would fetch a value that falls short again.
pub(super) fn oldest_with_remaining(life: u64, wanted: u64) -> u64 {
    life - wanted.min(scale(life, 0.9))
}

/// How long to wait before the next refresh of a value that is still good,
/// after so many failures in a row: from 1 s, doubling to 60 s, full jitter
/// above the first half.
pub(super) fn refresh_backoff(failures: u32, error: &Error, random: f64) -> u64 {
    let wait = jittered(doubled(SECOND, failures, 60 * SECOND), random);
    wait.max(asked(error))
}

/// How long callers get the last error at once, with no request, where there
/// is no value to serve.
///
/// A permanent failure (`invalid_client`): 2 s, doubling to 60 s. The request
/// cannot succeed before somebody mends something, and people need longer
/// than that. A transient one: at first not at all, since the sequence of
/// retries was long enough; then 0.25 s, doubling to 5 s, so that callers in
/// a loop do not add to an outage, yet its end is seen soon.
pub(super) fn quiet_time(failures: u32, error: &Error, random: f64) -> u64 {
    let wait = if !error.is_retryable() {
        jittered(doubled(2 * SECOND, failures, 60 * SECOND), random)
    } else if failures <= 1 {
        0
    } else {
        jittered(doubled(SECOND / 4, failures - 1, 5 * SECOND), random)
    };
    wait.max(asked(error))
}

/// Whether other credentials could mend this failure, so that reading them
/// again is worth it before its quiet time is over: a refusal of them, or a
/// source that had none to give. Nothing else gets better by it.
pub(super) fn may_be_mended_by_credentials(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::OAuth => !error.is_retryable(),
        // The latter is a provider that panicked.
        ErrorKind::Credentials | ErrorKind::Internal => true,
        _ => false,
    }
}

/// What the server asked for, within reason.
fn asked(error: &Error) -> u64 {
    nanos(
        error
            .retry_after()
            .unwrap_or_default()
            .min(LONGEST_RETRY_AFTER),
    )
}

fn doubled(base: u64, failures: u32, cap: u64) -> u64 {
    base.saturating_mul(1 << failures.saturating_sub(1).min(32))
        .min(cap)
}

/// From half of it to all of it.
fn jittered(time: u64, random: f64) -> u64 {
    scale(time, 0.5 + 0.5 * random)
}

fn scale(time: u64, share: f64) -> u64 {
    // Exact enough: a day in nanoseconds needs 47 of a double's 53 bits.
    (time as f64 * share) as u64
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How often a value may be thrown away because its user says that the server
/// refused it: five times at once, then once in ten seconds. An API that
/// answers 401 to everything then costs a token request in ten seconds, and
/// not one per call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invalidations {
    /// When the allowance is full again, by the monotonic clock.
    full_at: u64,
}

impl Invalidations {
    const EACH: u64 = 10 * SECOND;
    const BURST: u64 = 5;

    pub(super) const fn new() -> Self {
        Self { full_at: 0 }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: u64) -> bool {
        let full_at = self.full_at.max(now) + Self::EACH;
        let granted = full_at <= now + Self::EACH * Self::BURST;
        if granted {
            self.full_at = full_at;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Details;

    fn transient(retry_after: Option<u64>) -> Error {
        let details = Details {
            retry_after: retry_after.map(Duration::from_secs),
            ..Details::default()
        };
        Error::with_details(ErrorKind::Transport, "x", "", details)
    }

    fn permanent() -> Error {
        Error::new(ErrorKind::OAuth, "x", "")
    }

    #[test]
    fn b04_the_window_scales_with_the_life() {
        for (life, random, expected) in [
            (3_600, 0.0, 2_700),
            (3_600, 0.5, 2_880),
            (3_600, 1.0, 3_060),
            (200, 0.5, 160),
            (15, 0.5, 12),
            (86_400, 0.5, 69_120),
            (0, 0.5, 0),
        ] {
            assert_eq!(
                refresh_age(life * SECOND, random) / SECOND,
                expected,
                "{life} {random}"
            );
        }
    }

    #[test]
    fn b05_a_value_is_good_to_its_last_moment_and_not_after() {
        for (age, life, alive) in [
            (0, 1, true),
            (59, 60, true),
            (60, 60, false),
            (61, 60, false),
            (0, 0, false),
        ] {
            assert_eq!(is_alive(age, life), alive, "{age} of {life}");
        }
    }

    #[test]
    fn b05_a_coarse_clock_that_is_late_serves_nothing_dead() {
        for (ms, life_ms) in [
            (3_600_000, 3_599_990),
            (1_000, 990),
            (10, 0),
            (5, 0),
            (0, 0),
        ] {
            assert_eq!(
                life(Duration::from_millis(ms)),
                life_ms * SECOND / 1_000,
                "{ms} ms"
            );
        }
    }

    #[test]
    fn b05_refreshes_back_off() {
        for (failures, random, error, seconds) in [
            (1, 1.0, transient(None), 1.0),
            (1, 0.0, transient(None), 0.5),
            (2, 1.0, transient(None), 2.0),
            (5, 1.0, transient(None), 16.0),
            (7, 1.0, transient(None), 60.0),
            (1_000, 1.0, transient(None), 60.0),
            (1, 1.0, permanent(), 1.0),
            (1, 1.0, transient(Some(30)), 30.0),
            (1, 1.0, transient(Some(9_999)), 60.0),
        ] {
            let wait = refresh_backoff(failures, &error, random) as f64 / SECOND as f64;
            assert_eq!(wait, seconds, "{failures} {random}");
        }
    }

    #[test]
    fn b06_quiet_times() {
        for (failures, random, error, seconds) in [
            (1, 1.0, permanent(), 2.0),
            (1, 0.0, permanent(), 1.0),
            (2, 1.0, permanent(), 4.0),
            (6, 1.0, permanent(), 60.0),
            (u32::MAX, 1.0, permanent(), 60.0),
            (1, 1.0, transient(None), 0.0),
            (2, 1.0, transient(None), 0.25),
            (3, 1.0, transient(None), 0.5),
            (1_000, 1.0, transient(None), 5.0),
            (1, 1.0, transient(Some(7)), 7.0),
        ] {
            let wait = quiet_time(failures, &error, random) as f64 / SECOND as f64;
            assert_eq!(wait, seconds, "{failures} {random}");
        }
    }

    #[test]
    fn b06_only_failures_of_the_credentials_are_mended_by_others() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "x", "");
            let expected = matches!(
                kind,
                ErrorKind::OAuth | ErrorKind::Credentials | ErrorKind::Internal
            );
            assert_eq!(may_be_mended_by_credentials(&error), expected, "{kind}");
        }
        let overloaded = Details {
            http_status: Some(503),
            ..Details::default()
        };
        let overloaded = Error::with_details(ErrorKind::OAuth, "x", "", overloaded);
        assert!(!may_be_mended_by_credentials(&overloaded));
    }

    #[test]
    fn b11_invalidations_are_rationed_and_recover() {
        let mut ration = Invalidations::new();
        let mut granted = 0;
        for _ in 0..100 {
            granted += u32::from(ration.take(1_000 * SECOND));
        }
        assert_eq!(granted, 5);
        assert!(!ration.take(1_009 * SECOND));
        assert!(ration.take(1_010 * SECOND));
        assert!(!ration.take(1_010 * SECOND));
        for _ in 0..5 {
            assert!(ration.take(2_000 * SECOND));
        }
    }

    #[test]
    fn b13_children_spread_and_stay_in_time() {
        let life = 3_600 * SECOND;
        let parents = refresh_age(life, 1.0);
        assert_eq!(refresh_age_after_fork(parents, life, 0.0), parents);
        assert_eq!(refresh_age_after_fork(parents, life, 1.0), 3_420 * SECOND);
        let late = life - SECOND;
        assert_eq!(refresh_age_after_fork(late, life, 1.0), late);
    }

    #[test]
    fn b16_a_wish_that_cannot_be_met_still_lets_values_be_used_twice() {
        for (life, wanted, oldest) in [
            (3_600, 1_800, 1_800),
            (3_600, 0, 3_600),
            (100, 100, 10),
            (100, 9_999, 10),
        ] {
            let oldest_age = oldest_with_remaining(life * SECOND, wanted * SECOND) / SECOND;
            assert_eq!(oldest_age, oldest, "{wanted} of {life}");
        }
    }
}
