//! A value that one thread at a time may use, without waiting.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::Python;

/// Value that one caller at a time may change. A mutex whose lock is only tried would
/// do as well; with a GIL this needs no locked instructions, which would be a third of
/// a cache hit.
pub(crate) struct TryCell<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one caller at a time.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for TryCell<T> {}

impl<T> TryCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Calls `change`, unless another call of it is running: in another thread, or in
    /// this one, where code that `change` runs calls this again.
    #[inline]
    pub(crate) fn with<R>(&self, py: Python<'_>, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        struct GiveBack<'a>(&'a AtomicBool);
        impl Drop for GiveBack<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }

        if !self.take(py) {
            return None;
        }
        let _give_back = GiveBack(&self.is_taken);
        // SAFETY: `take` returned true, so no other reference exists until the flag is
        // cleared.
        #[allow(unsafe_code)]
        Some(change(unsafe { &mut *self.value.get() }))
    }

    /// Sets the flag. Returns whether it was not set before.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    fn take(&self, _has_gil: Python<'_>) -> bool {
        // No other thread is between these two lines, because this one holds the GIL.
        // The change of threads that hold it orders their accesses to the value.
        let is_taken = self.is_taken.load(Ordering::Relaxed);
        self.is_taken.store(true, Ordering::Relaxed);
        !is_taken
    }

    #[cfg(Py_GIL_DISABLED)]
    fn take(&self, _: Python<'_>) -> bool {
        !self.is_taken.swap(true, Ordering::Acquire)
    }
}
