//! The API: whoami, business tokens, businesses, envelopes, CORS.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::time::Duration;

use common::{get, mint, send, start, token, whoami};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID as DEMO, Emulator, TokenKind};
use serde_json::{Value, json};

const OTHER: &str = "018f1657-dc66-7482-917b-c0c0e532f52b";

fn business_token(layer: &Emulator, access: &str) -> String {
    let answer = mint(layer, access, DEMO, r#"{"session_duration": 900}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_good_token_there_is_an_envelope_and_a_challenge() {
    let layer = start(Emulator::builder());
    for headers in [
        &[][..],
        &[("authorization", "Basic aWQ6cw==")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer nonsense")],
    ] {
        let answer = send(layer.address(), "GET", "/whoami", headers, "");
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(answer.header("x-request-id").is_some());
        let json = answer.json();
        let error = &json["errors"][0];
        assert_eq!(error["error_enum"], "UNAUTHENTICATED");
        assert!(error["type"].is_string() && error["description"].is_string());
        assert!(error["meta"].is_object());
    }
}

#[test]
fn revocation_takes_one_or_all() {
    let layer = start(Emulator::builder());
    let (one, two) = (token(&layer), token(&layer));
    let business = business_token(&layer, &one);
    assert!(layer.revoke(&one));
    assert!(!layer.revoke("nonsense"));
    assert_eq!((whoami(&layer, &one), whoami(&layer, &two)), (401, 200));
    layer.revoke_all(TokenKind::Access);
    assert_eq!(whoami(&layer, &two), 401);
    let path = format!("/v1/businesses/{DEMO}");
    assert_eq!(get(&layer, &path, &business).status, 200);
    layer.revoke_all(TokenKind::Business);
    assert_eq!(get(&layer, &path, &business).status, 401);
    assert_eq!(whoami(&layer, &token(&layer)), 200);
}

#[test]
fn minting_takes_integers_and_strings_and_refuses_the_rest() {
    let layer = start(Emulator::builder());
    let access = token(&layer);
    for (body, seconds) in [
        ("", 3600),
        ("{}", 3600),
        (r#"{"session_duration": 1}"#, 1),
        (r#"{"session_duration": "86400"}"#, 86_400),
        (r#"{"session_duration": 900, "more": true}"#, 900),
    ] {
        let answer = mint(&layer, &access, DEMO, body);
        assert_eq!(
            (answer.status, &answer.json()["expires_in"]),
            (200, &json!(seconds)),
            "{body}"
        );
        assert_eq!(layer.log().last().unwrap().session_duration, Some(seconds));
    }
    for (body, error) in [
        (r#"{"session_duration": 0}"#, "INVALID_SESSION_DURATION"),
        (r#"{"session_duration": 86401}"#, "INVALID_SESSION_DURATION"),
        (
            r#"{"session_duration": "soon"}"#,
            "INVALID_SESSION_DURATION",
        ),
        (r#"{"session_duration": null}"#, "INVALID_SESSION_DURATION"),
        ("[]", "INVALID_REQUEST_BODY"),
        ("{", "INVALID_REQUEST_BODY"),
    ] {
        let answer = mint(&layer, &access, DEMO, body);
        assert_eq!(
            (answer.status, answer.error_enum().as_str()),
            (400, error),
            "{body}"
        );
    }
    let answer = mint(&layer, &access, DEMO, &" ".repeat(70_000));
    assert_eq!(
        (answer.status, answer.error_enum().as_str()),
        (413, "REQUEST_TOO_LARGE")
    );
    let answer = get(
        &layer,
        &format!("/v1/businesses/{DEMO}/auth-token"),
        &access,
    );
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(layer.counters().business_tokens, 5);
}

#[test]
fn ids_that_are_no_uuid_are_refused_and_unknown_ones_are_not_found() {
    let layer = start(Emulator::builder().business(DEMO));
    let access = token(&layer);
    for id in [
        "",
        "abc",
        "..",
        "%2e%2e",
        "%00",
        &DEMO.replace('-', ""),
        &format!("{DEMO}x"),
    ] {
        let answer = mint(&layer, &access, id, "");
        assert_eq!(answer.error_enum(), "INVALID_BUSINESS_ID", "{id}");
        assert_eq!(answer.status, 400);
    }
    let answer = mint(&layer, &access, OTHER, "");
    assert_eq!(
        (answer.status, answer.error_enum().as_str()),
        (404, "BUSINESS_NOT_FOUND")
    );
    assert_eq!(mint(&layer, &access, &DEMO.to_uppercase(), "").status, 200);
    assert!(
        Emulator::builder()
            .business("abc")
            .start_blocking()
            .is_err()
    );
    let open = start(Emulator::builder());
    assert_eq!(
        mint(&open, &token(&open), OTHER, "").status,
        200,
        "every UUID is owned"
    );
}

#[test]
fn a_business_token_is_good_for_its_business_only() {
    let layer = start(Emulator::builder());
    let access = token(&layer);
    let business = business_token(&layer, &access);
    assert_eq!(
        get(&layer, &format!("/v1/businesses/{DEMO}"), &business).status,
        200
    );
    let answer = get(&layer, &format!("/v1/businesses/{OTHER}"), &business);
    assert_eq!(
        (answer.status, answer.error_enum().as_str()),
        (403, "FORBIDDEN")
    );
    assert_eq!(get(&layer, "/whoami", &business).status, 403);
    assert_eq!(mint(&layer, &business, DEMO, "").status, 403);
    layer.advance(Duration::from_secs(901));
    assert_eq!(
        get(&layer, &format!("/v1/businesses/{DEMO}"), &business).status,
        401
    );
    assert_eq!(whoami(&layer, &access), 200);
    layer.set_business_token_lifetime(Some(Duration::from_secs(5)));
    assert_eq!(mint(&layer, &access, DEMO, "").json()["expires_in"], 5);
    layer.set_expires_in(TokenKind::Business, Some(json!("12345")));
    assert_eq!(
        mint(&layer, &access, DEMO, "").json()["expires_in"],
        "12345"
    );
}

#[test]
fn what_the_react_components_read_is_there() {
    let layer = start(Emulator::builder());
    let business = business_token(&layer, &token(&layer));
    let profile = get(&layer, &format!("/v1/businesses/{DEMO}"), &business).json();
    assert_eq!(profile["data"]["id"], DEMO);
    assert_eq!(profile["data"]["is_demo"], true);
    assert!(profile["data"]["activation_at"].is_string());
    for resource in [
        "accounting-config",
        "bank-accounts",
        "bookkeeping/status",
        "reports/profit-and-loss",
        "reports/profit-and-loss-summaries",
        "bank-transactions",
        "tags/dimensions",
        "customers",
        "vendors",
        "custom-accounts",
        "categories",
    ] {
        let path = format!("/v1/businesses/{DEMO}/{resource}?limit=50");
        let answer = get(&layer, &path, &business);
        assert_eq!(answer.status, 200, "{resource}");
        assert_ne!(answer.json()["data"], Value::Null, "{resource}");
    }
    let answer = get(&layer, &format!("/v1/businesses/{DEMO}/secrets"), &business);
    assert_eq!(
        (answer.status, answer.error_enum().as_str()),
        (404, "NOT_FOUND")
    );
    assert!(
        layer
            .log()
            .iter()
            .all(|entry| !entry.path.contains("limit"))
    );
}

#[test]
fn browsers_may_call_it() {
    let layer = start(Emulator::builder());
    let origin = ("origin", "http://localhost:5173");
    let asked = (
        "access-control-request-headers",
        "authorization,layer-locale",
    );
    let method = ("access-control-request-method", "GET");
    let path = format!("/v1/businesses/{DEMO}/vendors");
    let answer = send(
        layer.address(),
        "OPTIONS",
        &path,
        &[origin, asked, method],
        "",
    );
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "content-type",
        "layer-locale",
        "layer-react-version",
        "cache-control",
    ] {
        assert!(allowed.contains(name), "{name}");
    }
    let answer = send(layer.address(), "GET", "/whoami", &[origin], "");
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("*"),
        "errors are readable too"
    );
    let answer = send(layer.address(), "POST", "/oauth2/token", &[origin], "");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        None,
        "no page has a secret"
    );
}
