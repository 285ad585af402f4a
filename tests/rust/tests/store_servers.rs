//! Clients whose shared cache refuses, fails, redirects or forks: no call fails because
//! of it. The store itself is tested in `core/src/store/tests`.
#![cfg(unix)]

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use layerfi_auth::{Client, SharedCacheState, Stats};
use layerfi_auth_emulator::Emulator;
use layerfi_auth_tests::{
    MAX_WAIT, RedisServer, ServerKind, Watchdog, business, businesses, client_builder, emulator,
    emulator_variables, remove_settings, wait_for,
};

/// A client with a shared cache.
fn client(layer: &Emulator, url: &str) -> Client {
    client_builder(layer).shared_cache(url).build().unwrap()
}

/// Gets both kinds of tokens, and returns what was counted.
async fn tokens(client: &Client) -> Stats {
    client
        .token()
        .await
        .expect("token() failed because of the store");
    let business = client.business_token(&business()).await;
    business.expect("business_token() failed because of the store");
    client
        .whoami()
        .await
        .expect("whoami() failed because of the store");
    client.stats()
}

#[track_caller]
fn assert_alone(stats: &Stats, state: SharedCacheState) {
    assert_eq!(stats.failures, [], "{stats:?}");
    assert_eq!((stats.token_requests, stats.mints), (1, 1), "{stats:?}");
    assert_eq!(stats.shared_alone, 2, "{stats:?}");
    assert_eq!(stats.shared_cache, state, "{stats:?}");
}

#[tokio::test]
async fn b30_two_clients_share_tokens_through_each_kind_of_server() {
    for kind in ServerKind::ALL {
        let layer = emulator();
        let server = RedisServer::builder(kind).password("canary").start();
        let socket = server.socket().display().to_string();
        let first = client(&layer, &format!("redis://:canary@{}", server.address()));
        let stats = tokens(&first).await;
        assert_eq!(stats.shared_published, 2, "{kind:?}: {stats:?}");
        let second = client(&layer, &format!("redis+unix://:canary@{socket}"));
        let stats = tokens(&second).await;
        assert_eq!(
            (stats.shared_adopted, stats.token_requests),
            (2, 0),
            "{kind:?}: {stats:?}"
        );
        assert_eq!(stats.shared_cache, SharedCacheState::Up);
    }
}

#[tokio::test]
async fn b30_no_call_fails_if_the_store_is_read_only_full_or_refuses_clients() {
    let layer = emulator();
    let master = RedisServer::start();
    let replica = RedisServer::builder(ServerKind::Redis)
        .replica_of(&master)
        .start();
    assert_alone(
        &tokens(&client(&layer, &replica.url())).await,
        SharedCacheState::Up,
    );
    let full = RedisServer::builder(ServerKind::Redis)
        .option("maxmemory", "1")
        .start();
    assert_alone(
        &tokens(&client(&layer, &full.url())).await,
        SharedCacheState::Up,
    );
    let busy = RedisServer::start();
    busy.command(&["CONFIG", "SET", "maxclients", "1"]);
    let other = TcpStream::connect(busy.address()).unwrap();
    assert_alone(
        &tokens(&client(&layer, &busy.url())).await,
        SharedCacheState::Down,
    );
    drop(other);
    let guarded = RedisServer::builder(ServerKind::Redis)
        .password("right")
        .start();
    for url in [
        guarded.url(),
        format!("redis://:canary@{}", guarded.address()),
        format!("redis://canary:right@{}", guarded.address()),
    ] {
        assert_alone(&tokens(&client(&layer, &url)).await, SharedCacheState::Down);
    }
}

