//! Control API.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use common::{
    access_token, command, control, request_business_token, request_text, request_token,
    request_token_as, send, send_text, start, token_request_text, wait_until, whoami,
};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID as ID, DEFAULT_CLIENT_SECRET as SECRET, DEMO_BUSINESS_ID as DEMO, Emulator,
    Endpoint,
};
use serde_json::json;

#[test]
fn info_has_the_data_that_a_client_needs_and_no_secret() {
    let layer = start(Emulator::builder().tls(true));
    let info = command(&layer, "GET", "/", "");
    for (name, value) in [
        ("api_url", json!(layer.url())),
        ("token_url", json!(layer.token_url())),
        ("control_url", json!(layer.control_url())),
        ("environment", json!("sandbox")),
        ("scope", json!(layer.scope())),
        ("client_ids", json!([ID])),
        ("demo_business_id", json!(DEMO)),
        ("ca_pem", json!(layer.ca_pem().unwrap())),
    ] {
        assert_eq!(info[name], value, "wrong field {name}");
    }
    for secret in [SECRET, "PRIVATE KEY"] {
        assert!(
            !info.to_string().contains(secret),
            "the info must not contain {secret}"
        );
    }
    let pem = info["ca_pem"].as_str().unwrap();
    assert!(
        pem.starts_with("-----BEGIN CERTIFICATE-----"),
        "ca_pem must be a certificate: {pem}"
    );
}

#[test]
fn faults_can_be_added_listed_and_removed() {
    let layer = start(Emulator::builder());
    let fault = r#"{"endpoint": "token", "status": 503, "times": 2}"#;
    assert_eq!(
        command(&layer, "POST", "/faults", fault),
        json!({"ids": [1]}),
        "wrong number of the first fault"
    );
    let two = r#" [{"endpoint": "whoami", "wire": {"reset": "before"}}, {"status": 500, "times": "forever"}]"#;
    assert_eq!(
        command(&layer, "POST", "/faults", two),
        json!({"ids": [2, 3]}),
        "wrong numbers of a list of faults"
    );
    request_token(&layer).expect_status(503);
    assert_eq!(
        command(&layer, "GET", "/faults", "")["faults"][0],
        json!({"id": 1, "acted": 1, "fault": {"endpoint": "token", "status": 503, "times": 2}}),
        "wrong status of the first fault"
    );
    assert_eq!(
        command(&layer, "DELETE", "/faults/1", ""),
        json!({"removed": true}),
        "an active fault must be removable"
    );
    request_token(&layer).expect_status(500);
    command(&layer, "DELETE", "/faults", "");
    request_token(&layer).expect_status(200);
}

