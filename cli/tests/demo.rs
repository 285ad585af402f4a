//! The command `demo`, with no account and no network.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use common::{bare, run};

#[test]
fn demo_prints_the_expected_counts() {
    let mut command = bare(&["demo"]);
    // Settings of a real account and a missing proxy have no effect.
    command
        .env("LAYER_CLIENT_ID", "real")
        .env("LAYER_CLIENT_SECRET", "canary-secret")
        .env("LAYER_ENVIRONMENT", "production")
        .env("HTTPS_PROXY", "http://127.0.0.1:1");
    let outcome = run(command);
    outcome.assert_code(0);
    assert_eq!(outcome.stderr, "", "demo writes to stderr");
    for line in [
        "token requests: 1; the token expires in ",
        "Layer Example (018f1657-dc66-7482-917b-c0c0e532f52b)",
        "GET /v1/businesses/3fa85f64-5717-4562-b3fc-2c963f66afa6  -> 200",
        "-> 403",
        "token requests: 1; all 1,000 got the same token",
        "token requests: 0; ",
        "token requests: 1; HTTP 401: 20; HTTP 200 after the retry: all 20",
        "background refreshes: ",
        "<LayerProvider",
        "businessId=\"3fa85f64-5717-4562-b3fc-2c963f66afa6\"",
        "businessAccessToken=\"eyJhbGci...\"",
        "environmentConfigOverride={{",
    ] {
        outcome.assert_stdout_contains(line);
    }
    outcome.assert_nowhere("canary");
    outcome.assert_nowhere("real");
    for line in outcome.stdout.lines() {
        assert!(
            line.chars().count() <= 80,
            "the line is longer than 80 columns: {line}"
        );
        assert!(
            line.chars().all(|c| !c.is_control()),
            "the line contains control characters: {line:?}"
        );
    }
}

#[test]
fn demo_json_has_seven_steps() {
    let outcome = run(bare(&["demo", "--json"]));
    outcome.assert_code(0);
    let report = outcome.json();
    assert_eq!(report["ok"], true, "ok is not true: {report}");
    assert_eq!(
        report["steps"].as_array().unwrap().len(),
        7,
        "wrong number of steps: {report}"
    );
}
