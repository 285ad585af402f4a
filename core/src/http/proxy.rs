//! Proxies of the HTTP client.

use crate::config::Proxies;
use crate::error::{Error, Result};
use crate::url::parse_url;

/// Hosts that are never reached through a proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Proxy setting of the builder.
#[derive(Clone, Default)]
pub(crate) enum ProxyChoice {
    #[default]
    Environment,
    None,
    Given(String),
}

impl ProxyChoice {
    /// Proxies to use; reads the environment variables if none was set.
    pub(crate) fn resolve(self, var: impl Fn(&str) -> Option<String>) -> Result<Proxies> {
        let var = |upper: &str| {
            let value = var(&upper.to_ascii_lowercase()).or_else(|| var(upper));
            value.filter(|text| !text.is_empty())
        };
        let config = match self {
            Self::None => Proxies::default(),
            Self::Given(url) => Proxies {
                http: Some(url.clone()),
                https: Some(url),
                no_proxy: String::new(),
            },
            Self::Environment => Proxies {
                // In a CGI program HTTP_PROXY is the `Proxy` header of the request
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
            let fits = parse_url(&with_scheme)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !fits {
                // The value is not shown, because it may contain a password.
                return Err(Error::config(
                    "proxy",
                    "the proxy URL is not valid",
                    "give http://host:port in proxy, HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
                ));
            }
        }
        Ok(config)
    }
}

/// Proxies in reqwest's form.
pub(super) fn reqwest_proxies(proxies: &Proxies) -> Result<Vec<reqwest::Proxy>> {
    let no_proxy = format!("{},{LOOPBACK}", proxies.no_proxy);
    let made = [
        proxies.http.as_deref().map(reqwest::Proxy::http),
        proxies.https.as_deref().map(reqwest::Proxy::https),
    ];
    made.into_iter()
        .flatten()
        .map(|proxy| match proxy {
            Ok(proxy) => Ok(proxy.no_proxy(reqwest::NoProxy::from_string(&no_proxy))),
            // `resolve` has checked the URL. The error does not show it,
            // because it may contain a password.
            Err(_) => Err(Error::config(
                "proxy",
                "the proxy URL is not valid",
                "give http://host:port",
            )),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(choice: ProxyChoice, var: impl Fn(&str) -> Option<String>) -> Result<Proxies> {
        choice.resolve(var)
    }

    #[test]
    fn proxies_come_from_the_setting_or_the_environment() {
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
