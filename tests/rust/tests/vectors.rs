//! The shared table of cases, run with both Rust clients.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use layerfi_auth_tests::{
    Binding, Case, Transport, multi_thread_runtime, read_table, run, take_texts,
};
use serde_json::{Value, json};

/// Number of threads. Most cases wait for a timeout or a back-off.
const WORKERS: usize = 8;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    files
}

fn cases() -> Vec<Case> {
    files().iter().flat_map(|file| read_table(file)).collect()
}

/// Runs every case, or those whose name contains `LAYERFI_CASE`, and reports all
/// failures.
fn run_all(binding: Binding, transport: Transport) {
    let wanted = std::env::var("LAYERFI_CASE").unwrap_or_default();
    let mut cases = cases();
    cases.retain(|case| case.name.contains(&wanted));
    let failures = failures(&cases, binding, transport);
    assert!(
        failures.is_empty(),
        "{} of {} cases failed ({binding:?}, {transport:?}):\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

fn failures(cases: &[Case], binding: Binding, transport: Transport) -> Vec<String> {
    let runtime = multi_thread_runtime(2);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = run(case, binding, transport, &runtime) {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("{}: {why}", case.name));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

#[test]
fn every_case_has_a_unique_name() {
    let mut names = HashSet::new();
    for case in cases() {
        assert!(
            names.insert(case.name.clone()),
            "duplicate name: {}",
            case.name
        );
    }
    assert!(names.len() > 70, "only {} cases were found", names.len());
}

#[test]
fn table_passes_with_the_async_client() {
    if std::env::var_os("UPDATE_MISTAKES").is_some() {
        update_texts();
    }
    run_all(Binding::Async, Transport::Plain);
}

/// Writes the messages and remedies of the errors into `mistakes.json`.
fn update_texts() {
    let file = folder().join("mistakes.json");
    failures(&read_table(&file), Binding::Async, Transport::Plain);
    let mut text = std::fs::read_to_string(&file).unwrap();
    for (case, texts) in take_texts() {
        let start = text.find(&format!("\"name\": {}", json!(case))).unwrap();
        let start = start + text[start..].find("\"expect\"").unwrap();
        for (field, new) in texts {
            let label = format!("\"{field}\": ");
            let at = start + text[start..].find(&label).unwrap() + label.len();
            let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            values.next().unwrap().unwrap();
            let end = at + values.byte_offset();
            text.replace_range(at..end, &json!(new).to_string());
        }
    }
    std::fs::write(&file, text).unwrap();
}

#[test]
fn table_passes_with_the_blocking_client() {
    run_all(Binding::Blocking, Transport::Plain);
}

#[test]
fn table_passes_over_tls_and_http_2() {
    run_all(Binding::Async, Transport::Tls);
}

/// Tests the runner itself: every case with a wrong expectation must fail.
#[test]
fn case_with_a_wrong_expectation_fails() {
    let mut altered = Vec::new();
    for case in cases() {
        altered.push(case.altered(|case| {
            let step = case["steps"].as_array_mut().unwrap().last_mut().unwrap();
            let expect = &mut step["expect"];
            *expect = match expect.get("error") {
                Some(_) => json!({"ok": {}}),
                None => json!({"error": {}}),
            };
        }));
        altered.push(case.altered(|case| case["requests"]["preflight"] = json!(1)));
        for field in ["message", "remedy"] {
            let last = case.json()["steps"].as_array().unwrap().len() - 1;
            let of = |case: &Value| case["steps"][last]["expect"]["error"][field].clone();
            if let Some(text) = of(&case.json()).as_str() {
                altered.push(case.altered(|case| {
                    case["steps"][last]["expect"]["error"][field] = json!(format!("{text}."));
                }));
            }
        }
    }
    let expected = altered.len();
    let failures = failures(&altered, Binding::Async, Transport::Plain);
    assert_eq!(
        failures.len(),
        expected,
        "some cases with a wrong expectation passed"
    );
}
