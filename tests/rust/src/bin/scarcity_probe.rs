//! Uses a client while the process can start no thread or open no file descriptor.
//! `tests/scarcity.rs` runs it; it is a separate program because the limits apply to
//! a whole process.
//!
//! Usage: `scarcity_probe <resource> <call>`, with the client's settings in the
//! environment. The exit code is 0 if all calls behave; errors are printed to
//! standard error.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use layerfi_auth::{
    BatchOptions, BusinessTokenOptions, ClientBuilder, Credentials, CredentialsProvider, ErrorKind,
    Result, SessionDuration, TestClock, blocking,
};
use layerfi_auth_tests::{MAX_WAIT, block_on, business, businesses};

/// Numbers of threads or descriptors that are left.
const FREE: std::ops::RangeInclusive<u64> = 0..=6;

/// Longer than any quiet time after a retryable failure.
const QUIET: Duration = Duration::from_secs(6);

/// What the process had done with the library before it ran short.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// Nothing.
    Nothing,
    /// Another client was used, so the background threads run.
    Used,
    /// As `Used`, and then the process forked.
    Forked,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, resource, call] = arguments.as_slice() else {
        panic!("usage: scarcity_probe <resource> <call>");
    };
    let resource = match resource.as_str() {
        "threads" => Resource::Threads,
        "descriptors" => Resource::Descriptors,
        "engine" => return end_the_engines_thread(),
        "idle" => return descriptor_of_an_idle_connection(),
        "ca_file" => return build_with_a_ca_file(),
        other => panic!("unknown resource: {other}"),
    };
    become_countable();
    if resource == Resource::Threads {
        let limited = resource.take(0);
        let started = std::thread::Builder::new().spawn(|| {});
        assert!(started.is_err(), "the limit on threads has no effect");
        limited.give_back();
    }
    for before in [Before::Nothing, Before::Used, Before::Forked] {
        for free in FREE {
            join(fork(|| run(resource, call, before, free)), || {
                format!("{call} after {before:?} with {free} {resource:?} left")
            });
        }
    }
}

/// Replaces the descriptor with which the engine's thread waits for its sockets.
/// Tokio then panics on that thread.
fn end_the_engines_thread() {
    let clock = TestClock::new();
    let client = builder(&clock).build_blocking().unwrap();
    let client = client.with_timeout(Duration::from_secs(5));
    client.whoami().unwrap();
    let null = File::open("/dev/null").unwrap();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let is_epoll = std::fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().contains("[eventpoll]"));
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.filter(|_| is_epoll) {
            let number = number.parse().unwrap();
            // SAFETY: the descriptors are valid. The library gets an error from the
            // system at the next wait.
            #[allow(unsafe_code)]
            let done = unsafe { libc::dup2(null.as_raw_fd(), number) };
            assert_eq!(done, number, "dup2 failed");
        }
    }
    let until = Instant::now() + MAX_WAIT;
    let mut failures = 0;
    while let Err(error) = client.whoami() {
        failures += 1;
        assert!(error.is_retryable(), "{error:?}");
        assert!(Instant::now() < until, "no call succeeds: {error:?}");
        clock.advance(QUIET);
    }
    assert!(failures > 0, "the engine's thread did not end");
}

/// A client with a `ca_file` can be built as soon as there is a descriptor to read it.
fn build_with_a_ca_file() {
    let clock = TestClock::new();
    let build = || {
        builder(&clock)
            .ca_file(std::env::var("CA_FILE").unwrap())
            .build_blocking()
    };
    let limited = Resource::Descriptors.take(0);
    let error = build().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
    limited.give_back();
    build().unwrap().whoami().unwrap();
}

/// A call succeeds although an idle connection of another client has a descriptor
/// that it needs: three for the lookup of the name.
fn descriptor_of_an_idle_connection() {
    let clock = TestClock::new();
    let client = builder(&clock).build_blocking().unwrap();
    // Clients with different settings do not share connections.
    let other = builder(&clock)
        .user_agent("another/1")
        .build_blocking()
        .unwrap();
    other.whoami().unwrap();
    let limited = Resource::Descriptors.take(2);
    client.whoami().unwrap();
    limited.give_back();
}

fn run(resource: Resource, call: &str, before: Before, free: u64) {
    let clock = TestClock::new();
    // Kept, because a connection that closes would give its descriptor back.
    let other = builder(&clock).build_blocking().unwrap();
    if before != Before::Nothing {
        other.whoami().unwrap();
    }
    let scenario = || scenario(resource, call, &clock, free, before);
    if before == Before::Forked {
        join(fork(scenario), || "in the child".to_owned());
    } else {
        scenario();
    }
}

