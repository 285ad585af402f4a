//! The programs `tests/c/vectors.c` and `tests/cpp/vectors.cpp` at work.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::secrets::Secrets;
use crate::support::{Program, Watch};

/// A running program that speaks `tests/c/face.h`.
pub struct Face {
    child: Child,
    _watch: Watch,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Reads what it says beside its answers: the log and panics.
    said: Option<JoinHandle<String>>,
    pub slow: bool,
    /// Of all cases so far, as the log may come late.
    pub secrets: Secrets,
    pub times: Times,
}

/// What the calls took.
#[derive(Default)]
pub struct Times {
    calls: usize,
    /// How long after its time the latest came.
    latest: Duration,
    late: Vec<String>,
}

/// What a program's whole life came to.
pub struct Life {
    pub times: Times,
    /// Lines that show what none may.
    pub telling: Vec<String>,
    /// How many lines of the library's log there were.
    pub logged: usize,
    pub panics: usize,
}

/// For a busy machine: a call's time is the library's, the way to it and back
/// is not.
const SLACK: Duration = Duration::from_secs(5);

impl Times {
    pub fn add(&mut self, call: &str, took: Duration, allowed: Duration) {
        let late = took.saturating_sub(allowed);
        self.calls += 1;
        self.latest = self.latest.max(late);
        if late > SLACK {
            self.late
                .push(format!("{call} took {took:?} of {allowed:?}"));
        }
    }

    pub fn join(&mut self, other: Self) {
        self.calls += other.calls;
        self.latest = self.latest.max(other.latest);
        self.late.extend(other.late);
    }

    pub fn late(&self) -> &[String] {
        &self.late
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, latest) = (self.calls, self.latest.as_millis());
        write!(f, "{calls} calls, {latest} ms after their time at the most")
    }
}

/// An answer's fields, with whether it is a success.
pub struct Answer {
    pub ok: bool,
    pub fields: BTreeMap<String, String>,
}

impl Answer {
    pub fn get(&self, name: &str) -> Result<&str, String> {
        let field = self.fields.get(name);
        field
            .map(String::as_str)
            .ok_or_else(|| format!("the answer has no {name}"))
    }

    pub fn number(&self, name: &str) -> Result<i64, String> {
        self.get(name)?
            .parse()
            .map_err(|_| format!("{name} is not a number"))
    }
}

impl Face {
    pub fn start(program: &Program, path: &Path) -> Self {
        let mut command = program.command(path);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("LAYER_") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        // A panic's text is looked at, and not where it came from.
        command.env_remove("RUST_BACKTRACE");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            said: Some(said),
            _watch: Watch::on(child.id()),
            child,
            slow: program.is_slow(),
            secrets: Secrets::default(),
            times: Times::default(),
        }
    }

    /// A figure of the process's, in KiB.
    pub fn memory(&self, name: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| format!("the process has no {name}"))
    }

    pub fn order(&mut self, words: &[&str]) -> Result<(), String> {
        let line: Vec<_> = words.iter().map(|word| encode(word)).collect();
        let line = line.join("\t") + "\n";
        let orders = self.orders.as_mut().ok_or("the program is gone")?;
        orders
            .write_all(line.as_bytes())
            .map_err(|error| format!("the program is gone ({error})"))
    }

    pub fn answer(&mut self) -> Result<Answer, String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if !matches!(read, Ok(1..)) {
            return Err("the program ended".to_owned());
        }
        let mut words = line.trim_end_matches('\n').split('\t');
        let ok = match words.next() {
            Some("ok") => true,
            Some("error") => false,
            _ => return Err("the program said something else".to_owned()),
        };
        let fields = words
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect();
        Ok(Answer { ok, fields })
    }

    /// Lets it end by itself; leaks are found then.
    pub fn finish(mut self) -> Result<Life, String> {
        self.orders = None;
        let (status, said) = self.end();
        if !status.is_ok_and(|status| status.success()) {
            return Err(self
                .secrets
                .without(&format!("the program failed:\n{}", plain(&said))));
        }
        Ok(Life {
            times: self.times,
            telling: self.secrets.lines_that_tell(&said),
            logged: said.lines().filter(|line| is_logged(line)).count(),
            panics: said.matches("asked for by a test").count(),
        })
    }

    pub fn kill(mut self) {
        let _ = self.child.kill();
        let (_, said) = self.end();
        eprintln!("{}", self.secrets.without(&plain(&said)));
    }

    fn end(&mut self) -> (std::io::Result<ExitStatus>, String) {
        let said = self.said.take().and_then(|said| said.join().ok());
        (self.child.wait(), said.unwrap_or_default())
    }
}

/// Whether a line is of the library's log.
fn is_logged(line: &str) -> bool {
    line.starts_with("log ")
}

/// What it said beside its log.
fn plain(said: &str) -> String {
    said.lines()
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
