//! TLS verification, TLS errors, and connection failures.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use layerfi_auth::{ClientBuilder, Error, ErrorKind};
use layerfi_auth_emulator::{Emulator, Endpoint, HttpVersions, TlsTrouble, TlsVersions};
use layerfi_auth_tests::{
    Authority, Canary, CuttableLink, MAX_WAIT, ReservedPort, TlsFront, accept, assert_requests,
    client_builder, emulator, eventually, multi_thread_runtime,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn over_tls() -> Emulator {
    Emulator::builder()
        .rate_limit(None)
        .tls(true)
        .start_blocking()
        .unwrap()
}

fn fails(builder: ClientBuilder) -> Error {
    // After the first failed verification the system's folders are read. If they have
    // more certificates than its bundle, there is another handshake.
    static FOLDERS: Once = Once::new();
    FOLDERS.call_once(|| drop(error_of(client_builder(&over_tls()).ca_pem(""))));
    error_of(builder)
}

fn error_of(builder: ClientBuilder) -> Error {
    let client = builder.build().unwrap();
    let runtime = multi_thread_runtime(1);
    runtime.block_on(client.token()).unwrap_err()
}

/// Asserts that the handshake failed, was not retried, and no request was sent; and
/// that the error has these parts, and no details of the TLS library.
#[track_caller]
fn assert_rejected(layer: &Emulator, error: &Error, parts: &[&str]) {
    assert_tls_error(error, parts);
    assert_requests(layer, &[]);
    assert_eq!(layer.counters().connections, 1, "the handshake was retried");
}

#[track_caller]
fn assert_tls_error(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Tls, "{text}");
    assert!(!error.is_retryable(), "retryable: {text}");
    for part in parts {
        assert!(
            text.contains(part),
            "the error does not say {part:?}: {text}"
        );
    }
    for detail in [
        "UNIX",
        "Context",
        "BadSignature",
        "UnknownIssuer",
        "DnsName",
        "Other",
    ] {
        assert!(
            !text.contains(detail),
            "{detail} tells a reader nothing: {text}"
        );
    }
    let source = std::error::Error::source(error).expect("no cause");
    assert!(source.is::<rustls::Error>(), "the cause is {source:?}");
}

#[test]
fn b22_certificate_of_an_unknown_authority_is_rejected() {
    let layer = over_tls();
    // Another emulator's authority has the same name but another key.
    let other = over_tls();
    let error = fails(client_builder(&layer).ca_pem(other.ca_pem().unwrap()));
    assert_rejected(&layer, &error, &["another key", "renewed", "set ca_file"]);
}

#[test]
fn b22_private_ca_is_rejected_unless_configured() {
    let layer = over_tls();
    let error = fails(client_builder(&layer).ca_pem(""));
    assert_rejected(
        &layer,
        &error,
        &["unknown authority", "0 of ca_file", "set ca_file"],
    );
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
    for (trouble, parts) in [
        (
            TlsTrouble::Expired,
            &["has expired: it was valid until", "clock"][..],
        ),
        (TlsTrouble::NotYetValid, &["is not valid yet", "clock"]),
        (
            TlsTrouble::WrongHost,
            &["valid for", "only", "check the host name"],
        ),
        (
            TlsTrouble::SelfSigned,
            &["unknown authority", "set ca_file"],
        ),
    ] {
        let layer = over_tls();
        layer.set_tls_trouble(Some(trouble)).unwrap();
        let error = fails(client_builder(&layer));
        assert_rejected(&layer, &error, parts);
        eventually(&layer, |now| now.tls_failures == 1);
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
        elapsed < MAX_WAIT,
        "two attempts with a connect timeout of 300 ms took {elapsed:?}"
    );
    // The emulator accepts a connection later than the client opens it.
    eventually(&layer, |now| now.connections == 2);
    assert_requests(&layer, &[]);
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
    let what = format!("the server at {} does not speak TLS", layer.address());
    assert_tls_error(&error, &[&what, "check the port", "plain HTTP"]);
    assert_eq!(layer.counters().connections, 1, "connections");
    assert_eq!(layer.count(Endpoint::Token), 0, "token requests");
}

