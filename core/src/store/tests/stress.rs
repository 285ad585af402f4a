//! Many stores whose connections fail at any moment, with cancelled callers and forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use layerfi_auth_test_support::{MAX_WAIT, RedisServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::servers::{KEEP, LEASE, hasty_store, look, until_back};
use crate::store::cases::{entry, names, owner};
use crate::store::redis::RedisStore;
use crate::store::{Found, Published, TokenStore as _};
use crate::sys::fork;

const STORES: u32 = 8;
const ROUNDS: u32 = 8;
const CALLERS: u8 = 6;

/// Random numbers that a failed test can repeat.
struct Dice(fastrand::Rng);

impl Dice {
    /// Different for each test, store and round.
    fn new(seed: u64, store: u32, round: u32) -> Self {
        let mix = u64::from(store) << 32 | u64::from(round);
        Self(fastrand::Rng::with_seed(
            seed ^ mix.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        ))
    }

    fn time(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.0.u64(0..most * 1_000))
    }
}

/// What a proxy does to a connection after some time.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Both ends are closed.
    Close,
    /// Half of an answer arrives, then the connection is closed.
    CloseInAnswer,
    /// Answers arrive late, but in time.
    Slow,
    /// No answer arrives any more.
    Stall,
    /// Something else than an answer arrives.
    Junk,
}

impl Fault {
    fn roll(dice: &mut Dice) -> Self {
        match dice.0.u8(0..8) {
            0 | 1 => Self::None,
            2 => Self::Close,
            3 => Self::CloseInAnswer,
            4 => Self::Slow,
            5 => Self::Stall,
            6 => Self::Junk,
            _ => Self::Close,
        }
    }
}

/// Proxy in front of a server. `faults` decides about each connection.
struct Proxy {
    address: String,
    open: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn start(server: String, mut dice: Option<Dice>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&open);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (fault, after) = match &mut dice {
                    Some(dice) => (Fault::roll(dice), dice.time(60)),
                    None => (Fault::None, Duration::ZERO),
                };
                let Ok(server) = TcpStream::connect(&server).await else {
                    return;
                };
                let count = Arc::clone(&count);
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    pass_on(client, server, fault, after).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            open,
            task,
        }
    }
}

/// Passes bytes on until one end is closed or the fault closes both.
async fn pass_on(mut client: TcpStream, mut server: TcpStream, fault: Fault, after: Duration) {
    let since = Instant::now();
    let (mut question, mut answer) = (vec![0; 4_096], vec![0; 4_096]);
    loop {
        tokio::select! {
            () = tokio::time::sleep(after.saturating_sub(since.elapsed())),
                if matches!(fault, Fault::Close) => return,
            read = client.read(&mut question) => match read {
                Ok(1..) => {
                    let bytes = read.unwrap();
                    if server.write_all(&question[..bytes]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut answer) => {
                let Ok(bytes @ 1..) = read else {
                    return;
                };
                let is_due = since.elapsed() >= after;
                let bytes = match fault {
                    Fault::CloseInAnswer if is_due => bytes / 2,
                    Fault::Stall if is_due => continue,
                    Fault::Junk if is_due => {
                        answer[..bytes].reverse();
                        bytes
                    }
                    Fault::Slow if is_due => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        bytes
                    }
                    _ => bytes,
                };
                if client.write_all(&answer[..bytes]).await.is_err()
                    || (matches!(fault, Fault::CloseInAnswer) && is_due)
                {
                    return;
                }
            },
        }
    }
}

/// Calls until the store fails, and checks each answer. Returns the number of failures.
async fn call(store: &RedisStore, part: &str, caller: u8, mut dice: Dice) -> u32 {
    let mut failures = 0;
    for number in 0..12_u64 {
        // Names of its own: another entry would be the answer to another caller.
        let part = format!("{part}-{caller}");
        let names = names("layerfi", &part);
        let own = entry(caller, number);
        let step = async {
            let found = look(store, &part).await?.found;
            match &found {
                Found::Entry(entry) => assert_eq!(entry[2], caller, "another caller's answer"),
                Found::Lease => {}
                // The lease of a call that was cancelled is the same owner's.
                found => panic!("{found:?}, but nobody else uses this name"),
            }
            match store.publish(&names, &owner(1), &own, KEEP).await? {
                Published::Stored => {}
                Published::Younger { entry, .. } => {
                    assert_eq!(entry[2], caller, "another caller's answer");
                }
            }
            store.release(&names, &owner(1), b"", LEASE).await
        };
        let started = Instant::now();
        let ended = if dice.0.u8(0..4) == 0 {
            let Ok(ended) = tokio::time::timeout(dice.time(10), step).await else {
                continue; // cancelled
            };
            ended
        } else {
            step.await
        };
        // A new connection, three answers, and one repetition of each.
        let bound = Duration::from_secs(20);
        assert!(
            started.elapsed() < bound,
            "a call took {:?}",
            started.elapsed()
        );
        if ended.is_err() {
            failures += 1;
            break;
        }
        tokio::task::yield_now().await;
    }
    failures
}

#[tokio::test]
async fn b13_b30_connections_that_fail_at_any_moment_mix_up_no_answers_and_recover() {
    let seed = std::env::var("LAYERFI_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("repeat it with LAYERFI_SEED={seed}");
    let server = RedisServer::start();
    let stores = (0..STORES).map(async |number| {
        let mut failures = 0;
        for round in 0..ROUNDS {
            let dice = |part| Dice::new(seed, number, round * 100 + part);
            let proxy = Proxy::start(server.address(), Some(dice(0))).await;
            let store = hasty_store(&format!("redis://{}", proxy.address));
            let part = format!("{number}-{round}");
            let callers =
                (1..=CALLERS).map(|caller| call(&store, &part, caller, dice(u32::from(caller))));
            let calls = futures_util::future::join_all(callers);
            let forks = async {
                tokio::time::sleep(dice(99).time(20)).await;
                // Only the calls after it belong to the child.
                if round % 2 == 0 {
                    fork::pretend::fork();
                }
            };
            failures += futures_util::future::join(calls, forks)
                .await
                .0
                .iter()
                .sum::<u32>();
            proxy.task.abort();
        }
        failures
    });
    let failures = futures_util::future::join_all(stores).await;
    let failures: u32 = failures.iter().sum();
    assert!(failures > 0, "nothing failed");

    // A store that failed comes back, with one connection.
    let faulty = Proxy::start(server.address(), None).await;
    let last = hasty_store(&format!("redis://{}", faulty.address));
    until_back(&last).await;
    server.pause();
    let calls = (0..20).map(|_| look(&last, "last"));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap_err();
    }
    server.resume();
    until_back(&last).await;
    let started = Instant::now();
    while faulty.open.load(Ordering::SeqCst) > 1 {
        assert!(started.elapsed() < MAX_WAIT, "old connections stay open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    faulty.task.abort();
}
