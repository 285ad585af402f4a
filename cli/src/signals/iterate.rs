//! A thread that waits for signals, on Unix.

use std::io;

use signal_hook::iterator::{Handle, Signals};
use tokio::sync::oneshot;

use crate::threads;

/// Dropping it ends the thread.
pub(super) struct Watch(Handle);

impl Watch {
    pub(super) fn start(signals: &[i32], sender: oneshot::Sender<i32>) -> io::Result<Self> {
        let mut signals = Signals::new(signals)?;
        let handle = signals.handle();
        threads::start("signals", move || {
            // `None` after `Handle::close`.
            let mut signals = signals.forever();
            if let Some(signal) = signals.next() {
                let _ = sender.send(signal);
            }
            if let Some(signal) = signals.next() {
                // As a shell reports it.
                signal_hook::low_level::exit(128 + signal);
            }
        })?;
        Ok(Self(handle))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}
