//! What a backend gives to a page that shows Layer's components.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::layer_provider_props::LayerProviderProps;
use crate::secret::{REDACTED, Secret, SecretBuffer};

/// Business token for a page, with everything that the page needs to show Layer's
/// components and to renew the token: the response of the backend's token endpoint, as
/// JSON.
///
/// It contains the business token: `Debug` does not show it, but serialization does.
#[derive(Serialize)]
pub struct LayerSession<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    expires_at: String,
    business_id: &'a str,
    session_duration: u32,
    renew_in: u64,
    layer_provider_props: LayerProviderProps<'a>,
}

/// The parts of a session that are not its token.
pub(crate) struct Parts {
    pub(crate) remaining: Duration,
    pub(crate) expires_at: String,
    pub(crate) session_duration: u32,
    pub(crate) renew_in: Duration,
}

impl<'a> LayerSession<'a> {
    pub(crate) fn new(
        access_token: &'a str,
        business_id: &'a str,
        layer_provider_props: LayerProviderProps<'a>,
        parts: Parts,
    ) -> Self {
        let renew_in = parts.renew_in;
        Self {
            access_token,
            token_type: "Bearer",
            expires_in: parts.remaining.as_secs(),
            expires_at: parts.expires_at,
            business_id,
            session_duration: parts.session_duration,
            // Rounded up: a page that asks too early gets the same token.
            renew_in: renew_in.as_secs() + u64::from(renew_in.subsec_nanos() > 0),
            layer_provider_props,
        }
    }

    /// The session as a JSON object. It contains the token, and is wiped from memory when
    /// it is dropped. Send it with `Cache-Control: no-store`, and only to a user of this
    /// business.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        SecretBuffer::json(self)
    }

    /// Whole seconds that are left of the token's lifetime. Pages use this and not
    /// `expires_at`, because their users' clocks may be wrong.
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        self.expires_in
    }

    /// Expiry by this machine's wall clock (RFC 3339).
    #[must_use]
    pub fn expires_at(&self) -> &str {
        &self.expires_at
    }

    /// Requested lifetime of the token, in seconds.
    #[must_use]
    pub fn session_duration(&self) -> u32 {
        self.session_duration
    }

    /// Whole seconds after which [`business_token`](crate::Client::business_token)
    /// returns another token. Before then, it may return the same one. Zero if it does so
    /// now.
    #[must_use]
    pub fn renew_in(&self) -> u64 {
        self.renew_in
    }

    /// Props of `<LayerProvider>`.
    #[must_use]
    pub fn layer_provider_props(&self) -> &LayerProviderProps<'a> {
        &self.layer_provider_props
    }
}

impl fmt::Debug for LayerSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerSession")
            .field("access_token", &REDACTED)
            .field("expires_in", &self.expires_in)
            .field("expires_at", &self.expires_at)
            .field("session_duration", &self.session_duration)
            .field("renew_in", &self.renew_in)
            .field("layer_provider_props", &self.layer_provider_props)
            .finish_non_exhaustive()
    }
}
