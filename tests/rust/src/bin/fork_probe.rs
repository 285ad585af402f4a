//! Uses a client before and after `fork()`. `tests/fork.rs` runs it; it is a
//! separate program because a fork inside the multi-threaded test harness would
//! prove little.
//!
//! Usage: `fork_probe <scenario>`, with the client's settings in the environment.
//! The exit code is 0 if all processes succeed; errors are printed to standard error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth::{
    BatchOptions, BusinessId, BusinessTokenOptions, ClientBuilder, SessionDuration, TestClock,
    blocking,
};
use layerfi_auth_tests::{assert_new_token, assert_same_token, block_on};

/// Time limit of a child process.
const CHILD_LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    let client = builder().build_blocking().unwrap();
    match scenario.as_str() {
        "blocking" => used_in_the_parent(&client),
        "async" => used_in_a_runtime(&client),
        "cold" => cold(&client),
        "mid_flight" => mid_flight(&client),
        "prepare" => prepare(&client),
        "batch" => batch(&client),
        "forks_under_load" => forks_under_load(&client),
        "grandchild" => grandchild(&client),
        "without_handlers" => without_handlers(),
        "mid_flight_without_handlers" => mid_flight_without_handlers(&client),
        "reader" => reader(),
        "siblings" => siblings(&client),
        "shared_cache" => shared_cache(&client),
        "shared_cache_mid_look_up" => shared_cache_mid_look_up(&client),
        other => panic!("unknown scenario: {other}"),
    }
}

/// Long timeouts: the server holds responses, and no second request must be sent meanwhile.
fn builder() -> ClientBuilder {
    ClientBuilder::from_env()
        .unwrap()
        .timeout(2 * CHILD_LIMIT)
        .attempt_timeout(2 * CHILD_LIMIT)
}

fn business() -> BusinessId {
    "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap()
}

/// How a process forks.
#[derive(Clone, Copy, Debug)]
enum Method {
    /// `fork()`, which runs the handlers of `pthread_atfork`.
    Fork,
    /// The system call that `fork()` makes. It runs no handlers.
    Clone,
    /// `_Fork()` of glibc 2.34 and newer, which runs no handlers.
    UnderscoreFork,
}

impl Method {
    /// Returns 0 in the child, as `fork()` does.
    fn call(self) -> libc::pid_t {
        // SAFETY: the child continues as an ordinary program. POSIX leaves that
        // undefined for a process with threads, but glibc supports it: its own fork
        // handlers reset its allocator and standard streams. These tests check the
        // same for the library. Without handlers, the other threads must not be in
        // the allocator; they sleep.
        #[allow(unsafe_code)]
        unsafe {
            match self {
                Self::Fork => libc::fork(),
                #[cfg(target_os = "linux")]
                Self::Clone => {
                    let flags = libc::c_long::from(libc::SIGCHLD);
                    libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) as libc::pid_t
                }
                #[cfg(not(target_os = "linux"))]
                Self::Clone => libc::fork(),
                Self::UnderscoreFork => {
                    let found = libc::dlsym(libc::RTLD_DEFAULT, c"_Fork".as_ptr());
                    if found.is_null() {
                        return Self::Clone.call();
                    }
                    let fork: extern "C" fn() -> libc::pid_t = std::mem::transmute(found);
                    fork()
                }
            }
        }
    }
}

/// Forks. The child runs `child` and exits with 0 unless it panicked.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    fork_by(Method::Fork, child)
}

fn fork_by(method: Method, child: impl FnOnce()) -> libc::pid_t {
    if !matches!(method, Method::Fork) {
        // They must not be in the allocator.
        wait_until_other_threads_sleep();
    }
    let pid = method.call();
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

/// Waits until all other threads have been asleep for some time.
fn wait_until_other_threads_sleep() {
    let until = Instant::now() + CHILD_LIMIT;
    let mut seen = 0;
    while seen < 10 {
        assert!(Instant::now() < until, "a background thread never sleeps");
        std::thread::sleep(Duration::from_millis(3));
        seen = if other_threads_sleep() { seen + 1 } else { 0 };
    }
}

fn other_threads_sleep() -> bool {
    let own = std::process::id().to_string();
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return true;
    };
    // The main thread forks: its number is that of the process.
    let others = threads.flatten().filter(|one| *one.file_name() != *own);
    let states = others.map(|one| std::fs::read_to_string(one.path().join("stat")));
    // A thread that ended meanwhile has no state. The name may contain blanks.
    states.flatten().all(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|rest| rest.starts_with('S'))
    })
}

