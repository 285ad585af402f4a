//! Checks of URLs to which credentials are sent.

use std::sync::Arc;

use url::{Host, Url};

use crate::error::{Error, Result};

/// Parses the URL of a setting and rejects one to which credentials must not be
/// sent.
pub(crate) fn check_url(field: &'static str, text: &str, loopback_http: bool) -> Result<Url> {
    // The text is not shown, because it may contain a user name and a password.
    let url = parse_url(text).map_err(|why| {
        Error::config(
            field,
            format!("{field} is not a valid URL ({why})"),
            format!(
                "set {{{field}}} to an absolute URL, such as {}",
                example(field)
            ),
        )
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(
            field,
            format!("{field} has a user name or a password"),
            "remove them from the URL: the credentials are {client_id} and {client_secret}",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::config(
            field,
            format!("{field} has a query or a fragment"),
            format!("remove what follows ? or # in {{{field}}}"),
        ));
    }
    // RFC 1035, section 2.3.4. A longer name cannot be resolved, and each error would show it.
    if url.host_str().is_some_and(|host| host.len() > 253) {
        return Err(Error::config(
            field,
            format!("{field} has a host name of more than 253 characters"),
            format!(
                "set {{{field}}} to an absolute URL, such as {}",
                example(field)
            ),
        ));
    }
    match url.scheme() {
        "https" => Ok(url),
        _ if !is_loopback(&url) => Err(Error::config(
            field,
            format!(
                "{field} is http:// to {}, which would send the secret unencrypted",
                host(&url)
            ),
            format!("use https:// in {{{field}}}; http:// is only for this machine, as 127.0.0.1"),
        )),
        _ if !loopback_http => Err(Error::config(
            field,
            format!("{field} is http://, which must be allowed explicitly, even for loopback"),
            "for an emulator on this machine, set {allow_http_loopback}; for Layer, use https://",
        )),
        _ => Ok(url),
    }
}

/// Server that requests go to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Host, and port if it is not the scheme's own, as in messages.
    pub(crate) host: Arc<str>,
    pub(crate) protocol: Protocol,
}

/// What the connections to a server speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 without TLS.
    Http,
    /// HTTP/1.1 over TLS, also if the server speaks HTTP/2: for a server that gets one
    /// request at a time. It needs fewer bytes and steps than HTTP/2.
    Https1,
    /// HTTP/2 over TLS, or HTTP/1.1 if the server does not speak it.
    Https,
}

impl Peer {
    /// Server of a URL. `over_tls` is for an `https://` URL.
    pub(crate) fn of(url: &Url, over_tls: Protocol) -> Self {
        Self {
            host: host(url).into(),
            protocol: match url.scheme() {
                "https" => over_tls,
                _ => Protocol::Http,
            },
        }
    }
}

/// URL that a setting may have.
fn example(field: &str) -> &'static str {
    match field {
        "auth_url" => "https://auth.layerfi.com/oauth2/token",
        _ => "https://sandbox.layerfi.com",
    }
}

/// Parses an absolute URL with a host of plain ASCII (RFC 3986, section 3.2.2,
/// without percent signs). The `url` crate accepts the same URLs as a browser,
/// such as `https:7/x` or letters that resemble others. With those, the secret
/// could go to the wrong host. An international name is written in its ASCII
/// form, `xn--...`.
pub(crate) fn parse_url(text: &str) -> std::result::Result<Url, &'static str> {
    if text.trim() != text {
        return Err("it starts or ends with a blank");
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("it does not start with https://")?;
    if !(scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")) {
        return Err("it does not start with https://");
    }
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.is_empty() {
        return Err("it has no host");
    }
    if !host.bytes().all(is_plain) {
        return Err("its host has characters that a host name cannot have");
    }
    Url::parse(text).map_err(|_| "its host or port is not valid")
}

/// Parses the URL of a request to which a token may be added. `None` also for a user name, and
/// for a character that HTTP clients read in different ways: with a backslash in it, a URL
/// names one host for one of them and another host for another.
pub(crate) fn parse_request_url(text: &str) -> Option<Url> {
    let is_ambiguous = |b: u8| b == b'\\' || b.is_ascii_control();
    if text.bytes().any(is_ambiguous) {
        return None;
    }
    let url = parse_url(text).ok()?;
    (url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// Whether a URL has the scheme, host and port of another, and a path below that one's.
pub(crate) fn is_below(url: &Url, base: &Url) -> bool {
    let below = url.path().strip_prefix(base.path().trim_end_matches('/'));
    url.scheme() == base.scheme()
        && url.host() == base.host()
        && url.port_or_known_default() == base.port_or_known_default()
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a URL names this machine. Names other than `localhost` are not
/// resolved: their address can change between the check and the call.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Host and port of a URL, for messages.
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
    fn b19_http_is_refused_except_for_loopback_on_request() {
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
            // Forms that only a browser accepts.
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
    fn b19_host_that_is_too_long_is_refused_with_a_short_error() {
        let long = "a.".repeat(1_000);
        for (scheme, host) in [("https", &*long), ("http", &long), ("https", &long[..254])] {
            let error = check_url("api_url", &format!("{scheme}://{host}/"), true).unwrap_err();
            assert!(error.to_string().len() < 300, "{error}");
        }
        assert!(check_url("api_url", &format!("https://{}/", &long[..253]), true).is_ok());
    }
}
