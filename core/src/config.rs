//! Validated settings of a client.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use crate::credentials::{BasicEncoding, CredentialsSource};
use crate::environment::Endpoints;
use crate::setting_names::FromVariables;
use crate::sys::clock::Clock;

/// Validated settings of a client.
pub(crate) struct Config {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) credentials: CredentialsSource,
    pub(crate) basic_encoding: BasicEncoding,
    pub(crate) http: HttpConfig,
    /// Maximum number of requests per call, the first included.
    pub(crate) max_attempts: u32,
    /// Timeout of a whole call.
    pub(crate) timeout: Duration,
    pub(crate) allow_opaque_business_ids: bool,
    /// Settings that errors name by their environment variables.
    pub(crate) variables: FromVariables,
    pub(crate) business_token_capacity: usize,
    pub(crate) keep_warm: bool,
    pub(crate) clock: Clock,
}

/// Settings of the HTTP client.
#[derive(Clone)]
pub(crate) struct HttpConfig {
    /// Certificate authorities to trust in addition to the system's.
    pub(crate) extra_roots: Vec<CertificateDer<'static>>,
    pub(crate) proxies: Proxies,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) user_agent: String,
}

/// Proxies to use, from the builder or the environment variables.
#[derive(Clone, Default)]
pub(crate) struct Proxies {
    pub(crate) http: Option<String>,
    pub(crate) https: Option<String>,
    pub(crate) no_proxy: String,
}
