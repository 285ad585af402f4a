//! The output of `demo`: text in 80 columns, or one JSON object.

use std::io;
use std::time::Duration;

use layerfi_auth::BusinessToken;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::Style;
use crate::time_format::short;
use crate::wrap::{self, wrap};

/// The most columns that are used; a terminal may have fewer.
const MAX_WIDTH: usize = 80;
/// Columns of a title's line around the title: the number before it, and the time.
const AROUND_TITLE: usize = 14;

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
    width: usize,
    steps: Vec<Step>,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            style: Style::stdout(),
            width: wrap::width_of(&io::stdout())
                .unwrap_or(MAX_WIDTH)
                .clamp(AROUND_TITLE + 20, MAX_WIDTH),
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
        let about = format!(
            "This process runs an emulator of Layer with TLS at {url}. No account and no \
             network are needed."
        );
        self.text(&format!(
            "{}\n\n{}\n\n",
            self.style.bold("layerfi-auth demo"),
            wrap(&about, 0, 0, Some(self.width)),
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
        let title_width = self.width - AROUND_TITLE;
        let title_lines = wrap(title, 0, 0, Some(title_width));
        let mut text = String::from(clear);
        for (index, line) in title_lines.lines().enumerate() {
            if index == 0 {
                let title = self.style.bold(&format!("{line:<title_width$}"));
                text.push_str(&format!(" {number}  {title}{:>9}\n", short(took)));
            } else {
                text.push_str(&format!("    {}\n", self.style.bold(line)));
            }
        }
        for fact in &facts {
            let fact = wrap(fact, 4, 4, Some(self.width));
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
        let next = wrap(
            "Next: layerfi-auth emulator --demo-data keeps an emulator running and prints the \
             address of its console, a page that shows each request. README.md and \
             layerfi-auth --help show the rest.",
            0,
            0,
            Some(self.width),
        );
        self.text(&format!(
            "\n{}\n\n  <LayerProvider\n    businessId=\"{}\"\n    \
             businessAccessToken=\"{start}...\"  /* shortened */\n    \
             environmentConfigOverride={{{{\n      environment: \"{}\",\n      \
             apiUrl: \"{}\",\n      authUrl: \"{}\",\n      scope: \"{}\",\n    }}}}\n  >\n\n\
             {next}\n",
            self.style.bold("In the browser:"),
            token.business_id(),
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
