//! Letting go of the GIL, and taking it back only while there is an interpreter.
//!
//! Before 3.14 Python ends a thread that asks for the GIL of an ending
//! interpreter with `pthread_exit`, which unwinds through the frames of native
//! modules: what these do then depends on the unwinder that they were linked
//! with. So no thread of a call of ours comes to that: it sleeps instead, and
//! goes with the process, as it would have anyway.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// The way back to the GIL, open until the interpreter ends.
pub(crate) struct Gate {
    /// The thread that ends the interpreter, once it has begun to.
    ending: OnceLock<ThreadId>,
    /// Threads between looking whether it has begun, and having the GIL.
    on_the_way: AtomicUsize,
}

/// For calls.
pub(crate) static CALLS: Gate = Gate::new();

/// For couriers, who still have something to deliver when no call may return.
pub(crate) static COURIERS: Gate = Gate::new();

/// How long the end waits for those on the way.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether Python may still be entered.
pub(crate) fn is_open() -> bool {
    CALLS.ending.get().is_none()
}

/// Does something without the GIL, within a call.
pub(crate) fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    CALLS.released(py, work)
}

impl Gate {
    const fn new() -> Self {
        Self {
            ending: OnceLock::new(),
            on_the_way: AtomicUsize::new(0),
        }
    }

    /// Does something without the GIL.
    pub(crate) fn released<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
        let result = py.detach(|| {
            let result = work();
            self.on_the_way.fetch_add(1, Ordering::SeqCst);
            if let Some(ending) = self.ending.get()
                && *ending != std::thread::current().id()
            {
                self.on_the_way.fetch_sub(1, Ordering::SeqCst);
                loop {
                    std::thread::park();
                }
            }
            result
        });
        self.on_the_way.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Called by the thread that ends the interpreter: nobody comes back after this.
    pub(crate) fn close(&self, py: Python<'_>) {
        let _ = self.ending.set(std::thread::current().id());
        py.detach(|| {
            // Those who looked before this get the GIL now.
            let until = Instant::now() + PATIENCE;
            while self.on_the_way.load(Ordering::SeqCst) > 0 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
}

/// Called in the child of a fork, which has none of its parent's other threads.
#[pyfunction]
pub(crate) fn after_fork() {
    for gate in [&CALLS, &COURIERS] {
        gate.on_the_way.store(0, Ordering::SeqCst);
    }
}
