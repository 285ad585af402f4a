//! Calling back into C: what comes along, and what may not be done there.

use std::cell::Cell;
use std::ffi::c_void;

use crate::failure::Failure;

/// What C wants to have back in its callback.
pub(crate) struct UserData {
    pointer: *mut c_void,
    free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
}

// SAFETY: the library never looks behind the pointer. The header says that
// callbacks are made from any thread, and so obliges whoever gives them.
unsafe impl Send for UserData {}
// SAFETY: as above; callbacks may be made from several threads at once.
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
            inside(|| {
                // SAFETY: the function and the pointer came together, and
                // this is the one time that it is called.
                unsafe { free(self.pointer) };
            });
        }
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a callback that others wait for.
pub(crate) fn is_inside() -> bool {
    INSIDE.get()
}

/// Runs a callback from a thread that must not wait for the engine: the engine
/// itself may be waiting for this very callback.
pub(crate) fn inside<T>(callback: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _restore = Restore(INSIDE.replace(true));
    callback()
}

/// Refuses a call that waits where waiting would never end.
pub(crate) fn may_wait() -> Result<(), Failure> {
    if is_inside() {
        return Err(Failure::WouldDeadlock);
    }
    Ok(())
}
