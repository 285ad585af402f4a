//! The examples, built as their own comments say and run; and the README,
//! which prints them.

use std::process::Command;

use layerfi_auth_emulator::{Emulator, Endpoint, Fault};

use crate::install::{pkg_config, prefix};
use crate::support::{STRICT, root, run, scratch, speak_to};

fn example(name: &str) -> String {
    std::fs::read_to_string(root().join("ffi/examples").join(name)).unwrap()
}

/// Builds an example against the installed library.
fn build(compiler: &str, name: &str, standard: &str, extra: &[String]) -> Command {
    let program = scratch().join(format!("example-{name}"));
    let mut compile = Command::new(compiler);
    compile
        .arg(standard)
        .args(STRICT)
        .arg("-o")
        .arg(&program)
        .arg(root().join("ffi/examples").join(name))
        .args(pkg_config(&["--cflags", "--libs"]))
        .args(extra);
    run(&mut compile);
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", prefix().join("lib"));
    command
}

#[test]
fn the_c_service_calls_the_api_and_meets_a_401() {
    let curl = run(Command::new("pkg-config").args(["--cflags", "--libs", "libcurl"]));
    let curl: Vec<_> = curl.split_whitespace().map(str::to_owned).collect();
    let mut service = build("gcc", "service.c", "-std=c11", &curl);
    let layer = Emulator::builder().start_blocking().unwrap();
    let said = run(speak_to(&mut service, &layer));
    assert!(
        said.contains("clientName") && said.ends_with("status 200\n"),
        "{said}"
    );
    assert_eq!(layer.counters().access_tokens, 1);
    // A 401 costs one more token, and the call is made again.
    layer.fault(Endpoint::Whoami, Fault::status(401)).unwrap();
    let said = run(speak_to(&mut service, &layer));
    assert!(said.ends_with("status 200\n"), "{said}");
    assert_eq!(layer.counters().access_tokens, 3);
}

#[test]
fn the_cpp_workers_share_one_token() {
    let mut workers = build("g++", "threads.cpp", "-std=c++17", &["-pthread".to_owned()]);
    let layer = Emulator::builder().start_blocking().unwrap();
    let said = run(speak_to(&mut workers, &layer));
    assert!(said.ends_with(": 1 token request, 1 minted\n"), "{said}");
}

#[test]
fn the_readme_prints_the_examples() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for (language, name) in [("c", "service.c"), ("cpp", "threads.cpp")] {
        let block = format!("```{language}\n{}```", example(name));
        assert!(
            readme.contains(&block),
            "README.md does not print ffi/examples/{name}"
        );
    }
}