#[test]
fn b22_error_says_what_is_wrong_with_a_certificate() {
    let layer = emulator();
    let authority = Authority::new();
    let server = |names: &[&str], change: fn(&mut rcgen::CertificateParams)| {
        authority.server_with(names, change)
    };
    for (config, parts) in [
        (
            server(&["127.0.0.1"], |params| {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2024, 2, 29);
            }),
            &[
                "the certificate of 127.0.0.1:",
                "has expired: it was valid until Thu, 29 Feb 2024 00:00:00 GMT",
                "this machine's clock says",
                "check the clock of this machine",
                "renew",
            ][..],
        ),
        (
            server(&["127.0.0.1"], |params| {
                params.not_before = rcgen::date_time_ymd(2123, 4, 5);
                params.not_after = rcgen::date_time_ymd(2124, 1, 1);
            }),
            &[
                "is not valid yet: it is valid from Mon, 05 Apr 2123 00:00:00 GMT",
                "check the clock of this machine",
            ],
        ),
        (
            server(&["layer.invalid", "*.layer.invalid", "192.0.2.1"], |_| {}),
            &[
                "is valid for layer.invalid, *.layer.invalid, 192.0.2.1 only",
                "check the host name in the URL",
            ],
        ),
        (
            Authority::new().server(&["127.0.0.1"]),
            &["another key", "if the private CA was renewed"],
        ),
        (
            server(&[], |_| {}),
            &[
                "has no subjectAltName",
                "with the host name as subjectAltName",
            ],
        ),
        (
            server(&["127.0.0.1"], |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }),
            &[
                "is not one of a server",
                "the extended key usage serverAuth",
            ],
        ),
        (
            authority.as_server(),
            &[
                "the certificate of an authority as its own",
                "create a certificate for the server",
            ],
        ),
    ] {
        let front = TlsFront::start(layer.address(), config);
        let error = fails(
            client_builder(&layer)
                .auth_url(format!("{}/oauth2/token", front.url()))
                .ca_pem(authority.pem()),
        );
        assert_tls_error(&error, parts);
    }
    assert_requests(&layer, &[]);
}

/// Starts a server that answers each connection with these bytes.
fn answering(answer: &'static [u8]) -> (std::net::SocketAddr, tokio::runtime::Runtime) {
    accept(move |mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(answer).await;
    })
}

#[test]
fn b22_error_says_what_the_server_does_not_support() {
    let layer = emulator();
    for (answer, parts) in [
        // A server with TLS 1.1 only: a fatal alert, protocol_version.
        (
            b"\x15\x03\x02\x00\x02\x02\x46",
            &["does not support TLS 1.2 or 1.3", "ask the server's owner"][..],
        ),
        // handshake_failure.
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            &[
                "no TLS cipher in common",
                "enable TLS 1.3",
                "client certificate",
            ],
        ),
        // unrecognized_name.
        (
            b"\x15\x03\x03\x00\x02\x02\x70",
            &["does not serve the name", "check the host"],
        ),
        // certificate_required.
        (
            b"\x15\x03\x03\x00\x02\x02\x74",
            &["client certificate", "check the host"],
        ),
        // internal_error.
        (
            b"\x15\x03\x03\x00\x02\x02\x50",
            &["handshake with 127.0.0.1:", "check that"],
        ),
        (b"SSH-2.0", &["does not speak TLS", "check the port"]),
    ] {
        let (address, _runtime) = answering(answer);
        let error = fails(client_builder(&layer).auth_url(format!("https://{address}/token")));
        assert_tls_error(&error, parts);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
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
            .timeout(Duration::from_secs(2)),
    );
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(canary.was_contacted(), "the client did not connect");
}

#[test]
fn b22_every_supported_version_of_tls_and_http_works() {
    let runtime = multi_thread_runtime(1);
    for tls in [TlsVersions::Both, TlsVersions::Tls12, TlsVersions::Tls13] {
        for (http, token, whoami) in [
            (HttpVersions::Both, "HTTP/1.1", "HTTP/2"),
            (HttpVersions::Http1, "HTTP/1.1", "HTTP/1.1"),
            // It refuses a connection that offers only HTTP/1.1.
            (HttpVersions::Http2, "HTTP/2", "HTTP/2"),
        ] {
            let layer = Emulator::builder()
                .tls(true)
                .tls_versions(tls)
                .http_versions(http)
                .start_blocking()
                .unwrap();
            let client = client_builder(&layer).build().unwrap();
            runtime.block_on(client.whoami()).unwrap();
            let versions: Vec<_> = layer.log().iter().map(|entry| entry.http_version).collect();
            assert_eq!(versions, [token, whoami], "{tls:?} {http:?}");
            assert_eq!(layer.counters().connections, 2, "{tls:?} {http:?}");
            assert_eq!(client.stats().retries, 0, "{tls:?} {http:?}: retries");
        }
    }
}

#[test]
fn b14_refused_connection_is_retried() {
    let layer = emulator();
    let closed = ReservedPort::new();
    let client = client_builder(&layer)
        .auth_url(format!("http://{}/oauth2/token", closed.address()))
        .max_attempts(3)
        .build()
        .unwrap();
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
            .attempt_timeout(Duration::from_secs(4))
            .max_attempts(2)
            .build()
            .unwrap();
        let runtime = multi_thread_runtime(1);
        runtime.block_on(client.whoami()).unwrap();
        let before = layer.counters().connections;
        let retries = client.stats().retries;
        link.cut();
        let result = runtime.block_on(client.whoami());
        result.unwrap_or_else(|error| panic!("{http:?}: {error}"));
        assert_eq!(client.stats().retries - retries, 1, "{http:?}: retries");
        let made = layer.counters().connections - before;
        assert_eq!(made, 1, "{http:?}: connections after the broken one");
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
    let remedy = "check the host name in the URL, and this machine's name servers; then retry";
    assert_eq!(error.remedy(), remedy, "{error}");
}
