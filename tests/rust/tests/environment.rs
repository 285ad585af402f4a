//! Proxies, and settings from environment variables. Tests of variables run
//! `src/bin/env_probe.rs` in a separate process.
//!
//! The client uses no proxy for loopback, so the API has a host name that does not
//! resolve: it can be reached only through a proxy.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use layerfi_auth::{ClientBuilder, ErrorKind, TestClock};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint};
use layerfi_auth_tests::{
    Authority, Proxy, ReservedPort, TlsFront, accept, assert_requests, businesses, client_builder,
    emulator, wait_for,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

const API_URL: &str = "https://layer.invalid";
const AUTH_URL: &str = "https://layer.invalid/oauth2/token";

/// An emulator behind a certificate for `layer.invalid`.
struct Layer {
    emulator: Emulator,
    /// The address of the TLS server in front of the emulator.
    address: SocketAddr,
    ca_pem: String,
    _runtime: tokio::runtime::Runtime,
}

impl Layer {
    fn start() -> Self {
        let emulator = emulator();
        let certified = rcgen::generate_simple_self_signed(["layer.invalid".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let behind = emulator.address();
        let (address, runtime) = accept(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut client) = acceptor.accept(stream).await else {
                    return;
                };
                let mut server = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Self {
            emulator,
            address,
            ca_pem: certified.cert.pem(),
            _runtime: runtime,
        }
    }

    fn builder(&self) -> ClientBuilder {
        client_builder(&self.emulator)
            .api_url(API_URL)
            .auth_url(AUTH_URL)
            .ca_pem(self.ca_pem.as_str())
            .max_attempts(1)
    }

    /// Returns the probe's output with these variables and no others.
    fn probe(&self, changes: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, &self.ca_pem).unwrap();
        let mut variables = BTreeMap::from([
            ("LAYER_ENVIRONMENT", "custom"),
            ("LAYER_API_URL", API_URL),
            ("LAYER_AUTH_URL", AUTH_URL),
            ("LAYER_SCOPE", self.emulator.scope()),
            ("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID),
            ("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET),
            ("LAYER_CA_FILE", ca_file.to_str().unwrap()),
        ]);
        variables.extend(changes.iter().copied());
        let output = Command::new(env!("CARGO_BIN_EXE_env_probe"))
            .env_clear()
            .envs(variables)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "the probe failed: {text}");
        assert!(
            !text.contains(DEFAULT_CLIENT_SECRET),
            "the probe printed the secret"
        );
        text
    }
}

fn url(proxy: &Proxy) -> String {
    format!("http://{}", proxy.address())
}

fn assert_used(proxy: &Proxy) {
    let heads = proxy.request_heads();
    assert!(!heads.is_empty(), "the proxy received no request");
    for head in heads {
        assert!(
            head.starts_with("CONNECT layer.invalid:443 HTTP/1.1\r\n"),
            "{head}"
        );
        let head = head.to_lowercase();
        assert!(
            !head.contains("\r\nauthorization"),
            "the proxy received credentials of the API"
        );
    }
}

#[test]
fn configured_proxy_is_used_and_receives_no_credentials() {
    let layer = Layer::start();
    let proxy = Proxy::to(layer.address);
    let client = layer.builder().proxy(url(&proxy)).build_blocking().unwrap();
    client.whoami().unwrap();
    client.whoami().unwrap();
    assert_used(&proxy);
    assert_eq!(
        proxy.request_heads().len(),
        2,
        "tunnels, one for the token endpoint and one for the API"
    );
    assert_requests(
        &layer.emulator,
        &[(Endpoint::Token, 1), (Endpoint::Whoami, 2)],
    );
    assert!(
        !proxy.request_heads()[0]
            .to_lowercase()
            .contains("proxy-authorization"),
        "a proxy without credentials received some"
    );
}

#[test]
fn proxy_credentials_are_sent_to_the_proxy() {
    let layer = Layer::start();
    let proxy = Proxy::to(layer.address);
    let proxy_url = format!("http://user:p%40ss@{}", proxy.address());
    let client = layer.builder().proxy(proxy_url).build_blocking().unwrap();
    client.whoami().unwrap();
    assert_used(&proxy);
    assert_proxy_credentials(&proxy.request_heads()[0], "user:p@ss");
}

/// Asserts that the head has the credentials `user:password` for the proxy.
#[track_caller]
fn assert_proxy_credentials(head: &str, pair: &str) {
    let expected = base64::engine::general_purpose::STANDARD.encode(pair);
    assert!(
        head.lines().any(|line| line
            .to_lowercase()
            .starts_with("proxy-authorization: basic ")
            && line.ends_with(&expected)),
        "the proxy did not receive the credentials {pair:?}: {head}"
    );
}

#[test]
fn b14_answer_of_a_proxy_is_reported_with_its_status() {
    const WITHOUT: &str = "";
    const WITH: &str = "user:canary@";
    let layer = Layer::start();
    for (answer, credentials, is_retryable, shown) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            WITH,
            false,
            &[
                "HTTP 407",
                "did not accept",
                "check the user name and password",
                "NTLM",
            ][..],
        ),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            WITHOUT,
            false,
            &[
                "HTTP 407",
                "requires a user name",
                "http://user:password@host:port",
            ],
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\n\r\n",
            WITH,
            false,
            &["HTTP 401", "did not accept"],
        ),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            WITH,
            false,
            &["HTTP 403", "administrator"],
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", WITH, false, &["HTTP 404"]),
        (
            "HTTP/1.1 301 Moved\r\nlocation: x\r\n\r\n",
            WITH,
            false,
            &["HTTP 301"],
        ),
        (
            "HTTP/1.0 502 Bad Gateway\r\n\r\n",
            WITH,
            true,
            &["HTTP 502", "healthy"],
        ),
        (
            "HTTP/1.1 503 Unavailable\r\n\r\n",
            WITH,
            true,
            &["HTTP 503", "healthy"],
        ),
        (
            "HTTP/1.1 504 Timeout\r\n\r\n",
            WITH,
            true,
            &["HTTP 504", "healthy"],
        ),
        (
            "SSH-2.0-x\r\n\r\n",
            WITH,
            true,
            &["valid HTTP", "host and port"],
        ),
        ("", WITH, true, &["closed the connection"]),
    ] {
        let proxy = Proxy::rejecting(answer);
        let address = proxy.address();
        let attempts = 2;
        let client = layer
            .builder()
            .proxy(format!("http://{credentials}{address}"))
            .max_attempts(attempts)
            .build_blocking()
            .unwrap();
        let error = client.token().unwrap_err();
        let text = format!("{error} {error:?} {client:?}");
        assert_eq!(error.kind(), ErrorKind::Transport, "{answer:?}: {text}");
        assert_eq!(error.is_retryable(), is_retryable, "{answer:?}: {text}");
        assert_eq!(error.http_status(), None, "not Layer's status: {text}");
        assert!(text.contains("layer.invalid"), "{answer:?}: {text}");
        assert!(
            text.contains(&format!("proxy {address}"))
                || text.contains(&format!("{address}, the proxy")),
            "{answer:?}: {text}"
        );
        for part in shown {
            assert!(text.contains(part), "no {part:?} for {answer:?}: {text}");
        }
        assert!(!text.contains("canary"), "{answer:?}: {text}");
        let sent = client.stats().token_requests;
        let expected = if is_retryable { u64::from(attempts) } else { 1 };
        assert_eq!(sent, expected, "{answer:?}: attempts");
        let connects = proxy.request_heads().len() as u64;
        assert!(
            connects <= expected + 1,
            "{answer:?}: {connects} requests for {expected} attempts"
        );
    }
    assert_requests(&layer.emulator, &[]);
}

