//! Circuit breaker of the shared cache: after a failure nobody asks the store for a
//! while. Then one caller tries. Pure, without clocks and random numbers of its own.

use std::time::{Duration, Instant};

/// How long the store is not asked after the first failure, and at most. Times a random
/// number of 0.5 to 1, so that the processes of a fleet do not return together.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// State of the breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// When the next caller may try.
    down_until: Option<Instant>,
    /// Whether a caller is trying.
    is_trying: bool,
    /// Increases when the store goes down or comes back. What was asked before then
    /// says nothing about the store now.
    epoch: u32,
}

/// Permission to ask the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    epoch: u32,
    is_trial: bool,
}

impl Breaker {
    /// Whether the store answered last.
    pub(super) fn is_up(&self) -> bool {
        self.failures == 0
    }

    /// Asks for permission. `None` while the store is down.
    pub(super) fn enter(&mut self, now: Instant) -> Option<Permit> {
        let is_trial = match self.down_until {
            None => false,
            Some(until) if now < until || self.is_trying => return None,
            Some(_) => true,
        };
        self.is_trying = is_trial;
        Some(Permit {
            epoch: self.epoch,
            is_trial,
        })
    }

    /// The store answered. Returns whether it was down before.
    pub(super) fn succeed(&mut self, permit: Permit) -> bool {
        if permit.epoch != self.epoch || self.failures == 0 {
            return false;
        }
        *self = Self {
            epoch: self.epoch.wrapping_add(1),
            ..Self::default()
        };
        true
    }

    /// The store failed. Returns whether it was up before. `random` is in 0..1.
    pub(super) fn fail(&mut self, permit: Permit, now: Instant, random: f64) -> bool {
        if permit.epoch != self.epoch {
            return false;
        }
        let was_up = self.is_up();
        self.failures = self.failures.saturating_add(1);
        self.down_until = Some(now + down_time(self.failures, random));
        self.is_trying = false;
        self.epoch = self.epoch.wrapping_add(1);
        was_up
    }

    /// The caller was cancelled, so that another one may try.
    pub(super) fn cancel(&mut self, permit: Permit) {
        if permit.is_trial && permit.epoch == self.epoch {
            self.is_trying = false;
        }
    }
}

/// How long the store is not asked after this many failures in a row.
fn down_time(failures: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST).mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b30_store_that_failed_is_not_asked_for_1_to_30_seconds() {
        for (failures, random, milliseconds) in [
            (1, 1.0, 1_000),
            (1, 0.0, 500),
            (2, 1.0, 2_000),
            (3, 0.5, 3_000),
            (5, 1.0, 16_000),
            (6, 1.0, 30_000),
            (6, 0.0, 15_000),
            (u32::MAX, 1.0, 30_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(down_time(failures, random), expected, "{failures} {random}");
        }
    }

    /// The store is away for a minute, and each of a thousand processes needs it all the
    /// time. They notice it at the same moment.
    #[test]
    fn b30_processes_do_not_return_together_to_a_store_that_was_restarted() {
        const PROCESSES: u32 = 1_000;
        const STEP: u32 = 10;
        const AWAY: u32 = 60_000;
        let start = Instant::now();
        let mut fleet: Vec<_> = (0..PROCESSES).map(|_| Breaker::default()).collect();
        // Evenly spread, and different for each process and each time.
        let mut drawn = 0.0;
        let mut random = || {
            drawn = (drawn + 0.618_033_988_75_f64).fract();
            drawn
        };
        let mut tries = vec![0; (AWAY / 100) as usize];
        for now in (0..AWAY).step_by(STEP as usize) {
            let time = start + Duration::from_millis(now.into());
            for breaker in &mut fleet {
                if let Some(permit) = breaker.enter(time) {
                    breaker.fail(permit, time, random());
                    tries[(now / 100) as usize] += 1;
                }
            }
        }
        assert_eq!(tries[0], PROCESSES, "each asks once when it notices");
        assert_eq!(tries[1..5].iter().sum::<u32>(), 0, "too early: {tries:?}");
        let most = |from: usize, to: usize| tries[from..to].iter().max().copied().unwrap();
        assert!(
            most(1, 12) <= PROCESSES / 4,
            "in a tenth of a second: {tries:?}"
        );
        assert!(
            most(12, 100) <= PROCESSES / 8,
            "in a tenth of a second: {tries:?}"
        );
        assert!(
            most(400, 600) <= PROCESSES / 50,
            "in a tenth of a second: {tries:?}"
        );
        let all = tries.iter().sum::<u32>();
        assert!(all <= 8 * PROCESSES, "{all} tries in a minute");
        // It is back: all return within the longest time, and not together.
        let mut back = vec![0; 300];
        for now in (AWAY..AWAY + 30_000).step_by(STEP as usize) {
            let time = start + Duration::from_millis(now.into());
            for breaker in &mut fleet {
                let is_down = !breaker.is_up();
                if let Some(permit) = breaker.enter(time)
                    && is_down
                {
                    assert!(breaker.succeed(permit));
                    back[((now - AWAY) / 100) as usize] += 1;
                }
            }
        }
        assert_eq!(
            back.iter().sum::<u32>(),
            PROCESSES,
            "not all came back: {back:?}"
        );
        let most = back.iter().max().copied().unwrap();
        assert!(
            most <= PROCESSES / 25,
            "{most} returned in a tenth of a second"
        );
    }

    #[test]
    fn b30_one_caller_tries_whether_the_store_is_back() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut breaker = Breaker::default();
        let first = breaker.enter(start).unwrap();
        let second = breaker.enter(start).unwrap();
        assert!(breaker.fail(first, start, 1.0), "it was up");
        assert!(
            !breaker.fail(second, start, 1.0),
            "one failure counted twice"
        );
        assert!(!breaker.is_up());
        assert_eq!(breaker.enter(at(999)), None);
        let trial = breaker.enter(at(1_000)).unwrap();
        assert_eq!(breaker.enter(at(1_000)), None, "two callers tried");
        breaker.cancel(second);
        assert_eq!(
            breaker.enter(at(1_000)),
            None,
            "an old caller ended the trial"
        );
        breaker.cancel(trial);
        let trial = breaker.enter(at(1_001)).unwrap();
        assert!(!breaker.fail(trial, at(1_001), 1.0), "it was down before");
        assert_eq!(breaker.enter(at(3_000)), None);
        let trial = breaker.enter(at(3_001)).unwrap();
        assert!(
            !breaker.succeed(second),
            "an answer from before says nothing"
        );
        assert!(breaker.succeed(trial), "it is back");
        assert!(breaker.is_up());
        let ordinary = breaker.enter(at(3_002)).unwrap();
        assert!(
            !breaker.fail(trial, at(3_002), 1.0),
            "a late failure counted"
        );
        assert!(!breaker.succeed(ordinary));
        assert!(breaker.fail(ordinary, at(3_002), 1.0));
        assert_eq!(breaker.enter(at(4_001)), None);
        assert!(
            breaker.enter(at(4_002)).is_some(),
            "it starts with 1 s again"
        );
    }
}

