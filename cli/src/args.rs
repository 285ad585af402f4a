//! Command-line arguments. No argument takes a secret.
//!
//! clap prints the doc comments as help texts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use http::{HeaderName, HeaderValue, Method, header};
use layerfi_auth::{BasicEncoding, Environment, SessionDuration, Trust};
use layerfi_auth_emulator::{Fault, HttpVersions, TlsTrouble, TlsVersions};

use crate::failure::Failure;

/// Get tokens for the Layer accounting API and check a setup.
///
/// Settings come from flags or environment variables; a flag takes precedence
/// over its variable. The variables are LAYER_ENVIRONMENT, LAYER_CLIENT_ID,
/// LAYER_CLIENT_SECRET or LAYER_CLIENT_SECRET_FILE, LAYER_API_URL,
/// LAYER_AUTH_URL, LAYER_SCOPE, LAYER_CA_FILE, LAYER_TRUST, LAYER_SHARED_CACHE,
/// LAYER_SHARED_CACHE_KEY and LAYER_ALLOW_HTTP_LOOPBACK. No flag takes the client
/// secret itself.
#[derive(Parser)]
#[command(
    name = "layerfi-auth",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print results and errors as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log to standard error; -vv logs more. Logs never contain secrets or tokens.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print an access token.
    Token,
    /// Print an Authorization header: curl -H "$(layerfi-auth header)" ...
    Header,
    /// Print the client that the credentials belong to.
    Whoami,
    /// Mint a token for one business, or one for each business of a list.
    BusinessToken(BusinessTokenArgs),
    /// Send a request to the API, with the token in its header.
    Api(ApiArgs),
    /// Check configuration, network, TLS, clock and credentials.
    Doctor,
    /// Run an emulator of Layer on this machine until it is stopped.
    Emulator(EmulatorArgs),
    /// Demonstrate the engine against an emulator; needs no account and no network.
    Demo,
    /// Print the completion script of a shell.
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them to a folder.
    Man(ManArgs),
}

#[derive(Args)]
#[command(override_usage = "layerfi-auth business-token [OPTIONS] <BUSINESS_ID>
       layerfi-auth business-token [OPTIONS] --from <FILE>")]
pub(crate) struct BusinessTokenArgs {
    /// The id of the business, a UUID.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub(crate) business_id: Option<String>,
    /// Mint a token for each id in this file, one id per line; - is standard
    /// input. Empty lines and lines that begin with # are ignored. Prints one line
    /// of JSON per business.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Write the lines to this file, which only its owner can read, and not to
    /// standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "business_id")]
    pub(crate) output: Option<PathBuf>,
    /// Continue the file of --output: skip the businesses that have a token in it
    /// that has not expired.
    #[arg(long, requires = "output", conflicts_with = "business_id")]
    pub(crate) resume: bool,
    /// Show neither the progress nor the summary.
    #[arg(short, long, conflicts_with = "business_id")]
    pub(crate) quiet: bool,
    /// The session duration, 1 to 86400 seconds.
    #[arg(
        long,
        alias = "duration",
        value_name = "SECONDS",
        value_parser = session_duration,
        default_value = "3600"
    )]
    pub(crate) session_duration: SessionDuration,
}

#[derive(Args)]
pub(crate) struct ApiArgs {
    /// The HTTP method, such as GET.
    #[arg(value_parser = method)]
    pub(crate) method: Method,
    /// A path of the API, such as /v1/businesses. The token is sent to no other
    /// server.
    pub(crate) path: String,
    /// The body: JSON, @FILE for the content of a file, or - for standard input.
    #[arg(short, long, value_name = "JSON")]
    pub(crate) data: Option<String>,
    /// A header of the request, such as "Accept: text/csv"; the flag can be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Use a token of this business and not the access token.
    #[arg(long, value_name = "ID")]
    pub(crate) business: Option<String>,
    /// The session duration of that token, 1 to 86400 seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = session_duration,
        default_value = "3600",
        requires = "business"
    )]
    pub(crate) session_duration: SessionDuration,
    /// Print the status and the headers of the response too.
    #[arg(short, long)]
    pub(crate) include: bool,
}

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that reads the script.
    pub(crate) shell: Shell,
}

