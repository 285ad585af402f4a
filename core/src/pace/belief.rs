//! How many requests may still be sent in this second, by what the answers
//! say. Pure: headers and times in, leave or a wait out.
//!
//! Layer (page "Rate limiting") gives each client a bucket that holds at
//! first 100 requests and is refilled each second; answers carry what is left
//! and when the next refill comes. So the belief kept here is a credit for the
//! second at hand, corrected downwards by every answer.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;

use crate::retry::LONGEST_RETRY_AFTER;

/// What the bucket holds before the first answer says otherwise.
const INITIAL_CREDIT: i64 = 100;

/// What was let go so long ago, in ms, with nothing after it, never lands: the
/// runtime that it ran in is not driven any more. Longer than any pause, and
/// than a request should take; without it a batch, whose wait for its turn has
/// no other end, could wait for ever.
const LOST_AFTER: i64 = 120_000;

/// What one answer says about the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    limit: Option<i64>,
    remaining: Option<i64>,
    /// The next refill, in seconds since the Unix epoch by the server's clock.
    reset: Option<i64>,
    /// The server's clock when it answered, in whole seconds.
    date: Option<i64>,
}

impl Reading {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let number = |name: &str| -> Option<i64> {
            let value: i64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            // Bounded, so that no sum of them overflows.
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
}

/// The belief. Times are milliseconds by this machine's monotonic clock: how
/// far the server's dates are ahead of it is learnt from the answers.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    /// Requests per refill, once known; `None` for no limit at all.
    limit: Option<i64>,
    /// What may still be sent before the next refill.
    credit: i64,
    in_flight: i64,
    /// When leave was last given.
    given_at: i64,
    /// The server's mark of the next refill, to tell one second from the next.
    window: i64,
    /// When the next refill comes, by this machine's clock.
    refill_at: i64,
    /// Until when the server wants to be left alone. Nothing that is answered
    /// meanwhile takes that back: those were on their way already.
    paused_until: i64,
    /// How far the server's clock is ahead, at least. Its dates are cut to
    /// whole seconds, so the largest difference seen is the nearest.
    ahead: Option<i64>,
}

impl Belief {
    pub(super) fn new(documented: u32) -> Self {
        let limit = i64::from(documented);
        Self {
            limit: Some(limit),
            credit: INITIAL_CREDIT.min(limit),
            in_flight: 0,
            given_at: 0,
            window: 0,
            refill_at: 0,
            paused_until: 0,
            ahead: None,
        }
    }

    /// Takes leave to send one request, or says how long to wait, in ms.
    pub(super) fn take(&mut self, now: i64) -> Result<(), i64> {
        if now < self.paused_until {
            return Err((self.paused_until - now).min(1_000));
        }
        if now - self.given_at > LOST_AFTER {
            self.in_flight = 0;
        }
        let Some(limit) = self.limit else {
            self.give(now);
            return Ok(());
        };
        if self.refill_at != 0 && now >= self.refill_at {
            self.credit = limit - self.in_flight;
            // The server's next mark is not known before it is seen; by this
            // machine's clock it is a second on.
            let seconds = 1 + (now - self.refill_at) / 1_000;
            self.refill_at += 1_000 * seconds;
            self.window += seconds;
        }
        // Others use the same credentials: a twentieth is left to them.
        let reserve = limit / 20;
        if self.credit > reserve {
            self.credit -= 1;
            self.give(now);
            return Ok(());
        }
        if self.refill_at == 0 {
            if self.in_flight > 0 {
                // The first answers are on their way and will tell.
                return Err(10);
            }
            self.refill_at = now + 1_000;
        }
        Err((self.refill_at - now).clamp(1, 1_000))
    }

    fn give(&mut self, now: i64) {
        self.in_flight += 1;
        self.given_at = now;
    }

