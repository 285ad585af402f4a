//! Long life in a bad world: the emulator is a process of its own that
//! misbehaves, is killed and started again, and freezes, behind a line that is
//! cut and loses packets, while programs in each language work on, in tasks and
//! threads, and with clients that come and go. At the end no dead token was
//! served, the requests are bounded, all clients have healed by themselves, and
//! nothing has grown.
//!
//! `cargo test` runs it for a few seconds with the Rust program on loopback.
//! `make soak` runs it for ten minutes with all of them (`LAYERFI_SOAK=all`),
//! over TLS and HTTP/2, between two network namespaces where the system lets it
//! have some. `LAYERFI_SOAK_SECONDS` says for how long.
#![cfg(target_os = "linux")]

mod faces;
mod laws;
mod line;
mod samples;
mod world;

use std::time::{Duration, Instant};

use faces::Face;
use line::Line;
use world::World;

/// Short, so that a run has many.
const LIFE: Duration = Duration::from_secs(8);
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(700);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const BUSINESSES: usize = 12;

/// What the run itself may take, beyond the trouble: to start, heal and end.
const PATIENCE: Duration = Duration::from_secs(180);

/// Ends all when something hangs that must not; the processes end with it.
fn watch(for_so_long: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(for_so_long);
        eprintln!("the soak is ended: it took more than {for_so_long:?}");
        std::process::exit(1);
    });
}

#[test]
fn b05_b06_b08_b14_soak() {
    let seconds = std::env::var("LAYERFI_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    let everything = std::env::var("LAYERFI_SOAK").is_ok_and(|what| what == "all");
    let for_so_long = Duration::from_secs(seconds);
    let line = everything.then(|| {
        // Does not return where it can be done: the process begins again there.
        Line::move_into_namespaces().unwrap_or_else(|why| {
            println!("NO NETWORK NAMESPACES, so no cut lines and no lost packets: {why}");
            Line::loopback_over_tls()
        })
    });
    watch(for_so_long + PATIENCE);
    let mut world = World::new(line.unwrap_or_else(Line::loopback));
    println!("{}", world.describe());

    let mut faces = vec![Face::rust(&mut world)];
    if everything {
        faces.push(Face::c(&mut world));
        faces.push(Face::python(&mut world));
    }
    let started = Instant::now();
    world.trouble(for_so_long, &mut || {
        for face in &mut faces {
            face.look();
        }
    });

    // All are told before one is waited for, since they heal at the same time.
    for face in &mut faces {
        face.tell_to_end();
    }
    let reports: Vec<_> = faces.into_iter().map(Face::end).collect();
    let elapsed = started.elapsed();
    let trouble = world.account();
    println!("{:.0} s: {trouble}", elapsed.as_secs_f64());
    for report in &reports {
        println!("{report}");
    }
    let mut broken = laws::broken_by_all(&trouble, &reports, for_so_long);
    for report in &reports {
        broken.extend(laws::broken_by(report, elapsed));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
