//! Closes all its file descriptors, as a daemon does, and gives their numbers to a file of
//! its own. `tests/rust/tests/descriptors.rs` runs it; it is a separate program because it would
//! close the descriptors of the test harness.
//!
//! Usage: `descriptors_probe <scenario>`, with the client's settings in the environment.
//! The exit code is 0 if all calls succeed; errors are printed to standard error.

use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use layerfi_auth::{
    BatchOptions, BusinessId, ClientBuilder, Credentials, CredentialsProvider, Error,
    SessionDuration, blocking,
};

/// The numbers from 3 to here are closed, and then the program's.
const LAST: RawFd = 200;

/// Most time for what takes no time.
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    match scenario.as_str() {
        "every_call" => every_call(),
        "again_and_again" => again_and_again(),
        "drop" => dropped(),
        "provider" => provider(),
        "blocking_wait" => in_flight(|client| client.whoami().map(drop)),
        "started_call" => in_flight(|client| {
            let started = client.start(|client| async move { client.whoami().await });
            started.unwrap().join().map(drop)
        }),
        "async_wait" => in_flight(|client| block_on(client.as_async().whoami()).map(drop)),
        "async_shared_wait" => in_flight(|client| block_on(client.as_async().token()).map(drop)),
        "batch" => in_flight(|client| {
            let results = client.business_tokens(businesses(3), BatchOptions::default(), |_| true);
            results.into_iter().try_for_each(|result| result.map(drop))
        }),
        "stream" => in_flight(|client| {
            block_on(async {
                let mut stream = client.as_async().business_tokens(businesses(3));
                stream.next().await.unwrap().map(drop)
            })
        }),
        "no_other_call" => no_other_call(),
        "signals" => refused(),
        other => panic!("unknown scenario: {other}"),
    }
}

/// Runs a future on this thread. An async runtime may need descriptors of its own.
fn block_on<T>(call: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut call = pin!(call);
    loop {
        match call.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn businesses(count: usize) -> Vec<BusinessId> {
    let ids = (0..count).map(|number| format!("00000000-0000-4000-8000-{number:012x}"));
    ids.map(|id| id.parse().unwrap()).collect()
}

fn business() -> BusinessId {
    "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap()
}

fn builder() -> ClientBuilder {
    ClientBuilder::from_env().unwrap()
}

/// What has the numbers of the closed descriptors: one end of a pair of sockets.
struct Foreign {
    other_end: UnixStream,
    inode: u64,
}

impl Foreign {
    /// Closes all descriptors but the standard streams, and takes half of their numbers.
    fn take() -> Self {
        Self::take_to(LAST / 2)
    }

    /// The same, and takes the numbers from 3 to `last`.
    fn take_to(last: RawFd) -> Self {
        wait_until_idle();
        let (own, other_end) = UnixStream::pair().unwrap();
        other_end.set_nonblocking(true).unwrap();
        // SAFETY: the sockets are moved out of the way, and the program uses no other
        // descriptor than these and the standard streams. That the library's are closed
        // is what this program is for.
        #[allow(unsafe_code)]
        let other_end = unsafe {
            let (kept, moved) = (LAST + 1, LAST + 2);
            assert_eq!(libc::dup2(own.as_raw_fd(), kept), kept);
            assert_eq!(libc::dup2(other_end.as_raw_fd(), moved), moved);
            std::mem::forget((own, other_end));
            close_range(3, LAST);
            for number in 3..=last {
                assert_eq!(libc::dup2(kept, number), number);
            }
            <UnixStream as std::os::fd::FromRawFd>::from_raw_fd(moved)
        };
        let inode = inode(LAST + 1).unwrap();
        Self { other_end, inode }
    }

    /// Checks that nobody has written to these numbers, or closed one.
    fn check(&mut self) {
        self.check_writes();
        for number in 3..=LAST / 2 {
            assert_eq!(
                inode(number),
                Some(self.inode),
                "the program's descriptor {number} was closed"
            );
        }
    }

    fn check_writes(&mut self) {
        let mut written = [0; 256];
        match self.other_end.read(&mut written) {
            Ok(count) => panic!(
                "{count} bytes were written to a file of the program: {:?}",
                String::from_utf8_lossy(&written[..count])
            ),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }

    /// Closes the numbers, so that they can be taken again.
    fn release(mut self) {
        self.check();
        // SAFETY: the numbers are this program's.
        #[allow(unsafe_code)]
        unsafe {
            close_range(3, LAST / 2);
            libc::close(LAST + 1);
        }
    }
}

/// Waits until the library's threads sleep. What they send in the instant of the closing
/// could reach the file that gets the number: the kernel does not know whose a number is.
fn wait_until_idle() {
    let states = || {
        let mut states = Vec::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let status = task.unwrap().path().join("status");
            // The thread may have ended.
            let status = std::fs::read_to_string(status).unwrap_or_default();
            if status.starts_with("Name:\tlayerfi") {
                let told = |line: &&str| line.starts_with("State") || line.contains("_switches");
                let lines: Vec<_> = status.lines().filter(told).collect();
                states.push(lines.join("\n"));
            }
        }
        states
    };
    let until = Instant::now() + LIMIT;
    loop {
        let before = states();
        std::thread::sleep(Duration::from_millis(50));
        // With the number of times that the thread has been woken.
        if states() == before && before.iter().all(|state| state.starts_with("State:\tS")) {
            return;
        }
        assert!(Instant::now() < until, "the library's threads do not sleep");
    }
}

/// As `closefrom`: in one system call where the kernel has one.
#[allow(unsafe_code)]
unsafe fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: the caller is responsible for what it closes.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, last, 0) != 0 {
            for number in first..=last {
                libc::close(number);
            }
        }
    }
}

