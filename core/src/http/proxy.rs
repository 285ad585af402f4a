//! Choice of the proxy: from the setting or the environment variables.
//!
//! Plain HTTP is allowed to loopback only, and loopback is never reached through a
//! proxy. So `HTTP_PROXY`, the proxy for `http://` URLs, is not read.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use url::Url;

use super::no_proxy;
use crate::config::{Proxies, ProxyServer};
use crate::error::{Error, Result};
use crate::secret::SecretBuffer;
use crate::url::{host, parse_url};

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
    /// Chooses the proxy for these URLs. A variable that none of them needs is not
    /// looked at: another program on this machine may need it.
    pub(crate) fn resolve(
        self,
        urls: [&Url; 2],
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Proxies> {
        // An empty variable counts as unset.
        let var = |upper: &str| {
            let names = [upper.to_ascii_lowercase(), upper.to_owned()];
            names.into_iter().find_map(|name| {
                let value = var(&name)?.trim().to_owned();
                (!value.is_empty()).then_some((name, value))
            })
        };
        let (name, value, exempt) = match self {
            Self::None => return Ok(Proxies::default()),
            Self::Given(url) => (None, url, String::new()),
            Self::Environment => {
                let Some((name, url)) = var("HTTPS_PROXY").or_else(|| var("ALL_PROXY")) else {
                    return Ok(Proxies::default());
                };
                let exempt = var("NO_PROXY").map(|(_, list)| list).unwrap_or_default();
                (Some(name), url, exempt)
            }
        };
        let proxied: Vec<&Url> = urls
            .into_iter()
            .filter(|url| url.scheme() == "https" && !is_exempt(url, &exempt))
            .collect();
        match (parse_proxy(&value), proxied.first()) {
            (Ok(server), Some(_)) => Ok(Proxies {
                server: Some(Arc::new(server)),
                hosts: proxied.into_iter().filter_map(host_and_port).collect(),
            }),
            (Err(fault), Some(url)) if name.is_some() => Err(fault.error(name, &host(url))),
            // The program gave it, so it is checked even if it is not needed.
            (Err(fault), _) if name.is_none() => Err(fault.error(None, "")),
            _ => Ok(Proxies::default()),
        }
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// Whether a URL is reached without a proxy.
fn is_exempt(url: &Url, list: &str) -> bool {
    host_and_port(url).is_none_or(|(host, port)| {
        no_proxy::exempts(LOOPBACK, &host, port) || no_proxy::exempts(list, &host, port)
    })
}

/// What is wrong with the URL of a proxy. Its text is never kept, because it may
/// contain a password.
#[derive(Debug)]
enum Fault {
    /// The scheme, if it is one of those that proxies have.
    Scheme(Option<&'static str>),
    Url,
}

impl Fault {
    /// `name` is the environment variable that holds the URL, `to` a host that would
    /// be reached through it.
    fn error(&self, name: Option<String>, to: &str) -> Error {
        let place = name.as_deref().unwrap_or("proxy");
        let what = match self {
            Self::Scheme(Some(scheme)) => {
                format!("{place} is a {scheme}:// URL, and only http:// and https:// are supported")
            }
            Self::Scheme(None) => format!("{place} is not an http:// or https:// URL"),
            Self::Url => format!("{place} is not a valid URL"),
        };
        const FORM: &str = "http://[user:password@]host:port, with special characters in user and \
                            password percent-encoded";
        let remedy = match &name {
            Some(name) => format!("set {name} to {FORM}, or add {to} to NO_PROXY"),
            None => format!("set {{proxy}} to {FORM}"),
        };
        Error::config("proxy", what, remedy)
    }
}

/// Parses `[scheme://][user[:password]@]host[:port]`. The user name may contain a
/// backslash, as in `DOMAIN\user`.
fn parse_proxy(text: &str) -> Result<ProxyServer, Fault> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !["http", "https"]
        .map(|known| known.eq_ignore_ascii_case(scheme))
        .contains(&true)
    {
        let known = ["socks5", "socks5h", "socks4", "socks4a", "socks", "ftp"];
        let scheme = known
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(scheme));
        return Err(Fault::Scheme(scheme));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(Fault::Url)?;
    let (credentials, host) = match authority.rsplit_once('@') {
        Some((credentials, host)) => (credentials, host),
        None => ("", authority),
    };
    // The slash may belong to a password: then `host` is not the host.
    if path.contains('@') || host.contains('\\') {
        return Err(Fault::Url);
    }
    let url = parse_url(&format!("{scheme}://{host}")).map_err(|_| Fault::Url)?;
    let (Some(name), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Fault::Url);
    };
    Ok(ProxyServer {
        address: format!("{name}:{port}"),
        authorization: basic(credentials)?,
        refused: ArcSwapOption::empty(),
        url,
    })
}

/// Value of `Proxy-Authorization` (RFC 7617) from the user part of a URL.
fn basic(credentials: &str) -> Result<Option<HeaderValue>, Fault> {
    if credentials.is_empty() {
        return Ok(None);
    }
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut pair = SecretBuffer::with_capacity(credentials.len() + 1);
    for byte in percent_decode_str(user) {
        pair.push(&[byte]);
    }
    pair.push(b":");
    for byte in percent_decode_str(password) {
        pair.push(&[byte]);
    }
    pair.basic_header().map(Some).map_err(|_| Fault::Url)
}

/// Proxy in reqwest's form.
pub(super) fn reqwest_proxy(proxies: &Proxies) -> Option<reqwest::Proxy> {
    let server = proxies.server.as_ref()?;
    let of = proxies.clone();
    let proxy = reqwest::Proxy::custom(move |url| of.of(url).map(|server| server.url.clone()));
    Some(match &server.authorization {
        Some(value) => proxy.custom_http_auth(value.clone()),
        None => proxy,
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    const API: &str = "https://api.layerfi.com";
    const AUTH: &str = "https://auth.layerfi.com/oauth2/token";

    fn resolve(choice: ProxyChoice, urls: [&str; 2], vars: &[(&str, &str)]) -> Result<Proxies> {
        let urls = urls.map(|url| Url::parse(url).unwrap());
        choice.resolve([&urls[0], &urls[1]], |name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Addresses of the proxies of the API and of the token endpoint.
    fn chosen(urls: [&str; 2], vars: &[(&str, &str)]) -> [Option<String>; 2] {
        let proxies = resolve(ProxyChoice::Environment, urls, vars)
            .unwrap_or_else(|error| panic!("{vars:?}: {error}"));
        urls.map(|url| {
            let server = proxies.of(&Url::parse(url).unwrap())?;
            Some(server.address.clone())
        })
    }

    #[test]
    fn proxy_comes_from_the_setting_or_the_environment() {
        let some = |address: &str| Some(address.to_owned());
        let both = |address: &str| [some(address), some(address)];
        for (vars, expected) in [
            (&[][..], [None, None]),
            (&[("HTTPS_PROXY", "http://a:1")], both("a:1")),
            (
                &[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:1")],
                both("a:1"),
            ),
            (
                &[("https_proxy", ""), ("HTTPS_PROXY", " b:1 ")],
                both("b:1"),
            ),
            (&[("ALL_PROXY", "https://a")], both("a:443")),
            (&[("all_proxy", "a")], both("a:80")),
            (&[("HTTPS_PROXY", "a:1"), ("ALL_PROXY", "b:1")], both("a:1")),
            (&[("HTTPS_PROXY", "[::1]:1")], both("[::1]:1")),
            // The proxy of http:// URLs. In a CGI program it is the `Proxy` header of
            // the request (CVE-2016-5385).
            (&[("HTTP_PROXY", "http://a")], [None, None]),
            (
                &[("HTTPS_PROXY", "a:1"), ("NO_PROXY", "auth.layerfi.com")],
                [some("a:1"), None],
            ),
            (&[("HTTPS_PROXY", "a:1"), ("no_proxy", "*")], [None, None]),
        ] {
            assert_eq!(chosen([API, AUTH], vars), expected, "{vars:?}");
        }
        let proxies = resolve(ProxyChoice::None, [API, AUTH], &[("ALL_PROXY", "a")]).unwrap();
        assert!(proxies.server.is_none(), "no_proxy() uses a proxy");
    }

    #[test]
    fn b28_variable_that_is_not_used_is_not_judged() {
        const LOCAL: [&str; 2] = ["http://127.0.0.1:1", "https://localhost:2/t"];
        for bad in ["socks5://h:1", "ftp://h", "http://", "h:x", "::", "\u{430}"] {
            for (urls, vars) in [
                ([API, AUTH], [("HTTPS_PROXY", "a:1"), ("ALL_PROXY", bad)]),
                ([API, AUTH], [("HTTPS_PROXY", "a:1"), ("HTTP_PROXY", bad)]),
                ([API, AUTH], [("HTTPS_PROXY", bad), ("NO_PROXY", "*")]),
                (
                    [API, AUTH],
                    [("ALL_PROXY", bad), ("no_proxy", "layerfi.com")],
                ),
                (LOCAL, [("HTTPS_PROXY", bad), ("ALL_PROXY", bad)]),
            ] {
                if let Err(error) = resolve(ProxyChoice::Environment, urls, &vars) {
                    panic!("{vars:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn b28_variable_that_is_used_is_named_in_the_error() {
        for (name, value, shown) in [
            (
                "HTTPS_PROXY",
                "socks5://user:canary@h:1",
                "HTTPS_PROXY is a socks5:// URL",
            ),
            (
                "https_proxy",
                "SOCKS5H://h",
                "https_proxy is a socks5h:// URL",
            ),
            ("ALL_PROXY", "socks://h", "ALL_PROXY is a socks:// URL"),
            (
                "ALL_PROXY",
                "canary://h",
                "ALL_PROXY is not an http:// or https:// URL",
            ),
            (
                "HTTPS_PROXY",
                "http://user:canary@",
                "HTTPS_PROXY is not a valid URL",
            ),
            (
                "HTTPS_PROXY",
                "http://user:canary@h:x",
                "HTTPS_PROXY is not a valid URL",
            ),
            // The slash ends the host, so the host would be `user`.
            (
                "HTTPS_PROXY",
                "http://user:1/canary@h",
                "HTTPS_PROXY is not a valid URL",
            ),
        ] {
            // One of the two hosts is enough.
            for exempt in ["", "api.layerfi.com", "auth.layerfi.com"] {
                let vars = [(name, value), ("NO_PROXY", exempt)];
                let result = resolve(ProxyChoice::Environment, [API, AUTH], &vars);
                let error = result
                    .err()
                    .unwrap_or_else(|| panic!("{value} is accepted"));
                assert_eq!(error.field(), Some("proxy"), "{error}");
                let text = error.to_string();
                assert!(text.contains(shown), "{value}: {text}");
                assert!(text.contains(&format!("set {name} to http://")), "{text}");
                assert!(!text.contains("canary"), "{value}: {text}");
            }
            let given = resolve(ProxyChoice::Given(value.to_owned()), [API, AUTH], &[]);
            let text = given.err().unwrap().to_string();
            assert!(text.starts_with("proxy is "), "{text}");
            assert!(!text.contains("canary"), "{value}: {text}");
        }
    }

    #[test]
    fn user_and_password_of_a_proxy_are_decoded() {
        for (url, user_and_password) in [
            ("http://h", None),
            ("http://@h", None),
            ("http://user:pw@h", Some("user:pw")),
            ("user:pw@h:1", Some("user:pw")),
            ("http://user@h", Some("user:")),
            ("http://user:p%40s%3As%2F@h", Some("user:p@s:s/")),
            ("http://user:p@ss@h", Some("user:p@ss")),
            ("http://user:100%@h", Some("user:100%")),
            ("http://DOMAIN\\user:pw@h:3128", Some("DOMAIN\\user:pw")),
            ("http://DOMAIN%5Cuser:pw@h:3128", Some("DOMAIN\\user:pw")),
            ("http://us\u{e9}r:pw@h", Some("us\u{e9}r:pw")),
        ] {
            let server = parse_proxy(url).unwrap_or_else(|fault| panic!("{url}: {fault:?}"));
            assert_eq!(server.url.host_str(), Some("h"), "{url}");
            assert_eq!(server.url.username(), "", "{url}");
            let value = server.authorization.map(|value| {
                assert!(value.is_sensitive(), "{url}");
                value.to_str().unwrap().to_owned()
            });
            let expected = user_and_password.map(|pair| {
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                format!("Basic {encoded}")
            });
            assert_eq!(value, expected, "{url}");
        }
    }
}
