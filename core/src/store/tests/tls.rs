//! Stores over TLS: servers, Sentinels, and servers that require client certificates.

use std::time::Duration;

use layerfi_auth_test_support::{MAX_WAIT, RedisServer, Reply, ServerKind};

use super::servers::{found, look, names, store, store_trusting};
use crate::store::cases::store_cases;
use crate::store::{Found, StoreErrorKind, TokenStore as _};

#[tokio::test]
async fn b25_store_over_tls_is_verified_with_the_own_authority() {
    let server = RedisServer::builder(ServerKind::Redis).tls().start();
    let ca = server.ca_pem().as_bytes();
    let by_address = store_trusting(&server.url(), ca);
    store_cases(&*by_address, "address").await;
    let by_name = format!("rediss://localhost:{}", server.port());
    store_cases(&*store_trusting(&by_name, ca), "name").await;
    // Another authority, and Mozilla's.
    let other = RedisServer::builder(ServerKind::Redis).tls().start();
    for (ca, authority) in [(other.ca_pem().as_bytes(), "another key"), (b"", "Mozilla")] {
        let error = look(&store_trusting(&server.url(), ca), "a")
            .await
            .unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Tls, "{}", error.what);
        assert!(error.what.contains(authority), "{}", error.what);
    }
    // A server without TLS, and a client without.
    let plain = RedisServer::start();
    let url = format!("rediss://{}", plain.address());
    let error = look(&store_trusting(&url, ca), "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Tls, "{}", error.what);
    let url = format!("redis://{}", server.address());
    let error = look(&store(&url), "a").await.unwrap_err();
    let expected = [StoreErrorKind::Closed, StoreErrorKind::Protocol];
    assert!(expected.contains(&error.kind), "{}", error.what);
}

#[tokio::test]
async fn b25_b30_sentinels_and_their_servers_are_used_over_tls() {
    let start = || RedisServer::builder(ServerKind::Redis).password("canary");
    let mut master = start().tls().start();
    let replica = start()
        .tls_as(&master)
        .option("masterauth", "canary")
        .replica_of(&master)
        .start();
    let sentinel = RedisServer::builder(ServerKind::Redis)
        .tls_as(&master)
        .sentinel(&master, "main")
        .start();
    let ca = master.ca_pem().as_bytes();
    let url = format!("rediss+sentinel://:canary@{}/main", sentinel.address());
    let store = store_trusting(&url, ca);
    store_cases(&*store, "sentinel").await;
    // Neither is believed without its authority.
    let error = look(&self::store(&url), "a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Tls, "{}", error.what);

    let started = std::time::Instant::now();
    let is_known = || {
        let known = sentinel.command(&["SENTINEL", "MASTER", "main"]);
        known.has("num-slaves", "1") && replica.info("master_link_status") == "up"
    };
    while !is_known() {
        assert!(
            started.elapsed() < MAX_WAIT,
            "the Sentinel found no replica"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    master.kill();
    while look(&store, "after").await.is_err() {
        assert!(started.elapsed() < 2 * MAX_WAIT, "no failover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lease = replica.command(&["EXISTS", &names("after").lease]);
    assert_eq!(
        lease,
        Reply::Number(1),
        "the lease is not at the new master"
    );
}

#[tokio::test]
async fn b25_b30_server_that_requires_a_client_certificate_is_told() {
    let server = RedisServer::builder(ServerKind::Redis)
        .tls()
        .require_client_certificate()
        .start();
    let ca = server.ca_pem().as_bytes();
    let with_password = format!("rediss://:canary@{}", server.address());
    for url in [server.url(), with_password] {
        let store = store_trusting(&url, ca);
        let error = look(&store, "a").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Tls, "{}", error.what);
        let says = error.what.contains("requires a client certificate");
        assert!(says && !error.what.contains("canary"), "{}", error.what);
        assert!(!store.is_up());
    }
    // One that would accept a certificate accepts clients without.
    let lenient = RedisServer::builder(ServerKind::Redis)
        .tls()
        .option("tls-auth-clients", "optional")
        .start();
    let store = store_trusting(&lenient.url(), lenient.ca_pem().as_bytes());
    assert_eq!(found(&store, "a").await, Found::Lease);
}
