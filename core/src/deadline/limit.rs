//! Time limits that most often do not expire.
//!
//! A timer of Tokio wakes the thread that waits for the sockets when it is set, and is
//! taken out again when it is dropped: for a call that ends in time, system calls and a
//! thousand instructions for nothing. Here, all limits of a thread share one timer, the
//! *alarm*. It rings at the earliest limit, also if that call has ended long before, and
//! is then set to the earliest limit that is left. So while calls are made, it is set
//! once per attempt timeout, and in an idle process it is not set.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Instant;

use tokio::task::AbortHandle;

thread_local! {
    static LIMITS: RefCell<Limits> = const {
        RefCell::new(Limits { places: Vec::new(), free: Vec::new(), alarm: None })
    };
}

/// The calls of one thread that have a limit.
struct Limits {
    /// The limits, and what to wake. Not in order: most are taken out long before the
    /// alarm rings. `None` if it is over, or if the place is free.
    places: Vec<Option<(Instant, Waker)>>,
    free: Vec<usize>,
    /// When the alarm rings, and its task. The task also ends with its runtime.
    alarm: Option<(Instant, AbortHandle)>,
}

impl Limits {
    /// Adds a limit. Returns its place.
    fn add(&mut self, at: Instant, waker: Waker) -> usize {
        let limit = Some((at, waker));
        let freed = self.free.pop();
        let place = match freed.and_then(|place| Some((place, self.places.get_mut(place)?))) {
            Some((place, free)) => {
                *free = limit;
                place
            }
            None => {
                self.places.push(limit);
                self.places.len() - 1
            }
        };
        self.set_alarm(at);
        place
    }

    /// Takes a limit out.
    fn remove(&mut self, place: usize) -> Option<(Instant, Waker)> {
        self.free.push(place);
        self.places.get_mut(place)?.take()
    }

    /// Sets the alarm to a limit, unless it rings before.
    fn set_alarm(&mut self, at: Instant) {
        if let Some((rings_at, alarm)) = &self.alarm {
            if *rings_at <= at && !alarm.is_finished() {
                return;
            }
            alarm.abort();
        }
        let alarm = tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            for due in LIMITS.with_borrow_mut(|limits| limits.ring()) {
                due.wake();
            }
        });
        self.alarm = Some((at, alarm.abort_handle()));
    }

    /// Takes out what is due, and sets the alarm to the earliest limit that is left.
    fn ring(&mut self) -> Vec<Waker> {
        let now = tokio::time::Instant::now().into_std();
        let is_due = |place: &mut Option<(Instant, Waker)>| {
            let (_, waker) = place.take_if(|(at, _)| *at <= now)?;
            Some(waker)
        };
        let due = self.places.iter_mut().filter_map(is_due).collect();
        self.alarm = None;
        let left = self.places.iter().flatten().map(|(at, _)| *at).min();
        if let Some(at) = left {
            self.set_alarm(at);
        }
        due
    }
}

/// A call's limit. Dropping it takes it out.
struct Limit {
    at: Instant,
    place: Option<usize>,
}

impl Limit {
    /// Whether it has expired. If not, the waker is woken when it does.
    fn is_over(&mut self, waker: &Waker) -> bool {
        LIMITS.with_borrow_mut(|limits| {
            let Some(place) = self.place else {
                self.place = Some(limits.add(self.at, waker.clone()));
                return false;
            };
            match limits.places.get_mut(place) {
                Some(Some((_, known))) => {
                    known.clone_from(waker);
                    false
                }
                _ => true,
            }
        })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // The thread may have ended. Its limits have then been dropped.
            let taken = LIMITS.try_with(|limits| limits.borrow_mut().remove(place));
            drop(taken);
        }
    }
}

/// Runs a call until a moment. `None` if it is not over by then. Needs the timers of a
/// runtime that stays on one thread.
pub(crate) async fn within<T>(
    at: Instant,
    mut call: Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Option<T> {
    let mut limit = Limit { at, place: None };
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if limit.is_over(cx.waker()) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    fn after(seconds: u64) -> Instant {
        tokio::time::Instant::now().into_std() + Duration::from_secs(seconds)
    }

    /// How many seconds from now the alarm rings.
    fn rings_in() -> Option<u64> {
        let now = tokio::time::Instant::now().into_std();
        LIMITS.with_borrow(|limits| {
            let (at, _) = limits.alarm.as_ref()?;
            Some((*at - now).as_secs())
        })
    }

    fn waiting() -> usize {
        LIMITS.with_borrow(|limits| limits.places.iter().flatten().count())
    }

    async fn is_over(call: impl Future<Output = ()>, seconds: u64) -> bool {
        within(after(seconds), pin!(call)).await.is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn b08_each_call_ends_at_its_own_limit() {
        let start = tokio::time::Instant::now();
        let call = |seconds| async move {
            assert!(is_over(pending(), seconds).await);
            start.elapsed().as_secs()
        };
        // The second is earlier than the alarm that the first sets.
        let ended = tokio::join!(call(30), call(10), call(20));
        assert_eq!(ended, (30, 10, 20));
        assert_eq!((waiting(), rings_in()), (0, None), "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_end_in_time_set_the_alarm_once() {
        for second in 0..9 {
            let call = tokio::time::sleep(Duration::from_secs(1));
            assert!(!is_over(call, 10).await, "it is over after a second");
            assert_eq!(rings_in(), Some(9 - second), "the first call's alarm");
            assert_eq!(waiting(), 0, "an ended call is taken out");
        }
        assert!(!is_over(ready(()), 1).await, "it waits for nothing");
        assert_eq!(rings_in(), Some(1));
        assert!(is_over(pending(), 5).await, "the alarm rings for no call");
        let places = LIMITS.with_borrow(|limits| (limits.places.len(), limits.free.len()));
        assert_eq!(places, (1, 1), "a place is used again");
    }

    #[test]
    fn limit_holds_in_the_next_runtime_of_a_thread() {
        for _ in 0..2 {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                assert!(!is_over(tokio::task::yield_now(), 10).await, "too early");
                assert!(is_over(pending(), 20).await);
                // This alarm ends with the runtime.
                assert!(!is_over(tokio::task::yield_now(), 10).await, "too early");
            });
        }
    }
}
