//! The example as a process against the emulator: it exports what docs/metrics.md lists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use layerfi_auth_emulator::Endpoint;
use layerfi_auth_test_support::{emulator, emulator_variables, remove_settings};

/// Kind, unit and description by name, from the table of the page.
fn table() -> BTreeMap<String, [String; 3]> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split('|').map(|cell| cell.trim().replace('`', ""));
        cells.collect()
    };
    page.lines()
        .filter(|line| line.starts_with("| `layerfi_auth_") && line.contains("`layerfi.auth."))
        .map(cells)
        .map(|row| {
            let [name, kind, unit, help] = [2, 4, 5, 6].map(|cell| row[cell].clone());
            (name, [kind, unit, format!("{help}.")])
        })
        .collect()
}

#[test]
fn b24_example_exports_the_metrics_of_the_page() {
    let layer = emulator();
    let mut command = Command::new(env!("CARGO_BIN_EXE_opentelemetry"));
    remove_settings(&mut command);
    let done = command.envs(emulator_variables(&layer)).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "the example failed: {errors}");
    let text = String::from_utf8(done.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();

    let table = table();
    assert!(
        table.len() > 15,
        "docs/metrics.md lists {} metrics",
        table.len()
    );
    for row in &rows {
        let expected = table.get(row[0]);
        let expected = expected.unwrap_or_else(|| panic!("{} is not on the page", row[0]));
        assert_eq!([row[1], row[2], row[5]], *expected, "{}", row[0]);
    }
    let mut missing: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    for row in &rows {
        missing.remove(row[0]);
    }
    // The example has no shared cache.
    assert_eq!(missing, BTreeSet::from(["layerfi.auth.shared_cache.up"]));

    let value = |name: &str, attributes: &str| {
        let row = rows
            .iter()
            .find(|row| row[0] == name && row[3] == attributes);
        row.unwrap_or_else(|| panic!("{name} {attributes} is missing"))[4]
    };
    assert_eq!(value("layerfi.auth.token.requests", ""), "1");
    assert_eq!(layer.count(Endpoint::Token), 1);
    assert_eq!(value("layerfi.auth.failures", "error.type=oauth"), "0");
    let remaining: f64 = value("layerfi.auth.token.remaining", "").parse().unwrap();
    assert!(
        0.0 < remaining && remaining <= 3600.0,
        "{remaining} s remain"
    );
}

#[test]
fn page_has_the_same_code_as_the_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(folder.join("../../docs/metrics.md")).unwrap();
    let example = std::fs::read_to_string(folder.join("src/main.rs")).unwrap();
    let (_, rest) = page.split_once("```rust\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    assert!(block.lines().count() > 2, "the block is empty");
    for line in block.lines() {
        let is_there = example.lines().any(|one| one.trim() == line);
        assert!(is_there, "src/main.rs does not have the line: {line}");
    }
}
