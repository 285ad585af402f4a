//! The command `doctor`, against the faults that the emulator can produce.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Outcome, at, bare, ca_file, run, start};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault, TlsTrouble};
use layerfi_auth_test_support::{RedisServer, ReservedPort, ServerKind};
use serde_json::Value;

/// The report's first check with that name.
fn check(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found
        .unwrap_or_else(|| panic!("the report has no check {name}: {report}"))
        .clone()
}

/// Asserts which checks failed and were skipped, and that all others passed.
fn expect(outcome: &Outcome, failed: &[&str], skipped: &[&str]) -> Value {
    let report = outcome.json();
    outcome.assert_code(if failed.is_empty() { 0 } else { 20 });
    assert_eq!(report["ok"], failed.is_empty(), "wrong ok: {report}");
    for check in report["checks"].as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        let expected = if failed.contains(&name) {
            "failed"
        } else if check["status"] == "warning" {
            // A test that expects one looks at it.
            "warning"
        } else if skipped.contains(&name) {
            "skipped"
        } else {
            "passed"
        };
        assert_eq!(
            check["status"],
            expected,
            "wrong status of {name}: {}",
            outcome.all()
        );
        assert_eq!(
            check["remedy"].is_string(),
            matches!(expected, "failed" | "warning"),
            "only failed checks and warnings have a remedy: {check}"
        );
    }
    report
}

/// Asserts that a field of a check contains a text.
#[track_caller]
fn assert_contains(check: &Value, field: &str, text: &str) {
    assert!(
        check[field].as_str().unwrap().contains(text),
        "{field} does not contain {text:?}: {check}"
    );
}

fn doctor(layer: &Emulator, more: &[&str]) -> Outcome {
    run(at(layer, &[&["doctor", "--json"], more].concat()))
}

/// Over TLS, with the emulator's CA trusted.
fn trusting(layer: &Emulator, more: &[&str]) -> Outcome {
    let ca = ca_file(layer);
    let mut command = at(layer, &[&["doctor", "--json"], more].concat());
    command.env("LAYER_CA_FILE", ca.path());
    run(command)
}

#[test]
fn all_checks_pass_over_http_and_https() {
    let report = expect(&doctor(&start(Emulator::builder()), &[]), &[], &[]);
    assert_contains(&check(&report, "tls"), "detail", "loopback");

    let layer = start(Emulator::builder().tls(true));
    let report = expect(&trusting(&layer, &[]), &[], &[]);
    let tls = check(&report, "tls");
    assert_contains(&tls, "detail", "TLS 1.3");
    assert_contains(&tls, "detail", "layerfi-auth emulator CA");
    let detail = tls["detail"].as_str().unwrap();
    assert!(
        detail.contains("364 days left") || detail.contains("365 days left"),
        "wrong lifetime of the certificate: {detail}"
    );
    assert_eq!(
        tls["host"],
        layer.address().to_string(),
        "wrong host: {tls}"
    );
    let names: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(
        names,
        [
            "configuration",
            "environment",
            "dns",
            "tcp",
            "tls",
            "clock",
            "credentials",
            "whoami"
        ]
    );
}

#[test]
fn b28_stack_size_of_other_threads_is_not_the_commands() {
    let layer = start(Emulator::builder());
    let mut command = at(&layer, &["doctor", "--json"]);
    command.env("RUST_MIN_STACK", "1");
    let outcome = run(command);
    assert_eq!(outcome.code, 0, "{}", outcome.all());
}

#[test]
fn text_output_has_a_line_per_check_and_the_remedy_below() {
    let layer = start(Emulator::builder());
    let outcome = run(at(&layer, &["doctor", "--client-id", "unknown-client"]));
    outcome.assert_code(20);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert!(
        lines[0].starts_with("configuration  ok"),
        "wrong first line: {}",
        outcome.all()
    );
    let failed = lines
        .iter()
        .position(|line| line.starts_with("credentials    FAILED"))
        .unwrap();
    assert!(
        lines[failed + 1].contains("-> try: ") && lines[failed + 1].contains("--client-id"),
        "the remedy does not follow the failed check: {}",
        outcome.all()
    );
    assert!(
        outcome.stdout.ends_with("1 check failed. 1 skipped.\n"),
        "wrong summary: {}",
        outcome.all()
    );
    assert!(
        !outcome.stdout.contains('\x1b'),
        "escape codes are printed without a terminal: {}",
        outcome.all()
    );
}

