//! What is left in a process's memory of a client secret and of tokens once
//! the client is dropped. The process is a probe of its own
//! (`src/memory_probe.rs`), looked into from here through `/proc`, so that
//! nothing that looks for a secret has it in the memory that it looks through.
//!
//! This crate wipes what it owns, which the probe with the system's allocator
//! shows; with `ZeroOnFree`, which the C library and the Python package have
//! built in, nothing is left by the libraries below either.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, Emulator, Endpoint, Fault, HttpVersions};
use serde_json::json;

/// Of letters whose HPACK codes have five bits, so that a header's compressed
/// form can be looked for as well (RFC 7541 appendix B).
const CHEAP: &[u8; 10] = b"012aceiost";

const SECRET: &str = "canary-Zr7Qm2VxK9Ld4Tb8Nw1Hy6Gf3Jp5Us0c";

/// So many letters of `CHEAP`, which no memory has by chance.
fn canary(seed: u64, length: usize) -> String {
    let mut state = seed;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(CHEAP[(state >> 33) as usize % CHEAP.len()])
    };
    (0..length).map(|_| letter()).collect()
}

/// What is looked for, and what it is called.
type Needles = Vec<(&'static str, Vec<u8>)>;

/// Parts of a text: its beginning, middle and end are found on their own.
fn parts(needles: &mut Needles, what: &'static str, text: &str) {
    const LENGTH: usize = 16;
    let text = text.as_bytes();
    for start in [4, text.len() / 2 - LENGTH / 2, text.len() - LENGTH] {
        needles.push((what, text[start..][..LENGTH].to_vec()));
    }
}

/// The whole bytes of a text in HPACK's Huffman code, wherever in a byte it begins.
fn huffman(needles: &mut Needles, what: &'static str, text: &str) {
    for phase in 0..8 {
        let mut bits = vec![false; phase];
        for letter in text.bytes() {
            let code = CHEAP.iter().position(|cheap| *cheap == letter).unwrap();
            bits.extend((0..5).rev().map(|bit| code >> bit & 1 == 1));
        }
        let bytes: Vec<u8> = bits
            .chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        needles.push((what, bytes[1..17].to_vec()));
    }
}

fn needles(token: &str, business_token: &str) -> Needles {
    let mut needles = Needles::new();
    parts(&mut needles, "client secret", SECRET);
    let pair = format!("{DEFAULT_CLIENT_ID}:{SECRET}");
    let basic = base64::engine::general_purpose::STANDARD.encode(&pair);
    // The end of it, where the secret is.
    parts(&mut needles, "Basic header", &basic[basic.len() - 40..]);
    parts(&mut needles, "access token", token);
    huffman(&mut needles, "access token in HPACK", &token[8..48]);
    parts(&mut needles, "business token", business_token);
    needles
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both are valid for their lengths, and only read.
    #[allow(unsafe_code)]
    let found = unsafe {
        libc::memmem(
            haystack.as_ptr().cast(),
            haystack.len(),
            needle.as_ptr().cast(),
            needle.len(),
        )
    };
    (!found.is_null()).then(|| found as usize - haystack.as_ptr() as usize)
}

/// Looks through all memory that the process can write, and tells where
/// something was found, with what stands before it.
fn scan(process: u32, needles: &Needles) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let place = words.nth(3).unwrap_or("anonymous");
        let (from, to) = range.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut bytes = vec![0; (to - from) as usize];
        // A mapping may be gone by now, and some are the kernel's own.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        for (what, needle) in needles {
            let mut start = 0;
            while let Some(at) = find(&bytes[start..], needle) {
                let at = start + at;
                let before = &bytes[at.saturating_sub(48)..at];
                found.push(format!(
                    "{what} in {place} at {:x}, after {:?}",
                    from + at as u64,
                    String::from_utf8_lossy(before)
                ));
                start = at + needle.len();
            }
        }
    }
    found
}

