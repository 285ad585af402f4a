//! Settings of a running emulator.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::environment::Environment;
use crate::state::basic_auth::BasicDecoding;
use crate::tls::options::HttpVersions;

/// Settings that do not change after the start.
pub(crate) struct Config {
    pub(crate) environment: Environment,
    pub(crate) scope: String,
    pub(crate) basic_decoding: BasicDecoding,
    pub(crate) invalid_client_status: u16,
    /// `None`: every UUID is a business of the clients.
    pub(crate) businesses: Option<HashSet<Uuid>>,
    pub(crate) http_versions: HttpVersions,
    /// Whether the control API serves the console page.
    pub(crate) console: bool,
    /// Whether clients reach the proxy over TLS.
    pub(crate) proxy_tls: bool,
    /// The settings at start, which a reset restores.
    pub(crate) settings: Settings,
}

impl Config {
    pub(crate) fn knows_business(&self, business: &Uuid) -> bool {
        self.businesses
            .as_ref()
            .is_none_or(|known| known.contains(business))
    }
}

/// Settings that can change while the emulator runs. Lifetimes are in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) access_token_lifetime: u64,
    /// `None`: the session duration of the request.
    pub(crate) business_token_lifetime: Option<u64>,
    /// `None`: `expires_in` is the real lifetime.
    pub(crate) access_expires_in: Option<Value>,
    /// `None`: `expires_in` is the real lifetime.
    pub(crate) business_expires_in: Option<Value>,
    /// Requests per second and client; `None`: no limit.
    pub(crate) rate_limit: Option<u32>,
    /// `None`: idle connections stay open.
    pub(crate) idle_timeout_ms: Option<u64>,
    /// `None`: any number of requests on one connection.
    pub(crate) requests_per_connection: Option<u32>,
    /// Whether the resources of a business contain demo data.
    pub(crate) demo_data: bool,
    /// `None`: the proxy accepts every client.
    pub(crate) proxy_credentials: Option<ProxyCredentials>,
}

/// User and password that the proxy requires. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProxyCredentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for ProxyCredentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ProxyCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A time in whole milliseconds.
pub(crate) fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A lifetime in whole seconds, the unit of `expires_in`.
pub(crate) fn whole_seconds(lifetime: Duration) -> u64 {
    lifetime.as_secs()
}
