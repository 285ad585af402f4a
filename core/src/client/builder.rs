//! Builder of a client: turns settings into a validated configuration. It uses no
//! network, and reads no file except `ca_file`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::config::{Config, HttpConfig};
use crate::credentials::{
    BasicEncoding, Credentials, CredentialsProvider, CredentialsSource, check_client_id,
};
use crate::environment::{Endpoints, Environment};
use crate::error::{Error, Result, seconds};
use crate::http::proxy::ProxyChoice;
use crate::retry::RetryPolicy;
use crate::secret::Secret;
use crate::setting_names::{FromVariables, setting_of};
use crate::shared_cache::SharedCacheSettings;
use crate::sys::clock::Clock;
use crate::trust::{Trust, TrustStore};

/// Builder of a [`Client`](crate::Client). All settings have defaults, except the credentials
/// and the environment.
///
/// ```
/// use layerfi_auth::{Client, Environment};
///
/// let client = Client::builder()
///     .credentials("client-id", "client-secret")
///     .environment(Environment::Sandbox)
///     .build()?;
/// # Ok::<(), layerfi_auth::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct ClientBuilder {
    environment: Option<Environment>,
    api_url: Option<String>,
    auth_url: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    provider: Option<CredentialsSource>,
    basic_encoding: BasicEncoding,
    ca_file: Option<PathBuf>,
    ca_pem: Vec<u8>,
    trust: Trust,
    proxy: ProxyChoice,
    allow_http_loopback: bool,
    allow_opaque_business_ids: bool,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    max_attempts: Option<u32>,
    business_token_capacity: Option<usize>,
    keep_warm: bool,
    shared_cache: SharedCacheSettings,
    user_agent: Option<String>,
    /// Settings that come from environment variables.
    variables: FromVariables,
    #[cfg(any(test, feature = "test-util"))]
    clock: Option<crate::sys::clock::TestClock>,
}

