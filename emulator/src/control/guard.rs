//! Access check of the control API: local programs only, no web pages.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

/// Refuses requests of web pages, which have an `Origin`, and requests whose
/// `Host` is not loopback, which happens with DNS rebinding.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(ORIGIN) {
        return Err("the control API refuses requests of web pages (header Origin)");
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    if is_loopback(host) {
        Ok(())
    } else {
        Err("the header Host must be localhost or a loopback address")
    }
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
        }
    }

    #[test]
    fn request_with_any_origin_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        assert!(
            check(&headers).is_ok(),
            "a request without Origin must be accepted"
        );
        headers.insert(ORIGIN, "null".parse().unwrap());
        assert!(
            check(&headers).is_err(),
            "a request with Origin must be refused"
        );
    }
}
