//! Tests that no secret stays in the memory or the registers of a C program, or in what `/proc`
//! shows of it and of its child. The programs are `tests/c/memory.c` and `tests/c/registers.c`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, Emulator, Endpoint, Fault, HttpVersions};
use layerfi_auth_test_support::{Secrets, Watchdog};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Program, set_environment, watchdog};

const SECRET: &str = "canary-Zr7Qm2VxK9Ld4Tb8Nw1Hy6Gf3Jp5Us0c";

/// Letters with an HPACK code of five bits. The code is the index (RFC 7541 appendix B).
const FIVE_BIT_CHARS: &[u8; 10] = b"012aceiost";

/// A random token of `length` such letters, which is not in memory by chance.
fn token(seed: u64, length: usize) -> String {
    let mut state = seed;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = usize::try_from(state >> 33).unwrap() % FIVE_BIT_CHARS.len();
        char::from(FIVE_BIT_CHARS[at])
    };
    (0..length).map(|_| letter()).collect()
}

/// The HPACK encoding of a text, for each of the eight bit positions at which it may start. The
/// first and last bytes are left out, because they contain bits of the neighbors.
fn hpack(text: &str) -> Vec<Vec<u8>> {
    let forms = (0..8).map(|phase| {
        let mut bits = vec![false; phase];
        for letter in text.bytes() {
            let code = FIVE_BIT_CHARS
                .iter()
                .position(|known| *known == letter)
                .unwrap();
            bits.extend((0..5).rev().map(|bit| code >> bit & 1 == 1));
        }
        let bytes: Vec<u8> = bits
            .chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        bytes[1..17].to_vec()
    });
    forms.collect()
}

/// An emulator that returns known tokens, and the secrets to look for.
fn start_emulator(versions: Option<HttpVersions>) -> (Emulator, Secrets) {
    let (access_token, business_token) = (token(1, 400), token(2, 400));
    let mut builder = Emulator::builder()
        .client(DEFAULT_CLIENT_ID, SECRET)
        .rate_limit(None);
    if let Some(versions) = versions {
        builder = builder.tls(true).http_versions(versions);
    }
    let layer = builder.start_blocking().unwrap();
    let answer =
        |token: &str| json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600});
    for (endpoint, fault) in [
        (
            Endpoint::Token,
            Fault::json(answer(&access_token)).forever(),
        ),
        // The body of an error response is read as well.
        (Endpoint::Whoami, Fault::status(503)),
        (
            Endpoint::Whoami,
            Fault::json(json!({"data": {"clientName": "n", "clientId": "i"}})).forever(),
        ),
        (
            Endpoint::AuthToken,
            Fault::json(answer(&business_token)).forever(),
        ),
        (Endpoint::Business, Fault::json(json!({})).forever()),
    ] {
        layer.fault(endpoint, fault).unwrap();
    }
    let mut secrets = Secrets::default();
    secrets.add_client(DEFAULT_CLIENT_ID, SECRET);
    secrets.add_text("access token", &access_token);
    secrets.add_text("business token", &business_token);
    for form in hpack(&access_token[8..48]) {
        secrets.add("access token in HPACK", form);
    }
    (layer, secrets)
}

/// The running program. It ends when its input is closed, at the latest when this is dropped.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _watchdog: Watchdog,
    _directory: TempDir,
}