#[test]
fn missing_settings_skip_all_other_checks() {
    let rest = [
        "environment",
        "dns",
        "tcp",
        "tls",
        "clock",
        "credentials",
        "whoami",
    ];
    let report = expect(&run(bare(&["doctor", "--json"])), &["configuration"], &rest);
    let error = &check(&report, "configuration")["error"];
    assert_eq!(
        (&error["kind"], &error["field"]),
        (&"config".into(), &"environment".into()),
        "wrong error: {error}"
    );
}

#[test]
fn an_unusable_stdin_is_an_error_and_not_a_report() {
    let layer = start(Emulator::builder());
    let outcome = doctor(&layer, &["--client-secret-stdin"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (12, ""),
        "wrong exit code or output: {}",
        outcome.all()
    );
    assert_eq!(outcome.error()["kind"], "local", "wrong kind");
}

#[test]
fn wrong_credentials_fail_the_credentials_check() {
    let layer = start(Emulator::builder());
    for (flag, value, code) in [
        ("--client-id", "unknown-client", "invalid_client"),
        (
            "--scope",
            "https://api.layerfi.com/production",
            "invalid_scope",
        ),
    ] {
        let outcome = doctor(&layer, &[flag, value]);
        let report = expect(&outcome, &["credentials"], &["whoami"]);
        assert_eq!(
            check(&report, "credentials")["error"]["oauth_error"],
            code,
            "wrong OAuth error for {flag} {value}: {report}"
        );
    }
}

#[test]
fn a_refused_token_fails_the_whoami_check() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Whoami, Fault::status(401).forever())
        .unwrap();
    let report = expect(&doctor(&layer, &[]), &["whoami"], &[]);
    let whoami = check(&report, "whoami");
    assert_eq!(
        whoami["error"]["http_status"], 401,
        "wrong status: {whoami}"
    );
    assert_contains(&whoami, "remedy", "environment");
}

#[test]
fn b25_doctor_shows_which_certificates_are_trusted() {
    let layer = start(Emulator::builder().tls(true));
    for (flags, shown) in [
        (
            &[][..],
            "trusted certificates of the system and 1 of ca_file",
        ),
        (
            &["--trust", "bundled"],
            "trusted certificates of Mozilla, compiled in, and 1 of ca_file",
        ),
        (
            &["--trust", "ca_only"],
            "; verified with 1 trusted certificates of ca_file; trust is ca_only",
        ),
    ] {
        let report = expect(&trusting(&layer, flags), &[], &[]);
        assert_contains(&check(&report, "tls"), "detail", shown);
    }
}

#[test]
fn b25_doctor_trusts_a_folder_beside_a_bundle_as_the_client_does() {
    let layer = start(Emulator::builder().tls(true));
    let folder = tempfile::tempdir().unwrap();
    layer.write_ca_pem(folder.path().join("ca.pem")).unwrap();
    let other = start(Emulator::builder().tls(true));
    let bundle = ca_file(&other);
    let mut command = at(&layer, &["doctor", "--json"]);
    command
        .env("SSL_CERT_FILE", bundle.path())
        .env("SSL_CERT_DIR", folder.path());
    let report = expect(&run(command), &[], &[]);
    let tls = check(&report, "tls");
    assert_contains(
        &tls,
        "detail",
        "verified with 2 trusted certificates of the",
    );
}

#[test]
fn an_invalid_certificate_fails_the_tls_check() {
    let rest = ["clock", "credentials", "whoami"];
    for (trouble, detail, remedy) in [
        (
            TlsTrouble::Expired,
            "has expired: it was valid until",
            "clock",
        ),
        (TlsTrouble::NotYetValid, "not valid yet", "clock"),
        (TlsTrouble::WrongHost, "is valid for", "check the host"),
        (TlsTrouble::SelfSigned, "unknown authority", "LAYER_CA_FILE"),
    ] {
        let layer = start(Emulator::builder().tls_trouble(trouble));
        let report = expect(&trusting(&layer, &[]), &["tls"], &rest);
        let tls = check(&report, "tls");
        assert_contains(&tls, "detail", detail);
        assert_contains(&tls, "remedy", remedy);
        assert_eq!(
            layer.counters().total,
            0,
            "a request was sent to a server with an invalid certificate"
        );
    }
    let layer = start(Emulator::builder().tls(true));
    let report = expect(&doctor(&layer, &[]), &["tls"], &rest);
    assert_contains(&check(&report, "tls"), "detail", "emulator CA");
}

