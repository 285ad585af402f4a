//! The command `emulator`, as scripts start, use and stop it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use common::{Running, bare, run, run_with_input};
use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID};
use serde_json::Value;

/// Starts the emulator and reads its line of JSON.
fn started(command: Command) -> (Running, Value) {
    let mut child = Running::spawn(command);
    let line = child.read_until(|_| true);
    let ready =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the line is not JSON: {line:?}"));
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
fn signals_stop_the_emulator_and_remove_its_files() {
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
        assert_eq!(
            ready["ca_file"].is_string(),
            tls,
            "{args:?}: wrong ca_file: {ready}"
        );
        assert_eq!(
            ready["variables"]["LAYER_CLIENT_SECRET"], DEFAULT_CLIENT_SECRET,
            "{args:?}: wrong secret: {ready}"
        );
        let whoami = run(with_variables(&ready, &["whoami", "--json"]));
        assert_eq!(
            whoami.json()["client_name"],
            "Layer Example",
            "{args:?}: whoami fails: {}",
            whoami.all()
        );

        child.signal(signal);
        assert_eq!(child.wait(), 0, "wrong exit code after SIG{signal}");
        let address = ready["api_url"]
            .as_str()
            .unwrap()
            .split("//")
            .nth(1)
            .unwrap();
        assert!(
            TcpStream::connect(address).is_err(),
            "{address} still accepts connections after SIG{signal}"
        );
        if let Some(path) = ready["ca_file"].as_str() {
            assert!(
                !std::path::Path::new(path).exists(),
                "{path} still exists after SIG{signal}"
            );
        }
    }
}

#[test]
fn the_control_api_stops_the_emulator() {
    let (mut child, ready) = started(bare(&["emulator", "--json"]));
    let host = ready["control_url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap();
    let mut control = TcpStream::connect(host).unwrap();
    let request = format!(
        "POST /shutdown HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    control.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    let _ = control.read_to_string(&mut response);
    assert_eq!(
        child.wait(),
        0,
        "wrong exit code; the response to /shutdown was {response}"
    );
}

#[test]
fn flags_are_passed_to_the_emulator() {
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
    assert_eq!(
        ready["ca_file"],
        path.to_str().unwrap(),
        "wrong ca_file: {ready}"
    );
    assert_eq!(
        (&ready["environment"], &ready["scope"]),
        (&"production".into(), &"my-scope".into()),
        "wrong environment or scope: {ready}"
    );
    let token = run(with_variables(&ready, &["token", "--json"])).json();
    assert!(
        (1..=120).contains(&token["expires_in"].as_u64().unwrap()),
        "--access-token-lifetime 120 gives another lifetime: {token}"
    );
    let business = run(with_variables(
        &ready,
        &["business-token", DEMO_BUSINESS_ID, "--json"],
    ));
    assert!(
        (1..=30).contains(&business.json()["expires_in"].as_u64().unwrap()),
        "--business-token-lifetime 30 gives another lifetime: {}",
        business.all()
    );
    let other = "00000000-0000-4000-8000-000000000000";
    let unknown = run(with_variables(&ready, &["business-token", other, "--json"]));
    assert_eq!(
        (unknown.code, &unknown.error()["http_status"]),
        (6, &404.into()),
        "a business that --business does not name is found"
    );
}

#[test]
fn basic_encoding_applies_to_the_emulator() {
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
        let outcome = run(whoami);
        assert_eq!(
            outcome.code,
            code,
            "wrong exit code for encoding {encoding}: {}",
            outcome.all()
        );
    }
}

#[test]
fn the_emulator_does_not_print_a_given_secret() {
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
        assert!(
            text.contains("LAYER_CLIENT_ID"),
            "LAYER_CLIENT_ID is missing: {text}"
        );
        assert!(!text.contains("canary"), "the secret is printed: {text}");
        assert!(
            !text.contains(DEFAULT_CLIENT_SECRET),
            "the default secret is printed instead: {text}"
        );
        if json {
            let ready: Value = serde_json::from_str(&text).unwrap();
            let mut whoami = with_variables(&ready, &["whoami"]);
            whoami.env("LAYER_CLIENT_SECRET", "canary-secret");
            run(whoami).assert_code(0);
        }
    }
    // Without --client-id, the variables of a real account are ignored.
    let mut command = bare(&["emulator", "--json"]);
    command
        .env("LAYER_CLIENT_ID", "real")
        .env("LAYER_CLIENT_SECRET", "canary-secret");
    let (_child, ready) = started(command);
    assert_eq!(
        ready["variables"]["LAYER_CLIENT_SECRET"], DEFAULT_CLIENT_SECRET,
        "wrong secret: {ready}"
    );
    assert_ne!(
        ready["client_id"], "real",
        "LAYER_CLIENT_ID is used: {ready}"
    );
}

#[test]
fn a_port_in_use_is_an_error_with_the_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome = run(bare(&["emulator", "--port", &port, "--json"]));
    assert_eq!(
        (outcome.code, &outcome.error()["kind"]),
        (12, &"local".into()),
        "wrong exit code or kind: {}",
        outcome.all()
    );
    outcome.assert_stderr_contains(&format!("127.0.0.1:{port}"));
    outcome.assert_stderr_contains("in use");
}

