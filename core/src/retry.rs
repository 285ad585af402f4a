//! Retry policy: which failures are retried, and after how long. Pure, except for
//! the loop at the end, which sleeps.

use std::future::Future;
use std::time::{Duration, SystemTime};

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::jitter::random;

/// Longest wait for a `Retry-After`. A longer value is limited to this, because
/// no caller waits for hours.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Longest `Retry-After` that is reported: a year.
const MAX_REPORTED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Exponential back-off with full jitter, bounded in attempts and time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// Number of requests, the first included.
    pub(crate) max_attempts: u32,
    /// Upper bound of the first delay; it doubles from there.
    pub(crate) base: Duration,
    /// Upper bound of any delay without a `Retry-After`.
    pub(crate) cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // Three retries cover a short outage, such as a deployment. In a longer
            // one the cache's back-off applies, in which no caller waits.
            max_attempts: 4,
            base: Duration::from_millis(250),
            cap: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// The same policy after `failures` failed sequences in a row: from the third
    /// failed sequence on, a sequence is one attempt, so that few requests are
    /// sent during a long outage.
    pub(crate) fn after_failures(self, failures: u32) -> Self {
        let max_attempts = if failures >= 3 { 1 } else { self.max_attempts };
        Self {
            max_attempts,
            ..self
        }
    }

    /// Delay before the next attempt; `None` to give up.
    ///
    /// `attempts` were made, `left` is the call's remaining time, and `random`
    /// is in 0..1.
    pub(crate) fn delay(
        &self,
        attempts: u32,
        error: &Error,
        left: Duration,
        random: f64,
    ) -> Option<Duration> {
        if !error.is_retryable() || attempts >= self.max_attempts {
            return None;
        }
        let doubled = self
            .base
            .saturating_mul(1 << attempts.saturating_sub(1).min(16));
        // Full jitter spreads the retries of machines that failed at the same
        // moment.
        let delay = doubled.min(self.cap).mul_f64(random.clamp(0.0, 1.0));
        let delay = delay.max(retry_after(error));
        // A wait that ends at the deadline would only delay the failure.
        (delay < left).then_some(delay)
    }
}

/// Parses `Retry-After` (RFC 9110 section 10.2.3): seconds, or an HTTP date. The
/// value is reported as the server gave it; waits cap it at [`MAX_RETRY_AFTER`].
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let delay = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A number with too many digits counts as a very long time.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(MAX_REPORTED))
}

/// Wait that `Retry-After` requested, limited to [`MAX_RETRY_AFTER`]; zero without
/// one.
pub(crate) fn retry_after(error: &Error) -> Duration {
    error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER)
}