#[test]
fn invalid_command_gets_an_error_and_changes_nothing() {
    let layer = start(Emulator::builder());
    for (path, body, part) in [
        ("/faults", r#"{"statsu": 503}"#, "unknown field `statsu`"),
        ("/faults", r#"[{"status": 503}, {"status": 20}]"#, "status"),
        ("/faults", "nonsense", "expected"),
        ("/clock", r#"{"advance": 1}"#, "unknown field `advance`"),
        ("/settings", r#"{"rate_limit": "fast"}"#, "invalid type"),
        ("/settings", r#"{"tls_trouble": "expired"}"#, "plain HTTP"),
        ("/revoke", "{}", "one of token, number"),
        ("/settings", r#"{"demo_data": 1}"#, "invalid type"),
        ("/revoke", r#"{"all": "everything"}"#, "unknown variant"),
        ("/rotate", r#"{"client_id": "x"}"#, "client_secret"),
    ] {
        let response = control(&layer, "POST", path, body).expect_status(400);
        let error = response.json()["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains(part),
            "the error of {path} {body} must contain {part:?}, got {error:?}"
        );
    }
    assert!(
        layer.faults().is_empty(),
        "a list with an invalid fault must add no fault"
    );
    let unknown = r#"{"client_id": "unknown-client", "client_secret": "x"}"#;
    control(&layer, "POST", "/rotate", unknown).expect_status(404);
    let unknown = r#"{"client_id": "unknown-client"}"#;
    control(&layer, "POST", "/tokens", unknown).expect_status(404);
    control(&layer, "POST", "/nothing", "").expect_status(404);
    control(&layer, "PUT", "/faults", "{}").expect_status(404);
    control(&layer, "GET", "/log?since=1", "").expect_status(400);
}

#[test]
fn clock_tokens_and_secrets_can_be_changed() {
    let layer = start(Emulator::builder());
    let clock = command(&layer, "POST", "/clock", r#"{"stopped": true}"#);
    assert_eq!(clock["stopped"], true, "the clock must be stopped");
    let access = access_token(&layer);
    let moved = command(&layer, "POST", "/clock", r#"{"advance_ms": 3600000}"#);
    assert_eq!(
        moved["now_ms"].as_i64().unwrap() - clock["now_ms"].as_i64().unwrap(),
        3_600_000,
        "a stopped clock must move by exactly one hour"
    );
    whoami(&layer, &access).expect_status(401);
    command(
        &layer,
        "POST",
        "/clock",
        r#"{"advance_ms": -3600000, "stopped": false}"#,
    );
    whoami(&layer, &access).expect_status(200);
    assert_eq!(
        command(&layer, "GET", "/clock", "")["stopped"],
        false,
        "the clock must run"
    );

    let body = json!({"token": access}).to_string();
    assert_eq!(
        command(&layer, "POST", "/revoke", &body),
        json!({"revoked": true}),
        "an issued token must be revocable"
    );
    whoami(&layer, &access).expect_status(401);
    let body = json!({"client_id": ID}).to_string();
    let issued = command(&layer, "POST", "/tokens", &body);
    let issued = issued["access_token"].as_str().unwrap();
    whoami(&layer, issued).expect_status(200);
    command(&layer, "POST", "/revoke", r#"{"all": "access"}"#);
    whoami(&layer, issued).expect_status(401);

    let body = json!({"client_id": ID, "client_secret": "new", "keep_old": true}).to_string();
    command(&layer, "POST", "/rotate", &body);
    request_token(&layer).expect_status(200);
    request_token_as(&layer, ID, "new").expect_status(200);
    assert_eq!(
        command(&layer, "GET", "/credentials", ""),
        json!({"clients": [{"client_id": ID, "client_secret": "new"}]}),
        "the new secret must be shown"
    );
    assert_eq!(
        layer.client_secret(ID).as_deref(),
        Some("new"),
        "the handle must have the new secret"
    );
}

#[test]
fn secret_that_was_given_at_start_is_not_shown() {
    let layer = start(Emulator::builder().client("a", "s3cr3t"));
    let credentials = command(&layer, "GET", "/credentials", "");
    assert_eq!(
        credentials,
        json!({"clients": [{"client_id": "a", "client_secret": null}]}),
        "a given secret may be a real one"
    );
    let public = command(&start(Emulator::builder()), "GET", "/credentials", "");
    assert_eq!(
        public["clients"][0]["client_secret"], SECRET,
        "the public secret must be shown"
    );
}

#[test]
fn settings_can_be_changed_and_null_clears_them() {
    let layer = start(Emulator::builder());
    let business_token =
        || request_business_token(&layer, &access_token(&layer), DEMO, "").expect_status(200);
    let body = json!({
        "access_token_lifetime": 15,
        "business_token_lifetime": 20,
        "business_expires_in": "20",
        "rate_limit": 1,
    });
    let settings = command(&layer, "POST", "/settings", &body.to_string());
    assert_eq!(settings["rate_limit"], 1, "wrong settings: {settings}");
    request_token(&layer).expect_field("expires_in", 15);
    business_token().expect_field("expires_in", "20");
    let body =
        r#"{"business_token_lifetime": null, "business_expires_in": null, "rate_limit": null}"#;
    let settings = command(&layer, "POST", "/settings", body);
    assert_eq!(
        settings,
        json!({
            "access_token_lifetime": 15,
            "business_token_lifetime": null,
            "access_expires_in": null,
            "business_expires_in": null,
            "rate_limit": null,
            "demo_data": false,
            "idle_timeout_ms": null,
            "requests_per_connection": null,
            "proxy_credentials": null,
            "tls_trouble": null,
        }),
        "null must clear a setting, and an absent field must keep it"
    );
    business_token().expect_field("expires_in", 3600);
    assert_eq!(
        command(&layer, "GET", "/settings", ""),
        settings,
        "GET and POST must return the same settings"
    );
}

#[test]
fn counters_log_and_fingerprints_can_be_read_and_reset() {
    let layer = start(Emulator::builder());
    let access = access_token(&layer);
    whoami(&layer, &access);
    let counters = command(&layer, "GET", "/counters", "");
    for (pointer, value) in [
        ("/endpoints/token/by_status", json!({"200": 1})),
        ("/endpoints/auth_token/total", json!(0)),
        ("/total", json!(2)),
        ("/access_tokens", json!(1)),
    ] {
        assert_eq!(
            counters.pointer(pointer),
            Some(&value),
            "wrong counter {pointer}"
        );
    }
    let log = command(&layer, "GET", "/log?after=1&limit=5", "");
    let entries = log["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "wrong number of entries: {log}");
    let body = json!({"credentials": access}).to_string();
    let fingerprint = command(&layer, "POST", "/fingerprint", &body)["fingerprint"].clone();
    for (pointer, value) in [
        ("/endpoint", &json!("whoami")),
        ("/client_id", &json!(ID)),
        ("/authorization/scheme", &json!("Bearer")),
        ("/authorization/fingerprint", &fingerprint),
    ] {
        assert_eq!(
            entries[0].pointer(pointer),
            Some(value),
            "wrong field {pointer} of the entry"
        );
    }
    assert_eq!(
        layer.fingerprint(&access),
        fingerprint,
        "the handle must give the same fingerprint"
    );

    command(&layer, "DELETE", "/log", "");
    assert_eq!(
        command(&layer, "GET", "/counters", "")["total"],
        0,
        "DELETE /log must reset the counters"
    );
    command(&layer, "POST", "/faults", r#"{"status": 500}"#);
    command(&layer, "POST", "/clock", r#"{"advance_ms": 7200000}"#);
    command(&layer, "POST", "/reset", "");
    // Neither the fault nor the changed clock is left.
    whoami(&layer, &access).expect_status(200);
}

#[test]
fn held_response_is_sent_after_a_release() {
    let layer = start(Emulator::builder());
    let fault = r#"{"endpoint": "token", "hold": true}"#;
    command(&layer, "POST", "/faults", fault);
    std::thread::scope(|scope| {
        let request = scope.spawn(|| request_token(&layer).expect_status(200));
        wait_until(&layer, "one token request in flight", |counters| {
            counters.endpoint(Endpoint::Token).in_flight == 1
        });
        command(&layer, "POST", "/release", "");
        request.join().unwrap();
    });
}

#[test]
fn request_of_another_web_page_or_with_a_foreign_host_is_refused() {
    let layer = start(Emulator::builder());
    let address = layer.control_address();
    for origin in ["http://localhost:3000", "null", "https://evil.example"] {
        send(address, "POST", "/reset", &[("origin", origin)], "").expect_status(403);
    }
    let foreign =
        request_text("GET", "/", &[], "").replace("host: localhost", "host: evil.example");
    send_text(address, &foreign).expect_status(403);
    // The port of the API does not serve the control API.
    send(layer.address(), "POST", "/reset", &[], "").expect_status(401);
}

#[test]
fn shutdown_is_answered_and_stops_the_emulator() {
    // No other test uses this address, so no other emulator can get the port.
    let layer = start(Emulator::builder().bind_address("127.4.5.8".parse().unwrap()));
    command(&layer, "POST", "/shutdown", "");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(layer.stopped());
    let address = layer.address();
    drop(layer);
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "the port must be free after the emulator is dropped"
    );
}

#[test]
fn fault_with_all_kinds_of_fields_works_from_json() {
    let layer = start(Emulator::builder());
    let fault = r#"{
        "endpoint": "token", "skip": 1, "times": 1, "delay_ms": 1, "status": 200,
        "headers": {"content-type": "text/plain"},
        "body": {"access_token": "{{token}}", "token_type": "bearer"},
        "pad_body_to": 2000, "wire": {"drip": {"part": "head", "every_ms": 1}}
    }"#;
    command(&layer, "POST", "/faults", fault);
    access_token(&layer);
    let response = send_text(layer.address(), &token_request_text(&layer))
        .expect_header("content-type", Some("text/plain"));
    assert_eq!(response.body.len(), 2000, "the body must be padded");
    whoami(&layer, &response.access_token()).expect_status(200);
}
