//! TLS is verified always, and its failures are told apart from a network's.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerfi_auth::{ClientBuilder, Error, ErrorKind};
use layerfi_auth_emulator::{Emulator, Endpoint, HttpVersions, TlsTrouble, TlsVersions};
use layerfi_auth_tests::{
    Canary, CuttableLink, MAX_WAIT, assert_requests, client_builder, emulator, eventually,
    multi_thread_runtime,
};

fn over_tls() -> Emulator {
    Emulator::builder()
        .rate_limit(None)
        .tls(true)
        .start_blocking()
        .unwrap()
}

fn fails(builder: ClientBuilder) -> Error {
    let client = builder.build().unwrap();
    let runtime = multi_thread_runtime(1);
    runtime.block_on(client.token()).unwrap_err()
}

/// A handshake that failed for good: one connection, and no request.
#[track_caller]
fn assert_refused(layer: &Emulator, error: &Error, why: &str) {
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(!error.is_retryable());
    assert!(error.to_string().to_lowercase().contains(why), "{error}");
    assert!(error.to_string().contains("LAYER_CA_FILE"), "{error}");
    assert_requests(layer, &[]);
    assert_eq!(layer.counters().connections, 1, "it was tried again");
}

#[test]
fn b22_an_unknown_authority_is_refused() {
    let layer = over_tls();
    // Another emulator's authority is no help, though it bears the same name.
    let other = over_tls();
    let error = fails(client_builder(&layer).ca_pem(other.ca_pem().unwrap()));
    assert_refused(&layer, &error, "badsignature");
}

#[test]
fn b22_the_systems_authorities_alone_are_not_enough_for_an_own_one() {
    let layer = over_tls();
    let error = fails(client_builder(&layer).ca_pem(""));
    assert_refused(&layer, &error, "unknownissuer");
}

