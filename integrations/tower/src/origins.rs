//! The URLs to which a client's token may be sent, as in the Python package.

use url::Url;

/// The client's API, and the origins that its user added.
#[derive(Clone, Debug)]
pub(crate) struct AllowedOrigins(Vec<Url>);

impl AllowedOrigins {
    pub(crate) fn new(api_url: &str) -> Self {
        // The client has checked it.
        Self(Url::parse(api_url).into_iter().collect())
    }

    /// Adds a base URL; `None` if it is not one.
    pub(crate) fn add(&mut self, text: &str) -> Option<()> {
        let url = parse(text).filter(|url| matches!(url.scheme(), "http" | "https"))?;
        self.0.push(url);
        Some(())
    }

    /// Whether a URL has an allowed origin and is below that origin's path.
    pub(crate) fn allows(&self, text: &str) -> bool {
        parse(text).is_some_and(|url| {
            self.0.iter().any(|allowed| {
                url.origin() == allowed.origin()
                    && url
                        .path()
                        .strip_prefix(allowed.path().trim_end_matches('/'))
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
    }
}

/// Parses an absolute URL without a user name. Dots in its path are resolved.
fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (url.has_host() && url.username().is_empty() && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b19_url_outside_the_api_is_not_allowed() {
        let mut origins = AllowedOrigins::new("https://gateway.example/layer");
        origins.add("http://127.0.0.1:8080").unwrap();
        origins.add("https://mcp.example.com/mcp/").unwrap();
        for (url, is_allowed) in [
            ("https://gateway.example/layer", true),
            ("https://gateway.example/layer/v1/x?y=z", true),
            ("https://GATEWAY.example:443/layer/x", true),
            ("https://gateway.example/other", false),
            ("https://gateway.example/layers", false),
            ("https://gateway.example/layer/../other", false),
            ("https://gateway.example/layer/%2e%2e/other", false),
            ("https://gateway.example:8443/layer/x", false),
            ("http://gateway.example/layer/x", false),
            ("https://user@gateway.example/layer/x", false),
            ("https://gateway.example.evil.example/layer/x", false),
            ("https://evil.example/layer/x", false),
            ("http://127.0.0.1:8080/anything", true),
            ("http://127.0.0.1:8081/anything", false),
            ("https://mcp.example.com/mcp/b/1", true),
            ("https://mcp.example.com/", false),
            ("/layer/x", false),
            ("*", false),
        ] {
            assert_eq!(origins.allows(url), is_allowed, "url {url}");
        }
    }

    #[test]
    fn b19_origin_that_is_not_a_url_is_refused() {
        for text in [
            "",
            "*",
            "example.com",
            "/path",
            "ftp://example.com",
            "https://",
            "https://a@b.example",
        ] {
            let mut origins = AllowedOrigins::new("https://api.example");
            assert!(origins.add(text).is_none(), "{text:?} is accepted");
        }
    }
}
