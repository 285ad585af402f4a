//! Colours, and removal of control characters from text of other sources.

use std::io::{self, IsTerminal};

/// Adds colours where the stream is a terminal and NO_COLOR is not set.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    pub(crate) fn stdout() -> Self {
        Self::of(&io::stdout())
    }

    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let var = |name| std::env::var_os(name).unwrap_or_default();
        Self {
            on: stream.is_terminal() && var("NO_COLOR").is_empty() && var("TERM") != "dumb",
        }
    }

    /// Whether the stream is a terminal that takes escape codes.
    pub(crate) const fn is_on(self) -> bool {
        self.on
    }

    #[cfg(test)]
    pub(crate) const fn off() -> Self {
        Self { on: false }
    }

    fn with_code(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with_code("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with_code("2", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with_code("32", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.with_code("31", text)
    }
}

/// Removes control characters and cuts the text to 1,000 characters.
///
/// A server or a certificate could otherwise send escape codes to the terminal.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(1_000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_removed_and_long_text_is_cut() {
        assert_eq!(sanitize("a\x1b[31mb\r\n\u{9b}c"), "a[31mbc");
        assert_eq!(sanitize(&"x".repeat(2_000)).len(), 1_000);
    }
}
