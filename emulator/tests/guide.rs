//! Checks of the guide, `docs/emulator.md`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::process::Command;

use common::{command, control, start};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, TlsTrouble,
};
use serde_json::Value;

const GUIDE: &str = include_str!("../../docs/emulator.md");

/// The fenced code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    GUIDE
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

/// The code spans in the first column of the table with this header, sorted.
fn first_column(header: &str) -> Vec<&'static str> {
    let mut spans = column(header, 1);
    spans.sort_unstable();
    spans
}

/// The code spans in a column, counted from 1, of the table with this header.
fn column(header: &str, number: usize) -> Vec<&'static str> {
    let (_, table) = GUIDE
        .split_once(header)
        .unwrap_or_else(|| panic!("the guide has no table with the header {header:?}"));
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let cell = row.split(" | ").nth(number - 1).unwrap();
        cell.split('`').skip(1).step_by(2)
    })
    .collect()
}

#[test]
fn every_fault_of_the_guide_is_accepted() {
    let layer = start(Emulator::builder());
    let mut faults: Vec<String> = blocks("json")
        .into_iter()
        .flat_map(str::lines)
        .map(str::to_owned)
        .collect();
    for wire in first_column("| `wire` | what the client sees |\n") {
        let wire = wire.replace('…', "\"before\"");
        faults.push(format!(r#"{{"body": "x", "wire": {wire}}}"#));
    }
    let played = column("| the client shall meet | how to play it |\n", 2);
    faults.extend(
        played
            .into_iter()
            .filter(|span| span.starts_with('{'))
            .map(str::to_owned),
    );
    assert!(
        faults.len() > 40,
        "the guide must have more than 40 faults, found {}",
        faults.len()
    );
    for fault in faults {
        let response = control(&layer, "POST", "/faults", &fault);
        assert_eq!(response.status, 200, "{fault} is refused: {response:?}");
    }
}

#[test]
fn fault_table_of_the_guide_has_all_fields() {
    let all = r#"{"endpoint":"token","business_id":"","resource":"vendors","path":"/","skip":1,"times":2,"for_ms":1,"delay_ms":1,"hold":true,
        "status":200,"headers":{"a":"b"},"pad_headers":{"a":1},"encoding":"br","body":"","body_base64":"","patch":{},"pad_body_to":1,"wire":"raw"}"#;
    let fault: layerfi_auth_emulator::Fault = serde_json::from_str(all).unwrap();
    let fault = serde_json::to_value(fault).unwrap();
    let mut fields: Vec<_> = fault
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    assert_eq!(
        first_column("| field | meaning | default |\n"),
        fields,
        "the table must have the fields of a fault"
    );
}

#[test]
fn command_table_of_the_guide_has_all_commands() {
    let layer = start(Emulator::builder());
    let info = command(&layer, "GET", "/", "");
    let mut commands: Vec<_> = info["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|command| command.as_str().unwrap())
        .collect();
    commands.sort_unstable();
    let mut documented: Vec<_> = first_column("| command | body | response |\n")
        .into_iter()
        .map(|command| command.split('?').next().unwrap())
        .collect();
    documented.sort_unstable();
    assert_eq!(
        documented, commands,
        "the table must have the commands that GET / lists"
    );
}

#[test]
fn tls_table_of_the_guide_has_all_defects() {
    let defects = first_column("| `tls_trouble` | defect |\n");
    let mut all: Vec<_> = TlsTrouble::ALL.map(TlsTrouble::name).into();
    all.sort_unstable();
    assert_eq!(defects, all, "the table must have all defects");
    let layer = start(Emulator::builder().tls(true));
    for defect in defects {
        let body = format!(r#"{{"tls_trouble": "{defect}"}}"#);
        command(&layer, "POST", "/settings", &body);
    }
}

#[test]
fn curl_calls_of_the_guide_succeed() {
    let layer = start(Emulator::builder());
    let calls = blocks("sh")
        .into_iter()
        .find(|block| block.contains("$CONTROL"))
        .unwrap();
    for call in calls.lines() {
        let output = Command::new("sh")
            .args(["-ec", call])
            .env("CONTROL", layer.control_url())
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{call} printed no JSON ({error}): {output:?}"));
        assert!(
            output.status.success() && answer.get("error").is_none(),
            "{call} failed: {answer}"
        );
    }
    assert!(
        layer.faults().is_empty(),
        "the last call of the guide must reset the faults"
    );
}

#[test]
fn defaults_of_the_guide_are_correct() {
    for value in [DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID] {
        assert!(
            GUIDE.contains(&format!("`{value}`")),
            "the guide must contain the default {value}"
        );
    }
}
