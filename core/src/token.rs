//! Access tokens, business tokens, and what identifies them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::business_id::BusinessId;
use crate::clock::Now;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretBuffer};

/// The longest life a token is believed to have, whatever `expires_in` says.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A longer token than this is no token: headers of 16 KiB and more are
/// refused by most servers.
const LONGEST_TOKEN: usize = 16 * 1024;

const BEARER: &[u8] = b"Bearer ";

/// Refuses what no server should have sent as `access_token`.
pub(crate) fn check_access_token(access_token: &str) -> Result<(), &'static str> {
    if access_token.is_empty() {
        return Err("access_token is empty");
    }
    if access_token.len() > LONGEST_TOKEN {
        return Err("access_token is longer than 16 KiB");
    }
    // RFC 6750 section 2.1 allows b64token; every visible ASCII character
    // is let through, since the token is opaque, and nothing else.
    // (Folded, not `all`: without a way out the loop is vectorized. It was a
    // third of what a token request costs beside its HTTP.)
    let unfit = |unfit, b: u8| unfit | !b.is_ascii_graphic();
    if access_token.bytes().fold(false, unfit) {
        return Err("access_token holds characters that a header cannot carry");
    }
    Ok(())
}

/// A bearer token (RFC 6750) with its ready header value.
struct Bearer {
    /// `Bearer <token>` and a NUL, which C's strings end with; the others are views on it.
    text: Secret,
    header: HeaderValue,
    token: Secret,
    lifetime: Duration,
    expires_at: SystemTime,
}

impl Bearer {
    /// Takes what a server sent as `access_token`. Refuses what would not be
    /// safe in a header.
    fn new(
        access_token: &str,
        requested_at: Now,
        lifetime: Duration,
    ) -> Result<Self, &'static str> {
        check_access_token(access_token)?;
        let length = BEARER.len() + access_token.len();
        let mut text = SecretBuffer::with_capacity(length + 1);
        text.push(BEARER);
        text.push(access_token.as_bytes());
        text.push(b"\0");
        let text = text.into_secret().ok_or("access_token is not text")?;
        let value = text.slice(0..length);
        let mut header = HeaderValue::from_maybe_shared(value.bytes())
            .map_err(|_| "access_token holds characters that a header cannot carry")?;
        // Kept out of HPACK's dynamic table and of `Debug`.
        header.set_sensitive(true);
        Ok(Self {
            header,
            token: value.slice(BEARER.len()..length),
            text,
            lifetime,
            expires_at: requested_at.system_time() + lifetime,
        })
    }

    fn remaining(&self) -> Duration {
        self.expires_at
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }
}

/// An access token for the Layer API, as acquired with client credentials.
///
/// A clone is one reference more. The token is wiped from memory when the last
/// goes. `Debug` shows its expiry and never the token.
#[derive(Clone)]
pub struct AccessToken(Arc<Bearer>);

impl AccessToken {
    pub(crate) fn new(
        access_token: &str,
        requested_at: Now,
        lifetime: Duration,
    ) -> Result<Self, &'static str> {
        Bearer::new(access_token, requested_at, lifetime).map(|bearer| Self(Arc::new(bearer)))
    }

    /// The token itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.0.token.expose()
    }

    /// The value of the `Authorization` header, made once and marked sensitive.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.0.header
    }

    /// [`authorization`](Self::authorization) with a NUL behind it, for callers
    /// in C: the token begins after `Bearer `. No other NUL is in it.
    #[must_use]
    pub fn authorization_with_nul(&self) -> &[u8] {
        self.0.text.as_ref()
    }

    /// The life that the server gave it, counted from before it was requested.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.0.lifetime
    }

    /// When it expires by the wall clock, counted from before it was requested.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }

    /// How much life is left, by the wall clock.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.remaining()
    }

    pub(crate) fn shared_secret(&self) -> Secret {
        self.0.token.clone()
    }
}

/// Whether the two are one and the same token.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.token == other.0.token
    }
}

impl Eq for AccessToken {}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("secret", &self.0.token)
            .field("expires_at", &self.0.expires_at)
            .finish()
    }
}

/// A token for one business, to be handed to a browser or a mobile app.
///
/// A clone is one reference more. `Debug` never shows the token.
#[derive(Clone)]
pub struct BusinessToken(Arc<BusinessTokenInner>);

struct BusinessTokenInner {
    bearer: Bearer,
    business_id: BusinessId,
    session_duration: SessionDuration,
}

