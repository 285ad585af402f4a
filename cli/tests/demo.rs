//! `layerfi-auth demo`, as a visitor runs it: no account, no network.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use common::{bare, run};

#[test]
fn it_shows_what_it_should() {
    let mut command = bare(&["demo"]);
    // A real account's settings, and a proxy that is not there, change nothing.
    command
        .env("LAYER_CLIENT_ID", "real")
        .env("LAYER_CLIENT_SECRET", "canary-secret")
        .env("LAYER_ENVIRONMENT", "production")
        .env("HTTPS_PROXY", "http://127.0.0.1:1");
    let outcome = run(command);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{}",
        outcome.all()
    );
    for line in [
        "token requests: 1; the token has ",
        "Layer Example (018f1657-dc66-7482-917b-c0c0e532f52b)",
        "GET /v1/businesses/5ad00f4c-2e3b-4d5c-9f7a-0c1d2e3f4a5b  -> 200",
        "-> 403",
        "token requests: 1; all 1,000 got the same token",
        "token requests: 0; ",
        "token requests: 1; refused with 401: 20; answered with 200: all 20",
        "refreshed in the background: ",
        "<LayerProvider",
        "businessId=\"5ad00f4c-2e3b-4d5c-9f7a-0c1d2e3f4a5b\"",
        "businessAccessToken=\"eyJhbGci...\"",
        "environmentConfigOverride={{",
    ] {
        assert!(
            outcome.stdout.contains(line),
            "{line:?} in {}",
            outcome.all()
        );
    }
    assert!(!outcome.stdout.contains("canary") && !outcome.stdout.contains("real"));
    for line in outcome.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
}

#[test]
fn its_json_has_the_same_steps() {
    let outcome = run(bare(&["demo", "--json"]));
    assert_eq!(outcome.code, 0, "{}", outcome.all());
    let report = outcome.json();
    assert_eq!(report["ok"], true);
    assert_eq!(report["steps"].as_array().unwrap().len(), 7);
}
