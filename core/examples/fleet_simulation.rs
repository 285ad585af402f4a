//! Simulates 10,000 processes in all scenarios and prints the results as JSON.
//! `make fleet-simulation` writes them into docs/fleet-simulation.md.

#![allow(clippy::print_stdout, missing_docs)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use layerfi_auth::simulation::{Outcomes, Scenario, Sharing, run};
use serde_json::{Value, json};

const SEED: u64 = 1;

fn simulate(scenario: &Scenario, sharing: Sharing) -> Outcomes {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(scenario, sharing, SEED)),
        Err(error) => panic!("cannot start a runtime: {error}"),
    }
}

fn results(outcomes: &Outcomes) -> Value {
    json!({
        "calls": outcomes.calls,
        "failed_calls": outcomes.failed_calls,
        "dead_tokens": outcomes.dead_tokens,
        "requests": outcomes.requests,
        "peak_requests": outcomes.peak_requests,
        "longest_without": outcomes.longest_without.as_secs_f64(),
        "commands": outcomes.commands,
        "peak_commands": outcomes.peak_commands,
        "adopted": outcomes.adopted,
        "shared_alone": outcomes.alone,
    })
}

fn main() {
    let processes = std::env::args().nth(1);
    let processes = processes.and_then(|text| text.parse().ok());
    let processes = processes.unwrap_or(10_000);
    let scenarios = Scenario::all(processes, SEED);
    let sharings = [
        ("alone", Sharing::Alone),
        ("without_lease", Sharing::WithoutLease),
        ("with_lease", Sharing::WithLease),
    ];
    let jobs = scenarios.len() * sharings.len();
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let scenario = scenarios.get(job / sharings.len());
                    let sharing = sharings.get(job % sharings.len());
                    let (Some(scenario), Some((_, sharing))) = (scenario, sharing) else {
                        return;
                    };
                    let outcomes = results(&simulate(scenario, *sharing));
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((job, outcomes));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(job, _)| *job);
    let rows: Vec<Value> = scenarios
        .iter()
        .zip(rows.chunks(sharings.len()))
        .map(|(scenario, chunk)| {
            let mut row = json!({ "name": scenario.name, "title": scenario.title });
            for ((name, _), (_, outcomes)) in sharings.iter().zip(chunk) {
                if let Some(row) = row.as_object_mut() {
                    row.insert((*name).to_owned(), outcomes.clone());
                }
            }
            row
        })
        .collect();
    let report = json!({ "processes": processes, "seed": SEED, "scenarios": rows });
    println!("{report:#}");
}
