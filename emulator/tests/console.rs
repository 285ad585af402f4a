//! The console: its page, what it shows, and who may use its commands. Its
//! behaviour in a browser is tested in `tests/browser`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use common::{access_token, command, control, request_business_token, send, start, whoami};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID as DEMO, Emulator, TokenKind,
};
use serde_json::Value;

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

#[test]
fn browser_gets_the_console_and_a_program_gets_json() {
    let layer = start(Emulator::builder());
    let address = layer.control_address();
    let page = send(address, "GET", "/", &[HTML], "")
        .expect_status(200)
        .expect_header("content-type", Some("text/html; charset=utf-8"))
        .expect_header("x-frame-options", Some("DENY"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
        "the page may only run its own script: {policy}"
    );
    for outside in ["src=", "href=\"http", "url(", "@import", "//cdn"] {
        assert!(
            !page.body.contains(outside),
            "the page must be one file, but contains {outside:?}"
        );
    }
    for accept in ["*/*", "application/json"] {
        let info = send(address, "GET", "/", &[("accept", accept)], "").json();
        assert_eq!(
            info["name"], "layerfi-auth-emulator",
            "no JSON for {accept}"
        );
        assert_eq!(
            info["console_url"].as_str(),
            layer.console_url().as_deref(),
            "wrong address of the console"
        );
    }
}

#[test]
fn console_can_be_switched_off() {
    let layer = start(Emulator::builder().console(false));
    let info = send(layer.control_address(), "GET", "/", &[HTML], "").json();
    assert_eq!(
        info["name"], "layerfi-auth-emulator",
        "there must be no page"
    );
    assert_eq!(info["console_url"], Value::Null, "there is no console");
    assert_eq!(layer.console_url(), None, "there is no console");
}

#[test]
fn page_of_another_site_cannot_use_a_command() {
    let layer = start(Emulator::builder());
    let info = command(&layer, "GET", "/", "");
    let address = layer.control_address();
    let json = ("content-type", "application/json");
    for order in info["orders"].as_array().unwrap() {
        let (method, path) = order.as_str().unwrap().split_once(' ').unwrap();
        let path = path.replace("{id}", "1");
        for foreign in [
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            send(address, method, &path, &[foreign, json], "").expect_status(403);
        }
    }
    // The console itself. The tests' host is `localhost`.
    let own = ("origin", "http://localhost");
    let site = ("sec-fetch-site", "same-origin");
    send(address, "POST", "/reset", &[own, site, json], "{}").expect_status(200);
    let form = ("content-type", "text/plain");
    send(address, "POST", "/reset", &[own, site, form], "{}").expect_status(403);
    // A link from another page may open the console, but not read data.
    let link = ("sec-fetch-site", "cross-site");
    send(address, "GET", "/", &[HTML, link], "").expect_status(200);
    send(address, "GET", "/snapshot", &[HTML, link], "").expect_status(403);
}

#[test]
fn snapshot_has_all_that_happened_and_no_secret_or_token() {
    let layer = start(Emulator::builder());
    let access = access_token(&layer);
    let business = request_business_token(&layer, &access, DEMO, "").access_token();
    whoami(&layer, &access).expect_status(200);
    let rotation =
        format!(r#"{{"client_id": "{DEFAULT_CLIENT_ID}", "client_secret": "rotated-secret"}}"#);
    command(&layer, "POST", "/rotate", &rotation);

    let response = control(&layer, "GET", "/snapshot", "");
    for secret in [DEFAULT_CLIENT_SECRET, "rotated-secret", &access, &business] {
        assert!(
            !response.body.contains(secret),
            "the snapshot must not contain a secret or a token"
        );
    }
    let snapshot = response.json();
    let log = snapshot["log"].as_array().unwrap();
    assert_eq!(log.len(), 3, "wrong requests: {log:?}");
    let tokens = snapshot["tokens"].as_array().unwrap();
    let kinds: Vec<_> = tokens.iter().map(|token| &token["kind"]).collect();
    assert_eq!(kinds, ["access", "business"], "wrong tokens: {tokens:?}");
    assert_eq!(
        log[2]["authorization"]["fingerprint"], tokens[0]["fingerprint"],
        "the last request must be found by its token"
    );
    assert_eq!(tokens[1]["business_id"], DEMO, "wrong business: {tokens:?}");
    assert_eq!(snapshot["counters"]["total"], 3, "wrong counters");

    let later = command(&layer, "GET", "/snapshot?after=2", "");
    assert_eq!(
        later["log"].as_array().unwrap().len(),
        1,
        "only the last one"
    );
    command(&layer, "DELETE", "/log", "");
    let cleared = command(&layer, "GET", "/snapshot", "");
    assert_eq!(cleared["log_from"], 4, "the numbers must go on: {cleared}");
    assert_eq!(
        control(&layer, "GET", "/snapshot?x=1", "").status,
        400,
        "the status of the response"
    );
}

#[test]
fn token_is_listed_and_revoked_by_its_number() {
    let layer = start(Emulator::builder());
    let (one, two) = (access_token(&layer), access_token(&layer));
    let listed = command(&layer, "GET", "/tokens", "");
    let listed = listed["tokens"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "wrong tokens: {listed:?}");
    assert_eq!(
        listed[0]["fingerprint"],
        layer.fingerprint(&one),
        "wrong order"
    );
    let number = listed[0]["number"].as_u64().unwrap();
    let revoke = |number: u64| {
        let body = format!(r#"{{"number": {number}}}"#);
        command(&layer, "POST", "/revoke", &body)["revoked"] == true
    };
    assert!(revoke(number), "an issued token must be revocable");
    assert!(!revoke(1_000), "another number is no token");
    whoami(&layer, &one).expect_status(401);
    whoami(&layer, &two).expect_status(200);
    layer.revoke_all(TokenKind::Access);
    assert!(
        layer.issued_tokens().iter().all(|token| token.revoked),
        "the list must say that all are revoked"
    );
    let both = r#"{"number": 1, "all": "access"}"#;
    assert_eq!(
        control(&layer, "POST", "/revoke", both).status,
        400,
        "the status of the response"
    );
}
