//! Options of the token endpoint.

use std::fmt;
use std::time::Duration;

use layerfi_auth::SessionDuration;

/// Eight hours, because each new token makes all components fetch their data again.
const SESSION_DURATION: u64 = 28_800;

/// A page asks again, so it should not wait for long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Options of [`layer_token_route_with`](crate::layer_token_route_with).
#[derive(Clone, Debug)]
pub struct LayerTokenOptions {
    pub(crate) session_duration: SessionDuration,
    pub(crate) timeout: Duration,
    pub(crate) allow_get: bool,
    pub(crate) origins: Vec<String>,
}

impl Default for LayerTokenOptions {
    fn default() -> Self {
        Self {
            session_duration: SessionDuration::from_secs(SESSION_DURATION).unwrap_or_default(),
            timeout: TIMEOUT,
            allow_get: false,
            origins: Vec::new(),
        }
    }
}

impl LayerTokenOptions {
    /// Sets the lifetime of the tokens: 8 hours by default, because a new token makes all
    /// components fetch their data again. A shorter one limits how long a page that was
    /// open at sign-out can still be used.
    #[must_use]
    pub fn session_duration(mut self, session_duration: SessionDuration) -> Self {
        self.session_duration = session_duration;
        self
    }

    /// Sets the longest time that an answer waits for Layer: 5 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets whether `GET` is answered too; it is not by default.
    #[must_use]
    pub fn allow_get(mut self, allow_get: bool) -> Self {
        self.allow_get = allow_get;
        self
    }

    /// Sets the origins of pages that may call the endpoint from another origin, with
    /// cookies, such as `https://app.example.com`. None by default.
    ///
    /// # Errors
    /// [`InvalidOrigin`] for a text that is not an origin. `*` is not possible, because
    /// the answer depends on the user.
    pub fn allow_origins(
        mut self,
        origins: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, InvalidOrigin> {
        self.origins.clear();
        for origin in origins {
            let origin = origin.into();
            if !is_origin(&origin) {
                return Err(InvalidOrigin { origin });
            }
            self.origins.push(origin);
        }
        Ok(self)
    }
}

/// Whether a browser may send this as `Origin`: a scheme, a host, and a port if it is not
/// the scheme's own.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"/*?#@".contains(&b))
    })
}

/// A text in [`LayerTokenOptions::allow_origins`] that is not an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin {
    origin: String,
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "allow_origins has {:?}, which is not an origin: give the page's scheme, host and \
             port, such as https://app.example.com; * is not possible, because the answer \
             depends on the user",
            self.origin
        )
    }
}

impl std::error::Error for InvalidOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b29_only_origins_can_be_allowed() {
        for (origin, is_valid) in [
            ("https://app.example.com", true),
            ("http://localhost:5173", true),
            ("http://[::1]:5173", true),
            ("*", false),
            ("null", false),
            ("", false),
            ("https://", false),
            ("https://*.example.com", false),
            ("https://app.example.com/", false),
            ("https://app.example.com/page", false),
            ("https://user@app.example.com", false),
            ("https://app.example.com?x", false),
            ("https://app.example.com\r\nx: y", false),
            ("ftp://app.example.com", false),
            ("app.example.com", false),
        ] {
            let options = LayerTokenOptions::default().allow_origins([origin]);
            assert_eq!(options.is_ok(), is_valid, "origin {origin:?}");
        }
    }

    #[test]
    fn b29_session_lasts_eight_hours_by_default() {
        let options = LayerTokenOptions::default();
        assert_eq!(
            options.session_duration.as_secs(),
            28_800,
            "session duration"
        );
    }
}
