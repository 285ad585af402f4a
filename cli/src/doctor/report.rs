//! The report: line by line as the checks are made, or one JSON object.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, Paint, plain};
use crate::when::short;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Passed,
    Failed,
    Skipped,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    /// `host:port`, where the check is about one.
    host: Option<String>,
    status: Status,
    detail: String,
    remedy: Option<String>,
    took_ms: u64,
    /// The error in full, where the engine gave one.
    error: Option<Value>,
}

/// Collects the checks and shows them.
pub(super) struct Report<'a> {
    output: &'a Output,
    paint: Paint,
    checks: Vec<Check>,
    last: Instant,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            paint: Paint::stdout(),
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

    /// A check that the engine's own error failed.
    pub(super) fn failed_with(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let view = failure.view().unwrap_or_default();
        let remedy = Some(view.remedy().to_owned());
        let error = serde_json::to_value(&view).ok();
        let detail = view.message().to_owned();
        self.add(name, host, Status::Failed, detail, remedy, error)
    }

    pub(super) fn skipped(
        &mut self,
        name: &'static str,
        host: Option<&str>,
        why: impl Into<String>,
    ) -> Result<(), Failure> {
        self.add(name, host, Status::Skipped, why.into(), None, None)
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
        let shown = if self.output.json() {
            Ok(())
        } else {
            self.output.line(&line(&check, took, self.paint))
        };
        self.checks.push(check);
        shown
    }

    pub(super) fn failed(&self) -> bool {
        self.checks
            .iter()
            .any(|check| check.status == Status::Failed)
    }

    /// Ends the report.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let count = |status| {
            self.checks
                .iter()
                .filter(|check| check.status == status)
                .count()
        };
        let json = json!({ "ok": !self.failed(), "checks": self.checks });
        self.output.answer(&json, || {
            let (failed, skipped) = (count(Status::Failed), count(Status::Skipped));
            let verdict = match failed {
                0 => self.paint.green("All is well."),
                1 => self.paint.red("1 check failed."),
                _ => self.paint.red(&format!("{failed} checks failed.")),
            };
            match skipped {
                0 => format!("\n{verdict}"),
                _ => format!("\n{verdict} {skipped} skipped."),
            }
        })
    }
}

fn line(check: &Check, took: Duration, paint: Paint) -> String {
    // Padded before it is painted: escape codes have no width.
    let status = match check.status {
        Status::Passed => paint.green("ok     "),
        Status::Failed => paint.red("FAILED "),
        Status::Skipped => paint.dim("skipped"),
    };
    let mut text = format!("{:<14} {status} ", check.name);
    if let Some(host) = &check.host {
        text.push_str(&format!("{host}: "));
    }
    text.push_str(&plain(&check.detail));
    if took >= Duration::from_millis(1) && check.status == Status::Passed {
        text.push_str(&paint.dim(&format!(" ({})", short(took))));
    }
    if let Some(remedy) = &check.remedy {
        text.push_str(&format!(
            "\n{:<14} {} {}",
            "",
            paint.bold("-> try:"),
            plain(remedy)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_line_has_its_remedy_below() {
        let check = Check {
            name: "tcp",
            host: Some("h:1".to_owned()),
            status: Status::Failed,
            detail: "no\x1b way".to_owned(),
            remedy: Some("walk".to_owned()),
            took_ms: 0,
            error: None,
        };
        assert_eq!(
            line(&check, Duration::ZERO, Paint::off()),
            "tcp            FAILED  h:1: no way\n               -> try: walk"
        );
    }
}
