//! The shared table, `tests/vectors`, through the C and the C++ face. The
//! programs `tests/c/vectors.c` and `tests/cpp/vectors.cpp` make the calls,
//! and tell what came of them; everything else is done here. Their logs are on
//! at the most verbose level all the time.

mod case;
mod program;
mod steps;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use crate::support::{Mode, Program, root};
use case::Transport;
use program::{Face, Times};

/// Cases that run side by side. They mostly wait.
const WORKERS: usize = 12;

/// Under valgrind every client takes half a second of computing to set up TLS,
/// so that one case in so many must do there.
const VALGRIND_TAKES_ONE_IN: usize = 12;

/// Over TLS each of client and emulator takes as long to set up as a case
/// takes to run.
const TLS_TAKES_ONE_IN: usize = 3;

/// What a case may take in memory.
const MOST_KIB: u64 = 32 * 1024;

#[test]
fn the_table_holds_in_c() {
    c().assert_held();
}

#[test]
fn b08_b19_no_case_is_late_or_large_in_c() {
    c().assert_in_bounds();
}

#[test]
fn b20_no_case_shows_a_secret_in_c() {
    c().assert_unseen();
}

#[test]
fn the_table_holds_in_cpp() {
    cpp().assert_held();
}

#[test]
fn b08_b19_no_case_is_late_or_large_in_cpp() {
    cpp().assert_in_bounds();
}

#[test]
fn b20_no_case_shows_a_secret_in_cpp() {
    cpp().assert_unseen();
}

#[test]
fn b08_b19_b20_the_table_over_tls_and_http_2_in_c() {
    let report = run_table(&Program::c("vectors"), Transport::Tls);
    report.assert_held();
    report.assert_in_bounds();
    report.assert_unseen();
}

#[test]
fn the_table_is_clean_under_address_and_undefined_sanitizer() {
    for program in [Program::c("vectors"), Program::cpp("vectors")] {
        let report = run_table(&program.mode(Mode::Address), Transport::Plain);
        report.assert_held();
        report.assert_unseen();
    }
}

#[test]
fn the_table_is_clean_under_valgrind() {
    let program = Program::c("vectors").mode(Mode::Valgrind);
    run_table(&program, Transport::Plain).assert_held();
}

/// One run of the table, for all that is asked of it.
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

/// What a run of the table came to.
#[derive(Default)]
struct Report {
    what: String,
    cases: usize,
    failures: Vec<String>,
    times: Times,
    /// How much a process had more than after its first case, in KiB, and in
    /// which.
    grown: (u64, String),
    telling: Vec<String>,
    logged: usize,
    panics: usize,
}

impl Report {
    fn assert_held(&self) {
        assert!(self.cases > 0, "no case was run");
        assert!(
            self.failures.is_empty(),
            "{} of {} cases, {}:\n{}",
            self.failures.len(),
            self.cases,
            self.what,
            self.failures.join("\n")
        );
    }

    fn assert_in_bounds(&self) {
        let (grown, case) = &self.grown;
        println!(
            "{}: {} cases, {}; {grown} KiB over the first at the most, after {case}",
            self.what, self.cases, self.times
        );
        let late = self.times.late();
        assert!(late.is_empty(), "{late:?}");
        assert!(*grown < MOST_KIB, "{grown} KiB in {case}");
    }

    fn assert_unseen(&self) {
        println!(
            "{}: {} lines of log, {} panics",
            self.what, self.logged, self.panics
        );
        // Without them nothing was looked at.
        assert!(self.logged > self.cases / 4 && self.panics > self.cases / 2);
        assert!(self.telling.is_empty(), "{}", self.telling.join("\n"));
    }

    /// Takes in how a worker's program ended.
    fn end(&mut self, ended: Result<program::Life, String>) {
        match ended {
            Err(why) => self.failures.push(why),
            Ok(life) => {
                self.times.join(life.times);
                self.telling.extend(life.telling);
                self.logged += life.logged;
                self.panics += life.panics;
            }
        }
    }
}

fn run_table(program: &Program, transport: Transport) -> Report {
    let mut cases = read_cases();
    assert!(cases.len() > 100, "the table is not there");
    if program.is_under_valgrind() {
        cases = cases.into_iter().step_by(VALGRIND_TAKES_ONE_IN).collect();
    }
    if transport == Transport::Tls {
        cases = cases.into_iter().step_by(TLS_TAKES_ONE_IN).collect();
    }
    let wanted = std::env::var("LAYERFI_CASE").unwrap_or_default();
    cases.retain(|case| transport.fits(case) && name(case).contains(&wanted));
    run_cases(program, transport, &cases)
}

fn run_cases(program: &Program, transport: Transport, cases: &[Value]) -> Report {
    let path = program.build();
    let workers = if program.is_under_valgrind() {
        3
    } else {
        WORKERS
    };
    let report = Mutex::new(Report {
        what: format!("{} {transport:?}", path.display()),
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
                    face: None,
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
    /// With what it had in memory after its first case, in KiB.
    face: Option<(Face, u64)>,
}

impl Worker<'_> {
    fn run(&mut self, case: &Value) {
        if let Err(why) = self.try_to_run(case) {
            let failure = format!("{}: {why}", name(case));
            self.report.lock().unwrap().failures.push(failure);
            // What is still to be said belongs to a case that is over.
            if let Some((face, _)) = self.face.take() {
                face.kill();
            }
        }
    }

    fn try_to_run(&mut self, case: &Value) -> Result<(), String> {
        if self.face.is_none() {
            let face = Face::start(self.program, self.path);
            let (face, start) = self.face.insert((face, 0));
            if !face.slow {
                // What is made once per process is no case's.
                case::run(&simple_case(), self.transport, face)?;
                *start = face.memory("VmRSS:")?;
            }
        }
        let Some((face, start)) = &mut self.face else {
            return Err("there is no program".to_owned());
        };
        case::run(case, self.transport, face)?;
        // A sanitizer's memory is not the library's.
        if !face.slow {
            let grown = face.memory("VmHWM:")?.saturating_sub(*start);
            let mut report = self.report.lock().unwrap();
            if grown > report.grown.0 {
                report.grown = (grown, name(case).to_owned());
            }
        }
        Ok(())
    }

    fn finish(self) {
        if let Some((face, _)) = self.face {
            let ended = face.finish();
            self.report.lock().unwrap().end(ended);
        }
    }
}

/// A token, and one for a business, from a server that is well.
fn simple_case() -> Value {
    json!({
        "name": "simple_case",
        "why": "All goes well.",
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

/// What looks at time, memory and words sees a program that is late, large and
/// tells a token; and what is said of it has no token in it.
#[test]
fn what_is_late_or_large_or_told_is_noticed() {
    let program = Program::c("vectors").misbehaving();
    let mut case = simple_case();
    case["client"]["timeout_ms"] = json!(1_500);
    let report = run_cases(&program, Transport::Plain, &[case]);
    report.assert_held();
    assert_eq!(report.times.late().len(), 1, "{}", report.times);
    assert!(report.grown.0 > MOST_KIB, "{} KiB", report.grown.0);
    // By the program, by its first call of two.
    assert!(!report.telling.is_empty());
    for line in &report.telling {
        assert!(
            line.starts_with("the business token: told: "),
            "another line"
        );
        assert!(
            line.len() < 60 && !line.contains("eyJ"),
            "a token is told again"
        );
    }
}
