//! Which proxies requests go through.

use crate::environment;
use crate::error::{Error, Result};

/// The proxies to use, already read from wherever they were given.
#[derive(Clone, Default)]
pub(crate) struct ProxyConfig {
    pub(crate) http: Option<String>,
    pub(crate) https: Option<String>,
    pub(crate) no_proxy: String,
}

/// What the builder was told.
#[derive(Clone, Default)]
pub(crate) enum ProxyChoice {
    #[default]
    Environment,
    None,
    Given(String),
}

impl ProxyChoice {
    /// Reads the environment's variables where it was told nothing.
    pub(crate) fn resolve(self, var: impl Fn(&str) -> Option<String>) -> Result<ProxyConfig> {
        let var = |upper: &str| {
            let value = var(&upper.to_ascii_lowercase()).or_else(|| var(upper));
            value.filter(|text| !text.is_empty())
        };
        let config = match self {
            Self::None => ProxyConfig::default(),
            Self::Given(url) => ProxyConfig {
                http: Some(url.clone()),
                https: Some(url),
                no_proxy: String::new(),
            },
            Self::Environment => ProxyConfig {
                // A CGI program's HTTP_PROXY comes from whoever sent the request
                // (CVE-2016-5385).
                http: (var("REQUEST_METHOD").is_none())
                    .then(|| var("HTTP_PROXY"))
                    .flatten()
                    .or_else(|| var("ALL_PROXY")),
                https: var("HTTPS_PROXY").or_else(|| var("ALL_PROXY")),
                no_proxy: var("NO_PROXY").unwrap_or_default(),
            },
        };
        for url in config.http.iter().chain(&config.https) {
            let with_scheme = if url.contains("://") {
                url.clone()
            } else {
                format!("http://{url}")
            };
            let fits = environment::parse_url(&with_scheme)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !fits {
                // Not shown: it may hold a password.
                return Err(Error::config(
                    "proxy",
                    "the proxy's URL is not valid",
                    "give http://host:port in proxy, HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
                ));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(choice: ProxyChoice, var: impl Fn(&str) -> Option<String>) -> Result<ProxyConfig> {
        choice.resolve(var)
    }

    #[test]
    fn proxies_come_from_the_environment_or_are_given() {
        let vars = |list: &'static [(&str, &str)]| {
            move |name: &str| {
                list.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            }
        };
        let config = resolve(
            ProxyChoice::Environment,
            vars(&[("https_proxy", "h:1"), ("NO_PROXY", "x")]),
        )
        .unwrap();
        assert_eq!((config.https.as_deref(), config.http), (Some("h:1"), None));
        assert_eq!(config.no_proxy, "x");
        let config = resolve(ProxyChoice::Environment, vars(&[("ALL_PROXY", "http://a")])).unwrap();
        assert_eq!(config.http.as_deref(), Some("http://a"));
        let cgi = vars(&[("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")]);
        assert!(
            resolve(ProxyChoice::Environment, cgi)
                .unwrap()
                .http
                .is_none()
        );
        let none = resolve(ProxyChoice::None, vars(&[("ALL_PROXY", "http://a")])).unwrap();
        assert!(none.http.is_none() && none.https.is_none());
    }
}
