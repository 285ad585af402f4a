//! The guide, `docs/emulator.md`, does what it says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::process::Command;

use common::{control, get, mint, start, token};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator};
use serde_json::Value;

const GUIDE: &str = include_str!("../../docs/emulator.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    GUIDE
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

/// The code spans in the first column of the table under this header.
fn column(header: &str) -> Vec<&'static str> {
    let table = GUIDE.split_once(header).unwrap().1;
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_fault_of_the_guide_is_taken() {
    let layer = start(Emulator::builder());
    let mut taken = 0;
    for line in blocks("json").into_iter().flat_map(str::lines) {
        let (status, answer) = control(&layer, "POST", "/faults", line);
        assert_eq!(status, 200, "{line}: {answer}");
        taken += 1;
    }
    for wire in column("| `wire` | what the client sees |\n") {
        let wire = wire.replace('…', "\"before\"");
        let fault = format!(r#"{{"body": "x", "wire": {wire}}}"#);
        let (status, answer) = control(&layer, "POST", "/faults", &fault);
        assert_eq!(status, 200, "{fault}: {answer}");
        taken += 1;
    }
    assert!(taken > 15, "{taken}");
}

#[test]
fn the_tables_name_what_there_is() {
    let fields = column("| field | what it says | default |\n");
    let all = r#"{"endpoint":"token","business_id":"","skip":1,"times":2,"delay_ms":1,"hold":true,
        "status":200,"headers":{"a":"b"},"body":"","body_base64":"","patch":{},"pad_body_to":1,"wire":"raw"}"#;
    let fault: layerfi_auth_emulator::Fault = serde_json::from_str(all).unwrap();
    let fault = serde_json::to_value(fault).unwrap();
    let mut known: Vec<_> = fault
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut told = fields;
    known.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, known);

    let layer = start(Emulator::builder());
    let info = control(&layer, "GET", "/", "").1;
    let mut known: Vec<_> = info["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order.as_str().unwrap())
        .collect();
    let mut told: Vec<_> = column("| order | body | answer |\n")
        .into_iter()
        .map(|order| order.split('?').next().unwrap())
        .collect();
    known.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, known);

    let troubles = column("| trouble | what is wrong |\n");
    let layer = start(Emulator::builder().tls(true));
    for trouble in &troubles {
        let order = format!(r#"{{"tls_trouble": "{trouble}"}}"#);
        assert_eq!(
            control(&layer, "POST", "/settings", &order).0,
            200,
            "{trouble}"
        );
    }
    assert_eq!(troubles.len(), 5);
}

#[test]
fn the_curl_calls_work() {
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
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            output.status.success() && answer.get("error").is_none(),
            "{call}: {answer}"
        );
    }
    assert!(layer.faults().is_empty(), "the last call resets");
}

#[test]
fn the_defaults_are_as_told() {
    for value in [DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID] {
        assert!(GUIDE.contains(&format!("`{value}`")), "{value}");
    }
    let layer = start(Emulator::builder());
    let access = token(&layer);
    let business = mint(&layer, &access, DEMO_BUSINESS_ID, "").json();
    let business = business["access_token"].as_str().unwrap();
    let resources = GUIDE
        .split_once("below it, ")
        .unwrap()
        .1
        .split_once(" | ")
        .unwrap()
        .0;
    for resource in resources.split('`').skip(1).step_by(2) {
        let path = format!("/v1/businesses/{DEMO_BUSINESS_ID}/{resource}");
        assert_eq!(get(&layer, &path, business).status, 200, "{resource}");
    }
}
