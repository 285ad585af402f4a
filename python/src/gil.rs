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

/// The thread that ends the interpreter, once it has begun to.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

/// Threads between looking whether it has begun, and having the GIL.
static ON_THE_WAY: AtomicUsize = AtomicUsize::new(0);

/// How long the end waits for those.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether Python may still be entered.
pub(crate) fn is_open() -> bool {
    ENDING.get().is_none()
}

/// Does something without the GIL.
pub(crate) fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let result = py.detach(|| {
        let result = work();
        ON_THE_WAY.fetch_add(1, Ordering::SeqCst);
        if let Some(ending) = ENDING.get()
            && *ending != std::thread::current().id()
        {
            ON_THE_WAY.fetch_sub(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        result
    });
    ON_THE_WAY.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Called in the child of a fork, which has none of its parent's other threads.
#[pyfunction]
pub(crate) fn after_fork() {
    ON_THE_WAY.store(0, Ordering::SeqCst);
}

/// Called by the thread that ends the interpreter, when that begins.
pub(crate) fn close(py: Python<'_>) {
    let _ = ENDING.set(std::thread::current().id());
    py.detach(|| {
        // Those who looked before this get the GIL now.
        let until = Instant::now() + PATIENCE;
        while ON_THE_WAY.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
