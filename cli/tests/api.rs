//! The command `api`, against the emulator.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use common::{at, run, run_with_input, start};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID, Emulator, Endpoint, Fault, TokenKind};
use serde_json::{Value, json};

#[test]
fn api_prints_the_body_and_with_include_the_headers() {
    let layer = start(Emulator::builder());
    let outcome = run(at(&layer, &["api", "get", "/whoami"]));
    outcome.assert_code(0);
    assert_eq!(outcome.json()["data"]["clientName"], "Layer Example");
    assert_eq!(outcome.stderr, "", "api writes to stderr");

    let outcome = run(at(&layer, &["api", "GET", "/whoami", "-i"]));
    let (head, body) = outcome.stdout.split_once("\n\n").unwrap();
    assert!(
        head.starts_with("HTTP 200 OK\n") && head.contains("\ncontent-type: application/json"),
        "--include does not print status and headers: {head}"
    );
    assert!(body.contains("Layer Example"), "no body: {body}");

    let outcome = run(at(&layer, &["--json", "api", "GET", "/whoami"]));
    let json = outcome.json();
    assert_eq!(json["status"], 200, "the status of the response");
    assert_eq!(json["headers"]["content-type"], "application/json");
    assert_eq!(json["body"]["data"]["clientName"], "Layer Example");
}

