//! A proxy that others wrote: tinyproxy. `make setup` installs it.
//!
//! It listens on loopback, and reaches `layer.invalid` through a second proxy of the
//! tests, because the name does not resolve.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use layerfi_auth::{ClientBuilder, ErrorKind};
use layerfi_auth_emulator::Emulator;
use layerfi_auth_tests::{
    Authority, Proxy, TlsFront, Watchdog, client_builder, emulator, wait_for,
};
use tempfile::TempDir;

/// tinyproxy, stopped on drop.
struct Tinyproxy {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
    _watchdog: Watchdog,
}

impl Tinyproxy {
    /// Starts it with these additional lines of configuration.
    fn start(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The port is free again when the listener is dropped, and another program
        // may take it. Then tinyproxy ends, and another port is tried.
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let file = folder.path().join("tinyproxy.conf");
            let filter = folder.path().join("filter");
            fs::write(&filter, "^layer\\.invalid$\n").unwrap();
            let lines = lines.replace("FILTER", filter.to_str().unwrap());
            let port = address.port();
            let fixed = format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\n");
            fs::write(&file, format!("{fixed}LogLevel Error\n{lines}\n")).unwrap();
            let mut child = Command::new("tinyproxy")
                .args(["-d", "-c"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("tinyproxy is missing; run `make setup`");
            let mut listens = false;
            wait_for("tinyproxy listens or ends", || {
                listens = TcpStream::connect(address).is_ok();
                listens || child.try_wait().unwrap().is_some()
            });
            if listens && child.try_wait().unwrap().is_none() {
                let watchdog = Watchdog::new(child.id(), 3 * layerfi_auth_tests::MAX_WAIT);
                return Self {
                    address,
                    child,
                    _folder: folder,
                    _watchdog: watchdog,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("tinyproxy does not start with: {lines}");
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn builder(layer: &Emulator, authority: &Authority, proxy: &str) -> ClientBuilder {
    client_builder(layer)
        .api_url("https://layer.invalid")
        .auth_url("https://layer.invalid/oauth2/token")
        .ca_pem(authority.pem())
        .proxy(proxy)
        .max_attempts(2)
}

#[test]
fn b14_tinyproxy_with_a_password_is_used() {
    let layer = emulator();
    let authority = Authority::new();
    let front = TlsFront::start(layer.address(), authority.server(&["layer.invalid"]));
    let upstream = Proxy::to(front.address());
    let proxy = Tinyproxy::start(&format!(
        "BasicAuth user pass\nConnectPort 443\nUpstream http {}",
        upstream.address()
    ));
    let address = proxy.address;
    let right = format!("http://user:p%61ss@{address}");
    let client = builder(&layer, &authority, &right)
        .build_blocking()
        .unwrap();
    client.whoami().unwrap();
    // To the token endpoint and to the API.
    assert_eq!(upstream.request_heads().len(), 2, "tunnels");

    // tinyproxy answers 401 to a wrong password.
    for (credentials, status, shown) in [
        ("user:canary@", 401, "did not accept the user name"),
        ("", 407, "requires a user name"),
    ] {
        let wrong = format!("http://{credentials}{address}");
        let client = builder(&layer, &authority, &wrong)
            .build_blocking()
            .unwrap();
        let error = client.token().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Transport, "{text}");
        assert!(!error.is_retryable(), "retryable: {text}");
        for part in [
            &format!("HTTP {status}"),
            &format!("the proxy {address}"),
            shown,
        ] {
            assert!(text.contains(part), "no {part:?}: {text}");
        }
        assert_eq!(client.stats().token_requests, 1, "attempts");
    }
    assert_eq!(
        upstream.request_heads().len(),
        2,
        "tunnels without a password"
    );
}

#[test]
fn b14_tinyproxy_that_refuses_a_host_is_reported_with_its_status() {
    let layer = emulator();
    let authority = Authority::new();
    for (lines, status, is_retryable) in [
        // A filter, a port that is not allowed, and a name that does not resolve.
        ("Filter \"FILTER\"\nFilterType ere", 403, false),
        ("ConnectPort 8443", 403, false),
        ("ConnectPort 443", 500, true),
    ] {
        let proxy = Tinyproxy::start(lines);
        let url = format!("http://{}", proxy.address);
        let client = builder(&layer, &authority, &url).build_blocking().unwrap();
        let error = client.token().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Transport, "{lines}: {text}");
        assert_eq!(error.is_retryable(), is_retryable, "{lines}: {text}");
        let shown = format!(
            "the proxy {} refused to connect to layer.invalid (HTTP {status})",
            proxy.address
        );
        assert!(text.contains(&shown), "{lines}: {text}");
    }
}
