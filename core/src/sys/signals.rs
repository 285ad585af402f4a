//! Signal mask of this library's threads: they block all signals.
//!
//! The kernel delivers a process-directed signal to any thread that does not
//! block it. A program that fetches signals with `sigwait`, or that expects its
//! handlers to run in its own threads, would lose them to a thread of this
//! library. And a write to a closed connection raises SIGPIPE in the writing
//! thread (the standard library suppresses it in `write`, but not in
//! `write_vectored`, which TLS and HTTP/1 use). That ends a C program, because
//! only Rust programs and Python ignore SIGPIPE by default.

/// Runs `start` with all signals blocked, so that a thread started in it
/// inherits that mask, and then restores this thread's mask. Signals for faults
/// of the thread itself (such as SIGSEGV) stay unblocked for crash handlers.
pub(crate) fn blocked<T>(start: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    {
        const OWN_FAULTS: [libc::c_int; 6] = [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
        ];
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigfillset` initializes `all`, which `sigdelset` changes and
        // `pthread_sigmask` reads. They fail only for an invalid signal number, and
        // these are valid.
        #[allow(unsafe_code)]
        let masked = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            for signal in OWN_FAULTS {
                libc::sigdelset(all.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) == 0
        };
        let result = start();
        if masked {
            // SAFETY: the call above succeeded, so it has written `before`.
            #[allow(unsafe_code)]
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
            }
        }
        result
    }
    #[cfg(not(unix))]
    start()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    /// Signals that this thread blocks, as the kernel reports them; bit 0 is signal 1.
    fn mask() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a user's provider may call it")]
    fn b28_background_threads_block_the_programs_signals() {
        let before = mask();
        let (sender, receiver) = std::sync::mpsc::channel();
        crate::engine::runtime::handle().unwrap().spawn(async move {
            // Tokio's threads for blocking work inherit the mask.
            let theirs = tokio::task::spawn_blocking(mask).await.unwrap();
            let _ = sender.send([mask(), theirs]);
        });
        for blocked in receiver.recv().unwrap() {
            let blocks = |signal: libc::c_int| blocked & (1 << (signal - 1)) != 0;
            for signal in [
                libc::SIGPIPE,
                libc::SIGTERM,
                libc::SIGINT,
                libc::SIGHUP,
                libc::SIGCHLD,
                libc::SIGUSR1,
                libc::SIGALRM,
            ] {
                assert!(blocks(signal), "signal {signal}");
            }
            assert!(!blocks(libc::SIGSEGV) && !blocks(libc::SIGABRT));
        }
        assert_eq!(mask(), before, "the caller's mask has changed");
    }
}
