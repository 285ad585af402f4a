//! How the demonstration looks: 80 columns, or one JSON object.

use std::time::Duration;

use layerfi_auth::BusinessToken;
use layerfi_auth_emulator::Emulator;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::when::short;

/// Where the times stand: right-aligned, and clear of column 80.
const TITLE_WIDTH: usize = 66;

#[derive(Serialize)]
struct Step {
    title: String,
    took_us: u64,
    facts: Vec<String>,
}

pub(super) struct Page<'a> {
    output: &'a Output,
    paint: Paint,
    steps: Vec<Step>,
}

impl<'a> Page<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            paint: Paint::stdout(),
            steps: Vec::new(),
        }
    }

    fn text(&self, text: &str) -> Result<(), Failure> {
        if self.output.json() {
            return Ok(());
        }
        self.output.text(text)
    }

    pub(super) fn opening(&self, url: &str) -> Result<(), Failure> {
        self.text(&format!(
            "{}\n\nAn emulator of Layer runs in this process, over TLS, under an authority of its\n\
             own: {url}. No account, no network.\n\n",
            self.paint.bold("layerfi-auth: never think about tokens"),
        ))
    }

    /// Says what is going on while it lasts, to whoever is looking on.
    pub(super) fn meanwhile(&self, text: &str) -> Result<(), Failure> {
        if self.paint.is_on() {
            self.text(&format!("    {}\r", self.paint.dim(text)))?;
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
        let clear = if self.paint.is_on() { "\x1b[K" } else { "" };
        let mut text = format!(
            "{clear} {number}  {}{:>9}\n",
            self.paint.bold(&format!("{title:<TITLE_WIDTH$}")),
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

    /// What a page in the browser is given. The token is good for this
    /// emulator only; shortened all the same, so that nobody learns to print one.
    pub(super) fn snippet(&self, token: &BusinessToken, layer: &Emulator) -> Result<(), Failure> {
        let start: String = token.secret().chars().take(8).collect();
        self.text(&format!(
            "\n{}\n\n  <LayerProvider\n    businessId=\"{}\"\n    \
             businessAccessToken=\"{start}...\"  /* {} characters, redacted */\n    \
             environmentConfigOverride={{{{\n      environment: \"{}\",\n      \
             apiUrl: \"{}\",\n      authUrl: \"{}\",\n      scope: \"{}\",\n    }}}}\n  >\n\n\
             Next: README.md, and layerfi-auth --help.\n",
            self.paint.bold("And in the browser:"),
            token.business_id(),
            token.secret().len(),
            layer.environment().name(),
            layer.url(),
            layer.token_url(),
            layer.scope(),
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
