//! A client before and after `fork()`. `src/bin/fork_probe.rs` runs each scenario in
//! a separate process; these tests run the server and count requests.
#![cfg(unix)]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use layerfi_auth_emulator::{Emulator, Endpoint, Fault, LogEntry};
use layerfi_auth_tests::{
    Authority, MAX_WAIT, TlsFront, Watchdog, assert_requests, emulator, emulator_variables,
    eventually,
};

fn start(layer: &Emulator, scenario: &str, ca: Option<&Path>) -> Child {
    let mut probe = Command::new(env!("CARGO_BIN_EXE_fork_probe"));
    if let Some(file) = ca {
        probe.env("LAYER_CA_FILE", file);
    }
    probe
        .arg(scenario)
        .envs(emulator_variables(layer))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut probe: Child) {
    let _watchdog = Watchdog::new(probe.id(), 3 * MAX_WAIT);
    let mut text = String::new();
    probe
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let status = probe.wait().unwrap();
    assert!(status.success(), "the probe ended with {status}: {text}");
}

fn run(layer: &Emulator, scenario: &str) {
    finish(start(layer, scenario, None));
}

/// Asserts that the parent's second and last request, to the API, used the same
/// connection, and that no other process used a connection of the parent.
fn assert_own_connections(log: &[LogEntry]) {
    let (token, whoami, last) = (&log[0], &log[1], log.last().unwrap());
    assert_eq!(
        whoami.connection, last.connection,
        "the parent's connection was closed"
    );
    for entry in &log[2..log.len() - 1] {
        assert!(
            ![token.connection, whoami.connection].contains(&entry.connection),
            "two processes used one connection"
        );
    }
}

#[test]
fn b13_child_inherits_the_token_and_uses_its_own_connections() {
    let layer = emulator();
    run(&layer, "blocking");
    // The parent's are a token and two calls of whoami.
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 2),
            (Endpoint::Whoami, 3),
            (Endpoint::AuthToken, 2),
        ],
    );
    assert_own_connections(&layer.log());
}

#[test]
fn b13_child_uses_its_own_tls_connections() {
    let layer = Emulator::builder()
        .rate_limit(None)
        .tls(true)
        .start_blocking()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    layer.write_ca_pem(&file).unwrap();
    finish(start(&layer, "blocking", Some(&file)));
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 2),
            (Endpoint::Whoami, 3),
            (Endpoint::AuthToken, 2),
        ],
    );
    assert_own_connections(&layer.log());
}

/// The parent's tickets are behind a lock, which another thread may have held during the
/// fork.
#[test]
fn b13_child_resumes_no_tls_session_of_its_parent() {
    let layer = emulator();
    let authority = Authority::new();
    let front = TlsFront::start(layer.address(), authority.server(&["127.0.0.1"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let probe = Command::new(env!("CARGO_BIN_EXE_fork_probe"))
        .arg("blocking")
        .envs(emulator_variables(&layer))
        .env("LAYER_API_URL", front.url())
        .env("LAYER_AUTH_URL", format!("{}/oauth2/token", front.url()))
        .env("LAYER_CA_FILE", &file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    finish(probe);
    assert_eq!(
        front.handshakes().full(),
        2,
        "full handshakes of the parent and the child"
    );
}

#[test]
fn b13_async_calls_work_in_the_childs_own_runtime() {
    let layer = emulator();
    run(&layer, "async");
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 2),
            (Endpoint::Whoami, 4),
            (Endpoint::AuthToken, 1),
        ],
    );
}

#[test]
fn b13_unused_client_works_after_the_fork() {
    let layer = emulator();
    run(&layer, "cold");
    assert_requests(&layer, &[(Endpoint::Token, 5), (Endpoint::Whoami, 5)]);
}

#[test]
fn b13_fork_during_a_request_leaves_the_request_to_the_parent() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let mut probe = start(&layer, "mid_flight", None);
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    probe.stdin.take().unwrap().write_all(b"fork\n").unwrap();
    // The child sends its own request, while the parent's response is held.
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Whoami).by_status.get(&200) == Some(&1)
    });
    assert_eq!(
        layer.counters().endpoint(Endpoint::Token).in_flight,
        1,
        "the parent's request ended"
    );
    layer.release();
    finish(probe);
    assert_requests(&layer, &[(Endpoint::Token, 2), (Endpoint::Whoami, 2)]);
}