fn inode(number: RawFd) -> Option<u64> {
    // SAFETY: a `stat` of zeros is valid, and `fstat` only writes to it.
    #[allow(unsafe_code)]
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        (libc::fstat(number, &raw mut found) == 0).then_some(found.st_ino)
    }
}

/// Gives the background threads time for what they must not do. That it is enough cannot
/// be seen from outside, but a test that fails now and then is better than none.
fn let_them_run() {
    std::thread::sleep(Duration::from_millis(300));
}

fn make_every_call(client: &blocking::Client) {
    client.token().unwrap();
    client.whoami().unwrap();
    client.business_token(&business()).unwrap();
    client
        .mint_business_token(&business(), SessionDuration::default())
        .unwrap();
    for result in client.business_tokens(businesses(3), BatchOptions::default(), |_| true) {
        result.unwrap();
    }
    let token = client.token().unwrap();
    assert!(client.invalidate(&token), "the token was not invalidated");
    client.token().unwrap();
    block_on(client.as_async().whoami()).unwrap();
}

/// Each kind of call is the first one after the descriptors were closed.
fn every_call() {
    let calls: [fn(&blocking::Client); 7] = [
        |client| drop(client.whoami().unwrap()),
        |client| {
            client.invalidate(&client.token().unwrap());
            client.token().unwrap();
        },
        |client| {
            client
                .mint_business_token(&business(), SessionDuration::default())
                .unwrap();
        },
        |client| {
            for result in client.business_tokens(businesses(4), BatchOptions::default(), |_| true) {
                result.unwrap();
            }
        },
        |client| drop(client.get("/whoami").unwrap()),
        |client| drop(block_on(client.as_async().whoami()).unwrap()),
        |client| {
            let stream = client.as_async().business_tokens(businesses(5));
            for result in block_on(stream.collect::<Vec<_>>()) {
                result.unwrap();
            }
        },
    ];
    for call in calls {
        let client = builder().keep_warm(true).build_blocking().unwrap();
        make_every_call(&client);
        let mut foreign = Foreign::take();
        call(&client);
        make_every_call(&client);
        foreign.check();
        drop(client);
        let_them_run();
        foreign.release();
    }
}