#[test]
fn faults_tls_and_the_proxy_are_set_by_flags() {
    let name = "https://auth.layerfi.test";
    let (_child, ready) = started(bare(&[
        "emulator",
        "--json",
        "--tls",
        "--name",
        "auth.layerfi.test",
        "--proxy-port",
        "0",
        "--tls-versions",
        "1.2",
        "--http-versions",
        "1.1",
        "--idle-timeout",
        "60",
        "--requests-per-connection",
        "1",
        "--fault",
        r#"{"endpoint": "whoami", "status": 418}"#,
        "--fault",
        r#"{"endpoint": "proxy", "delay_ms": 1, "times": "forever"}"#,
    ]));
    let whoami = || {
        let proxy = ready["proxy_url"].as_str().unwrap();
        let auth_url = format!("{name}/oauth2/token");
        let args = ["whoami", "--json", "--proxy", proxy, "--api-url", name];
        run(with_variables(
            &ready,
            &[&args[..], &["--auth-url", &auth_url]].concat(),
        ))
    };
    let refused = whoami();
    assert_eq!(
        (refused.code, &refused.error()["http_status"]),
        (6, &418.into()),
        "the first request must meet the fault: {}",
        refused.all()
    );
    let answered = whoami();
    assert_eq!(
        answered.code,
        0,
        "the second request must be answered: {}",
        answered.all()
    );

    let (_child, ready) = started(bare(&["emulator", "--json", "--tls-trouble", "expired"]));
    let refused = run(with_variables(&ready, &["whoami", "--json"]));
    assert_eq!(
        refused.error()["kind"],
        "tls",
        "the certificate must be refused: {}",
        refused.all()
    );
    for flags in [
        ["--tls-trouble", "unlucky"],
        ["--fault", r#"{"statsu": 503}"#],
        ["--fault", r#"{"status": 20}"#],
        ["--requests-per-connection", "0"],
    ] {
        let outcome = run(bare(&[&["emulator", "--json"], &flags[..]].concat()));
        assert_eq!(
            outcome.code,
            2,
            "{flags:?} must be refused: {}",
            outcome.all()
        );
    }
}

#[test]
fn page_of_the_command_has_the_flags_of_its_help() {
    let help = run(bare(&["emulator", "--help"])).stdout;
    let (_, section) = help.split_once("\nEmulator:\n").unwrap();
    let section = section.split("\nSettings:\n").next().unwrap();
    let mut flags: Vec<_> = section
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    flags.sort_unstable();
    assert!(flags.len() > 15, "too few flags in the help: {flags:?}");
    let page = include_str!("../../docs/cli.md");
    let (_, table) = page.split_once("| emulator flag | meaning |\n").unwrap();
    let mut documented: Vec<_> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`'))
        .filter_map(|part| part.strip_prefix("--"))
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|flag| !flag.starts_with('-'))
        .collect();
    documented.sort_unstable();
    assert_eq!(
        documented, flags,
        "docs/cli.md must list the flags of the help"
    );
}

#[test]
fn the_printed_commands_run_in_a_shell() {
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
        outcome.assert_code(0);
        outcome.assert_stdout_contains("Layer Example");
        outcome.assert_stdout_contains("\"expires_in\":3600");
        child.signal("TERM");
        assert_eq!(child.wait(), 0, "wrong exit code after SIGTERM");
    }
}

#[test]
fn flags_for_a_browser_are_passed_to_the_emulator() {
    let folder = tempfile::TempDir::new().unwrap();
    let authority = folder.path().join("authority.pem");
    let start = |more: &[&str]| {
        let mut command = bare(&["emulator", "--json", "--demo-data", "--authority-key"]);
        command.arg(&authority).args(more);
        started(command)
    };
    let pem = |ready: &Value| std::fs::read_to_string(ready["ca_file"].as_str().unwrap()).unwrap();
    let (mut first, ready) = start(&[]);
    let before = pem(&ready);
    assert_eq!(
        ready["console_url"],
        format!("{}/", ready["control_url"].as_str().unwrap()),
        "wrong address of the console: {ready}"
    );
    let settings = control(&ready, "/settings");
    assert!(
        settings.contains(r#""demo_data":true"#),
        "the emulator must have demo data: {settings}"
    );
    first.signal("TERM");
    assert_eq!(first.wait(), 0, "wrong exit code");

    let (_second, ready) = start(&["--no-console"]);
    assert_eq!(pem(&ready), before, "the authority must be the same");
    assert!(ready["console_url"].is_null(), "there must be no console");

    let missing = folder.path().join("missing").join("authority.pem");
    let mut command = bare(&["emulator", "--json", "--authority-key"]);
    command.arg(&missing);
    let refused = run(command);
    assert_eq!(refused.code, 12, "wrong exit code: {}", refused.all());
    assert!(
        refused.all().contains("check the path"),
        "the error must say what to do: {}",
        refused.all()
    );
}

/// The response to a `GET` of the control API.
fn control(ready: &Value, path: &str) -> String {
    let url = ready["control_url"].as_str().unwrap();
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}
