//! Where credentials are sent, and limits for responses.

use std::time::{Duration, Instant};

use bytes::Bytes;
use layerfi_auth::{BusinessId, ErrorKind, SessionDuration};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Endpoint, Fault, Part, Wire,
};
use layerfi_auth_tests::{
    BUSINESS, Canary, MAX_WAIT, assert_requests, client, client_builder, emulator,
    multi_thread_runtime,
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
    assert!(!canary.was_contacted(), "a redirect was followed");
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::Whoami, 5)]);
}

#[test]
fn b19_token_is_sent_only_to_the_api_url() {
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
            // The other host was parsed as a path of the API.
            Ok(answer) => assert_eq!(answer.status(), 404, "{uri}"),
        }
    }
    assert!(!canary.was_contacted(), "another host got a request");
    let answer = client.execute(request(&format!("{own}/whoami"))).unwrap();
    assert_eq!(answer.status(), 200, "the status of the response");
}

#[test]
fn b19_execute_replaces_a_given_authorization_header() {
    let layer = emulator();
    let client = client_builder(&layer).build_blocking().unwrap();
    let mut request = request("/whoami");
    request
        .headers_mut()
        .insert("authorization", "Bearer forged".parse().unwrap());
    assert_eq!(
        client.execute(request).unwrap().status(),
        200,
        "the status of the response"
    );
    let token = client.token().unwrap();
    let log = layer.log();
    let authorization = log.last().unwrap().authorization.clone().unwrap();
    assert_eq!(authorization.scheme, "Bearer");
    assert_eq!(authorization.fingerprint, layer.fingerprint(token.secret()));
}

#[test]
fn b19_execute_rejects_a_response_above_the_size_limit() {
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
fn b19_slow_response_ends_at_the_callers_timeout() {
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
        let elapsed = started.elapsed();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(
            elapsed < MAX_WAIT,
            "a timeout of 400 ms ended the call after {elapsed:?}"
        );
    }
}

#[test]
fn b18_opaque_id_is_encoded_as_one_path_segment() {
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
    // A UUID is still parsed as a UUID.
    let upper = client.business_id(&BUSINESS.to_uppercase()).unwrap();
    assert_eq!(upper, BUSINESS.parse::<BusinessId>().unwrap());
}

#[test]
fn requests_match_layers_documentation() {
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
        panic!("the emulator received {} requests, expected 3", log.len());
    };
    let basic = base64::engine::general_purpose::STANDARD
        .encode(format!("{DEFAULT_CLIENT_ID}:{DEFAULT_CLIENT_SECRET}"));
    let authorization = token.authorization.as_ref().unwrap();
    assert_eq!(authorization.scheme, "Basic");
    assert_eq!(authorization.fingerprint, layer.fingerprint(&basic));
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
        // Without compression a small response cannot expand to a large one.
        assert!(
            !entry.headers.contains_key("accept-encoding"),
            "the client offers compression"
        );
        assert_eq!(
            entry.connection, token.connection,
            "the client used a second connection"
        );
    }
}

#[test]
fn b24_stats_count_every_event() {
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
    assert!(stats.failures.is_empty(), "failures: {:?}", stats.failures);

    client.business_token(&business).unwrap();
    client.business_token(&business).unwrap();
    client
        .mint_business_token(&business, SessionDuration::default())
        .unwrap();
    let stats = client.stats();
    assert_eq!((stats.mints, stats.business_tokens), (2, 1));

    assert!(client.invalidate(&token), "the token was not invalidated");
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
    assert!(
        !format!("{stats:?}").contains(token.secret()),
        "the statistics contain a token"
    );
}
