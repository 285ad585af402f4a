//! Each kind of call, from several clients at once, while the shared cache's server is
//! unplugged at random moments: no call fails.
#![cfg(unix)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use layerfi_auth::Client;
use layerfi_auth_emulator::Emulator;
use layerfi_auth_tests::{
    MAX_WAIT, RedisServer, ServerKind, businesses, client_builder, multi_thread_runtime, wait_for,
};

/// What happens to the server.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Paused,
    Killed,
    Wiped,
    Full,
    ReadOnly,
    ConnectionsCut,
    RightsTaken,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Paused,
    Trouble::Killed,
    Trouble::Wiped,
    Trouble::Full,
    Trouble::ReadOnly,
    Trouble::ConnectionsCut,
    Trouble::RightsTaken,
];

impl Trouble {
    /// Makes the trouble for a while, and ends it.
    fn happen(self, server: &mut RedisServer, lasts: Duration) {
        let command = |server: &RedisServer, words: &str| {
            let words: Vec<_> = words.split(' ').collect();
            server.command(&words);
        };
        let of = |during: &str, after: &str, server: &RedisServer| {
            command(server, during);
            sleep(lasts);
            command(server, after);
        };
        match self {
            Self::Paused => {
                server.pause();
                sleep(lasts);
                server.resume();
            }
            Self::Killed => {
                server.kill();
                sleep(lasts);
                server.restart();
            }
            Self::Wiped => command(server, "FLUSHALL"),
            Self::Full => of("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", server),
            Self::ReadOnly => of("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", server),
            Self::ConnectionsCut => command(server, "CLIENT KILL TYPE normal SKIPME yes"),
            Self::RightsTaken => of(
                "ACL SETUSER default -eval",
                "ACL SETUSER default +eval",
                server,
            ),
        }
    }
}

/// Calls of all kinds, which go on until the end.
struct Calls {
    is_over: AtomicBool,
    made: [AtomicU64; KINDS],
}

const KINDS: usize = 5;

impl Calls {
    /// One call of each kind in turn; a failure ends the test.
    async fn make(&self, client: Client, seed: u64) {
        let mut dice = fastrand::Rng::with_seed(seed);
        let businesses = businesses(40);
        let mut kind = dice.usize(..KINDS);
        while !self.is_over.load(Ordering::Relaxed) {
            kind = (kind + 1) % KINDS;
            let business = &businesses[dice.usize(..businesses.len())];
            let failure = match kind {
                0 => client.token().await.map(|token| {
                    // Another one is needed, at times.
                    if dice.u8(..4) == 0 {
                        client.invalidate(&token);
                    }
                }),
                1 => client.business_token(business).await.map(drop),
                2 => client.whoami().await.map(drop),
                3 => {
                    let batch = businesses.iter().take(20).cloned();
                    let tokens: Vec<_> = client.business_tokens(batch).collect().await;
                    tokens.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
                }
                _ => match client.get("/v1/whoami").await {
                    Ok(response) => {
                        assert_ne!(response.status(), 401, "a dead token was served");
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            failure.expect("a call failed because of the store");
            self.made[kind].fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(dice.u64(..20))).await;
        }
    }

    /// Waits until each kind of call was made again.
    fn wait_for_each(&self, what: Trouble) {
        let before: Vec<_> = self.counts().collect();
        let started = Instant::now();
        while self
            .counts()
            .zip(&before)
            .any(|(now, before)| now <= *before)
        {
            assert!(started.elapsed() < MAX_WAIT, "no calls after {what:?}");
            sleep(Duration::from_millis(10));
        }
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.made.iter().map(|made| made.load(Ordering::Relaxed))
    }
}

#[test]
fn b30_no_call_of_any_kind_fails_while_the_store_is_unplugged_at_random() {
    let mut dice = fastrand::Rng::with_seed(20_261_127);
    for kind in ServerKind::ALL {
        let layer = Emulator::builder()
            .rate_limit(None)
            .access_token_lifetime(Duration::from_secs(4))
            .business_token_lifetime(Duration::from_secs(8))
            .start_blocking()
            .unwrap();
        let mut server = RedisServer::builder(kind).start();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let builder = client_builder(&layer).shared_cache(server.url());
                builder.build().unwrap()
            })
            .collect();
        let calls = Calls {
            is_over: AtomicBool::new(false),
            made: Default::default(),
        };
        let runtime = multi_thread_runtime(2);
        std::thread::scope(|scope| {
            for (number, client) in clients.iter().enumerate() {
                let (calls, runtime) = (&calls, &runtime);
                scope.spawn(move || {
                    let tasks =
                        (0..3).map(|task| calls.make(client.clone(), 10 * number as u64 + task));
                    runtime.block_on(futures_util::future::join_all(tasks))
                });
            }
            let stop = StopAtEnd(&calls);
            let mut order: Vec<_> = TROUBLES.iter().chain(&TROUBLES).copied().collect();
            dice.shuffle(&mut order);
            for trouble in order {
                trouble.happen(&mut server, Duration::from_millis(dice.u64(..900)));
                calls.wait_for_each(trouble);
            }
            // The store is well again, and the clients return to it.
            wait_for("a token from the store", || {
                clients
                    .iter()
                    .any(|client| client.stats().shared_adopted > 0)
            });
            drop(stop);
        });
        let all: Vec<_> = clients.iter().map(Client::stats).collect();
        for stats in &all {
            assert!(stats.failures.is_empty(), "{kind:?}: {stats:?}");
            assert!(stats.shared_faults > 0, "it noticed nothing: {stats:?}");
        }
    }
}

/// Ends the calls, also if a check fails.
struct StopAtEnd<'a>(&'a Calls);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}
