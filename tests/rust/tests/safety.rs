//! Where a credential may go, and how much of an answer is taken.

use std::time::{Duration, Instant};

use bytes::Bytes;
use layerfi_auth::{BusinessId, ErrorKind, SessionDuration};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Endpoint, Fault, Part, Wire,
};
use layerfi_auth_tests::{
    BUSINESS, Canary, assert_requests, client, client_builder, emulator, multi_thread_runtime,
};

fn request(uri: &str) -> http::Request<Bytes> {
    http::Request::get(uri).body(Bytes::new()).unwrap()
}

#[test]
fn b19_execute_follows_no_redirect() {
    let layer = emulator();
    let canary = Canary::new();
    let client = client_builder(&layer).build_blocking().unwrap();
    for status in [301, 302, 303, 307, 308] {
        layer
            .fault(
                Endpoint::Whoami,
                Fault::status(status).header("location", canary.url()),
            )
            .unwrap();
        let answer = client.execute(request("/whoami")).unwrap();
        assert_eq!(answer.status(), status);
    }
    assert!(!canary.was_contacted());
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 5)]);
}

#[test]
fn b19_the_token_goes_to_the_api_and_nowhere_else() {
    let layer = emulator();
    let canary = Canary::new();
    let client = client_builder(&layer).build_blocking().unwrap();
    let own = layer.url();
    for uri in [
        format!("{}/whoami", canary.url()),
        format!("{own}@{}/whoami", &canary.url()["http://".len()..]),
        format!("{}/whoami", own.replace("http://", "https://")),
        "http://layer.example/whoami".to_owned(),
        "//layer.example/whoami".to_owned(),
    ] {
        let Ok(request) = http::Request::get(&uri).body(Bytes::new()) else {
            continue;
        };
        match client.execute(request) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{uri}: {error}"),
            // Where the other host was read as a path of our own.
            Ok(answer) => assert_eq!(answer.status(), 404, "{uri}"),
        }
    }
    assert!(!canary.was_contacted());
    let answer = client.execute(request(&format!("{own}/whoami"))).unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn b19_execute_brings_its_own_authorization_only() {
    let layer = emulator();
    let client = client_builder(&layer).build_blocking().unwrap();
    let mut request = request("/whoami");
    request
        .headers_mut()
        .insert("authorization", "Bearer forged".parse().unwrap());
    assert_eq!(client.execute(request).unwrap().status(), 200);
    let token = client.token().unwrap();
    let log = layer.log();
    let mark = log.last().unwrap().authorization.clone().unwrap();
    assert_eq!(mark.scheme, "Bearer");
    assert_eq!(mark.fingerprint, layer.fingerprint(token.secret()));
}

#[test]
fn b19_what_execute_takes_is_bounded() {
    let layer = emulator();
    layer
        .fault(Endpoint::Whoami, Fault::default().pad_body_to(17 << 20))
        .unwrap();
    let client = client_builder(&layer).build_blocking().unwrap();
    let error = client.execute(request("/whoami")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("16384 KiB"), "{error}");
}

