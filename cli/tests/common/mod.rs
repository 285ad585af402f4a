//! Helpers of the command's tests: they run the program with an empty
//! environment and a time limit.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test file uses a part of it, and a panic is the test's report"
)]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, EmulatorBuilder};
use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_layerfi-auth");
/// The time limit for one program or one condition; none takes nearly as long.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// The command with an empty environment.
pub fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// The command with the variables of an emulator and its default client.
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

/// A temporary file with the emulator's CA certificate.
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
    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {}", self.all()))
    }

    /// The error on standard error, with `--json`.
    #[track_caller]
    pub fn error(&self) -> Value {
        let value: Value = serde_json::from_str(self.stderr.trim())
            .unwrap_or_else(|error| panic!("stderr is not JSON ({error}): {}", self.all()));
        value["error"].clone()
    }

    pub fn all(&self) -> String {
        format!(
            "exit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }

    #[track_caller]
    pub fn assert_code(&self, expected: i32) {
        assert_eq!(
            self.code,
            expected,
            "the command ended with the wrong exit code: {}",
            self.all()
        );
    }

    #[track_caller]
    pub fn assert_stdout_contains(&self, text: &str) {
        assert!(
            self.stdout.contains(text),
            "stdout does not contain {text:?}: {}",
            self.all()
        );
    }

    #[track_caller]
    pub fn assert_stderr_contains(&self, text: &str) {
        assert!(
            self.stderr.contains(text),
            "stderr does not contain {text:?}: {}",
            self.all()
        );
    }

    /// Asserts that neither stream contains a secret.
    #[track_caller]
    pub fn assert_nowhere(&self, secret: &str) {
        assert!(
            !self.stdout.contains(secret) && !self.stderr.contains(secret),
            "the output contains {secret:?}: {}",
            self.all()
        );
    }
}

/// Runs a program until it ends.
pub fn run(command: Command) -> Outcome {
    run_with_input(command, None)
}

pub fn run_with_input(command: Command, input: Option<&str>) -> Outcome {
    run_within(MAX_WAIT, command, input)
}

pub fn run_within(limit: Duration, mut command: Command, input: Option<&str>) -> Outcome {
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
    let code = child.wait_within(limit);
    Outcome {
        code,
        stdout: stdout.recv_timeout(MAX_WAIT).unwrap(),
        stderr: stderr.recv_timeout(MAX_WAIT).unwrap(),
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

/// A child process that is killed on drop.
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

    /// Waits until it ends and returns its exit code, or -1 after a signal.
    pub fn wait(&mut self) -> i32 {
        self.wait_within(MAX_WAIT)
    }

    fn wait_within(&mut self, limit: Duration) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                start.elapsed() < limit,
                "the program did not end within {limit:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads its output up to and including the first line for which `is_last`
    /// returns true.
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
        read.recv_timeout(MAX_WAIT).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success(), "kill -s {name} {id} failed");
    }
}