#[derive(Args)]
pub(crate) struct ManArgs {
    /// The command whose page is printed; without it, the page of layerfi-auth.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) page: Option<String>,
    /// Write the pages of all commands to this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Settings of the client. `settings.rs` combines them with the environment.
#[derive(Args, Default)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// The Layer environment [env: LAYER_ENVIRONMENT].
    #[arg(long, global = true, value_name = "NAME", value_parser = environments())]
    pub(crate) environment: Option<Environment>,
    /// The client id [env: LAYER_CLIENT_ID].
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// A file that contains only the client secret [env: LAYER_CLIENT_SECRET_FILE].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Read the client secret from standard input.
    #[arg(long, global = true)]
    pub(crate) client_secret_stdin: bool,
    /// The base URL of the API [env: LAYER_API_URL].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// The URL of the token endpoint [env: LAYER_AUTH_URL].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) auth_url: Option<String>,
    /// The OAuth scope [env: LAYER_SCOPE].
    #[arg(long, global = true)]
    pub(crate) scope: Option<String>,
    /// A PEM file of CA certificates to trust in addition to those of --trust [env: LAYER_CA_FILE].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The CA certificates to trust: the system's (the default), Mozilla's, which are compiled
    /// in, or only those of --ca-file [env: LAYER_TRUST].
    #[arg(long, global = true, value_name = "NAME", value_parser = trusts())]
    pub(crate) trust: Option<Trust>,
    /// The proxy, http://host:port [env: HTTPS_PROXY, ALL_PROXY, NO_PROXY].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// Use no proxy and ignore the proxy variables.
    #[arg(long, global = true)]
    pub(crate) no_proxy: bool,
    /// The Redis or Valkey server through which tokens are shared, redis://host:port. Set a URL
    /// with a password only by the variable [env: LAYER_SHARED_CACHE].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) shared_cache: Option<String>,
    /// The text with which the names of all keys in the shared cache begin; "layerfi" by default.
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) shared_cache_prefix: Option<String>,
    /// Allow http:// URLs on loopback, for an emulator [env: LAYER_ALLOW_HTTP_LOOPBACK].
    #[arg(long, global = true)]
    pub(crate) allow_http_loopback: bool,
    /// The encoding of client id and secret in the Basic header.
    #[arg(long, global = true, value_name = "ENCODING", default_value = "raw")]
    pub(crate) basic_encoding: Encoding,
    /// The timeout of a whole call, retries included; for doctor, of all checks.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub(crate) timeout: Duration,
    /// Accept business ids that are not UUIDs.
    #[arg(long, global = true)]
    pub(crate) allow_opaque_business_ids: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// Not encoded, like curl -u.
    #[default]
    Raw,
    /// Form-urlencoded, as RFC 6749 section 2.3.1 says.
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