#[tokio::test]
async fn b30_no_call_fails_if_the_store_is_loading_or_its_cluster_is_down() {
    let layer = emulator();
    let mut loading = RedisServer::builder(ServerKind::Redis)
        .option("key-load-delay", "3000")
        .option("loading-process-events-interval-bytes", "1024")
        .start();
    loading.command(&["DEBUG", "POPULATE", "2000", "key", "200"]);
    loading.command(&["SAVE"]);
    loading.restart();
    assert_alone(
        &tokens(&client(&layer, &loading.url())).await,
        SharedCacheState::Down,
    );
    // No node has a slot.
    let cluster = RedisServer::builder(ServerKind::Redis).cluster().start();
    assert_alone(
        &tokens(&client(&layer, &cluster.url())).await,
        SharedCacheState::Down,
    );
}

#[tokio::test]
async fn b30_no_call_fails_if_the_store_is_no_redis_or_never_answers() {
    let layer = emulator();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let sentinel = format!("redis+sentinel://{silent}/main");
    let emulator_itself = layer.url().replace("http://", "redis://");
    for url in [
        format!("redis://{silent}"),
        format!("rediss://{silent}"),
        sentinel,
        emulator_itself,
        "redis+unix:///nowhere/socket".to_owned(),
        "redis://127.0.0.1:1".to_owned(),
        "redis://name.invalid".to_owned(),
    ] {
        let started = std::time::Instant::now();
        assert_alone(&tokens(&client(&layer, &url)).await, SharedCacheState::Down);
        // Most of a call's timeout, which is longer, is left to its own request.
        let took = started.elapsed();
        assert!(took < MAX_WAIT, "{url}: {took:?}");
    }
}

#[tokio::test]
async fn b30_no_call_fails_during_a_failover_and_the_new_master_is_used() {
    let layer = emulator();
    let mut master = RedisServer::start();
    let replica = RedisServer::builder(ServerKind::Redis)
        .replica_of(&master)
        .start();
    let sentinel = RedisServer::builder(ServerKind::Redis)
        .sentinel(&master, "main")
        .start();
    wait_for("the Sentinel knows the replica", || {
        let known = sentinel.command(&["SENTINEL", "MASTER", "main"]);
        known.has("num-slaves", "1") && replica.info("master_link_status") == "up"
    });
    let url = format!("redis+sentinel://{}/main", sentinel.address());
    let client = client(&layer, &url);
    assert_eq!(
        tokens(&client).await.shared_published,
        2,
        "tokens that were published"
    );
    master.kill();
    let started = std::time::Instant::now();
    let published = loop {
        let token = client
            .token()
            .await
            .expect("token() failed during the failover");
        client.invalidate(&token);
        let stats = tokens(&client).await;
        if replica.info("role") == "master" && stats.shared_cache == SharedCacheState::Up {
            break stats.shared_published;
        }
        assert!(started.elapsed() < 2 * MAX_WAIT, "no failover: {stats:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let before = replica.info("total_commands_processed");
    let token = client.token().await.unwrap();
    client.invalidate(&token);
    let stats = tokens(&client).await;
    assert_eq!(stats.failures, [], "{stats:?}");
    assert!(replica.info("total_commands_processed") != before);
    assert!(stats.shared_published >= published, "{stats:?}");
}

/// Runs a scenario of `src/bin/fork_probe.rs` with a shared cache.
fn fork_probe(layer: &Emulator, server: &RedisServer, scenario: &str, during: impl FnOnce()) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fork_probe"));
    remove_settings(&mut command);
    let probe = command
        .arg(scenario)
        .envs(emulator_variables(layer))
        .env("LAYER_SHARED_CACHE", server.url())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::new(probe.id(), 3 * MAX_WAIT);
    during();
    // Also closes its standard input.
    let ended = probe.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "the probe ended with {}: {text}",
        ended.status
    );
}

#[test]
fn b30_forked_child_leaves_the_connection_of_its_parent_alone() {
    let layer = emulator();
    let server = RedisServer::start();
    let connections = || -> u32 { server.info("total_connections_received").parse().unwrap() };
    let before = connections();
    fork_probe(&layer, &server, "shared_cache", || {});
    // Of the parent, of its two children, and the one that asks.
    assert_eq!(connections() - before, 4, "connections that were made");
}

