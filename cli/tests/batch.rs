//! `business-token --from`, against the emulator.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use common::{MAX_WAIT, Running, at, run, run_with_input, run_within, start};
use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, Emulator, Endpoint, Fault};
use serde_json::Value;

/// The id of a business with a number.
fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn ids(numbers: std::ops::Range<usize>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        writeln!(text, "{}", id(number)).unwrap();
        text
    })
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("a line is not JSON ({error}): {line}"))
        })
        .collect()
}

/// How often each business was minted, by the emulator's log.
fn mints(layer: &Emulator) -> HashMap<String, usize> {
    let mut mints = HashMap::new();
    for request in layer.log() {
        if let Some(rest) = request.path.strip_prefix("/v1/businesses/")
            && let Some(id) = rest.strip_suffix("/auth-token")
            && request.status == Some(200)
        {
            *mints.entry(id.to_owned()).or_default() += 1;
        }
    }
    mints
}

/// Holds the mints of these businesses: the batch waits at the first of them.
fn hold(layer: &Emulator, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let fault = Fault::hold().business(id(number)).forever();
        layer.fault(Endpoint::AuthToken, fault).unwrap();
    }
}

fn token_requests(layer: &Emulator) -> u64 {
    layer.counters().endpoint(Endpoint::Token).total
}

fn mint_requests(layer: &Emulator) -> u64 {
    layer.counters().endpoint(Endpoint::AuthToken).total
}

#[test]
fn a_list_gives_one_line_per_business_in_its_order() {
    let layer = start(Emulator::builder());
    let upper = id(0xabc).to_uppercase();
    let list = format!(
        "# ours\r\n{}\r\n\r\n{upper}\r\n  {} \n../x\n{}",
        id(2),
        id(1),
        id(2)
    );
    let outcome = run_with_input(
        at(
            &layer,
            &["business-token", "--from", "-", "--session-duration", "900"],
        ),
        Some(&list),
    );
    outcome.assert_code(21);
    let found = lines(&outcome.stdout);
    let businesses: Vec<_> = found.iter().map(|line| &line["business_id"]).collect();
    assert_eq!(businesses, [&id(2)[..], &id(0xabc), &id(1), "../x"]);
    for line in &found[..3] {
        assert!(
            line["access_token"].as_str().unwrap().starts_with("eyJ")
                && line["token_type"] == "Bearer"
                && line["expires_in"].as_u64().unwrap() <= 900
                && line["expires_at"].as_str().unwrap().ends_with('Z')
                && line.as_object().unwrap().len() == 5,
            "the line does not have the fields of business-token --json: {line}"
        );
    }
    let error = found[3]["error"].as_object().unwrap();
    assert_eq!(error["kind"], "invalid_argument", "wrong error: {error:?}");
    assert_eq!(error.len(), 10, "a field of errors is missing: {error:?}");
    outcome.assert_stderr_contains("3 minted, 1 failed, 0 skipped, 0 left, ");
    assert_eq!(
        outcome.stderr.lines().count(),
        1,
        "stderr has more than the summary, though it is not a terminal: {}",
        outcome.all()
    );
    assert_eq!((token_requests(&layer), mint_requests(&layer)), (1, 3));
    outcome.assert_nowhere(DEFAULT_CLIENT_SECRET);
}

#[test]
fn the_summary_is_json_on_request_and_missing_with_quiet() {
    let layer = start(Emulator::builder());
    let list = file(&ids(0..2));
    let path = list.path().to_str().unwrap();
    let outcome = run(at(&layer, &["--json", "business-token", "--from", path]));
    outcome.assert_code(0);
    let summary: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(summary["summary"]["minted"], 2, "{}", outcome.all());
    let outcome = run(at(&layer, &["business-token", "--from", path, "--quiet"]));
    outcome.assert_code(0);
    assert_eq!(outcome.stderr, "", "--quiet prints to stderr");
    let outcome = run(at(&layer, &["business-token", "--from", "/dev/null"]));
    outcome.assert_code(0);
    outcome.assert_stderr_contains("0 minted, 0 failed");
}

#[test]
fn b02_ten_thousand_businesses_cost_one_token_request_and_few_connections() {
    let layer = start(Emulator::builder().rate_limit(None));
    // Some fail, and do not end the list.
    layer
        .fault(Endpoint::AuthToken, Fault::status(403).times(3))
        .unwrap();
    let list = file(&ids(0..10_000));
    let path = list.path().to_str().unwrap();
    let command = at(&layer, &["business-token", "--from", path]);
    let outcome = run_within(10 * MAX_WAIT, command, None);
    outcome.assert_code(21);
    let found = lines(&outcome.stdout);
    let expected: Vec<_> = (0..10_000).map(id).collect();
    let businesses: Vec<_> = found
        .iter()
        .map(|line| line["business_id"].as_str().unwrap())
        .collect();
    assert!(
        businesses == expected,
        "the lines are not one per business in the order of the list"
    );
    let failed = found.iter().filter(|line| !line["error"].is_null()).count();
    assert_eq!(failed, 3, "not 3 businesses failed: {}", outcome.stderr);
    outcome.assert_stderr_contains("9,997 minted, 3 failed, 0 skipped, 0 left, ");
    assert_eq!(token_requests(&layer), 1, "not one token request");
    assert_eq!(mint_requests(&layer), 10_000, "a business was repeated");
    let at_once = layer.counters().endpoint(Endpoint::AuthToken).max_in_flight;
    assert!(
        at_once <= 32,
        "{at_once} requests were in flight at the same time"
    );
}

