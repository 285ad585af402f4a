//! Process generations: what was made before a `fork()` must not be used,
//! waited for or dropped after it.
//!
//! The child of a fork has one thread, with the memory of all. A lock that
//! another thread held stays held for ever; a connection is shared with the
//! parent; a runtime has lost its threads. So everything of that sort belongs
//! to the generation it was made in, a stale one is leaked, and a fresh one is
//! made. Asking for the generation costs one load, where a process id would
//! cost a system call.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(1);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// The generation of this process: another one after each fork.
#[inline]
pub(crate) fn generation() -> u32 {
    let generation = GENERATION.load(Ordering::Relaxed);
    #[cfg(test)]
    return generation + pretend::forks();
    #[cfg(not(test))]
    generation
}

/// Sees to it that forks are noticed. Called when a client is built.
pub(crate) fn watch() {
    // Not a `Once`: nobody may wait here for a thread that a fork has left
    // behind. Two that register at once count each fork twice, which is no
    // harm; a fork between the mark and the registration would go unnoticed.
    if HOOKED.load(Ordering::Relaxed) {
        return;
    }
    #[cfg(unix)]
    {
        extern "C" fn in_child() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: `in_child` only touches a static atomic, which is
        // async-signal-safe, as the child of a threaded process requires, and
        // it is never unloaded, as `pthread_atfork` handlers of a library are
        // deregistered with it by glibc and musl.
        #[allow(unsafe_code)]
        let result = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if result != 0 {
            tracing::warn!(target: "layerfi_auth", "out of memory: forks are not noticed");
            return;
        }
    }
    HOOKED.store(true, Ordering::Relaxed);
}

/// Something that lives in one generation only. In another it is leaked where
/// it would have been dropped.
pub(crate) struct Generational<T> {
    generation: u32,
    value: Option<ManuallyDrop<T>>,
}

impl<T> Generational<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            generation: generation(),
            value: Some(ManuallyDrop::new(value)),
        }
    }

    /// The value, unless it is from before a fork.
    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_current() {
            self.value.as_deref()
        } else {
            None
        }
    }

    pub(crate) fn is_current(&self) -> bool {
        self.generation == generation()
    }
}

impl<T> Drop for Generational<T> {
    fn drop(&mut self) {
        if self.is_current()
            && let Some(value) = self.value.take()
        {
            drop(ManuallyDrop::into_inner(value));
        }
    }
}

/// Forks for tests that need no second process: of one thread only, so that
/// tests beside it notice nothing.
#[cfg(test)]
pub(crate) mod pretend {
    use std::cell::Cell;

    thread_local! {
        static FORKS: Cell<u32> = const { Cell::new(0) };
    }

    pub(crate) fn fork() {
        FORKS.set(FORKS.get() + 1);
    }

    pub(super) fn forks() -> u32 {
        FORKS.get()
    }
}
