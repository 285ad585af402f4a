//! Soak test. The emulator runs in its own process: it returns faults, is killed,
//! restarted and frozen, its certificate authority is replaced, and the network to it
//! is cut and loses packets. The store of the shared cache is paused, killed, wiped, filled
//! and cut off. Meanwhile one program per language makes calls from tasks and threads and
//! creates and drops clients, at times with few threads and few file descriptors; one more
//! has no shared cache. At the end no expired token was served, the number of requests is
//! bounded, no call failed because of the store, all clients have recovered, no resource
//! has grown, and nothing was written to standard error.
//!
//! `cargo test` runs it for a few seconds with the Rust program on loopback.
//! `make soak` runs it for ten minutes with all programs (`LAYERFI_SOAK=all`),
//! over TLS and HTTP/2, between two network namespaces if the system allows them.
//! `LAYERFI_SOAK_SECONDS` sets the duration.
#![cfg(target_os = "linux")]

mod invariants;
mod network;
mod programs;
mod samples;
mod scarcity;
mod test_bed;

use std::time::{Duration, Instant};

use network::Network;
use programs::{Program, SharedCache};
use test_bed::TestBed;

/// Lifetime of tokens: short, so that a run contains many expiries.
const LIFE: Duration = Duration::from_secs(8);
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(700);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const BUSINESSES: usize = 12;

/// Time limit for starting, recovering and ending, beyond the disruptions.
const SETUP_LIMIT: Duration = Duration::from_secs(240);

/// Ends this process, and with it the others, if the run takes too long.
fn limit_run_time(duration: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        eprintln!("ending the soak test: it took more than {duration:?}");
        std::process::exit(1);
    });
}

#[test]
fn b05_b06_b08_b14_b25_b26_b30_soak() {
    let seconds = std::env::var("LAYERFI_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    let everything = std::env::var("LAYERFI_SOAK").is_ok_and(|what| what == "all");
    let duration = Duration::from_secs(seconds);
    let network = everything.then(|| {
        // On success this does not return: the process is executed again in the namespace.
        Network::move_into_namespaces().unwrap_or_else(|why| {
            let text = format!(
                "NO NETWORK NAMESPACES, so the link is not cut and loses no packets: {why}"
            );
            // In CI nothing may be skipped.
            assert!(std::env::var_os("CI").is_none(), "{text}");
            println!("{text}");
            Network::loopback_over_tls()
        })
    });
    limit_run_time(duration + SETUP_LIMIT);
    let mut test_bed = TestBed::new(network.unwrap_or_else(Network::loopback));
    println!("{}", test_bed.describe());

    let mut programs = vec![
        Program::rust(&mut test_bed, SharedCache::On),
        Program::rust(&mut test_bed, SharedCache::Off),
    ];
    if everything {
        programs.push(Program::c(&mut test_bed));
        programs.push(Program::python(&mut test_bed));
    }
    let started = Instant::now();
    test_bed.disrupt_store(1 + seconds / 60, &mut programs);
    test_bed.disrupt(duration, &mut programs);

    // First tell all programs to end, then wait for each, so that they recover at the
    // same time.
    for program in &mut programs {
        program.tell_to_end();
    }
    let reports: Vec<_> = programs
        .into_iter()
        .map(|program| program.end(&mut test_bed))
        .collect();
    let elapsed = started.elapsed();
    let disruptions = test_bed.into_disruptions();
    println!("{:.0} s: {disruptions}", elapsed.as_secs_f64());
    for report in &reports {
        println!("{report}");
    }
    let mut violations = invariants::violations_of_all(&disruptions, &reports, duration);
    for report in &reports {
        violations.extend(invariants::violations_of(report, elapsed));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
