//! Few threads and few file descriptors for a client program, set from outside
//! while it runs.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use layerfi_auth_tests::Random;

/// Where version 1 and version 2 of the kernel's control groups are.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// A control group that contains one process and limits its threads.
pub struct ThreadLimit {
    folder: PathBuf,
}

impl ThreadLimit {
    /// Moves a process into a group of its own. Fails if the system does not allow
    /// it: that needs root.
    pub fn new(process: u32) -> io::Result<Self> {
        let mut failures = Vec::new();
        for parent in GROUPS {
            match Self::within(Path::new(parent), process) {
                Ok(limit) => return Ok(limit),
                Err(error) => failures.push(format!("{parent}: {error}")),
            }
        }
        Err(io::Error::other(failures.join("; ")))
    }

    fn within(parent: &Path, process: u32) -> io::Result<Self> {
        if parent.join("cgroup.subtree_control").exists() {
            std::fs::write(parent.join("cgroup.subtree_control"), "+pids")?;
        }
        let limit = Self {
            folder: parent.join(format!("layerfi-soak-{process}")),
        };
        std::fs::create_dir(&limit.folder)?;
        // Without the controller, the files do not exist and this fails.
        limit.write("pids.max", "max")?;
        limit.write("cgroup.procs", &process.to_string())?;
        Ok(limit)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join(file))
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
    }

    /// Allows this many threads more than now.
    fn leave(&self, free: u64) -> io::Result<()> {
        let current = std::fs::read_to_string(self.folder.join("pids.current"))?;
        let current: u64 = current.trim().parse().map_err(io::Error::other)?;
        self.write("pids.max", &(current + free).to_string())
    }

    fn lift(&self) -> io::Result<()> {
        self.write("pids.max", "max")
    }
}

impl Drop for ThreadLimit {
    /// Works once the process has ended and was waited for.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Sets the limit of file descriptors of another process, and returns the limit
/// before.
fn set_file_limit(process: u32, soft: Option<u64>) -> io::Result<libc::rlimit> {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let prlimit = |new: *const libc::rlimit, old: *mut libc::rlimit| {
        // SAFETY: both pointers are null or point to a value that lives longer than
        // the call.
        #[allow(unsafe_code)]
        let result = unsafe { libc::prlimit(process.cast_signed(), libc::RLIMIT_NOFILE, new, old) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    prlimit(std::ptr::null(), &mut before)?;
    if let Some(soft) = soft {
        let new = libc::rlimit {
            rlim_cur: soft.min(before.rlim_max),
            rlim_max: before.rlim_max,
        };
        prlimit(&new, std::ptr::null_mut())?;
    }
    Ok(before)
}

/// The limit with which a process can open this many more files. The kernel gives
/// the lowest free number, and the limit is the first number that it does not give.
fn file_limit_that_leaves(process: u32, free: usize) -> io::Result<u64> {
    let mut used = HashSet::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let number = entry?.file_name().into_string().ok();
        used.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    let mut free_numbers = (0..).filter(|number| !used.contains(number));
    free_numbers
        .nth(free)
        .ok_or_else(|| io::ErrorKind::Other.into())
}

/// Limits of one client program.
pub struct Scarcity {
    process: u32,
    threads: Option<ThreadLimit>,
    /// The limit of files before it was lowered, while it is low.
    files_before: Option<u64>,
    /// Whether the number of threads is limited now.
    threads_limited: bool,
}

impl Scarcity {
    /// Fails if the number of threads cannot be limited.
    pub fn new(process: u32) -> (Self, Option<io::Error>) {
        let (threads, why) = match ThreadLimit::new(process) {
            Ok(limit) => (Some(limit), None),
            Err(error) => (None, Some(error)),
        };
        let scarcity = Self {
            process,
            threads,
            files_before: None,
            threads_limited: false,
        };
        (scarcity, why)
    }

    pub const fn limits_threads(&self) -> bool {
        self.threads.is_some()
    }

    /// Leaves the program 0 to 6 free file descriptors.
    pub fn limit_files(&mut self, random: &mut Random) -> io::Result<()> {
        let limit = file_limit_that_leaves(self.process, random.below(7) as usize)?;
        let before = set_file_limit(self.process, Some(limit))?;
        self.files_before.get_or_insert(before.rlim_cur);
        Ok(())
    }

    /// Leaves the program 0 to 6 more threads.
    pub fn limit_threads(&mut self, random: &mut Random) -> io::Result<()> {
        if let Some(threads) = &self.threads {
            threads.leave(random.below(7))?;
            self.threads_limited = true;
        }
        Ok(())
    }

    /// Lifts all limits.
    pub fn lift(&mut self) -> io::Result<()> {
        if let Some(before) = self.files_before.take() {
            set_file_limit(self.process, Some(before))?;
        }
        if let Some(threads) = self.threads.as_ref().filter(|_| self.threads_limited) {
            threads.lift()?;
            self.threads_limited = false;
        }
        Ok(())
    }
}

/// The limits take effect: otherwise the soak test would prove nothing.
#[test]
fn limits_of_files_and_threads_take_effect_and_can_be_lifted() {
    use std::process::{Command, Stdio};
    // `ulimit -n` shows the limit; the second process needs a free place.
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "read line; ulimit -n; (true) && echo forked; read line; ulimit -n",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut scarcity, why) = Scarcity::new(shell.id());
    let before = set_file_limit(shell.id(), None).unwrap().rlim_cur;
    let limit = file_limit_that_leaves(shell.id(), 3).unwrap();
    set_file_limit(shell.id(), Some(limit)).unwrap();
    scarcity.files_before = Some(before);
    if let Some(threads) = &scarcity.threads {
        threads.leave(0).unwrap();
        scarcity.threads_limited = true;
    } else {
        println!("the number of threads cannot be limited: {why:?}");
    }
    let mut input = shell.stdin.take().unwrap();
    io::Write::write_all(&mut input, b"\n").unwrap();
    let mut lines = io::BufRead::lines(io::BufReader::new(shell.stdout.take().unwrap()));
    let mut line = || lines.next().map(Result::unwrap);
    assert_eq!(
        line(),
        Some(limit.to_string()),
        "the limit of files must be low"
    );
    if scarcity.limits_threads() {
        // dash ends if it cannot fork.
        assert_eq!(line(), None, "the shell must not be able to fork");
    } else {
        scarcity.lift().unwrap();
        drop(input);
    }
    shell.wait().unwrap();
}

#[test]
fn file_limit_counts_free_numbers_below_it() {
    use std::process::{Command, Stdio};
    // Another process, because other tests open files in this one.
    let mut process = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let limits = [0, 1, 1_000].map(|free| file_limit_that_leaves(process.id(), free).unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    // It has 0, 1 and 2.
    assert!(
        limits[0] >= 3 && limits[0] < limits[1],
        "a limit must be a free number, and more free ones need a higher limit: {limits:?}"
    );
    assert!(
        limits[2] >= 1_000 + 3,
        "too low for 1000 more files: {limits:?}"
    );
}