impl ClientBuilder {
    /// Reads the settings from environment variables: `LAYER_CLIENT_ID`,
    /// `LAYER_CLIENT_SECRET` or `LAYER_CLIENT_SECRET_FILE`, `LAYER_ENVIRONMENT`,
    /// `LAYER_API_URL`, `LAYER_AUTH_URL`, `LAYER_SCOPE`, `LAYER_CA_FILE`,
    /// `LAYER_TRUST`, `LAYER_SHARED_CACHE`, `LAYER_SHARED_CACHE_KEY`,
    /// `LAYER_ALLOW_HTTP_LOOPBACK`. An empty variable counts as unset.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if a variable is not UTF-8 or its value
    /// is not allowed. [`build`](Self::build) reports what is missing.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// [`from_env`](Self::from_env) with variables from `var`: for a program in
    /// which something else, such as a flag, can replace a variable.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Self> {
        Self::read_vars(var).map_err(|error| error.naming(FromVariables::ALL))
    }

    fn read_vars(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Self> {
        let text = |name: &'static str| match var(name) {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| {
                Error::config(
                    setting_of(name).unwrap_or(name),
                    format!("{name} is not UTF-8 text"),
                    format!("set {name} again, to the text as Layer shows it"),
                )
            }),
        };
        let mut builder = Self {
            variables: FromVariables::ALL,
            ..Self::default()
        };
        if let Some(name) = text("LAYER_ENVIRONMENT")? {
            builder.environment = Some(name.parse()?);
        }
        builder.client_id = text("LAYER_CLIENT_ID")?;
        builder.client_secret = text("LAYER_CLIENT_SECRET")?.map(Secret::new);
        builder.client_secret_file = var("LAYER_CLIENT_SECRET_FILE")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        builder.api_url = text("LAYER_API_URL")?;
        builder.auth_url = text("LAYER_AUTH_URL")?;
        builder.scope = text("LAYER_SCOPE")?;
        builder.ca_file = var("LAYER_CA_FILE")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        if let Some(name) = text("LAYER_TRUST")? {
            builder.trust = name.parse()?;
        }
        builder.shared_cache.url = text("LAYER_SHARED_CACHE")?.map(Secret::new);
        builder.shared_cache.key = text("LAYER_SHARED_CACHE_KEY")?.map(Secret::new);
        builder.allow_http_loopback = match text("LAYER_ALLOW_HTTP_LOOPBACK")?.as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                let got: String = other.chars().take(40).collect();
                return Err(Error::config(
                    "allow_http_loopback",
                    format!("LAYER_ALLOW_HTTP_LOOPBACK must be 1 or 0, got {got:?}"),
                    "set LAYER_ALLOW_HTTP_LOOPBACK to 1 for an emulator on this machine, or unset \
                     it",
                ));
            }
        };
        Ok(builder)
    }

    /// Sets the environment. Required: there is no default, so that no program uses
    /// production by accident.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self.set_here(&["environment"])
    }

    /// Sets the client id and secret that Layer issued.
    pub fn credentials(
        self,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        self.client_id(client_id).client_secret(client_secret)
    }

    /// Sets the client id.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self.set_here(&["client_id"])
    }

    /// Sets the client secret. Replaces a secret file.
    pub fn client_secret(mut self, client_secret: impl Into<Secret>) -> Self {
        self.client_secret = Some(client_secret.into());
        self.client_secret_file = None;
        self.set_here(&["client_secret", "client_secret_file"])
    }

    /// Sets a file that contains the client secret and nothing else, except a line
    /// end. It is read before each token request, so that a rotated secret is used.
    /// Replaces a client secret.
    pub fn client_secret_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.client_secret_file = Some(path.into());
        self.client_secret = None;
        self.set_here(&["client_secret", "client_secret_file"])
    }

    /// Sets a source of id and secret, such as a vault client. Replaces id and
    /// secret.
    pub fn credentials_provider(mut self, provider: impl CredentialsProvider) -> Self {
        self.provider = Some(CredentialsSource::provider(provider));
        self
    }

    /// Sets the encoding of id and secret in the Basic header; raw by default.
    pub fn basic_encoding(mut self, encoding: BasicEncoding) -> Self {
        self.basic_encoding = encoding;
        self
    }

    /// Sets the API's base URL. Overrides the one of the environment.
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.api_url = Some(url.into());
        self.set_here(&["api_url"])
    }

    /// Sets the URL of the token endpoint. Overrides the one of the
    /// environment.
    pub fn auth_url(mut self, url: impl Into<String>) -> Self {
        self.auth_url = Some(url.into());
        self.set_here(&["auth_url"])
    }

    /// Sets the OAuth scope. Overrides the one of the environment.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self.set_here(&["scope"])
    }

    /// Sets a PEM file with certificate authorities to trust in addition to those of
    /// [`trust`](Self::trust); 1 MiB at most. [`build`](Self::build) reads it. It is read again after
    /// a certificate was not accepted, every 10 seconds at most, so that a rotated file
    /// is used.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self.set_here(&["ca_file"])
    }

    /// Sets PEM text with certificate authorities to trust in addition to those of
    /// [`trust`](Self::trust).
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = pem.into();
        self
    }

    /// Sets which certificate authorities are trusted besides those of `ca_file` and
    /// `ca_pem`; the system's by default.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self.set_here(&["trust"])
    }

    /// Sets a proxy for all requests except those to loopback,
    /// `http://[user:password@]host:port`. Without it, the variables `HTTPS_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY` are read, in upper or lower case. User and password
    /// are sent as Basic; the user may be `DOMAIN\\user`.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = ProxyChoice::Given(url.into());
        self
    }

    /// Uses no proxy and ignores the proxy variables.
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyChoice::None;
        self
    }

    /// Allows `http://` URLs to loopback, for an emulator. Plain HTTP to any other
    /// host is never allowed.
    pub fn allow_http_loopback(mut self, allow: bool) -> Self {
        self.allow_http_loopback = allow;
        self
    }

    /// Lets [`Client::business_id`](crate::Client::business_id) accept ids that are not UUIDs.
    pub fn allow_opaque_business_ids(mut self, allow: bool) -> Self {
        self.allow_opaque_business_ids = allow;
        self
    }

    /// Sets the time for a whole call, retries included: 1 millisecond to 1 hour,
    /// 30 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time to connect, per attempt: 1 millisecond to 1 hour, 5 seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Sets the time for one attempt, from connecting to the last byte of the
    /// response: 1 millisecond to 1 hour, 10 seconds by default.
    /// [`Client::execute`](crate::Client::execute) has only the timeout of the whole
    /// call.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Sets the number of requests per call, the first included: 1 (no retry) to 100,
    /// 4 by default.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets how many business tokens are cached, at least 1; 10,000 by default.
    pub fn business_token_capacity(mut self, tokens: usize) -> Self {
        self.business_token_capacity = Some(tokens);
        self
    }

    /// Refreshes the access token in the background without callers, from the first
    /// call on, as long as the client exists. Off by default, so that an idle program
    /// makes no requests.
    pub fn keep_warm(mut self, keep_warm: bool) -> Self {
        self.keep_warm = keep_warm;
        self
    }

    /// Shares tokens with other processes and machines through a Redis or Valkey server,
    /// `redis://[user:password@]host[:port][/database]`; off by default. With TLS:
    /// `rediss://`. A unix socket: `redis+unix:///path`. Sentinels:
    /// `redis+sentinel://host[:port],host[:port]/service[/database]`.
    ///
    /// One process fetches a token for all that have the same credentials, URLs and
    /// scope. Tokens are stored sealed, under a key that is derived from the client
    /// secret, until they expire. A store that is slow or down never fails a call: then
    /// each process fetches its own tokens. Needs the Cargo feature `redis`.
    pub fn shared_cache(mut self, url: impl Into<Secret>) -> Self {
        self.shared_cache.url = Some(url.into());
        self.set_here(&["shared_cache"])
    }

    /// Sets a secret that the keys of the shared cache also depend on. Only clients with
    /// the same one share tokens. For client secrets that could be guessed, and to part
    /// fleets that use one store.
    pub fn shared_cache_key(mut self, key: impl Into<Secret>) -> Self {
        self.shared_cache.key = Some(key.into());
        self.set_here(&["shared_cache_key"])
    }

    /// Sets the text with which the names of all keys in the store begin; `layerfi` by
    /// default. 1 to 64 letters, digits, `-`, `_`, `.` and `:`.
    pub fn shared_cache_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.shared_cache.prefix = Some(prefix.into());
        self
    }

    /// Sets whether business tokens are shared too; `true` by default. An entry takes
    /// about 2 KB of the store's memory.
    pub fn shared_business_tokens(mut self, share: bool) -> Self {
        self.shared_cache.business_tokens = Some(share);
        self
    }

    /// Sets a product that precedes `layerfi-auth/<version>` in `User-Agent`, such as
    /// `my-service/1.2`.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.user_agent = Some(product.into());
        self
    }

    /// Sets a clock for tests. Token lifetimes follow it; timeouts do not.
    #[cfg(any(test, feature = "test-util"))]
    pub fn test_clock(mut self, clock: crate::sys::clock::TestClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Notes that the program has set these itself, so that errors do not name
    /// their variables.
    fn set_here(mut self, settings: &[&str]) -> Self {
        self.variables = self.variables.without(settings);
        self
    }

    /// Validates all settings. Reads only the proxy variables through `var`.
    pub(crate) fn resolve(self, var: impl Fn(&str) -> Option<String>) -> Result<Config> {
        let variables = self.variables;
        self.config(var).map_err(|error| error.naming(variables))
    }

    fn config(self, var: impl Fn(&str) -> Option<String>) -> Result<Config> {
        let environment = self.environment.ok_or_else(|| {
            Error::config(
                "environment",
                "environment is not set",
                "set {environment} to sandbox, production, production-ca, or custom (with \
                 {api_url}, {auth_url} and {scope})",
            )
        })?;
        let endpoints = Endpoints::new(
            environment,
            self.api_url.as_deref(),
            self.auth_url.as_deref(),
            self.scope.as_deref(),
            self.allow_http_loopback,
        )?;
        let credentials = match self.provider {
            Some(provider) => provider,
            None => given_credentials(
                self.client_id,
                self.client_secret,
                self.client_secret_file,
                self.basic_encoding,
            )?,
        };
        credentials.check(self.basic_encoding)?;
        let trust = Arc::new(TrustStore::new(self.trust, self.ca_file, &self.ca_pem)?);
        let timeout = within("timeout", self.timeout, 30)?;
        let max_attempts = self
            .max_attempts
            .unwrap_or(RetryPolicy::default().max_attempts);
        if !(1..=100).contains(&max_attempts) {
            return Err(Error::config(
                "max_attempts",
                format!("max_attempts must be 1 to 100, got {max_attempts}"),
                "set {max_attempts} to 1 (no retry) or more; the default is 4",
            ));
        }
        let business_token_capacity = self.business_token_capacity.unwrap_or(10_000);
        if business_token_capacity == 0 {
            return Err(Error::config(
                "business_token_capacity",
                "business_token_capacity must be at least 1, got 0",
                "set {business_token_capacity} to at least 1; mint_business_token does not cache",
            ));
        }
        let urls = [&endpoints.auth_url, &endpoints.base];
        let proxies = self.proxy.resolve(urls, var)?;
        Ok(Config {
            shared_cache: self.shared_cache.resolve()?,
            endpoints: Arc::new(endpoints),
            credentials,
            basic_encoding: self.basic_encoding,
            http: HttpConfig {
                trust,
                proxies,
                connect_timeout: within("connect_timeout", self.connect_timeout, 5)?,
                attempt_timeout: within("attempt_timeout", self.attempt_timeout, 10)?,
                user_agent: user_agent(self.user_agent)?,
            },
            max_attempts,
            timeout,
            allow_opaque_business_ids: self.allow_opaque_business_ids,
            variables: self.variables,
            business_token_capacity,
            keep_warm: self.keep_warm,
            #[cfg(any(test, feature = "test-util"))]
            clock: self.clock.map_or(Clock::System, Clock::Test),
            #[cfg(not(any(test, feature = "test-util")))]
            clock: Clock::System,
        })
    }
}