/// Arguments of `emulator`. Its client id, secret, environment and scope come
/// from `SettingsArgs`.
#[derive(Args)]
#[command(next_help_heading = "Emulator")]
pub(crate) struct EmulatorArgs {
    /// The port of the token endpoint and the API; 0 takes any free port.
    #[arg(long, value_parser = port, default_value = "0")]
    pub(crate) port: u16,
    /// The port of the control API; 0 takes any free port.
    #[arg(long, value_name = "PORT", value_parser = port, default_value = "0")]
    pub(crate) control_port: u16,
    /// Also run an HTTP forward proxy on this port; 0 takes any free port. Every
    /// host name leads to the emulator.
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub(crate) proxy_port: Option<u16>,
    /// Serve HTTPS, with a CA that is generated at start.
    #[arg(long)]
    pub(crate) tls: bool,
    /// A host name for which the certificate is valid, in addition to localhost;
    /// the flag can be repeated.
    #[arg(long = "name", value_name = "HOST")]
    pub(crate) names: Vec<String>,
    /// A defect of TLS; implies --tls.
    #[arg(long, value_name = "NAME", value_parser = tls_troubles())]
    pub(crate) tls_trouble: Option<TlsTrouble>,
    /// The TLS versions to offer.
    #[arg(long, value_name = "VERSIONS", value_parser = tls_versions(), default_value = "1.2-1.3")]
    pub(crate) tls_versions: TlsVersions,
    /// The HTTP versions to support.
    #[arg(long, value_name = "VERSIONS", value_parser = http_versions(), default_value = "1.1-2")]
    pub(crate) http_versions: HttpVersions,
    /// Close connections that were idle for this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) idle_timeout: Option<Duration>,
    /// End each connection after this many requests.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_connection: Option<u32>,
    /// A fault from the start, in JSON as in docs/emulator.md; the flag can be
    /// repeated.
    #[arg(long = "fault", value_name = "JSON", value_parser = fault)]
    pub(crate) faults: Vec<Fault>,
    /// The file to write the CA certificate to; implies --tls. The default is a
    /// temporary file that is removed at exit.
    #[arg(long, value_name = "PATH")]
    pub(crate) ca_out: Option<PathBuf>,
    /// The file that keeps the CA's key and certificate, so that a browser has to
    /// trust it only once; made if it does not exist. Implies --tls.
    #[arg(long, value_name = "FILE")]
    pub(crate) authority_key: Option<PathBuf>,
    /// Answer with demo data: twelve months of books of a business.
    #[arg(long)]
    pub(crate) demo_data: bool,
    /// Do not serve the console page at the address of the control API.
    #[arg(long)]
    pub(crate) no_console: bool,
    /// The lifetime of access tokens.
    #[arg(long, value_name = "SECONDS", value_parser = lifetime, default_value = "3600")]
    pub(crate) access_token_lifetime: Duration,
    /// The lifetime of business tokens; the default is the requested session duration.
    #[arg(long, value_name = "SECONDS", value_parser = lifetime)]
    pub(crate) business_token_lifetime: Option<Duration>,
    /// The rate limit in requests per second, or "none"; the default is the environment's.
    #[arg(long, value_name = "N", value_parser = rate_limit)]
    pub(crate) rate_limit: Option<RateLimit>,
    /// A business of the client; the flag can be repeated. By default every
    /// UUID is a business of the client.
    #[arg(long = "business", value_name = "ID")]
    pub(crate) businesses: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RateLimit(pub(crate) Option<u32>);

fn environments() -> impl clap::builder::TypedValueParser<Value = Environment> {
    PossibleValuesParser::new(Environment::ALL.map(Environment::as_str))
        .try_map(|name| name.parse::<Environment>())
}

fn trusts() -> impl clap::builder::TypedValueParser<Value = Trust> {
    PossibleValuesParser::new(Trust::ALL.map(Trust::as_str)).try_map(|name| name.parse::<Trust>())
}

fn tls_troubles() -> impl clap::builder::TypedValueParser<Value = TlsTrouble> {
    PossibleValuesParser::new(TlsTrouble::ALL.map(TlsTrouble::name))
        .try_map(|name| serde_json::from_value::<TlsTrouble>(name.into()))
}

fn tls_versions() -> impl clap::builder::TypedValueParser<Value = TlsVersions> {
    PossibleValuesParser::new(["1.2", "1.3", "1.2-1.3"])
        .try_map(|name| serde_json::from_value::<TlsVersions>(name.into()))
}

fn http_versions() -> impl clap::builder::TypedValueParser<Value = HttpVersions> {
    PossibleValuesParser::new(["1.1", "2", "1.1-2"])
        .try_map(|name| serde_json::from_value::<HttpVersions>(name.into()))
}

fn fault(text: &str) -> Result<Fault, String> {
    serde_json::from_str(text).map_err(|error| format!("not a fault in JSON: {error}"))
}

/// Parses a timeout in seconds, within the engine's limits.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| (Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(time))
        .ok_or_else(|| format!("it must be 0.001 to 3600 seconds, got {text}"))
}

fn session_duration(text: &str) -> Result<SessionDuration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| SessionDuration::from_secs(seconds).ok())
        .ok_or_else(|| format!("it must be 1 to 86400 seconds, got {text}"))
}

/// Parses an HTTP method, in any case.
fn method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| "it must be an HTTP method such as GET or POST".to_owned())
}

/// Parses `Name: value`. Headers that the client sets are refused.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("it must be a name, a colon and a value")?;
    let name: HeaderName = name
        .trim()
        .parse()
        .map_err(|_| "the name of the header is not valid")?;
    let is_own = [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::HOST,
        header::TRANSFER_ENCODING,
    ]
    .contains(&name);
    if is_own {
        return Err(format!("layerfi-auth sets the header {name} itself"));
    }
    let value = value
        .trim()
        .parse()
        .map_err(|_| "the value of the header is not valid")?;
    Ok((name, value))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("it must be 0 to 65535, got {text}"))
}

