//! Releasing the GIL, and taking it again only while the interpreter runs.
//!
//! Before Python 3.14 a thread that requests the GIL of an interpreter that is
//! shutting down is ended with `pthread_exit`. That unwinds the stack through
//! frames of native modules, and the result depends on the unwinder that they
//! were linked with. Such a thread parks here instead and ends with the process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// Longest time for which a waiting call does not check for signals.
pub(crate) const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Longest time that `close` waits for threads that are taking the GIL.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Gate that threads pass to take the GIL again; closed when the interpreter
/// shuts down.
pub(crate) struct GilGate {
    /// The thread that closed the gate: the one that ends the interpreter.
    closed_by: OnceLock<ThreadId>,
    /// Threads between their check of `closed_by` and holding the GIL.
    acquiring: AtomicUsize,
}

/// Gate for calls.
pub(crate) static CALLS: GilGate = GilGate::new();

/// Gate for worker threads. It closes later than `CALLS`: workers still have
/// jobs to finish when no call may return.
pub(crate) static WORKERS: GilGate = GilGate::new();

/// Whether Python may still be entered.
pub(crate) fn is_open() -> bool {
    CALLS.closed_by.get().is_none()
}

/// Runs `work` without the GIL, as part of a call.
pub(crate) fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    CALLS.released(py, work)
}

/// Resets the gates in the child of a fork, which has none of its parent's
/// other threads.
pub(crate) fn reset_after_fork() {
    for gate in [&CALLS, &WORKERS] {
        gate.acquiring.store(0, Ordering::SeqCst);
    }
}

impl GilGate {
    const fn new() -> Self {
        Self {
            closed_by: OnceLock::new(),
            acquiring: AtomicUsize::new(0),
        }
    }

    /// Runs `work` without the GIL.
    pub(crate) fn released<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
        let result = py.detach(|| {
            let result = work();
            self.acquiring.fetch_add(1, Ordering::SeqCst);
            if let Some(closed_by) = self.closed_by.get()
                && *closed_by != std::thread::current().id()
            {
                self.acquiring.fetch_sub(1, Ordering::SeqCst);
                loop {
                    std::thread::park();
                }
            }
            result
        });
        self.acquiring.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Closes the gate, on the thread that ends the interpreter. No other
    /// thread takes the GIL through it after this returns.
    pub(crate) fn close(&self, py: Python<'_>) {
        let _ = self.closed_by.set(std::thread::current().id());
        py.detach(|| {
            // Threads that checked before the gate closed take the GIL now.
            let until = Instant::now() + CLOSE_TIMEOUT;
            while self.acquiring.load(Ordering::SeqCst) > 0 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
}