#[test]
fn a_silent_server_fails_a_check_after_the_timeout() {
    let rest = ["clock", "credentials", "whoami"];
    let layer = start(Emulator::builder().tls_trouble(TlsTrouble::HandshakeStall));
    let report = expect(&trusting(&layer, &["--timeout", "1"]), &["tls"], &rest);
    assert_contains(&check(&report, "tls"), "detail", "in time");

    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::hold().forever())
        .unwrap();
    let outcome = doctor(&layer, &["--timeout", "1"]);
    let report = expect(&outcome, &["credentials"], &["whoami"]);
    assert_eq!(
        check(&report, "credentials")["error"]["kind"],
        "timeout",
        "wrong kind: {report}"
    );
    // Without --timeout, the engine would wait for 30 s.
    assert!(
        outcome.took < Duration::from_secs(25),
        "doctor --timeout 1 took {:?}",
        outcome.took
    );
}

#[test]
fn a_wrong_clock_fails_the_clock_check() {
    let layer = start(Emulator::builder());
    layer.advance(Duration::from_secs(600));
    let report = expect(&doctor(&layer, &[]), &["clock"], &[]);
    let clock = check(&report, "clock");
    assert_contains(&clock, "detail", "behind the server");
    layer.set_back(Duration::from_secs(1_200));
    let report = expect(&doctor(&layer, &[]), &["clock"], &[]);
    let clock = check(&report, "clock");
    assert_contains(&clock, "detail", "ahead of the server");
    layer.advance(Duration::from_secs(620));
    expect(&doctor(&layer, &[]), &[], &[]);
}

#[test]
fn an_unreachable_host_fails_dns_or_tcp() {
    let layer = start(Emulator::builder());
    // A label that is too long for DNS fails without a packet.
    let nowhere = format!("https://{}.invalid", "a".repeat(64));
    let outcome = doctor(&layer, &["--api-url", &nowhere]);
    outcome.assert_code(20);
    // The token endpoint is another host, which is reachable.
    for (name, status) in [
        ("dns", "failed"),
        ("tcp", "skipped"),
        ("credentials", "passed"),
        ("whoami", "skipped"),
    ] {
        assert_eq!(
            check(&outcome.json(), name)["status"],
            status,
            "wrong status of {name}: {}",
            outcome.all()
        );
    }

    let closed = ReservedPort::new();
    let url = format!("http://{}", closed.address());
    let outcome = doctor(&layer, &["--auth-url", &url]);
    let report = outcome.json();
    let refused: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "failed")
        .collect();
    assert_eq!(
        refused.len(),
        1,
        "more than one check failed: {}",
        outcome.all()
    );
    assert_eq!(
        (&refused[0]["name"], &refused[0]["host"]),
        (&"tcp".into(), &closed.address().to_string().into()),
        "the wrong check failed: {report}"
    );
    assert_eq!(
        check(&report, "credentials")["status"],
        "skipped",
        "credentials were checked without a connection: {report}"
    );
}

#[test]
fn mixed_environments_and_an_unreachable_proxy_are_reported() {
    let reserved = ReservedPort::new();
    let closed = reserved.address();
    let mut command = bare(&["doctor", "--json", "--environment", "sandbox"]);
    command
        .args(["--api-url", "https://api.layerfi.com", "--client-id", "x"])
        .env("LAYER_CLIENT_SECRET", "canary")
        .env("HTTPS_PROXY", format!("http://user:canary@{closed}"));
    let outcome = run(command);
    let report = expect(
        &outcome,
        &["environment", "tcp"],
        &["tls", "clock", "credentials", "whoami"],
    );
    assert_contains(&check(&report, "environment"), "detail", "production");
    let tcp = check(&report, "tcp");
    assert_contains(&tcp, "detail", &format!("proxy {closed}"));
    assert_contains(&tcp, "remedy", "check the proxy");
    outcome.assert_nowhere("canary");
}

/// Starts a proxy that answers every request with this text, or tunnels every
/// connection to one address.
fn proxy(behavior: Result<SocketAddr, &'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let to = match behavior {
                Ok(to) => to,
                Err(answer) => {
                    let _ = client.write_all(answer.as_bytes());
                    continue;
                }
            };
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let mut server = TcpStream::connect(to).unwrap();
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    address
}

