//! The doctor against every trouble that the emulator can play.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::{Outcome, at, bare, ca_file, run, start};
use layerfi_auth_emulator::{Emulator, Endpoint, Fault, TlsTrouble};
use serde_json::Value;

/// The report's one check of that name, or the first of several.
fn check(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {report}"))
        .clone()
}

/// Holds a report to its failed and skipped checks; all others passed.
fn expect(outcome: &Outcome, failed: &[&str], skipped: &[&str]) -> Value {
    let report = outcome.json();
    assert_eq!(
        outcome.code,
        if failed.is_empty() { 0 } else { 20 },
        "{}",
        outcome.all()
    );
    assert_eq!(report["ok"], failed.is_empty());
    for check in report["checks"].as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        let expected = if failed.contains(&name) {
            "failed"
        } else if skipped.contains(&name) {
            "skipped"
        } else {
            "passed"
        };
        assert_eq!(check["status"], expected, "{name}: {}", outcome.all());
        assert_eq!(check["remedy"].is_string(), expected == "failed", "{check}");
    }
    report
}

fn doctor(layer: &Emulator, more: &[&str]) -> Outcome {
    run(at(layer, &[&["doctor", "--json"], more].concat()))
}

/// Over TLS, trusting the emulator.
fn trusting(layer: &Emulator, more: &[&str]) -> Outcome {
    let ca = ca_file(layer);
    let mut command = at(layer, &[&["doctor", "--json"], more].concat());
    command.env("LAYER_CA_FILE", ca.path());
    run(command)
}

#[test]
fn all_is_well_over_http_and_https() {
    let report = expect(&doctor(&start(Emulator::builder()), &[]), &[], &[]);
    assert!(
        check(&report, "tls")["detail"]
            .as_str()
            .unwrap()
            .contains("loopback")
    );

    let layer = start(Emulator::builder().tls(true));
    let report = expect(&trusting(&layer, &[]), &[], &[]);
    let tls = check(&report, "tls");
    let detail = tls["detail"].as_str().unwrap();
    assert!(
        detail.contains("TLS 1.3") && detail.contains("layerfi-auth emulator CA"),
        "{detail}"
    );
    assert!(
        detail.contains("364 days left") || detail.contains("365 days left"),
        "{detail}"
    );
    assert_eq!(tls["host"], layer.address().to_string());
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
fn people_get_a_line_per_check_and_the_remedy_below() {
    let layer = start(Emulator::builder());
    let outcome = run(at(&layer, &["doctor", "--client-id", "nobody"]));
    assert_eq!(outcome.code, 20, "{}", outcome.all());
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert!(
        lines[0].starts_with("configuration  ok"),
        "{}",
        outcome.all()
    );
    let failed = lines
        .iter()
        .position(|line| line.starts_with("credentials    FAILED"))
        .unwrap();
    assert!(
        lines[failed + 1].contains("-> try: check client_id"),
        "{}",
        outcome.all()
    );
    assert!(
        outcome.stdout.ends_with("1 check failed. 1 skipped.\n"),
        "{}",
        outcome.all()
    );
    assert!(!outcome.stdout.contains('\x1b'));
}

#[test]
fn settings_that_are_missing_end_it_at_once() {
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
        (&"config".into(), &"environment".into())
    );
}

#[test]
fn what_has_nothing_to_do_with_layer_is_no_report() {
    let layer = start(Emulator::builder());
    let outcome = doctor(&layer, &["--client-secret-stdin"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (12, ""),
        "{}",
        outcome.all()
    );
    assert_eq!(outcome.error()["kind"], "local");
}

#[test]
fn credentials_that_are_wrong() {
    let layer = start(Emulator::builder());
    for (flag, value, code) in [
        ("--client-id", "nobody", "invalid_client"),
        (
            "--scope",
            "https://api.layerfi.com/production",
            "invalid_scope",
        ),
    ] {
        let outcome = doctor(&layer, &[flag, value]);
        let report = expect(&outcome, &["credentials"], &["whoami"]);
        assert_eq!(check(&report, "credentials")["error"]["oauth_error"], code);
    }
}

#[test]
fn an_api_that_refuses_the_token() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Whoami, Fault::status(401).forever())
        .unwrap();
    let report = expect(&doctor(&layer, &[]), &["whoami"], &[]);
    let whoami = check(&report, "whoami");
    assert_eq!(whoami["error"]["http_status"], 401);
    assert!(
        whoami["remedy"]
            .as_str()
            .unwrap()
            .contains("one environment"),
        "{whoami}"
    );
}

#[test]
fn certificates_gone_wrong() {
    let rest = ["clock", "credentials", "whoami"];
    for (trouble, detail, remedy) in [
        (TlsTrouble::Expired, "ran out 1 day ago", "renew"),
        (TlsTrouble::NotYetValid, "not valid yet", "date"),
        (TlsTrouble::WrongHost, "for another host", "check the host"),
        (TlsTrouble::SelfSigned, "not trusted", "--ca-file"),
    ] {
        let layer = start(Emulator::builder().tls_trouble(trouble));
        let report = expect(&trusting(&layer, &[]), &["tls"], &rest);
        let tls = check(&report, "tls");
        assert!(tls["detail"].as_str().unwrap().contains(detail), "{tls}");
        assert!(tls["remedy"].as_str().unwrap().contains(remedy), "{tls}");
        assert_eq!(layer.counters().total, 0, "nothing is sent to a stranger");
    }
    let layer = start(Emulator::builder().tls(true));
    let report = expect(&doctor(&layer, &[]), &["tls"], &rest);
    let tls = check(&report, "tls");
    assert!(
        tls["detail"].as_str().unwrap().contains("emulator CA"),
        "{tls}"
    );
}

