//! A connection that the other side has closed must not end the process.
//!
//! Writing to one raises SIGPIPE in the thread that writes, unless that is
//! asked not to be; the standard library asks in `write` but cannot in
//! `write_vectored`, which TLS and HTTP/1 use. Rust's own programs and Python
//! ignore the signal. A C program does not, unless it was told to, and would be
//! gone without a word. Its disposition is the program's, so what is changed is
//! the mask of the one thread that is this library's.

/// From now on this thread gets `EPIPE` in place of the signal. Threads that it
/// starts inherit that.
pub(crate) fn block_in_this_thread() {
    #[cfg(unix)]
    {
        let mut signals = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initializes the set, which the calls after it
        // only read; a null pointer says that the mask before is not wanted.
        // What they return can only be an error for another signal number.
        #[allow(unsafe_code)]
        unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// Whether this thread's mask has SIGPIPE, as the kernel tells.
    fn is_blocked() -> bool {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        mask & (1 << (libc::SIGPIPE - 1)) != 0
    }

    #[test]
    fn the_background_thread_is_not_ended_by_a_broken_pipe() {
        assert!(!is_blocked(), "nor is the caller's mask touched");
        let (sender, receiver) = std::sync::mpsc::channel();
        crate::runtime::background().unwrap().spawn(async move {
            let _ = sender.send(is_blocked());
        });
        assert!(receiver.recv().unwrap());
        assert!(!is_blocked());
    }
}
