//! `layerfi-auth emulator`: how scripts start it, use it and stop it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use common::{Running, bare, run, run_with_input};
use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID};
use serde_json::Value;

/// Starts it, and reads the line that says where it is.
fn started(command: Command) -> (Running, Value) {
    let mut child = Running::spawn(command);
    let line = child.read_until(|_| true);
    let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
    (child, ready)
}

fn with_variables(ready: &Value, args: &[&str]) -> Command {
    let mut command = bare(args);
    for (name, value) in ready["variables"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    command
}

#[test]
fn a_script_starts_it_uses_it_and_stops_it() {
    for (args, signal) in [
        (&["emulator", "--json"][..], "TERM"),
        (&["emulator", "--json", "--tls"], "INT"),
        (
            &["emulator", "--json", "--tls", "--environment", "production"],
            "HUP",
        ),
    ] {
        let (mut child, ready) = started(bare(args));
        let tls = args.contains(&"--tls");
        assert_eq!(ready["ca_file"].is_string(), tls, "{ready}");
        assert_eq!(
            ready["variables"]["LAYER_CLIENT_SECRET"],
            DEFAULT_CLIENT_SECRET
        );
        let whoami = run(with_variables(&ready, &["whoami", "--json"]));
        assert_eq!(
            whoami.json()["client_name"],
            "Layer Example",
            "{}",
            whoami.all()
        );

        child.signal(signal);
        assert_eq!(child.wait(), 0, "{signal}");
        let address = ready["api_url"]
            .as_str()
            .unwrap()
            .split("//")
            .nth(1)
            .unwrap();
        assert!(
            TcpStream::connect(address).is_err(),
            "the port is free again"
        );
        if let Some(path) = ready["ca_file"].as_str() {
            assert!(
                !std::path::Path::new(path).exists(),
                "{path} is left behind"
            );
        }
    }
}

#[test]
fn it_stops_by_an_order_of_the_control_api() {
    let (mut child, ready) = started(bare(&["emulator", "--json"]));
    let host = ready["control_url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap();
    let mut control = TcpStream::connect(host).unwrap();
    let order = format!(
        "POST /shutdown HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    control.write_all(order.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = control.read_to_string(&mut answer);
    assert_eq!(child.wait(), 0, "{answer}");
}

#[test]
fn flags_reach_the_emulator() {
    let ca = tempfile::TempDir::new().unwrap();
    let path = ca.path().join("ca.pem");
    let mut command = bare(&[
        "emulator",
        "--json",
        "--environment",
        "production",
        "--ca-out",
    ]);
    command.arg(&path).args([
        "--access-token-lifetime",
        "120",
        "--business-token-lifetime",
        "30",
        "--rate-limit",
        "none",
        "--business",
        DEMO_BUSINESS_ID,
        "--scope",
        "my-scope",
    ]);
    let (_child, ready) = started(command);
    assert_eq!(ready["ca_file"], path.to_str().unwrap());
    assert_eq!(
        (&ready["environment"], &ready["scope"]),
        (&"production".into(), &"my-scope".into())
    );
    let token = run(with_variables(&ready, &["token", "--json"])).json();
    assert!(
        (110..=120).contains(&token["expires_in"].as_u64().unwrap()),
        "{token}"
    );
    let business = run(with_variables(
        &ready,
        &["business-token", DEMO_BUSINESS_ID, "--json"],
    ));
    assert!((20..=30).contains(&business.json()["expires_in"].as_u64().unwrap()));
    let other = "00000000-0000-4000-8000-000000000000";
    let unknown = run(with_variables(&ready, &["business-token", other, "--json"]));
    assert_eq!(
        (unknown.code, &unknown.error()["http_status"]),
        (6, &404.into())
    );
}

#[test]
fn it_reads_basic_as_it_is_told() {
    let secret = "a%2Bb+c";
    let mut command = bare(&[
        "emulator",
        "--json",
        "--client-id",
        "me",
        "--basic-encoding",
        "form",
    ]);
    command.env("LAYER_CLIENT_SECRET", secret);
    let (_child, ready) = started(command);
    for (encoding, code) in [("raw", 5), ("form", 0)] {
        let mut whoami = with_variables(&ready, &["whoami", "--basic-encoding", encoding]);
        whoami.env("LAYER_CLIENT_SECRET", secret);
        assert_eq!(run(whoami).code, code, "{encoding}");
    }
}

#[test]
fn a_secret_that_was_given_is_not_printed_back() {
    for json in [true, false] {
        let mut command = bare(&[
            "emulator",
            "--client-id",
            "me",
            if json { "--json" } else { "-v" },
        ]);
        command.env("LAYER_CLIENT_SECRET", "canary-secret");
        let mut child = Running::spawn(command);
        let text = child.read_until(move |line| json || line.contains("auth-token"));
        assert!(text.contains("LAYER_CLIENT_ID"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        // Nor another one in its place.
        assert!(!text.contains(DEFAULT_CLIENT_SECRET), "{text}");
        if json {
            let ready: Value = serde_json::from_str(&text).unwrap();
            let mut whoami = with_variables(&ready, &["whoami"]);
            whoami.env("LAYER_CLIENT_SECRET", "canary-secret");
            assert_eq!(run(whoami).code, 0);
        }
    }
    // Without an id, a real account's variables are left alone.
    let mut command = bare(&["emulator", "--json"]);
    command
        .env("LAYER_CLIENT_ID", "real")
        .env("LAYER_CLIENT_SECRET", "canary-secret");
    let (_child, ready) = started(command);
    assert_eq!(
        ready["variables"]["LAYER_CLIENT_SECRET"],
        DEFAULT_CLIENT_SECRET
    );
    assert_ne!(ready["client_id"], "real");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome = run(bare(&["emulator", "--port", &port, "--json"]));
    assert_eq!(
        (outcome.code, &outcome.error()["kind"]),
        (12, &"local".into())
    );
    assert!(outcome.error()["message"].as_str().unwrap().contains(&port));
}

#[test]
fn what_it_prints_can_be_pasted() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    for args in [&["emulator"][..], &["emulator", "--tls"]] {
        let mut child = Running::spawn(bare(args));
        let text = child.read_until(|line| line.contains("auth-token"));
        let mut shell = Command::new("sh");
        shell.args(["-e"]).env_clear().stdin(Stdio::null());
        shell.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let outcome = run_with_input(shell, Some(&text));
        assert_eq!(outcome.code, 0, "{}", outcome.all());
        assert!(
            outcome.stdout.contains("Layer Example"),
            "{}",
            outcome.all()
        );
        assert!(
            outcome.stdout.contains("\"expires_in\":3600"),
            "{}",
            outcome.all()
        );
        child.signal("TERM");
        assert_eq!(child.wait(), 0);
    }
}
