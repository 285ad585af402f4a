//! Waits for signals that stop a command.
//!
//! Not with Tokio's `signal` feature: with it, each Tokio runtime of the process
//! opens more descriptors, and panics if it gets none. The Python package contains
//! this command, so its engine would have the feature too.

use std::io;

use signal_hook::iterator::{Handle, Signals};
use tokio::sync::oneshot;

/// Handlers of signals. Dropping it ends its thread.
pub(crate) struct StopSignals {
    handle: Handle,
    received: oneshot::Receiver<()>,
}

impl StopSignals {
    /// Installs handlers of these signals.
    pub(crate) fn install(signals: &[i32]) -> io::Result<Self> {
        let mut signals = Signals::new(signals)?;
        let handle = signals.handle();
        let (sender, received) = oneshot::channel();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                // `None` after `Handle::close`.
                if signals.forever().next().is_some() {
                    let _ = sender.send(());
                }
            })?;
        Ok(Self { handle, received })
    }

    /// Waits for the first of the signals.
    pub(crate) async fn received(&mut self) {
        if (&mut self.received).await.is_err() {
            // The thread has ended without a signal, which only `drop` causes.
            std::future::pending().await
        }
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        self.handle.close();
    }
}
