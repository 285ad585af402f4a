//! Runs the shared table, `tests/vectors`, in C and in C++. The programs `tests/c/vectors.c` and
//! `tests/cpp/vectors.cpp` make the calls and print their outcomes; everything else is done here.
//! Their log is always at the most detailed level.

mod case;
mod program;
mod steps;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use crate::support::{Mode, Program, lateness, root};
use case::Transport;
use program::{SLACK, Summary, Times, VectorProgram};

/// Cases that run at the same time. They mostly wait.
const WORKERS: usize = 12;

/// Under valgrind only the processors limit the speed.
const VALGRIND_WORKERS: usize = 2;

/// Under valgrind each client needs half a second to set up TLS, so only one in twelve cases runs.
const VALGRIND_RUNS_ONE_IN: usize = 12;

/// Over TLS the setup of client and emulator takes as long as a case, so only one in three runs.
const TLS_RUNS_ONE_IN: usize = 3;

/// Maximum growth of a process after its first case.
const MAX_GROWTH_KIB: u64 = 32 * 1024;

#[test]
fn all_cases_pass_in_c() {
    c().assert_passed();
}

#[test]
fn b08_b19_no_case_exceeds_its_timeout_or_memory_in_c() {
    c().assert_within_limits();
}

#[test]
fn b20_no_case_prints_a_secret_in_c() {
    c().assert_no_secret();
}

#[test]
fn all_cases_pass_in_cpp() {
    cpp().assert_passed();
}

#[test]
fn b08_b19_no_case_exceeds_its_timeout_or_memory_in_cpp() {
    cpp().assert_within_limits();
}

#[test]
fn b20_no_case_prints_a_secret_in_cpp() {
    cpp().assert_no_secret();
}

#[test]
fn b08_b19_b20_cases_pass_over_tls_and_http_2_in_c() {
    let report = run_table(&Program::c("vectors"), Transport::Tls);
    report.assert_passed();
    report.assert_within_limits();
    report.assert_no_secret();
}

#[test]
fn cases_are_clean_under_address_and_undefined_sanitizer() {
    for program in [Program::c("vectors"), Program::cpp("vectors")] {
        let report = run_table(&program.mode(Mode::Address), Transport::Plain);
        report.assert_passed();
        report.assert_no_secret();
    }
}

#[test]
fn cases_are_clean_under_valgrind() {
    let program = Program::c("vectors").mode(Mode::Valgrind);
    run_table(&program, Transport::Plain).assert_passed();
}

/// One run of the table for all tests of C.
fn c() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| run_table(&Program::c("vectors"), Transport::Plain))
}

fn cpp() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| run_table(&Program::cpp("vectors"), Transport::Plain))
}

fn read_cases() -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/vectors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let table: Value = serde_json::from_str(&text).unwrap();
            table["cases"].as_array().unwrap().clone()
        })
        .collect()
}

/// The outcome of a run of the table.
#[derive(Default)]
struct Report {
    name: String,
    cases: usize,
    failures: Vec<String>,
    times: Times,
    /// The largest growth of a process after its first case, in KiB, and the name of
    /// that case.
    grown: (u64, String),
    lines_with_secrets: Vec<String>,
    logged: usize,
    panics: usize,
}

impl Report {
    fn assert_passed(&self) {
        assert!(self.cases > 0, "no case ran");
        assert!(
            self.failures.is_empty(),
            "{} of {} cases failed with {}:\n{}",
            self.failures.len(),
            self.cases,
            self.name,
            self.failures.join("\n")
        );
    }

    fn assert_within_limits(&self) {
        let (grown, case) = &self.grown;
        println!(
            "{}: {} cases, {}; grew by at most {grown} KiB, in {case}",
            self.name, self.cases, self.times
        );
        let allowed = SLACK + lateness();
        let late = self.times.later_than(allowed);
        assert!(
            late.is_empty(),
            "calls ended more than {allowed:?} after their timeouts: {late:?}"
        );
        assert!(
            *grown < MAX_GROWTH_KIB,
            "the process grew by {grown} KiB in {case}, more than {MAX_GROWTH_KIB} KiB"
        );
    }

    fn assert_no_secret(&self) {
        println!(
            "{}: {} log lines, {} panics",
            self.name, self.logged, self.panics
        );
        assert!(
            self.logged > self.cases / 4 && self.panics > self.cases / 2,
            "too little output was searched: {} log lines and {} panics of {} cases",
            self.logged,
            self.panics,
            self.cases
        );
        assert!(
            self.lines_with_secrets.is_empty(),
            "lines with secrets:\n{}",
            self.lines_with_secrets.join("\n")
        );
    }

