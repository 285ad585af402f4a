//! A queue from one thread to another.
//!
//! A channel of the standard library would do as well, but its code is 16 kB for each
//! type of message.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct Queue<T> {
    state: Mutex<State<T>>,
    has_changed: Condvar,
}

struct State<T> {
    messages: VecDeque<T>,
    /// Whether the sender or the receiver was dropped.
    is_closed: bool,
}

/// The end that sends. It never waits.
pub(crate) struct Sender<T>(Arc<Queue<T>>);

/// The end that receives.
pub(crate) struct Receiver<T>(Arc<Queue<T>>);

/// What a wait for a message ended with.
#[derive(Debug, PartialEq)]
pub(crate) enum Received<T> {
    Message(T),
    TimedOut,
    /// The sender was dropped, and all its messages are received.
    Closed,
}

pub(crate) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue {
        state: Mutex::new(State {
            messages: VecDeque::new(),
            is_closed: false,
        }),
        has_changed: Condvar::new(),
    });
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> MutexGuard<'_, State<T>> {
        let mut state = self.lock();
        state.is_closed = true;
        self.has_changed.notify_all();
        state
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let never_received = std::mem::take(&mut self.0.close().messages);
        // Without the lock, because a message may do anything when it is dropped.
        drop(never_received);
    }
}

impl<T> Sender<T> {
    /// Returns whether the receiver still exists. If not, the message is dropped.
    pub(crate) fn send(&self, message: T) -> bool {
        let mut state = self.0.lock();
        if state.is_closed {
            return false;
        }
        state.messages.push_back(message);
        drop(state);
        self.0.has_changed.notify_one();
        true
    }
}

impl<T> Receiver<T> {
    /// Waits for the next message, for at most this long.
    pub(crate) fn receive(&self, at_most: Duration) -> Received<T> {
        let is_empty = |state: &mut State<T>| state.messages.is_empty() && !state.is_closed;
        let (mut state, _) = self
            .0
            .has_changed
            .wait_timeout_while(self.0.lock(), at_most, is_empty)
            .unwrap_or_else(PoisonError::into_inner);
        match state.messages.pop_front() {
            Some(message) => Received::Message(message),
            None if state.is_closed => Received::Closed,
            None => Received::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn messages_are_received_in_order_also_after_the_sender_was_dropped() {
        let (sender, receiver) = queue();
        assert_eq!(receiver.receive(SHORT), Received::TimedOut);
        assert!(sender.send(1));
        assert!(sender.send(2));
        drop(sender);
        let received = [(); 3].map(|()| receiver.receive(Duration::MAX));
        let expected = [Received::Message(1), Received::Message(2), Received::Closed];
        assert_eq!(received, expected);
    }

    #[test]
    fn a_dropped_receiver_refuses_messages_and_drops_what_it_has() {
        let (sender, receiver) = queue();
        let message = Arc::new(());
        assert!(sender.send(Arc::clone(&message)));
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 1);
        assert!(!sender.send(Arc::clone(&message)));
        assert_eq!(Arc::strong_count(&message), 1);
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let (sender, receiver) = queue();
        let thread = std::thread::spawn(move || {
            let first = receiver.receive(Duration::MAX);
            (first, receiver.receive(Duration::MAX))
        });
        assert!(sender.send("a message"));
        drop(sender);
        let received = thread.join().unwrap();
        assert_eq!(received, (Received::Message("a message"), Received::Closed));
    }
}
