//! The examples, built with the command in their own comments, and their copies in the README.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use layerfi_auth_emulator::{Emulator, Endpoint, Fault};

use crate::install::{pkg_config, prefix};
use crate::support::{STRICT, compile_only, root, run, scratch, set_environment};

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
fn c_service_example_gets_a_new_token_after_401() {
    let curl = run(Command::new("pkg-config").args(["--cflags", "--libs", "libcurl"]));
    let curl: Vec<_> = curl.split_whitespace().map(str::to_owned).collect();
    let mut service = build("gcc", "service.c", "-std=c11", &curl);
    let layer = Emulator::builder().start_blocking().unwrap();
    let output = run(set_environment(&mut service, &layer));
    assert!(
        output.contains("clientName") && output.ends_with("status 200\n"),
        "{output}"
    );
    assert_eq!(layer.counters().access_tokens, 1, "one token for one call");
    // After a 401 the example gets another token and repeats the call.
    layer.fault(Endpoint::Whoami, Fault::status(401)).unwrap();
    let output = run(set_environment(&mut service, &layer));
    assert!(output.ends_with("status 200\n"), "{output}");
    assert_eq!(
        layer.counters().access_tokens,
        3,
        "two more tokens: one for the call, one after the 401"
    );
}

#[test]
fn cpp_threads_example_shares_one_token() {
    let mut workers = build("g++", "threads.cpp", "-std=c++17", &["-pthread".to_owned()]);
    let layer = Emulator::builder().start_blocking().unwrap();
    let output = run(set_environment(&mut workers, &layer));
    assert!(
        output.ends_with(": 1 token request, 1 minted\n"),
        "{output}"
    );
}

/// The rows of the table on the page about metrics: HELP and TYPE lines by Prometheus name.
fn metrics_of_the_page() -> BTreeMap<String, [String; 2]> {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    page.lines()
        .filter(|line| line.starts_with("| `layerfi_auth_") && line.contains("`layerfi.auth."))
        .map(|line| {
            let row: Vec<_> = line.split('|').map(|cell| cell.trim()).collect();
            let name = row[1].replace('`', "");
            let kind = if row[4] == "counter" {
                "counter"
            } else {
                "gauge"
            };
            let lines = [
                format!("# HELP {name} {}.", row[6].replace('`', "")),
                format!("# TYPE {name} {kind}"),
            ];
            (name, lines)
        })
        .collect()
}

#[test]
fn b24_c_metrics_example_writes_the_metrics_of_the_page() {
    let mut example = build("gcc", "metrics.c", "-std=c11", &[]);
    let layer = Emulator::builder().start_blocking().unwrap();
    let output = run(set_environment(&mut example, &layer));
    let mut expected = metrics_of_the_page();
    assert!(expected.len() > 15, "docs/metrics.md lists too few metrics");
    // The example has no shared cache.
    expected.remove("layerfi_auth_shared_cache_up");
    let comments: BTreeSet<_> = output
        .lines()
        .filter(|line| line.starts_with('#'))
        .collect();
    let wanted = expected.values().flatten().map(String::as_str).collect();
    assert_eq!(comments, wanted);
    let samples: Vec<_> = output
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for name in expected.keys() {
        let has_sample = |line: &&str| line.split([' ', '{']).next() == Some(name);
        assert!(samples.iter().any(has_sample), "{name} has no value");
    }
    for sample in [
        "layerfi_auth_token_requests_total 1",
        "layerfi_auth_failures_total{error_type=\"oauth\"} 0",
    ] {
        assert!(samples.contains(&sample), "{sample} is missing in {output}");
    }
}

#[test]
fn readme_has_the_same_text_as_the_examples() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for (language, name) in [("c", "service.c"), ("cpp", "threads.cpp")] {
        let block = format!("```{language}\n{}```", example(name));
        assert!(
            readme.contains(&block),
            "README.md does not contain the text of ffi/examples/{name}"
        );
    }
}

/// The code of a page's first block in a language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let start = format!("```{language}\n");
    let (_, rest) = page.split_once(&start).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn code_of_the_guide_fleets_compiles() {
    let page = std::fs::read_to_string(root().join("docs/fleets.md")).unwrap();
    let c = format!(
        "#include <layerfi_auth.h>\n#include <stdio.h>\nvoid build(layerfi_client_builder *builder);\n\
         void build(layerfi_client_builder *builder) {{\nlayerfi_client *client = NULL;\n\
         layerfi_error *error = NULL;\n{}}}\n",
        block(&page, "c")
    );
    compile_only("gcc", "c11", &c);
    let cpp = format!(
        "#include <layerfi_auth.hpp>\nlayerfi::Client make();\nlayerfi::Client make() {{\n\
         {}return client;\n}}\n",
        block(&page, "cpp")
    );
    compile_only("g++", "c++17", &cpp);
}
