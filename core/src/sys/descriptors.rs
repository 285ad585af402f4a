//! File descriptors that a process has left.

use std::io;

/// Checks that this many file descriptors can be opened.
///
/// Some libraries do not return an error when they get no descriptor: they panic,
/// or they remember an incomplete result. So the descriptors are checked before
/// such a library is called. Another thread may still take them in between.
///
/// # Errors
/// The system's error, such as "Too many open files".
pub(crate) fn check_free(count: usize) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut open = Vec::with_capacity(count);
        for _ in 0..count {
            // A socket needs no file and no permission.
            match std::os::unix::net::UnixDatagram::unbound() {
                Ok(socket) => open.push(socket),
                Err(error) if is_shortage(&error) => return Err(error),
                // A sandbox may forbid this kind of socket.
                Err(_) => {}
            }
        }
    }
    #[cfg(not(unix))]
    let _ = count;
    Ok(())
}

/// Whether the process or the system has no descriptor or memory left.
#[cfg(unix)]
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
    error
        .raw_os_error()
        .is_some_and(|code| shortages.contains(&code))
}
