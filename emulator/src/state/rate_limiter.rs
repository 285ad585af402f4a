//! Rate limiter: one token bucket per client, refilled at each full second.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::lock::lock;
use crate::state::clock::UnixMillis;

/// Initial permits of a bucket, for any rate limit.
const INITIAL_PERMITS: u32 = 100;

/// Decision about one request, and the values of its rate-limit headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Time of the next refill, in Unix seconds.
    pub(crate) reset: i64,
}

#[derive(Debug)]
struct Bucket {
    permits: u32,
    /// The Unix second of the last request.
    second: i64,
}

/// Buckets by client id. Only configured clients have one, so memory is bounded.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    per_second: Option<u32>,
    by_client: HashMap<String, Bucket>,
}

impl RateLimiter {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self {
            buckets: Mutex::new(Buckets {
                per_second,
                by_client: HashMap::new(),
            }),
        }
    }

    /// Takes a permit from the client's bucket. `None` if there is no limit.
    pub(crate) fn take(&self, client: &str, now: UnixMillis) -> Option<Decision> {
        let mut buckets = lock(&self.buckets);
        let limit = buckets.per_second?;
        let second = now.div_euclid(1_000);
        let bucket = buckets
            .by_client
            .entry(client.to_owned())
            .or_insert_with(|| Bucket {
                permits: INITIAL_PERMITS.min(limit),
                second,
            });
        if second > bucket.second {
            // A bucket holds the permits of one second, so one refill fills it.
            bucket.permits = limit;
        }
        // Also if the clock was set back; otherwise the bucket would not refill
        // until the clock reaches the old second.
        bucket.second = second;
        let allowed = bucket.permits > 0;
        bucket.permits = bucket.permits.saturating_sub(1);
        Some(Decision {
            allowed,
            limit,
            remaining: bucket.permits,
            reset: second + 1,
        })
    }

    /// Sets the limit. Every client gets a new bucket.
    pub(crate) fn set(&self, per_second: Option<u32>) {
        let mut buckets = lock(&self.buckets);
        buckets.per_second = per_second;
        buckets.by_client.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remaining(limiter: &RateLimiter, now: UnixMillis) -> Option<u32> {
        limiter.take("a", now).map(|decision| decision.remaining)
    }

    fn allowed(limiter: &RateLimiter, client: &str, now: UnixMillis) -> bool {
        limiter.take(client, now).unwrap().allowed
    }

    #[test]
    fn bucket_is_refilled_at_the_full_second() {
        let limiter = RateLimiter::new(Some(100));
        for remaining in (0..100).rev() {
            assert_eq!(
                limiter.take("a", 10_500).unwrap(),
                Decision {
                    allowed: true,
                    limit: 100,
                    remaining,
                    reset: 11
                },
                "wrong decision about a request of the first hundred"
            );
        }
        assert!(
            !allowed(&limiter, "a", 10_999),
            "request 101 must be refused"
        );
        assert!(
            allowed(&limiter, "b", 10_999),
            "another client must have its own bucket"
        );
        assert_eq!(
            remaining(&limiter, 11_000),
            Some(99),
            "the bucket must be full in the next second"
        );
    }

    #[test]
    fn production_bucket_starts_with_100_permits_and_refills_to_500() {
        let limiter = RateLimiter::new(Some(500));
        assert_eq!(remaining(&limiter, 0), Some(99), "wrong initial permits");
        assert_eq!(remaining(&limiter, 1_000), Some(499), "wrong refill");
    }

    #[test]
    fn bucket_refills_after_the_clock_was_set_back() {
        let limiter = RateLimiter::new(Some(1));
        assert!(allowed(&limiter, "a", 100_000), "the first must be allowed");
        assert!(
            !allowed(&limiter, "a", 50_000),
            "setting the clock back must not refill the bucket"
        );
        assert!(
            allowed(&limiter, "a", 51_000),
            "the next second must refill the bucket"
        );
        limiter.set(None);
        assert_eq!(
            limiter.take("a", 51_000),
            None,
            "without a limit there must be no decision"
        );
    }
}
