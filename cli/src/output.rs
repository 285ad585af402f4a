//! Where words go: answers to standard output, errors to standard error.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;

/// How a command answers.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the answer is to be JSON.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Text to standard output, at once: whoever waits for a line gets it.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// One line to standard output.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// The answer: one line of JSON, or the text made for people.
    pub(crate) fn answer(
        &self,
        json: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return self.line(&text());
        }
        let line = serde_json::to_string(json)
            .map_err(|error| Failure::internal(format!("no JSON can be made ({error})")))?;
        self.line(&line)
    }

    /// Tells why the command failed. If even that fails, there is nobody left
    /// to tell: the exit code remains.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Some(view) = failure.view() else { return };
        let text = if self.json {
            json!({ "error": view }).to_string()
        } else {
            let paint = Paint::of(&io::stderr());
            let mut text = format!("{} {}", paint.red("error:"), plain(view.message()));
            if let Some(id) = view.request_id() {
                text.push_str(&format!("\n  {} {id}", paint.bold("request id:")));
            }
            if !view.remedy().is_empty() {
                text.push_str(&format!(
                    "\n  {} {}",
                    paint.bold("try:"),
                    plain(view.remedy())
                ));
            }
            text
        };
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }
}

/// Colour, and lines that are written over, on a terminal that wants them.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn stdout() -> Self {
        Self::of(&io::stdout())
    }

    fn of(stream: &impl io::IsTerminal) -> Self {
        let var = |name| std::env::var_os(name).unwrap_or_default();
        Self {
            on: stream.is_terminal() && var("NO_COLOR").is_empty() && var("TERM") != "dumb",
        }
    }

    /// Whether there is a terminal that takes escape codes.
    pub(crate) const fn is_on(self) -> bool {
        self.on
    }

    #[cfg(test)]
    pub(crate) const fn off() -> Self {
        Self { on: false }
    }

    fn in_code(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.in_code("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.in_code("2", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.in_code("32", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.in_code("31", text)
    }
}

/// Text from elsewhere, such as a certificate, without what could steer a
/// terminal, and of bounded length.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(1_000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_left_out() {
        assert_eq!(plain("a\x1b[31mb\r\n\u{9b}c"), "a[31mbc");
        assert_eq!(plain(&"x".repeat(2_000)).len(), 1_000);
    }
}
