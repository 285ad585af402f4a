//! API: whoami, business tokens, businesses, errors, CORS.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::time::Duration;

use common::{access_token, get, request_business_token, send, start, start_error, whoami};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID as DEMO, Emulator, EmulatorError, TokenKind};
use serde_json::{Value, json};

const OTHER: &str = "018f1657-dc66-7482-917b-c0c0e532f52b";

fn business_token(layer: &Emulator, access: &str) -> String {
    request_business_token(layer, access, DEMO, r#"{"session_duration": 900}"#)
        .expect_status(200)
        .access_token()
}

#[test]
fn request_without_a_valid_token_gets_an_error_envelope_and_a_challenge() {
    let layer = start(Emulator::builder());
    for headers in [
        &[][..],
        &[("authorization", "Basic aWQ6cw==")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer nonsense")],
    ] {
        let response = send(layer.address(), "GET", "/whoami", headers, "")
            .expect_error(401, "UNAUTHENTICATED")
            .expect_header("www-authenticate", Some("Bearer"));
        assert!(
            response.header("x-request-id").is_some(),
            "the error must have a request id: {response:?}"
        );
        let json = response.json();
        let error = &json["errors"][0];
        assert!(
            error["type"].is_string()
                && error["description"].is_string()
                && error["meta"].is_object(),
            "the error must have type, description and meta: {error}"
        );
    }
}

#[test]
fn revocation_affects_one_token_or_all_of_a_kind() {
    let layer = start(Emulator::builder());
    let (one, two) = (access_token(&layer), access_token(&layer));
    let business = business_token(&layer, &one);
    assert!(layer.revoke(&one), "an issued token must be revocable");
    assert!(!layer.revoke("nonsense"), "other text must be unknown");
    whoami(&layer, &one).expect_status(401);
    whoami(&layer, &two).expect_status(200);
    layer.revoke_all(TokenKind::Access);
    whoami(&layer, &two).expect_status(401);
    let path = format!("/v1/businesses/{DEMO}");
    get(&layer, &path, &business).expect_status(200);
    layer.revoke_all(TokenKind::Business);
    get(&layer, &path, &business).expect_status(401);
    whoami(&layer, &access_token(&layer)).expect_status(200);
}

#[test]
fn session_duration_is_an_integer_or_digits_and_anything_else_is_refused() {
    let layer = start(Emulator::builder());
    let access = access_token(&layer);
    for (body, seconds) in [
        ("", 3600),
        ("{}", 3600),
        (r#"{"session_duration": 1}"#, 1),
        (r#"{"session_duration": "86400"}"#, 86_400),
        (r#"{"session_duration": 900, "more": true}"#, 900),
    ] {
        request_business_token(&layer, &access, DEMO, body)
            .expect_status(200)
            .expect_field("expires_in", seconds);
        assert_eq!(
            layer.log().last().unwrap().session_duration,
            Some(seconds),
            "the log must have the session duration of {body:?}"
        );
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
        request_business_token(&layer, &access, DEMO, body).expect_error(400, error);
    }
    request_business_token(&layer, &access, DEMO, &" ".repeat(70_000))
        .expect_error(413, "REQUEST_TOO_LARGE");
    let path = format!("/v1/businesses/{DEMO}/auth-token");
    get(&layer, &path, &access)
        .expect_status(405)
        .expect_header("allow", Some("POST"));
    assert_eq!(
        layer.counters().business_tokens,
        5,
        "only valid requests must issue a token"
    );
}

#[test]
fn invalid_business_id_is_refused_and_unknown_one_is_not_found() {
    let layer = start(Emulator::builder().business(DEMO));
    let access = access_token(&layer);
    for id in [
        "",
        "abc",
        "..",
        "%2e%2e",
        "%00",
        &DEMO.replace('-', ""),
        &format!("{DEMO}x"),
    ] {
        request_business_token(&layer, &access, id, "").expect_error(400, "INVALID_BUSINESS_ID");
    }
    request_business_token(&layer, &access, OTHER, "").expect_error(404, "BUSINESS_NOT_FOUND");
    request_business_token(&layer, &access, &DEMO.to_uppercase(), "").expect_status(200);
    let error = start_error(Emulator::builder().business("abc"));
    assert!(
        matches!(error, EmulatorError::Invalid(_)),
        "wrong error for an invalid business id: {error:?}"
    );
    // Without a configured business, every UUID is accepted.
    let open = start(Emulator::builder());
    request_business_token(&open, &access_token(&open), OTHER, "").expect_status(200);
}

#[test]
fn business_token_can_only_read_its_business_until_it_expires() {
    let layer = start(Emulator::builder());
    let access = access_token(&layer);
    let business = business_token(&layer, &access);
    let path = format!("/v1/businesses/{DEMO}");
    get(&layer, &path, &business).expect_status(200);
    get(&layer, &format!("/v1/businesses/{OTHER}"), &business).expect_error(403, "FORBIDDEN");
    whoami(&layer, &business).expect_status(403);
    request_business_token(&layer, &business, DEMO, "").expect_status(403);
    layer.advance(Duration::from_secs(901));
    get(&layer, &path, &business).expect_status(401);
    whoami(&layer, &access).expect_status(200);
    layer.set_business_token_lifetime(Some(Duration::from_secs(5)));
    request_business_token(&layer, &access, DEMO, "").expect_field("expires_in", 5);
    layer.set_expires_in(TokenKind::Business, Some(json!("12345")));
    request_business_token(&layer, &access, DEMO, "").expect_field("expires_in", "12345");
}

#[test]
fn resources_of_the_react_components_exist() {
    let layer = start(Emulator::builder());
    let business = business_token(&layer, &access_token(&layer));
    let profile = get(&layer, &format!("/v1/businesses/{DEMO}"), &business).json();
    assert_eq!(profile["data"]["id"], DEMO, "wrong id in {profile}");
    assert_eq!(
        profile["data"]["is_demo"], true,
        "the business must be a demo: {profile}"
    );
    assert!(
        profile["data"]["activation_at"].is_string(),
        "the business must be active: {profile}"
    );
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
        let response = get(&layer, &path, &business).expect_status(200);
        assert_ne!(
            response.json()["data"],
            Value::Null,
            "{resource} must have data: {response:?}"
        );
    }
    get(&layer, &format!("/v1/businesses/{DEMO}/secrets"), &business)
        .expect_error(404, "NOT_FOUND");
    for entry in layer.log() {
        assert!(
            !entry.path.contains("limit"),
            "the log must not have the query: {entry:?}"
        );
    }
}

#[test]
fn browser_can_call_the_api_but_not_the_token_endpoint() {
    let layer = start(Emulator::builder());
    let origin = ("origin", "http://localhost:5173");
    let asked = (
        "access-control-request-headers",
        "authorization,layer-locale",
    );
    let method = ("access-control-request-method", "GET");
    let path = format!("/v1/businesses/{DEMO}/vendors");
    let response = send(
        layer.address(),
        "OPTIONS",
        &path,
        &[origin, asked, method],
        "",
    )
    .expect_status(204)
    .expect_header("access-control-allow-origin", Some("*"));
    let allowed = response.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "content-type",
        "layer-locale",
        "layer-react-version",
        "cache-control",
    ] {
        assert!(
            allowed.contains(name),
            "header {name} must be allowed: {allowed}"
        );
    }
    // A page must also be able to read errors.
    send(layer.address(), "GET", "/whoami", &[origin], "")
        .expect_status(401)
        .expect_header("access-control-allow-origin", Some("*"));
    // A page has no client secret.
    send(layer.address(), "POST", "/oauth2/token", &[origin], "")
        .expect_header("access-control-allow-origin", None);
}
