//! Access check of the control API: local programs and the console, no other web
//! pages.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests of web pages, except for the console's:
///
/// - a `Host` that is not loopback, which happens with DNS rebinding;
/// - an `Origin` other than the console's own, which is the `Host`. A browser sends
///   it with every request that could change something;
/// - a request with that `Origin`, and a body that is not JSON, which a form could
///   send;
/// - a request that the browser says comes from another site, unless
///   `may_be_linked`: a page that anybody may open.
pub(crate) fn check(headers: &HeaderMap, may_be_linked: bool) -> Result<(), &'static str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    if !is_loopback(host) {
        return Err("the header Host must be localhost or a loopback address");
    }
    if headers.contains_key(ORIGIN) {
        let own = text(ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        if own.is_none_or(|origin| !origin.eq_ignore_ascii_case(host)) {
            return Err("the control API refuses requests of other web pages (header Origin)");
        }
        let is_json = |value: &str| value.starts_with("application/json");
        if headers.contains_key(CONTENT_TYPE) && !text(CONTENT_TYPE).is_some_and(is_json) {
            return Err("a web page must send the content type application/json");
        }
    }
    if !may_be_linked && !matches!(text(SEC_FETCH_SITE), None | Some("same-origin" | "none")) {
        return Err("the control API refuses requests of other web pages (Sec-Fetch-Site)");
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        check(&map, false).is_ok()
    }

    #[test]
    fn host_that_is_not_loopback_is_refused() {
        for allowed in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_loopback(allowed), "host {allowed:?} must be accepted");
        }
        for bad in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "localhost.evil:1",
        ] {
            assert!(!is_loopback(bad), "host {bad:?} must be refused");
            let origin = format!("http://{bad}");
            assert!(
                !accepted(&[("host", bad), ("origin", &origin)]),
                "host {bad:?} must be refused, although its page sends the request"
            );
        }
    }

    #[test]
    fn request_of_another_page_is_refused_and_of_the_console_accepted() {
        let host = ("host", "127.0.0.1:8444");
        assert!(accepted(&[host]), "a program must be accepted");
        for origin in [
            "null",
            "",
            "http://evil.example",
            "https://127.0.0.1:8444",
            "http://127.0.0.1:3000",
            "http://localhost:8444",
            "http://127.0.0.1:8444.evil.example",
        ] {
            assert!(
                !accepted(&[host, ("origin", origin)]),
                "origin {origin:?} must be refused"
            );
        }
        let own = ("origin", "http://127.0.0.1:8444");
        let json = ("content-type", "application/json; charset=utf-8");
        assert!(accepted(&[host, own]), "the console must be accepted");
        assert!(accepted(&[host, own, json]), "JSON must be accepted");
        let form = ("content-type", "text/plain");
        assert!(!accepted(&[host, own, form]), "a form must be refused");
        assert!(accepted(&[host, form]), "a program may send any type");
    }

    #[test]
    fn request_from_another_site_is_refused_except_for_a_page_to_open() {
        let host = ("host", "127.0.0.1:8444");
        for (site, expected) in [
            ("none", true),
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            assert_eq!(
                accepted(&[host, ("sec-fetch-site", site)]),
                expected,
                "wrong decision for Sec-Fetch-Site {site}"
            );
        }
        let mut linked = HeaderMap::new();
        linked.insert(HOST, "localhost:1".parse().unwrap());
        linked.insert(SEC_FETCH_SITE, "cross-site".parse().unwrap());
        assert!(check(&linked, true).is_ok(), "a link must open the console");
    }
}
