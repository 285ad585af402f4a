//! A store that restarts while many clients are connected: they do not rush to it, no call
//! fails, and all of them use it again.
#![cfg(unix)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use layerfi_auth::{BusinessId, Client, SharedCacheState};
use layerfi_auth_tests::{MAX_WAIT, RedisServer, client_builder, emulator};

const CLIENTS: usize = 200;

/// How long the store is away: three tries of each client.
const AWAY: Duration = Duration::from_secs(3);

/// Most tries of one client in this time: one at once, and then after at least 0.5, 1, 2,
/// 4, 8, 15 and 15 s more.
fn most_tries(time: Duration) -> usize {
    let waits = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0].into_iter();
    let waits = waits.chain(std::iter::repeat(15.0));
    let ends = waits.scan(0.0, |end, wait| {
        *end += wait;
        Some(*end)
    });
    ends.take_while(|end| *end <= time.as_secs_f64()).count()
}

/// Accepts connections on a port, and closes them at once. It counts them.
struct Closing {
    accepted: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Closing {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is not free");
        listener.set_nonblocking(true).unwrap();
        let (accepted, is_over) = (Arc::default(), Arc::default());
        let (count, over) = (Arc::clone(&accepted), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !AtomicBool::load(&over, Ordering::Relaxed) {
                match listener.accept() {
                    Ok(_) => drop(AtomicUsize::fetch_add(&count, 1, Ordering::Relaxed)),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self {
            accepted,
            is_over,
            thread,
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Calls of one client that need the store again and again, until it is over.
async fn use_the_store(client: Client, number: usize, is_over: Arc<AtomicBool>) -> usize {
    let mut calls = 0_usize;
    while !is_over.load(Ordering::Relaxed) {
        // Of this call only, so that it is in no cache.
        let business = format!("00000000-0000-4000-8{number:03x}-{calls:012x}");
        let business: BusinessId = business.parse().unwrap();
        let token = client.business_token(&business).await;
        token.expect("a call failed because of the store");
        calls += 1;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    calls
}

async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < MAX_WAIT, "{what} within {MAX_WAIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn b30_two_hundred_connected_clients_do_not_rush_to_a_store_that_restarts() {
    let layer = emulator();
    let mut server = RedisServer::start();
    let url = server.url();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| client_builder(&layer).shared_cache(url.clone()).build())
        .collect::<Result<_, _>>()
        .unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let calls: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, client)| {
            let calls = use_the_store(client.clone(), number, Arc::clone(&is_over));
            tokio::spawn(calls)
        })
        .collect();
    let all_are = |state| clients.iter().all(|one| one.stats().shared_cache == state);
    let connected = || server.info("connected_clients").parse().unwrap_or(0_usize);
    wait_until("not all clients are connected", || connected() >= CLIENTS).await;

    server.kill();
    let port = server.port();
    let gone = Instant::now();
    let closing = Closing::start(port);
    wait_until("not all clients notice that the store is gone", || {
        all_are(SharedCacheState::Down)
    })
    .await;
    tokio::time::sleep(AWAY.saturating_sub(gone.elapsed())).await;
    let (tries, time) = (closing.accepted(), gone.elapsed());
    closing.stop();
    // A connection that the server closes before it answers is made once more.
    let most = 2 * CLIENTS * most_tries(time);
    assert!(
        (CLIENTS..=most).contains(&tries),
        "{CLIENTS} clients made {tries} connections in {time:?}; {most} are the most"
    );

    server.restart();
    wait_until("not all clients use the store again", || {
        all_are(SharedCacheState::Up)
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    for calls in calls {
        assert!(calls.await.unwrap() > 3, "a client made no calls");
    }
    let connections: usize = server.info("total_connections_received").parse().unwrap();
    assert!(
        connections <= CLIENTS + 20,
        "{CLIENTS} clients made {connections} connections to the restarted store"
    );
}
