//! Process generations: state that was created before a `fork()` must not be
//! used, waited for or dropped after it.
//!
//! The child of a fork has one thread and a copy of all memory. A lock that
//! another thread held stays locked forever; a socket is shared with the
//! parent; a runtime has lost its threads. So all such state belongs to the
//! process generation that created it. State of an older generation is leaked
//! and created again. Reading the generation is one load; `getpid` would be a
//! system call.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use once_cell::race::OnceBox;

static GENERATION: AtomicU32 = AtomicU32::new(1);
/// The process that `GENERATION` belongs to; 0 before [`watch`].
static PROCESS: AtomicU32 = AtomicU32::new(0);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Generation of this process: it changes with each fork.
#[inline]
pub(crate) fn generation() -> u32 {
    let generation = GENERATION.load(Ordering::Relaxed);
    #[cfg(test)]
    return generation + pretend::forks();
    #[cfg(not(test))]
    generation
}

/// Installs the handler that notices forks. Called when a client is built.
pub(crate) fn watch() {
    // Not a `Once`: a thread of a child could wait forever for a thread that
    // exists only in the parent. If two threads register the handler at the same
    // time, each fork counts twice, which is harmless.
    if HOOKED.load(Ordering::Relaxed) {
        return;
    }
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    #[cfg(unix)]
    {
        extern "C" fn in_child() {
            // Always a new generation, because in a new pid namespace the child
            // may have the pid of its parent.
            PROCESS.store(std::process::id(), Ordering::Relaxed);
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: `in_child` only reads the process id and changes static
        // atomics, which is async-signal-safe, as the child of a threaded process
        // requires; and it is never unloaded, since glibc and musl deregister the
        // `pthread_atfork` handlers of a library together with it.
        #[allow(unsafe_code)]
        let result = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if result != 0 {
            // `notice` still compares process ids on the slow path.
            return;
        }
    }
    HOOKED.store(true, Ordering::Relaxed);
}

/// Compares process ids, for forks that run no handlers (`_Fork`, a raw
/// `clone`). This is a system call, so only the slow path does it: every access to
/// a [`PerProcess`] value.
pub(crate) fn notice() {
    let this = std::process::id();
    let known = PROCESS.load(Ordering::Relaxed);
    // If several threads notice the same fork, only one changes the generation.
    if known != this
        && PROCESS
            .compare_exchange(known, this, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
}

/// Value of one process. In a forked child it cannot be accessed, and is leaked
/// instead of dropped.
pub(crate) struct Stamped<T> {
    generation: u32,
    value: ManuallyDrop<T>,
}

impl<T> Stamped<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            generation: generation(),
            value: ManuallyDrop::new(value),
        }
    }

    fn is_current(&self) -> bool {
        self.generation == generation()
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.is_current().then(|| &*self.value)
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.is_current().then(|| &mut *self.value)
    }
}

impl<T> Drop for Stamped<T> {
    fn drop(&mut self) {
        if self.is_current() {
            // SAFETY: this is the value's only drop, and nothing uses it afterwards.
            #[allow(unsafe_code)]
            unsafe {
                ManuallyDrop::drop(&mut self.value);
            }
        }
    }
}

/// Value that each process creates for itself on first use. No thread waits for
/// another: if two threads create it at the same time, the first to finish
/// wins. A failure is not stored.
pub(crate) struct PerProcess<T> {
    first: OnceBox<Link<T>>,
}

/// Value of one generation, and the place for the value of its child.
struct Link<T> {
    value: Stamped<T>,
    next: OnceBox<Link<T>>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self {
            first: OnceBox::new(),
        }
    }

    /// Value of this process, if it has been created.
    #[cfg(test)]
    pub(crate) fn get(&self) -> Option<&T> {
        let mut place = &self.first;
        while let Some(link) = place.get() {
            if let Some(value) = link.value.get() {
                return Some(value);
            }
            place = &link.next;
        }
        None
    }

    /// Value of this process. Creates it if it is missing.
    pub(crate) fn get_or_init(&self, make: impl Fn() -> T) -> &T {
        let made: Result<&T, std::convert::Infallible> = self.get_or_try_init(|| Ok(make()));
        match made {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// Value of this process. Creates it if it is missing.
    ///
    /// # Errors
    /// The error of `make`; the next call retries.
    pub(crate) fn get_or_try_init<E>(&self, make: impl Fn() -> Result<T, E>) -> Result<&T, E> {
        notice();
        let mut place = &self.first;
        loop {
            let link = place.get_or_try_init(|| {
                Ok(Box::new(Link {
                    value: Stamped::new(make()?),
                    next: OnceBox::new(),
                }))
            })?;
            if let Some(value) = link.value.get() {
                return Ok(value);
            }
            place = &link.next;
        }
    }
}

/// Simulated forks, for tests that need no second process. They affect only one
/// thread, so concurrent tests do not notice them.
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn b13_each_process_makes_its_own_value_once() {
        let made = std::cell::Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            made.get()
        };
        let value = PerProcess::new();
        assert_eq!(
            value.get(),
            None,
            "no value is created before the first use"
        );
        assert_eq!((*value.get_or_init(make), *value.get_or_init(make)), (1, 1));
        pretend::fork();
        assert_eq!(
            value.get(),
            None,
            "the child does not see the parent's value"
        );
        assert_eq!((*value.get_or_init(make), *value.get_or_init(make)), (2, 2));
        pretend::fork();
        assert_eq!(*value.get_or_init(make), 3);
    }

    #[test]
    fn b25_failed_initialization_is_not_stored() {
        let value = PerProcess::<u32>::new();
        assert_eq!(
            value.get_or_try_init(|| Err("no descriptor")),
            Err("no descriptor")
        );
        assert_eq!(value.get_or_try_init(|| Ok::<_, &str>(7)), Ok(&7));
        assert_eq!(value.get_or_try_init(|| Err("not called")), Ok(&7));
    }

    #[test]
    fn b13_only_the_process_that_made_a_value_drops_it() {
        let counted = Rc::new(());
        let value = PerProcess::new();
        value.get_or_init(|| Rc::clone(&counted));
        pretend::fork();
        value.get_or_init(|| Rc::clone(&counted));
        assert_eq!(Rc::strong_count(&counted), 3);
        drop(value);
        assert_eq!(
            Rc::strong_count(&counted),
            2,
            "the parent's value is leaked"
        );
    }
}
