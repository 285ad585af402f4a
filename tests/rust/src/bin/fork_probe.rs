//! Forks in the middle of things. Driven by `tests/fork.rs`: a program of its
//! own, since forking inside a multi-threaded test harness proves little.
//!
//! `fork_probe <scenario>`, with the client's settings in the environment. It
//! ends with 0 if every process kept the promise; what went wrong is on
//! standard error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth::{BatchOptions, BusinessId, SessionDuration, blocking};

/// A child that hangs is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(15);

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    let client = blocking::Client::from_env().unwrap();
    match scenario.as_str() {
        "blocking" => used_in_the_parent(&client),
        "async" => used_in_a_runtime(&client),
        "cold" => cold(&client),
        "mid_flight" => mid_flight(&client),
        "batch" => batch(&client),
        "storm" => storm(&client),
        "grandchild" => grandchild(&client),
        other => panic!("no scenario is called {other}"),
    }
}

fn business() -> BusinessId {
    "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap()
}

/// Forks; the child runs `child` and ends with its verdict.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child goes on as an ordinary program, which POSIX leaves
    // undefined in the child of a threaded process and glibc supports: its
    // allocator and standard streams are put in order by its own handlers.
    // That the library under test does so too is what is tested.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid > 0 {
        return pid;
    }
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    // SAFETY: ends the process at once, with no handler of the parent's run.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(i32::from(verdict.is_err()))
    }
}

/// Waits for a child, and ends the one that hangs.
fn join(pid: libc::pid_t) {
    let started = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the status, and the process is
        // a child of this one that nobody else waits for.
        #[allow(unsafe_code)]
        let done = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if done == pid {
            assert!(
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                "the child failed with status {status:#x}"
            );
            return;
        }
        if started.elapsed() > PATIENCE {
            // SAFETY: it is this process's own child, not waited for yet.
            #[allow(unsafe_code)]
            unsafe {
                libc::kill(pid, libc::SIGKILL);
            }
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Everything that a worker does with a client from its parent.
fn work(client: &blocking::Client, inherited: &layerfi_auth::AccessToken) {
    let token = client.token().unwrap();
    assert!(token.secret() == inherited.secret(), "asked for a new one");
    client.whoami().unwrap();
    assert!(client.invalidate(&token));
    let fresh = client.token().unwrap();
    assert!(fresh.secret() != inherited.secret());
    client.business_token(&business()).unwrap();
    client
        .mint_business_token(&business(), SessionDuration::default())
        .unwrap();
}

/// The parent's token, untouched by what children do.
fn untouched(client: &blocking::Client, token: &layerfi_auth::AccessToken) {
    assert!(client.token().unwrap().secret() == token.secret());
    client.whoami().unwrap();
}

fn used_in_the_parent(client: &blocking::Client) {
    let token = client.token().unwrap();
    let child = fork(|| work(client, &token));
    join(child);
    untouched(client, &token);
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
        // The parent's runtime has lost its threads.
        let own = runtime();
        own.block_on(async {
            let same = client.token().await.unwrap();
            assert!(same.secret() == token.secret());
            client.whoami().await.unwrap();
            assert!(client.invalidate(&same));
            client.whoami().await.unwrap();
            client.business_token(&business()).await.unwrap();
        });
    });
    join(child);
    assert!(parents.block_on(client.token()).unwrap().secret() == token.secret());
    parents.block_on(client.whoami()).unwrap();
}

/// Built before the fork, first used after it.
fn cold(client: &blocking::Client) {
    let children: Vec<_> = (0..4)
        .map(|_| fork(|| drop(client.whoami().unwrap())))
        .collect();
    children.into_iter().for_each(join);
    client.whoami().unwrap();
}

/// Another thread waits for the token while the main thread forks, at a word
/// from the server's side; the server answers it after the child's request.
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
    assert!(client.token().unwrap().secret() == token);
    client.whoami().unwrap();
}

/// A batch of so many, of businesses that are this process's own.
fn run_batch(client: &blocking::Client, process: u16, count: u32) {
    let businesses = (0..count)
        .map(|number| format!("{number:08x}-{process:04x}-4000-8000-000000000000"))
        .map(|id| id.parse::<BusinessId>().unwrap());
    let options = BatchOptions {
        max_in_flight: 200,
        ..BatchOptions::default()
    };
    for result in client.business_tokens(businesses, options, |_| true) {
        result.unwrap();
    }
}

/// A batch has all in flight that its pace allows while the main thread forks,
/// at a word from the server's side; the child has a batch of its own.
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

/// Threads do everything at once, every lock is taken all the time, and the
/// main thread forks and forks.
fn storm(client: &blocking::Client) {
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
            assert!(client.stats().token_requests > 0);
        });
        join(child);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    client.whoami().unwrap();
}

/// A fork of a fork.
fn grandchild(client: &blocking::Client) {
    let token = client.token().unwrap();
    let child = fork(|| {
        work(client, &token);
        let own = client.token().unwrap();
        let grandchild = fork(|| work(client, &own));
        join(grandchild);
        untouched(client, &own);
    });
    join(child);
    untouched(client, &token);
}