fn given_credentials(
    client_id: Option<String>,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    encoding: BasicEncoding,
) -> Result<CredentialsSource> {
    let client_id = client_id.ok_or_else(|| {
        Error::config(
            "client_id",
            "client_id is not set",
            "set {client_id} to the id that Layer issued",
        )
    })?;
    check_client_id(&client_id, encoding)?;
    match (client_secret, client_secret_file) {
        (Some(_), Some(_)) => Err(Error::config(
            "client_secret",
            "LAYER_CLIENT_SECRET and LAYER_CLIENT_SECRET_FILE are both set",
            "unset one of them: they may hold different secrets",
        )),
        (None, Some(path)) => Ok(CredentialsSource::SecretFile { client_id, path }),
        (Some(secret), None) => Ok(CredentialsSource::Given(Credentials::new(
            client_id, secret,
        ))),
        (None, None) => Err(Error::config(
            "client_secret",
            "client_secret is not set",
            "set {client_secret} to the secret that Layer issued, or {client_secret_file} to a \
             file that contains it",
        )),
    }
}

/// Checks that a duration is between a millisecond and an hour.
fn within(field: &'static str, given: Option<Duration>, default: u64) -> Result<Duration> {
    let duration = given.unwrap_or(Duration::from_secs(default));
    if (Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&duration) {
        return Ok(duration);
    }
    Err(Error::config(
        field,
        format!("{field} must be 0.001 to 3600 s, got {}", seconds(duration)),
        format!("set {{{field}}} to 1 millisecond to 1 hour; the default is {default} s"),
    ))
}