#[test]
fn a_server_that_never_answers_is_waited_for_no_longer_than_the_timeout() {
    let rest = ["clock", "credentials", "whoami"];
    let layer = start(Emulator::builder().tls_trouble(TlsTrouble::HandshakeStall));
    let outcome = trusting(&layer, &["--timeout", "1"]);
    expect(&outcome, &["tls"], &rest);
    assert!(
        outcome.took < Duration::from_millis(4_500),
        "{:?}",
        outcome.took
    );

    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Token, Fault::hold().forever())
        .unwrap();
    let outcome = doctor(&layer, &["--timeout", "1"]);
    expect(&outcome, &["credentials"], &["whoami"]);
    assert!(
        outcome.took < Duration::from_millis(4_500),
        "{:?}",
        outcome.took
    );
}

#[test]
fn clocks_that_differ() {
    let layer = start(Emulator::builder());
    layer.advance(Duration::from_secs(600));
    let report = expect(&doctor(&layer, &[]), &["clock"], &[]);
    let clock = check(&report, "clock");
    assert!(
        clock["detail"]
            .as_str()
            .unwrap()
            .contains("behind the server"),
        "{clock}"
    );
    layer.set_back(Duration::from_secs(1_200));
    let report = expect(&doctor(&layer, &[]), &["clock"], &[]);
    let clock = check(&report, "clock");
    assert!(
        clock["detail"]
            .as_str()
            .unwrap()
            .contains("ahead of the server"),
        "{clock}"
    );
    layer.advance(Duration::from_secs(620));
    expect(&doctor(&layer, &[]), &[], &[]);
}

#[test]
fn hosts_that_are_not_there() {
    let layer = start(Emulator::builder());
    // A label too long for DNS: refused with no packet sent.
    let nowhere = format!("https://{}.invalid", "a".repeat(64));
    let outcome = doctor(&layer, &["--api-url", &nowhere]);
    let report = outcome.json();
    assert_eq!(outcome.code, 20, "{}", outcome.all());
    assert_eq!(
        check(&report, "dns")["status"],
        "failed",
        "{}",
        outcome.all()
    );
    assert_eq!(check(&report, "tcp")["status"], "skipped");
    // The token endpoint is another host, and well.
    assert_eq!(check(&report, "credentials")["status"], "passed");
    assert_eq!(check(&report, "whoami")["status"], "skipped");

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = format!("http://{free}");
    let outcome = doctor(&layer, &["--auth-url", &closed]);
    let report = outcome.json();
    let refused: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "failed")
        .collect();
    assert_eq!(refused.len(), 1, "{}", outcome.all());
    assert_eq!(
        (&refused[0]["name"], &refused[0]["host"]),
        (&"tcp".into(), &free.to_string().into())
    );
    assert_eq!(check(&report, "credentials")["status"], "skipped");
}

#[test]
fn environments_that_are_mixed_and_a_proxy_that_is_down() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = bare(&["doctor", "--json", "--environment", "sandbox"]);
    command
        .args(["--api-url", "https://api.layerfi.com", "--client-id", "x"])
        .env("LAYER_CLIENT_SECRET", "canary")
        .env("HTTPS_PROXY", format!("http://user:canary@{free}"));
    let outcome = run(command);
    let report = expect(
        &outcome,
        &["environment", "tcp"],
        &["tls", "clock", "credentials", "whoami"],
    );
    assert!(
        check(&report, "environment")["detail"]
            .as_str()
            .unwrap()
            .contains("production")
    );
    let tcp = check(&report, "tcp");
    assert!(
        tcp["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("proxy {free}")),
        "{tcp}"
    );
    assert!(!outcome.all().contains("canary"), "{}", outcome.all());
}

/// A proxy for one connection: refuses it, or tunnels it to wherever it likes.
fn proxy(tunnel_to: Option<std::net::SocketAddr>) -> std::net::SocketAddr {
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
            let Some(to) = tunnel_to else {
                let _ = client.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
                continue;
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

#[test]
fn through_a_proxy_the_certificate_is_still_checked() {
    let layer = start(Emulator::builder().tls(true));
    let ca = ca_file(&layer);
    let through = |proxy: std::net::SocketAddr| -> Command {
        let mut command = at(
            &layer,
            &["doctor", "--json", "--api-url", "https://layer.invalid"],
        );
        command
            .args([
                "--auth-url",
                "https://layer.invalid/oauth2/token",
                "--proxy",
            ])
            .arg(format!("http://{proxy}"))
            .env("LAYER_CA_FILE", ca.path());
        command
    };
    let rest = ["clock", "credentials", "whoami"];
    let report = expect(&run(through(proxy(None))), &["tls"], &rest);
    assert!(
        check(&report, "tls")["detail"]
            .as_str()
            .unwrap()
            .contains("HTTP 407")
    );
    let report = expect(&run(through(proxy(Some(layer.address())))), &["tls"], &rest);
    let tls = check(&report, "tls");
    assert!(
        tls["detail"].as_str().unwrap().contains("for another host"),
        "{tls}"
    );
}
