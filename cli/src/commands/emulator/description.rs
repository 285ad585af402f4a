//! What `emulator` prints: addresses, variables and example calls.

use layerfi_auth_emulator::{DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator};
use serde_json::{Map, Value, json};

use crate::terminal::Style;

/// The addresses and settings of a running emulator.
pub(super) struct Description<'a> {
    pub(super) emulator: &'a Emulator,
    pub(super) ca_file: Option<String>,
    /// Whether its client has the public default secret.
    pub(super) public_secret: bool,
}

impl Description<'_> {
    fn client_id(&self) -> String {
        self.emulator
            .client_ids()
            .first()
            .cloned()
            .unwrap_or_default()
    }

    /// The environment variables for a client of this emulator. A secret that
    /// the user gave is not printed.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LAYER_ENVIRONMENT", "custom".to_owned()),
            ("LAYER_API_URL", self.emulator.url()),
            ("LAYER_AUTH_URL", self.emulator.token_url()),
            ("LAYER_SCOPE", self.emulator.scope().to_owned()),
            ("LAYER_CLIENT_ID", self.client_id()),
        ];
        if self.public_secret {
            variables.push(("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET.to_owned()));
        }
        variables.push(match &self.ca_file {
            Some(path) => ("LAYER_CA_FILE", path.clone()),
            None => ("LAYER_ALLOW_HTTP_LOOPBACK", "1".to_owned()),
        });
        variables
    }

    pub(super) fn json(&self) -> Value {
        let variables: Map<String, Value> = self
            .variables()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "api_url": self.emulator.url(),
            "auth_url": self.emulator.token_url(),
            "control_url": self.emulator.control_url(),
            "console_url": self.emulator.console_url(),
            "proxy_url": self.emulator.proxy_url(),
            "environment": self.emulator.environment(),
            "scope": self.emulator.scope(),
            "client_id": self.client_id(),
            "ca_file": self.ca_file,
            "demo_business_id": DEMO_BUSINESS_ID,
            "variables": variables,
        })
    }

    pub(super) fn text(&self, style: Style) -> String {
        let heading = |text: &str| style.bold(&format!("# {text}\n"));
        let mut text = heading(&format!(
            "Emulator of Layer's {} environment. Ctrl-C stops it.",
            self.emulator.environment().name()
        ));
        text.push_str(&format!("# Control API: {}\n", self.emulator.control_url()));
        if let Some(url) = self.emulator.console_url() {
            text.push_str(&format!("# Console, for a browser: {url}\n"));
        }
        if let Some(url) = self.emulator.proxy_url() {
            text.push_str(&format!("# Proxy: {url}\n"));
        }
        text.push('\n');
        text.push_str(&heading("Set these variables in another terminal:"));
        for (name, value) in self.variables() {
            text.push_str(&format!("export {name}={}\n", shell_quoted(&value)));
        }
        if !self.public_secret {
            text.push_str("# Also set LAYER_CLIENT_SECRET to the secret that you gave.\n");
        }
        let trust = match &self.ca_file {
            Some(_) => " --cacert \"$LAYER_CA_FILE\"",
            None => "",
        };
        text.push('\n');
        text.push_str(&heading(
            "The calls of Layer's documentation, for that terminal:",
        ));
        text.push_str(&format!(
            r#"TOKEN=$(curl -sS{trust} -X POST "$LAYER_AUTH_URL" \
  -u "$LAYER_CLIENT_ID:$LAYER_CLIENT_SECRET" \
  -H 'Content-Type: application/x-www-form-urlencoded' \
  --data-urlencode grant_type=client_credentials \
  --data-urlencode "scope=$LAYER_SCOPE" \
  --data-urlencode "client_id=$LAYER_CLIENT_ID" |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -sS{trust} "$LAYER_API_URL/whoami" -H "Authorization: Bearer $TOKEN"
curl -sS{trust} -X POST -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' -d '{{"session_duration": 3600}}' \
  "$LAYER_API_URL/v1/businesses/{DEMO_BUSINESS_ID}/auth-token""#
        ));
        text
    }
}

/// Quotes a word for a shell, if necessary.
fn shell_quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_special_characters_are_quoted() {
        for (word, shown) in [
            ("http://127.0.0.1:1/a", "http://127.0.0.1:1/a"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $x", r"'it'\''s $x'"),
        ] {
            assert_eq!(shell_quoted(word), shown);
        }
    }
}
