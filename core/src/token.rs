//! Access tokens and business tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use serde::Serialize;

use crate::business_id::BusinessId;
use crate::environment::Endpoints;
use crate::error::Result;
use crate::layer_provider_props::LayerProviderProps;
use crate::layer_session::{LayerSession, Parts};
use crate::secret::{Secret, SecretBuffer};
use crate::session_duration::SessionDuration;
use crate::sys::clock::{Clock, Now};

/// The longest lifetime of a token. A longer `expires_in` is limited to this.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest access token, in bytes. Most servers reject headers of 16 KiB and
/// more.
const MAX_TOKEN: usize = 16 * 1024;

const BEARER: &str = "Bearer ";

/// Rejects an `access_token` that no server should send.
pub(crate) fn check_access_token(access_token: &str) -> Result<(), &'static str> {
    if access_token.is_empty() {
        return Err("access_token is empty");
    }
    if access_token.len() > MAX_TOKEN {
        return Err("access_token is longer than 16 KiB");
    }
    // RFC 6750 section 2.1 allows b64token. All printable ASCII characters are
    // accepted, because the token is opaque; all others are rejected. (`fold`
    // and not `all`: a loop without an exit is vectorized.)
    let invalid = |invalid, b: u8| invalid | !b.is_ascii_graphic();
    if access_token.bytes().fold(false, invalid) {
        return Err("access_token contains characters that are not allowed in a header");
    }
    Ok(())
}

/// Share of a business token's lifetime that must be left when a call returns it, unless
/// the caller requires another minimum.
pub(crate) const RESERVE: f64 = 0.5;

/// Lifetime of a token, by the clocks of its client.
#[derive(Clone)]
pub(crate) struct Life {
    /// Read before the request was sent, because the server may count the
    /// lifetime from then.
    pub(crate) requested_at: Now,
    pub(crate) lifetime: Duration,
    pub(crate) clock: Clock,
}

/// Bearer token (RFC 6750) with its header value.
struct Bearer {
    /// `Bearer <token>` and a NUL, which ends C strings; `header` and `token` are
    /// views of it.
    text: Secret,
    header: HeaderValue,
    token: Secret,
    life: Life,
}

impl Bearer {
    /// Makes a token from the `access_token` of a response, which has been
    /// [checked](check_access_token).
    fn new(access_token: &str, life: Life) -> Result<Self, &'static str> {
        debug_assert!(check_access_token(access_token).is_ok());
        let length = BEARER.len() + access_token.len();
        let text = Secret::concat(&[BEARER, access_token, "\0"]);
        let value = text.slice(0..length);
        let mut header = HeaderValue::from_maybe_shared(value.bytes())
            .map_err(|_| "access_token contains characters that are not allowed in a header")?;
        // Keeps the value out of HPACK's dynamic table and out of `Debug`.
        header.set_sensitive(true);
        Ok(Self {
            header,
            token: value.slice(BEARER.len()..length),
            text,
            life,
        })
    }

    fn expires_at(&self) -> SystemTime {
        self.life.requested_at.system_time() + self.life.lifetime
    }

    fn remaining(&self) -> Duration {
        let age = self.life.clock.now().age(self.life.requested_at);
        self.life.lifetime.saturating_sub(Duration::from_nanos(age))
    }
}

