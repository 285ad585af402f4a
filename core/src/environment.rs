//! Where Layer is: API, token endpoint and scope per environment.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use crate::error::{Error, Result};

/// One of Layer's environments, or one of your own.
///
/// Source: Layer's page "Authentication"; `production-ca` from the React library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// `sandbox`: `https://sandbox.layerfi.com`.
    Sandbox,
    /// `production`: `https://api.layerfi.com`.
    Production,
    /// `production-ca` (Canada): `https://api-ca.layerfi.com`.
    ProductionCa,
    /// `custom`: an emulator, a staging system, a proxy. API URL, token
    /// endpoint and scope must all be given.
    Custom,
}

const TOKEN_ENDPOINT: &str = "https://auth.layerfi.com/oauth2/token";

impl Environment {
    /// Every environment, in the order of declaration.
    pub const ALL: [Self; 4] = [
        Self::Sandbox,
        Self::Production,
        Self::ProductionCa,
        Self::Custom,
    ];

    /// The name, as in `LAYER_ENVIRONMENT`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
            Self::ProductionCa => "production-ca",
            Self::Custom => "custom",
        }
    }

    /// The API's base URL, without a slash at its end. `None` for custom.
    #[must_use]
    pub const fn api_url(self) -> Option<&'static str> {
        match self {
            Self::Sandbox => Some("https://sandbox.layerfi.com"),
            Self::Production => Some("https://api.layerfi.com"),
            Self::ProductionCa => Some("https://api-ca.layerfi.com"),
            Self::Custom => None,
        }
    }

    /// The URL of the token endpoint. `None` for custom.
    #[must_use]
    pub const fn auth_url(self) -> Option<&'static str> {
        match self {
            Self::Sandbox | Self::Production | Self::ProductionCa => Some(TOKEN_ENDPOINT),
            Self::Custom => None,
        }
    }

    /// The OAuth scope to ask for. `None` for custom.
    #[must_use]
    pub const fn scope(self) -> Option<&'static str> {
        match self {
            Self::Sandbox => Some("https://sandbox.layerfi.com/sandbox"),
            Self::Production => Some("https://api.layerfi.com/production"),
            Self::ProductionCa => Some("https://api-ca.layerfi.com/production"),
            Self::Custom => None,
        }
    }

    /// Requests per second that Layer grants a client here, until an answer
    /// tells its own limit (Layer's page "Rate limiting").
    pub(crate) const fn requests_per_second(self) -> u32 {
        match self {
            Self::Production | Self::ProductionCa => 500,
            // An unknown system gets the careful figure.
            Self::Sandbox | Self::Custom => 100,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|environment| environment.as_str() == name).ok_or_else(|| {
            Error::config(
                "environment",
                format!("environment {:?} is not known", printable(name)),
                "set environment or LAYER_ENVIRONMENT to sandbox, production, production-ca, or \
                 custom (with API URL, token endpoint and scope of your own)",
            )
        })
    }
}

/// A name that somebody typed, cut to a length that fits in a message.
fn printable(name: &str) -> String {
    name.chars().take(40).collect()
}

/// The three addresses of one client, checked.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) environment: Environment,
    /// No slash at its end: paths are appended, and Layer's React library does the same.
    pub(crate) api_url: String,
    pub(crate) auth_url: Url,
    pub(crate) scope: String,
}

impl Endpoints {
    pub(crate) fn new(
        environment: Environment,
        api_url: Option<&str>,
        auth_url: Option<&str>,
        scope: Option<&str>,
        loopback_http: bool,
    ) -> Result<Self> {
        let missing = |field: &'static str, variable: &str| {
            Error::config(
                field,
                format!("{field} is not set, and environment custom has no default"),
                format!("set {field} or {variable}"),
            )
        };
        let api_url = api_url
            .or(environment.api_url())
            .ok_or_else(|| missing("api_url", "LAYER_API_URL"))?;
        let auth_url = auth_url
            .or(environment.auth_url())
            .ok_or_else(|| missing("auth_url", "LAYER_AUTH_URL"))?;
        let scope = scope
            .or(environment.scope())
            .ok_or_else(|| missing("scope", "LAYER_SCOPE"))?;
        if scope.is_empty() || scope.bytes().any(|b| b.is_ascii_control()) {
            return Err(Error::config(
                "scope",
                "scope is empty or holds control characters",
                "use the scope of your environment, such as https://sandbox.layerfi.com/sandbox",
            ));
        }
        let api = check_url("api_url", api_url, loopback_http)?;
        Ok(Self {
            environment,
            api_url: api.as_str().trim_end_matches('/').to_owned(),
            auth_url: check_url("auth_url", auth_url, loopback_http)?,
            scope: scope.to_owned(),
        })
    }
}

