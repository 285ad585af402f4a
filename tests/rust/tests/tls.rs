//! TLS verification, TLS errors, and connection failures.

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

/// Asserts that the handshake failed, was not retried, and no request was sent.
#[track_caller]
fn assert_rejected(layer: &Emulator, error: &Error, why: &str) {
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(!error.is_retryable(), "retryable: {error}");
    assert!(
        error.to_string().to_lowercase().contains(why),
        "the error does not say {why}: {error}"
    );
    assert!(
        error.to_string().contains("LAYER_CA_FILE"),
        "the error names no setting: {error}"
    );
    assert_requests(layer, &[]);
    // After an unknown issuer, the trusted certificates are read again, rationed, and
    // the handshake is repeated once.
    let connections = layer.counters().connections;
    let most = if why == "unknownissuer" { 2 } else { 1 };
    assert!(
        (1..=most).contains(&connections),
        "the handshake was retried: {connections} connections"
    );
}

#[test]
fn b22_certificate_of_an_unknown_authority_is_rejected() {
    let layer = over_tls();
    // Another emulator's authority has the same name but another key.
    let other = over_tls();
    let error = fails(client_builder(&layer).ca_pem(other.ca_pem().unwrap()));
    assert_rejected(&layer, &error, "badsignature");
}

#[test]
fn b22_private_ca_is_rejected_unless_configured() {
    let layer = over_tls();
    let error = fails(client_builder(&layer).ca_pem(""));
    assert_rejected(&layer, &error, "unknownissuer");
}

#[test]
fn b22_private_ca_is_accepted_as_text_and_as_file() {
    let layer = over_tls();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    layer.write_ca_pem(&file).unwrap();
    let runtime = multi_thread_runtime(1);
    for builder in [
        client_builder(&layer),
        client_builder(&layer).ca_pem("").ca_file(&file),
    ] {
        let client = builder.allow_http_loopback(false).build().unwrap();
        runtime.block_on(client.whoami()).unwrap();
    }
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

#[test]
fn b22_invalid_certificate_is_rejected_without_a_retry() {
    for (trouble, why) in [
        (TlsTrouble::Expired, "expired"),
        (TlsTrouble::NotYetValid, "not valid yet"),
        (TlsTrouble::WrongHost, "not valid for name"),
        (TlsTrouble::SelfSigned, "unknownissuer"),
    ] {
        let layer = over_tls();
        layer.set_tls_trouble(Some(trouble)).unwrap();
        let error = fails(client_builder(&layer));
        assert_rejected(&layer, &error, why);
        eventually(&layer, |now| now.tls_failures == now.connections);
    }
}

#[test]
fn b22_client_recovers_after_an_invalid_certificate_is_replaced() {
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
fn b22_stalled_handshake_is_a_timeout() {
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
    assert!(error.is_retryable(), "not retryable: {error}");
    let elapsed = started.elapsed();
    assert!(
        elapsed < Duration::from_secs(20),
        "two attempts with a connect timeout of 300 ms took {elapsed:?}"
    );
    assert_requests(&layer, &[]);
    assert_eq!(layer.counters().connections, 2, "connections");
}

#[test]
fn b22_plain_http_server_on_an_https_url_is_rejected() {
    let layer = emulator();
    let https = |url: String| url.replace("http://", "https://");
    let error = fails(
        client_builder(&layer)
            .api_url(https(layer.url()))
            .auth_url(https(layer.token_url())),
    );
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(!error.is_retryable(), "retryable: {error}");
    assert_eq!(layer.counters().connections, 1, "connections");
    assert_eq!(layer.count(Endpoint::Token), 0, "token requests");
}

#[test]
fn b22_silent_server_on_an_https_url_is_a_timeout() {
    // A listener that accepts connections but sends nothing.
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
    assert!(canary.was_contacted(), "the client did not connect");
}

#[test]
fn b22_every_supported_version_of_tls_and_http_works() {
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
fn b14_refused_connection_is_retried() {
    // The port of a stopped emulator.
    let layer = emulator();
    let (api, auth) = (layer.url(), layer.token_url());
    let builder = client_builder(&layer).api_url(api).auth_url(auth);
    drop(layer);
    let client = builder.max_attempts(3).build().unwrap();
    let runtime = multi_thread_runtime(1);
    let error = runtime.block_on(client.token()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert!(error.is_retryable(), "not retryable: {error}");
    assert!(error.to_string().contains("after 3 attempts"), "{error}");
    assert_eq!(client.stats().token_requests, 3, "attempts");
}

#[test]
fn b14_dead_connection_is_replaced_after_one_attempt() {
    // HTTP/2 sends all requests on one connection; HTTP/1.1 closes a failed one.
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
            .attempt_timeout(Duration::from_secs(2))
            .max_attempts(2)
            .build()
            .unwrap();
        let runtime = multi_thread_runtime(1);
        runtime.block_on(client.whoami()).unwrap();
        link.cut();
        let result = runtime.block_on(client.whoami());
        result.unwrap_or_else(|error| panic!("{http:?}: {error}"));
        assert_eq!(client.stats().retries, 1, "{http:?}: retries");
        // The broken connection and its replacement.
        assert_eq!(layer.counters().connections, 2, "{http:?}: connections");
    }
}

/// Starts an HTTP/2 server that answers every connection with GOAWAY and this debug
/// data. Returns its address and its certificate.
fn goaway_server(debug_data: &'static [u8]) -> (std::net::SocketAddr, String) {
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
        // The thread ends with the process; each connection has a read timeout.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
            let mut tls = tokio_rustls::rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = tokio_rustls::rustls::Stream::new(&mut tls, &mut stream);
            // SETTINGS, and GOAWAY with PROTOCOL_ERROR and debug data (RFC 9113, section 6.8).
            let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
            frames.extend([0, 0, 8 + debug_data.len() as u8, 7, 0, 0, 0, 0, 0]);
            frames.extend([0, 0, 0, 0, 0, 0, 0, 1]);
            frames.extend(debug_data);
            let _ = tls.write_all(&frames);
            let _ = tls.read_to_end(&mut Vec::new());
        }
    });
    (address, own.cert.pem())
}

#[test]
fn b20_http2_goaway_text_is_not_in_the_error() {
    let (address, ca) = goaway_server(b"canary says goodbye");
    let layer = emulator();
    let error = fails(
        client_builder(&layer)
            .auth_url(format!("https://{address}/oauth2/token"))
            .ca_pem(ca)
            .max_attempts(1),
    );
    assert_eq!(error.kind(), ErrorKind::Transport, "{:?}", error.kind());
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("http2 error"),
        "the error does not mention HTTP/2: {:?}",
        error.kind()
    );
    assert!(
        !shown.contains("canary"),
        "the error contains text from the server"
    );
}

#[test]
fn b14_unresolvable_host_name_is_a_transport_error() {
    let layer = emulator();
    let error = fails(
        client_builder(&layer)
            .auth_url("https://layer.invalid/oauth2/token")
            .max_attempts(1),
    );
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert!(error.to_string().contains("layer.invalid"), "{error}");
}