/// Methods that both kinds of token have.
macro_rules! bearer_methods {
    ($bearer:ident) => {
        /// Value of the `Authorization` header, made once and marked sensitive.
        #[must_use]
        pub fn authorization(&self) -> &HeaderValue {
            &self.$bearer().header
        }

        /// [`authorization`](Self::authorization) followed by a NUL, for callers in
        /// C: the token begins after `Bearer `. The text has no other NUL.
        #[must_use]
        pub fn authorization_with_nul(&self) -> &[u8] {
            self.$bearer().text.as_ref()
        }

        /// Lifetime that the server granted, from just before the token was
        /// requested.
        #[must_use]
        pub fn expires_in(&self) -> Duration {
            self.$bearer().life.lifetime
        }

        /// Expiry by the wall clock. The lifetime counts from just before the
        /// request.
        #[must_use]
        pub fn expires_at(&self) -> SystemTime {
            self.$bearer().expires_at()
        }

        /// Remaining lifetime: the lesser of the values by the monotonic and
        /// the wall clock. Zero after the expiry.
        #[must_use]
        pub fn remaining(&self) -> Duration {
            self.$bearer().remaining()
        }

        /// Whether `text` is this token, alone or as the value of an
        /// `Authorization` header. The duration depends only on the length.
        #[must_use]
        pub fn is(&self, text: &str) -> bool {
            let bearer = self.$bearer();
            let token = match text.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
                _ => text.trim(),
            };
            bearer.token.equals(token.as_bytes())
        }

        pub(crate) fn shared_secret(&self) -> Secret {
            self.$bearer().token.clone()
        }
    };
}

/// Access token for the Layer API, obtained with client credentials.
///
/// Clones share one token, which is wiped from memory when the last one is
/// dropped. `Debug` shows its expiry and never the token.
#[derive(Clone)]
pub struct AccessToken(Arc<Bearer>);

impl AccessToken {
    pub(crate) fn new(access_token: &str, life: Life) -> Result<Self, &'static str> {
        Bearer::new(access_token, life).map(|bearer| Self(Arc::new(bearer)))
    }

    fn bearer(&self) -> &Bearer {
        &self.0
    }

    /// The token itself. The caller must keep it out of logs and error messages.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.0.token.expose()
    }

    bearer_methods!(bearer);
}

/// Whether both are the same token.
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
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

/// Token for one business, for a browser or a mobile app.
///
/// Clones share one token, which is wiped from memory when the last one is
/// dropped. `Debug` never shows the token.
#[derive(Clone)]
pub struct BusinessToken(Arc<BusinessTokenInner>);

struct BusinessTokenInner {
    bearer: Bearer,
    business_id: BusinessId,
    session_duration: SessionDuration,
    endpoints: Arc<Endpoints>,
}

impl BusinessToken {
    pub(crate) fn new(
        access_token: &str,
        business_id: BusinessId,
        session_duration: SessionDuration,
        life: Life,
        endpoints: Arc<Endpoints>,
    ) -> Result<Self, &'static str> {
        Ok(Self(Arc::new(BusinessTokenInner {
            bearer: Bearer::new(access_token, life)?,
            business_id,
            session_duration,
            endpoints,
        })))
    }

    fn bearer(&self) -> &Bearer {
        &self.0.bearer
    }

    /// The token itself, for `businessAccessToken` of `<LayerProvider>`.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.0.bearer.token.expose()
    }

    bearer_methods!(bearer);

    /// Business that the token is for.
    #[must_use]
    pub fn business_id(&self) -> &BusinessId {
        &self.0.business_id
    }

    /// Session duration that was requested.
    #[must_use]
    pub fn session_duration(&self) -> SessionDuration {
        self.0.session_duration
    }

    /// The token as a JSON object, for the response of an endpoint that a page gets
    /// its token from: `access_token`, `token_type`, `expires_in` (the whole seconds
    /// that are left now), `expires_at` (RFC 3339) and `business_id`. It is wiped
    /// from memory when it is dropped.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        #[derive(Serialize)]
        struct Answer<'a> {
            access_token: &'a str,
            token_type: &'a str,
            expires_in: u64,
            expires_at: String,
            business_id: &'a str,
        }

        SecretBuffer::json(&Answer {
            access_token: self.secret(),
            token_type: "Bearer",
            expires_in: self.remaining().as_secs(),
            expires_at: rfc3339(self.expires_at()),
            business_id: self.business_id().as_str(),
        })
    }

    /// Props of `<LayerProvider>` of `@layerfi/components`, for the page that gets
    /// this token. They serialize to JSON and contain the token.
    #[must_use]
    pub fn layer_provider_props(&self) -> LayerProviderProps<'_> {
        LayerProviderProps::new(
            self.0.business_id.as_str(),
            self.secret(),
            &self.0.endpoints,
        )
    }
}

