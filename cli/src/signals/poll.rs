//! A thread that looks for signals twenty times a second, on systems where it cannot
//! wait for them, such as Windows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::SigId;
use tokio::sync::oneshot;

use crate::threads;

const INTERVAL: Duration = Duration::from_millis(50);

/// Dropping it ends the thread.
pub(super) struct Watch {
    handlers: Vec<SigId>,
    ended: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn start(signals: &[i32], sender: oneshot::Sender<i32>) -> io::Result<Self> {
        let signal = Arc::<AtomicUsize>::default();
        // Dropped on failure, which removes the handlers.
        let mut watch = Self {
            handlers: Vec::new(),
            ended: Arc::default(),
        };
        for &number in signals {
            // Signal numbers are positive, and 0 means that there was none.
            let value = usize::try_from(number).unwrap_or_default();
            let handler = signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
            watch.handlers.push(handler);
        }
        let ended = Arc::clone(&watch.ended);
        threads::start("signals", move || {
            let mut sender = Some(sender);
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(INTERVAL);
                let number = i32::try_from(signal.swap(0, Ordering::Relaxed));
                match (number, sender.take()) {
                    (Ok(0) | Err(_), unused) => sender = unused,
                    (Ok(number), Some(sender)) => drop(sender.send(number)),
                    (Ok(number), None) => signal_hook::low_level::exit(128 + number),
                }
            }
        })?;
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_is_reported_and_handlers_are_removed_at_the_end() {
        // Ignored by default, so that it ends no test if the handler is missing.
        let signal = signal_hook::consts::SIGURG;
        let (sender, received) = oneshot::channel();
        let watch = Watch::start(&[signal], sender).unwrap();
        signal_hook::low_level::raise(signal).unwrap();
        assert_eq!(received.blocking_recv(), Ok(signal));
        drop(watch);

        let (sender, mut unused) = oneshot::channel();
        let watch = Watch::start(&[signal], sender).unwrap();
        drop(watch);
        signal_hook::low_level::raise(signal).unwrap();
        while unused.try_recv() != Err(oneshot::error::TryRecvError::Closed) {
            assert_ne!(
                unused.try_recv(),
                Ok(signal),
                "a removed handler was called"
            );
            std::thread::sleep(INTERVAL);
        }
    }
}
