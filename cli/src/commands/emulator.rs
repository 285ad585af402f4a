//! `layerfi-auth emulator`: runs until Ctrl-C, SIGTERM or an order of its
//! control API, and takes its temporary file with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layerfi_auth::Environment as Layer;
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator,
    EmulatorBuilder, Environment,
};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{EmulatorArgs, Encoding, SettingsArgs};
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::runtime::block_on;
use crate::settings;

pub(super) fn run(
    settings: &SettingsArgs,
    args: &EmulatorArgs,
    output: &Output,
) -> Result<(), Failure> {
    let (builder, public_secret) = builder(settings, args)?;
    block_on(async {
        // Before the first line goes out: whoever reads it may send a signal at once.
        let mut interrupt = handler(SignalKind::interrupt())?;
        let mut terminate = handler(SignalKind::terminate())?;
        let mut hangup = handler(SignalKind::hangup())?;
        let emulator = builder.start().await?;
        let ca = CaFile::write(&emulator, args.ca_out.as_deref())?;
        let running = Running {
            emulator: &emulator,
            ca_file: ca.as_ref().map(|file| file.path().display().to_string()),
            public_secret,
        };
        output.answer(&running.json(), || running.text(Paint::stdout()))?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = emulator.stopped() => {}
        }
        Ok(())
    })
}

fn handler(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::internal(format!("no signal handler ({error})")))
}

/// The emulator as asked for, and whether its client has the public secret.
fn builder(
    settings: &SettingsArgs,
    args: &EmulatorArgs,
) -> Result<(EmulatorBuilder, bool), Failure> {
    let environment = match settings.environment {
        None | Some(Layer::Sandbox) => Environment::Sandbox,
        Some(Layer::Production) => Environment::Production,
        Some(Layer::ProductionCa) => Environment::ProductionCa,
        Some(Layer::Custom) => {
            return Err(Failure::usage(
                "the emulator plays one of Layer's own environments",
                "give sandbox, production or production-ca",
                Some("environment"),
            ));
        }
    };
    let secret = settings::emulator_secret(settings)?;
    let mut builder = Emulator::builder()
        .port(args.port)
        .control_port(args.control_port)
        .tls(args.tls || args.ca_out.is_some())
        .environment(environment)
        .access_token_lifetime(Duration::from_secs(args.access_token_lifetime))
        .basic_decoding(match settings.basic_encoding {
            Encoding::Raw => BasicDecoding::Raw,
            Encoding::Form => BasicDecoding::Form,
        })
        .client(
            settings.client_id.as_deref().unwrap_or(DEFAULT_CLIENT_ID),
            secret
                .as_ref()
                .map_or(DEFAULT_CLIENT_SECRET, |secret| secret.expose()),
        );
    if let Some(scope) = &settings.scope {
        builder = builder.scope(scope);
    }
    if let Some(seconds) = args.business_token_lifetime {
        builder = builder.business_token_lifetime(Duration::from_secs(seconds));
    }
    if let Some(limit) = args.rate_limit {
        builder = builder.rate_limit(limit.0);
    }
    for business in &args.businesses {
        builder = builder.business(business);
    }
    Ok((builder, secret.is_none()))
}

/// The authority's certificate in a file; removed at the end unless its place
/// was given.
enum CaFile {
    Given(PathBuf),
    /// Under a random name: a process id can come again, in a container always,
    /// while the file of one that was killed is still there.
    Temporary(NamedTempFile),
}

impl CaFile {
    fn write(emulator: &Emulator, given: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(pem) = emulator.ca_pem() else {
            return Ok(None);
        };
        let failed = |what: &Path, error: &std::io::Error| {
            Failure::local(
                format!("{} cannot be written ({error})", what.display()),
                "give a path that can be with --ca-out",
            )
        };
        if let Some(path) = given {
            // Absolute, since it is pasted in another terminal.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            std::fs::write(&path, pem).map_err(|error| failed(&path, &error))?;
            return Ok(Some(Self::Given(path)));
        }
        let mut file = tempfile::Builder::new()
            .prefix("layerfi-auth-emulator-")
            .suffix("-ca.pem")
            .tempfile()
            .map_err(|error| failed(&std::env::temp_dir(), &error))?;
        file.write_all(pem.as_bytes())
            .map_err(|error| failed(file.path(), &error))?;
        Ok(Some(Self::Temporary(file)))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }
}

/// What there is to know about a running emulator.
struct Running<'a> {
    emulator: &'a Emulator,
    ca_file: Option<String>,
    public_secret: bool,
}

impl Running<'_> {
    fn client_id(&self) -> String {
        self.emulator
            .client_ids()
            .first()
            .cloned()
            .unwrap_or_default()
    }

    /// The variables that point a client here. The secret only where it is the
    /// public one: any other is known to whoever gave it.
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

    fn json(&self) -> Value {
        let variables: Map<String, Value> = self
            .variables()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "api_url": self.emulator.url(),
            "auth_url": self.emulator.token_url(),
            "control_url": self.emulator.control_url(),
            "environment": self.emulator.environment(),
            "scope": self.emulator.scope(),
            "client_id": self.client_id(),
            "ca_file": self.ca_file,
            "demo_business_id": DEMO_BUSINESS_ID,
            "variables": variables,
        })
    }

    fn text(&self, paint: Paint) -> String {
        let heading = |text: &str| paint.bold(&format!("# {text}\n"));
        let mut text = heading(&format!(
            "Layer's {} environment, emulated. Ctrl-C stops it.",
            self.emulator.environment().name()
        ));
        text.push_str(&format!(
            "# Control API: {}\n\n",
            self.emulator.control_url()
        ));
        text.push_str(&heading("For another terminal:"));
        for (name, value) in self.variables() {
            text.push_str(&format!("export {name}={}\n", quoted(&value)));
        }
        if !self.public_secret {
            text.push_str("# and LAYER_CLIENT_SECRET, the one you gave\n");
        }
        let trust = match &self.ca_file {
            Some(_) => " --cacert \"$LAYER_CA_FILE\"",
            None => "",
        };
        text.push('\n');
        text.push_str(&heading("The calls of Layer's documentation, there:"));
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

/// A word for a shell: as it is where that is plain, else in quotes.
fn quoted(word: &str) -> String {
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
    fn words_are_quoted_where_a_shell_would_touch_them() {
        for (word, shown) in [
            ("http://127.0.0.1:1/a", "http://127.0.0.1:1/a"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $x", r"'it'\''s $x'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
