//! Time limits that most often do not expire.
//!
//! A timer of Tokio wakes the thread that waits for the sockets when it is set, and is
//! taken out again when it is dropped: for a call that ends in time, system calls and a
//! thousand instructions for nothing. Here, all limits of a thread share one timer, the
//! *alarm*. It rings at the earliest limit, also if that call has ended long before, and
//! is then set to the earliest limit that is left. So while calls are made, it is set
//! once per attempt timeout, and in an idle process it is not set.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Instant;

use tokio::task::AbortHandle;

thread_local! {
    static LIMITS: RefCell<Limits> = const {
        RefCell::new(Limits { waiting: BTreeMap::new(), next: 0, alarm: None })
    };
}

/// The calls of one thread that have a limit.
struct Limits {
    /// What to wake, by limit and number.
    waiting: BTreeMap<Key, Waker>,
    /// Number of the next one.
    next: u64,
    /// When the alarm rings, and its task. The task also ends with its runtime.
    alarm: Option<(Instant, AbortHandle)>,
}

type Key = (Instant, u64);

impl Limits {
    /// Sets the alarm to the earliest limit, unless it rings before.
    fn set_alarm(&mut self) {
        let Some((&(at, _), _)) = self.waiting.first_key_value() else {
            return;
        };
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

    /// Takes out what is due.
    fn ring(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let now = tokio::time::Instant::now().into_std();
        let left = self.waiting.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut self.waiting, left);
        self.alarm = None;
        self.set_alarm();
        due.into_values()
    }
}

/// A call's limit. Dropping it takes it out.
struct Limit {
    at: Instant,
    key: Option<Key>,
}

impl Limit {
    /// Whether it has expired. If not, the waker is woken when it does.
    fn is_over(&mut self, waker: &Waker) -> bool {
        LIMITS.with_borrow_mut(|limits| {
            let Some(key) = &self.key else {
                let key = (self.at, limits.next);
                limits.next += 1;
                limits.waiting.insert(key, waker.clone());
                limits.set_alarm();
                self.key = Some(key);
                return false;
            };
            match limits.waiting.get_mut(key) {
                Some(known) => {
                    known.clone_from(waker);
                    false
                }
                None => true,
            }
        })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // The thread may have ended. Its limits have then been dropped.
            let taken = LIMITS.try_with(|limits| limits.borrow_mut().waiting.remove(&key));
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
    let mut limit = Limit { at, key: None };
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
        LIMITS.with_borrow(|limits| limits.waiting.len())
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