struct Probe {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Probe {
    fn start(program: &str, arguments: &[&str], layer: &Emulator) -> (Self, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PROBE_SECRET_FILE", &secret)
            .env("LAYER_ENVIRONMENT", "custom")
            .env("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID)
            .env("LAYER_API_URL", layer.url())
            .env("LAYER_AUTH_URL", layer.token_url())
            .env("LAYER_SCOPE", layer.scope())
            .env("LAYER_ALLOW_HTTP_LOOPBACK", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if layer.ca_pem().is_some() {
            let ca = folder.path().join("ca.pem");
            layer.write_ca_pem(&ca).unwrap();
            command.env("LAYER_CA_FILE", ca);
        }
        let mut process = command.spawn().unwrap();
        let probe = Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
        };
        (probe, folder)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An emulator whose tokens are known here: it repeats the same answers.
fn layer(versions: Option<HttpVersions>, token: &str, business_token: &str) -> Emulator {
    let mut builder = Emulator::builder()
        .client(DEFAULT_CLIENT_ID, SECRET)
        .rate_limit(None);
    if let Some(versions) = versions {
        builder = builder.tls(true).http_versions(versions);
    }
    let layer = builder.start_blocking().unwrap();
    let answer = |token: &str| json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer", "x": "y"});
    let whoami = json!({"data": {"clientName": "n", "clientId": "i"}});
    // Refused once, so that an answer with an error has been read as well.
    let refusal = json!({"errors": [{"error_enum": "NO", "description": "no"}]});
    for (endpoint, fault) in [
        (Endpoint::Token, Fault::json(answer(token)).forever()),
        (Endpoint::Whoami, Fault::status(503).body(refusal)),
        (Endpoint::Whoami, Fault::json(whoami).forever()),
        (
            Endpoint::AuthToken,
            Fault::json(answer(business_token)).forever(),
        ),
        (Endpoint::Business, Fault::json(json!({})).forever()),
    ] {
        layer.fault(endpoint, fault).unwrap();
    }
    layer
}

/// What of the secrets is in the probe's memory at work, and after.
fn remains(
    program: &str,
    arguments: &[&str],
    versions: Option<HttpVersions>,
) -> (Vec<String>, Vec<String>) {
    let (token, business_token) = (canary(1, 400), canary(2, 400));
    let layer = layer(versions, &token, &business_token);
    let needles = needles(&token, &business_token);
    let (mut probe, _folder) = Probe::start(program, arguments, &layer);
    assert_eq!(probe.line(), "working");
    let working = scan(probe.process.id(), &needles);
    probe.go_on();
    assert_eq!(probe.line(), "dropped");
    // Connections end in the background.
    let started = Instant::now();
    loop {
        let left = scan(probe.process.id(), &needles);
        if left.is_empty() || started.elapsed() > Duration::from_secs(3) {
            return (working, left);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

const VERSIONS: [Option<HttpVersions>; 3] =
    [None, Some(HttpVersions::Http1), Some(HttpVersions::Both)];

const SCENARIOS: [[&str; 2]; 2] = [["blocking", "given"], ["async", "file"]];

#[test]
fn b20_nothing_is_left_in_memory_with_the_wiping_allocator() {
    let program = env!("CARGO_BIN_EXE_memory_probe_wiping");
    for versions in VERSIONS {
        for arguments in SCENARIOS {
            let (working, left) = remains(program, &arguments, versions);
            // What looks for secrets finds them where they are. (A secret file
            // is read for each token request, and forgotten.)
            let mut in_use = vec!["access token", "business token"];
            if arguments.contains(&"given") {
                in_use.push("client secret");
            }
            for what in in_use {
                assert!(
                    working.iter().any(|line| line.starts_with(what)),
                    "the {what} was not found at work, {versions:?} {arguments:?}"
                );
            }
            assert!(
                left.is_empty(),
                "{versions:?} {arguments:?}:\n{}",
                left.join("\n")
            );
        }
    }
}

/// Buffers of the libraries below are out of this crate's reach, and tokens
/// stay in them; of the client secret it keeps no copy that it does not wipe.
#[test]
fn b20_the_client_secret_is_wiped_with_any_allocator() {
    for arguments in SCENARIOS {
        let program = env!("CARGO_BIN_EXE_memory_probe");
        let (_, left) = remains(program, &arguments, None);
        let secret: Vec<_> = left
            .iter()
            .filter(|line| line.starts_with("client secret"))
            .collect();
        assert!(secret.is_empty(), "{arguments:?}: {secret:?}");
    }
}
