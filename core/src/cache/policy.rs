//! Policy of the cache: when to refresh, when a value has expired, and how long
//! no request is sent after a failure. All functions are pure; times are in
//! nanoseconds.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::retry::retry_after;

const SECOND: u64 = 1_000_000_000;

/// The longest clock tick of common kernels (100 Hz). A coarse clock may be late
/// by this much, and a verdict stays valid for this long.
const TICK: u64 = SECOND / 100;

/// Age below which a refused value is not replaced by another one for its key, so that a
/// server that answers every request with 401 causes one request in this time.
pub(crate) const REFUSED_AGE: Duration = Duration::from_secs(10);

/// How often credentials may be read again during a quiet time.
pub(super) const REREAD_INTERVAL: u64 = SECOND;

/// Whether other credentials could fix this failure of the token endpoint or of
/// the source of the credentials, so that they are read again.
pub(crate) fn may_be_fixed_by_credentials(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::OAuth => !error.is_retryable(),
        // Without an OAuth error code, these statuses may still be a refusal.
        ErrorKind::Api => matches!(error.http_status(), Some(400 | 401 | 403)),
        // Internal: a credentials provider that panicked.
        ErrorKind::Credentials | ErrorKind::Internal => true,
        _ => false,
    }
}

/// Lifetime during which a value is served: one tick less than the server
/// granted, so that no clock error serves an expired value.
pub(super) fn life(lifetime: Duration) -> u64 {
    nanos(lifetime).saturating_sub(TICK)
}

/// Share of the served lifetime after which a value is refreshed: 75 to 85 %,
/// drawn for each value, so that machines that started together do not refresh
/// together. It is a share and not a fixed time, because a window of minutes
/// would refresh a short-lived value on each call.
pub(super) fn refresh_share(random: f64) -> f64 {
    0.75 + 0.10 * random
}

/// Refresh share of a forked child, which has the same value as its siblings: up
/// to a tenth of the lifetime later than that of the parent. It is at most 95 %,
/// so that a refresh has time before the value expires.
pub(super) fn refresh_share_after_fork(share: f64, random: f64) -> f64 {
    share.max((share + 0.10 * random).min(0.95))
}

/// Whether a value of this age may still be served.
pub(super) fn is_alive(age: u64, life: u64) -> bool {
    age < life
}

/// Age up to which a value has `wanted` of its lifetime left. `wanted` is
/// limited to nine tenths of the lifetime: a minimum that new values cannot
/// meet would cause a fetch on each call.
pub(super) fn oldest_with_remaining(life: u64, wanted: u64) -> u64 {
    life - wanted.min(scale(life, 0.9))
}

/// Age up to which a value is served to a caller who requires `min_remaining`, or by
/// default the `reserve`, a share of the lifetime.
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for a store"))]
pub(crate) fn oldest(
    lifetime: Duration,
    reserve: f64,
    min_remaining: Option<Duration>,
) -> Duration {
    let life = life(lifetime);
    let wanted = min_remaining.map_or_else(|| scale(nanos(lifetime), reserve), nanos);
    Duration::from_nanos(oldest_with_remaining(life, wanted))
}

/// Wait before the next refresh of a value that is still valid, after this many
/// consecutive failures: 1 s, doubling to 60 s, with jitter over the upper
/// half.
pub(super) fn refresh_backoff(failures: u32, error: &Error, random: f64) -> u64 {
    let wait = doubled(SECOND, failures, 60 * SECOND);
    scale(wait, 0.5 + 0.5 * random).max(nanos(retry_after(error)))
}

/// Quiet time: how long callers get the last error at once, without a request,
/// if there is no value to serve.
///
/// Permanent failure (`invalid_client`): 2 s, doubling to 60 s. The request
/// cannot succeed before a person fixes something, which takes longer than that.
/// Transient failure: no quiet time at first, because the retries took long
/// enough; then 0.25 s, doubling to 5 s. So callers in a loop do not make an
/// outage worse, but notice its end soon.
pub(crate) fn quiet_time(failures: u32, error: &Error, random: f64) -> u64 {
    let wait = if !error.is_retryable() {
        scale(
            doubled(2 * SECOND, failures, 60 * SECOND),
            0.5 + 0.5 * random,
        )
    } else if failures <= 1 {
        0
    } else {
        let wait = doubled(SECOND / 4, failures - 1, 5 * SECOND);
        scale(wait, 0.75 + 0.25 * random)
    };
    wait.max(nanos(retry_after(error)))
}