fn scenario(resource: Resource, call: &str, clock: &TestClock, free: u64, before: Before) {
    let probe = Probe::new(resource, clock, free, before);
    match call {
        "token" => probe.check(|client| client.token()),
        "token_async" => probe.check(|client| block_on(client.as_async().token())),
        "whoami" => probe.check(|client| client.whoami()),
        "whoami_async" => probe.check(|client| block_on(client.as_async().whoami())),
        "execute" => probe.check(|client| client.get("/whoami")),
        "business_token" => probe.check(|client| client.business_token(&business())),
        "business_token_async" => {
            probe.check(|client| block_on(client.as_async().business_token(&business())));
        }
        "mint" => probe
            .check(|client| client.mint_business_token(&business(), SessionDuration::default())),
        "batch" => probe.check(|client| {
            let results = client.business_tokens(businesses(3), BatchOptions::default(), |_| true);
            results.into_iter().collect::<Result<Vec<_>>>()
        }),
        "try_token" => probe.check_polled(|client| client.try_token()),
        "prepare" => {
            let failures = Cell::new(0);
            probe.check_polled(|client| {
                let prepared = client.prepare();
                failures.set(failures.get() + u32::from(prepared.is_err()));
                prepared?;
                Ok(client.borrow_token().map(drop))
            });
            if free == 0 && before != Before::Used {
                // The background threads could not be started.
                assert!(failures.get() > 0, "prepare succeeded");
            }
        }
        "try_business_token" => probe.check_polled(|client| {
            client.try_business_token(&business(), BusinessTokenOptions::default())
        }),
        "secret_file" => probe.check(|client| client.token()),
        "provider" => probe.check(|client| client.token()),
        "keep_warm" => probe.check_polled(|client| Ok(client.borrow_token().map(drop))),
        "reader" => probe.check_polled(|client| {
            let mut reader = client.reader();
            Ok(reader.borrow_token().map(drop))
        }),
        "refresh" => probe.check_refresh(),
        other => panic!("unknown call: {other}"),
    }
}

fn builder(clock: &TestClock) -> ClientBuilder {
    ClientBuilder::from_env()
        .unwrap()
        .test_clock(clock.clone())
        .max_attempts(1)
}

/// Provider whose credentials are those of the environment.
struct Provider;

impl CredentialsProvider for Provider {
    fn credentials(
        &self,
    ) -> impl Future<
        Output = std::result::Result<Credentials, Box<dyn std::error::Error + Send + Sync>>,
    > + Send {
        let variable = |name| std::env::var(name).unwrap();
        let credentials =
            Credentials::new(variable("LAYER_CLIENT_ID"), variable("LAYER_CLIENT_SECRET"));
        async move { Ok(credentials) }
    }
}

/// A client, and the limit of its process.
struct Probe {
    client: blocking::Client,
    clock: TestClock,
    resource: Resource,
    free: u64,
    has_connection: bool,
}

impl Probe {
    fn new(resource: Resource, clock: &TestClock, free: u64, before: Before) -> Self {
        let call = std::env::args().nth(2).unwrap_or_default();
        let mut builder = builder(clock);
        match call.as_str() {
            "provider" => builder = builder.credentials_provider(Provider),
            "secret_file" => {
                let file = std::env::var("SECRET_FILE").unwrap();
                builder = builder.client_secret_file(file);
            }
            "keep_warm" | "reader" => builder = builder.keep_warm(true),
            _ => {}
        }
        Self {
            client: builder.build_blocking().unwrap(),
            clock: clock.clone(),
            resource,
            free,
            // The other client's idle connection is shared.
            has_connection: before == Before::Used,
        }
    }

    /// Checks that a call fails with a retryable error, or succeeds, and succeeds as
    /// soon as the limit is lifted.
    fn check<T: std::fmt::Debug>(&self, call: impl Fn(&blocking::Client) -> Result<T>) {
        let limited = self.resource.take(self.free);
        // More than once: no failure may be remembered as permanent.
        for _ in 0..3 {
            match call(&self.client) {
                Ok(_)
                    if self.free == 0
                        && self.resource == Resource::Descriptors
                        && !self.has_connection =>
                {
                    panic!("the call succeeded without a descriptor")
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    let kind = error.kind();
                    let expected = matches!(kind, ErrorKind::Transport | ErrorKind::Credentials);
                    assert!(expected, "{error:?}");
                }
            }
            self.clock.advance(QUIET);
        }
        limited.give_back();
        if let Err(error) = call(&self.client) {
            panic!("the call fails after the limit was lifted: {error:?}");
        }
    }