#[test]
fn b19_a_drip_ends_with_the_callers_time() {
    let layer = emulator();
    let drip = |part| {
        Fault::wire(Wire::Drip(layerfi_auth_emulator::Drip {
            part,
            every_ms: 20,
        }))
    };
    for part in [Part::Head, Part::Body] {
        layer.fault(Endpoint::Whoami, drip(part)).unwrap();
        let client = client(&layer).with_timeout(Duration::from_millis(400));
        let runtime = multi_thread_runtime(1);
        let started = Instant::now();
        let error = runtime.block_on(client.whoami()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(started.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn b18_an_opaque_id_is_one_segment_of_the_path() {
    let layer = emulator();
    let client = client_builder(&layer)
        .allow_opaque_business_ids(true)
        .build_blocking()
        .unwrap();
    let hour = SessionDuration::default();
    for (id, path) in [
        ("biz_1", "/v1/businesses/biz_1/auth-token"),
        ("a:b@c", "/v1/businesses/a%3Ab%40c/auth-token"),
        ("..a", "/v1/businesses/..a/auth-token"),
        ("a+b=c,d", "/v1/businesses/a%2Bb%3Dc%2Cd/auth-token"),
    ] {
        let business = client.business_id(id).unwrap();
        client.mint_business_token(&business, hour).unwrap_err();
        assert_eq!(layer.log().last().unwrap().path, path);
    }
    // A UUID stays one.
    let upper = client.business_id(&BUSINESS.to_uppercase()).unwrap();
    assert_eq!(upper, BUSINESS.parse::<BusinessId>().unwrap());
}

#[test]
fn what_is_sent_is_what_layer_documents() {
    use base64::Engine as _;

    let layer = emulator();
    let client = client_builder(&layer)
        .user_agent("my-service/1.2")
        .build_blocking()
        .unwrap();
    let business = BUSINESS.parse().unwrap();
    client.whoami().unwrap();
    client
        .mint_business_token(&business, SessionDuration::from_secs(900).unwrap())
        .unwrap();
    let log = layer.log();
    let [token, whoami, mint] = &log[..] else {
        panic!("{} requests", log.len());
    };
    let basic = base64::engine::general_purpose::STANDARD
        .encode(format!("{DEFAULT_CLIENT_ID}:{DEFAULT_CLIENT_SECRET}"));
    let mark = token.authorization.as_ref().unwrap();
    assert_eq!(mark.scheme, "Basic");
    assert_eq!(mark.fingerprint, layer.fingerprint(&basic));
    assert_eq!(token.method, "POST");
    assert_eq!(
        token.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!((&*whoami.method, &*whoami.path), ("GET", "/whoami"));
    assert_eq!(
        (&*mint.method, &*mint.path),
        ("POST", &*format!("/v1/businesses/{BUSINESS}/auth-token"))
    );
    assert_eq!(mint.headers["content-type"], "application/json");
    assert_eq!(mint.session_duration, Some(900));
    for entry in &log {
        assert_eq!(entry.headers["accept"], "application/json");
        let agent = &entry.headers["user-agent"];
        assert!(agent.starts_with("my-service/1.2 layerfi-auth/"), "{agent}");
        // Compression is not offered: a small answer could become a large one.
        assert!(!entry.headers.contains_key("accept-encoding"));
        // One connection for all of it.
        assert_eq!(entry.connection, token.connection);
    }
}

#[test]
fn b24_what_happened_is_counted() {
    let layer = emulator();
    layer
        .fault(Endpoint::Token, Fault::status(503).times(2))
        .unwrap();
    let client = client_builder(&layer).build_blocking().unwrap();
    let business: BusinessId = BUSINESS.parse().unwrap();
    assert_eq!(client.stats().expires_at, None);

    let token = client.token().unwrap();
    for _ in 0..10 {
        client.token().unwrap();
    }
    let stats = client.stats();
    assert_eq!(
        (
            stats.misses,
            stats.waits,
            stats.token_requests,
            stats.retries
        ),
        (1, 1, 3, 2)
    );
    assert_eq!(
        (stats.hits, stats.stale_serves, stats.refreshes),
        (10, 0, 0)
    );
    assert_eq!(stats.expires_at, Some(token.expires_at()));
    assert!(stats.failures.is_empty());

    client.business_token(&business).unwrap();
    client.business_token(&business).unwrap();
    client
        .mint_business_token(&business, SessionDuration::default())
        .unwrap();
    let stats = client.stats();
    assert_eq!((stats.mints, stats.business_tokens), (2, 1));

    assert!(client.invalidate(&token));
    layer
        .fault(
            Endpoint::Token,
            Fault::status(400).body(r#"{"error":"invalid_client"}"#),
        )
        .unwrap();
    client.token().unwrap_err();
    let stats = client.stats();
    assert_eq!(stats.invalidations, 1);
    assert_eq!(stats.failures, [(ErrorKind::OAuth, 1)]);
    assert_eq!(stats.expires_at, None);
    assert!(!format!("{stats:?}").contains(token.secret()));
}
