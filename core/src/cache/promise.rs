//! A value that many callers wait for, set once.
//!
//! Wakers are code of the caller's executor, so none is cloned, woken or dropped under
//! the lock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sys::sync::{Mutex, lock};

/// The side that sets the value. Dropping it without a value ends all waits.
pub(crate) struct Promise<T>(Arc<Shared<T>>);

/// The side of the callers. Clones wait for the same value.
pub(crate) struct Awaited<T>(Arc<Shared<T>>);

struct Shared<T>(Mutex<State<T>>);

enum State<T> {
    Waiting(Waiters),
    /// `None` if the promise was dropped.
    Done(Option<T>),
}

#[derive(Default)]
struct Waiters {
    wakers: Vec<Option<Waker>>,
    /// Places in `wakers` that can be used again.
    free: Vec<usize>,
}

pub(crate) fn promise<T>() -> (Promise<T>, Awaited<T>) {
    let state = State::Waiting(Waiters::default());
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Promise(Arc::clone(&shared)), Awaited(shared))
}

impl<T> Shared<T> {
    /// Sets the value, unless there is one, and wakes all callers.
    fn set(&self, value: Option<T>) {
        let mut state = lock(&self.0);
        let waiters = match &mut *state {
            State::Done(_) => return,
            State::Waiting(waiters) => std::mem::take(waiters),
        };
        *state = State::Done(value);
        drop(state);
        for waker in waiters.wakers.into_iter().flatten() {
            waker.wake();
        }
    }
}

impl<T> Promise<T> {
    pub(crate) fn set(self, value: T) {
        self.0.set(Some(value));
    }
}

impl<T> Promise<T> {
    /// Ends all waits without a value.
    pub(crate) fn end(&self) {
        self.0.set(None);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> Clone for Awaited<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Awaited<T> {
    /// Waits for the value. `None` if the promise was dropped.
    pub(crate) fn wait(self) -> Wait<T> {
        Wait {
            shared: self.0,
            place: None,
        }
    }
}

/// One caller's wait.
pub(crate) struct Wait<T> {
    shared: Arc<Shared<T>>,
    /// Place of its waker.
    place: Option<usize>,
}

impl<T: Clone> Future for Wait<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let fresh = cx.waker().clone();
        let this = &mut *self;
        let mut state = lock(&this.shared.0);
        let waiters = match &mut *state {
            State::Done(value) => return Poll::Ready(value.clone()),
            State::Waiting(waiters) => waiters,
        };
        let before = waiters.put(&mut this.place, fresh);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Waiters {
    /// Puts a waker in the caller's place. Returns the one that was there.
    fn put(&mut self, place: &mut Option<usize>, waker: Waker) -> Option<Waker> {
        let at = *place.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.wakers.push(None);
                self.wakers.len() - 1
            })
        });
        self.wakers.get_mut(at).and_then(|own| own.replace(waker))
    }

    fn take(&mut self, at: usize) -> Option<Waker> {
        self.free.push(at);
        self.wakers.get_mut(at).and_then(Option::take)
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        let Some(place) = self.place else {
            return;
        };
        let mut state = lock(&self.shared.0);
        let waker = match &mut *state {
            State::Waiting(waiters) => waiters.take(place),
            State::Done(_) => None,
        };
        drop(state);
        drop(waker);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts its wakes, and looks at the promise in each of them.
    struct Counter {
        wakes: AtomicUsize,
        awaited: Awaited<u32>,
    }

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            assert!(is_free(&self.awaited), "woken under the lock");
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Drop for Counter {
        fn drop(&mut self) {
            assert!(is_free(&self.awaited), "a waker is dropped under the lock");
        }
    }

    fn is_free(awaited: &Awaited<u32>) -> bool {
        awaited.0.0.try_lock().is_ok()
    }

    fn counter(awaited: &Awaited<u32>) -> Arc<Counter> {
        Arc::new(Counter {
            wakes: AtomicUsize::new(0),
            awaited: awaited.clone(),
        })
    }

    fn poll(
        wait: Pin<&mut impl Future<Output = Option<u32>>>,
        counter: &Arc<Counter>,
    ) -> Poll<Option<u32>> {
        let waker = Waker::from(Arc::clone(counter));
        wait.poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn b27_every_waiter_is_woken_once_and_not_under_the_lock() {
        let (promise, awaited) = promise();
        let counter = counter(&awaited);
        let mut waits: Vec<_> = (0..10).map(|_| Box::pin(awaited.clone().wait())).collect();
        for wait in &mut waits {
            // The second poll replaces the waker of the first.
            for _ in 0..2 {
                assert_eq!(poll(wait.as_mut(), &counter), Poll::Pending);
            }
        }
        drop(waits.pop());
        promise.set(7);
        assert_eq!(counter.wakes.load(Ordering::Relaxed), 9, "wakes");
        for wait in &mut waits {
            assert_eq!(poll(wait.as_mut(), &counter), Poll::Ready(Some(7)));
        }
        let late = std::pin::pin!(awaited.wait());
        assert_eq!(poll(late, &counter), Poll::Ready(Some(7)), "a later caller");
    }

    #[test]
    fn dropped_promise_ends_the_wait() {
        let (promise, awaited) = promise::<u32>();
        let counter = counter(&awaited);
        let mut wait = std::pin::pin!(awaited.wait());
        assert_eq!(poll(wait.as_mut(), &counter), Poll::Pending);
        drop(promise);
        assert_eq!(counter.wakes.load(Ordering::Relaxed), 1, "wakes");
        assert_eq!(poll(wait, &counter), Poll::Ready(None));
    }

    #[test]
    fn places_of_callers_that_stop_waiting_are_used_again() {
        let (promise, awaited) = promise::<u32>();
        let counter = counter(&awaited);
        for _ in 0..100 {
            let mut wait = std::pin::pin!(awaited.clone().wait());
            assert_eq!(poll(wait.as_mut(), &counter), Poll::Pending);
        }
        let state = lock(&awaited.0.0);
        match &*state {
            State::Waiting(waiters) => assert_eq!(waiters.wakers.len(), 1, "places"),
            State::Done(_) => panic!("it is done"),
        }
        drop(state);
        drop(promise);
    }
}
