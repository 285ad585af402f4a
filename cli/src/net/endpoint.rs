//! The scheme, host and port that a URL leads to.

use url::Url;

use crate::failure::Failure;

/// The scheme, host and port of a URL that the engine has validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    /// As in a certificate: an IPv6 address has no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    pub(crate) fn of(url: &str) -> Result<Self, Failure> {
        let no_host = || Failure::internal("a validated URL has no host");
        let url = Url::parse(url).map_err(|_| no_host())?;
        let host = url.host_str().ok_or_else(no_host)?;
        Ok(Self {
            tls: url.scheme() == "https",
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().ok_or_else(no_host)?,
        })
    }

    /// `host:port`, as in a URL.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_scheme_host_and_port() {
        for (url, tls, host, port, authority) in [
            ("https://a.b/x", true, "a.b", 443, "a.b:443"),
            ("http://127.0.0.1:8", false, "127.0.0.1", 8, "127.0.0.1:8"),
            ("https://[::1]:9/t", true, "::1", 9, "[::1]:9"),
        ] {
            let endpoint = Endpoint::of(url).unwrap();
            assert_eq!((endpoint.tls, endpoint.port), (tls, port), "{url}");
            assert_eq!(endpoint.host, host, "{url}");
            assert_eq!(endpoint.authority(), authority, "{url}");
        }
    }
}