/// Waits for a child process; kills it after the time limit.
fn join(pid: libc::pid_t) {
    let started = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid pointer, and the process is a child of this
        // one that no other code waits for.
        #[allow(unsafe_code)]
        let done = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if done == pid {
            assert!(
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                "a child process failed with status {status:#x}"
            );
            return;
        }
        if started.elapsed() > CHILD_LIMIT {
            // SAFETY: the process is a child of this one that has not been waited for.
            #[allow(unsafe_code)]
            unsafe {
                libc::kill(pid, libc::SIGKILL);
            }
            panic!("a child process did not end within {CHILD_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Uses an inherited client in every way.
fn work(client: &blocking::Client, inherited: &layerfi_auth::AccessToken) {
    let token = client.token().unwrap();
    assert_same_token(&token, inherited);
    client.whoami().unwrap();
    assert!(client.invalidate(&token), "the token was not invalidated");
    let fresh = client.token().unwrap();
    assert_new_token(&fresh, inherited);
    client.business_token(&business()).unwrap();
    client
        .mint_business_token(&business(), SessionDuration::default())
        .unwrap();
}

/// Checks that the calls of a child did not change the parent's token.
fn check_parent(client: &blocking::Client, token: &layerfi_auth::AccessToken) {
    assert_same_token(&client.token().unwrap(), token);
    client.whoami().unwrap();
}

fn used_in_the_parent(client: &blocking::Client) {
    let token = client.token().unwrap();
    client.whoami().unwrap();
    let child = fork(|| work(client, &token));
    join(child);
    check_parent(client, &token);
}

fn used_in_a_runtime(client: &blocking::Client) {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let client = client.as_async();
    let parents = runtime();
    let token = parents.block_on(client.token()).unwrap();
    parents.block_on(client.whoami()).unwrap();
    let child = fork(|| {
        // The threads of the parent's runtime do not exist in the child.
        let own = runtime();
        own.block_on(async {
            let same = client.token().await.unwrap();
            assert_same_token(&same, &token);
            client.whoami().await.unwrap();
            assert!(client.invalidate(&same), "the token was not invalidated");
            client.whoami().await.unwrap();
            client.business_token(&business()).await.unwrap();
        });
    });
    join(child);
    assert_same_token(&parents.block_on(client.token()).unwrap(), &token);
    parents.block_on(client.whoami()).unwrap();
}

/// The client is made before the fork and first used after it.
fn cold(client: &blocking::Client) {
    let children: Vec<_> = (0..4)
        .map(|_| fork(|| drop(client.whoami().unwrap())))
        .collect();
    children.into_iter().for_each(join);
    client.whoami().unwrap();
}

/// Another thread waits for the token while the main thread forks, after a line on
/// standard input. The server answers the parent's request after the child's.
fn mid_flight(client: &blocking::Client) {
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || client.token().map(|token| token.secret().to_owned()))
    };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let child = fork(|| {
        client.token().unwrap();
        client.whoami().unwrap();
    });
    join(child);
    let token = waiting.join().unwrap().unwrap();
    assert!(
        client.token().unwrap().secret() == token,
        "the parent requested a second token"
    );
    client.whoami().unwrap();
}

/// Prepares the client before a fork, which happens after a line on standard input, and
/// in the child. A child of a process with a token prepares nothing.
fn prepare(client: &blocking::Client) {
    let prepared = |client: &blocking::Client| {
        client.prepare().unwrap();
        poll("the prepared token does not arrive", || {
            client.borrow_token().map(|token| token.secret().to_owned())
        })
    };
    client.prepare().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    join(fork(|| drop(prepared(client))));
    let token = prepared(client);
    join(fork(|| {
        assert!(
            prepared(client) == token,
            "the child got another token than its parent's"
        );
    }));
}

/// Runs a batch of `count` businesses whose ids contain the process number.
fn run_batch(client: &blocking::Client, process: u16, count: u32) {
    let businesses = (0..count)
        .map(|number| format!("{number:08x}-{process:04x}-4000-8000-000000000000"))
        .map(|id| id.parse::<BusinessId>().unwrap());
    let options = BatchOptions::default().max_in_flight(200);
    for result in client.business_tokens(businesses, options, |_| true) {
        result.unwrap();
    }
}

/// A batch has as many requests in flight as its rate limiter permits while the main
/// thread forks, after a line on standard input. The child runs another batch.
fn batch(client: &blocking::Client) {
    let parents = {
        let client = client.clone();
        std::thread::spawn(move || run_batch(&client, 1, 120))
    };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let child = fork(|| run_batch(client, 2, 40));
    join(child);
    parents.join().unwrap();
}

/// Threads make all kinds of calls, so that every lock is taken often, and the main
/// thread forks many times.
fn forks_under_load(client: &blocking::Client) {
    client.token().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut round = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let id = format!("{number:08x}-0000-4000-8000-{:012x}", round % 64);
                    let business = id.parse().unwrap();
                    client.business_token(&business).unwrap();
                    run_batch(&client, number, 2);
                    drop(client.try_token());
                    drop(client.stats());
                    if round.is_multiple_of(50) {
                        let token = client.token().unwrap();
                        client.invalidate(&token);
                    }
                }
            })
        })
        .collect();
    for _ in 0..30 {
        let child = fork(|| {
            client.token().unwrap();
            client.business_token(&business()).unwrap();
            run_batch(client, 9, 2);
            client.whoami().unwrap();
            assert!(
                client.stats().token_requests > 0,
                "no token request was counted"
            );
        });
        join(child);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    client.whoami().unwrap();
}