#[test]
fn b17_a_list_stays_within_the_rate_limit() {
    let layer = start(Emulator::builder().rate_limit(Some(50)));
    let list = file(&ids(0..120));
    let outcome = run(at(
        &layer,
        &["business-token", "--from", list.path().to_str().unwrap()],
    ));
    outcome.assert_code(0);
    outcome.assert_stderr_contains("120 minted, 0 failed");
    assert_eq!(mint_requests(&layer), 120, "a business was repeated");
    let refused = layer.counters().rate_limited;
    assert!(
        refused <= 2,
        "the server's rate limit refused {refused} of 120 requests"
    );
}

#[test]
fn a_wrong_secret_ends_the_batch_after_one_request() {
    let layer = start(Emulator::builder());
    let list = file(&ids(0..1_000));
    let mut command = at(
        &layer,
        &["business-token", "--from", list.path().to_str().unwrap()],
    );
    command.env("LAYER_CLIENT_SECRET", "wrong");
    let outcome = run(command);
    outcome.assert_code(5);
    outcome.assert_stderr_contains("invalid_client");
    outcome.assert_stderr_contains("0 minted, ");
    let found = lines(&outcome.stdout);
    assert!(
        found.len() <= 64,
        "{} businesses were tried with a wrong secret",
        found.len()
    );
    assert_eq!(token_requests(&layer), 1, "the wrong secret was sent again");
}

#[test]
fn a_killed_batch_is_continued_without_a_second_mint() {
    let layer = start(Emulator::builder().rate_limit(None));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tokens.jsonl");
    let list = file(&ids(0..600));
    let arguments = |resume: &'static [&'static str]| {
        let mut all = vec!["business-token", "--from", list.path().to_str().unwrap()];
        all.extend(["--output", out.to_str().unwrap()]);
        all.extend(resume);
        at(&layer, &all)
    };
    hold(&layer, 300..600);
    let mut first = Running::spawn(arguments(&[]));
    let is_waiting =
        |all: &layerfi_auth_emulator::Counters| all.endpoint(Endpoint::AuthToken).in_flight == 32;
    assert!(
        layer.wait_until(is_waiting, MAX_WAIT),
        "the batch does not wait for 32 held mints"
    );
    wait_for_lines(&out, 300);
    let other = run(arguments(&["--resume"]));
    other.assert_code(12);
    other.assert_stderr_contains("another process writes to --output");
    first.signal("KILL");
    first.wait();
    layer.clear_faults();
    layer.release();
    let written = std::fs::read_to_string(&out).unwrap();
    assert_eq!(written.lines().count(), 300, "a line is missing");
    layer.clear_log();

    // Killed while it wrote: the line is incomplete.
    let half = format!("{{\"access_token\":\"eyJ{}", "x".repeat(100));
    std::fs::write(&out, format!("{written}{half}")).unwrap();
    let refused = run(arguments(&[]));
    refused.assert_code(2);
    refused.assert_stderr_contains("add --resume to continue it");

    let second = run(arguments(&["--resume"]));
    second.assert_code(0);
    second.assert_stderr_contains("300 minted, 0 failed, 300 skipped, 0 left, ");
    assert_eq!(second.stdout, "", "--output also writes to stdout");
    let found = lines(&std::fs::read_to_string(&out).unwrap());
    let businesses: HashSet<_> = found
        .iter()
        .map(|line| line["business_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((found.len(), businesses.len()), (600, 600));
    let again = mints(&layer);
    for number in 0..300 {
        assert!(
            !again.contains_key(&id(number)),
            "business {number} has a line and was minted again"
        );
    }
    assert!(again.values().all(|count| *count == 1) && again.len() == 300);
    let third = run(arguments(&["--resume"]));
    third.assert_code(0);
    third.assert_stderr_contains("0 minted, 0 failed, 600 skipped, 0 left, ");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others can read the tokens");
    }
}

