//! What there is to connect to.

use url::Url;

use crate::failure::Failure;

/// Scheme, host and port of a URL that the engine has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tls: bool,
    /// As in a certificate: an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    pub(crate) fn of(url: &str) -> Result<Self, Failure> {
        let unfit = || Failure::internal("a checked URL has no host");
        let url = Url::parse(url).map_err(|_| unfit())?;
        let host = url.host_str().ok_or_else(unfit)?;
        Ok(Self {
            tls: url.scheme() == "https",
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().ok_or_else(unfit)?,
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
    fn urls_are_taken_apart() {
        for (url, tls, host, port, authority) in [
            ("https://a.b/x", true, "a.b", 443, "a.b:443"),
            ("http://127.0.0.1:8", false, "127.0.0.1", 8, "127.0.0.1:8"),
            ("https://[::1]:9/t", true, "::1", 9, "[::1]:9"),
        ] {
            let place = Place::of(url).unwrap();
            assert_eq!((place.tls, place.port), (tls, port), "{url}");
            assert_eq!(place.host, host);
            assert_eq!(place.authority(), authority);
        }
    }
}
