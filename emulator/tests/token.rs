//! The token endpoint.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::time::Duration;

use common::{ask, ask_as, ask_with, basic, form, send, start, token, whoami};
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID as ID, DEFAULT_CLIENT_SECRET as SECRET, Emulator, Environment,
    TokenKind,
};
use serde_json::json;

#[test]
fn a_good_call_gets_a_token_of_about_a_kilobyte() {
    let layer = start(Emulator::builder());
    let answer = ask(&layer);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("x-request-id").is_some());
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 3);
    let length = json["access_token"].as_str().unwrap().len();
    assert!((1_000..1_100).contains(&length), "{length}");
    assert_ne!(token(&layer), token(&layer), "every one is its own");
    assert_eq!(layer.counters().access_tokens, 3);
}

#[test]
fn errors_are_cognitos() {
    let layer = start(
        Emulator::builder()
            .client(ID, SECRET)
            .unauthorized_client("idle", "s"),
    );
    let good = basic(ID, SECRET);
    let fields = |grant: &str, scope: &str, id: &str| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("grant_type", grant), ("scope", scope), ("client_id", id)] {
            if !value.is_empty() {
                form.append_pair(name, value);
            }
        }
        form.finish()
    };
    let scope = layer.scope();
    let whole = form(&layer, ID);
    let table = [
        (basic(ID, "wrong"), whole.clone(), "invalid_client"),
        (basic("nobody", SECRET), whole.clone(), "invalid_client"),
        ("Bearer x".to_owned(), whole.clone(), "invalid_client"),
        ("Basic ???".to_owned(), whole.clone(), "invalid_client"),
        (
            good.clone(),
            fields("client_credentials", scope, "other"),
            "invalid_client",
        ),
        (
            good.clone(),
            fields("client_credentials", scope, ""),
            "invalid_request",
        ),
        (good.clone(), fields("", scope, ID), "invalid_request"),
        (
            good.clone(),
            fields("client_credentials", "", ID),
            "invalid_request",
        ),
        (
            good.clone(),
            format!("{whole}&client_id={ID}"),
            "invalid_request",
        ),
        (
            good.clone(),
            format!("{whole}&client_secret=x"),
            "invalid_request",
        ),
        (good.clone(), String::new(), "invalid_request"),
        (
            good.clone(),
            fields("client_credentials", "https://other/scope", ID),
            "invalid_scope",
        ),
        (
            good.clone(),
            fields("authorization_code", scope, ID),
            "unauthorized_client",
        ),
        (
            basic("idle", "s"),
            form(&layer, "idle"),
            "unauthorized_client",
        ),
        (
            good.clone(),
            fields("password", scope, ID),
            "unsupported_grant_type",
        ),
    ];
    for (authorization, form, error) in table {
        let answer = ask_with(&layer, &authorization, &form);
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (400, Some(error)),
            "{form}"
        );
    }
    let json = [
        ("authorization", good.as_str()),
        ("content-type", "application/json"),
    ];
    let answer = send(layer.address(), "POST", "/oauth2/token", &json, "{}");
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (400, Some("invalid_request"))
    );
    let big = "x".repeat(100_000);
    assert_eq!(ask_with(&layer, &good, &big).status, 400);
    let answer = send(
        layer.address(),
        "GET",
        "/oauth2/token",
        &[("authorization", &good)],
        "",
    );
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(layer.counters().access_tokens, 0);
}

#[test]
fn invalid_client_is_401_where_asked_for() {
    let layer = start(Emulator::builder().invalid_client_status(401));
    let answer = ask_as(&layer, ID, "wrong");
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json(), json!({"error": "invalid_client"}));
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .starts_with("Basic")
    );
    assert!(
        Emulator::builder()
            .invalid_client_status(403)
            .start_blocking()
            .is_err()
    );
}

#[test]
fn basic_is_raw_or_form_decoded() {
    let (id, secret) = ("i+d", "s%2B+x");
    let layer = start(Emulator::builder().client(id, secret));
    assert_eq!(ask_as(&layer, id, secret).status, 200);
    let layer = start(
        Emulator::builder()
            .client("i d", "s+ x")
            .basic_decoding(BasicDecoding::Form),
    );
    let answer = ask_with(&layer, &basic(id, secret), &form(&layer, "i d"));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn each_environment_has_its_scope() {
    for (environment, scope) in [
        (Environment::Sandbox, "https://sandbox.layerfi.com/sandbox"),
        (
            Environment::Production,
            "https://api.layerfi.com/production",
        ),
        (
            Environment::ProductionCa,
            "https://api-ca.layerfi.com/production",
        ),
    ] {
        let layer = start(Emulator::builder().environment(environment));
        assert_eq!(layer.scope(), scope);
        assert_eq!(ask(&layer).status, 200);
    }
    let layer = start(Emulator::builder().scope("urn:mine"));
    assert_eq!(ask(&layer).status, 200);
}

#[test]
fn lifetimes_follow_the_emulators_clock() {
    let layer = start(Emulator::builder().access_token_lifetime(Duration::from_secs(15)));
    layer.stop_clock();
    let answer = ask(&layer);
    assert_eq!(answer.json()["expires_in"], 15);
    let first = token(&layer);
    layer.advance(Duration::from_millis(14_999));
    assert_eq!(whoami(&layer, &first), 200);
    layer.advance(Duration::from_millis(1));
    assert_eq!(whoami(&layer, &first), 401);
    layer.set_back(Duration::from_secs(1));
    assert_eq!(whoami(&layer, &first), 200);
    layer.set_access_token_lifetime(Duration::from_secs(60));
    assert_eq!(ask(&layer).json()["expires_in"], 60);
    let before = layer.now();
    layer.advance(Duration::from_secs(86_400));
    assert_eq!(layer.now() - before, Duration::from_secs(86_400));
    let date = ask(&layer).header("date").unwrap().to_owned();
    let date = httpdate::parse_http_date(&date).unwrap();
    assert!(layer.system_time().duration_since(date).unwrap() < Duration::from_secs(1));
}

#[test]
fn expires_in_can_lie() {
    let layer = start(Emulator::builder().expires_in(TokenKind::Access, "12345"));
    assert_eq!(ask(&layer).json()["expires_in"], "12345");
    layer.set_expires_in(TokenKind::Access, Some(json!(-1)));
    assert_eq!(ask(&layer).json()["expires_in"], -1);
    layer.set_expires_in(TokenKind::Access, None);
    assert_eq!(ask(&layer).json()["expires_in"], 3600);
}

#[test]
fn a_rotated_secret_is_refused_at_once_and_tokens_live_on() {
    let layer = start(Emulator::builder());
    let before = token(&layer);
    layer.rotate(ID, "second").unwrap();
    assert_eq!(ask(&layer).status, 400);
    assert_eq!(ask_as(&layer, ID, "second").status, 200);
    assert_eq!(whoami(&layer, &before), 200);
    layer.rotate_keeping_old(ID, "third").unwrap();
    assert_eq!(ask_as(&layer, ID, "second").status, 200);
    assert_eq!(ask_as(&layer, ID, "third").status, 200);
    assert!(layer.rotate("nobody", "x").is_err());
    layer.reset();
    assert_eq!(ask(&layer).status, 200);
}