    pub(super) fn answered(&mut self, reading: Reading, documented: Option<u32>, now: i64) {
        self.in_flight = (self.in_flight - 1).max(0);
        let (Some(remaining), Some(reset)) = (reading.remaining, reading.reset) else {
            // No word of a limit: what is documented counts, or nothing.
            self.limit = documented.map(i64::from);
            if self.refill_at == 0 {
                self.refill_at = now + 1_000;
            }
            return;
        };
        if let Some(limit) = reading.limit {
            self.limit = Some(limit.max(1));
        }
        if let Some(date) = reading.date {
            let difference = date * 1_000 - now;
            self.ahead = Some(self.ahead.map_or(difference, |ahead| ahead.max(difference)));
        }
        let believed = remaining - self.in_flight;
        if reset > self.window {
            self.window = reset;
            self.credit = believed;
        } else if reset == self.window {
            self.credit = self.credit.min(believed);
        }
        // Otherwise the answer is of a second that is over.
        if reset == self.window {
            self.refill_at = self
                .ahead
                .map_or(now + 1_000, |ahead| reset * 1_000 - ahead);
        }
    }

    /// The answer was 429: nothing more until the server is willing.
    pub(super) fn limited(&mut self, retry_after: Duration, now: i64) {
        self.in_flight = (self.in_flight - 1).max(0);
        self.credit = 0;
        let wait = i64::try_from(retry_after.min(LONGEST_RETRY_AFTER).as_millis())
            .unwrap_or(1_000)
            .max(100);
        self.paused_until = self.paused_until.max(now + wait);
        if self.refill_at == 0 {
            self.refill_at = self.paused_until;
        }
    }

    /// Leave was given and no request sent.
    pub(super) fn unused(&mut self) {
        self.lost();
        if self.limit.is_some() {
            self.credit += 1;
        }
    }

