//! The process's limit on file descriptors, how many are left, and the errors at
//! the limit.

use std::io;
#[cfg(unix)]
use std::os::fd::AsRawFd as _;
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

/// Number of file descriptors that this process can have open.
pub(crate) fn limit() -> usize {
    #[cfg(unix)]
    {
        let mut limits = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limits` is valid for the call, which only writes to it.
        #[allow(unsafe_code)]
        let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) };
        if result == 0 {
            return usize::try_from(limits.rlim_cur).unwrap_or(usize::MAX);
        }
    }
    // Windows has no limit that matters, and other systems have at least this.
    1024
}

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
            match UnixDatagram::unbound() {
                Ok(socket) => open.push(socket),
                Err(error) if is_at_limit(&error) => return Err(error),
                // A sandbox may forbid this kind of socket.
                Err(_) => {}
            }
        }
    }
    #[cfg(not(unix))]
    let _ = count;
    Ok(())
}

/// A socket that does nothing. If its number is closed, or belongs to another file, the
/// program has closed the descriptors of this library, as `closefrom` does.
pub(crate) struct Marker {
    #[cfg(unix)]
    socket: UnixDatagram,
    /// Device and number of the socket, which no other file has.
    #[cfg(unix)]
    identity: (libc::dev_t, libc::ino_t),
}

impl Marker {
    /// `None` where there are no such sockets.
    ///
    /// # Errors
    /// The system's error if there is no descriptor left.
    pub(crate) fn open() -> io::Result<Option<Self>> {
        #[cfg(unix)]
        {
            let socket = match UnixDatagram::unbound() {
                Ok(socket) => socket,
                Err(error) if is_at_limit(&error) => return Err(error),
                // A sandbox may forbid this kind of socket.
                Err(_) => return Ok(None),
            };
            let identity = identity(&socket);
            Ok(identity.map(|identity| Self { socket, identity }))
        }
        #[cfg(not(unix))]
        Ok(None)
    }

    /// Whether the descriptor is still this library's.
    pub(crate) fn is_open(&self) -> bool {
        #[cfg(unix)]
        return identity(&self.socket) == Some(self.identity);
        #[cfg(not(unix))]
        true
    }
}

/// `None` if the descriptor is closed.
#[cfg(unix)]
fn identity(socket: &UnixDatagram) -> Option<(libc::dev_t, libc::ino_t)> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` only writes to `found`, and initializes it if it returns 0.
    #[allow(unsafe_code)]
    unsafe {
        (libc::fstat(socket.as_raw_fd(), found.as_mut_ptr()) == 0).then(|| {
            let found = found.assume_init();
            (found.st_dev, found.st_ino)
        })
    }
}

/// Whether the process or the whole system had no descriptor left, or no memory for one.
pub(crate) fn is_at_limit(error: &io::Error) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
    #[cfg(not(unix))]
    const CODES: [i32; 0] = [];
    error
        .raw_os_error()
        .is_some_and(|code| CODES.contains(&code))
}
