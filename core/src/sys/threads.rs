//! Starts threads of this library.

use std::io;

use super::signals;

/// Stack of each thread. Set here, because the default follows `RUST_MIN_STACK`, which a
/// program may have set for other threads: to a size that is too small, or more than
/// there is.
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// Starts a thread that blocks all signals, see [`signals::blocked`]. A thread name
/// has at most 15 characters on Linux.
///
/// # Errors
/// The system's error if the process may start no other thread.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // Not `std::thread::spawn`, which panics if no thread can be started.
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_SIZE);
    signals::blocked(|| thread.spawn(run)).map(drop)
}
