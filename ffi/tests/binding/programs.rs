//! Runs the programs in `tests/c` and `tests/cpp`, each with its own emulator: without tools,
//! under the sanitizers, and under valgrind.

use layerfi_auth_emulator::{Emulator, HttpVersions};
use layerfi_auth_test_support::{RedisServer, ReservedPort, ServerKind};

use crate::support::{Mode, Program, run, set_environment};

const C: [&str; 5] = ["conventions", "calls", "signals", "threads", "fork"];
const CPP: [&str; 3] = ["api", "nothrow", "threads"];

#[test]
fn c_programs_run_with_both_compilers() {
    for compiler in ["gcc", "clang"] {
        for name in C {
            Program::c(name).compiler(compiler).run();
        }
    }
}

#[test]
fn b26_every_call_without_threads_or_descriptors_is_a_retryable_error_that_heals() {
    run_silently("scarcity");
}

#[test]
fn b25_every_call_works_after_the_program_closed_all_descriptors() {
    run_silently("descriptors");
}

/// A panic would be printed to standard error.
fn run_silently(program: &str) {
    let layer = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let program = Program::c(program);
    let mut command = program.command(&program.build());
    let output = set_environment(&mut command, &layer)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "the program ended with {}: {errors}",
        output.status
    );
}

#[test]
fn b20_b30_c_clients_share_tokens_through_a_real_server_and_log_it() {
    const PASSWORD: &str = "not-a-secret-8f7a";
    let closed = ReservedPort::new();
    let closed_port = closed.address().port().to_string();
    for (kind, mode) in [
        (ServerKind::Redis, Mode::Plain),
        (ServerKind::Redis, Mode::Address),
        (ServerKind::Valkey, Mode::Plain),
    ] {
        let server = RedisServer::builder(kind).password(PASSWORD).start();
        let layer = Emulator::builder().start_blocking().unwrap();
        let program = Program::c("shared_cache").mode(mode);
        let mut command = program.command(&program.build());
        let url = format!("redis://:{PASSWORD}@{}", server.address());
        set_environment(&mut command, &layer)
            .env("LAYER_SHARED_CACHE", url)
            .env("PASSWORD", PASSWORD)
            .env("CLOSED_PORT", &closed_port);
        run(&mut command);
    }
}

#[test]
fn many_calls_need_few_descriptors() {
    Program::c("connections").run();
}

#[test]
fn signals_stay_with_the_program_over_tls() {
    // Only HTTP/1 continues to write after the server has stopped reading.
    let layer = Emulator::builder()
        .tls(true)
        .http_versions(HttpVersions::Http1)
        .start_blocking()
        .unwrap();
    Program::c("signals").run_against(&layer);
}

#[test]
fn c_programs_are_clean_under_address_and_undefined_sanitizer() {
    for name in C {
        Program::c(name).mode(Mode::Address).run();
    }
}

#[test]
fn threads_are_clean_under_thread_sanitizer() {
    Program::c("threads").mode(Mode::Thread).run();
    Program::cpp("threads").mode(Mode::Thread).run();
}

#[test]
fn c_programs_are_clean_under_valgrind() {
    for name in C {
        Program::c(name).mode(Mode::Valgrind).run();
    }
}

#[test]
fn cpp_programs_run_with_both_compilers() {
    for compiler in ["g++", "clang++"] {
        for name in CPP {
            Program::cpp(name).compiler(compiler).run();
        }
    }
}

#[test]
fn cpp_programs_run_without_exceptions_and_rtti() {
    let flags = ["-fno-exceptions", "-fno-rtti", "-DEXPECT_NO_EXCEPTIONS=1"];
    for compiler in ["g++", "clang++"] {
        for standard in ["c++17", "c++20"] {
            Program::cpp("nothrow")
                .compiler(compiler)
                .standard(standard)
                .flags(&flags)
                .run();
        }
    }
}

#[test]
fn cpp_programs_are_clean_under_sanitizers_and_valgrind() {
    for mode in [Mode::Address, Mode::Valgrind] {
        for name in CPP {
            Program::cpp(name).mode(mode).run();
        }
    }
}
