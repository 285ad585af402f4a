//! Starts threads of the command.

use std::io;

/// Stack of each thread. Set here, because the default follows `RUST_MIN_STACK`.
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// Starts a thread.
///
/// # Errors
/// The system's error if the process may start no other thread.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_SIZE);
    thread.spawn(run).map(drop)
}