impl Process {
    fn start(layer: &Emulator, from: &str) -> Self {
        let program = Program::c("memory");
        let directory = tempfile::tempdir().unwrap();
        let mut command = program.command(&program.build());
        command.arg(from);
        set_environment(&mut command, layer);
        command.env_remove("LAYER_CLIENT_SECRET");
        if from == "file" {
            let secret = directory.path().join("secret");
            std::fs::write(&secret, SECRET).unwrap();
            command.env("LAYER_CLIENT_SECRET_FILE", secret);
        }
        if layer.ca_pem().is_some() {
            let ca = directory.path().join("ca.pem");
            layer.write_ca_pem(&ca).unwrap();
            command.env("LAYER_CA_FILE", ca);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            _watchdog: watchdog(child.id()),
            child,
            _directory: directory,
        };
        if from == "stdin" {
            process.write_line(SECRET);
        }
        process
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn write_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until the program uses its secrets, and returns the id of its child.
    fn wait_until_working(&mut self) -> u32 {
        let line = self.read_line();
        let child = line.strip_prefix("working ").and_then(|id| id.parse().ok());
        child.unwrap_or_else(|| panic!("the program printed {line:?}, not its child's id"))
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Makes the program free everything.
    fn free_all(&mut self) {
        self.write_line("");
        assert_eq!(
            self.read_line(),
            "freed",
            "the program did not free its handles"
        );
    }

    fn end(mut self) {
        self.input = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the program ended with {status}");
    }
}

/// Long enough for a busy machine: only a failing test reaches it.
const MAX_WAIT: Duration = Duration::from_secs(120);

#[test]
fn b20_no_token_is_left_in_memory() {
    for versions in [None, Some(HttpVersions::Http1), Some(HttpVersions::Both)] {
        for from in ["file", "stdin"] {
            let (layer, secrets) = start_emulator(versions);
            let mut process = Process::start(&layer, from);
            process.wait_until_working();
            // The search finds secrets that are in use. A secret from a file is not in use: the
            // file is read for each token request.
            let found = secrets.in_memory_of(process.id());
            let mut in_use = vec!["access token", "business token"];
            if from == "stdin" {
                in_use.push("client secret");
            }
            for what in in_use {
                assert!(
                    found.iter().any(|line| line.starts_with(what)),
                    "the search did not find the {what} in use, {versions:?}, secret from {from}"
                );
            }
            process.free_all();
            // The background thread closes its connections a little later.
            let started = Instant::now();
            let mut left = secrets.in_memory_of(process.id());
            while !left.is_empty() && started.elapsed() < MAX_WAIT {
                std::thread::sleep(Duration::from_millis(50));
                left = secrets.in_memory_of(process.id());
            }
            assert!(
                left.is_empty(),
                "secrets stayed in memory, {versions:?}, secret from {from}: {left:#?}"
            );
            process.end();
        }
    }
}

#[test]
fn b20_no_function_returns_with_a_secret_in_a_vector_register() {
    for compiler in ["gcc", "clang"] {
        Program::c("registers").compiler(compiler).run();
    }
}

#[test]
fn b20_arguments_and_child_of_a_c_program_have_no_secret() {
    for from in ["file", "stdin"] {
        let (layer, secrets) = start_emulator(None);
        let mut process = Process::start(&layer, from);
        let child = process.wait_until_working();
        wait_for_arguments(child);
        assert_eq!(
            secrets.in_arguments_of(process.id()),
            [""; 0],
            "the program's arguments or environment show a secret from {from}"
        );
        // The program has connections, and the child inherits none: of the program's
        // descriptors it has the first three, and those that were open before it started.
        let open = descriptors(process.id());
        let is_connection = |target: &String| target.starts_with("socket:");
        assert!(
            open.values().any(is_connection),
            "the program has no connection: {open:?}"
        );
        let before: Vec<_> = descriptors(std::process::id()).into_values().collect();
        let mut inherited = descriptors(child);
        // The child may open files of its own while it starts.
        let is_inherited = |target: &String| {
            open.values().any(|of_program| of_program == target) && !before.contains(target)
        };
        inherited.retain(|number, target| *number > 2 && is_inherited(target));
        assert!(
            inherited.is_empty(),
            "the child inherited descriptors: {inherited:?}"
        );
        assert_eq!(
            secrets.in_arguments_of(child),
            [""; 0],
            "the child's arguments or environment show a secret from {from}"
        );
        assert_eq!(
            secrets.in_memory_of(child),
            [""; 0],
            "the child's memory has a secret from {from}"
        );
        process.free_all();
        process.end();
    }
}

/// Waits until a new program has its arguments, and has closed what it must not inherit.
fn wait_for_arguments(process: u32) {
    let started = Instant::now();
    while std::fs::read(format!("/proc/{process}/cmdline"))
        .unwrap()
        .is_empty()
    {
        assert!(
            started.elapsed() < MAX_WAIT,
            "process {process} has no arguments after {MAX_WAIT:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The open descriptors of a process, by their numbers.
fn descriptors(process: u32) -> BTreeMap<u32, String> {
    let directory = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    directory
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let target = std::fs::read_link(&path).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect()
}