impl BusinessToken {
    /// What a page needs to show Layer's components and to renew this token: the token,
    /// its remaining lifetime, when to ask for another one, and the props of
    /// `<LayerProvider>`.
    #[must_use]
    pub fn session(&self) -> LayerSession<'_> {
        let life = &self.0.bearer.life;
        let renew_at = life.lifetime.mul_f64(1.0 - RESERVE);
        let age = Duration::from_nanos(life.clock.now().age(life.requested_at));
        let parts = Parts {
            remaining: self.remaining(),
            expires_at: rfc3339(self.expires_at()),
            session_duration: self.session_duration().as_secs(),
            renew_in: renew_at.saturating_sub(age),
        };
        LayerSession::new(
            self.secret(),
            self.business_id().as_str(),
            self.layer_provider_props(),
            parts,
        )
    }
}

/// A point in time, such as `2026-11-26T20:08:01Z`. HTTP writes the same one as
/// `Thu, 26 Nov 2026 20:08:01 GMT`.
fn rfc3339(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // The years from 1970 to 9999 have an HTTP date.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let date = httpdate::fmt_http_date(at.clamp(SystemTime::UNIX_EPOCH, last));
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, time) = (word(), word(), word(), word());
    let month = 1 + MONTHS.iter().take_while(|known| **known != month).count();
    format!("{year}-{month:02}-{day}T{time}Z")
}

