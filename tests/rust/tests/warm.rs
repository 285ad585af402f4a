//! `keep_warm`: refreshed with no caller present.

use std::time::Duration;

use layerfi_auth_emulator::{Emulator, Endpoint};
use layerfi_auth_tests::client_builder;

fn emulator() -> Emulator {
    Emulator::builder()
        .access_token_lifetime(Duration::from_secs(1))
        .start_blocking()
        .unwrap()
}

#[test]
fn b04_a_warm_client_refreshes_with_no_caller_present() {
    let emulator = emulator();
    let client = client_builder(&emulator)
        .keep_warm(true)
        .build_blocking()
        .unwrap();
    assert_eq!(
        emulator.count(Endpoint::Token),
        0,
        "building it starts nothing"
    );
    client.token().unwrap();
    let refreshed =
        |counters: &layerfi_auth_emulator::Counters| counters.endpoint(Endpoint::Token).total >= 4;
    assert!(emulator.wait_until(refreshed, Duration::from_secs(20)));
    drop(client);
}

#[test]
fn b04_a_client_that_is_not_kept_warm_lets_its_token_die() {
    let emulator = emulator();
    let client = client_builder(&emulator).build_blocking().unwrap();
    client.token().unwrap();
    let again =
        |counters: &layerfi_auth_emulator::Counters| counters.endpoint(Endpoint::Token).total > 1;
    assert!(!emulator.wait_until(again, Duration::from_secs(2)));
    client.token().unwrap();
    assert_eq!(emulator.count(Endpoint::Token), 2);
}
