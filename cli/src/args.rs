//! What can be said on the command line. Never a secret.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};
use layerfi_auth::{BasicEncoding, Environment};

use crate::failure::Failure;

/// Tokens for the Layer accounting API.
///
/// Settings come from flags or, where there is none, from the environment:
/// LAYER_CLIENT_ID, LAYER_CLIENT_SECRET or LAYER_CLIENT_SECRET_FILE,
/// LAYER_ENVIRONMENT, LAYER_API_URL, LAYER_AUTH_URL, LAYER_SCOPE,
/// LAYER_CA_FILE, LAYER_ALLOW_HTTP_LOOPBACK. No secret is taken as an argument.
#[derive(Parser)]
#[command(
    name = "layerfi-auth",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Answers, and errors, in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tells on standard error what happens; twice for more. Never a secret.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints an access token.
    Token,
    /// Prints an Authorization header: curl -H "$(layerfi-auth header)" ...
    Header,
    /// Asks Layer whose credentials these are.
    Whoami,
    /// Mints a token for one business, to be handed to a browser.
    BusinessToken(BusinessTokenArgs),
    /// Checks configuration, network, TLS, clock and credentials, one by one.
    Doctor,
    /// Runs an emulator of Layer on this machine until it is stopped.
    Emulator(EmulatorArgs),
    /// Shows the whole way against an emulator; needs no account and no network.
    Demo,
}

#[derive(Args)]
pub(crate) struct BusinessTokenArgs {
    /// The business's id, a UUID.
    pub(crate) id: String,
    /// How long its session is to be: 1 to 86400 seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub(crate) duration: u64,
}

/// How a client is set up; see `settings.rs` for what wins over what.
#[derive(Args, Default)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// Which Layer to talk to [variable: LAYER_ENVIRONMENT].
    #[arg(long, global = true, value_name = "NAME", value_parser = environments())]
    pub(crate) environment: Option<Environment>,
    /// The client id [variable: LAYER_CLIENT_ID].
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// A file with the client secret and nothing else [variable: LAYER_CLIENT_SECRET_FILE].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Reads the client secret from standard input.
    #[arg(long, global = true)]
    pub(crate) client_secret_stdin: bool,
    /// The API's base URL [variable: LAYER_API_URL].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// The token endpoint [variable: LAYER_AUTH_URL].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) auth_url: Option<String>,
    /// The OAuth scope [variable: LAYER_SCOPE].
    #[arg(long, global = true)]
    pub(crate) scope: Option<String>,
    /// PEM file of authorities to trust beside the system's [variable: LAYER_CA_FILE].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) ca_file: Option<PathBuf>,
    /// A proxy, http://host:port [variables: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// No proxy, whatever the variables say.
    #[arg(long, global = true)]
    pub(crate) no_proxy: bool,
    /// Allows http:// to this machine, for an emulator [variable: LAYER_ALLOW_HTTP_LOOPBACK].
    #[arg(long, global = true)]
    pub(crate) allow_http_loopback: bool,
    /// How id and secret go into the Basic header.
    #[arg(long, global = true, value_name = "HOW", default_value = "raw")]
    pub(crate) basic_encoding: Encoding,
    /// What a call may take in all, retries included.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub(crate) timeout: Duration,
    /// Takes business ids that are not UUIDs.
    #[arg(long, global = true)]
    pub(crate) allow_opaque_business_ids: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// As they are, like curl -u.
    #[default]
    Raw,
    /// Form-urlencoded first, as RFC 6749 has it.
    Form,
}

impl From<Encoding> for BasicEncoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Raw => Self::Raw,
            Encoding::Form => Self::Form,
        }
    }
}

/// The emulator is told about its client and environment by the settings'
/// flags: it plays the other side of the same conversation.
#[derive(Args)]
#[command(next_help_heading = "Emulator")]
pub(crate) struct EmulatorArgs {
    /// The port of the token endpoint and the API; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// The port of the control API; 0 is any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) control_port: u16,
    /// Speaks HTTPS, under an authority made at start.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Where to write that authority's certificate; implies --tls. Without it, a
    /// temporary file that is removed at the end.
    #[arg(long, value_name = "PATH")]
    pub(crate) ca_out: Option<PathBuf>,
    /// How long access tokens live.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub(crate) access_token_lifetime: u64,
    /// How long business tokens live, whatever is asked for.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) business_token_lifetime: Option<u64>,
    /// Requests per second that it grants, or "none"; by default its environment's.
    #[arg(long, value_name = "N", value_parser = rate_limit)]
    pub(crate) rate_limit: Option<RateLimit>,
    /// A business of the client's; may be given several times. Without any,
    /// every UUID is one.
    #[arg(long = "business", value_name = "ID")]
    pub(crate) businesses: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RateLimit(pub(crate) Option<u32>);

fn environments() -> impl clap::builder::TypedValueParser<Value = Environment> {
    PossibleValuesParser::new(Environment::ALL.map(Environment::as_str))
        .try_map(|name| name.parse::<Environment>())
}

/// As long as the engine lets a call take.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| (Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(time))
        .ok_or_else(|| "give 0.001 to 3600 seconds, such as 30 or 2.5".to_owned())
}

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    match text {
        "none" => Ok(RateLimit(None)),
        _ => match text.parse() {
            Ok(limit @ 1..) => Ok(RateLimit(Some(limit))),
            _ => Err("give requests per second, at least 1, or none".to_owned()),
        },
    }
}

/// The flags, as far as they are flags: what follows `--` is not.
fn flags(arguments: &[OsString]) -> impl Iterator<Item = &str> {
    arguments
        .iter()
        .skip(1)
        .map(|argument| argument.to_str().unwrap_or_default())
        .take_while(|argument| *argument != "--")
}

pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    flags(arguments).any(|argument| argument == "--json")
}

/// A secret on the command line stands in the shell's history and in the list
/// of processes. Whoever tries it is told where it belongs instead.
pub(crate) fn refuse_secrets(arguments: &[OsString]) -> Result<(), Failure> {
    let is_secret = |argument: &str| {
        let name = argument.split_once('=').map_or(argument, |(name, _)| name);
        matches!(name, "--client-secret" | "--secret")
    };
    if flags(arguments).any(is_secret) {
        return Err(Failure::usage(
            "a secret is never taken as an argument: other users could read it in the list of \
             processes",
            "set LAYER_CLIENT_SECRET, or use --client-secret-file or --client-secret-stdin",
            Some("client_secret"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_before_or_after_the_command() {
        for line in [
            "x --json --timeout 2.5 --environment production-ca token",
            "x token --environment production-ca --timeout 2.5 --json",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.json);
            assert_eq!(cli.settings.timeout, Duration::from_millis(2_500));
            assert_eq!(cli.settings.environment, Some(Environment::ProductionCa));
        }
    }

    #[test]
    fn secrets_are_refused_in_every_spelling() {
        for (line, refused) in [
            ("x token --client-secret s", true),
            ("x --client-secret=s token", true),
            ("x token --secret", true),
            ("x token --client-secret-file s", false),
            ("x token -- --client-secret", false),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(refuse_secrets(&arguments).is_err(), refused, "{line}");
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for text in ["", "x", "-1", "NaN", "inf", "1e99", "0", "0.0001", "3600.1"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
        assert_eq!(rate_limit("none"), Ok(RateLimit(None)));
        assert_eq!(rate_limit("7"), Ok(RateLimit(Some(7))));
        assert!(rate_limit("0").is_err() && rate_limit("-1").is_err());
    }
}
