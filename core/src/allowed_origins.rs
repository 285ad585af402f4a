//! The URLs to which a client's token may be sent.

use url::Url;

use crate::error::{Error, Result};
use crate::url::{is_below, parse_request_url};

/// The URLs to which a client's token may be sent: those below its API, and those below the
/// origins that its user added.
///
/// For code that adds a token to the requests of another HTTP client. The layer of
/// `layerfi-auth-tower`, and `layerfi_auth.auth` in Python, use it.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), layerfi_auth::Error> {
/// use layerfi_auth::AllowedOrigins;
///
/// // The URL is that of `Client::api_url`.
/// let mut origins = AllowedOrigins::new("https://sandbox.layerfi.com");
/// origins.allow("https://mcp.example.com/layer")?;
/// assert!(origins.allows("https://sandbox.layerfi.com/whoami"));
/// assert!(origins.allows("https://mcp.example.com/layer/x"));
/// assert!(!origins.allows("https://mcp.example.com/other"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AllowedOrigins {
    api_url: Box<str>,
    /// First the API's, if it is valid.
    allowed: Vec<Url>,
    added: usize,
}

impl AllowedOrigins {
    /// Allows the URLs below a client's API. A text that is not a URL allows none.
    #[must_use]
    pub fn new(api_url: &str) -> Self {
        Self {
            api_url: api_url.into(),
            allowed: parse_request_url(api_url).into_iter().collect(),
            added: 0,
        }
    }

    /// Also allows the URLs below this one, such as `https://mcp.example.com`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with the field `origins`, for a text
    /// that is not a URL with `http` or `https` and a host, or has a user name. The error
    /// does not show the text, which may contain a password.
    pub fn allow(&mut self, url: &str) -> Result<()> {
        let url = parse_request_url(url).ok_or_else(|| {
            Error::config(
                "origins",
                format!(
                    "origins[{}] is not a URL with http or https and a host, and without a \
                     user name",
                    self.added
                ),
                "write it like https://mcp.example.com",
            )
        })?;
        self.allowed.push(url);
        self.added += 1;
        Ok(())
    }

    /// Whether the token may be sent to this URL: one with the scheme, host and port of an
    /// allowed one, whose path is below that one's, after its dots are resolved.
    #[must_use]
    pub fn allows(&self, url: &str) -> bool {
        let url = parse_request_url(url);
        url.is_some_and(|url| self.allowed.iter().any(|base| is_below(&url, base)))
    }

    /// As [`allows`](Self::allows), with an error for a URL that is not allowed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) with the field `url`.
    pub fn check(&self, url: &str) -> Result<()> {
        if self.allows(url) {
            return Ok(());
        }
        Err(Error::invalid_argument(
            "url",
            format!("the request's URL is not below {}", self.api_url),
            "send it without the client's token, or add its origin to {origins}",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../../tests/allowed_origins/cases.json");

    fn texts(list: &serde_json::Value) -> Vec<&str> {
        let list = list.as_array().unwrap().iter();
        list.map(|text| text.as_str().unwrap()).collect()
    }

    #[test]
    fn b19_only_urls_below_an_allowed_one_are_allowed() {
        let table: serde_json::Value = serde_json::from_str(TABLE).unwrap();
        let mut origins = AllowedOrigins::new(table["api_url"].as_str().unwrap());
        for origin in texts(&table["added"]) {
            origins.allow(origin).unwrap();
        }
        for case in table["urls"].as_array().unwrap() {
            let url = case["url"].as_str().unwrap();
            let is_allowed = case["is_allowed"].as_bool().unwrap();
            assert_eq!(origins.allows(url), is_allowed, "url {url}");
            assert_eq!(origins.check(url).is_ok(), is_allowed, "url {url}");
        }
    }

    #[test]
    fn b19_origin_that_is_not_a_url_is_refused() {
        let table: serde_json::Value = serde_json::from_str(TABLE).unwrap();
        let mut origins = AllowedOrigins::new("https://api.example");
        origins.allow("https://one.example").unwrap();
        for text in texts(&table["not_origins"]) {
            let error = origins.allow(text).expect_err(text);
            assert_eq!(error.field(), Some("origins"), "origin {text:?}");
            assert!(error.message().starts_with("origins[1] is not a URL"));
        }
    }

    #[test]
    fn b19_api_url_that_is_not_a_url_allows_nothing() {
        let origins = AllowedOrigins::new("");
        assert!(!origins.allows("") && !origins.allows("https://api.example"));
    }
}
