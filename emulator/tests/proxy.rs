//! Forward proxy, used by curl.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use common::{MAX_WAIT, command, curl, start, start_error, wait_until};
use layerfi_auth_emulator::{
    At, Emulator, EmulatorBuilder, EmulatorError, Endpoint, Fault, LogEntry, Wire,
};

// Exit codes of curl.
const SUCCESS: i32 = 0;
const PROXY_REFUSED: i32 = 56;
const NO_RESPONSE: &[i32] = &[52, 56];
const CERTIFICATE_REFUSED: i32 = 60;
const TIMED_OUT: i32 = 28;

/// A name that does not resolve.
const NAME: &str = "auth.layerfi.test";

/// An emulator with a proxy, and a curl that uses it.
struct Proxied {
    layer: Emulator,
    ca: Option<std::path::PathBuf>,
}

impl Proxied {
    fn start(builder: EmulatorBuilder) -> Self {
        let layer = start(builder);
        let port = layer.control_address().port();
        let ca = layer.ca_pem().map(|_| {
            let name = format!("layerfi-proxy-{}-{port}.pem", std::process::id());
            let ca = std::env::temp_dir().join(name);
            layer.write_ca_pem(&ca).unwrap();
            ca
        });
        Self { layer, ca }
    }

    fn https() -> Self {
        Self::start(Emulator::builder().tls(true).name(NAME).proxy())
    }

    /// Exit code, and the statuses of the proxy and of the server.
    fn curl(&self, url: &str, more: &[&str]) -> (i32, String) {
        let proxy = self.layer.proxy_url().unwrap();
        let mut args = vec!["--noproxy", "", "-x", &proxy, "-o", "/dev/null"];
        if let Some(ca) = &self.ca {
            let ca = ca.to_str().unwrap();
            args.extend(["--cacert", ca, "--proxy-cacert", ca]);
        }
        let limit = MAX_WAIT.as_secs().to_string();
        args.extend(["-m", &limit, "-w", "%{http_connect} %{http_code}", url]);
        curl(&[&args, more].concat())
    }

    #[track_caller]
    fn expect(&self, url: &str, more: &[&str], statuses: &str) {
        let (code, text) = self.curl(url, more);
        assert_eq!(
            (code, text.as_str()),
            (SUCCESS, statuses),
            "wrong exit code, or statuses of proxy and server, for {url} {more:?}"
        );
    }

    /// The last request to the proxy.
    fn entry(&self) -> LogEntry {
        let mut proxied = self.layer.log();
        proxied.retain(|entry| entry.endpoint == Endpoint::Proxy);
        proxied.pop().unwrap()
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        if let Some(ca) = &self.ca {
            let _ = std::fs::remove_file(ca);
        }
    }
}

fn url(host: &str) -> String {
    format!("https://{host}/whoami")
}

#[test]
fn tunnel_leads_to_the_emulator_for_every_name() {
    let proxied = Proxied::https();
    proxied.expect(&url(NAME), &[], "200 401");
    let entry = proxied.entry();
    assert_eq!(
        (entry.method.as_str(), entry.path.as_str(), entry.status),
        ("CONNECT", "auth.layerfi.test:443", Some(200)),
        "wrong entry of the log: {entry:?}"
    );
    let counters = proxied.layer.counters();
    assert_eq!(
        (counters.tunnels, counters.connections, counters.total),
        (1, 1, 2),
        "one connection with one tunnel must be counted: {counters:?}"
    );
    assert_eq!(
        proxied.layer.count(Endpoint::Whoami),
        1,
        "the request in the tunnel must be counted"
    );
    let (code, text) = proxied.curl(&url("other.layerfi.test"), &[]);
    assert_eq!(
        code, CERTIFICATE_REFUSED,
        "the certificate must not be valid for a name that is not set: {text}"
    );
}

#[test]
fn tunnel_works_for_plain_http_and_for_a_proxy_over_tls() {
    let plain = Proxied::start(Emulator::builder().proxy());
    let name = format!("http://{NAME}/whoami");
    plain.expect(&name, &["-p"], "200 401");
    let secure = Proxied::start(Emulator::builder().proxy_tls().name(NAME));
    let proxy_url = secure.layer.proxy_url().unwrap();
    assert!(
        proxy_url.starts_with("https://"),
        "the URL of a proxy over TLS must begin with https://, got {proxy_url}"
    );
    secure.expect(&url(NAME), &[], "200 401");
}

#[test]
fn request_with_an_absolute_url_is_forwarded_over_plain_http_only() {
    let plain = Proxied::start(Emulator::builder().proxy_credentials("u", "p"));
    let name = format!("http://{NAME}/whoami?a=b");
    plain.expect(&name, &["-U", "u:p"], "000 401");
    let entry = plain.entry();
    assert_eq!(
        (entry.method.as_str(), entry.path.as_str(), entry.status),
        ("GET", "http://auth.layerfi.test/whoami", Some(401)),
        "wrong entry of the log: {entry:?}"
    );
    plain.expect(&name, &[], "000 407");
    assert_eq!(
        plain.layer.count(Endpoint::Whoami),
        1,
        "a refused request must not be forwarded"
    );
    let secure = Proxied::https();
    secure.expect(&name, &[], "000 502");
    let proxy = secure.layer.proxy_address().unwrap();
    common::send(proxy, "GET", "/", &[], "").expect_status(400);
}

