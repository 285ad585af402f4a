//! Time limits for child processes, limits on file descriptors, and builds by tests.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Kills a child process that does not end in time; dropping it cancels that.
pub struct Watchdog {
    cancel: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the watchdog for a child that has not been waited for yet.
    pub fn new(child: u32, limit: Duration) -> Self {
        let (cancel, cancelled) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if cancelled.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("killing process {child}: it ran for more than {limit:?}");
                let _ = Command::new("kill")
                    .args(["-9", &child.to_string()])
                    .status();
            }
        });
        Self {
            cancel: Some(cancel),
            thread: Some(thread),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.cancel = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sets this process's soft limit of file descriptors, at most to the hard limit.
/// Returns the one before.
#[cfg(unix)]
pub fn limit_descriptors(limit: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is valid for both calls.
    #[allow(unsafe_code)]
    unsafe {
        assert_eq!(
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits),
            0,
            "the limit could not be read or set"
        );
        let before = std::mem::replace(&mut limits.rlim_cur, limit.min(limits.rlim_max));
        assert_eq!(
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits),
            0,
            "the limit could not be read or set"
        );
        before
    }
}

/// `cargo build` into the target directory of the running build, given its `CARGO_TARGET_TMPDIR`,
/// so that nothing is compiled twice. For what tests need with other features than their own
/// workspace has.
pub fn cargo_build(target_tmpdir: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = Path::new(target_tmpdir).parent().unwrap();
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet"])
        .env("CARGO_TARGET_DIR", target);
    // Removes the variables that cargo sets for a test, because build scripts would
    // run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "OUT_DIR"
        {
            build.env_remove(name);
        }
    }
    build
}