fn doubled(base: u64, failures: u32, cap: u64) -> u64 {
    base.saturating_mul(1 << failures.saturating_sub(1).min(32))
        .min(cap)
}

pub(super) fn scale(time: u64, share: f64) -> u64 {
    // The conversion is exact: a day in nanoseconds needs 47 of the 53 bits of
    // a double.
    (time as f64 * share) as u64
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Limit for invalidating values that a server refused: five at once, then one
/// in ten seconds. An API that answers every request with 401 then causes one
/// token request in ten seconds, not one per call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invalidations {
    /// Time at which all five are available again, by the monotonic clock.
    full_at: u64,
}

impl Invalidations {
    const EACH: u64 = 10 * SECOND;
    const BURST: u64 = 5;

    pub(super) const fn new() -> Self {
        Self { full_at: 0 }
    }

    /// Uses one invalidation, if one is available.
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
    fn b04_refresh_age_scales_with_the_lifetime() {
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
                scale(life * SECOND, refresh_share(random)) / SECOND,
                expected,
                "{life} {random}"
            );
        }
    }

    #[test]
    fn b05_value_is_valid_until_its_lifetime_ends() {
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
    fn b05_life_is_one_clock_tick_shorter_than_the_lifetime() {
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
    fn b05_refresh_backoff_doubles_up_to_a_minute() {
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
    fn b06_quiet_time_depends_on_the_failure() {
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
            (1_000, 0.0, transient(None), 3.75),
            (1, 1.0, transient(Some(7)), 7.0),
        ] {
            let wait = quiet_time(failures, &error, random) as f64 / SECOND as f64;
            assert_eq!(wait, seconds, "{failures} {random}");
        }
    }

    #[test]
    fn b06_only_failures_that_credentials_can_fix_cause_a_reread() {
        for (kind, status, expected) in [
            (ErrorKind::OAuth, Some(400), true),
            (ErrorKind::OAuth, Some(503), false),
            (ErrorKind::Api, Some(400), true),
            (ErrorKind::Api, Some(401), true),
            (ErrorKind::Api, Some(403), true),
            (ErrorKind::Api, Some(404), false),
            (ErrorKind::Api, Some(503), false),
            (ErrorKind::Credentials, None, true),
            (ErrorKind::Internal, None, true),
            (ErrorKind::Config, None, false),
            (ErrorKind::InvalidArgument, None, false),
            (ErrorKind::Transport, None, false),
            (ErrorKind::Timeout, None, false),
            (ErrorKind::Tls, None, false),
            (ErrorKind::RateLimited, Some(429), false),
            (ErrorKind::Protocol, Some(200), false),
        ] {
            let details = Details {
                http_status: status,
                ..Details::default()
            };
            let error = Error::with_details(kind, "x", "", details);
            let is_reread = may_be_fixed_by_credentials(&error);
            assert_eq!(is_reread, expected, "{kind} {status:?}");
        }
    }

    #[test]
    fn b11_invalidations_are_limited_and_recover() {
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
    fn b13_forked_children_refresh_later_by_up_to_a_tenth() {
        for (share, random, expected) in [
            (0.85, 0.0, 0.85),
            (0.75, 1.0, 0.85),
            (0.85, 1.0, 0.95),
            (0.95, 1.0, 0.95),
        ] {
            let child = refresh_share_after_fork(share, random);
            assert!((child - expected).abs() < 1e-9, "{share} {random}: {child}");
        }
    }

    #[test]
    fn b16_minimum_that_cannot_be_met_is_cut_to_nine_tenths() {
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
