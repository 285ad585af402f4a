//! A running `tests/c/vectors.c` or `tests/cpp/vectors.cpp`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use layerfi_auth_test_support::{Secrets, Watchdog, remove_settings};

use crate::support::{Program, watchdog};

/// A running program that reads the commands of `tests/c/commands.h`.
pub struct VectorProgram {
    child: Child,
    _watchdog: Watchdog,
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    /// Reads standard error: the log and panics.
    stderr: Option<JoinHandle<String>>,
    /// Whether a sanitizer or valgrind makes it slow.
    pub slow: bool,
    /// The secrets of all cases so far, because log lines may arrive late.
    pub secrets: Secrets,
    pub times: Times,
}

/// Times by which calls exceeded their timeouts.
#[derive(Default)]
pub struct Times {
    calls: usize,
    latest: Duration,
    late: Vec<(Duration, String)>,
}

/// Output and results of a program that has ended.
pub struct Summary {
    pub times: Times,
    /// Lines of standard error that contain a secret.
    pub lines_with_secrets: Vec<String>,
    /// Number of lines of the library's log.
    pub logged: usize,
    pub panics: usize,
}

/// A call may end that much after its timeout: the pipes to and from the program take time too.
pub const SLACK: Duration = Duration::from_secs(5);

impl Times {
    pub fn add(&mut self, call: &str, took: Duration, timeout: Duration) {
        let late = took.saturating_sub(timeout);
        self.calls += 1;
        self.latest = self.latest.max(late);
        if late > Duration::ZERO {
            let text = format!("{call} took {took:?} with a timeout of {timeout:?}");
            self.late.push((late, text));
        }
    }

    pub fn join(&mut self, other: Self) {
        self.calls += other.calls;
        self.latest = self.latest.max(other.latest);
        self.late.extend(other.late);
    }

    /// The calls that ended more than `allowed` after their timeouts.
    pub fn later_than(&self, allowed: Duration) -> Vec<&str> {
        let late = self.late.iter().filter(|(late, _)| *late > allowed);
        late.map(|(_, text)| text.as_str()).collect()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, latest) = (self.calls, self.latest.as_millis());
        write!(f, "{calls} calls, at most {latest} ms after their timeouts")
    }
}

/// The fields of a reply.
pub struct Reply {
    pub ok: bool,
    pub fields: BTreeMap<String, String>,
}

impl Reply {
    pub fn get(&self, name: &str) -> Result<&str, String> {
        let field = self.fields.get(name);
        field
            .map(String::as_str)
            .ok_or_else(|| format!("the reply has no {name}"))
    }

    pub fn number(&self, name: &str) -> Result<i64, String> {
        self.get(name)?
            .parse()
            .map_err(|_| format!("{name} is not a number"))
    }
}

impl VectorProgram {
    pub fn start(program: &Program, path: &Path) -> Self {
        let mut command = program.command(path);
        remove_settings(&mut command);
        // The text of a panic is searched for secrets; a backtrace only costs time.
        command.env_remove("RUST_BACKTRACE");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            commands: child.stdin.take(),
            replies: BufReader::new(child.stdout.take().unwrap()),
            stderr: Some(stderr),
            _watchdog: watchdog(child.id()),
            child,
            slow: program.is_slow(),
            secrets: Secrets::default(),
            times: Times::default(),
        }
    }

    /// A field of the process's `/proc` status, in KiB.
    pub fn memory(&self, name: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| format!("the process has no {name}"))
    }

    pub fn send(&mut self, words: &[&str]) -> Result<(), String> {
        let line: Vec<_> = words.iter().map(|word| encode(word)).collect();
        let line = line.join("\t") + "\n";
        let commands = self.commands.as_mut().ok_or("the program has ended")?;
        commands
            .write_all(line.as_bytes())
            .map_err(|error| format!("the program has ended ({error})"))
    }

    pub fn receive(&mut self) -> Result<Reply, String> {
        let mut line = String::new();
        let read = self.replies.read_line(&mut line);
        if !matches!(read, Ok(1..)) {
            return Err("the program has ended".to_owned());
        }
        let mut words = line.trim_end_matches('\n').split('\t');
        let ok = match words.next() {
            Some("ok") => true,
            Some("error") => false,
            _ => return Err("the reply is neither ok nor error".to_owned()),
        };
        let fields = words
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect();
        Ok(Reply { ok, fields })
    }

    /// Waits until it ends; a sanitizer or valgrind reports leaks then.
    pub fn finish(mut self) -> Result<Summary, String> {
        self.commands = None;
        let (status, stderr) = self.end();
        if !status.is_ok_and(|status| status.success()) {
            return Err(self
                .secrets
                .redact(&format!("the program failed:\n{}", without_log(&stderr))));
        }
        Ok(Summary {
            times: self.times,
            lines_with_secrets: self.secrets.lines_with_secrets(&stderr),
            logged: stderr.lines().filter(|line| is_logged(line)).count(),
            panics: stderr.matches("requested by a test").count(),
        })
    }

    /// Ends it, and returns the last lines that it printed.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let (_, stderr) = self.end();
        let text = without_log(&stderr);
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n");
        eprintln!("{}", self.secrets.redact(&last));
    }

    fn end(&mut self) -> (std::io::Result<ExitStatus>, String) {
        let stderr = self.stderr.take().and_then(|stderr| stderr.join().ok());
        (self.child.wait(), stderr.unwrap_or_default())
    }
}

/// Whether a line belongs to the library's log.
fn is_logged(line: &str) -> bool {
    line.starts_with("log ")
}

/// Standard error without the log.
fn without_log(stderr: &str) -> String {
    stderr
        .lines()
        .filter(|line| !is_logged(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn encode(word: &str) -> String {
    let mut text = String::new();
    for b in word.bytes() {
        if b.is_ascii_graphic() && b != b'%' || b == b' ' {
            text.push(char::from(b));
        } else {
            text.push_str(&format!("%{b:02X}"));
        }
    }
    text
}

fn decode(word: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = word.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).unwrap()
}
