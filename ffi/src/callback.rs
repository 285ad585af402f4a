//! Calls into C: the callback's user data, and which functions may wait inside a callback.

use std::cell::Cell;
use std::ffi::c_void;

use crate::failure::Failure;

/// A pointer that C passes with a callback, and the function that frees it.
pub(crate) struct UserData {
    pointer: *mut c_void,
    free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
}

// SAFETY: the library never reads what the pointer points to. The header says that callbacks are
// called from any thread, so the caller has to pass a pointer that allows it.
unsafe impl Send for UserData {}
// SAFETY: as above; the header says that several threads may call at the same time.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(
        pointer: *mut c_void,
        free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    ) -> Self {
        Self { pointer, free }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            run(|| {
                // SAFETY: the function was passed with this pointer, and this is its only call.
                unsafe { free(self.pointer) };
            });
        }
    }
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a callback.
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// Runs a callback. Functions that wait for the engine fail during it, because the engine may be
/// waiting for this callback.
pub(crate) fn run<T>(callback: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RUNNING.set(self.0);
        }
    }
    let _restore = Restore(RUNNING.replace(true));
    callback()
}

/// Fails if this thread is in a callback, where waiting might never end.
pub(crate) fn check_may_wait() -> Result<(), Failure> {
    if is_running() {
        return Err(Failure::WouldDeadlock);
    }
    Ok(())
}
