//! Locks and atomics of the cache, or those of the model checker.
//!
//! Under `--cfg shuttle` each step of the cache is a point where another task
//! may run, so that its tests explore the real code.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};

/// Locks a mutex, also after a panic: each statement under the locks of this
/// crate keeps the guarded state consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Lets the model checker switch tasks. Called before each use of the atomic
/// pointer, which the model checker does not support.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}