    /// As `check`, for calls that do not wait.
    fn check_polled<T>(&self, call: impl Fn(&blocking::Client) -> Result<Option<T>>) {
        let limited = self.resource.take(self.free);
        for _ in 0..3 {
            if let Err(error) = call(&self.client) {
                assert!(error.is_retryable(), "{error:?}");
            }
            self.clock.advance(QUIET);
            std::thread::sleep(Duration::from_millis(5));
        }
        limited.give_back();
        let until = Instant::now() + MAX_WAIT;
        loop {
            match call(&self.client) {
                Ok(Some(_)) => return,
                Ok(None) => {}
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            assert!(
                Instant::now() < until,
                "there is no value after the limit was lifted"
            );
            self.clock.advance(Duration::from_millis(50));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Checks that a token is served while its refresh fails, and is refreshed as
    /// soon as the limit is lifted.
    fn check_refresh(&self) {
        let first = self.client.token().unwrap();
        // The client's connection would serve the refresh.
        self.clock.advance(first.remaining().mul_f64(0.87));
        let limited = self.resource.take(self.free);
        for _ in 0..3 {
            self.client.token().unwrap();
            std::thread::sleep(Duration::from_millis(5));
            self.clock.advance(QUIET);
        }
        limited.give_back();
        let until = Instant::now() + MAX_WAIT;
        while self.client.token().unwrap().secret() == first.secret() {
            assert!(
                Instant::now() < until,
                "the token is not refreshed after the limit was lifted"
            );
            self.clock.advance(Duration::from_millis(50));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the process runs short of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Resource {
    Threads,
    Descriptors,
}

/// A limit that applies until it is given back.
struct Limited {
    resource: Resource,
    before: u64,
    _files: Vec<File>,
}

impl Resource {
    /// Leaves the process this many threads or descriptors.
    fn take(self, free: u64) -> Limited {
        let mut files = Vec::new();
        let before = match self {
            Self::Threads => set_limit(libc::RLIMIT_NPROC, threads_of_this_user() + free),
            Self::Descriptors => {
                let before = set_limit(libc::RLIMIT_NOFILE, highest_descriptor() + 1 + free);
                files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
                let left = files.len().saturating_sub(usize::try_from(free).unwrap());
                files.truncate(left);
                before
            }
        };
        Limited {
            resource: self,
            before,
            _files: files,
        }
    }
}

impl Limited {
    fn give_back(self) {
        match self.resource {
            Resource::Threads => set_limit(libc::RLIMIT_NPROC, self.before),
            Resource::Descriptors => set_limit(libc::RLIMIT_NOFILE, self.before),
        };
    }
}

/// Changes to a user that nothing else uses, if this process may: the limit on
/// threads applies to all processes of a user, and not to root.
fn become_countable() {
    // SAFETY: these calls change only the user of this process, which has one thread.
    #[allow(unsafe_code)]
    unsafe {
        if libc::geteuid() == 0 {
            let user = 20_000 + std::process::id() % 40_000;
            assert_eq!(libc::setresuid(user, user, user), 0, "setresuid failed");
            // Another user's files in /proc cannot be read otherwise.
            assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0, "prctl failed");
        }
    }
}

fn threads_of_this_user() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    // SAFETY: it has no preconditions.
    #[allow(unsafe_code)]
    let user = unsafe { libc::getuid() };
    let processes = std::fs::read_dir("/proc").unwrap();
    let own = processes.filter_map(|entry| {
        let path = entry.ok()?.path();
        // Not `self`, which is a link.
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        let is_own = std::fs::metadata(&path).ok()?.uid() == user;
        let tasks = is_own.then(|| std::fs::read_dir(path.join("task")).ok())??;
        Some(tasks.count() as u64)
    });
    own.sum()
}

fn highest_descriptor() -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name());
    numbers
        .filter_map(|name| name.to_str()?.parse().ok())
        .max()
        .unwrap_or(2)
}

/// Sets a soft limit and returns the one before.
fn set_limit(resource: libc::__rlimit_resource_t, limit: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is valid for both calls.
    #[allow(unsafe_code)]
    unsafe {
        assert_eq!(
            libc::getrlimit(resource, &raw mut limits),
            0,
            "the limit could not be read or set"
        );
        let before = std::mem::replace(&mut limits.rlim_cur, limit);
        assert_eq!(
            libc::setrlimit(resource, &raw const limits),
            0,
            "the limit could not be read or set"
        );
        before
    }
}

/// Forks. The child runs `child` and exits with 0 unless it panicked.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: as in `fork_probe.rs`: glibc supports a child that continues.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid > 0 {
        return pid;
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    // SAFETY: ends the process at once, without running the parent's exit handlers.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(i32::from(result.is_err()))
    }
}

/// Waits for a child process; kills it after the time limit.
fn join(pid: libc::pid_t, what: impl FnOnce() -> String) {
    let until = Instant::now() + 2 * MAX_WAIT;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid pointer, and the process is a child of this
        // one that no other code waits for.
        #[allow(unsafe_code)]
        let done = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if done == pid {
            let succeeded = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            assert!(succeeded, "{} ended with status {status:#x}", what());
            return;
        }
        if Instant::now() > until {
            // SAFETY: the process is a child of this one that has not been waited for.
            #[allow(unsafe_code)]
            unsafe {
                libc::kill(pid, libc::SIGKILL);
            }
            panic!("{} did not end", what());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