/// `doctor` for a host that only a proxy can reach.
fn doctor_through(layer: &Emulator, ca: &Path, proxy: &str) -> Command {
    let mut command = at(
        layer,
        &[
            "doctor",
            "--json",
            "--api-url",
            "https://layer.invalid",
            "--auth-url",
            "https://layer.invalid/oauth2/token",
        ],
    );
    command.env("HTTPS_PROXY", proxy).env("LAYER_CA_FILE", ca);
    command
}

#[test]
fn b14_refusal_of_a_proxy_is_explained() {
    let layer = start(Emulator::builder().tls(true));
    let ca = ca_file(&layer);
    let rest = ["clock", "credentials", "whoami"];
    for (answer, user, details, remedy) in [
        (
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
            "",
            &["HTTP 407", "requires a user name"][..],
            "http://user:password@host:port",
        ),
        (
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
            "user:canary@",
            &["HTTP 407", "did not accept the user name"],
            "check the user name and password",
        ),
        (
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            "DOMAIN\\user:canary@",
            &["HTTP 407", "accepts only Negotiate, NTLM authentication"],
            "a proxy that accepts Basic",
        ),
        ("HTTP/1.1 403 x\r\n\r\n", "", &["HTTP 403"], "administrator"),
        ("HTTP/1.1 503 x\r\n\r\n", "", &["HTTP 503"], "healthy"),
        ("SSH-2.0\r\n", "", &["valid HTTP"], "host and port"),
        ("", "", &["closed the connection"], "healthy"),
    ] {
        let address = proxy(Err(answer));
        let url = format!("http://{user}{address}");
        let outcome = run(doctor_through(&layer, ca.path(), &url));
        let report = expect(&outcome, &["tls"], &rest);
        let tls = check(&report, "tls");
        for detail in details {
            assert_contains(&tls, "detail", detail);
        }
        assert_contains(&tls, "detail", &format!("proxy {address}"));
        assert_contains(&tls, "remedy", remedy);
        let remedy = tls["remedy"].as_str().unwrap();
        assert!(!remedy.contains("HTTPS_PROXY"), "it is set: {remedy}");
        outcome.assert_nowhere("canary");
    }
}

#[test]
fn b28_proxy_and_exceptions_are_the_engines() {
    let layer = start(Emulator::builder().tls(true));
    let ca = ca_file(&layer);
    let through = proxy(Ok(layer.address())).to_string();
    for (list, is_used) in [
        ("", true),
        ("layer.invalid:8443", true),
        ("*.invalid", false),
        ("a;layer.invalid:443", false),
    ] {
        let mut command = doctor_through(&layer, ca.path(), &through);
        command.env("NO_PROXY", list);
        let dns = check(&run(command).json(), "dns");
        let used = dns["detail"].as_str().unwrap().contains("proxy");
        assert_eq!(used, is_used, "NO_PROXY={list}: {dns}");
    }
}

#[test]
fn the_certificate_is_verified_through_a_proxy() {
    let layer = start(Emulator::builder().tls(true));
    let ca = ca_file(&layer);
    let through = proxy(Ok(layer.address())).to_string();
    let outcome = run(doctor_through(&layer, ca.path(), &through));
    let report = expect(&outcome, &["tls"], &["clock", "credentials", "whoami"]);
    assert_contains(&check(&report, "tls"), "detail", "is valid for");
}

/// `doctor --json` with a shared cache.
fn doctor_with(layer: &Emulator, shared_cache: &str) -> Outcome {
    let mut command = at(layer, &["doctor", "--json"]);
    command.env("LAYER_SHARED_CACHE", shared_cache);
    run(command)
}

const STORE_CHECKS: [&str; 4] = [
    "shared_cache",
    "store_latency",
    "store_clock",
    "store_memory",
];

#[test]
fn b30_doctor_checks_the_shared_cache() {
    let layer = start(Emulator::builder());
    for kind in ServerKind::ALL {
        let server = RedisServer::builder(kind).start();
        let report = expect(&doctor_with(&layer, &server.url()), &[], &[]);
        let cache = check(&report, "shared_cache");
        assert_eq!(cache["host"], server.address(), "{cache}");
        let version = format!("{kind:?} ").to_lowercase();
        assert_contains(&cache, "detail", &version);
        assert_contains(&cache, "detail", "look-up, publication and release work");
        assert_contains(
            &check(&report, "store_latency"),
            "detail",
            "an answer takes",
        );
        let clock = check(&report, "store_clock");
        assert_contains(&clock, "detail", "of this machine's clock");
        assert_eq!(clock["status"], "passed", "{clock}");
        let memory = check(&report, "store_memory");
        assert_contains(&memory, "detail", "maxmemory-policy noeviction, no limit");
        assert_eq!(memory["status"], "passed", "{memory}");
        assert!(!memory.to_string().contains("disk"), "{memory}");
        // What the check wrote is gone at once, or expires.
        let left = format!("{:?}", server.command(&["KEYS", "*"]));
        assert!(!left.contains("{"), "keys without an end: {left}");
    }
}