fn wait_for_lines(path: &Path, count: usize) {
    let start = std::time::Instant::now();
    while std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .count()
        < count
    {
        assert!(
            start.elapsed() < MAX_WAIT,
            "the file has fewer than {count} lines after {MAX_WAIT:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn failed_and_expired_businesses_are_minted_again() {
    let layer = start(Emulator::builder());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tokens.jsonl");
    let list = file(&ids(0..3));
    let past = format!(
        "{{\"access_token\":\"t\",\"business_id\":\"{}\",\"expires_at\":\"2026-01-01T00:00:00Z\"}}\n",
        id(0)
    );
    let failed = format!("{{\"business_id\":\"{}\",\"error\":{{}}}}\n", id(1));
    let valid = format!(
        "{{\"access_token\":\"t\",\"business_id\":\"{}\",\"expires_at\":\"2999-01-01T00:00:00Z\"}}\n",
        id(2)
    );
    std::fs::write(&out, past + &failed + &valid).unwrap();
    let arguments = [
        "business-token",
        "--from",
        list.path().to_str().unwrap(),
        "--output",
        out.to_str().unwrap(),
        "--resume",
    ];
    let outcome = run(at(&layer, &arguments));
    outcome.assert_code(0);
    outcome.assert_stderr_contains("2 minted, 0 failed, 1 skipped, 0 left, ");

    // A file of something else is not touched.
    for other in ["a list of mine\n", "a line without an end", "{\"a\": 1}\n{"] {
        std::fs::write(&out, other).unwrap();
        let outcome = run(at(&layer, &arguments));
        outcome.assert_code(12);
        outcome.assert_stderr_contains("line 1 of --output");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), other);
    }
}

#[test]
fn a_signal_ends_the_batch_after_the_requests_in_flight() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let layer = start(Emulator::builder().rate_limit(None));
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("tokens.jsonl");
        let list = file(&ids(0..600));
        hold(&layer, 100..600);
        let mut batch = Running::spawn(at(
            &layer,
            &[
                "business-token",
                "--from",
                list.path().to_str().unwrap(),
                "--output",
                out.to_str().unwrap(),
            ],
        ));
        let is_waiting = |all: &layerfi_auth_emulator::Counters| {
            all.endpoint(Endpoint::AuthToken).in_flight == 32
        };
        assert!(
            layer.wait_until(is_waiting, MAX_WAIT),
            "the batch does not wait for 32 held mints"
        );
        batch.signal(signal);
        // Nothing shows when the batch has received the signal. Should it start further
        // mints before, they are held too.
        wait_until_signal_is_taken(&batch);
        while batch.0.try_wait().unwrap().is_none() {
            layer.release();
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let stderr = batch.0.stderr.take().unwrap();
        assert_eq!(batch.wait(), code, "wrong exit code after SIG{signal}");
        let summary = std::io::read_to_string(stderr).unwrap();
        let written = lines(&std::fs::read_to_string(&out).unwrap()).len();
        let minted = mints(&layer).len();
        assert_eq!(written, minted, "a minted token was lost: {summary}");
        assert!(
            written < 600,
            "the signal did not stop the batch: {summary}"
        );
        assert!(
            summary.starts_with(&format!("{written} minted, 0 failed, 0 skipped, ")),
            "wrong summary after SIG{signal}: {summary}"
        );
    }
}

/// Waits until no signal is pending for the process.
fn wait_until_signal_is_taken(process: &Running) {
    let path = format!("/proc/{}/status", process.0.id());
    let start = std::time::Instant::now();
    loop {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let is_pending = status
            .lines()
            .filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"))
            .any(|line| !line.ends_with("0000000000000000"));
        if !is_pending {
            break;
        }
        assert!(start.elapsed() < MAX_WAIT, "the signal is still pending");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn contradictory_arguments_are_refused() {
    let layer = start(Emulator::builder());
    for (arguments, text) in [
        (&["business-token"][..], "required"),
        (
            &["business-token", "x", "--from", "-"],
            "cannot be used with",
        ),
        (&["business-token", "x", "--quiet"], "cannot be used with"),
        (
            &["business-token", "x", "--output", "f"],
            "cannot be used with",
        ),
        (&["business-token", "--from", "-", "--resume"], "--output"),
        (
            &["business-token", "--from", "-", "--client-secret-stdin"],
            "both read standard input",
        ),
        (&["business-token", "--from", "/missing"], "/missing"),
    ] {
        let outcome = run(at(&layer, arguments));
        assert!(
            [2, 12].contains(&outcome.code),
            "{arguments:?} ends with the wrong exit code: {}",
            outcome.all()
        );
        outcome.assert_stderr_contains(text);
    }
    assert_eq!(token_requests(&layer), 0, "a request was sent");
}

#[test]
fn a_reader_that_leaves_ends_the_batch() {
    let layer = start(Emulator::builder().rate_limit(None));
    let list = file(&ids(0..2_000));
    let mut batch = Running::spawn(at(
        &layer,
        &["business-token", "--from", list.path().to_str().unwrap()],
    ));
    // Closes the pipe after one line, as `head -1` does.
    let first = batch.read_until(|_| true);
    assert!(first.starts_with("{\"access_token\""), "{first}");
    assert_eq!(batch.wait(), 141, "wrong exit code after a closed pipe");
    assert!(
        mint_requests(&layer) < 2_000,
        "the batch went on for nobody"
    );
}
