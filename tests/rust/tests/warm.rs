//! The `keep_warm` setting: refreshes without callers.

use std::time::Duration;

use layerfi_auth_emulator::{Emulator, Endpoint};
use layerfi_auth_tests::{MAX_WAIT, client_builder};

fn emulator() -> Emulator {
    Emulator::builder()
        .access_token_lifetime(Duration::from_secs(1))
        .start_blocking()
        .unwrap()
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
    client.token().unwrap();
    let refreshed =
        |counters: &layerfi_auth_emulator::Counters| counters.endpoint(Endpoint::Token).total >= 4;
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
    client.token().unwrap();
    let again =
        |counters: &layerfi_auth_emulator::Counters| counters.endpoint(Endpoint::Token).total > 1;
    assert!(
        !emulator.wait_until(again, Duration::from_secs(2)),
        "the token was refreshed although keep_warm is off"
    );
    client.token().unwrap();
    assert_eq!(emulator.count(Endpoint::Token), 2, "token requests");
}