#[test]
fn b30_doctor_asks_the_token_endpoint_and_not_the_shared_cache() {
    let layer = start(Emulator::builder());
    let server = RedisServer::start();
    let mut token = at(&layer, &["token"]);
    token.env("LAYER_SHARED_CACHE", server.url());
    run(token).assert_code(0);
    let before = layer.counters().access_tokens;
    expect(&doctor_with(&layer, &server.url()), &[], &[]);
    assert_eq!(layer.counters().access_tokens, before + 1);
}

/// The user of the guide is enough for the shared cache, and needs the rights that it
/// names to tell more.
#[test]
fn b30_rights_of_the_guide_are_enough() {
    let layer = start(Emulator::builder());
    let server = RedisServer::start();
    let page = include_str!("../../docs/fleets.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER"));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(server.command(&words).text(), "OK");
    let url = format!("redis://layerfi:password@{}", server.address());
    let report = expect(&doctor_with(&layer, &url), &[], &["store_memory"]);
    assert_contains(&check(&report, "store_memory"), "detail", "INFO");

    let select = format!("{url}/1");
    let report = expect(
        &doctor_with(&layer, &select),
        &["shared_cache"],
        &STORE_CHECKS[1..],
    );
    assert_contains(&check(&report, "shared_cache"), "remedy", "+select");
    let grant = [
        "ACL",
        "SETUSER",
        "layerfi",
        "+select",
        "+info",
        "+config|get",
    ];
    assert!(page.contains("`+select`") && page.contains("`+info` and `+config|get`"));
    assert_eq!(server.command(&grant).text(), "OK");
    expect(&doctor_with(&layer, &select), &[], &[]);
}

#[test]
fn b30_store_that_cannot_be_used_fails_its_check_only() {
    let layer = start(Emulator::builder());
    let closed = ReservedPort::new();
    let address = closed.address().to_string();
    let outcome = doctor_with(&layer, &format!("redis://:canary@{address}"));
    let report = expect(&outcome, &STORE_CHECKS[..1], &STORE_CHECKS[1..]);
    let cache = check(&report, "shared_cache");
    assert_eq!(cache["host"], address, "{cache}");
    assert_contains(&cache, "detail", "(connect)");
    assert_contains(&cache, "remedy", "LAYER_SHARED_CACHE");
    outcome.assert_nowhere("canary");

    let server = RedisServer::builder(ServerKind::Redis)
        .password("not-a-secret")
        .start();
    let outcome = doctor_with(&layer, &format!("redis://:canary@{}", server.address()));
    let report = expect(&outcome, &STORE_CHECKS[..1], &STORE_CHECKS[1..]);
    assert_contains(&check(&report, "shared_cache"), "detail", "(auth)");
    outcome.assert_nowhere("canary");

    let mut text = at(&layer, &["doctor", "--shared-cache"]);
    text.arg(server.url());
    let outcome = run(text);
    outcome.assert_code(20);
    outcome.assert_stdout_contains(&format!("shared_cache   FAILED  {}: ", server.address()));
    outcome.assert_stdout_contains("--shared-cache");
}

#[test]
fn b30_doctor_names_each_right_that_the_user_of_the_store_lacks() {
    let layer = start(Emulator::builder());
    for kind in ServerKind::ALL {
        let server = RedisServer::builder(kind).start();
        let url = format!("redis://layerfi:canary@{}", server.address());
        let rights = ["+eval", "+get", "+set", "+del", "+pttl", "+time"];
        let lacking = |right: &str, keys: &str, rights: &[&str]| {
            let user = [
                "ACL", "SETUSER", "layerfi", "reset", "on", ">canary", "-@all",
            ];
            let command = [&user[..], rights, &[keys][..]].concat();
            assert_eq!(server.command(&command).text(), "OK");
            let outcome = doctor_with(&layer, &url);
            let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
            let cache = check(&report, "shared_cache");
            assert_eq!(
                cache["status"], "failed",
                "{kind:?} without {right}: {cache}"
            );
            let lacks = format!("the user lacks {right} (");
            assert_contains(&cache, "detail", &lacks);
            let command = format!("ACL SETUSER <user> {right} on the server");
            assert_contains(&cache, "remedy", &command);
            outcome.assert_nowhere("canary");
        };
        for right in rights {
            let others: Vec<_> = rights.into_iter().filter(|other| *other != right).collect();
            lacking(right, "~layerfi:1:*", &others);
        }
        lacking(
            "+set +del",
            "~layerfi:1:*",
            &["+eval", "+get", "+pttl", "+time"],
        );
        lacking("~layerfi:1:*", "~other:1:*", &rights);
    }
}