    /// The request came to nothing that says anything about the limit.
    pub(super) fn lost(&mut self) {
        self.in_flight = (self.in_flight - 1).max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layer's bucket, as documented: refilled each second, 100 at first.
    struct Server {
        limit: i64,
        tokens: i64,
        second: i64,
        refused: u32,
        answered: u32,
    }

    impl Server {
        fn request(&mut self, at: i64) -> Option<Reading> {
            let second = at / 1_000;
            if second > self.second {
                self.second = second;
                self.tokens = self.limit;
            }
            if self.tokens == 0 {
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

    /// Runs a batch of so many requests in simulated time.
    fn run(
        limit: i64,
        offset: i64,
        latency: i64,
        requests: u32,
        server_ahead: i64,
    ) -> (Server, i64) {
        let start = 1_780_000_000_000 + offset;
        let mut server = Server {
            limit,
            tokens: 100,
            second: (start + server_ahead) / 1_000,
            refused: 0,
            answered: 0,
        };
        let mut belief = Belief::new(u32::try_from(limit).unwrap());
        let mut now = start;
        let mut arriving: Vec<(i64, Option<Reading>)> = Vec::new();
        let mut sent = 0;
        while server.answered < requests && now < start + 600_000 {
            arriving.retain(|(at, reading)| {
                if *at > now {
                    return true;
                }
                match reading {
                    Some(reading) => belief.answered(*reading, None, now),
                    None => belief.limited(Duration::from_secs(1), now),
                }
                false
            });
            // 32 at once, as a batch has them.
            while sent - server.answered - server.refused < 32
                && sent < requests + server.refused
                && arriving.len() < 32
                && belief.take(now).is_ok()
            {
                sent += 1;
                let reading = server.request(now + server_ahead + latency / 2);
                arriving.push((now + latency, reading));
            }
            now += 1;
        }
        (server, now - start)
    }

    #[test]
    fn b17_no_429_and_no_dawdling_at_layers_limits() {
        for limit in [100, 500] {
            for offset in [0, 1, 333, 500, 999] {
                for latency in [2, 20, 80] {
                    for ahead in [-3_600_000, -700, 0, 450, 90_000] {
                        let requests = u32::try_from(limit * 10).unwrap();
                        let (server, took) = run(limit, offset, latency, requests, ahead);
                        let what = format!("{limit}/s, start {offset}, {latency} ms, {ahead}");
                        assert_eq!(server.refused, 0, "{what}");
                        assert_eq!(server.answered, requests, "{what}");
                        // 32 at once and 80 ms each are 400 a second at most.
                        let bound = (10_000 * 20 / 19).max(i64::from(requests) * latency / 32);
                        assert!(took < bound * 115 / 100 + 2_000, "{what}: {took} ms");
                    }
                }
            }
        }
    }

    #[test]
    fn b17_a_server_without_limits_is_not_held_up() {
        let mut belief = Belief::new(100);
        belief.take(0).unwrap();
        belief.answered(Reading::default(), None, 1);
        for _ in 0..10_000 {
            belief.take(2).unwrap();
        }
    }

    #[test]
    fn b14_a_429_stops_everyone_for_as_long_as_it_says() {
        let mut belief = Belief::new(100);
        belief.take(1_000).unwrap();
        belief.limited(Duration::from_secs(3), 1_000);
        assert_eq!(belief.take(1_001), Err(1_000));
        assert_eq!(belief.take(3_900), Err(100));
        assert_eq!(belief.take(4_000), Ok(()));
    }

    /// What comes back of the requests that were in flight.
    #[derive(Clone, Copy)]
    enum Back {
        /// So much is left, until the mark of the next refill.
        Left(i64, i64),
        /// An answer that tells no limit.
        Bare,
        /// 429 with `Retry-After`, in seconds.
        Limited(u64),
        Lost,
    }

    #[test]
    fn b14_a_pause_holds_whatever_else_is_answered() {
        use Back::{Bare, Left, Limited, Lost};
        for (known, back, resumes, what) in [
            (true, vec![(10, Limited(5))], 5_010, "alone"),
            (
                true,
                vec![(10, Limited(5)), (20, Left(50, 1))],
                5_010,
                "an answer of the same second",
            ),
            (
                true,
                vec![(10, Limited(5)), (1_020, Left(99, 2))],
                5_010,
                "an answer of the next second",
            ),
            (
                true,
                vec![(10, Limited(5)), (20, Bare)],
                5_010,
                "an answer without a word of a limit",
            ),
            (
                false,
                vec![(5, Bare), (10, Limited(30))],
                30_010,
                "a server that never tells its limit",
            ),
            (true, vec![(10, Limited(5)), (20, Lost)], 5_010, "a loss"),
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
            (
                true,
                vec![(10, Limited(9_999))],
                60_010,
                "a pause beyond all reason",
            ),
        ] {
            let mut belief = Belief::new(100);
            for _ in 0..3 {
                belief.take(1).unwrap();
            }
            let last = back.last().unwrap().0;
            for (at, back) in back {
                match back {
                    Left(remaining, reset) => {
                        let reading = Reading {
                            limit: Some(100),
                            remaining: Some(remaining),
                            reset: Some(reset),
                            date: Some(at / 1_000),
                        };
                        belief.answered(reading, known.then_some(100), at);
                    }
                    Bare => belief.answered(Reading::default(), known.then_some(100), at),
                    Limited(seconds) => belief.limited(Duration::from_secs(seconds), at),
                    Lost => belief.lost(),
                }
            }
            let leave = (last..100_000).find(|now| belief.take(*now).is_ok());
            assert_eq!(leave, Some(resumes), "{what}");
        }
    }

    #[test]
    fn b17_the_wait_for_a_turn_has_an_end_even_if_nothing_lands() {
        let mut belief = Belief::new(100);
        let all = (0..200).take_while(|_| belief.take(1).is_ok()).count();
        assert_eq!(all, 95);
        let turn = (2..1_000_000).find(|now| belief.take(*now).is_ok());
        assert!(turn.is_some_and(|at| at <= 122_000), "{turn:?}");
    }

    #[test]
    fn headers_that_make_no_sense_are_as_none() {
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
