//! Waits for signals that stop a command.
//!
//! Not with Tokio's `signal` feature: with it, each Tokio runtime of the process
//! opens more descriptors, and panics if it gets none. The Python package contains
//! this command, so its engine would have the feature too.

use std::io;

use signal_hook::iterator::{Handle, Signals};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Handlers of signals. The first signal is reported; a second one ends the process
/// at once. Dropping it ends its thread.
pub(crate) struct StopSignals {
    handle: Handle,
    received: oneshot::Receiver<i32>,
}

impl StopSignals {
    /// Installs handlers of these signals.
    pub(crate) fn install(signals: &[i32]) -> Result<Self, Failure> {
        Self::try_install(signals).map_err(|error| {
            Failure::local(
                format!("cannot install a signal handler: {error}"),
                "check the process's limits on threads and file descriptors",
            )
        })
    }

    fn try_install(signals: &[i32]) -> io::Result<Self> {
        let mut signals = Signals::new(signals)?;
        let handle = signals.handle();
        let (sender, received) = oneshot::channel();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                // `None` after `Handle::close`.
                let mut signals = signals.forever();
                if let Some(signal) = signals.next() {
                    let _ = sender.send(signal);
                }
                if let Some(signal) = signals.next() {
                    signal_hook::low_level::exit(128 + signal);
                }
            })?;
        Ok(Self { handle, received })
    }

    /// Waits for the first of the signals and returns its number. Call it again only if
    /// it was cancelled.
    pub(crate) async fn received(&mut self) -> i32 {
        match (&mut self.received).await {
            Ok(signal) => signal,
            // The thread has ended without a signal, which only `drop` causes.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        self.handle.close();
    }
}