#[test]
fn b30_doctor_says_what_to_do_about_each_fault_of_the_store() {
    let layer = start(Emulator::builder());
    let plain = RedisServer::start();
    let replica = RedisServer::builder(ServerKind::Redis)
        .replica_of(&plain)
        .start();
    let full = RedisServer::builder(ServerKind::Redis)
        .option("maxmemory", "1")
        .start();
    let alone = RedisServer::builder(ServerKind::Redis)
        .option("min-replicas-to-write", "1")
        .start();
    let locked = RedisServer::builder(ServerKind::Redis)
        .password("canary")
        .start();
    let tls = RedisServer::builder(ServerKind::Redis).tls().start();
    let (plain, locked) = (plain.address(), locked.address());
    for (url, detail, remedy) in [
        (replica.url(), "it is a replica (READONLY)", "to the master"),
        (full.url(), "it is full (OOM)", "raise maxmemory"),
        (alone.url(), "(NOREPLICAS)", "min-replicas-to-write"),
        (format!("redis://{locked}"), "(NOAUTH)", "add the password"),
        (
            format!("redis://:wrong@{locked}"),
            "(WRONGPASS)",
            "check the user",
        ),
        (
            format!("redis://:canary@{plain}"),
            "password (ERR)",
            "remove it",
        ),
        (
            format!("redis://{plain}/99"),
            "no database 99",
            "a database",
        ),
        (
            format!("rediss://{plain}"),
            "did not answer the TLS",
            "redis://",
        ),
        (tls.url(), "unknown authority", "set LAYER_CA_FILE"),
        (
            format!("redis://{}", tls.address()),
            "closed the connection",
            "with rediss://",
        ),
        (
            format!("redis+sentinel://{plain}/main"),
            "answered with the error ERR",
            "those of Sentinels",
        ),
    ] {
        let outcome = doctor_with(&layer, &url);
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let cache = check(&report, "shared_cache");
        assert_eq!(cache["status"], "failed", "{url}: {cache}");
        assert_contains(&cache, "detail", detail);
        assert_contains(&cache, "remedy", remedy);
        let memory = check(&report, "store_memory");
        let is_wrong = memory.to_string().contains("INFO is not allowed");
        assert!(!is_wrong, "{url}: no right is missing: {memory}");
        outcome.assert_nowhere("canary");
    }
}

#[test]
fn b30_store_that_will_be_full_is_a_warning() {
    let layer = start(Emulator::builder());
    let server = RedisServer::builder(ServerKind::Redis)
        .option("maxmemory", "100mb")
        .option("appendonly", "yes")
        .start();
    let report = expect(&doctor_with(&layer, &server.url()), &[], &[]);
    let memory = check(&report, "store_memory");
    assert_eq!(memory["status"], "warning", "{memory}");
    assert_contains(&memory, "detail", "maxmemory-policy noeviction, ");
    assert_contains(&memory, "detail", " of 105 MB used");
    assert!(
        !memory.to_string().contains(" 0 MB"),
        "the memory in use is not shown: {memory}"
    );
    assert_contains(&memory, "detail", "to a disk");
    assert_contains(&memory, "remedy", "volatile-ttl");
    let mut text = at(&layer, &["doctor"]);
    text.env("LAYER_SHARED_CACHE", server.url());
    let outcome = run(text);
    outcome.assert_code(0);
    outcome.assert_stdout_contains("store_memory   WARNING ");
    assert!(
        outcome.stdout.ends_with("All checks passed. 1 warning.\n"),
        "wrong summary: {}",
        outcome.all()
    );

    server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    let report = expect(&doctor_with(&layer, &server.url()), &[], &[]);
    assert_eq!(check(&report, "store_memory")["status"], "passed");
}
