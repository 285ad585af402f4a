//! The program's signals are the program's: this library's thread takes none.
//!
//! A signal to the process is handled in any thread that does not block it. A
//! program that blocks some to fetch them with `sigwait`, or that wants its
//! handlers in threads of its own, would find them gone to a thread it knows
//! nothing of. And a write to a connection that the other side has closed
//! raises SIGPIPE in the thread that writes (the standard library asks it not
//! to in `write`, and cannot in `write_vectored`, which TLS and HTTP/1 use):
//! the end of a C program, where Rust's own programs and Python ignore it.

/// Runs `start` with all signals blocked, which a thread that is started in it
/// inherits; afterwards this thread's mask is as before. What a thread brings
/// on itself (an access to no memory, say) is not blocked: crash handlers are
/// to see it.
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
        // `pthread_sigmask` reads. What they return can only be an error for a
        // number that is no signal's.
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
    /// The signals that this thread blocks, as the kernel tells, from bit 0 for signal 1.
    fn mask() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn the_programs_signals_are_handled_in_its_own_threads() {
        let before = mask();
        let (sender, receiver) = std::sync::mpsc::channel();
        crate::runtime::background().unwrap().spawn(async move {
            // The threads for names and files inherit it.
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
        assert_eq!(mask(), before, "the caller's is as it was");
    }
}
