//! The report of `doctor`: a line per check, or one JSON object.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::{Style, sanitize};
use crate::time_format::short;
use crate::wrap::{self, wrap};

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Passed,
    /// It works, and should be changed.
    Warning,
    Failed,
    Skipped,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    /// `host:port`, if the check is about one host.
    host: Option<String>,
    status: Status,
    detail: String,
    remedy: Option<String>,
    took_ms: u64,
    /// The engine's error, if there is one.
    error: Option<Value>,
}

/// Collects the checks and prints each when it is added.
pub(super) struct Report<'a> {
    output: &'a Output,
    style: Style,
    checks: Vec<Check>,
    /// When the previous check ended.
    last: Instant,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            style: Style::stdout(),
            checks: Vec::new(),
            last: Instant::now(),
        }
    }

    pub(super) fn passed(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        detail: impl Into<String>,
    ) -> Result<(), Failure> {
        self.add(name, host, Status::Passed, detail.into(), None, None)
    }

    pub(super) fn warned(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<(), Failure> {
        let remedy = Some(remedy.into());
        self.add(name, host, Status::Warning, detail.into(), remedy, None)
    }

    pub(super) fn failed_as(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Result<(), Failure> {
        let remedy = Some(remedy.into());
        self.add(name, host, Status::Failed, detail.into(), remedy, None)
    }

    /// Adds a failed check with the failure's message and remedy.
    pub(super) fn failed_with(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let error_report = failure.report().unwrap_or_default();
        let remedy = Some(error_report.remedy().to_owned());
        let error = serde_json::to_value(&error_report).ok();
        let detail = error_report.message().to_owned();
        self.add(name, host, Status::Failed, detail, remedy, error)
    }

    pub(super) fn skipped(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        reason: impl Into<String>,
    ) -> Result<(), Failure> {
        self.add(name, host, Status::Skipped, reason.into(), None, None)
    }

    fn add(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        status: Status,
        detail: String,
        remedy: Option<String>,
        error: Option<Value>,
    ) -> Result<(), Failure> {
        let took = self.last.elapsed();
        self.last = Instant::now();
        let check = Check {
            name,
            host: host.map(str::to_owned),
            status,
            detail,
            remedy,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error,
        };
        let printed = if self.output.json() {
            Ok(())
        } else {
            self.output.line(&line(
                &check,
                took,
                self.style,
                wrap::width_of(&io::stdout()),
            ))
        };
        self.checks.push(check);
        printed
    }

    pub(super) fn failed(&self) -> bool {
        self.checks
            .iter()
            .any(|check| check.status == Status::Failed)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "ok": !self.failed(), "checks": self.checks })
    }

    /// Prints the summary, or the whole report in JSON.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let count = |status| {
            self.checks
                .iter()
                .filter(|check| check.status == status)
                .count()
        };
        self.output.result(&self.to_json(), || {
            let mut summary = match count(Status::Failed) {
                0 => self.style.green("All checks passed."),
                1 => self.style.red("1 check failed."),
                failed => self.style.red(&format!("{failed} checks failed.")),
            };
            match count(Status::Warning) {
                0 => {}
                1 => summary.push_str(" 1 warning."),
                warnings => summary.push_str(&format!(" {warnings} warnings.")),
            }
            match count(Status::Skipped) {
                0 => {}
                skipped => summary.push_str(&format!(" {skipped} skipped.")),
            }
            format!("\n{summary}")
        })
    }
}

/// Where the status begins, after the name. Further lines of a check begin there too.
const STATUS_COLUMN: usize = 15;

fn line(check: &Check, took: Duration, style: Style, width: Option<usize>) -> String {
    // Padded before escape codes are added, since they have no width.
    let status = match check.status {
        Status::Passed => style.green("ok     "),
        Status::Warning => style.bold("WARNING"),
        Status::Failed => style.red("FAILED "),
        Status::Skipped => style.dim("skipped"),
    };
    let mut text = String::new();
    if let Some(host) = &check.host {
        text.push_str(&format!("{host}: "));
    }
    text.push_str(&sanitize(&check.detail));
    let took = if took >= Duration::from_millis(1) && check.status == Status::Passed {
        // Not broken between number and unit.
        format!("({})", short(took)).replace(' ', "\u{a0}")
    } else {
        String::new()
    };
    if !took.is_empty() {
        text.push_str(&format!(" {took}"));
    }
    let mut text = wrap(&text, STATUS_COLUMN + 8, STATUS_COLUMN, width);
    if let Some(rest) = text.strip_suffix(&took) {
        text = format!("{rest}{}", style.dim(&took.replace('\u{a0}', " ")));
    }
    if let Some(remedy) = &check.remedy {
        let remedy = wrap(&sanitize(remedy), STATUS_COLUMN + 8, STATUS_COLUMN, width);
        text.push_str(&format!(
            "\n{:STATUS_COLUMN$}{} {remedy}",
            "",
            style.bold("-> try:"),
        ));
    }
    let text = format!("{:<14} {status} {text}", check.name);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_prints_its_remedy_on_the_next_line() {
        let check = Check {
            name: "tcp",
            host: Some("h:1".to_owned()),
            status: Status::Failed,
            detail: "no connection\x1b".to_owned(),
            remedy: Some("check the port".to_owned()),
            took_ms: 0,
            error: None,
        };
        assert_eq!(
            line(&check, Duration::ZERO, Style::off(), None),
            "tcp            FAILED  h:1: no connection\n               -> try: check the port"
        );
    }
}
