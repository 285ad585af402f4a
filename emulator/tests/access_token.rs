//! Token endpoint.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::time::Duration;

use common::{
    access_token, basic, form, request_token, request_token_as, request_token_with, send, start,
    start_error, whoami,
};
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID as ID, DEFAULT_CLIENT_SECRET as SECRET, Emulator,
    EmulatorError, Environment, TokenKind,
};
use serde_json::json;

#[test]
fn valid_request_gets_a_new_token_of_about_1_kb() {
    let layer = start(Emulator::builder());
    let response = request_token(&layer)
        .expect_status(200)
        .expect_header("content-type", Some("application/json"))
        .expect_header("cache-control", Some("no-store"));
    assert!(
        response.header("x-request-id").is_some(),
        "the response must have a request id: {response:?}"
    );
    assert_eq!(
        response.json().as_object().unwrap().len(),
        3,
        "the response must have three fields: {response:?}"
    );
    let length = response.access_token().len();
    assert!(
        (1_000..1_100).contains(&length),
        "a token must have about 1 KB, got {length} bytes"
    );
    assert_ne!(
        access_token(&layer),
        access_token(&layer),
        "each request must get another token"
    );
    assert_eq!(
        layer.counters().access_tokens,
        3,
        "wrong number of issued tokens"
    );
}

#[test]
fn invalid_request_gets_the_error_of_cognito() {
    let layer = start(
        Emulator::builder()
            .client(ID, SECRET)
            .unauthorized_client("idle", "s"),
    );
    let valid = basic(ID, SECRET);
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
    let complete = form(&layer, ID);
    let grant = "client_credentials";
    let table = [
        (&*basic(ID, "wrong"), complete.clone(), "invalid_client"),
        (
            &*basic("unknown-client", SECRET),
            complete.clone(),
            "invalid_client",
        ),
        ("Bearer x", complete.clone(), "invalid_client"),
        ("Basic ???", complete.clone(), "invalid_client"),
        (&*valid, fields(grant, scope, "other"), "invalid_client"),
        (&*valid, fields(grant, scope, ""), "invalid_request"),
        (&*valid, fields("", scope, ID), "invalid_request"),
        (&*valid, fields(grant, "", ID), "invalid_request"),
        (
            &*valid,
            format!("{complete}&client_id={ID}"),
            "invalid_request",
        ),
        (
            &*valid,
            format!("{complete}&client_secret=x"),
            "invalid_request",
        ),
        (&*valid, String::new(), "invalid_request"),
        (
            &*valid,
            fields(grant, "https://other/scope", ID),
            "invalid_scope",
        ),
        (
            &*valid,
            fields("authorization_code", scope, ID),
            "unauthorized_client",
        ),
        (
            &*basic("idle", "s"),
            form(&layer, "idle"),
            "unauthorized_client",
        ),
        (
            &*valid,
            fields("password", scope, ID),
            "unsupported_grant_type",
        ),
    ];
    for (authorization, form, error) in table {
        let response = request_token_with(&layer, authorization, &form);
        assert_eq!(
            (response.status, response.json()["error"].as_str()),
            (400, Some(error)),
            "wrong error for the form {form:?}: {response:?}"
        );
    }
    let authorization = ("authorization", valid.as_str());
    let json = [authorization, ("content-type", "application/json")];
    send(layer.address(), "POST", "/oauth2/token", &json, "{}")
        .expect_status(400)
        .expect_field("error", "invalid_request");
    request_token_with(&layer, &valid, &"x".repeat(100_000)).expect_status(400);
    send(
        layer.address(),
        "GET",
        "/oauth2/token",
        &[authorization],
        "",
    )
    .expect_status(405)
    .expect_header("allow", Some("POST"));
    assert_eq!(
        layer.counters().access_tokens,
        0,
        "an invalid request must not issue a token"
    );
}

