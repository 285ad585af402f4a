//! Releasing the GIL, and taking it again only while the interpreter runs.
//!
//! Before Python 3.14 a thread that requests the GIL of an interpreter that is
//! shutting down is ended with `pthread_exit`. That unwinds the stack through
//! frames of native modules, and the result depends on the unwinder that they
//! were linked with. Such a thread parks here instead and ends with the process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use layerfi_auth::blocking::process_generation;
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
    /// Number of threads between their check of `closed_by` and holding the GIL,
    /// with the process generation in the upper half: the child of a fork has
    /// none of its parent's other threads.
    acquiring: AtomicU64,
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

impl GilGate {
    const fn new() -> Self {
        Self {
            closed_by: OnceLock::new(),
            acquiring: AtomicU64::new(0),
        }
    }

    /// Runs `work` without the GIL.
    pub(crate) fn released<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
        let result = py.detach(|| {
            let result = work();
            self.enter();
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

    fn enter(&self) {
        let generation = u64::from(process_generation()) << 32;
        let add = |acquiring| Some(generation.max(acquiring) + 1);
        let _ = self
            .acquiring
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
    }

    /// Closes the gate, on the thread that ends the interpreter. No other
    /// thread takes the GIL through it after this returns.
    pub(crate) fn close(&self, py: Python<'_>) {
        let _ = self.closed_by.set(std::thread::current().id());
        py.detach(|| {
            // Threads that checked before the gate closed take the GIL now.
            let until = Instant::now() + CLOSE_TIMEOUT;
            let none = u64::from(process_generation()) << 32;
            while self.acquiring.load(Ordering::SeqCst) > none && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
}