/// Parses a token lifetime in seconds; ten years at most.
fn lifetime(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0..=315_360_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "it must be 0 to 315360000 seconds (ten years), got {text}"
        )),
    }
}

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    match text {
        "none" => Ok(RateLimit(None)),
        _ => match text.parse() {
            Ok(limit @ 1..) => Ok(RateLimit(Some(limit))),
            _ => Err(format!(
                "it must be none or at least 1 request per second, got {text}"
            )),
        },
    }
}

/// The arguments before `--`.
fn before_separator(arguments: &[OsString]) -> impl Iterator<Item = &str> {
    arguments
        .iter()
        .skip(1)
        .map(|argument| argument.to_str().unwrap_or_default())
        .take_while(|argument| *argument != "--")
}

pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    before_separator(arguments).any(|argument| argument == "--json")
}

/// Refuses the client secret and the key of the shared cache as arguments.
///
/// Arguments are visible in the process list and stay in the shell's history.
pub(crate) fn refuse_secrets(arguments: &[OsString]) -> Result<(), Failure> {
    let mut names = before_separator(arguments)
        .map(|argument| argument.split_once('=').map_or(argument, |(name, _)| name));
    let (what, remedy, field) = match names.find_map(|name| match name {
        "--client-secret" | "--secret" => Some("client_secret"),
        "--shared-cache-key" => Some("shared_cache_key"),
        _ => None,
    }) {
        None => return Ok(()),
        Some(field @ "client_secret") => (
            "the client secret",
            "set LAYER_CLIENT_SECRET, or use --client-secret-file or --client-secret-stdin",
            field,
        ),
        Some(field) => (
            "the key of the shared cache",
            "set LAYER_SHARED_CACHE_KEY",
            field,
        ),
    };
    Err(Failure::usage(
        format!(
            "{what} must not be an argument: other users can read arguments in the process list"
        ),
        remedy,
        Some(field),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn clap_accepts_the_argument_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_are_accepted_before_and_after_the_command() {
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
    fn a_secret_argument_is_refused_in_every_spelling() {
        for (line, refused) in [
            ("x token --client-secret s", true),
            ("x --client-secret=s token", true),
            ("x token --secret", true),
            ("x token --shared-cache-key s", true),
            ("x --shared-cache-key=s token", true),
            ("x token --shared-cache redis://h", false),
            ("x token --client-secret-file s", false),
            ("x token -- --client-secret", false),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(refuse_secrets(&arguments).is_err(), refused, "{line}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for text in ["", "x", "-1", "NaN", "inf", "1e99", "0", "0.0001", "3600.1"] {
            assert!(seconds(text).is_err(), "--timeout {text:?} is accepted");
        }
        for text in ["", "x", "-1", "0", "86401", "3.5", "99999999999999999999"] {
            assert_eq!(
                session_duration(text),
                Err(format!("it must be 1 to 86400 seconds, got {text}"))
            );
        }
        assert_eq!(session_duration("86400"), Ok(SessionDuration::MAX));
        assert!(port("65536").is_err() && port("x").is_err());
        assert_eq!(port("65535"), Ok(65_535));
        assert!(lifetime("x").is_err() && lifetime("18446744073709551615").is_err());
        assert_eq!(lifetime("0"), Ok(Duration::ZERO));
        assert_eq!(rate_limit("none"), Ok(RateLimit(None)));
        assert_eq!(rate_limit("7"), Ok(RateLimit(Some(7))));
        assert!(rate_limit("0").is_err() && rate_limit("-1").is_err());
    }

    #[test]
    fn duration_is_an_alias_of_session_duration() {
        for flag in ["--session-duration", "--duration"] {
            let cli = Cli::try_parse_from(["x", "business-token", "id", flag, "900"]).unwrap();
            let Command::BusinessToken(args) = cli.command else {
                panic!("business-token is parsed as another command");
            };
            assert_eq!(args.session_duration.as_secs(), 900, "{flag}");
        }
    }
}