#[test]
fn api_sends_the_body_and_the_headers() {
    let layer = start(Emulator::builder());
    let path = format!("/v1/businesses/{DEMO_BUSINESS_ID}/auth-token");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.json");
    std::fs::write(&file, r#"{"session_duration": 902}"#).unwrap();
    let from_file = format!("@{}", file.display());
    for (data, input, seconds) in [
        (r#"{"session_duration": 901}"#, None, 901),
        (&from_file[..], None, 902),
        ("-", Some(r#"{"session_duration": 903}"#), 903),
        ("@-", Some(r#"{"session_duration": 904}"#), 904),
    ] {
        let command = at(&layer, &["api", "POST", &path, "-d", data]);
        let outcome = run_with_input(command, input);
        outcome.assert_code(0);
        let log = layer.log();
        let last = log.last().unwrap();
        assert_eq!(last.session_duration, Some(seconds), "-d {data}");
        assert_eq!(
            last.headers["content-type"], "application/json",
            "-d {data}"
        );
    }
    let arguments = ["api", "GET", "/whoami", "-H", "Accept: text/csv"];
    run(at(&layer, &arguments)).assert_code(0);
    assert_eq!(layer.log().last().unwrap().headers["accept"], "text/csv");
}

#[test]
fn api_ends_with_an_error_for_an_error_status() {
    let layer = start(Emulator::builder());
    for (status, code, kind, retryable) in [
        (404, 6, "api", false),
        (429, 7, "rate_limited", true),
        (503, 6, "api", true),
    ] {
        let fault: Fault = serde_json::from_value(json!({
            "endpoint": "whoami", "status": status, "headers": {"retry-after": "7"},
            "body": {"a": 1},
        }))
        .unwrap();
        layer.add_fault(fault).unwrap();
        let outcome = run(at(&layer, &["api", "GET", "/whoami"]));
        outcome.assert_code(code);
        assert_eq!(outcome.stdout, r#"{"a":1}"#, "the body is not printed");
        outcome.assert_stderr_contains(&format!("error: GET /whoami: HTTP {status} "));
        outcome.assert_stderr_contains("  try: ");

        let fault: Fault = serde_json::from_value(json!({
            "endpoint": "whoami", "status": status, "headers": {"retry-after": "7"},
        }))
        .unwrap();
        layer.add_fault(fault).unwrap();
        let outcome = run(at(&layer, &["--json", "api", "GET", "/whoami"]));
        outcome.assert_code(code);
        let error = outcome.error();
        assert_eq!(error["kind"], kind);
        assert_eq!(error["http_status"], status);
        assert_eq!(error["retryable"], retryable, "status {status}");
        assert_eq!(error["retry_after"], 7);
        assert!(error["request_id"].is_string(), "no request id: {error}");
        assert_eq!(outcome.json()["status"], status);
    }
}

#[test]
fn api_repeats_a_refused_call_once_with_a_new_token() {
    let layer = start(Emulator::builder());
    layer
        .fault(Endpoint::Whoami, Fault::status(401).times(1))
        .unwrap();
    let outcome = run(at(&layer, &["api", "GET", "/whoami"]));
    outcome.assert_code(0);
    let counters = layer.counters();
    assert_eq!(
        counters.endpoint(Endpoint::Token).total,
        2,
        "token requests"
    );
    assert_eq!(
        counters.endpoint(Endpoint::Whoami).total,
        2,
        "requests to whoami"
    );

    layer
        .fault(Endpoint::Whoami, Fault::status(401).forever())
        .unwrap();
    let outcome = run(at(&layer, &["api", "GET", "/whoami"]));
    outcome.assert_code(6);
    assert_eq!(
        layer.counters().endpoint(Endpoint::Whoami).total,
        4,
        "requests to whoami"
    );
}

#[test]
fn api_uses_a_token_of_the_business_on_request() {
    let layer = start(Emulator::builder());
    let path = format!("/v1/businesses/{DEMO_BUSINESS_ID}");
    let arguments = ["api", "GET", &path, "--business", DEMO_BUSINESS_ID];
    let with_duration = [&arguments[..], &["--session-duration", "777"]].concat();
    let outcome = run(at(&layer, &with_duration));
    outcome.assert_code(0);
    assert_eq!(outcome.json()["data"]["id"], DEMO_BUSINESS_ID);
    let log = layer.log();
    let [_, mint, call] = &log[..] else {
        panic!("not three requests: {log:?}")
    };
    assert_eq!(mint.session_duration, Some(777));
    let mark = |entry: &layerfi_auth_emulator::LogEntry| format!("{:?}", entry.authorization);
    assert_ne!(mark(call), mark(mint), "the access token was used");

    // Without a valid business token, the call ends and shows no token.
    layer.revoke_all(TokenKind::Business);
    layer
        .fault(Endpoint::Business, Fault::status(401).forever())
        .unwrap();
    let outcome = run(at(&layer, &arguments));
    outcome.assert_code(6);
    outcome.assert_nowhere("eyJ");
}

#[test]
fn b20_api_sends_the_token_to_no_other_server() {
    let layer = start(Emulator::builder());
    // Another origin on the same machine, which would accept a connection.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let address = other.local_addr().unwrap();
    let host = layer.url().replace("http://", "");
    let layers_port = host.split_once(':').unwrap().1;
    for path in [
        format!("http://{address}/whoami"),
        format!("http://{host}@{address}/whoami"),
        format!("http://localhost:{layers_port}/whoami"),
        format!("{address}/whoami"),
        format!("http:\\\\{address}/whoami"),
        "whoami".to_owned(),
        String::new(),
        "/a b".to_owned(),
    ] {
        let outcome = run(at(&layer, &["api", "GET", &path]));
        outcome.assert_code(2);
    }
    // This is a path of the API.
    let path = format!("//{address}/whoami");
    run(at(&layer, &["api", "GET", &path])).assert_code(6);
    let whoami = format!("{}/whoami", layer.url());
    run(at(&layer, &["api", "GET", &whoami])).assert_code(0);
    match other.accept() {
        Ok((mut stream, _)) => {
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            panic!("another server got a connection: {text}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
    }
}

#[test]
fn api_refuses_arguments_that_cannot_work_before_any_request() {
    let layer = start(Emulator::builder());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"{bad").unwrap();
    let bad = format!("@{}", file.path().display());
    for (arguments, code, text) in [
        (&["-d", "{bad"][..], 2, "--data is not valid JSON"),
        (&["-d", &bad], 2, "--data is not valid JSON"),
        (&["-d", "@/missing"], 12, "/missing"),
        (
            &["-H", "Authorization: Bearer x"],
            2,
            "sets the header authorization itself",
        ),
        (&["-H", "host: x"], 2, "sets the header host itself"),
        (&["-H", "no colon"], 2, "a name, a colon and a value"),
        (
            &["-d", "-", "--client-secret-stdin"],
            2,
            "both read standard input",
        ),
        (&["--session-duration", "9"], 2, "--business"),
    ] {
        let all = [&["api", "POST", "/whoami"], arguments].concat();
        let outcome = run(at(&layer, &all));
        outcome.assert_code(code);
        outcome.assert_stderr_contains(text);
        let error = [&["--json"], &all[..]].concat();
        assert!(
            matches!(run(at(&layer, &error)).error(), Value::Object(_)),
            "{arguments:?}: the error is not JSON"
        );
    }
    assert_eq!(layer.counters().total, 0, "a request was sent");
    let text = run(at(
        &layer,
        &[
            "api",
            "POST",
            "/v1/x",
            "-d",
            "a,b",
            "-H",
            "Content-Type: text/csv",
        ],
    ));
    text.assert_code(6);
    assert_eq!(
        layer.log().last().unwrap().headers["content-type"],
        "text/csv"
    );
}
