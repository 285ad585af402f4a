//! The process's limit on file descriptors, and the errors at the limit.

use std::io;

/// Number of file descriptors that this process can have open.
pub(crate) fn descriptor_limit() -> usize {
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

/// Whether no descriptor was free, in this process or in the whole system.
pub(crate) fn is_at_limit(error: &io::Error) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 2] = [libc::EMFILE, libc::ENFILE];
    #[cfg(not(unix))]
    const CODES: [i32; 0] = [];
    error
        .raw_os_error()
        .is_some_and(|code| CODES.contains(&code))
}