/// The parent's prepared request is not the child's, which sends its own.
#[test]
fn b13_child_prepares_anew_during_its_parents_request() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let mut probe = start(&layer, "prepare", None);
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    probe.stdin.take().unwrap().write_all(b"fork\n").unwrap();
    // The child gets its token while the parent's response is held.
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Token).by_status.get(&200) == Some(&1)
    });
    layer.release();
    finish(probe);
    // The last child inherits the parent's token.
    assert_requests(&layer, &[(Endpoint::Token, 2)]);
}

#[test]
fn b13_child_has_its_own_rate_limiter() {
    let layer = emulator();
    // All of the parent's requests are held: its rate limiter has no burst left.
    layer
        .fault(Endpoint::AuthToken, Fault::hold().times(120))
        .unwrap();
    let mut probe = start(&layer, "batch", None);
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).in_flight == 120
    });
    probe.stdin.take().unwrap().write_all(b"fork\n").unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::AuthToken).by_status.get(&200) == Some(&40)
    });
    layer.release();
    finish(probe);
    assert_requests(&layer, &[(Endpoint::Token, 1), (Endpoint::AuthToken, 160)]);
}

#[test]
fn b13_forks_under_load_leave_no_lock_held() {
    let layer = emulator();
    run(&layer, "forks_under_load");
}

#[test]
fn b13_fork_of_a_fork_works() {
    let layer = emulator();
    run(&layer, "grandchild");
    // The grandchild inherits the child's business token as well.
    assert_requests(
        &layer,
        &[
            (Endpoint::Token, 3),
            (Endpoint::Whoami, 4),
            (Endpoint::AuthToken, 3),
        ],
    );
}

#[test]
fn b13_child_of_a_fork_without_handlers_makes_every_call() {
    let layer = emulator();
    run(&layer, "without_handlers");
}

#[test]
fn b13_fork_without_handlers_during_a_request_leaves_the_request_to_the_parent() {
    let layer = emulator();
    layer.fault(Endpoint::Token, Fault::hold()).unwrap();
    let mut probe = start(&layer, "mid_flight_without_handlers", None);
    eventually(&layer, |now| now.endpoint(Endpoint::Token).in_flight == 1);
    probe.stdin.take().unwrap().write_all(b"fork\n").unwrap();
    eventually(&layer, |now| {
        now.endpoint(Endpoint::Whoami).by_status.get(&200) == Some(&2)
    });
    layer.release();
    finish(probe);
    assert_requests(&layer, &[(Endpoint::Token, 3), (Endpoint::Whoami, 2)]);
}

#[test]
fn b04_b13_child_that_only_reads_in_place_is_kept_warm() {
    let layer = Emulator::builder()
        .access_token_lifetime(Duration::from_secs(6))
        .start_blocking()
        .unwrap();
    run(&layer, "reader");
}

#[test]
fn b13_b14_forked_siblings_retry_at_different_moments() {
    let layer = emulator();
    layer
        .fault(Endpoint::AuthToken, Fault::status(503).times(1_000))
        .unwrap();
    run(&layer, "siblings");
    let mut moments: HashMap<String, Vec<u64>> = HashMap::new();
    for entry in layer.log() {
        if let Some(business) = entry.business_id {
            moments.entry(business).or_default().push(entry.at_ms);
        }
    }
    assert_eq!(moments.len(), 8);
    // With full jitter the retries of a child take between 0 and 1.75 s.
    let taken = moments
        .values()
        .map(|times| times[times.len() - 1] - times[0]);
    let (least, most) = (taken.clone().min().unwrap(), taken.max().unwrap());
    assert!(
        most - least > 100,
        "the retries of all children took {least} to {most} ms"
    );
}