/// Whether both are the same token.
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
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::sys::clock::TestClock;

    fn life(seconds: u64, clock: &TestClock) -> Life {
        let clock = Clock::Test(clock.clone());
        Life {
            requested_at: clock.now(),
            lifetime: Duration::from_secs(seconds),
            clock,
        }
    }

    fn access(text: &str) -> Result<AccessToken, &'static str> {
        AccessToken::new(text, life(60, &TestClock::new()))
    }

    #[test]
    fn b01_header_is_ready_and_sensitive() {
        let clock = TestClock::new();
        let token = AccessToken::new("abc.def", life(60, &clock)).unwrap();
        assert_eq!(token.secret(), "abc.def");
        assert_eq!(token.authorization().as_bytes(), b"Bearer abc.def");
        assert_eq!(token.authorization_with_nul(), b"Bearer abc.def\0");
        assert!(token.authorization().is_sensitive());
        assert_eq!(
            token.expires_at(),
            clock.system_time() + Duration::from_secs(60)
        );
    }

    #[test]
    fn b09_remaining_life_follows_both_clocks() {
        let seconds = Duration::from_secs;
        for (change, left, what) in [
            ((|_| {}) as fn(&TestClock), 3_600, "a new token"),
            (
                |clock| clock.advance(Duration::from_secs(600)),
                3_000,
                "ten minutes later",
            ),
            (
                |clock| clock.set_wall_back(Duration::from_secs(7_200)),
                3_600,
                "a wall clock set back",
            ),
            (
                |clock| {
                    clock.set_wall_back(Duration::from_secs(7_200));
                    clock.advance(Duration::from_secs(600));
                },
                3_000,
                "ten minutes after a wall clock was set back",
            ),
            (
                |clock| clock.suspend(Duration::from_secs(600)),
                3_000,
                "a suspended machine",
            ),
            (
                |clock| clock.advance(Duration::from_secs(9_000)),
                0,
                "an expired token",
            ),
        ] {
            let clock = TestClock::new();
            let token = AccessToken::new("t", life(3_600, &clock)).unwrap();
            change(&clock);
            assert_eq!(token.remaining(), seconds(left), "{what}");
        }
    }

    #[test]
    fn b11_token_is_recognized_by_its_text_or_header() {
        let token = access("abc.def").unwrap();
        for (text, is_it) in [
            ("abc.def", true),
            ("Bearer abc.def", true),
            ("bearer  abc.def ", true),
            ("abc.de", false),
            ("Basic abc.def", false),
            ("Bearer", false),
            ("", false),
        ] {
            assert_eq!(token.is(text), is_it, "{text:?}");
        }
    }

    #[test]
    fn b20_token_that_is_invalid_in_a_header_is_refused() {
        for bad in [
            "",
            "a b",
            "a\r\nx: y",
            "a\0b",
            "ä",
            "a\x7f",
            &"x".repeat(16 * 1024 + 1),
        ] {
            assert!(check_access_token(bad).is_err(), "{bad:?} is accepted");
        }
        let longest = "x".repeat(16 * 1024);
        assert!(check_access_token(&longest).is_ok(), "16 KiB are refused");
        assert!(access(&longest).is_ok(), "16 KiB are refused");
    }

    #[test]
    fn points_in_time_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_795_723_681, "2026-11-26T20:08:01Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (300_000_000_000, "9999-12-31T23:59:59Z"),
        ] {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(at), text);
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339(before), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn json_of_a_business_token_has_what_is_left_of_its_life() {
        let clock = TestClock::new();
        let endpoints = Endpoints::new(Environment::Sandbox, None, None, None, false).unwrap();
        let id = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
        let token = BusinessToken::new(
            "abc.\"def",
            id.parse().unwrap(),
            SessionDuration::default(),
            life(3_600, &clock),
            Arc::new(endpoints),
        )
        .unwrap();
        clock.advance(Duration::from_millis(600_500));
        let json: serde_json::Value = serde_json::from_str(token.to_json().expose()).unwrap();
        let expected = serde_json::json!({
            "access_token": "abc.\"def",
            "token_type": "Bearer",
            "expires_in": 2_999,
            "expires_at": rfc3339(token.expires_at()),
            "business_id": id,
        });
        assert_eq!(json, expected);
        assert!(!format!("{:?}", token.to_json()).contains("abc"));
    }

    #[test]
    fn b29_session_tells_a_page_when_to_renew() {
        let clock = TestClock::new();
        let endpoints = Endpoints::new(Environment::Sandbox, None, None, None, false).unwrap();
        let id = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
        let token = BusinessToken::new(
            "abc.\"def",
            id.parse().unwrap(),
            SessionDuration::from_secs(28_800).unwrap(),
            life(3_601, &clock),
            Arc::new(endpoints),
        )
        .unwrap();
        // The server granted less than was requested. Half of it is 1,800.5 s.
        for (age_ms, expires_in, renew_in) in [
            (0, 3_601, 1_801),
            (500, 3_600, 1_800),
            (1_800_001, 1_800, 1),
            (1_800_500, 1_800, 0),
            (3_600_999, 0, 0),
            (9_000_000, 0, 0),
        ] {
            let (before, at) = (clock.system_time(), Duration::from_millis(age_ms));
            let start = token.expires_at() - Duration::from_secs(3_601);
            clock.advance((start + at).duration_since(before).unwrap());
            let session = token.session();
            let json: serde_json::Value = serde_json::from_str(session.to_json().expose()).unwrap();
            let expected = serde_json::json!({
                "access_token": "abc.\"def",
                "token_type": "Bearer",
                "expires_in": expires_in,
                "expires_at": rfc3339(token.expires_at()),
                "business_id": id,
                "session_duration": 28_800,
                "renew_in": renew_in,
                "layer_provider_props": {
                    "businessId": id,
                    "businessAccessToken": "abc.\"def",
                    "environment": "sandbox",
                },
            });
            assert_eq!(json, expected, "after {age_ms} ms");
            assert!(!format!("{session:?}").contains("abc"), "a token is shown");
        }
    }

    #[test]
    fn b20_debug_is_redacted() {
        let token = access("canary-token").unwrap();
        assert!(!format!("{token:?} {:?}", token.authorization()).contains("canary"));
        let endpoints = Endpoints::new(Environment::Sandbox, None, None, None, false).unwrap();
        let business = BusinessToken::new(
            "canary-token",
            "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap(),
            SessionDuration::default(),
            life(60, &TestClock::new()),
            Arc::new(endpoints),
        )
        .unwrap();
        let shown = format!(
            "{business:?} {:?} {:?}",
            business.authorization(),
            business.layer_provider_props()
        );
        assert!(!shown.contains("canary"), "a token is shown");
    }
}
