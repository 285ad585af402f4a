//! Writes results to standard output and errors to standard error.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::terminal::{Style, sanitize};
use crate::wrap;

/// The output format of a command: text or JSON.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the output is JSON.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Writes text to standard output and flushes it.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes to standard output and flushes it.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Writes one line to standard output.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a command's result: one line of JSON, or `text`.
    pub(crate) fn result(
        &self,
        json: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return self.line(&text());
        }
        let line = serde_json::to_string(json).map_err(|error| {
            Failure::internal(format!("cannot write the result as JSON: {error}"))
        })?;
        self.line(&line)
    }

    /// Writes a failure to standard error. If that fails too, only the exit
    /// code reports it.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Some(report) = failure.report() else {
            return;
        };
        let text = if self.json {
            json!({ "error": report }).to_string()
        } else {
            let style = Style::of(&io::stderr());
            let width = wrap::width_of(&io::stderr());
            let labelled = |indent: &str, label: &str, styled: String, text: &str| {
                let start = indent.len() + label.len() + 1;
                let text = wrap::wrap(&sanitize(text), start, 2, width);
                format!("{indent}{styled} {text}")
            };
            let mut text = labelled("", "error:", style.red("error:"), report.message());
            if let Some(id) = report.request_id() {
                text.push_str(&format!("\n  {} {id}", style.bold("request id:")));
            }
            if !report.remedy().is_empty() {
                let remedy = labelled("  ", "try:", style.bold("try:"), report.remedy());
                text.push_str(&format!("\n{remedy}"));
            }
            text
        };
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }
}