    /// Adds the output of a worker's program.
    fn add(&mut self, summary: Result<Summary, String>) {
        match summary {
            Err(why) => self.failures.push(why),
            Ok(summary) => {
                self.times.join(summary.times);
                self.lines_with_secrets.extend(summary.lines_with_secrets);
                self.logged += summary.logged;
                self.panics += summary.panics;
            }
        }
    }
}

fn run_table(program: &Program, transport: Transport) -> Report {
    let mut cases = read_cases();
    assert!(
        cases.len() > 100,
        "the table has only {} cases",
        cases.len()
    );
    if program.is_under_valgrind() {
        cases = cases.into_iter().step_by(VALGRIND_RUNS_ONE_IN).collect();
    }
    if transport == Transport::Tls {
        cases = cases.into_iter().step_by(TLS_RUNS_ONE_IN).collect();
    }
    let wanted = std::env::var("LAYERFI_CASE").unwrap_or_default();
    cases.retain(|case| transport.fits(case) && name(case).contains(&wanted));
    run_cases(program, transport, &cases)
}

fn run_cases(program: &Program, transport: Transport, cases: &[Value]) -> Report {
    let path = program.build();
    // Starts the measurement.
    lateness();
    let workers = if program.is_under_valgrind() {
        VALGRIND_WORKERS
    } else {
        WORKERS
    };
    let report = Mutex::new(Report {
        name: format!("{} {transport:?}", path.display()),
        cases: cases.len(),
        ..Report::default()
    });
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(cases.len()) {
            scope.spawn(|| {
                let mut worker = Worker {
                    program,
                    path: &path,
                    transport,
                    report: &report,
                    running: None,
                };
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    worker.run(case);
                }
                worker.finish();
            });
        }
    });
    report.into_inner().unwrap()
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap_or("a case without a name")
}

/// Runs cases through one program, one after another.
struct Worker<'a> {
    program: &'a Program,
    path: &'a Path,
    transport: Transport,
    report: &'a Mutex<Report>,
    /// The program, and its memory after the first case in KiB.
    running: Option<(VectorProgram, u64)>,
}

impl Worker<'_> {
    fn run(&mut self, case: &Value) {
        if let Err(why) = self.try_to_run(case) {
            let failure = format!("{}: {why}", name(case));
            self.report.lock().unwrap().failures.push(failure);
            // Do not reuse the program: its next replies would belong to this
            // case.
            if let Some((running, _)) = self.running.take() {
                running.kill();
            }
        }
    }

    fn try_to_run(&mut self, case: &Value) -> Result<(), String> {
        if self.running.is_none() {
            let running = VectorProgram::start(self.program, self.path);
            let (running, start) = self.running.insert((running, 0));
            if !running.slow {
                // The first case also allocates what the process needs once.
                case::run(&simple_case(), self.transport, running)?;
                *start = running.memory("VmRSS:")?;
            }
        }
        let Some((running, start)) = &mut self.running else {
            return Err("the program is not running".to_owned());
        };
        case::run(case, self.transport, running)?;
        // A sanitizer itself needs memory.
        if !running.slow {
            let grown = running.memory("VmHWM:")?.saturating_sub(*start);
            let mut report = self.report.lock().unwrap();
            if grown > report.grown.0 {
                report.grown = (grown, name(case).to_owned());
            }
        }
        Ok(())
    }

    fn finish(self) {
        if let Some((running, _)) = self.running {
            let summary = running.finish();
            self.report.lock().unwrap().add(summary);
        }
    }
}

/// An access token and a business token from a server without faults.
fn simple_case() -> Value {
    json!({
        "name": "simple_case",
        "why": "Nothing fails.",
        "client": {},
        "steps": [
            {"call": "token", "expect": {"ok": {}}},
            {
                "call": "mint_business_token",
                "business_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
                "expect": {"ok": {}}
            }
        ],
        "requests": {"token": 1, "auth_token": 1}
    })
}

/// The checks detect a program that is late, grows and prints a token; the report contains
/// no token.
#[test]
fn a_program_that_is_late_or_large_or_prints_a_token_is_noticed() {
    let program = Program::c("vectors").misbehaving();
    let mut case = simple_case();
    case["client"]["timeout_ms"] = json!(1_500);
    let report = run_cases(&program, Transport::Plain, &[case]);
    report.assert_passed();
    let late = report.times.later_than(SLACK);
    assert_eq!(late.len(), 1, "one call is late: {late:?}");
    assert!(
        report.grown.0 > MAX_GROWTH_KIB,
        "it grew by {} KiB only",
        report.grown.0
    );
    assert!(
        !report.lines_with_secrets.is_empty(),
        "the printed token was not found"
    );
    for line in &report.lines_with_secrets {
        assert!(
            line.starts_with("the business token: printed: "),
            "another line was reported"
        );
        assert!(
            line.len() < 60 && !line.contains("eyJ"),
            "the report contains the token"
        );
    }
}
