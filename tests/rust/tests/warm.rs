//! The `keep_warm` setting: refreshes without callers.

use std::time::Duration;

use layerfi_auth::blocking::Client;
use layerfi_auth_emulator::{Emulator, Endpoint};
use layerfi_auth_tests::{MAX_WAIT, client_builder, wait_for};

fn emulator() -> Emulator {
    Emulator::builder()
        .access_token_lifetime(Duration::from_secs(1))
        .start_blocking()
        .unwrap()
}

/// Gets a token. On a busy machine the response can take longer than the token lives.
fn first_token(client: &Client) {
    wait_for("a token that is alive", || client.token().is_ok());
}

#[test]
fn b04_keep_warm_refreshes_without_callers() {
    let emulator = emulator();
    let client = client_builder(&emulator)
        .keep_warm(true)
        .build_blocking()
        .unwrap();
    assert_eq!(
        emulator.count(Endpoint::Token),
        0,
        "building the client sent a request"
    );
    first_token(&client);
    let before = emulator.count(Endpoint::Token);
    let refreshed = |counters: &layerfi_auth_emulator::Counters| {
        counters.endpoint(Endpoint::Token).total >= before + 3
    };
    assert!(
        emulator.wait_until(refreshed, MAX_WAIT),
        "the token was not refreshed without callers"
    );
    drop(client);
}

#[test]
fn b04_without_keep_warm_an_unused_token_expires() {
    let emulator = emulator();
    let client = client_builder(&emulator).build_blocking().unwrap();
    first_token(&client);
    let before = emulator.count(Endpoint::Token);
    let again = |counters: &layerfi_auth_emulator::Counters| {
        counters.endpoint(Endpoint::Token).total > before
    };
    assert!(
        !emulator.wait_until(again, Duration::from_secs(2)),
        "the token was refreshed although keep_warm is off"
    );
    first_token(&client);
    assert!(
        emulator.count(Endpoint::Token) > before,
        "an expired token was served"
    );
}
