//! The output of `demo`: text in 80 columns, or one JSON object.

use std::time::Duration;

use layerfi_auth::BusinessToken;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::Style;
use crate::time_format::short;

/// The width of titles; the times follow, right-aligned, before column 80.
const TITLE_WIDTH: usize = 66;

#[derive(Serialize)]
struct Step {
    title: String,
    took_us: u64,
    facts: Vec<String>,
}

/// Prints each step when it is added, or all steps as JSON at the end.
pub(super) struct Report<'a> {
    output: &'a Output,
    style: Style,
    steps: Vec<Step>,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            style: Style::stdout(),
            steps: Vec::new(),
        }
    }

    fn text(&self, text: &str) -> Result<(), Failure> {
        if self.output.json() {
            return Ok(());
        }
        self.output.text(text)
    }

    pub(super) fn start(&self, url: &str) -> Result<(), Failure> {
        self.text(&format!(
            "{}\n\nThis process runs an emulator of Layer with TLS at {url}.\n\
             No account and no network are needed.\n\n",
            self.style.bold("layerfi-auth demo"),
        ))
    }

    /// Prints a status that the next step overwrites, if stdout is a terminal.
    pub(super) fn status(&self, text: &str) -> Result<(), Failure> {
        if self.style.is_on() {
            self.text(&format!("    {}\r", self.style.dim(text)))?;
        }
        Ok(())
    }

    pub(super) fn step(
        &mut self,
        title: &str,
        took: Duration,
        facts: Vec<String>,
    ) -> Result<(), Failure> {
        let number = self.steps.len() + 1;
        let clear = if self.style.is_on() { "\x1b[K" } else { "" };
        let mut text = format!(
            "{clear} {number}  {}{:>9}\n",
            self.style.bold(&format!("{title:<TITLE_WIDTH$}")),
            short(took)
        );
        for fact in &facts {
            text.push_str(&format!("    {fact}\n"));
        }
        self.text(&text)?;
        self.steps.push(Step {
            title: title.to_owned(),
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            facts,
        });
        Ok(())
    }

    /// Prints the `LayerProvider` of a web page. The token is shortened, though
    /// it is valid only for this emulator: examples must not print tokens.
    pub(super) fn browser_snippet(&self, token: &BusinessToken) -> Result<(), Failure> {
        let start: String = token.secret().chars().take(8).collect();
        let props = token.layer_provider_props();
        let (api_url, auth_url, scope) = props.urls().unwrap_or_default();
        self.text(&format!(
            "\n{}\n\n  <LayerProvider\n    businessId=\"{}\"\n    \
             businessAccessToken=\"{start}...\"  /* {} characters, redacted */\n    \
             environmentConfigOverride={{{{\n      environment: \"{}\",\n      \
             apiUrl: \"{}\",\n      authUrl: \"{}\",\n      scope: \"{}\",\n    }}}}\n  >\n\n\
             Next: read README.md, or run layerfi-auth --help.\n",
            self.style.bold("In the browser:"),
            token.business_id(),
            token.secret().len(),
            props.environment(),
            api_url,
            auth_url,
            scope,
        ))
    }

    pub(super) fn finish(&self) -> Result<(), Failure> {
        if self.output.json() {
            return self
                .output
                .line(&json!({ "ok": true, "steps": self.steps }).to_string());
        }
        Ok(())
    }
}
