//! Environments of Layer: API, token endpoint and scope of each.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::error::{Error, Result};
use crate::url::{Peer, Protocol, check_url};

/// One of Layer's environments, or a custom one.
///
/// Source: Layer's page "Authentication"; `production-ca` from the React library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// `sandbox`: `https://sandbox.layerfi.com`.
    Sandbox,
    /// `production`: `https://api.layerfi.com`.
    Production,
    /// `production-ca` (Canada): `https://api-ca.layerfi.com`.
    ProductionCa,
    /// `custom`: an emulator, a staging system or a proxy. `api_url`, `auth_url`
    /// and `scope` must be set.
    Custom,
}

const TOKEN_ENDPOINT: &str = "https://auth.layerfi.com/oauth2/token";

impl Environment {
    /// All environments, in the order of declaration.
    pub const ALL: [Self; 4] = [
        Self::Sandbox,
        Self::Production,
        Self::ProductionCa,
        Self::Custom,
    ];

    /// Name, as in `LAYER_ENVIRONMENT`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
            Self::ProductionCa => "production-ca",
            Self::Custom => "custom",
        }
    }

    /// Base URL of the API, without a trailing slash. `None` for custom.
    #[must_use]
    pub const fn api_url(self) -> Option<&'static str> {
        match self {
            Self::Sandbox => Some("https://sandbox.layerfi.com"),
            Self::Production => Some("https://api.layerfi.com"),
            Self::ProductionCa => Some("https://api-ca.layerfi.com"),
            Self::Custom => None,
        }
    }

    /// URL of the token endpoint. `None` for custom.
    #[must_use]
    pub const fn auth_url(self) -> Option<&'static str> {
        match self {
            Self::Sandbox | Self::Production | Self::ProductionCa => Some(TOKEN_ENDPOINT),
            Self::Custom => None,
        }
    }

    /// OAuth scope of the token request. `None` for custom.
    #[must_use]
    pub const fn scope(self) -> Option<&'static str> {
        match self {
            Self::Sandbox => Some("https://sandbox.layerfi.com/sandbox"),
            Self::Production => Some("https://api.layerfi.com/production"),
            Self::ProductionCa => Some("https://api-ca.layerfi.com/production"),
            Self::Custom => None,
        }
    }

    /// Requests per second that Layer grants a client, until a response
    /// contains another limit (Layer's page "Rate limiting").
    pub(crate) const fn requests_per_second(self) -> u32 {
        match self {
            Self::Production | Self::ProductionCa => 500,
            // The lower limit applies to an unknown system.
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
                format!(
                    "environment must be sandbox, production, production-ca or custom, got {:?}",
                    clipped(name, 40)
                ),
                "set {environment} to one of these names, in lower case",
            )
        })
    }
}

/// Text cut to a length that fits in a message.
fn clipped(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}

/// URLs and scope of one client, validated.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) environment: Environment,
    /// Without a trailing slash: paths are appended, as Layer's React library does.
    pub(crate) api_url: String,
    pub(crate) auth_url: Url,
    pub(crate) scope: String,
    /// `api_url`, parsed.
    pub(crate) base: Url,
    /// Server of `api_url`.
    pub(crate) api: Peer,
    /// Server of `auth_url`.
    pub(crate) auth: Peer,
}

impl Endpoints {
    pub(crate) fn new(
        environment: Environment,
        api_url: Option<&str>,
        auth_url: Option<&str>,
        scope: Option<&str>,
        loopback_http: bool,
    ) -> Result<Self> {
        let missing = |field: &'static str| {
            Error::config(
                field,
                format!("{field} is not set, and environment custom has no default"),
                format!(
                    "set {{{field}}}, or set {{environment}} to sandbox, production or \
                     production-ca"
                ),
            )
        };
        let api_url = api_url
            .or(environment.api_url())
            .ok_or_else(|| missing("api_url"))?;
        let auth_url = auth_url
            .or(environment.auth_url())
            .ok_or_else(|| missing("auth_url"))?;
        let scope = scope
            .or(environment.scope())
            .ok_or_else(|| missing("scope"))?;
        if scope.is_empty() || scope.bytes().any(|b| b.is_ascii_control()) {
            let what = match scope {
                "" => "scope is empty",
                _ => "scope has a control character, such as a line end",
            };
            return Err(Error::config(
                "scope",
                what,
                "set {scope} to that of your environment, such as \
                 https://sandbox.layerfi.com/sandbox",
            ));
        }
        let api_url = check_url("api_url", api_url, loopback_http)?;
        let auth_url = check_url("auth_url", auth_url, loopback_http)?;
        Ok(Self {
            environment,
            api: Peer::of(&api_url, Protocol::Https),
            auth: Peer::of(&auth_url, Protocol::Https1),
            api_url: api_url.as_str().trim_end_matches('/').to_owned(),
            base: api_url,
            auth_url,
            scope: scope.to_owned(),
        })
    }

    /// URL of a path of the API.
    pub(crate) fn api_path(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        match self.base.path().trim_end_matches('/') {
            "" => url.set_path(path),
            prefix => url.set_path(&[prefix, path].concat()),
        }
        url
    }

    /// Whether these are the unchanged values of one of Layer's own
    /// environments.
    pub(crate) fn is_layers_own(&self) -> bool {
        let environment = self.environment;
        environment.api_url() == Some(&self.api_url)
            && environment.auth_url() == Some(self.auth_url.as_str())
            && environment.scope() == Some(&self.scope)
    }

    /// Name of the environment in the table of Layer's React components, which
    /// crash on any other name. For a custom environment it follows from the
    /// scope.
    pub(crate) fn components_environment(&self) -> &'static str {
        match self.environment {
            Environment::Custom if self.scope.contains("production") => "production",
            Environment::Custom => "sandbox",
            named => named.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_their_environment() {
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
    fn trailing_slash_of_the_api_url_is_removed() {
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
    fn custom_environment_names_the_missing_setting() {
        let error = Endpoints::new(Environment::Custom, None, None, None, false).unwrap_err();
        assert_eq!(error.field(), Some("api_url"));
        assert!(error.remedy().contains("set api_url"), "{error}");
    }
}