#[test]
fn invalid_client_has_status_401_if_set() {
    let layer = start(Emulator::builder().invalid_client_status(401));
    let response = request_token_as(&layer, ID, "wrong").expect_status(401);
    assert_eq!(
        response.json(),
        json!({"error": "invalid_client"}),
        "wrong body of the error"
    );
    let challenge = response.header("www-authenticate").unwrap_or_default();
    assert!(
        challenge.starts_with("Basic"),
        "WWW-Authenticate must be Basic, got {challenge:?}"
    );
    let error = start_error(Emulator::builder().invalid_client_status(403));
    assert!(
        matches!(error, EmulatorError::Invalid(_)),
        "wrong error for status 403: {error:?}"
    );
}

#[test]
fn basic_header_is_decoded_only_if_set() {
    let (id, secret) = ("i+d", "s%2B+x");
    let layer = start(Emulator::builder().client(id, secret));
    request_token_as(&layer, id, secret).expect_status(200);
    let layer = start(
        Emulator::builder()
            .client("i d", "s+ x")
            .basic_decoding(BasicDecoding::Form),
    );
    request_token_with(&layer, &basic(id, secret), &form(&layer, "i d")).expect_status(200);
}

#[test]
fn each_environment_accepts_its_scope() {
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
        assert_eq!(layer.scope(), scope, "wrong scope of {environment:?}");
        request_token(&layer).expect_status(200);
    }
    let layer = start(Emulator::builder().scope("urn:mine"));
    request_token(&layer).expect_status(200);
}

#[test]
fn token_expires_by_the_clock_of_the_emulator() {
    let layer = start(Emulator::builder().access_token_lifetime(Duration::from_secs(15)));
    layer.stop_clock();
    let token = request_token(&layer)
        .expect_field("expires_in", 15)
        .access_token();
    layer.advance(Duration::from_millis(14_999));
    whoami(&layer, &token).expect_status(200);
    layer.advance(Duration::from_millis(1));
    whoami(&layer, &token).expect_status(401);
    layer.set_back(Duration::from_secs(1));
    whoami(&layer, &token).expect_status(200);
    layer.set_access_token_lifetime(Duration::from_secs(60));
    request_token(&layer).expect_field("expires_in", 60);
    let before = layer.now();
    layer.advance(Duration::from_secs(86_400));
    assert_eq!(
        layer.now() - before,
        Duration::from_secs(86_400),
        "a stopped clock must move by exactly one day"
    );
    let response = request_token(&layer);
    let date = httpdate::parse_http_date(response.header("date").unwrap()).unwrap();
    let difference = layer.system_time().duration_since(date).unwrap();
    assert!(
        difference < Duration::from_secs(1),
        "the Date header must follow the emulator's clock; difference: {difference:?}"
    );
}

#[test]
fn expires_in_can_differ_from_the_lifetime() {
    let layer = start(Emulator::builder().expires_in(TokenKind::Access, "12345"));
    request_token(&layer).expect_field("expires_in", "12345");
    layer.set_expires_in(TokenKind::Access, Some(json!(-1)));
    request_token(&layer).expect_field("expires_in", -1);
    layer.set_expires_in(TokenKind::Access, None);
    request_token(&layer).expect_field("expires_in", 3600);
}

#[test]
fn rotation_refuses_the_old_secret_and_keeps_tokens_valid() {
    let layer = start(Emulator::builder());
    let token = access_token(&layer);
    layer.rotate(ID, "second").unwrap();
    request_token(&layer).expect_status(400);
    request_token_as(&layer, ID, "second").expect_status(200);
    whoami(&layer, &token).expect_status(200);
    layer.rotate_keeping_old(ID, "third").unwrap();
    request_token_as(&layer, ID, "second").expect_status(200);
    request_token_as(&layer, ID, "third").expect_status(200);
    let result = layer.rotate("unknown-client", "x");
    assert!(
        matches!(result, Err(EmulatorError::UnknownClient)),
        "wrong result for an unknown client: {result:?}"
    );
    layer.reset();
    request_token(&layer).expect_status(200);
}
