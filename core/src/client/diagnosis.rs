//! For the command `doctor` only, and not part of the API: the proxy, the certificates and
//! the shared cache of a client, and the engine's explanations, so that both always agree.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use crate::client::Client;
use crate::config::{Config, ProxyServer};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{tls_error, tunnel};
use crate::setting_names::FromVariables;
use crate::trust::Roots;
#[cfg(feature = "redis")]
use crate::{
    engine::runtime,
    shared_cache::SharedCacheConfig,
    store::check::{self, StoreCheck, StoreCheckFailure},
    store::redis::RedisStore,
};

pub use crate::config::Refusal;

/// Proxy that a client uses for a URL.
pub struct Proxy {
    server: Arc<ProxyServer>,
    variables: FromVariables,
}

impl Proxy {
    /// The proxy for a URL; `None` if the client connects directly.
    #[must_use]
    pub fn of(client: &Client, url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let proxies = &client.engine.config.http.proxies;
        Some(Self {
            server: Arc::clone(proxies.of(&url)?),
            variables: client.engine.config.variables,
        })
    }

    /// Its URL, without user name and password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url.as_str()
    }

    /// Opens a tunnel to `target`, `host:port`, over a connection to the proxy.
    ///
    /// # Errors
    /// What the proxy answered.
    pub async fn open(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        target: &str,
    ) -> Result<(), Refusal> {
        tunnel::open(stream, &self.server, target).await
    }

    /// What a refusal means, and what to do about it.
    #[must_use]
    pub fn explain(&self, host: &str, refusal: &Refusal) -> Error {
        tunnel::refused(&self.server, host, refusal).naming(self.variables)
    }
}

/// Certificates that a client trusts.
pub struct Trusted {
    roots: Arc<Roots>,
    variables: FromVariables,
}

impl Trusted {
    /// Those of a client.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        let config = &client.engine.config;
        Self {
            // A client reads the rest after a failed handshake.
            roots: config.http.trust.all_roots(),
            variables: config.variables,
        }
    }

    /// The certificates in rustls's form.
    #[must_use]
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots.store)
    }

    /// How many there are, and where they come from.
    #[must_use]
    pub fn summary(&self) -> String {
        self.roots.to_string()
    }

    /// What a failed handshake means, and what to do about it. `address` is
    /// `host:port`.
    #[must_use]
    pub fn explain(&self, error: &rustls::Error, address: &str) -> Error {
        let peer = address.strip_suffix(":443").unwrap_or(address);
        let (what, remedy) = tls_error::explain(error, peer, address, &self.roots);
        Error::new(ErrorKind::Tls, what, remedy).naming(self.variables)
    }
}

/// A client with the same settings, but without the shared cache and with no token yet. Its
/// token comes from the token endpoint, which a check of the credentials must ask.
#[must_use]
pub fn without_shared_cache(client: &Client) -> Client {
    let config = Config {
        shared_cache: None,
        ..client.engine.config.clone()
    };
    Client {
        engine: Arc::new(Engine::new(config)),
        timeout: client.timeout,
    }
}

/// What a check of the shared cache found. Fields that the server does not tell are
/// `None`.
#[derive(Clone, Debug, Default)]
pub struct SharedCacheCheck {
    /// `host:port`, or the path of the unix socket: of the server that was used, or else
    /// of those in the setting.
    pub server: String,
    /// Time to connect: name, TCP, TLS, password.
    pub connected_in: Option<Duration>,
    /// Median time of an answer.
    pub latency: Option<Duration>,
    /// The server's clock minus this machine's, in milliseconds.
    pub clock_difference_ms: Option<i64>,
    /// `maxmemory-policy` of the server, such as `noeviction`.
    pub eviction_policy: Option<String>,
    /// `maxmemory` of the server, in bytes; 0 without a limit.
    pub max_memory: Option<u64>,
    /// How much the server uses, in bytes.
    pub used_memory: Option<u64>,
    /// Whether the server writes its data to a disk.
    pub writes_to_disk: Option<bool>,
    /// Name and version, such as `valkey 8.1.8`.
    pub version: Option<String>,
    /// Why the shared cache cannot be used; `None` if all operations worked.
    pub failure: Option<SharedCacheFailure>,
}

