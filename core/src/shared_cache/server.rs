//! Where the shared cache's server is.

use std::fmt;
use std::path::PathBuf;

use crate::secret::Secret;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "without a store"))]
pub(crate) enum StoreNode {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// `host:port`, or the path of a unix socket.
impl fmt::Display for StoreNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
