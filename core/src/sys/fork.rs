//! Process generations: state that was created before a `fork()`, or before the
//! program closed this library's file descriptors, must not be used, waited for or
//! dropped after it.
//!
//! The child of a fork has one thread and a copy of all memory. A lock that
//! another thread held stays locked forever; a socket is shared with the
//! parent; a runtime has lost its threads. So all such state belongs to the
//! process generation that created it. State of an older generation is leaked
//! and created again. Reading the generation is one load; `getpid` would be a
//! system call.
//!
//! A program that closes all descriptors (`closefrom`), as daemons do, also closes
//! those of this library. Their numbers then belong to files that the program opens
//! next, which must not be written to or closed. So this is a new generation, too.

use std::future::{Future, poll_fn};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};

use once_cell::race::OnceBox;

use super::descriptors::Marker;

/// What a fork adds to the generation. Closed descriptors add one.
const FORK: u32 = 1 << 12;

static GENERATION: AtomicU32 = AtomicU32::new(FORK);
/// Shows whether the descriptors of this generation are still open. `None` where no marker
/// can be made.
static MARKER: PerProcess<Option<Marker>> = PerProcess::new();
/// The process that `GENERATION` belongs to; 0 before [`watch`].
static PROCESS: AtomicU32 = AtomicU32::new(0);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Generation of this process: it changes with each fork, and when the program closes
/// the descriptors of this library.
#[inline]
pub(crate) fn generation() -> u32 {
    let generation = GENERATION.load(Ordering::Relaxed);
    #[cfg(test)]
    return generation + pretend::forks();
    #[cfg(not(test))]
    generation
}

/// Number of this process, which changes with each fork only.
#[cfg(feature = "blocking")]
pub(crate) fn process() -> u32 {
    notice_fork();
    process_of(generation())
}

fn process_of(generation: u32) -> u32 {
    generation / FORK
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
            GENERATION.fetch_add(FORK, Ordering::Relaxed);
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

/// Notices forks that run no handlers, and closed descriptors. These are system calls, so
/// only the slow path does it: every access to a [`PerProcess`] value.
pub(crate) fn notice() {
    notice_fork();
    notice_closed_descriptors();
}

/// Compares process ids, for forks that run no handlers (`_Fork`, a raw `clone`).
fn notice_fork() {
    let this = std::process::id();
    let known = PROCESS.load(Ordering::Relaxed);
    // If several threads notice the same fork, only one changes the generation.
    if known != this
        && PROCESS
            .compare_exchange(known, this, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        GENERATION.fetch_add(FORK, Ordering::Relaxed);
    }
}

fn notice_closed_descriptors() {
    let this = Generation::current();
    if let Some(Some(marker)) = MARKER.get()
        && !marker.is_open()
    {
        this.abandon();
    }
}

/// Makes the marker of this generation. Called before this library opens descriptors that
/// it keeps.
///
/// # Errors
/// The system's error if there is no descriptor left.
pub(crate) fn mark() -> std::io::Result<()> {
    MARKER.get_or_try_init(Marker::open).map(drop)
}

/// Whether the program has closed descriptors of this library, in this process or in one
/// that it was forked from.
pub(crate) fn has_closed_descriptors() -> bool {
    let mut former = MARKER.former().filter_map(|marker| marker.value.as_ref());
    former.any(|marker| !marker.is_open())
}

/// Generation of a background thread.
#[derive(Clone, Copy)]
pub(crate) struct Generation(u32);

impl Generation {
    // Pretended forks do not count: they affect the test's thread only.
    pub(crate) fn current() -> Self {
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Ends this generation without a fork.
    pub(crate) fn abandon(self) {
        // Fails if another thread was first.
        let _ = GENERATION.compare_exchange(
            self.0,
            self.0.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Whether the process has left this generation.
    pub(crate) fn is_over(self) -> bool {
        notice_closed_descriptors();
        self.0 != GENERATION.load(Ordering::Relaxed)
    }
}

/// Runs on a background thread what other threads wake, such as a thread that has looked
/// up a name. Such a wake writes to a descriptor of the background thread, so it is left
/// out once that may be the program's.
pub(crate) async fn woken_by_others<T>(call: impl Future<Output = T>) -> T {
    let generation = Generation::current();
    let mut call = pin!(call);
    poll_fn(|cx| {
        let task = cx.waker().clone();
        let waker = Waker::from(Arc::new(Checked { generation, task }));
        call.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// Wakes a task if its background thread still has its descriptors.
struct Checked {
    generation: Generation,
    task: Waker,
}

impl Wake for Checked {
    fn wake(self: Arc<Self>) {
        if !self.generation.is_over() {
            self.task.wake_by_ref();
        }
    }
}

/// Value of one generation. In a later one it cannot be accessed, and is leaked instead
/// of dropped.
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

    /// Whether the process has forked since the value was created.
    pub(crate) fn has_forked(&self) -> bool {
        process_of(self.generation) != process_of(generation())
    }

    pub(crate) fn into_inner(self) -> Option<T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither used nor dropped afterwards.
        #[allow(unsafe_code)]
        this.is_current()
            .then(|| unsafe { ManuallyDrop::take(&mut this.value) })
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

/// Value that each generation creates for itself on first use. No thread waits for
/// another: if two threads create it at the same time, the first to finish
/// wins. A failure is not stored.
pub(crate) struct PerProcess<T> {
    first: OnceBox<Link<T>>,
}

/// Value of one generation, and the place for the value of the next.
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

    /// Value of this generation, if it has been created. Makes no system call.
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

    /// Values of the generations that this process has left without a fork.
    pub(crate) fn abandoned(&self) -> impl Iterator<Item = &T> {
        let former = self.former().filter(|value| !value.has_forked());
        former.map(|former| &*former.value)
    }

    /// Values of earlier generations, also of parents of this process.
    fn former(&self) -> impl Iterator<Item = &Stamped<T>> {
        let links = std::iter::successors(self.first.get(), |link| link.next.get());
        links
            .map(|link| &link.value)
            .filter(|value| !value.is_current())
    }

    /// Value of this generation. Creates it if it is missing.
    pub(crate) fn get_or_init(&self, make: impl Fn() -> T) -> &T {
        let made: Result<&T, std::convert::Infallible> = self.get_or_try_init(|| Ok(make()));
        match made {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// Value of this generation. Creates it if it is missing.
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
        FORKS.get() * super::FORK
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