/// Why the shared cache cannot be used.
#[derive(Clone, Debug)]
pub struct SharedCacheFailure {
    /// `connect`, `tls`, `auth`, `timeout`, `closed`, `busy`, `moved`, `protocol` or
    /// `refused`.
    pub kind: &'static str,
    /// What failed, without a password.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl SharedCacheCheck {
    /// Checks the shared cache of a client over a connection of its own; `None` without
    /// one. What it writes expires within a second.
    ///
    /// # Errors
    /// If the engine's thread cannot be started.
    #[cfg_attr(not(feature = "redis"), allow(clippy::unused_async))]
    pub async fn of(client: &Client) -> Result<Option<Self>> {
        #[cfg(feature = "redis")]
        if let Some(config) = &client.engine.config.shared_cache {
            let (config, http) = (config.clone(), &client.engine.config.http);
            let store = RedisStore::new(config.server.clone(), Arc::clone(&http.trust));
            let variables = client.engine.config.variables;
            let check = runtime::spawn(async move {
                let found = check::check(&store, &config.prefix).await;
                Ok(shared_cache_check(found, &config, variables))
            });
            return check?.await.map(Some);
        }
        let _ = client;
        Ok(None)
    }
}

#[cfg(feature = "redis")]
fn shared_cache_check(
    found: StoreCheck,
    config: &SharedCacheConfig,
    variables: FromVariables,
) -> SharedCacheCheck {
    let failure = found.failure.map(|failure| {
        let (kind, error) = match failure {
            StoreCheckFailure::Failed(error) => (error.kind.as_str(), error),
            StoreCheckFailure::Refused(error) => ("refused", error),
        };
        let mut what = error.what.to_string();
        let missing = found.missing_rights.join(" ");
        let remedy = match error.remedy {
            Some(remedy) => remedy.into_owned(),
            None if missing.is_empty() => remedy(kind, config),
            None => {
                what.push_str(": the user lacks ");
                what.push_str(&missing);
                format!(
                    "run ACL SETUSER <user> {missing} on the server; {}",
                    rights(config)
                )
            }
        };
        let error = Error::config("shared_cache", what, remedy).naming(variables);
        SharedCacheFailure {
            kind,
            what: error.message().to_owned(),
            remedy: error.remedy().to_owned(),
        }
    });
    SharedCacheCheck {
        server: found.server,
        connected_in: found.connected_in,
        latency: found.latency,
        clock_difference_ms: found.clock_difference_ms,
        eviction_policy: found.eviction_policy,
        max_memory: found.max_memory,
        used_memory: found.used_memory,
        writes_to_disk: found.writes_to_disk,
        version: found.version,
        failure,
    }
}

/// What to do about a failure of the store.
#[cfg(feature = "redis")]
fn remedy(kind: &str, config: &SharedCacheConfig) -> String {
    let text = match kind {
        "connect" => {
            "check the host and the port in {shared_cache}, that the server runs, and that no \
             firewall is between"
        }
        "tls" => "check that the port in {shared_cache} is the one for TLS",
        "auth" => {
            let rights = rights(config);
            return format!("check the user in {{shared_cache}}; {rights}");
        }
        "timeout" => "check the load of the server and the network between",
        "closed" => {
            "check the log of the server; if it requires TLS, start {shared_cache} with rediss://"
        }
        "busy" => "wait until the server is ready",
        "moved" => "wait until the cluster has moved its keys",
        "refused" => "check the log of the server",
        _ => "check that {shared_cache} is the address of a Redis (6.2 or newer) or Valkey server",
    };
    text.to_owned()
}

/// The rights that the user needs.
#[cfg(feature = "redis")]
fn rights(config: &SharedCacheConfig) -> String {
    let select = if config.server.database == 0 {
        ""
    } else {
        " +select"
    };
    let prefix = &config.prefix;
    format!(
        "the user needs these rights: ~{prefix}:1:* -@all +eval +get +set +del +pttl +time{select}"
    )
}