impl BusinessToken {
    pub(crate) fn new(
        access_token: &str,
        business_id: BusinessId,
        session_duration: SessionDuration,
        requested_at: Now,
        lifetime: Duration,
    ) -> Result<Self, &'static str> {
        Ok(Self(Arc::new(BusinessTokenInner {
            bearer: Bearer::new(access_token, requested_at, lifetime)?,
            business_id,
            session_duration,
        })))
    }

    /// The token itself, for `businessAccessToken` of `<LayerProvider>`.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.0.bearer.token.expose()
    }

    /// The value of the `Authorization` header, made once and marked sensitive.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.0.bearer.header
    }

    /// [`authorization`](Self::authorization) with a NUL behind it, for callers
    /// in C: the token begins after `Bearer `. No other NUL is in it.
    #[must_use]
    pub fn authorization_with_nul(&self) -> &[u8] {
        self.0.bearer.text.as_ref()
    }

    /// The business that it is good for.
    #[must_use]
    pub fn business_id(&self) -> &BusinessId {
        &self.0.business_id
    }

    /// The session duration that was asked for.
    #[must_use]
    pub fn session_duration(&self) -> SessionDuration {
        self.0.session_duration
    }

    /// The life that the server gave it, counted from before it was requested.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.0.bearer.lifetime
    }

    /// When it expires by the wall clock, counted from before it was requested.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.0.bearer.expires_at
    }

    /// How much life is left, by the wall clock.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.bearer.remaining()
    }
}

/// Whether the two are one and the same token.
impl PartialEq for BusinessToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.bearer.token == other.0.bearer.token
    }
}

impl Eq for BusinessToken {}

impl fmt::Debug for BusinessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusinessToken")
            .field("business_id", &self.0.business_id)
            .field("session_duration", &self.0.session_duration)
            .field("secret", &self.0.bearer.token)
            .field("expires_at", &self.0.bearer.expires_at)
            .finish()
    }
}

/// How long a business token is to live: 1 to 86,400 whole seconds, 3,600 by
/// default (Layer's page "Create business auth token").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionDuration(u32);

impl SessionDuration {
    /// One day, the longest that Layer grants.
    pub const MAX: Self = Self(86_400);

    /// Checks a number of seconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) outside 1..=86400.
    pub fn from_secs(seconds: u64) -> Result<Self> {
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=86_400) => Ok(Self(seconds)),
            _ => Err(Error::invalid_argument(
                "session_duration",
                format!("session_duration is {seconds} seconds"),
                "use 1 to 86400 seconds",
            )),
        }
    }

    /// The seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl Default for SessionDuration {
    fn default() -> Self {
        Self(3_600)
    }
}

/// Who the credentials belong to, as `GET /whoami` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoAmI {
    /// The client's name, as Layer knows it.
    pub client_name: String,
    /// The client's id, a UUID.
    pub client_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        mono: 1,
        wall: 1_000_000_000,
    };

    fn access(text: &str) -> Result<AccessToken, &'static str> {
        AccessToken::new(text, NOW, Duration::from_secs(60))
    }

    #[test]
    fn b01_the_header_is_ready_and_sensitive() {
        let token = access("abc.def").unwrap();
        assert_eq!(token.secret(), "abc.def");
        assert_eq!(token.authorization().as_bytes(), b"Bearer abc.def");
        assert_eq!(token.authorization_with_nul(), b"Bearer abc.def\0");
        assert!(token.authorization().is_sensitive());
        assert_eq!(
            token.expires_at(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(61)
        );
    }

    #[test]
    fn b20_tokens_unfit_for_a_header_are_refused() {
        for bad in [
            "",
            "a b",
            "a\r\nx: y",
            "a\0b",
            "ä",
            "a\x7f",
            &"x".repeat(16 * 1024 + 1),
        ] {
            assert!(access(bad).is_err(), "{bad:?}");
        }
        assert!(access(&"x".repeat(16 * 1024)).is_ok());
    }

    #[test]
    fn b20_debug_is_redacted() {
        let token = access("canary-token").unwrap();
        assert!(!format!("{token:?} {:?}", token.authorization()).contains("canary"));
        let business = BusinessToken::new(
            "canary-token",
            "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap(),
            SessionDuration::default(),
            NOW,
            Duration::from_secs(60),
        )
        .unwrap();
        assert!(!format!("{business:?} {:?}", business.authorization()).contains("canary"));
    }

    #[test]
    fn b18_session_durations() {
        for (seconds, fits) in [
            (0, false),
            (1, true),
            (3_600, true),
            (86_400, true),
            (86_401, false),
            (u64::from(u32::MAX) + 2, false),
            (u64::MAX, false),
        ] {
            assert_eq!(
                SessionDuration::from_secs(seconds).is_ok(),
                fits,
                "{seconds}"
            );
        }
        let error = SessionDuration::from_secs(0).unwrap_err();
        assert_eq!(error.field(), Some("session_duration"));
    }
}
