//! Forks by threads that do not hold the GIL, such as those of uWSGI.
//!
//! The child of a fork has only the thread that forked. If another thread of the
//! parent held the GIL, the child waits for it forever. `os.fork` holds the GIL
//! itself. Any other fork first waits here until this module's threads are outside
//! the interpreter, and they enter it again after the fork.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth::blocking::process_generation;

/// Longest wait of a fork, for example for a log handler that waits for a disk.
const FORK_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait of a thread for forks.
const ENTER_TIMEOUT: Duration = Duration::from_secs(2);

const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Number of this module's threads that may hold the GIL.
static INSIDE: AtomicU32 = AtomicU32::new(0);

/// Number of forks that wait for `INSIDE`, or are being made.
static FORKING: AtomicU32 = AtomicU32::new(0);

/// Marks a thread of this module that may hold the GIL.
pub(crate) struct Inside {
    generation: u32,
}

impl Inside {
    /// Marks the current thread, which does not hold the GIL, after the forks that
    /// are being made.
    pub(crate) fn enter() -> Self {
        let until = Instant::now() + ENTER_TIMEOUT;
        loop {
            let inside = Self::now();
            if !is_forking() || Instant::now() > until {
                return inside;
            }
            drop(inside);
            std::thread::sleep(CHECK_INTERVAL);
        }
    }

    /// Marks a thread that is about to be started by one that holds the GIL.
    pub(crate) fn now() -> Self {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        Self {
            generation: process_generation(),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A child starts at zero again.
        if self.generation == process_generation() {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Whether a fork waits for this module's threads.
pub(crate) fn is_forking() -> bool {
    FORKING.load(Ordering::SeqCst) > 0
}

/// Installs the handlers, once per process.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the handlers have the required type, and are never unloaded: glibc and
    // musl deregister the handlers of a library together with it. `in_child` only
    // changes atomics, which is async-signal-safe.
    #[allow(unsafe_code)]
    let result = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if result != 0 {
        WATCHED.store(false, Ordering::Relaxed);
    }
}

extern "C" fn before() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    if holds_gil() {
        return;
    }
    let until = Instant::now() + FORK_TIMEOUT;
    while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < until {
        std::thread::sleep(CHECK_INTERVAL);
    }
}

extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    FORKING.store(0, Ordering::SeqCst);
    INSIDE.store(0, Ordering::SeqCst);
}

/// Whether the current thread holds the GIL, or nobody can say.
fn holds_gil() -> bool {
    // Not in the stable ABI, so that it cannot be linked; every CPython exports it.
    // SAFETY: the name is a C string, and a missing symbol is a null pointer.
    #[allow(unsafe_code)]
    let check = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"PyGILState_Check".as_ptr()) };
    if check.is_null() {
        return true;
    }
    // SAFETY: this is the function's type in every version of CPython. It may be
    // called by any thread.
    #[allow(unsafe_code)]
    let check: extern "C" fn() -> c_int = unsafe { std::mem::transmute(check) };
    check() != 0
}