#[test]
fn b14_b22_proxy_with_tls_is_used_and_verified() {
    let layer = Layer::start();
    let authority = Authority::new();
    let both = format!("{}{}", layer.ca_pem, authority.pem());
    let over_tls =
        |proxy: &Proxy| TlsFront::start(proxy.address(), authority.server(&["127.0.0.1"]));
    let proxy = Proxy::to(layer.address);
    let front = over_tls(&proxy);
    let url = format!("https://user:pw@{}", front.address());
    let client = layer
        .builder()
        .ca_pem(&*both)
        .proxy(&url)
        .build_blocking()
        .unwrap();
    client.whoami().unwrap();
    assert_used(&proxy);
    assert_proxy_credentials(&proxy.request_heads()[0], "user:pw");

    // The certificate of the proxy is verified, and the error is about it.
    let client = layer.builder().proxy(&url).build_blocking().unwrap();
    let error = client.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let shown = format!("the certificate of the proxy {} is signed", front.address());
    assert!(error.to_string().contains(&shown), "{error}");

    let refusing = Proxy::rejecting("HTTP/1.1 403 Forbidden\r\n\r\n");
    let front = over_tls(&refusing);
    let url = format!("https://{}", front.address());
    let client = layer
        .builder()
        .ca_pem(&*both)
        .proxy(url)
        .build_blocking()
        .unwrap();
    let error = client.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert!(!error.is_retryable(), "retryable: {error}");
    assert!(error.to_string().contains("HTTP 403"), "{error}");

    // No TLS at all.
    let plain = format!("https://{}", refusing.address());
    let client = layer
        .builder()
        .ca_pem(&*both)
        .proxy(plain)
        .build_blocking()
        .unwrap();
    let text = client.token().unwrap_err().to_string();
    assert!(text.contains(&refusing.address().to_string()), "{text}");
}

