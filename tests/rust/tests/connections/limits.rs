//! How many connections many clients and many calls need.

use std::process::Command;
use std::time::Duration;

use layerfi_auth_emulator::{Emulator, EmulatorBuilder, Endpoint, Fault, HttpVersions};
use layerfi_auth_tests::{
    MAX_WAIT, Watchdog, businesses, client_builder, emulator_variables, limit_descriptors,
    multi_thread_runtime, remove_settings, unwrap_all, wait_for,
};

/// The usual limit of file descriptors of a process.
const DESCRIPTORS: u64 = 1024;

fn start(builder: EmulatorBuilder) -> Emulator {
    // The emulator is in this process, which needs a descriptor per connection too.
    limit_descriptors(u64::MAX);
    builder.rate_limit(None).start_blocking().unwrap()
}

fn plain() -> Emulator {
    start(Emulator::builder())
}

fn over_tls(versions: HttpVersions) -> Emulator {
    start(Emulator::builder().tls(true).http_versions(versions))
}

/// Runs `connection_probe` and asserts that it succeeds.
#[track_caller]
fn run_probe(layer: &Emulator, scenario: &str, count: u64, descriptors: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_connection_probe"));
    remove_settings(&mut command);
    command
        .args([scenario, &count.to_string(), &descriptors.to_string()])
        .envs(emulator_variables(layer))
        .stderr(std::process::Stdio::piped());
    if layer.ca_pem().is_some() {
        let ca = folder.path().join("ca.pem");
        layer.write_ca_pem(&ca).unwrap();
        command.env("LAYER_CA_FILE", ca);
    }
    let child = command.spawn().unwrap();
    let watchdog = Watchdog::new(child.id(), 10 * MAX_WAIT);
    let output = child.wait_with_output().unwrap();
    drop(watchdog);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{scenario} ended with {}: {errors}",
        output.status
    );
}

#[test]
fn b26_1500_clients_with_equal_settings_share_connections() {
    let layer = plain();
    run_probe(&layer, "equal_clients", 1500, DESCRIPTORS);
    assert_eq!(layer.count(Endpoint::Token), 1500, "token requests");
    let connections = layer.counters().connections;
    assert!(
        connections < 16,
        "1,500 clients made {connections} connections"
    );
}

#[test]
fn b26_1500_clients_with_different_settings_need_few_descriptors() {
    let layer = plain();
    run_probe(&layer, "different_clients", 1500, DESCRIPTORS);
    assert_eq!(layer.count(Endpoint::Token), 1500, "token requests");
}

#[test]
fn b26_64_descriptors_are_enough_for_many_clients_and_calls() {
    let layer = plain();
    run_probe(&layer, "different_clients", 300, 64);
    run_probe(&layer, "calls", 300, 64);
}

#[test]
fn b26_1500_calls_at_once_over_http1_need_few_connections() {
    for layer in [plain(), over_tls(HttpVersions::Http1)] {
        // So that many calls are in progress at the same time, on any machine.
        for endpoint in [Endpoint::Whoami, Endpoint::AuthToken] {
            layer.fault(endpoint, Fault::hold().forever()).unwrap();
        }
        std::thread::scope(|scope| {
            let probe = scope.spawn(|| run_probe(&layer, "calls", 1500, DESCRIPTORS));
            wait_for("more than 128 calls are in progress", || {
                let counters = layer.counters();
                let in_flight = |endpoint| counters.endpoint(endpoint).in_flight;
                probe.is_finished()
                    || in_flight(Endpoint::Whoami) + in_flight(Endpoint::AuthToken) > 128
            });
            layer.clear_faults();
            layer.release();
        });
        let counters = layer.counters();
        assert!(
            counters.connections < 512,
            "1,500 calls made {} connections",
            counters.connections
        );
    }
}

#[test]
fn b08_calls_wait_for_a_connection_in_order_and_until_their_deadline() {
    let layer = plain();
    let slow = Fault::delay(Duration::from_secs(2)).forever();
    layer.fault(Endpoint::Unknown, slow).unwrap();
    // 64 descriptors are 16 places.
    run_probe(&layer, "waiting", 48, 64);
    let arrived: Vec<usize> = layer
        .log()
        .iter()
        .filter_map(|entry| entry.path.strip_prefix("/number/")?.parse().ok())
        .collect();
    assert_eq!(arrived.len(), 48, "requests: {arrived:?}");
    for (at, number) in arrived.iter().enumerate() {
        assert!(
            at.abs_diff(*number) < 16,
            "call {number} was number {at} of the requests: {arrived:?}"
        );
    }
    let in_flight = layer.counters().endpoint(Endpoint::Unknown).max_in_flight;
    assert_eq!(in_flight, 16, "requests at the same time");
}

#[test]
fn b17_cold_batch_over_http2_makes_one_connection() {
    let runtime = multi_thread_runtime(1);
    // On a busy machine the first response may take longer than the others wait for it.
    let rounds = (0..5).map(|_| {
        let layer = over_tls(HttpVersions::Both);
        // Another name for the token endpoint, so that no connection to the API is open.
        let token_url = layer.token_url().replace("127.0.0.1", "localhost");
        let builder = client_builder(&layer).auth_url(token_url);
        let client = builder.build().unwrap();
        unwrap_all(runtime.block_on(async {
            let batch = client.business_tokens(businesses(100));
            futures::StreamExt::collect(batch).await
        }));
        layer.counters().connections
    });
    let connections: Vec<u64> = rounds.collect();
    // One to the token endpoint and one to the API.
    assert!(
        connections.contains(&2),
        "connections of 5 cold batches: {connections:?}"
    );
}
