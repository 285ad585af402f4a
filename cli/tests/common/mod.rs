//! What the tests of the command share: it is run as users run it, with an
//! environment of its own and an end in sight.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test takes what it needs, and a panic is its report"
)]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder};
use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_layerfi-auth");
/// Far more than anything here takes: a test that meets it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The command with nothing in its environment.
pub fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// The command, pointed at an emulator with the default client.
pub fn at(layer: &Emulator, args: &[&str]) -> Command {
    let mut command = bare(args);
    command.envs(variables(layer));
    command
}

pub fn variables(layer: &Emulator) -> Vec<(&'static str, String)> {
    vec![
        ("LAYER_ENVIRONMENT", "custom".to_owned()),
        ("LAYER_API_URL", layer.url()),
        ("LAYER_AUTH_URL", layer.token_url()),
        ("LAYER_SCOPE", layer.scope().to_owned()),
        ("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID.to_owned()),
        ("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET.to_owned()),
        ("LAYER_ALLOW_HTTP_LOOPBACK", "1".to_owned()),
    ]
}

pub fn start(builder: EmulatorBuilder) -> Emulator {
    builder.start_blocking().unwrap()
}

/// A file with the emulator's authority; gone when it is dropped.
pub fn ca_file(layer: &Emulator) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(layer.ca_pem().unwrap().as_bytes()).unwrap();
    file
}

pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {}", self.all()))
    }

    pub fn error(&self) -> Value {
        let value: Value = serde_json::from_str(self.stderr.trim())
            .unwrap_or_else(|_| panic!("no JSON: {}", self.all()));
        value["error"].clone()
    }

    pub fn all(&self) -> String {
        format!("exit {}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs it to its end.
pub fn run(command: Command) -> Outcome {
    run_with_input(command, None)
}

pub fn run_with_input(mut command: Command, input: Option<&str>) -> Outcome {
    let start = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = Running(command.spawn().unwrap());
    if let (Some(text), Some(mut stdin)) = (input, child.0.stdin.take()) {
        stdin.write_all(text.as_bytes()).unwrap();
    }
    let stdout = collect(child.0.stdout.take().unwrap());
    let stderr = collect(child.0.stderr.take().unwrap());
    let code = child.wait();
    Outcome {
        code,
        stdout: stdout.recv_timeout(PATIENCE).unwrap(),
        stderr: stderr.recv_timeout(PATIENCE).unwrap(),
        took: start.elapsed(),
    }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (text, collected) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = text.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    collected
}

/// A child process that does not outlive its test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits for its end, which has to come; -1 if a signal was it.
    pub fn wait(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its output up to and with the line that `is_last`.
    pub fn read_until(&mut self, is_last: impl Fn(&str) -> bool + Send + 'static) -> String {
        let out: ChildStdout = self.0.stdout.take().unwrap();
        let (text, read) = mpsc::channel();
        std::thread::spawn(move || {
            let mut so_far = String::new();
            let mut lines = BufReader::new(out);
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                so_far.push_str(&line);
                if is_last(&line) {
                    break;
                }
            }
            let _ = text.send(so_far);
        });
        read.recv_timeout(PATIENCE).unwrap()
    }

    /// Sends it a signal, by its id.
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }
}
