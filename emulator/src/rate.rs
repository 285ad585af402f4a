//! The rate limit: one token bucket a client, refilled in whole seconds.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::UnixMillis;
use crate::sync::lock;

/// What a bucket holds at first, whatever its rate.
const INITIAL: u32 = 100;

/// One request's standing with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) allowed: bool,
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// When the bucket is next refilled, in Unix seconds.
    pub(crate) reset: i64,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    second: i64,
}

/// Buckets by client id; there are as many as configured clients, no more.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    per_second: Option<u32>,
    buckets: HashMap<String, Bucket>,
}

impl RateLimiter {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self {
            state: Mutex::new(State {
                per_second,
                buckets: HashMap::new(),
            }),
        }
    }

    /// Takes one from the client's bucket; `None` while there is no limit.
    pub(crate) fn take(&self, client: &str, now: UnixMillis) -> Option<Standing> {
        let mut state = lock(&self.state);
        let limit = state.per_second?;
        let second = now.div_euclid(1_000);
        let bucket = state
            .buckets
            .entry(client.to_owned())
            .or_insert_with(|| Bucket {
                tokens: INITIAL.min(limit),
                second,
            });
        if second > bucket.second {
            // One refill fills a bucket that holds one second's worth.
            bucket.tokens = limit;
        }
        // Also after a clock that was set back, or the bucket would never fill.
        bucket.second = second;
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        Some(Standing {
            allowed,
            limit,
            remaining: bucket.tokens,
            reset: second + 1,
        })
    }

    pub(crate) fn set(&self, per_second: Option<u32>) {
        let mut state = lock(&self.state);
        state.per_second = per_second;
        state.buckets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_is_refilled_on_the_second() {
        let limiter = RateLimiter::new(Some(100));
        for left in (0..100).rev() {
            let standing = limiter.take("a", 10_500).unwrap();
            assert_eq!(
                standing,
                Standing {
                    allowed: true,
                    limit: 100,
                    remaining: left,
                    reset: 11
                }
            );
        }
        assert!(!limiter.take("a", 10_999).unwrap().allowed);
        assert!(
            limiter.take("b", 10_999).unwrap().allowed,
            "one bucket a client"
        );
        assert_eq!(limiter.take("a", 11_000).unwrap().remaining, 99);
    }

    #[test]
    fn production_starts_with_a_hundred_and_refills_to_five_hundred() {
        let limiter = RateLimiter::new(Some(500));
        assert_eq!(limiter.take("a", 0).unwrap().remaining, 99);
        assert_eq!(limiter.take("a", 1_000).unwrap().remaining, 499);
    }

    #[test]
    fn a_clock_set_back_does_not_starve_and_off_is_off() {
        let limiter = RateLimiter::new(Some(1));
        assert!(limiter.take("a", 100_000).unwrap().allowed);
        assert!(!limiter.take("a", 50_000).unwrap().allowed);
        assert!(limiter.take("a", 51_000).unwrap().allowed);
        limiter.set(None);
        assert_eq!(limiter.take("a", 51_000), None);
    }
}
