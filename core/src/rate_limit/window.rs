//! Estimate of the server's rate limit. Pure: the input is headers and times, the
//! output is a permission or a wait.
//!
//! Layer (page "Rate limiting") gives each client a bucket of requests that is
//! refilled each second; responses contain the number that is left. The client
//! spreads its requests evenly by its own clock, a little below the limit. The
//! headers of responses can only lower this rate: `X-RateLimit-Remaining` is a
//! ceiling until the next refill, and a 429 is a pause. Both end by the client's
//! own clock, so that no header can stop a batch forever.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;

/// Share of the limit that is used. Other programs may use the same credentials,
/// and requests may arrive closer together than they were sent.
const USED_SHARE: f64 = 0.95;

/// Idle time after which a burst is allowed again, in milliseconds. By then the
/// server's bucket is full.
const IDLE_FOR_BURST: f64 = 1_000.0;

/// How late a request may be sent and still count as sent on time, in
/// milliseconds, because timers are not exact.
const LATENESS: f64 = 20.0;

/// The longest accepted time until a refill, in milliseconds. The bucket is
/// refilled each second, so a later time means a wrong header or a wrong clock.
const MAX_REFILL: f64 = 2_000.0;

/// Rate-limit headers of one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    limit: Option<i64>,
    remaining: Option<i64>,
    /// The next refill, in seconds since 1970 by the server's clock.
    reset: Option<i64>,
    /// The server's clock, in whole seconds.
    date: Option<i64>,
}

impl Reading {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let number = |name: &str| -> Option<i64> {
            let value: i64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            // Bounded, so that no sum overflows.
            (0..=1 << 40).contains(&value).then_some(value)
        };
        let date = headers
            .get(http::header::DATE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| httpdate::parse_http_date(value).ok())
            .and_then(|date| date.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_secs()).ok());
        Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            reset: number("x-ratelimit-reset"),
            date,
        }
    }

    /// Milliseconds until the refill. The server's date is in whole seconds, so the
    /// refill comes at most this late.
    fn until_refill(&self) -> f64 {
        match (self.reset, self.date) {
            (Some(reset), Some(date)) => ((reset - date) as f64 * 1_000.0).clamp(0.0, MAX_REFILL),
            _ => 1_000.0,
        }
    }
}

/// Estimate of the limit. Times are milliseconds by this machine's monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Requests per second; `None` for no limit.
    limit: Option<f64>,
    /// When the next request may be sent.
    next_at: f64,
    /// When the last request was allowed.
    last_at: f64,
    /// Requests of the burst that are left.
    burst: u32,
    in_flight: i64,
    /// Number of requests that responses say is left, until the server's next
    /// refill.
    ceiling: Option<Ceiling>,
    paused_until: f64,
}

/// Requests left in the server's bucket.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    /// The refill that the server announced, to distinguish older responses from
    /// newer ones.
    reset: Option<i64>,
    left: i64,
    ends_at: f64,
}

impl Window {
    pub(super) fn new(documented: u32) -> Self {
        Self {
            limit: Some(f64::from(documented.max(1))),
            next_at: 0.0,
            last_at: f64::NEG_INFINITY,
            burst: 0,
            in_flight: 0,
            ceiling: None,
            paused_until: 0.0,
        }
    }