/// Runs `attempt` until it succeeds, fails permanently, or reaches the deadline.
pub(crate) async fn run<T, F>(
    policy: RetryPolicy,
    deadline: &Deadline,
    mut on_retry: impl FnMut(&Error, u32, Duration),
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempts = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // An attempt that the call's deadline ended is not a separate failure.
        if error.kind() == ErrorKind::Timeout && deadline.left().is_zero() {
            return Err(deadline.expired());
        }
        attempts += 1;
        deadline.progress().failed(&error);
        match policy.delay(attempts, &error, deadline.left(), random()) {
            Some(delay) => {
                on_retry(&error, attempts, delay);
                tokio::time::sleep(delay).await;
            }
            None => return Err(error.after_attempts(attempts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Details;

    fn failure(status: u16, retry_after: Option<u64>) -> Error {
        let details = Details {
            http_status: Some(status),
            retry_after: retry_after.map(Duration::from_secs),
            ..Details::default()
        };
        let kind = if status == 429 {
            ErrorKind::RateLimited
        } else {
            ErrorKind::Api
        };
        Error::with_details(kind, "x", "", details)
    }

    #[test]
    fn b14_delay_is_jittered_and_bounded() {
        let policy = RetryPolicy::default();
        let ms = Duration::from_millis;
        for (attempts, status, retry_after, left, random, expected, what) in [
            (1, 503, None, 30_000, 1.0, Some(250), "the first bound"),
            (2, 503, None, 30_000, 1.0, Some(500), "doubled"),
            (3, 503, None, 30_000, 0.5, Some(500), "full jitter"),
            (1, 503, None, 30_000, 0.0, Some(0), "down to zero"),
            (4, 503, None, 30_000, 1.0, None, "tries used up"),
            (1, 404, None, 30_000, 1.0, None, "not retryable"),
            (
                1,
                429,
                Some(2),
                30_000,
                0.5,
                Some(2_000),
                "Retry-After honoured",
            ),
            (1, 429, Some(3_600), 90_000, 0.5, Some(60_000), "and capped"),
            (
                1,
                429,
                Some(40),
                30_000,
                0.5,
                None,
                "no waiting past the deadline",
            ),
            (
                1,
                503,
                None,
                100,
                1.0,
                None,
                "no waiting up to the deadline",
            ),
        ] {
            assert_eq!(
                policy.delay(attempts, &failure(status, retry_after), ms(left), random),
                expected.map(ms),
                "{what}"
            );
        }
    }

    #[test]
    fn b14_delay_is_capped_at_any_count() {
        let policy = RetryPolicy {
            max_attempts: u32::MAX,
            ..RetryPolicy::default()
        };
        for attempts in [6, 16, 31, 32, 33, 64, 1_000_000] {
            let delay = policy
                .delay(attempts, &failure(503, None), Duration::from_secs(600), 1.0)
                .unwrap();
            assert_eq!(delay, policy.cap, "{attempts}");
        }
    }

    #[test]
    fn b14_retry_after_is_read_in_all_forms() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 08:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("5", Some(5)),
            (" 5 ", Some(5)),
            ("3600", Some(3_600)),
            ("99999999999999999999999", Some(31_536_000)),
            ("Tue, 24 Nov 2026 08:00:07 GMT", Some(7)),
            ("Tuesday, 24-Nov-26 08:00:07 GMT", Some(7)),
            ("Tue Nov 24 08:00:07 2026", Some(7)),
            ("Tue, 24 Nov 2026 07:00:00 GMT", Some(0)),
            ("Tue, 24 Nov 2099 07:00:00 GMT", Some(31_536_000)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(
                parse_retry_after(value, now),
                seconds.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }

    #[test]
    fn b14_retry_after_is_reported_as_given_and_waited_for_a_minute_at_most() {
        for (given, waited) in [(None, 0), (Some(7), 7), (Some(9_999), 60)] {
            let error = failure(429, given);
            assert_eq!(error.retry_after(), given.map(Duration::from_secs));
            assert_eq!(
                retry_after(&error),
                Duration::from_secs(waited),
                "{given:?}"
            );
        }
    }

    #[test]
    fn b14_sequence_is_one_attempt_after_three_failed_sequences() {
        let policy = RetryPolicy::default();
        for (failures, attempts) in [(0, 4), (2, 4), (3, 1), (1_000, 1)] {
            let after = policy.after_failures(failures);
            assert_eq!(after.max_attempts, attempts, "after {failures} failures");
        }
    }

    #[tokio::test]
    async fn b08_attempt_that_the_deadline_ends_is_reported_as_the_call() {
        let deadline = Deadline::after(Duration::ZERO);
        deadline.progress().waits_for(&"auth.layerfi.com".into());
        let attempt = || async { Err::<(), _>(Error::attempt_timeout("no response")) };
        let error = run(RetryPolicy::default(), &deadline, |_, _, _| {}, attempt)
            .await
            .unwrap_err();
        assert_eq!(
            error.message(),
            "no result within 0 s, waiting for auth.layerfi.com"
        );
    }

    #[tokio::test]
    async fn b08_retries_end_within_the_deadline() {
        let timeout = Duration::from_millis(50);
        let deadline = Deadline::after(timeout);
        let policy = RetryPolicy {
            max_attempts: u32::MAX,
            base: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        let waited = std::cell::Cell::new(Duration::ZERO);
        let on_retry = |_: &Error, _, delay| waited.set(waited.get() + delay);
        let attempt = || async { Err::<(), _>(failure(503, None)) };
        let error = run(policy, &deadline, on_retry, attempt).await.unwrap_err();
        assert!(error.attempts() > 1, "it was not retried");
        assert!(
            waited.get() < timeout,
            "delays of {:?} in all",
            waited.get()
        );
    }
}