/// Forks while the connection to the shared cache is open. Parent and children use the
/// store in turns.
fn shared_cache(client: &blocking::Client) {
    let business = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
    let mint = |number| client.business_token(&business(number).parse().unwrap());
    client.token().unwrap();
    for round in 0..2 {
        mint(3 * round).unwrap();
        join(fork(|| {
            let adopted = client.stats().shared_adopted;
            mint(3 * round + 1).unwrap();
            // Of the parent, but from the store, because it was not requested here.
            assert_eq!(client.stats().shared_adopted, adopted);
            assert_eq!(
                client.stats().shared_faults,
                0,
                "a call of the child failed"
            );
        }));
        mint(3 * round + 2).unwrap();
    }
    let stats = client.stats();
    assert_eq!(stats.shared_faults, 0, "a call of the parent failed");
    assert_eq!(stats.shared_published, 5, "{stats:?}");
}

/// Forks while a thread waits for an answer of the shared cache, which is paused.
fn shared_cache_mid_look_up(client: &blocking::Client) {
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || client.token().map(|token| token.secret().to_owned()))
    };
    // The store gets half a second; the fork is in between.
    std::thread::sleep(Duration::from_millis(100));
    join(fork(|| {
        client.token().unwrap();
        client.business_token(&business()).unwrap();
        client.whoami().unwrap();
    }));
    waiting.join().unwrap().unwrap();
    client.business_token(&business()).unwrap();
    client.whoami().unwrap();
}

/// A child forks again.
fn grandchild(client: &blocking::Client) {
    let token = client.token().unwrap();
    let child = fork(|| {
        work(client, &token);
        let own = client.token().unwrap();
        let grandchild = fork(|| work(client, &own));
        join(grandchild);
        check_parent(client, &own);
    });
    join(child);
    check_parent(client, &token);
}

