//! No secret stays in a process's memory after the client is dropped. The process is
//! `src/memory_probe.rs`; these tests search its memory through `/proc`, so the
//! search patterns are not in the searched memory.
//!
//! The engine zeroes the secrets that it owns, which the probe with the system's
//! allocator shows. With `ZeroOnFree`, which the C library and the Python package
//! use, the HTTP and TLS libraries leave no secret in memory either.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, Emulator, Endpoint, Fault, HttpVersions};
use layerfi_auth_tests::{MAX_WAIT, RedisServer, Secrets, ServerKind, emulator_variables};
use serde_json::json;

/// Characters whose HPACK codes have five bits, so that the compressed form of a
/// header can be searched for (RFC 7541 appendix B).
const FIVE_BIT_CHARS: &[u8; 10] = b"012aceiost";

const SECRET: &str = "canary-Zr7Qm2VxK9Ld4Tb8Nw1Hy6Gf3Jp5Us0c";
/// Of the store's URL.
const PASSWORD: &str = "canary-Wq8Nd3YtR6Ks1Lv9Pb5Xc2";

/// Returns random text of `FIVE_BIT_CHARS` that occurs in no memory by chance.
fn random_token(seed: u64, length: usize) -> String {
    let mut state = seed;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(FIVE_BIT_CHARS[(state >> 33) as usize % FIVE_BIT_CHARS.len()])
    };
    (0..length).map(|_| letter()).collect()
}

/// Adds the whole bytes of a text in HPACK's Huffman code, for each bit offset.
fn add_hpack(secrets: &mut Secrets, name: &'static str, text: &str) {
    for offset in 0..8 {
        let mut bits = vec![false; offset];
        for char in text.bytes() {
            let code = FIVE_BIT_CHARS.iter().position(|known| *known == char);
            bits.extend((0..5).rev().map(|bit| code.unwrap() >> bit & 1 == 1));
        }
        let bytes: Vec<u8> = bits
            .chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        secrets.add(name, &bytes[1..17]);
    }
}

fn secrets(token: &str, business_token: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add_client(DEFAULT_CLIENT_ID, SECRET);
    secrets.add_text("access token", token);
    add_hpack(&mut secrets, "access token in HPACK", &token[8..48]);
    secrets.add_text("business token", business_token);
    secrets.add_text("store's password", PASSWORD);
    secrets
}

struct Probe {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Probe {
    fn start(
        program: &str,
        arguments: &[&str],
        layer: &Emulator,
        store: Option<&RedisServer>,
    ) -> (Self, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(emulator_variables(layer))
            .env_remove("LAYER_CLIENT_SECRET")
            .env("PROBE_SECRET_FILE", &secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if layer.ca_pem().is_some() {
            let ca = folder.path().join("ca.pem");
            layer.write_ca_pem(&ca).unwrap();
            command.env("LAYER_CA_FILE", ca);
        }
        if let Some(store) = store {
            let file = folder.path().join("store");
            let url = format!("redis://:{PASSWORD}@{}", store.address());
            std::fs::write(&file, url).unwrap();
            command.env("PROBE_SHARED_CACHE_FILE", file);
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

    fn resume(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An emulator that always returns the same tokens, which are known here.
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
    // The first call fails, so that an error response is read as well.
    let rejection = json!({"errors": [{"error_enum": "NO", "description": "no"}]});
    for (endpoint, fault) in [
        (Endpoint::Token, Fault::json(answer(token)).forever()),
        (Endpoint::Whoami, Fault::status(503).body(rejection)),
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

/// An emulator, and the secrets that a probe gets from it.
struct Scene {
    layer: Emulator,
    secrets: Secrets,
    store: Option<RedisServer>,
}

impl Scene {
    fn new(versions: Option<HttpVersions>) -> Self {
        let (token, business_token) = (random_token(1, 400), random_token(2, 400));
        Self {
            layer: layer(versions, &token, &business_token),
            secrets: secrets(&token, &business_token),
            store: None,
        }
    }

    /// Secrets found in a probe's memory while it works and after it dropped them.
    /// Waits until no secret whose name starts with `prefix` is left, because
    /// connections are closed in the background.
    fn search(
        &self,
        program: &str,
        arguments: &[&str],
        prefix: &str,
    ) -> (Vec<String>, Vec<String>) {
        let (mut probe, _folder) =
            Probe::start(program, arguments, &self.layer, self.store.as_ref());
        assert_eq!(probe.line(), "working");
        let working = self.secrets.in_memory_of(probe.process.id());
        probe.resume();
        assert_eq!(probe.line(), "dropped");
        let started = Instant::now();
        loop {
            let mut left = self.secrets.in_memory_of(probe.process.id());
            left.retain(|line| line.starts_with(prefix));
            if left.is_empty() || started.elapsed() > MAX_WAIT {
                return (working, left);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

const VERSIONS: [Option<HttpVersions>; 3] =
    [None, Some(HttpVersions::Http1), Some(HttpVersions::Both)];

const SCENARIOS: [[&str; 2]; 2] = [["blocking", "given"], ["async", "file"]];

#[test]
fn b20_zeroing_allocator_leaves_no_secret_in_memory() {
    let program = env!("CARGO_BIN_EXE_memory_probe_wiping");
    for versions in VERSIONS {
        for arguments in SCENARIOS {
            let (working, left) = Scene::new(versions).search(program, &arguments, "");
            // The search finds secrets that are in use. (A secret file is read for
            // each token request, and its content is dropped.)
            let mut in_use = vec!["access token", "business token"];
            if arguments.contains(&"given") {
                in_use.push("client secret");
            }
            for name in in_use {
                assert!(
                    working.iter().any(|line| line.starts_with(name)),
                    "the {name} was not found while in use, {versions:?} {arguments:?}"
                );
            }
            assert!(
                left.is_empty(),
                "secrets are left in memory, {versions:?} {arguments:?}:\n{}",
                left.join("\n")
            );
        }
    }
}

/// The engine does not control the buffers of the HTTP and TLS libraries, so tokens
/// may stay in them. It zeroes all its own copies of the client secret.
#[test]
fn b20_client_secret_is_zeroed_with_any_allocator() {
    for arguments in SCENARIOS {
        let program = env!("CARGO_BIN_EXE_memory_probe");
        let (_, left) = Scene::new(None).search(program, &arguments, "client secret");
        assert!(
            left.is_empty(),
            "{arguments:?}: the secret is left: {left:?}"
        );
    }
}

/// The first process stores its tokens, and the second one takes them from the store.
#[test]
fn b20_b30_shared_cache_leaves_no_password_or_token_in_memory() {
    let store = RedisServer::builder(ServerKind::Redis)
        .password(PASSWORD)
        .start();
    let scene = Scene {
        store: Some(store),
        ..Scene::new(None)
    };
    let program = env!("CARGO_BIN_EXE_memory_probe_wiping");
    for arguments in SCENARIOS {
        let (working, left) = scene.search(program, &arguments, "");
        for name in ["access token", "business token", "store's password"] {
            assert!(
                working.iter().any(|line| line.starts_with(name)),
                "the {name} was not found while in use, {arguments:?}"
            );
        }
        assert!(
            left.is_empty(),
            "secrets are left in memory, {arguments:?}:\n{}",
            left.join("\n")
        );
    }
    assert_eq!(scene.layer.count(Endpoint::Token), 1, "nothing was shared");
}