#[test]
fn b14_unreachable_proxy_is_named_and_retried() {
    let layer = Layer::start();
    let reserved = ReservedPort::new();
    let closed = reserved.address();
    for (proxy, shown) in [
        (closed.to_string(), "Connection refused"),
        ("proxy.invalid:3128".to_owned(), ""),
    ] {
        let client = layer
            .builder()
            .proxy(format!("http://user:canary@{proxy}"))
            .build_blocking()
            .unwrap();
        let error = client.token().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
        assert!(error.is_retryable(), "not retryable: {error}");
        let text = format!("{error} {error:?}");
        let expected = format!("cannot connect to the proxy {proxy} for layer.invalid");
        assert!(text.contains(&expected) && text.contains(shown), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn b14_silent_proxy_is_named_and_retried() {
    let layer = Layer::start();
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let client = layer
        .builder()
        .proxy(format!("http://user:canary@{address}"))
        .connect_timeout(std::time::Duration::from_millis(200))
        .build_blocking()
        .unwrap();
    let error = client.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.is_retryable(), "not retryable: {error}");
    let text = format!("{error} {error:?}");
    let shown = format!("cannot connect to layer.invalid through the proxy {address} within 200ms");
    assert!(text.contains(&shown), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn b14_407_of_a_proxy_is_one_connect_per_call_and_then_a_quiet_time() {
    let layer = Layer::start();
    let proxy = Proxy::rejecting(
        "HTTP/1.1 407 Proxy Authentication Required\r\n\
         proxy-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n",
    );
    let clock = TestClock::new();
    let client = layer
        .builder()
        .proxy(format!("http://user:wrong@{}", proxy.address()))
        .max_attempts(4)
        .test_clock(clock.clone())
        .build_blocking()
        .unwrap();
    for _ in 0..20 {
        let error = client.token().unwrap_err();
        assert!(!error.is_retryable(), "retryable: {error}");
    }
    let connects = proxy.request_heads().len();
    assert_eq!(
        connects, 1,
        "wrong passwords sent by 20 calls at one moment"
    );
    wait_for("a request is sent after the quiet time", || {
        clock.advance(std::time::Duration::from_secs(61));
        client.token().unwrap_err();
        proxy.request_heads().len() > 1
    });
    let connects = proxy.request_heads().len();
    assert_eq!(connects, 2, "wrong passwords sent after the quiet time");
}

#[test]
fn b14_407_of_a_proxy_stops_the_calls_for_other_businesses() {
    let layer = Layer::start();
    let proxy =
        Proxy::rejecting("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    // The token endpoint is on loopback, and needs no proxy.
    let client = layer
        .builder()
        .auth_url(layer.emulator.token_url())
        .proxy(format!("http://user:wrong@{}", proxy.address()))
        .build_blocking()
        .unwrap();
    client.token().unwrap();
    let started = std::time::Instant::now();
    for business in businesses(100) {
        let error = client.business_token(&business).unwrap_err();
        assert!(!error.is_retryable(), "retryable: {error}");
        assert!(error.to_string().contains("HTTP 407"), "{error}");
    }
    let allowed = 1 + started.elapsed().as_secs();
    let connects = proxy.request_heads().len() as u64;
    assert!(
        connects <= allowed,
        "100 calls sent {connects} wrong passwords, and {allowed} are allowed"
    );
}

#[test]
fn b28_proxy_user_of_a_windows_domain_is_sent_with_its_backslash() {
    let layer = Layer::start();
    for user in ["DOMAIN\\user", "DOMAIN%5Cuser"] {
        let proxy = Proxy::to(layer.address);
        let proxy_url = format!("http://{user}:pw@{}", proxy.address());
        let printed = layer.probe(&[("HTTPS_PROXY", &proxy_url)]);
        assert!(printed.starts_with("ok "), "{user}: {printed}");
        assert_used(&proxy);
        assert_proxy_credentials(&proxy.request_heads()[0], "DOMAIN\\user:pw");
    }
}

#[test]
fn b28_proxy_variable_that_is_not_used_is_not_judged() {
    let layer = Layer::start();
    let proxy = Proxy::to(layer.address);
    let good = url(&proxy);
    let socks = "socks5://user:canary@127.0.0.1:1";
    for changes in [
        [("HTTPS_PROXY", &*good), ("ALL_PROXY", socks)],
        [("HTTPS_PROXY", &good), ("HTTP_PROXY", socks)],
    ] {
        let printed = layer.probe(&changes);
        assert!(printed.starts_with("ok "), "{changes:?}: {printed}");
    }
    for changes in [
        [("HTTPS_PROXY", socks), ("NO_PROXY", "*")],
        [("ALL_PROXY", socks), ("no_proxy", "layer.invalid:443")],
    ] {
        // Without a proxy the host name does not resolve.
        let printed = layer.probe(&changes);
        assert!(printed.starts_with("transport "), "{changes:?}: {printed}");
    }
    // Loopback needs no proxy.
    let local = [
        ("LAYER_API_URL", layer.emulator.url()),
        ("LAYER_AUTH_URL", layer.emulator.token_url()),
        ("LAYER_ALLOW_HTTP_LOOPBACK", "1".to_owned()),
        ("HTTPS_PROXY", socks.to_owned()),
        ("HTTP_PROXY", socks.to_owned()),
        ("ALL_PROXY", socks.to_owned()),
    ];
    let printed = layer.probe(&local.each_ref().map(|(name, value)| (*name, &**value)));
    assert!(printed.starts_with("ok "), "loopback: {printed}");
    for name in ["HTTPS_PROXY", "all_proxy"] {
        let printed = layer.probe(&[(name, socks)]);
        assert!(printed.starts_with("config proxy "), "{name}: {printed}");
        assert!(
            printed.contains(&format!("{name} is a socks5:// URL")),
            "{name}: {printed}"
        );
        assert!(
            !printed.contains("canary"),
            "{name}: the error shows the value"
        );
    }
}

#[test]
fn b22_tls_is_verified_through_a_proxy() {
    let layer = Layer::start();
    let other = Layer::start();
    let proxy = Proxy::to(other.address);
    let client = layer.builder().proxy(url(&proxy)).build_blocking().unwrap();
    let error = client.token().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert_requests(&other.emulator, &[]);
}

#[test]
fn loopback_is_never_reached_through_a_proxy() {
    let emulator = emulator();
    let proxy = Proxy::rejecting("HTTP/1.1 502 Bad Gateway\r\n\r\n");
    for host in ["127.0.0.1", "localhost"] {
        let local = |url: String| url.replace("127.0.0.1", host);
        let client = client_builder(&emulator)
            .api_url(local(emulator.url()))
            .auth_url(local(emulator.token_url()))
            .proxy(url(&proxy))
            .build_blocking()
            .unwrap();
        client.whoami().unwrap();
    }
    assert!(
        proxy.request_heads().is_empty(),
        "the proxy received a request"
    );
}

#[test]
fn proxy_variables_of_the_environment_are_used() {
    let layer = Layer::start();
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = Proxy::to(layer.address);
        let printed = layer.probe(&[(name, &url(&proxy))]);
        assert!(printed.starts_with("ok "), "{name}: {printed}");
        assert_used(&proxy);
        // Without a scheme, a common form.
        let printed = layer.probe(&[(name, &proxy.address().to_string())]);
        assert!(printed.starts_with("ok "), "{name}: {printed}");
    }
}

#[test]
fn b28_hosts_in_no_proxy_are_reached_directly() {
    let layer = Layer::start();
    let proxy = Proxy::to(layer.address);
    let proxy_url = url(&proxy);
    for changes in [
        &[("HTTPS_PROXY", &*proxy_url), ("NO_PROXY", "layer.invalid")][..],
        &[("HTTPS_PROXY", &proxy_url), ("no_proxy", ".invalid")],
        &[("HTTPS_PROXY", &proxy_url), ("NO_PROXY", "*")],
        &[("HTTPS_PROXY", &proxy_url), ("NO_PROXY", "*.invalid")],
        &[
            ("HTTPS_PROXY", &proxy_url),
            ("NO_PROXY", "layer.invalid:443"),
        ],
        &[
            ("HTTPS_PROXY", &proxy_url),
            ("NO_PROXY", "a;b layer.invalid."),
        ],
        // Only for http:// URLs.
        &[("HTTP_PROXY", &proxy_url)],
        &[],
    ] {
        // Without the proxy the host name does not resolve.
        let printed = layer.probe(changes);
        assert!(printed.starts_with("transport "), "{changes:?}: {printed}");
        assert!(!printed.contains("proxy"), "{changes:?}: {printed}");
    }
    assert!(
        proxy.request_heads().is_empty(),
        "the proxy received a request"
    );
    for list in ["layer.invalid:8443", "ayer.invalid", "10.*"] {
        let changes = [("HTTPS_PROXY", &*proxy_url), ("NO_PROXY", list)];
        let printed = layer.probe(&changes);
        assert!(printed.starts_with("ok "), "{list}: {printed}");
    }
}

#[test]
fn error_names_the_invalid_variable() {
    let layer = Layer::start();
    for (name, value, field) in [
        ("LAYER_ENVIRONMENT", "", "environment"),
        ("LAYER_ENVIRONMENT", "staging", "environment"),
        ("LAYER_CLIENT_ID", "", "client_id"),
        ("LAYER_CLIENT_SECRET", "", "client_secret"),
        ("LAYER_CLIENT_SECRET_FILE", "/nonexistent", "client_secret"),
        ("LAYER_API_URL", "http://layer.example", "api_url"),
        ("LAYER_AUTH_URL", "http://127.0.0.1:9/", "auth_url"),
        ("LAYER_SCOPE", "", "scope"),
        ("LAYER_CA_FILE", "/nonexistent", "ca_file"),
        ("LAYER_TRUST", "System", "trust"),
        ("LAYER_SHARED_CACHE", "http://:canary@h", "shared_cache"),
        ("LAYER_ALLOW_HTTP_LOOPBACK", "maybe", "allow_http_loopback"),
        ("HTTPS_PROXY", "ftp://user:canary@h", "proxy"),
        ("HTTPS_PROXY", "http://user:canary@h:x", "proxy"),
    ] {
        let printed = layer.probe(&[(name, value)]);
        assert!(
            printed.starts_with(&format!("config {field} ")),
            "{name}: {printed}"
        );
        assert!(
            !printed.contains("canary"),
            "{name}: a password was printed"
        );
    }
    assert_requests(&layer.emulator, &[]);
}

#[test]
fn secret_file_replaces_the_secret_variable() {
    let layer = Layer::start();
    let proxy = Proxy::to(layer.address);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{DEFAULT_CLIENT_SECRET}\n")).unwrap();
    let printed = layer.probe(&[
        ("HTTPS_PROXY", &url(&proxy)),
        ("LAYER_CLIENT_SECRET", ""),
        ("LAYER_CLIENT_SECRET_FILE", file.to_str().unwrap()),
    ]);
    assert!(printed.starts_with("ok "), "{printed}");
}

/// It sets the stack of all threads whose program does not say another one.
#[test]
fn b28_stack_size_of_other_threads_is_not_ours() {
    let layer = Layer::start();
    let proxy = Proxy::to(layer.address);
    let https_proxy = url(&proxy);
    for size in ["1", "70368744177664", "not a number"] {
        let outcome = layer.probe(&[("HTTPS_PROXY", &https_proxy), ("RUST_MIN_STACK", size)]);
        assert!(
            outcome.starts_with("ok "),
            "RUST_MIN_STACK={size}: {outcome}"
        );
    }
}
