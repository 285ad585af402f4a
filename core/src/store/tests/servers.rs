//! The store's operations, and servers that refuse, fail or redirect.

use std::sync::Arc;
use std::time::Duration;

use layerfi_auth_test_support::{MAX_WAIT, RedisServer, Reply, ServerKind};

use crate::shared_cache::SharedCacheSettings;
use crate::store::cases::{entry, owner, store_cases};
use crate::store::check::{StoreCheck, StoreCheckFailure, check};
use crate::store::connection::PATIENCE;
use crate::store::redis::RedisStore;
use crate::store::{Found, LookUp, Names, Published, StoreError, StoreErrorKind, TokenStore as _};
use crate::trust::{Trust, TrustStore};

pub(super) const LEASE: Duration = Duration::from_secs(3);
pub(super) const KEEP: Duration = Duration::from_secs(60);

pub(super) fn names(part: &str) -> Names {
    crate::store::cases::names("layerfi", part)
}

pub(super) fn store_trusting(url: &str, ca_pem: &[u8]) -> Arc<RedisStore> {
    let settings = SharedCacheSettings {
        url: Some(url.into()),
        ..SharedCacheSettings::default()
    };
    let config = settings.resolve().unwrap().unwrap();
    let trust = if ca_pem.is_empty() {
        Trust::Bundled
    } else {
        Trust::CaOnly
    };
    let trust = TrustStore::new(trust, None, ca_pem).unwrap();
    PATIENCE.set(Some(MAX_WAIT));
    RedisStore::new(config.server, Arc::new(trust))
}

/// A store that waits long for an answer, because the machine may be busy.
pub(super) fn store(url: &str) -> Arc<RedisStore> {
    store_trusting(url, b"")
}

/// A store with the limits that users have, like all others of this thread from now on.
pub(super) fn hasty_store(url: &str) -> Arc<RedisStore> {
    let store = store(url);
    PATIENCE.set(None);
    store
}

pub(super) async fn look(store: &RedisStore, part: &str) -> Result<LookUp, StoreError> {
    let names = names(part);
    store.look_up(&names, b"", &owner(1), LEASE).await
}

pub(super) async fn found(store: &RedisStore, part: &str) -> Found {
    look(store, part).await.unwrap().found
}

#[tokio::test]
async fn b30_every_operation_of_the_store_on_real_servers() {
    for kind in ServerKind::ALL {
        let server = RedisServer::builder(kind).start();
        store_cases(&*store(&server.url()), "tcp").await;
        let socket = format!("redis+unix://{}?db=3", server.socket().display());
        store_cases(&*store(&socket), "unix").await;
        let keys = server.command(&[
            "EVAL",
            "redis.call('SELECT', 3); return #redis.call('KEYS', 'unix:1:*')",
            "0",
        ]);
        assert!(
            matches!(keys, Reply::Number(1..)),
            "{kind:?}: {keys:?} keys in database 3"
        );
    }
}

fn kind_of(result: Result<LookUp, StoreError>) -> StoreErrorKind {
    match result {
        Ok(found) => panic!("the look-up found {found:?}"),
        Err(error) => error.kind,
    }
}