fn user_agent(product: Option<String>) -> Result<HeaderValue> {
    let own = concat!("layerfi-auth/", env!("CARGO_PKG_VERSION"));
    let value = match product {
        None => Some(HeaderValue::from_static(own)),
        Some(text) if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) => {
            HeaderValue::try_from(format!("{text} {own}")).ok()
        }
        Some(_) => None,
    };
    value.ok_or_else(|| {
        Error::config(
            "user_agent",
            "user_agent has characters that are not allowed in a header",
            "set {user_agent} to visible ASCII, such as my-service/1.2",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn from(vars: &[(&str, &str)]) -> Result<Config> {
        let vars: HashMap<_, _> = vars
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        ClientBuilder::from_vars(|name| vars.get(name).map(Into::into))?
            .resolve(|name| vars.get(name).cloned())
    }

    const GOOD: [(&str, &str); 3] = [
        ("LAYER_ENVIRONMENT", "sandbox"),
        ("LAYER_CLIENT_ID", "id"),
        ("LAYER_CLIENT_SECRET", "canary-secret"),
    ];

    #[test]
    fn environment_variables_are_enough() {
        let config = from(&GOOD).unwrap();
        assert_eq!(config.endpoints.environment, Environment::Sandbox);
        assert_eq!(config.endpoints.api_url, "https://sandbox.layerfi.com");
        assert_eq!(config.timeout, Duration::from_secs(30));
    }

    #[test]
    fn invalid_setting_is_named_with_its_remedy() {
        for (change, field, remedy) in [
            (
                ("LAYER_ENVIRONMENT", ""),
                "environment",
                "LAYER_ENVIRONMENT",
            ),
            (("LAYER_ENVIRONMENT", "prod"), "environment", "production"),
            (("LAYER_ENVIRONMENT", "custom"), "api_url", "LAYER_API_URL"),
            (("LAYER_CLIENT_ID", ""), "client_id", "LAYER_CLIENT_ID"),
            (("LAYER_CLIENT_ID", "a:b"), "client_id", "basic_encoding"),
            (
                ("LAYER_CLIENT_SECRET", ""),
                "client_secret",
                "LAYER_CLIENT_SECRET",
            ),
            (
                ("LAYER_CLIENT_SECRET_FILE", "/s"),
                "client_secret",
                "unset one",
            ),
            (
                ("LAYER_API_URL", "http://example.com"),
                "api_url",
                "https://",
            ),
            (
                ("LAYER_AUTH_URL", "http://127.0.0.1:1/t"),
                "auth_url",
                "LAYER_ALLOW_HTTP_LOOPBACK",
            ),
            (("LAYER_SCOPE", "a\nb"), "scope", "scope"),
            (
                ("LAYER_CA_FILE", "/nonexistent/ca.pem"),
                "ca_file",
                "LAYER_CA_FILE",
            ),
            (("LAYER_CA_FILE", "/dev/zero"), "ca_file", "1 MiB"),
            (("LAYER_TRUST", "Bundled"), "trust", "set LAYER_TRUST"),
            (("LAYER_TRUST", "ca_only"), "trust", "set LAYER_CA_FILE"),
            (
                ("LAYER_ALLOW_HTTP_LOOPBACK", "yes"),
                "allow_http_loopback",
                "1",
            ),
            (
                ("HTTPS_PROXY", "ftp://user:canary@h"),
                "proxy",
                "HTTPS_PROXY",
            ),
        ] {
            let mut vars = GOOD.to_vec();
            vars.retain(|(name, _)| *name != change.0);
            vars.push(change);
            let error = match from(&vars) {
                Ok(_) => panic!("accepted {change:?}"),
                Err(error) => error,
            };
            let text = error.to_string();
            assert_eq!(error.field(), Some(field), "{change:?}: {text}");
            assert!(text.contains(remedy), "{change:?}: {text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
