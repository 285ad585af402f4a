//! `tests/c/memory.c` from outside: what is left in its memory, and what the
//! machine shows of it and of its child.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, Emulator, Endpoint, Fault, HttpVersions};
use serde_json::json;
use tempfile::TempDir;

use crate::secrets::Secrets;
use crate::support::{Program, Watch, speak_to};

const SECRET: &str = "canary-Zr7Qm2VxK9Ld4Tb8Nw1Hy6Gf3Jp5Us0c";

/// Letters whose HPACK codes have five bits, and are their places here (RFC
/// 7541 appendix B).
const CHEAP: &[u8; 10] = b"012aceiost";

/// A token of so many of them, which no memory has by chance.
fn token(seed: u64, length: usize) -> String {
    let mut state = seed;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = usize::try_from(state >> 33).unwrap() % CHEAP.len();
        char::from(CHEAP[at])
    };
    (0..length).map(|_| letter()).collect()
}

/// A text as HPACK sends it, without what its first and last bytes share with
/// others, wherever in a byte it begins.
fn hpack(text: &str) -> Vec<Vec<u8>> {
    let forms = (0..8).map(|phase| {
        let mut bits = vec![false; phase];
        for letter in text.bytes() {
            let code = CHEAP.iter().position(|cheap| *cheap == letter).unwrap();
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

/// An emulator that gives tokens that are known here, and the secrets there are.
fn layer(versions: Option<HttpVersions>) -> (Emulator, Secrets) {
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
        // An answer with an error is read as well.
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
    secrets.add_token("access token", &access_token);
    secrets.add_token("business token", &business_token);
    for form in hpack(&access_token[8..48]) {
        secrets.add("access token in HPACK", form);
    }
    (layer, secrets)
}

/// The program at work. It ends with its input, when this goes.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _watch: Watch,
    _folder: TempDir,
}

impl Process {
    fn start(layer: &Emulator, from: &str) -> Self {
        let program = Program::c("memory");
        let folder = tempfile::tempdir().unwrap();
        let mut command = program.command(&program.build());
        command.arg(from);
        speak_to(&mut command, layer);
        command.env_remove("LAYER_CLIENT_SECRET");
        if from == "file" {
            let secret = folder.path().join("secret");
            std::fs::write(&secret, SECRET).unwrap();
            command.env("LAYER_CLIENT_SECRET_FILE", secret);
        }
        if layer.ca_pem().is_some() {
            let ca = folder.path().join("ca.pem");
            layer.write_ca_pem(&ca).unwrap();
            command.env("LAYER_CA_FILE", ca);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            _watch: Watch::on(child.id()),
            child,
            _folder: folder,
        };
        if from == "stdin" {
            process.tell(SECRET);
        }
        process
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it works, and gives its child's id.
    fn works(&mut self) -> u32 {
        let said = self.said();
        let child = said.strip_prefix("working ").unwrap_or_default();
        child.parse().unwrap()
    }

    fn said(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn frees(&mut self) {
        self.tell("");
        assert_eq!(self.said(), "freed");
    }

    fn ends(mut self) {
        self.orders = None;
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn b20_no_token_is_left_in_memory() {
    for versions in [None, Some(HttpVersions::Http1), Some(HttpVersions::Both)] {
        for from in ["file", "stdin"] {
            let (layer, secrets) = layer(versions);
            let mut process = Process::start(&layer, from);
            process.works();
            // What looks for secrets finds them where they are. (A secret file
            // is read for each token request, and forgotten.)
            let seen = secrets.in_memory_of(process.id());
            let mut in_use = vec!["access token", "business token"];
            if from == "stdin" {
                in_use.push("client secret");
            }
            for what in in_use {
                assert!(
                    seen.iter().any(|line| line.starts_with(what)),
                    "the {what} was not found at work, {versions:?}, from {from}"
                );
            }
            process.frees();
            // The background thread closes its connections a moment later.
            let started = Instant::now();
            let mut left = secrets.in_memory_of(process.id());
            while !left.is_empty() && started.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(50));
                left = secrets.in_memory_of(process.id());
            }
            assert!(left.is_empty(), "{versions:?}, from {from}: {left:#?}");
            process.ends();
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
fn b20_a_c_program_shows_no_secret_to_others_and_leaves_its_children_none() {
    for from in ["file", "stdin"] {
        let (layer, secrets) = layer(None);
        let mut process = Process::start(&layer, from);
        let child = process.works();
        wait_for_arguments(child);
        assert_eq!(secrets.in_arguments_of(process.id()), [""; 0], "{from}");
        // Connections are open, and nothing of the library's is the child's:
        // it has the first three, and what was open before there was a program.
        let open = descriptors(process.id());
        let is_connection = |place: &String| place.starts_with("socket:");
        assert!(open.values().any(is_connection), "{open:?}");
        let before: Vec<_> = descriptors(std::process::id()).into_values().collect();
        let mut inherited = descriptors(child);
        inherited.retain(|number, place| *number > 2 && !before.contains(place));
        assert!(inherited.is_empty(), "{inherited:?}");
        assert_eq!(secrets.in_arguments_of(child), [""; 0], "{from}");
        assert_eq!(secrets.in_memory_of(child), [""; 0], "{from}");
        process.frees();
        process.ends();
    }
}

/// A new program closes what it must not have, and gets its arguments, a moment
/// after its parent goes on.
fn wait_for_arguments(process: u32) {
    let started = Instant::now();
    while std::fs::read(format!("/proc/{process}/cmdline"))
        .unwrap()
        .is_empty()
    {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it has no arguments"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a process has open, by its number.
fn descriptors(process: u32) -> BTreeMap<u32, String> {
    let folder = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    folder
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let place = std::fs::read_link(&path).ok()?;
            Some((number, place.to_string_lossy().into_owned()))
        })
        .collect()
}