    /// Allows one request now, or returns the wait before the next try, in
    /// milliseconds.
    pub(super) fn acquire(&mut self, now: f64) -> Result<(), f64> {
        if now < self.paused_until {
            return Err(self.paused_until - now);
        }
        self.ceiling = self.ceiling.filter(|ceiling| now < ceiling.ends_at);
        if let Some(ceiling) = &self.ceiling
            && ceiling.left <= 0
        {
            return Err(ceiling.ends_at - now);
        }
        if let Some(limit) = self.limit {
            if now - self.last_at >= IDLE_FOR_BURST {
                // Half of the limit may be sent at once; the rest of the second
                // has fewer requests instead.
                self.burst = (limit / 2.0) as u32;
                self.next_at = now;
            }
            if self.burst > 0 {
                self.burst -= 1;
                self.next_at += self.interval(limit);
            } else if now >= self.next_at {
                self.next_at = self.next_at.max(now - LATENESS) + self.interval(limit);
            } else {
                return Err(self.next_at - now);
            }
        }
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.left -= 1;
        }
        self.last_at = now;
        self.in_flight += 1;
        Ok(())
    }

    fn interval(&self, limit: f64) -> f64 {
        1_000.0 / (limit * USED_SHARE)
    }

    /// Processes a response. `documented` is the limit if responses contain
    /// none.
    pub(super) fn answered(&mut self, reading: Reading, documented: Option<u32>, now: f64) {
        self.lost();
        let Some(remaining) = reading.remaining else {
            self.limit = documented.map(f64::from);
            self.ceiling = None;
            return;
        };
        if let Some(limit) = reading.limit {
            self.limit = Some((limit as f64).max(1.0));
        }
        // The server may or may not have counted the requests in flight.
        let left = remaining - self.in_flight;
        let ends_at = now + reading.until_refill();
        match &mut self.ceiling {
            // A response of an earlier second.
            Some(ceiling) if reading.reset < ceiling.reset => {}
            Some(ceiling) if reading.reset == ceiling.reset => {
                ceiling.left = ceiling.left.min(left);
                ceiling.ends_at = ceiling.ends_at.min(ends_at);
            }
            _ => {
                self.ceiling = Some(Ceiling {
                    reset: reading.reset,
                    left,
                    ends_at,
                });
            }
        }
    }

    /// Processes a 429: no request is allowed until the server accepts them
    /// again.
    pub(super) fn limited(&mut self, retry_after: Duration, now: f64) {
        self.lost();
        let wait = retry_after.as_secs_f64() * 1_000.0;
        self.paused_until = self.paused_until.max(now + wait.max(100.0));
        self.next_at = self.next_at.max(self.paused_until);
        self.burst = 0;
    }

    /// Returns a permission that was not used.
    pub(super) fn unused(&mut self) {
        self.lost();
        if let Some(limit) = self.limit {
            self.next_at -= self.interval(limit);
        }
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.left += 1;
        }
    }

    /// Processes a request without rate-limit headers in its response.
    pub(super) fn lost(&mut self) {
        self.in_flight = (self.in_flight - 1).max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layer's bucket, as documented: 100 at first, refilled each second.
    struct Server {
        limit: i64,
        tokens: i64,
        second: i64,
        refused: u32,
        answered: u32,
        /// Requests per second of others with the same credentials.
        others: i64,
    }

    impl Server {
        fn request(&mut self, at: i64) -> Option<Reading> {
            let second = at.div_euclid(1_000);
            if second > self.second {
                self.second = second;
                self.tokens = self.limit - self.others;
            }
            if self.tokens <= 0 {
                self.refused += 1;
                return None;
            }
            self.tokens -= 1;
            self.answered += 1;
            Some(Reading {
                limit: Some(self.limit),
                remaining: Some(self.tokens),
                reset: Some(second + 1),
                date: Some(second),
            })
        }
    }

    struct Run {
        limit: i64,
        start: i64,
        latency: i64,
        ahead: i64,
        others: i64,
        width: usize,
    }

    impl Run {
        /// Runs a batch of `requests` in simulated time; returns the milliseconds.
        fn run(&self, requests: u32) -> (Server, i64) {
            let mut server = Server {
                limit: self.limit,
                tokens: 100,
                second: (self.start + self.ahead).div_euclid(1_000),
                refused: 0,
                answered: 0,
                others: self.others,
            };
            let mut window = Window::new(u32::try_from(self.limit).unwrap());
            let mut now = self.start;
            let mut arriving: Vec<(i64, Option<Reading>)> = Vec::new();
            while server.answered < requests && now < self.start + 600_000 {
                arriving.retain(|(at, reading)| {
                    if *at > now {
                        return true;
                    }
                    match reading {
                        Some(reading) => window.answered(*reading, None, now as f64),
                        None => window.limited(Duration::from_secs(1), now as f64),
                    }
                    false
                });
                while arriving.len() < self.width
                    && (arriving.len() as u32) < requests - server.answered.min(requests)
                    && window.acquire(now as f64).is_ok()
                {
                    let reading = server.request(now + self.ahead + self.latency / 2);
                    arriving.push((now + self.latency, reading));
                }
                now += 1;
            }
            (server, now - self.start)
        }
    }

    #[test]
    fn b17_batch_gets_no_429_and_uses_the_limit() {
        for limit in [100, 500] {
            for start in [5_000, 5_001, 5_333, 5_500, 5_999] {
                for latency in [2, 20, 80] {
                    for ahead in [-3_600_000, -700, 0, 450, 90_000] {
                        let run = Run {
                            limit,
                            start,
                            latency,
                            ahead,
                            others: 0,
                            width: 32,
                        };
                        let requests = u32::try_from(limit * 10).unwrap();
                        let (server, took) = run.run(requests);
                        let what = format!("{limit}/s from {start}, {latency} ms, {ahead} ahead");
                        assert_eq!(server.refused, 0, "{what}: 429");
                        assert_eq!(server.answered, requests, "{what}: not finished");
                        // 32 at once with 80 ms each are 400 a second at most.
                        let bound = (10_000 * 20 / 19).max(i64::from(requests) * latency / 32);
                        assert!(took < bound * 115 / 100 + 2_000, "{what}: {took} ms");
                    }
                }
            }
        }
    }

    #[test]
    fn b17_batch_leaves_requests_for_other_programs() {
        for others in [10, 40, 80] {
            let run = Run {
                limit: 100,
                start: 5_000,
                latency: 20,
                ahead: 0,
                others,
                width: 32,
            };
            let (server, _) = run.run(500);
            assert_eq!(server.answered, 500, "{others}/s of others: not finished");
            let share = f64::from(server.refused) / 500.0;
            assert!(
                share < 0.1,
                "{others}/s of others: {} times 429",
                server.refused
            );
        }
    }

    #[test]
    fn b17_small_batch_is_not_paced() {
        let mut window = Window::new(100);
        let sent = (0..200).take_while(|_| window.acquire(1.0).is_ok()).count();
        assert_eq!(sent, 50, "requests at once");
    }

    #[test]
    fn b17_requests_after_a_burst_are_evenly_paced() {
        let mut window = Window::new(100);
        let mut times = Vec::new();
        for now in 0..3_000 {
            while window.acquire(f64::from(now)).is_ok() {
                times.push(now);
            }
        }
        for start in 0..2_000 {
            let count = times
                .iter()
                .filter(|at| (start..start + 1_000).contains(*at))
                .count();
            assert!(
                count <= 96,
                "{count} requests in the second from {start} ms"
            );
        }
        assert!(times.len() > 280, "only {} requests in 3 s", times.len());
    }

    #[test]
    fn b17_server_without_limits_is_not_paced() {
        let mut window = Window::new(100);
        window.acquire(0.0).unwrap();
        window.answered(Reading::default(), None, 1.0);
        for _ in 0..10_000 {
            window.acquire(2.0).unwrap();
        }
    }

    #[test]
    fn b14_b17_no_header_stops_requests_for_long() {
        let reading = |remaining, reset| Reading {
            limit: Some(100),
            remaining: Some(remaining),
            reset: Some(reset),
            date: Some(1_000),
        };
        for (what, reading, resumes) in [
            ("a refill in an hour", reading(0, 4_600), 2_010.0),
            ("a refill in 300 years", reading(0, 9_999_999_999), 2_010.0),
            ("a refill in the past", reading(0, 3), 10.0),
            ("a refill in a second", reading(0, 1_001), 1_010.0),
            (
                "no refill",
                Reading {
                    remaining: Some(0),
                    ..Reading::default()
                },
                1_010.0,
            ),
        ] {
            let mut window = Window::new(100);
            window.acquire(1.0).unwrap();
            window.answered(reading, None, 10.0);
            let next = (10..100_000).find(|now| window.acquire(f64::from(*now)).is_ok());
            assert_eq!(next.map(f64::from), Some(resumes), "{what}");
        }
    }

    #[test]
    fn b17_lost_requests_do_not_stop_a_batch() {
        let mut window = Window::new(100);
        let mut sent = 0;
        for now in 0..20_000 {
            // No request is ever answered.
            if window.acquire(f64::from(now)).is_ok() {
                sent += 1;
            }
        }
        assert!(sent > 1_800, "only {sent} requests in 20 s");
    }

    /// Result of a request in flight.
    #[derive(Clone, Copy)]
    enum Back {
        /// This many requests are left until this refill.
        Left(i64, i64),
        /// A response without limit headers.
        Bare,
        /// 429 with `Retry-After`, in seconds.
        Limited(u64),
        Lost,
    }

    #[test]
    fn b14_other_responses_do_not_shorten_the_pause_after_a_429() {
        use Back::{Bare, Left, Limited, Lost};
        for (known, back, resumes, what) in [
            (true, vec![(10, Limited(5))], 5_010, "alone"),
            (
                true,
                vec![(10, Limited(5)), (20, Left(50, 1))],
                5_010,
                "a response of the same second",
            ),
            (
                true,
                vec![(10, Limited(5)), (1_020, Left(99, 2))],
                5_010,
                "a response of the next second",
            ),
            (
                true,
                vec![(10, Limited(5)), (20, Bare)],
                5_010,
                "a response without limit headers",
            ),
            (
                false,
                vec![(5, Bare), (10, Limited(30))],
                30_010,
                "a server that never sends its limit",
            ),
            (
                true,
                vec![(10, Limited(5)), (20, Lost)],
                5_010,
                "a lost request",
            ),
            (
                true,
                vec![(10, Limited(5)), (20, Limited(1))],
                5_010,
                "a shorter pause",
            ),
            (
                true,
                vec![(10, Limited(1)), (20, Limited(5))],
                5_020,
                "a longer pause",
            ),
        ] {
            let mut window = Window::new(100);
            for _ in 0..3 {
                window.acquire(1.0).unwrap();
            }
            let last = back.last().unwrap().0;
            for (at, back) in back {
                let now = f64::from(at);
                match back {
                    Left(remaining, reset) => {
                        let reading = Reading {
                            limit: Some(100),
                            remaining: Some(remaining),
                            reset: Some(reset),
                            date: Some(i64::from(at) / 1_000),
                        };
                        window.answered(reading, known.then_some(100), now);
                    }
                    Bare => window.answered(Reading::default(), known.then_some(100), now),
                    Limited(seconds) => window.limited(Duration::from_secs(seconds), now),
                    Lost => window.lost(),
                }
            }
            let next = (last..100_000).find(|now| window.acquire(f64::from(*now)).is_ok());
            assert_eq!(next, Some(resumes), "{what}");
        }
    }

    #[test]
    fn invalid_headers_count_as_missing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit", "-5"),
            ("x-ratelimit-remaining", "9223372036854775807"),
            ("x-ratelimit-reset", "soon"),
            ("date", "yesterday"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(Reading::of(&headers), Reading::default());
    }
}
