//! Settings of the shared cache: see `store/`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Settings as they are given.
#[derive(Clone, Default)]
pub(crate) struct SharedCacheSettings {
    /// A secret, because it may contain a password.
    pub(crate) url: Option<Secret>,
    pub(crate) key: Option<Secret>,
    pub(crate) prefix: Option<String>,
    pub(crate) business_tokens: Option<bool>,
}

/// Validated settings.
#[derive(Clone)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "without a store"))]
pub(crate) struct SharedCacheConfig {
    pub(crate) server: StoreServer,
    pub(crate) key: Option<Secret>,
    pub(crate) prefix: Arc<str>,
    pub(crate) business_tokens: bool,
}

/// Where the store is, and how it is used.
#[derive(Clone)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "without a store"))]
pub(crate) struct StoreServer {
    /// One server, or the Sentinels of a service.
    pub(crate) nodes: Vec<StoreNode>,
    /// Name of the service, if the nodes are Sentinels.
    pub(crate) sentinel_service: Option<String>,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: i64,
}

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "without a store"))]
pub(crate) enum StoreNode {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl SharedCacheSettings {
    /// Checks the settings, without I/O. `None` without a URL.
    pub(crate) fn resolve(self) -> Result<Option<SharedCacheConfig>> {
        if self.url.is_none() {
            return Ok(None);
        }
        Err(Error::config(
            "shared_cache",
            "this build of layerfi-auth has no support for Redis and Valkey",
            "build it with the Cargo feature redis (for C: make install SHARED_CACHE=1), or do not \
             set {shared_cache}",
        ))
    }
}
