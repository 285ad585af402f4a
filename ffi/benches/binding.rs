//! Measures C calls and compares them with a memcpy. `make bench-ffi`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use layerfi_auth::{Environment, blocking};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};

// As in cached.c.
const ROUNDS: u32 = 20_000;
const REPEATS: u32 = 1_000;

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The shortest of several measurements, in nanoseconds per call.
fn measure(mut call: impl FnMut()) -> f64 {
    (0..REPEATS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                call();
            }
            started.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        })
        .fold(f64::MAX, f64::min)
}

/// The library as `make install` builds it.
fn library(root: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(root)
        .args(["build", "--release", "--package", "layerfi-auth-ffi"])
        .env("CARGO_TARGET_DIR", target);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    run(&mut build);
    target.join("release")
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = library(root);
    std::fs::copy(
        built.join("liblayerfi_auth.so"),
        place.join("liblayerfi_auth.so.1"),
    )
    .unwrap();
    let program = place.join("cached");
    run(Command::new("cc")
        .args(["-O2", "-std=c11", "-Wall", "-Wextra", "-I"])
        .arg(root.join("include"))
        .arg("-o")
        .arg(&program)
        .arg(root.join("ffi/benches/cached.c"))
        .arg(place.join("liblayerfi_auth.so.1"))
        .args(["-pthread", "-Wl,-rpath"])
        .arg(format!("-Wl,{}", place.display())));

    let layer = Emulator::builder().start_blocking().unwrap();
    let output = run(Command::new(&program)
        .env("LAYER_ENVIRONMENT", "custom")
        .env("LAYER_API_URL", layer.url())
        .env("LAYER_AUTH_URL", layer.token_url())
        .env("LAYER_SCOPE", layer.scope())
        .env("LAYER_ALLOW_HTTP_LOOPBACK", "1")
        .env("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID)
        .env("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET));
    let c: BTreeMap<&str, f64> = output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect();

    let client = blocking::Client::builder()
        .environment(Environment::Custom)
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .api_url(layer.url())
        .auth_url(layer.token_url())
        .scope(layer.scope())
        .allow_http_loopback(true)
        .build_blocking()
        .unwrap();
    client.token().unwrap();
    let borrow = measure(|| {
        black_box(client.borrow_token().unwrap().authorization());
    });
    let clone = measure(|| {
        black_box(client.token().unwrap().authorization());
    });

    let empty = c["empty"];
    println!(
        "A call with a cached token, ns ({} bytes of header)",
        c["header_bytes"]
    );
    println!("{:<44}{:>8}{:>10}{:>14}", "", "ns", "x empty", "target");
    let row = |what: &str, ns: f64, target: &str| {
        println!("{what:<44}{ns:>8.1}{:>10.1}{target:>14}", ns / empty);
    };
    row("a call that does nothing", empty, "");
    row("memcpy of the header value", c["memcpy"], "");
    row("Rust: borrow_token", borrow, "");
    row("Rust: token (a clone)", clone, "");
    row("C: copy_authorization", c["copy"], "<= 35");
    row("C: copy_authorization, 2 threads, each", c["copy_2"], "");
    row("C: token, authorization, free", c["handle"], "<= 45");
    row(
        "C: token, authorization, free, 2 threads, each",
        c["handle_2"],
        "",
    );
    // Two threads make twice the calls.
    let scale = |one: &str, two: &str| 2.0 * c[one] / c[two];
    println!("\nThroughput of two threads, compared with one");
    println!(
        "{:<44}{:>8.2}{:>24}",
        "memcpy (the machine)",
        scale("memcpy", "memcpy_2"),
        ""
    );
    println!(
        "{:<44}{:>8.2}{:>24}",
        "copy_authorization",
        scale("copy", "copy_2"),
        ">= 1.8"
    );
    println!(
        "{:<44}{:>8.2}{:>24}",
        "token, free",
        scale("handle", "handle_2"),
        ""
    );

    let size = std::fs::metadata(built.join("liblayerfi_auth.so"))
        .unwrap()
        .len();
    println!("\nThe library and its first client");
    println!(
        "{:<44}{:>8.2} MB{:>21}",
        "stripped shared library",
        size as f64 / 1e6,
        "<= 3 MB"
    );
    println!("{:<44}{:>8.2} ms", "making a client", c["client_us"] / 1e3);
    println!(
        "{:<44}{:>8.2} ms",
        "its first token, over loopback",
        c["first_token_us"] / 1e3
    );
    println!("{:<44}{:>8.2} MB", "memory for both", c["memory_kb"] / 1e3);
}