/// Waits until the breaker lets one caller try, and that one succeeds.
pub(super) async fn until_back(store: &RedisStore) {
    let started = std::time::Instant::now();
    while look(store, "back").await.is_err() {
        assert!(started.elapsed() < MAX_WAIT, "the store did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.is_up());
}

#[tokio::test]
async fn b30_replica_and_full_server_are_read_and_refuse_leases() {
    let master = RedisServer::start();
    let replica = RedisServer::builder(ServerKind::Redis)
        .replica_of(&master)
        .start();
    let stored = entry(1, 100);
    let writer = store(&master.url());
    writer
        .publish(&names("a"), &owner(1), &stored, KEEP)
        .await
        .unwrap();
    let full = RedisServer::start();
    let full_writer = store(&full.url());
    full_writer
        .publish(&names("a"), &owner(1), &stored, KEEP)
        .await
        .unwrap();
    full.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for (server, code) in [(&replica, "READONLY"), (&full, "OOM")] {
        let store = store(&server.url());
        let started = std::time::Instant::now();
        while found(&store, "a").await != Found::Entry(stored.clone()) {
            assert!(
                started.elapsed() < MAX_WAIT,
                "the replica did not get the entry"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(found(&store, "b").await, Found::Refused, "{code}");
        let refused = store.publish(&names("b"), &owner(1), &stored, KEEP).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Busy);
        assert!(refused.what.contains(code), "{}", refused.what);
        store
            .release(&names("b"), &owner(1), b"note", KEEP)
            .await
            .unwrap();
        assert!(store.is_up(), "a server that refuses to write is up");
    }
}

#[tokio::test]
async fn b30_keys_of_other_programs_count_as_none() {
    let server = RedisServer::start();
    let store = store(&server.url());
    let names = names("a");
    for command in ["LPUSH", "SADD"] {
        for name in [&names.value, &names.lease, &names.note] {
            server.command(&["DEL", name]);
            server.command(&[command, name, "x"]);
        }
        assert_eq!(
            found(&store, "a").await,
            Found::Held(None),
            "its lease has no end"
        );
        server.command(&["DEL", &names.lease]);
        let found_lease = look(&store, "a").await.unwrap();
        assert_eq!((found_lease.found, found_lease.note), (Found::Lease, None));
        let entry = entry(1, 100);
        let published = store.publish(&names, &owner(1), &entry, KEEP).await;
        assert_eq!(published, Ok(Published::Stored));
        assert_eq!(found(&store, "a").await, Found::Entry(entry));
    }
    // A text of 1 MB is cut, so that it is no reason to leave the store.
    server.command(&["SET", &names.value, &"x".repeat(1_000_000)]);
    server.command(&["SET", &names.note, &"x".repeat(1_000_000)]);
    match look(&store, "a").await.unwrap() {
        LookUp {
            found: Found::Entry(entry),
            note: Some(note),
            ..
        } => {
            assert_eq!((entry.len(), note.len()), (20_481, 4_096));
        }
        other => panic!("{:?}", other.found),
    }
    // Not a time of 13 digits, so any entry is better.
    let published = store.publish(&names, &owner(2), &entry(2, 0), KEEP).await;
    assert_eq!(published, Ok(Published::Stored));
}

#[tokio::test]
async fn b30_server_that_lacks_a_password_or_rights_is_told_without_the_password() {
    let rights = "~layerfi:1:* -@all +eval +get +set +del +pttl +time";
    let server = RedisServer::builder(ServerKind::Redis)
        .password("canary-default")
        .option("user", &format!("enough on >canary-enough {rights}"))
        .option("user", &format!("blind on >canary-blind {rights} -get"))
        .option("user", &format!("reader on >canary-reader {rights} -set"))
        .option("user", &format!("mute on >canary-mute {rights} -eval"))
        .option(
            "user",
            &format!("timeless on >canary-timeless {rights} -time"),
        )
        .option("user", "elsewhere on >canary-elsewhere ~other:* +@all")
        .option("user", "open on nopass ~layerfi:1:* +@all")
        .start();
    let at = |user: &str| format!("redis://{user}@{}", server.address());
    store_cases(&*store(&at("enough:canary-enough")), "layerfi").await;
    for user in [":canary-default", "open"] {
        assert_eq!(found(&store(&at(user)), user).await, Found::Lease);
    }
    assert_eq!(
        found(&store(&at("reader:canary-reader")), "a").await,
        Found::Refused
    );
    for (user, code) in [
        ("", "NOAUTH"),
        (":canary-wrong", "WRONGPASS"),
        ("enough:canary-wrong", "WRONGPASS"),
        ("nobody:canary-enough", "WRONGPASS"),
        ("blind:canary-blind", "NOPERM"),
        ("mute:canary-mute", "NOPERM"),
        ("timeless:canary-timeless", "NOPERM"),
        ("elsewhere:canary-elsewhere", "NOPERM"),
    ] {
        let url = match user {
            "" => server.url(),
            user => at(user),
        };
        let store = store(&url);
        let error = look(&store, "a").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Auth, "{user}: {}", error.what);
        assert!(error.what.contains(code), "{user}: {}", error.what);
        assert!(error.what.contains(&server.address()), "{}", error.what);
        assert!(!error.what.contains("canary"), "{}", error.what);
        assert!(!store.is_up());
        assert_eq!(kind_of(look(&store, "a").await), StoreErrorKind::Down);
    }
    // Redis refuses a password where none is set.
    let open = RedisServer::start();
    let url = format!("redis://:canary@{}", open.address());
    let error = look(&store(&url), "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Auth, "{}", error.what);
    // Without the right to SELECT, and a database that is not there.
    let url = format!("{}/1", at("enough:canary-enough"));
    assert_eq!(kind_of(look(&store(&url), "a").await), StoreErrorKind::Auth);
    let error = look(&store(&format!("{}/99", open.url())), "a")
        .await
        .unwrap_err();
    assert!(error.what.contains("has no database 99"), "{}", error.what);
}

#[tokio::test]
async fn b30_server_with_too_many_clients_or_that_loads_is_busy() {
    let full = RedisServer::start();
    full.command(&["CONFIG", "SET", "maxclients", "1"]);
    let other = std::net::TcpStream::connect(full.address()).unwrap();
    let store_of_full = store(&full.url());
    let error = look(&store_of_full, "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy, "{}", error.what);
    assert!(error.what.contains("maxclients"), "{}", error.what);
    drop(other);
    until_back(&store_of_full).await;

    let mut loading = RedisServer::builder(ServerKind::Redis)
        .option("key-load-delay", "3000")
        .option("loading-process-events-interval-bytes", "1024")
        .start();
    loading.command(&["DEBUG", "POPULATE", "1000", "key", "200"]);
    loading.command(&["SAVE"]);
    loading.restart();
    let store_of_loading = store(&loading.url());
    let error = look(&store_of_loading, "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy, "{}", error.what);
    assert!(error.what.contains("LOADING"), "{}", error.what);
    until_back(&store_of_loading).await;
}

#[tokio::test]
async fn b30_restarted_server_costs_no_failure() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    // The first answer of a connection is an error, which is not why it is closed later.
    let name = names("busy").value;
    let busy = redis::cmd("GET").arg(&name).arg("too many").to_owned();
    assert!(matches!(
        store.command(&busy).await,
        Ok(redis::Value::ServerError(_))
    ));
    server.restart();
    for _ in 0..3 {
        assert_eq!(found(&store, "a").await, Found::Lease);
        server.restart();
    }
    assert_eq!(found(&store, "a").await, Found::Lease);
    server.kill();
    let error = look(&store, "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Connect, "{}", error.what);
    assert!(error.what.contains(&server.address()), "{}", error.what);
    assert_eq!(kind_of(look(&store, "a").await), StoreErrorKind::Down);
    server.restart();
    until_back(&store).await;
}

#[tokio::test]
async fn b30_paused_server_is_left_after_half_a_second_and_asked_again_later() {
    let server = RedisServer::start();
    let store = hasty_store(&server.url());
    assert_eq!(found(&store, "a").await, Found::Lease);
    server.pause();
    let started = std::time::Instant::now();
    let asked = (0..20).map(|_| look(&store, "a"));
    for result in futures_util::future::join_all(asked).await {
        let error = result.unwrap_err();
        assert!(
            matches!(error.kind, StoreErrorKind::Timeout | StoreErrorKind::Closed),
            "{}",
            error.what
        );
    }
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(kind_of(look(&store, "a").await), StoreErrorKind::Down);
    server.resume();
    until_back(&store).await;
    // It accepts connections, and never answers.
    server.pause();
    let fresh = hasty_store(&server.url());
    assert_eq!(kind_of(look(&fresh, "a").await), StoreErrorKind::Timeout);
    server.resume();
    until_back(&fresh).await;
}

#[tokio::test]
async fn b30_calls_share_one_connection_and_cancelled_ones_do_not_disturb_others() {
    let server = RedisServer::start();
    let store = store(&server.url());
    let connections = || {
        server
            .info("total_connections_received")
            .parse::<u32>()
            .unwrap()
    };
    let before = connections();
    let mut tasks = Vec::new();
    for number in 0..200_u32 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let part = format!("{number}");
            let names = names(&part);
            assert_eq!(found(&store, &part).await, Found::Lease);
            let entry = entry(number as u8, u64::from(number));
            store
                .publish(&names, &owner(1), &entry, KEEP)
                .await
                .unwrap();
            for _ in 0..10 {
                assert_eq!(found(&store, &part).await, Found::Entry(entry.clone()));
            }
        }));
    }
    let mut cancelled = 0;
    for (number, task) in tasks.into_iter().enumerate() {
        if number % 2 == 0 {
            task.abort();
            let ended = task.await;
            cancelled += u32::from(ended.is_err_and(|error| error.is_cancelled()));
            tokio::task::yield_now().await;
        } else {
            task.await.expect("a call got the answer of another one");
        }
    }
    assert!(cancelled > 0, "no call was cancelled");
    // One of them is the one that asks.
    assert_eq!(
        connections() - before,
        2,
        "more than one connection was made"
    );
    assert!(store.is_up());
}

#[tokio::test]
async fn b30_cancelled_caller_does_not_end_the_attempt_to_connect() {
    let server = RedisServer::start();
    let store = store(&server.url());
    let connections = || {
        server
            .info("total_connections_received")
            .parse::<u32>()
            .unwrap()
    };
    let before = connections();
    // Polled once, so that it has begun to connect.
    assert!(futures_util::FutureExt::now_or_never(look(&store, "a")).is_none());
    assert_eq!(found(&store, "a").await, Found::Lease);
    assert_eq!(connections() - before, 2, "connections that were made");
    // The caller that tries whether the store is back is cancelled: another one may try.
    PATIENCE.set(None);
    server.pause();
    assert_eq!(kind_of(look(&store, "a").await), StoreErrorKind::Timeout);
    server.resume();
    let started = std::time::Instant::now();
    while futures_util::FutureExt::now_or_never(look(&store, "a")).is_some() {
        assert!(started.elapsed() < MAX_WAIT, "nobody may try");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_back(&store).await;
}

#[tokio::test]
async fn b30_idle_connection_is_closed_after_10_seconds() {
    let server = RedisServer::start();
    let store = store(&server.url());
    let clients = || server.info("connected_clients").parse::<u32>().unwrap();
    assert_eq!(found(&store, "a").await, Found::Lease);
    let started = std::time::Instant::now();
    assert_eq!(clients(), 2, "with the one that asks");
    while clients() > 1 {
        assert!(started.elapsed() < MAX_WAIT, "the connection stays open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let idle = started.elapsed();
    assert!(idle > Duration::from_secs(9), "closed after {idle:?}");
    // The next call opens another one.
    assert_eq!(look(&store, "a").await.unwrap().found, Found::Lease);
    drop(store);
    while clients() > 1 {
        assert!(
            started.elapsed() < 2 * MAX_WAIT,
            "a dropped store keeps its connection"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn b13_forked_child_makes_a_connection_of_its_own() {
    let server = RedisServer::start();
    let store = store(&server.url());
    let clients = || server.info("connected_clients").parse::<u32>().unwrap();
    assert_eq!(found(&store, "a").await, Found::Lease);
    assert_eq!(clients(), 2, "connections to the server");
    crate::sys::fork::pretend::fork();
    assert_eq!(found(&store, "a").await, Found::Lease);
    assert_eq!(clients(), 3, "the child used the connection of its parent");
    drop(store);
}

#[tokio::test]
async fn b30_server_that_is_no_redis_or_sends_too_much_is_left() {
    use tokio::io::AsyncWriteExt as _;
    let big = format!("${}\r\n{}\r\n", 70_000, "x".repeat(70_000));
    let endless = format!("*2\r\n$5\r\nentry\r\n{}", ":1\r\n".repeat(50_000));
    let deep = "*1\r\n".repeat(10_000);
    for (answer, part_of_text) in [
        (&*big, "more than 64 KiB"),
        (&endless, ""),
        (&deep, "does not speak the protocol"),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "does not speak the protocol",
        ),
        ("*2\r\n$5\r\nentry\r\n$3\r\nabc\r\n", "not expected"),
        (
            "*4\r\n$4\r\nheld\r\n:1\r\n$-1\r\n$1\r\n1\r\n",
            "not expected",
        ),
        ("+OK\r\n", "not expected"),
        ("*0\r\n", "not expected"),
        ("-ERR canary\r\n", "the error ERR"),
        ("-canary\r\n", "the error unknown"),
        ("-MOVED 1 \r\n", "redirected"),
        ("-MOVED canary\r\n", "redirected"),
    ] {
        let answer = answer.to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut read).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            std::future::pending::<()>().await;
        });
        let store = store(&format!("redis://{address}"));
        let error = look(&store, "a").await.unwrap_err();
        assert!(error.what.contains(part_of_text), "{}", error.what);
        assert!(!error.what.contains("canary"), "{}", error.what);
        let kind = match part_of_text {
            "redirected" => StoreErrorKind::Moved,
            _ => StoreErrorKind::Protocol,
        };
        assert_eq!(error.kind, kind, "{}", error.what);
    }
}

/// A server that answers each command with these parts, one after the other.
async fn serve(listener: tokio::net::TcpListener, answer: Vec<String>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut read = vec![0; 8192];
            while let Ok(1..) = stream.read(&mut read).await {
                for part in &answer {
                    if stream.write_all(part.as_bytes()).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
}

const HELD: &str = "*4\r\n$4\r\nheld\r\n:1\r\n$-1\r\n:7\r\n";

#[tokio::test]
async fn b30_server_that_redirects_in_a_circle_drips_or_pushes_is_no_trouble() {
    let listen = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Each redirects to itself.
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let url = format!("redis://{address}");
    tokio::spawn(serve(listener, vec![format!("-MOVED 1 {address}\r\n")]));
    let error = look(&store(&url), "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Moved, "{}", error.what);
    // A byte in 20 ms: the whole answer would take 0.7 s.
    let listener = listen().await;
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let drip = HELD.chars().map(String::from).collect();
    tokio::spawn(serve(listener, drip));
    let error = look(&hasty_store(&url), "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Timeout, "{}", error.what);
    // Messages that nobody has asked for, between and before the answers.
    let listener = listen().await;
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
    tokio::spawn(serve(
        listener,
        vec![push.repeat(3), format!("{HELD}{push}")],
    ));
    let store = store(&url);
    for _ in 0..3 {
        let held = Found::Held(Some(Duration::from_millis(7)));
        assert_eq!(found(&store, "a").await, held);
    }
}

#[tokio::test]
async fn b30_cluster_is_used_through_any_of_its_nodes() {
    let node = || RedisServer::builder(ServerKind::Redis).cluster().start();
    let (first, mut second) = (node(), node());
    first.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    let error = look(&store(&first.url()), "down").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy, "{}", error.what);
    assert!(error.what.contains("CLUSTERDOWN"), "{}", error.what);
    second.command(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
    let bus = second.command(&["CONFIG", "GET", "cluster-port"]);
    let bus = match &bus {
        Reply::List(parts) => parts[1].text(),
        other => panic!("{other:?}"),
    };
    let port = second.port().to_string();
    let met = first.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    assert_eq!(met.text(), "OK");
    let started = std::time::Instant::now();
    let is_up = |server: &RedisServer| {
        server
            .command(&["CLUSTER", "INFO"])
            .text()
            .contains("cluster_state:ok")
    };
    while !(is_up(&first) && is_up(&second)) {
        assert!(started.elapsed() < MAX_WAIT, "the cluster did not form");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let store = store(&first.url());
    store_cases(&*store, "layerfi").await;
    for part in 0..40 {
        assert_eq!(found(&store, &format!("{part}")).await, Found::Lease);
    }
    let moved = || {
        let errors = first.command(&["INFO", "errorstats"]).text();
        let line = errors
            .lines()
            .find_map(|line| line.strip_prefix("errorstat_MOVED:count="));
        line.map_or(0, |count| count.trim().parse::<u32>().unwrap())
    };
    let redirects = moved();
    assert!(
        (10..=60).contains(&redirects),
        "{redirects} redirects for some 60 slots"
    );
    for part in 0..40 {
        assert_eq!(found(&store, &format!("{part}")).await, Found::Lease);
    }
    assert_eq!(
        moved(),
        redirects,
        "the nodes of the slots were not remembered"
    );

    // A slot that moves to another node is busy; the others are not.
    let part = (0..)
        .map(|number| format!("moving-{number}"))
        .find(|part| super::super::redis::slot(part) < 8192)
        .unwrap();
    let slot = super::super::redis::slot(&part).to_string();
    let id = |server: &RedisServer| server.command(&["CLUSTER", "MYID"]).text();
    second.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(&first)]);
    first.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(&second)]);
    let error = look(&store, &part).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Moved, "{}", error.what);
    assert!(error.what.contains("moving the key"), "{}", error.what);
    assert!(store.is_up());
    let _ = found(&store, "another").await;
    // It has arrived there: the next call is redirected.
    for server in [&second, &first] {
        server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(&second)]);
    }
    assert_eq!(found(&store, &part).await, Found::Lease);
    let there = second.command(&["CLUSTER", "COUNTKEYSINSLOT", &slot]);
    assert_eq!(there, Reply::Number(1), "the lease is not at the new node");
    // The node of a remembered slot is gone: the first one is asked again.
    second.kill();
    let error = look(&store, &part).await.unwrap_err();
    assert!(error.what.contains(&second.address()), "{}", error.what);
}

#[tokio::test]
async fn b30_failover_of_sentinel_moves_to_the_new_master() {
    let start = || RedisServer::builder(ServerKind::Redis);
    let mut master = start().password("canary").start();
    let replica = start()
        .password("canary")
        .option("masterauth", "canary")
        .replica_of(&master)
        .start();
    let sentinel = start().sentinel(&master, "main").start();
    // The first one never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "redis+sentinel://:canary@{},{}/main",
        silent.local_addr().unwrap(),
        sentinel.address()
    );
    let store = store(&url);
    store_cases(&*store, "sentinel").await;
    let wrong = self::store(&url.replace("/main", "/other"));
    let error = look(&wrong, "a").await.unwrap_err();
    assert!(
        error.what.contains("does not know the service"),
        "{}",
        error.what
    );

    // The Sentinel names another master, while the old one lives on as a replica.
    let port = replica.port().to_string();
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    sentinel.command(&["SENTINEL", "REMOVE", "main"]);
    sentinel.command(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]);
    sentinel.command(&["SENTINEL", "SET", "main", "auth-pass", "canary"]);
    sentinel.command(&["SENTINEL", "SET", "main", "down-after-milliseconds", "1000"]);
    sentinel.command(&["SENTINEL", "SET", "main", "failover-timeout", "5000"]);
    master.command(&["CONFIG", "SET", "masterauth", "canary"]);
    master.command(&["REPLICAOF", "127.0.0.1", &port]);
    assert_eq!(
        found(&store, "moved").await,
        Found::Lease,
        "it asked the old master"
    );
    assert_eq!(
        replica.command(&["EXISTS", &names("moved").lease]),
        Reply::Number(1)
    );
    assert!(store.is_up());

    // The master dies: the Sentinel makes the replica the master.
    let started = std::time::Instant::now();
    let is_known = || {
        let known = sentinel.command(&["SENTINEL", "MASTER", "main"]);
        known.has("num-slaves", "1") && master.info("master_link_status") == "up"
    };
    while !is_known() {
        assert!(
            started.elapsed() < MAX_WAIT,
            "the Sentinel found no replica"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut old = replica;
    old.kill();
    let mut failures = 0;
    while look(&store, "after").await.is_err() {
        failures += 1;
        assert!(
            started.elapsed() < 2 * MAX_WAIT,
            "no failover: {failures} failures"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        master.command(&["EXISTS", &names("after").lease]),
        Reply::Number(1)
    );
    master.kill();
}

#[tokio::test]
async fn b30_check_tells_latency_clock_rights_and_memory() {
    let rights = "~layerfi:1:* -@all +eval +get +set +del +pttl +time";
    for kind in ServerKind::ALL {
        let server = RedisServer::builder(kind)
            .option("maxmemory-policy", "volatile-ttl")
            .option("maxmemory", "100mb")
            .option("user", &format!("enough on >pw {rights}"))
            .option("user", &format!("keeper on >pw {rights} -del"))
            .option("user", &format!("reader on >pw {rights} -set"))
            .option("user", &format!("hasty on >pw {rights} -pttl"))
            .start();
        let checked = check(&store(&server.url()), "layerfi").await;
        assert_eq!(failure(&checked), "");
        assert_eq!(checked.server, server.address());
        assert!(checked.connected_in.is_some());
        assert!(checked.latency.is_some());
        let ahead = checked.clock_difference_ms.unwrap();
        assert!(
            ahead.abs() < 2_000,
            "its clock is this machine's, but {ahead} ms ahead"
        );
        assert_eq!(checked.eviction_policy.as_deref(), Some("volatile-ttl"));
        assert_eq!(checked.max_memory, Some(100 * 1024 * 1024));
        assert_eq!(checked.writes_to_disk, Some(false));
        let version = checked.version.unwrap();
        let expected = match kind {
            ServerKind::Redis => "redis ",
            ServerKind::Valkey => "valkey ",
        };
        assert!(version.starts_with(expected), "{version}");
        server.command(&["CONFIG", "SET", "appendonly", "yes"]);
        let checked = check(&store(&server.url()), "layerfi").await;
        assert_eq!(checked.writes_to_disk, Some(true));
        for (user, expected) in [
            ("enough", ""),
            ("keeper", "NOPERM"),
            ("reader", "NOPERM"),
            ("hasty", "NOPERM"),
            ("nobody", "WRONGPASS"),
        ] {
            let url = format!("redis://{user}:pw@{}", server.address());
            let checked = check(&store(&url), "layerfi").await;
            let why = failure(&checked);
            let is_right = why.contains(expected) && why.is_empty() == expected.is_empty();
            assert!(is_right, "{kind:?} {user}: {why}");
            assert_eq!(checked.eviction_policy, None, "INFO was not allowed");
        }
        let started = std::time::Instant::now();
        while server.command(&["DBSIZE"]) != Reply::Number(0) {
            assert!(started.elapsed() < MAX_WAIT, "the check left keys");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let nowhere = check(&store("redis://127.0.0.1:1"), "layerfi").await;
    assert_eq!(nowhere.server, "127.0.0.1:1");
    assert!(
        failure(&nowhere).contains("cannot connect"),
        "{}",
        failure(&nowhere)
    );
    assert!(nowhere.latency.is_none() && nowhere.connected_in.is_none());
}

fn failure(checked: &StoreCheck) -> String {
    match &checked.failure {
        None => String::new(),
        Some(StoreCheckFailure::Failed(error) | StoreCheckFailure::Refused(error)) => {
            error.what.to_string()
        }
    }
}

#[tokio::test]
async fn b30_answer_that_came_while_the_process_was_stopped_counts() {
    let server = RedisServer::start();
    let store = hasty_store(&server.url());
    for round in 0..5 {
        assert_eq!(found(&store, "a").await, Found::Lease);
        let mut asked = std::pin::pin!(look(&store, "a"));
        let first = futures_util::FutureExt::now_or_never(asked.as_mut());
        assert!(first.is_none(), "it was answered at once");
        // The connection sends the command.
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(600));
        let answer = asked.await;
        assert!(answer.is_ok(), "round {round}: {answer:?}");
    }
}
