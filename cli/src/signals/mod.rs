//! Waits for signals that stop a command.
//!
//! Not with Tokio's `signal` feature: with it, each Tokio runtime of the process
//! opens more descriptors, and panics if it gets none. The Python package contains
//! this command, so its engine would have the feature too.

#[cfg(unix)]
mod iterate;
#[cfg(any(not(unix), test))]
mod poll;

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::oneshot;

use crate::failure::Failure;

#[cfg(unix)]
use iterate::Watch;
#[cfg(not(unix))]
use poll::Watch;

/// Signals that stop a command.
pub(crate) const STOP: &[i32] = &[SIGINT, SIGTERM];

/// The same, and the end of the terminal where it is a signal.
#[cfg(unix)]
pub(crate) const STOP_OR_HANG_UP: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
pub(crate) const STOP_OR_HANG_UP: &[i32] = STOP;

/// Handlers of signals. The first signal is reported; a second one ends the process
/// at once. Dropping it ends its thread.
pub(crate) struct StopSignals {
    received: oneshot::Receiver<i32>,
    _watch: Watch,
}

impl StopSignals {
    /// Installs handlers of these signals.
    pub(crate) fn install(signals: &[i32]) -> Result<Self, Failure> {
        let (sender, received) = oneshot::channel();
        match Watch::start(signals, sender) {
            Ok(watch) => Ok(Self {
                received,
                _watch: watch,
            }),
            Err(error) => Err(Failure::local(
                format!("cannot install a signal handler: {error}"),
                "check the process's limits on threads and file descriptors",
            )),
        }
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
