//! Validated settings of a client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use url::Url;

use crate::credentials::{BasicEncoding, CredentialsSource};
use crate::environment::Endpoints;
use crate::setting_names::FromVariables;
use crate::shared_cache::SharedCacheConfig;
use crate::sys::clock::Clock;
use crate::trust::TrustStore;

/// Validated settings of a client.
#[derive(Clone)]
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
    /// `None` without a shared cache.
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "without a store"))]
    pub(crate) shared_cache: Option<SharedCacheConfig>,
    pub(crate) clock: Clock,
}

/// Settings of the HTTP client. Clients with equal settings share connections.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) proxies: Proxies,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) user_agent: HeaderValue,
}

/// Proxy of a client, and the hosts that are reached through it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// `None` if all hosts are reached directly.
    pub(crate) server: Option<Arc<ProxyServer>>,
    /// Host and port of each URL that is reached through it.
    pub(crate) hosts: Vec<(String, u16)>,
}

/// A proxy server.
pub(crate) struct ProxyServer {
    /// Without user name and password.
    pub(crate) url: Url,
    /// `host:port`, for messages.
    pub(crate) address: String,
    /// Value of `Proxy-Authorization`, marked sensitive.
    pub(crate) authorization: Option<HeaderValue>,
    /// Its last refusal whose status is known, and when it was.
    pub(crate) refused: ArcSwapOption<(Instant, Refusal)>,
}

/// Why a proxy opened no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The status of its answer, and the schemes in `Proxy-Authenticate`.
    Status(u16, Vec<String>),
    /// Its answer is not HTTP.
    NotHttp,
    /// It closed the connection.
    Closed,
}

/// Whether two clients use the same proxy in the same way.
impl PartialEq for ProxyServer {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.authorization == other.authorization
    }
}

impl Eq for ProxyServer {}

impl Proxies {
    /// The proxy that a URL is reached through.
    pub(crate) fn of(&self, url: &Url) -> Option<&Arc<ProxyServer>> {
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        self.server
            .as_ref()
            .filter(|_| self.hosts.iter().any(|(h, p)| h == host && *p == port))
    }
}