/// Refuses what a credential must not be sent to.
fn check_url(field: &'static str, text: &str, loopback_http: bool) -> Result<Url> {
    // The text itself is not shown: it may hold a user name and a password.
    let url = parse_url(text).map_err(|why| {
        Error::config(
            field,
            format!("{field} is not a URL ({why})"),
            "give an absolute URL such as https://api.layerfi.com",
        )
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(
            field,
            format!("{field} holds a user name or a password"),
            "give the credentials as client_id and client_secret",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::config(
            field,
            format!("{field} holds a query or a fragment"),
            "give scheme, host, port and path only",
        ));
    }
    // RFC 1035, section 2.3.4. It would be looked up in vain, and shown in each error.
    if url.host_str().is_some_and(|host| host.len() > 253) {
        return Err(Error::config(
            field,
            format!("{field} names a host of more than 253 characters, which none has"),
            "give an absolute URL such as https://api.layerfi.com",
        ));
    }
    match url.scheme() {
        "https" => Ok(url),
        _ if !is_loopback(&url) => Err(Error::config(
            field,
            format!(
                "{field} is http:// to {}, which would send the secret in clear",
                host(&url)
            ),
            "use https://; plain HTTP is for loopback only",
        )),
        _ if !loopback_http => Err(Error::config(
            field,
            format!("{field} is http://, which must be allowed explicitly even for loopback"),
            "for an emulator, set allow_http_loopback or LAYER_ALLOW_HTTP_LOOPBACK=1",
        )),
        _ => Ok(url),
    }
}

/// Parses an absolute URL with a host of plain ASCII (RFC 3986, section 3.2.2,
/// without percent signs). `url` takes whatever a browser would: `https:7/x`, or
/// letters that look alike, which have no business in the name of who gets the
/// secret. An international name is written in its ASCII form, `xn--...`.
pub(crate) fn parse_url(text: &str) -> std::result::Result<Url, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it is not absolute")?;
    if !(scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")) {
        return Err("its scheme is neither https nor http");
    }
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return Err("its host is not plain ASCII");
    }
    Url::parse(text).map_err(|_| "its host or port is not valid")
}

/// Whether a URL names this machine. Names other than `localhost` are not
/// looked up: what they resolve to can change between the check and the call.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Host and port, for messages.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "an unnamed host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for environment in Environment::ALL {
            assert_eq!(
                environment.as_str().parse::<Environment>().unwrap(),
                environment
            );
        }
        let error = "Sandbox".parse::<Environment>().unwrap_err();
        assert_eq!(error.field(), Some("environment"));
        assert!(error.to_string().contains("production-ca"), "{error}");
    }

    #[test]
    fn b19_http_only_to_loopback_and_opted_in() {
        for (url, opted_in, accepted) in [
            ("https://api.layerfi.com", false, true),
            ("http://api.layerfi.com", true, false),
            ("http://127.0.0.1:8080", true, true),
            ("http://127.0.0.1:8080", false, false),
            ("http://127.9.9.9", true, true),
            ("http://[::1]:1", true, true),
            ("http://localhost", true, true),
            ("http://LOCALHOST", true, true),
            ("http://localhost.example.com", true, false),
            ("http://127.0.0.1.example.com", true, false),
            ("http://0.0.0.0", true, false),
            ("http://10.0.0.1", true, false),
            ("ftp://127.0.0.1", true, false),
            ("https://user:canary@api.layerfi.com", true, false),
            ("https://api.layerfi.com?x=1", true, false),
            ("https://api.layerfi.com#x", true, false),
            ("https://\u{430}pi.layerfi.com", true, false),
            ("https://xn--pi-6kc.layerfi.com", true, true),
            ("https://api.layerfi.com/\u{430}", true, true),
            // What only a browser would understand.
            ("https://%D0%B0PI.layerfi.com", true, false),
            ("https:/%D0%B0PI.layerfi.com://x", true, false),
            ("https:api.layerfi.com", true, false),
            ("https:///api.layerfi.com", true, false),
            ("https://api.layerfi.com:99999", true, false),
            (" https://api.layerfi.com", true, false),
            ("file://\u{430}PI@api.layerfi.com/", true, false),
            ("HTTPS://API.layerfi.com", true, true),
            ("api.layerfi.com", true, false),
            ("", true, false),
        ] {
            let result = check_url("api_url", url, opted_in);
            assert_eq!(result.is_ok(), accepted, "{url} {opted_in} {result:?}");
            if let Err(error) = result {
                assert_eq!(error.field(), Some("api_url"));
                assert!(!error.to_string().contains("canary"), "{error}");
            }
        }
    }

    #[test]
    fn a_host_that_no_name_can_have_is_refused_in_few_words() {
        let long = "a.".repeat(1_000);
        for (scheme, host) in [("https", &*long), ("http", &long), ("https", &long[..254])] {
            let error = check_url("api_url", &format!("{scheme}://{host}/"), true).unwrap_err();
            assert!(error.to_string().len() < 300, "{error}");
        }
        assert!(check_url("api_url", &format!("https://{}/", &long[..253]), true).is_ok());
    }

    #[test]
    fn the_slash_at_the_end_goes() {
        let endpoints = Endpoints::new(
            Environment::Custom,
            Some("https://example.com/layer/"),
            Some("https://example.com/t"),
            Some("s"),
            false,
        )
        .unwrap();
        assert_eq!(endpoints.api_url, "https://example.com/layer");
    }

    #[test]
    fn custom_names_what_is_missing() {
        let error = Endpoints::new(Environment::Custom, None, None, None, false).unwrap_err();
        assert_eq!(error.field(), Some("api_url"));
        assert!(error.to_string().contains("LAYER_API_URL"), "{error}");
    }
}