#[test]
fn proxy_without_its_credentials_answers_407_and_remembers_the_user() {
    let password = "pr0xy-passw0rd";
    let proxied = Proxied::start(
        Emulator::builder()
            .tls(true)
            .name(NAME)
            .proxy_credentials("DOMAIN\\user", password),
    );
    let refused = |more: &[&str]| {
        let (code, text) = proxied.curl(&url(NAME), more);
        assert!(
            code == PROXY_REFUSED && text.contains("407"),
            "curl {more:?} must be refused with 407, got exit code {code}: {text}"
        );
    };
    let correct = format!("DOMAIN\\user:{password}");
    refused(&[]);
    refused(&["-U", "DOMAIN\\user:wrong"]);
    let entry = proxied.entry();
    assert_eq!(
        (entry.proxy_user.as_deref(), entry.status),
        (Some("DOMAIN\\user"), Some(407)),
        "the user must be in the log: {entry:?}"
    );
    proxied.expect(&url(NAME), &["-U", &correct], "200 401");
    let mark = proxied.entry().authorization.unwrap();
    assert_eq!(mark.scheme, "Basic", "wrong scheme of the credentials");
    assert_eq!(
        proxied.layer.counters().tunnels,
        1,
        "refused requests must not open a tunnel"
    );

    let control = |method, path, body: &str| command(&proxied.layer, method, path, body);
    let everything = [
        format!("{:?}", proxied.layer.log()),
        format!("{:?}", proxied.layer),
        control("GET", "/", "").to_string(),
        control("GET", "/settings", "").to_string(),
    ];
    for text in everything {
        assert!(!text.contains(password), "the password is in {text}");
    }
    control("POST", "/settings", r#"{"proxy_credentials": null}"#);
    proxied.expect(&url(NAME), &[], "200 401");
    let body = r#"{"proxy_credentials": {"user": "a", "password": "b"}}"#;
    let settings = control("POST", "/settings", body);
    assert_eq!(
        settings["proxy_credentials"],
        serde_json::json!({"user": "a"}),
        "the settings must show the user"
    );
    refused(&[]);
    proxied.layer.set_proxy_credentials(None);
    proxied.expect(&url(NAME), &[], "200 401");
}

#[test]
fn faults_of_the_proxy_apply_to_the_proxy_only() {
    let proxied = Proxied::https();
    let layer = &proxied.layer;
    for status in [403, 407, 502, 503, 504] {
        let page = Fault::status(status)
            .body("<html>blocked</html>")
            .header("content-type", "text/html")
            .header("proxy-authenticate", "Negotiate, NTLM");
        layer.fault(Endpoint::Proxy, page).unwrap();
        let (code, text) = proxied.curl(&url(NAME), &[]);
        assert!(
            code == PROXY_REFUSED && text.contains(&status.to_string()),
            "curl must be refused with {status}, got exit code {code}: {text}"
        );
    }
    for wire in [Wire::Close(At::Before), Wire::Reset(At::Before)] {
        layer.fault(Endpoint::Proxy, Fault::wire(wire)).unwrap();
        let (code, text) = proxied.curl(&url(NAME), &[]);
        assert!(
            NO_RESPONSE.contains(&code),
            "curl must get no response with {wire:?}, got exit code {code}: {text}"
        );
    }
    let garbage = Fault::garbage(b"SSH-2.0-OpenSSH_9.7\r\n");
    layer.fault(Endpoint::Proxy, garbage).unwrap();
    let (code, text) = proxied.curl(&url(NAME), &[]);
    assert_ne!(code, SUCCESS, "garbage must not be accepted: {text}");
    assert_eq!(
        layer.count(Endpoint::Whoami),
        0,
        "no request must reach the emulator"
    );

    // Without an endpoint, a fault applies to the server behind the proxy.
    layer.add_fault(Fault::status(418)).unwrap();
    proxied.expect(&url(NAME), &[], "200 418");
    let slow = Fault::delay(std::time::Duration::from_millis(20)).header("x-slow", "yes");
    layer.fault(Endpoint::Proxy, slow).unwrap();
    proxied.expect(&url(NAME), &[], "200 401");
}

#[test]
fn held_tunnel_is_opened_after_a_release() {
    let proxied = Proxied::https();
    let layer = &proxied.layer;
    layer.fault(Endpoint::Proxy, Fault::hold()).unwrap();
    std::thread::scope(|scope| {
        let request = scope.spawn(|| proxied.expect(&url(NAME), &[], "200 401"));
        wait_until(layer, "one request to the proxy in flight", |counters| {
            counters.endpoint(Endpoint::Proxy).in_flight == 1
        });
        layer.release();
        request.join().unwrap();
    });
    layer.fault(Endpoint::Proxy, Fault::hold()).unwrap();
    let (code, text) = proxied.curl(&url(NAME), &["-m", "1"]);
    assert_eq!(code, TIMED_OUT, "a held tunnel must not be opened: {text}");
}

#[test]
fn proxy_is_off_by_default_and_listens_on_its_port() {
    let layer = start(Emulator::builder());
    assert_eq!(layer.proxy_url(), None, "no proxy must run by default");
    assert!(
        command(&layer, "GET", "/", "")["proxy_url"].is_null(),
        "GET / must show that no proxy runs"
    );
    let proxied = start(Emulator::builder().proxy());
    assert_eq!(
        command(&proxied, "GET", "/", "")["proxy_url"],
        proxied.proxy_url().unwrap(),
        "GET / must show the URL of the proxy"
    );
    let used = proxied.proxy_address().unwrap().port();
    let error = start_error(Emulator::builder().proxy_port(used));
    assert!(
        matches!(error, EmulatorError::Bind { address, .. } if address.port() == used),
        "wrong error for a port in use: {error:?}"
    );
}