#[test]
fn b30_fork_during_a_look_up_fails_no_call() {
    let layer = emulator();
    let server = RedisServer::start();
    server.pause();
    fork_probe(&layer, &server, "shared_cache_mid_look_up", || {});
    server.resume();
    assert_eq!(server.command(&["PING"]).text(), "PONG");
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// The lines about the store at this address that contain a text.
    fn lines(&self, address: &str, what: &str) -> Vec<String> {
        let text = self.text();
        let is_wanted = |line: &&str| line.contains(what) && line.contains(address);
        text.lines().filter(is_wanted).map(str::to_owned).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What this process logs: for all threads, because one of the library's own may be the
/// first to notice something.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let sink = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    })
}

#[test]
fn b30_store_that_takes_no_tokens_is_logged_once_and_when_it_takes_them_again() {
    let layer = emulator();
    let server = RedisServer::start();
    let (log, address) = (log(), server.address());
    let full = || log.lines(&address, "takes no new tokens");
    let again = || log.lines(&address, "takes new tokens again");
    let client = client_builder(&layer)
        .shared_cache(server.url())
        .build_blocking()
        .unwrap();
    let mut unused = businesses(1_000).into_iter();
    let mut fetch = || {
        let token = client.business_token(&unused.next().unwrap());
        token.expect("a call failed because of the store");
    };
    fetch();
    for round in 1..=2 {
        server.command(&["CONFIG", "SET", "maxmemory", "1"]);
        for _ in 0..5 {
            fetch();
        }
        wait_for("it is logged that the store is full", || {
            full().len() >= round
        });
        assert_eq!((full().len(), again().len()), (round, round - 1));
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        for _ in 0..5 {
            fetch();
        }
        wait_for("it is logged that the store takes tokens again", || {
            again().len() >= round
        });
        assert_eq!((full().len(), again().len()), (round, round));
    }
    assert_eq!(client.stats().shared_cache, SharedCacheState::Up);
    let line = &full()[0];
    for part in ["WARN", "refused", "it is full (OOM)"] {
        assert!(line.contains(part), "no {part:?} in the line: {line}");
    }
}

#[test]
fn b30_store_that_goes_down_and_comes_back_is_logged_once_each() {
    let layer = emulator();
    let mut server = RedisServer::builder(ServerKind::Redis)
        .password("canary")
        .start();
    let (log, address) = (log(), server.address());
    let down = || log.lines(&address, "the shared cache is down");
    let back = || log.lines(&address, "the shared cache is back");
    let client = client_builder(&layer)
        .shared_cache(format!("redis://:canary@{address}"))
        .build_blocking()
        .unwrap();
    let mut unused = businesses(1_000).into_iter();
    let mut fetch = || {
        let business = unused.next().unwrap();
        let token = client.business_token(&business);
        token.expect("a call failed because of the store");
        std::thread::sleep(Duration::from_millis(100));
    };
    fetch();
    for round in 1..=2 {
        server.kill();
        // Also after the first trials of the store.
        let started = std::time::Instant::now();
        while client.stats().shared_faults < 2 * round {
            assert!(started.elapsed() < MAX_WAIT, "{:?}", client.stats());
            fetch();
        }
        assert_eq!(client.stats().shared_cache, SharedCacheState::Down);
        let round = round as usize;
        wait_for("it is logged that the store is down", || {
            down().len() >= round
        });
        assert_eq!((down().len(), back().len()), (round, round - 1));
        server.restart();
        wait_for("the store is used again", || {
            fetch();
            client.stats().shared_cache == SharedCacheState::Up
        });
        wait_for("it is logged that the store is back", || {
            back().len() >= round
        });
        fetch();
        assert_eq!((down().len(), back().len()), (round, round));
    }
    let line = &down()[0];
    assert!(line.contains("WARN") && line.contains("connect"), "{line}");
    let line = &back()[0];
    assert!(line.contains("INFO"), "{line}");
    assert!(!log.text().contains("canary"), "the password is in the log");
}