/// Callers in all orders of their steps. Each step is one under the lock, so this explores
/// all that threads can do to the breaker.
#[cfg(all(test, shuttle))]
mod model {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    use shuttle::thread;

    use super::*;
    use crate::sys::sync::{Mutex, lock};

    /// What a caller sees of the store.
    #[derive(Clone, Copy)]
    enum End {
        Answer,
        Failure,
        Cancelled,
    }

    #[test]
    fn b30_model_one_caller_at_a_time_tries_a_store_that_is_down() {
        for ends in [
            [End::Answer, End::Failure, End::Cancelled],
            [End::Failure, End::Failure, End::Cancelled],
            [End::Cancelled, End::Cancelled, End::Answer],
        ] {
            shuttle::check_random(move || run(ends), 5_000);
            shuttle::check_pct(move || run(ends), 5_000, 3);
        }
    }

    fn run(ends: [End; 3]) {
        let start = Instant::now();
        let breaker = Arc::new(Mutex::new(Breaker::default()));
        let trying = Arc::new(AtomicI32::new(0));
        // How often the log says that it is down, minus how often that it is back.
        let down = Arc::new(AtomicI32::new(0));
        let threads: Vec<_> = ends
            .into_iter()
            .map(|end| {
                let (breaker, trying, down) =
                    (Arc::clone(&breaker), Arc::clone(&trying), Arc::clone(&down));
                thread::spawn(move || {
                    // Each call is later than any downtime before it.
                    for minute in 1..4 {
                        let now = start + Duration::from_secs(60 * minute);
                        let Some(permit) = lock(&breaker).enter(now) else {
                            continue;
                        };
                        if permit.is_trial {
                            let others = trying.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(others, 0, "two callers try at a time");
                        }
                        thread::yield_now();
                        if permit.is_trial {
                            trying.fetch_sub(1, Ordering::SeqCst);
                        }
                        let mut breaker = lock(&breaker);
                        match end {
                            End::Answer if breaker.succeed(permit) => {
                                down.fetch_sub(1, Ordering::SeqCst);
                            }
                            End::Failure if breaker.fail(permit, now, 1.0) => {
                                down.fetch_add(1, Ordering::SeqCst);
                            }
                            End::Answer | End::Failure => {}
                            End::Cancelled => breaker.cancel(permit),
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let mut breaker = lock(&breaker);
        let is_logged_as_down = down.load(Ordering::SeqCst);
        assert_eq!(is_logged_as_down, i32::from(!breaker.is_up()), "the log");
        let later = start + Duration::from_secs(3_600);
        let permit = breaker.enter(later).expect("nobody may try again");
        assert_eq!(breaker.succeed(permit), is_logged_as_down == 1);
        assert!(breaker.is_up());
    }
}