/// One client whose descriptors are closed many times.
fn again_and_again() {
    let client = builder().build_blocking().unwrap();
    for _ in 0..20 {
        make_every_call(&client);
        let foreign = Foreign::take();
        client.whoami().unwrap();
        foreign.release();
    }
}

/// A client that is not used again is dropped, with its connections and its thread for
/// credentials.
fn dropped() {
    let client = builder().build_blocking().unwrap();
    make_every_call(&client);
    let foreign = Foreign::take();
    drop(client);
    let_them_run();
    foreign.release();
}

/// Provider that a thread answers when it may.
struct Slow {
    entered: mpsc::Sender<()>,
    may_go_on: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl CredentialsProvider for Slow {
    async fn credentials(&self) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let may_go_on = Arc::clone(&self.may_go_on);
        std::thread::spawn(move || {
            // From the second call on there is nothing to wait for.
            let _ = may_go_on.lock().unwrap().recv();
            let read = |name| std::env::var(name).unwrap();
            let (id, secret) = (read("LAYER_CLIENT_ID"), read("LAYER_CLIENT_SECRET"));
            let _ = answer.send(Credentials::new(id, secret));
        });
        let _ = self.entered.send(());
        Ok(answered.await?)
    }
}

/// A credentials provider returns after the descriptors were closed.
fn provider() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let client = builder()
        .credentials_provider(Slow {
            entered,
            may_go_on: Arc::new(Mutex::new(may_go_on)),
        })
        .build_blocking()
        .unwrap();
    let waiting = {
        let client = client.with_timeout(LIMIT);
        std::thread::spawn(move || client.token().map(drop))
    };
    has_entered.recv_timeout(LIMIT).unwrap();
    let foreign = Foreign::take();
    drop(go_on);
    let_them_run();
    client.token().unwrap();
    check_error(waiting.join().unwrap());
    foreign.release();
}

fn check_error(result: Result<(), Error>) {
    let error = result.expect_err("a call of closed descriptors has a result");
    assert!(error.is_retryable(), "not retryable: {error}");
    assert!(
        error
            .to_string()
            .contains("closed this library's file descriptors"),
        "the cause is not told: {error}"
    );
}

/// A call waits for a response that the server holds, while the descriptors are closed.
/// It ends when another call finds out.
fn in_flight(call: fn(&blocking::Client) -> Result<(), Error>) {
    let hour = Duration::from_secs(3600);
    let client = builder().attempt_timeout(hour).build_blocking().unwrap();
    let waiting = {
        let client = client.with_timeout(hour);
        std::thread::spawn(move || call(&client))
    };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let foreign = Foreign::take();
    client.whoami().unwrap();
    let until = Instant::now() + LIMIT;
    while !waiting.is_finished() {
        assert!(Instant::now() < until, "the call in flight did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    check_error(waiting.join().unwrap());
    client.whoami().unwrap();
    foreign.release();
}

/// No other call finds out: the background thread does, at the timeout of the call.
fn no_other_call() {
    let client = builder()
        .timeout(Duration::from_secs(5))
        .build_blocking()
        .unwrap();
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || block_on(client.as_async().token()).map(drop))
    };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let foreign = Foreign::take();
    check_error(waiting.join().unwrap());
    client.whoami().unwrap();
    foreign.release();
}

/// With Tokio's feature `signal` Tokio's threads panic, and no other can be started. The
/// cached token is served.
fn refused() {
    let client = builder().build_blocking().unwrap();
    make_every_call(&client);
    let mut foreign = Foreign::take_to(LAST);
    for _ in 0..3 {
        let error = client.whoami().unwrap_err();
        // It would fail for ever.
        assert!(!error.is_retryable(), "retryable: {error}");
        assert!(
            error.to_string().contains("Tokio's signal handling"),
            "the cause is not told: {error}"
        );
    }
    client.token().unwrap();
    foreign.check_writes();
}