#[test]
fn b22_an_own_authority_is_accepted_as_text_and_as_file() {
    let layer = over_tls();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    layer.write_ca_pem(&file).unwrap();
    let runtime = multi_thread_runtime(1);
    for builder in [
        client_builder(&layer),
        client_builder(&layer).ca_pem("").ca_file(&file),
    ] {
        // No word of plain HTTP is needed here.
        let client = builder.allow_http_loopback(false).build().unwrap();
        runtime.block_on(client.whoami()).unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b22_a_bad_certificate_is_refused_and_not_tried_again() {
    for (trouble, why) in [
        (TlsTrouble::Expired, "expired"),
        (TlsTrouble::NotYetValid, "not valid yet"),
        (TlsTrouble::WrongHost, "not valid for name"),
        (TlsTrouble::SelfSigned, "unknownissuer"),
    ] {
        let layer = over_tls();
        layer.set_tls_trouble(Some(trouble)).unwrap();
        let error = fails(client_builder(&layer));
        assert_refused(&layer, &error, why);
        eventually(&layer, |now| now.tls_failures == 1);
    }
}

#[test]
fn b22_a_bad_certificate_that_was_replaced_is_forgotten() {
    let layer = over_tls();
    layer.set_tls_trouble(Some(TlsTrouble::Expired)).unwrap();
    let clock = layerfi_auth::TestClock::new();
    let client = client_builder(&layer)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    assert_eq!(client.token().unwrap_err().kind(), ErrorKind::Tls);
    layer.set_tls_trouble(None).unwrap();
    clock.advance(Duration::from_secs(2));
    client.token().unwrap();
}

#[test]
fn b22_a_handshake_that_stalls_is_a_timeout() {
    let layer = over_tls();
    layer
        .set_tls_trouble(Some(TlsTrouble::HandshakeStall))
        .unwrap();
    let started = Instant::now();
    let error = fails(
        client_builder(&layer)
            .connect_timeout(Duration::from_millis(300))
            .max_attempts(2),
    );
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.is_retryable());
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_requests(&layer, &[]);
    assert_eq!(layer.counters().connections, 2);
}

#[test]
fn b22_plain_http_on_the_tls_port_is_refused() {
    let layer = emulator();
    let https = |url: String| url.replace("http://", "https://");
    let error = fails(
        client_builder(&layer)
            .api_url(https(layer.url()))
            .auth_url(https(layer.token_url())),
    );
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(!error.is_retryable());
    assert_eq!(layer.counters().connections, 1);
    assert_eq!(layer.count(Endpoint::Token), 0);
}

#[test]
fn b22_tls_is_not_dropped_where_nobody_speaks_it() {
    // A listener that accepts and says nothing.
    let canary = Canary::new();
    let layer = emulator();
    let url = canary.url().replace("http://", "https://");
    let error = fails(
        client_builder(&layer)
            .auth_url(format!("{url}/oauth2/token"))
            .max_attempts(1)
            .timeout(Duration::from_millis(400)),
    );
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(canary.was_contacted());
}

#[test]
fn b22_every_version_of_tls_and_http_is_spoken() {
    let runtime = multi_thread_runtime(1);
    for tls in [TlsVersions::Both, TlsVersions::Tls12, TlsVersions::Tls13] {
        for (http, expected) in [
            (HttpVersions::Both, "HTTP/2"),
            (HttpVersions::Http1, "HTTP/1.1"),
            (HttpVersions::Http2, "HTTP/2"),
        ] {
            let layer = Emulator::builder()
                .tls(true)
                .tls_versions(tls)
                .http_versions(http)
                .start_blocking()
                .unwrap();
            let client = client_builder(&layer).build().unwrap();
            runtime.block_on(client.whoami()).unwrap();
            for entry in layer.log() {
                assert_eq!(entry.http_version, expected, "{tls:?} {http:?}");
            }
            assert_eq!(layer.counters().connections, 1, "{tls:?} {http:?}");
        }
    }
}

#[test]
fn b14_a_connection_that_cannot_be_made_is_tried_again() {
    // A port that was free a moment ago.
    let layer = emulator();
    let (api, auth) = (layer.url(), layer.token_url());
    let builder = client_builder(&layer).api_url(api).auth_url(auth);
    drop(layer);
    let client = builder.max_attempts(3).build().unwrap();
    let runtime = multi_thread_runtime(1);
    let error = runtime.block_on(client.token()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("after 3 attempts"), "{error}");
    assert_eq!(client.stats().token_requests, 3);
}

#[test]
fn b14_a_connection_that_went_dead_is_not_used_again() {
    // HTTP/2 puts all requests on one connection; HTTP/1.1 leaves one that failed.
    for http in [HttpVersions::Http2, HttpVersions::Http1] {
        let layer = Emulator::builder()
            .tls(true)
            .http_versions(http)
            .start_blocking()
            .unwrap();
        let link = CuttableLink::to(layer.address());
        let url = format!("https://{}", link.address());
        let client = client_builder(&layer)
            .api_url(&url)
            .auth_url(format!("{url}/oauth2/token"))
            .attempt_timeout(Duration::from_millis(500))
            .max_attempts(2)
            .build()
            .unwrap();
        let runtime = multi_thread_runtime(1);
        runtime.block_on(client.whoami()).unwrap();
        link.cut();
        let healed = runtime.block_on(client.whoami());
        healed.unwrap_or_else(|error| panic!("{http:?}: {error}"));
        assert_eq!(client.stats().retries, 1, "{http:?}");
        // The one that went dead, and the one after it.
        assert_eq!(layer.counters().connections, 2, "{http:?}");
    }
}

/// A server of HTTP/2 that says goodbye to every connection, in words of its own.
fn saying_goodbye(words: &'static [u8]) -> (std::net::SocketAddr, String) {
    let name = vec!["127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(name).unwrap();
    let key = own.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let config = Arc::new(config);
        // Ends with the test's process; each connection has its time.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
            let mut tls = tokio_rustls::rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = tokio_rustls::rustls::Stream::new(&mut tls, &mut stream);
            // SETTINGS, and GOAWAY with PROTOCOL_ERROR and debug data (RFC 9113, section 6.8).
            let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
            frames.extend([0, 0, 8 + words.len() as u8, 7, 0, 0, 0, 0, 0]);
            frames.extend([0, 0, 0, 0, 0, 0, 0, 1]);
            frames.extend(words);
            let _ = tls.write_all(&frames);
            let _ = tls.read_to_end(&mut Vec::new());
        }
    });
    (address, own.cert.pem())
}

#[test]
fn b20_a_goodbye_of_http_2_is_not_quoted() {
    let (address, ca) = saying_goodbye(b"canary says goodbye");
    let layer = emulator();
    let error = fails(
        client_builder(&layer)
            .auth_url(format!("https://{address}/oauth2/token"))
            .ca_pem(ca)
            .max_attempts(1),
    );
    assert_eq!(error.kind(), ErrorKind::Transport, "{:?}", error.kind());
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("http2 error"), "{:?}", error.kind());
    assert!(!shown.contains("canary"), "the server is quoted");
}

#[test]
fn b14_a_name_that_does_not_resolve_is_a_transport_failure() {
    let layer = emulator();
    let error = fails(
        client_builder(&layer)
            .auth_url("https://layer.invalid/oauth2/token")
            .max_attempts(1),
    );
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert!(error.to_string().contains("layer.invalid"), "{error}");
}