fn client_with(clock: &TestClock, keep_warm: bool) -> blocking::Client {
    builder()
        .test_clock(clock.clone())
        .keep_warm(keep_warm)
        .build_blocking()
        .unwrap()
}

/// Waits until a call returns a value.
fn poll<T>(what: &str, mut call: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + CHILD_LIMIT;
    loop {
        if let Some(value) = call() {
            return value;
        }
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The child is not told that it is one. Every call that needs more than the cache
/// has to notice.
fn without_handlers() {
    for method in [Method::Clone, Method::UnderscoreFork] {
        // Each scenario has a new client, on which the child's first call is the one
        // that has to notice.
        let calls: [fn(&blocking::Client); 8] = [
            |client| drop(client.token().unwrap()),
            |client| drop(client.whoami().unwrap()),
            |client| drop(client.business_token(&business()).unwrap()),
            |client| run_batch(client, 3, 2),
            |client| drop(client.get("/whoami").unwrap()),
            |client| {
                poll("try_token returns no token", || client.try_token().unwrap());
            },
            |client| {
                poll("try_business_token returns no token", || {
                    let options = BusinessTokenOptions::default();
                    client.try_business_token(&business(), options).unwrap()
                });
            },
            |client| drop(block_on(client.as_async().whoami()).unwrap()),
        ];
        for call in calls {
            // Not used in the parent.
            let clock = TestClock::new();
            let unused = client_with(&clock, false);
            join(fork_by(method, || call(&unused)));
            // Used in the parent, then expired.
            let used = client_with(&clock, false);
            let token = used.token().unwrap();
            used.business_token(&business()).unwrap();
            join(fork_by(method, || work(&used, &token)));
            clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
            join(fork_by(method, || call(&used)));
            used.whoami().unwrap();
        }
        // In the refresh window: the parent's token is served, and refreshed.
        let clock = TestClock::new();
        let client = client_with(&clock, false);
        let token = client.token().unwrap();
        clock.advance(token.remaining().mul_f64(0.96));
        let child = fork_by(method, || {
            poll("the child does not refresh the token", || {
                (client.token().unwrap().secret() != token.secret()).then_some(())
            });
        });
        join(child);
    }
}

/// As `mid_flight`. The child must not wait for its parent's request.
fn mid_flight_without_handlers(client: &blocking::Client) {
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || client.token().map(drop))
    };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for method in [Method::Clone, Method::UnderscoreFork] {
        let child = fork_by(method, || {
            poll("the child waits for its parent's request", || {
                client.try_token().unwrap()
            });
            client.whoami().unwrap();
        });
        join(child);
    }
    waiting.join().unwrap().unwrap();
}

/// A child that only reads in place is kept warm: its token is refreshed although it
/// makes no call.
fn reader() {
    let client = builder().keep_warm(true).build_blocking().unwrap();
    client.token().unwrap();
    let child = fork(|| {
        let before = client.stats().token_requests;
        let token = client.reader().borrow_token().map(drop);
        assert!(token.is_some(), "the child has no token");
        poll("the token is not refreshed after one hit", || {
            (client.stats().token_requests > before).then_some(())
        });
    });
    join(child);
    // Without a hit, after the token has expired.
    let clock = TestClock::new();
    let client = client_with(&clock, true);
    client.token().unwrap();
    let child = fork(|| {
        clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
        let mut reader = client.reader();
        poll("the expired token of a reader is not replaced", || {
            reader.borrow_token().map(drop)
        });
    });
    join(child);
}

/// Eight children of a used parent ask for a token of their own business, and all of
/// their requests fail.
fn siblings(client: &blocking::Client) {
    client.token().unwrap();
    client.whoami().unwrap();
    let children: Vec<_> = (0..8)
        .map(|number| {
            fork(|| {
                let id = format!("{number:08x}-0000-4000-8000-000000000000");
                let business: BusinessId = id.parse().unwrap();
                let error = client.business_token(&business).unwrap_err();
                assert!(error.attempts() > 1, "it was not retried: {error:?}");
            })
        })
        .collect();
    children.into_iter().for_each(join);
}
