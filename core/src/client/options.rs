//! Options of calls.

use std::time::Duration;

use crate::session_duration::SessionDuration;

/// Options of [`Client::business_token_with`](crate::Client::business_token_with).
///
/// ```
/// use std::time::Duration;
/// use layerfi_auth::{BusinessTokenOptions, SessionDuration};
///
/// let options = BusinessTokenOptions::default()
///     .session_duration(SessionDuration::from_secs(28_800)?)
///     .min_remaining(Duration::from_secs(3_600));
/// # let _ = options; Ok::<(), layerfi_auth::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusinessTokenOptions {
    /// Session duration; one hour by default.
    pub session_duration: SessionDuration,
    /// Lifetime that the token must have left; otherwise the call fails. It is
    /// limited to nine tenths of the lifetime that the server granted. The default
    /// is half of the lifetime, or less if no new token can be minted.
    pub min_remaining: Option<Duration>,
}

impl BusinessTokenOptions {
    /// Sets the session duration.
    #[must_use]
    pub fn session_duration(mut self, session_duration: SessionDuration) -> Self {
        self.session_duration = session_duration;
        self
    }

    /// Sets the minimum remaining lifetime.
    #[must_use]
    pub fn min_remaining(mut self, min_remaining: Duration) -> Self {
        self.min_remaining = Some(min_remaining);
        self
    }
}

/// This session duration, and the defaults of all other options.
impl From<SessionDuration> for BusinessTokenOptions {
    fn from(session_duration: SessionDuration) -> Self {
        Self::default().session_duration(session_duration)
    }
}

/// Options of [`Client::business_tokens_with`](crate::Client::business_tokens_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchOptions {
    /// Session duration of all tokens; one hour by default.
    pub session_duration: SessionDuration,
    /// Maximum number of requests in flight: at least 1, 32 by default. Any
    /// number is safe: Layer's rate limit bounds the requests as well.
    ///
    /// The client's timeout bounds each request, retries included. The waits for
    /// one of these places and for the rate limit are not counted, so that a batch
    /// may have any size.
    pub max_in_flight: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            session_duration: SessionDuration::default(),
            max_in_flight: 32,
        }
    }
}

impl BatchOptions {
    /// Sets the session duration of all tokens.
    #[must_use]
    pub fn session_duration(mut self, session_duration: SessionDuration) -> Self {
        self.session_duration = session_duration;
        self
    }

    /// Sets the number of requests in flight.
    #[must_use]
    pub fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }
}
