//! Pools of connections. Clients with the same settings share one per host, and
//! all pools of a process together are limited by its limit on file descriptors.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::tls;
use crate::config::HttpConfig;
use crate::error::Result;
use crate::sys::descriptors;
use crate::sys::fork::PerProcess;
use crate::sys::sync::{Mutex, lock};
use crate::trust::Roots;
use crate::url::{Peer, Protocol};

/// Idle time after which a connection is closed. Layer's load balancers close
/// idle connections after a minute. Closing first avoids sending a request on a
/// connection that is about to close.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How long exchanges with a host wait for another exchange to find out which
/// version of HTTP the host speaks. Short, because a slow response must not
/// delay others.
const MAX_WAIT_FOR_VERSION: Duration = Duration::from_millis(250);

type Permit = SemaphorePermit<'static>;

/// Pools of this process. Per process, because a forked child must not use its
/// parent's connections.
pub(super) fn pools() -> &'static Pools {
    static POOLS: PerProcess<Pools> = PerProcess::new();
    POOLS.get_or_init(Pools::new)
}

/// Settings that all clients with equal ones share.
pub(super) struct SharedConfig {
    config: HttpConfig,
    /// Number of clients that use them.
    clients: AtomicUsize,
    /// TLS settings for the newest roots. Kept, because they hold the sessions that new
    /// connections resume. Per process, because another thread may hold their lock
    /// during a fork.
    tls: PerProcess<ArcSwapOption<Tls>>,
    /// Whether a server refused HTTP/1.1.
    offers_http2: AtomicBool,
}

struct Tls {
    roots: Arc<Roots>,
    config: rustls::ClientConfig,
}

impl SharedConfig {
    /// What the connections to a server speak.
    pub(super) fn protocol(&self, peer: &Peer) -> Protocol {
        match peer.protocol {
            Protocol::Https1 if self.offers_http2.load(Ordering::Relaxed) => Protocol::Https,
            protocol => protocol,
        }
    }

    /// Offers HTTP/2 also where HTTP/1.1 is preferred.
    pub(super) fn offer_http2(&self) {
        self.offers_http2.store(true, Ordering::Relaxed);
    }

    /// TLS settings for connections to a server, and the roots in them.
    pub(super) fn tls(&self, protocol: Protocol) -> Result<(rustls::ClientConfig, Arc<Roots>)> {
        if protocol == Protocol::Http {
            return tls::unused();
        }
        let roots = self.config.trust.roots();
        let kept = self.tls.get_or_init(ArcSwapOption::empty);
        let current = kept
            .load_full()
            .filter(|tls| Arc::ptr_eq(&tls.roots, &roots));
        let tls = match current {
            Some(tls) => tls,
            None => {
                let config = tls::client_config(&roots)?;
                let tls = Arc::new(Tls { roots, config });
                kept.store(Some(Arc::clone(&tls)));
                tls
            }
        };
        let mut config = tls.config.clone();
        if protocol == Protocol::Https1 {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Ok((config, Arc::clone(&tls.roots)))
    }
}

impl Deref for SharedConfig {
    type Target = HttpConfig;

    fn deref(&self) -> &HttpConfig {
        &self.config
    }
}

/// The pools that are in use, and the places for exchanges over HTTP/1.1.
pub(super) struct Pools {
    /// Settings of the clients that this process has made.
    configs: Mutex<Vec<Weak<SharedConfig>>>,
    /// The most recently used pool is the last.
    pools: Mutex<Vec<Arc<Pool>>>,
    /// One place per exchange over HTTP/1.1, in order of arrival. An exchange over
    /// HTTP/2 needs none, because all share one connection.
    places: Semaphore,
    size: usize,
}

impl Pools {
    fn new() -> Self {
        // The rest is for idle connections and for the program.
        let size = (descriptors::limit() / 4).clamp(8, 256);
        Self {
            configs: Mutex::new(Vec::new()),
            pools: Mutex::new(Vec::new()),
            places: Semaphore::new(size),
            size,
        }
    }

    /// Settings of a new client, shared with clients that have equal ones.
    pub(super) fn join(&self, config: HttpConfig) -> Arc<SharedConfig> {
        let mut configs = lock(&self.configs);
        configs.retain(|known| known.strong_count() > 0);
        let mut known = configs.iter().filter_map(Weak::upgrade);
        let shared = known
            // Those of no client are about to end.
            .find(|known| known.clients.load(Ordering::Relaxed) > 0 && known.config == config)
            .unwrap_or_else(|| {
                let shared = Arc::new(SharedConfig {
                    config,
                    clients: AtomicUsize::new(0),
                    tls: PerProcess::new(),
                    offers_http2: AtomicBool::new(false),
                });
                configs.push(Arc::downgrade(&shared));
                shared
            });
        shared.clients.fetch_add(1, Ordering::Relaxed);
        shared
    }

    /// Ends a client's use of its settings. Connections of the last client are
    /// closed, because their buffers may contain its secrets. By the thread that drives
    /// them: the program's thread has other things to do, and each connection that it
    /// closes would wake that one.
    pub(super) fn depart(&self, shared: &Arc<SharedConfig>) {
        let configs = lock(&self.configs);
        let is_last = shared.clients.fetch_sub(1, Ordering::Relaxed) == 1;
        drop(configs);
        if is_last {
            let left = self.take(|pool| Arc::ptr_eq(&pool.config, shared));
            if let Some(runtime) = left.first().and_then(|pool| pool.runtime.clone()) {
                runtime.spawn(async move { drop(left) });
            }
        }
    }

    /// Number of exchanges over HTTP/1.1 that can be in progress.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Pool of all clients with these settings. Calls `build` if there is none.
    pub(super) fn get(
        &self,
        config: &Arc<SharedConfig>,
        host: &Arc<str>,
        protocol: Protocol,
        build: impl FnOnce() -> Result<(reqwest::Client, Arc<Roots>)>,
    ) -> Result<Arc<Pool>> {
        let find = |pools: &mut Vec<Arc<Pool>>| {
            let is_same = |pool: &Arc<Pool>| pool.protocol == protocol && pool.is_for(config, host);
            let at = pools.iter().rposition(is_same)?;
            let last = pools.len() - 1;
            if at < last {
                let pool = pools.remove(at);
                pools.push(pool);
            }
            pools.last().cloned()
        };
        if let Some(pool) = find(&mut lock(&self.pools)) {
            return Ok(pool);
        }
        // Built without the lock, because it logs.
        let (client, roots) = build()?;
        let built = Arc::new(Pool {
            config: Arc::clone(config),
            host: Arc::clone(host),
            protocol,
            client,
            runtime: Handle::try_current().ok(),
            roots,
            made_at: Instant::now(),
            state: Mutex::default(),
            version_changed: Notify::new(),
        });
        let mut pools = lock(&self.pools);
        Ok(find(&mut pools).unwrap_or_else(|| {
            pools.push(Arc::clone(&built));
            built
        }))
    }

    /// Permit for an exchange over HTTP/1.1, if one is free.
    pub(super) fn try_permit(&'static self) -> Option<Permit> {
        self.places.try_acquire().ok()
    }

    /// Waits for a permit. Never `None`, because the semaphore is never closed.
    pub(super) async fn permit(&'static self) -> Option<Permit> {
        self.places.acquire().await.ok()
    }

    /// Place in a pool, until it is dropped.
    pub(super) fn place(&self, pool: Arc<Pool>, permit: Permit) -> Place {
        if lock(&pool.state).begin() {
            self.drop_unused();
        }
        Place {
            pool,
            _permit: permit,
        }
    }

    /// Drops the least recently used pools until all together keep no more idle
    /// connections than there are places.
    fn drop_unused(&self) {
        let mut dropped = Vec::new();
        let mut pools = lock(&self.pools);
        let idle: Vec<usize> = pools.iter().map(|pool| lock(&pool.state).peak).collect();
        let mut total: usize = idle.iter().sum();
        // The last one has just been used.
        let removable = idle.len().saturating_sub(1);
        for idle in idle.into_iter().take(removable) {
            if total <= self.size {
                break;
            }
            total -= idle;
            dropped.push(pools.remove(0));
        }
        drop(pools);
        // Dropped without the lock, because closing connections logs.
        drop(dropped);
    }

    /// Drops the selected pools. Exchanges in progress end in their pool, and the
    /// next ones use a new pool.
    pub(super) fn leave(&self, is_left: impl Fn(&Pool) -> bool) {
        drop(self.take(is_left));
    }

    /// Takes the selected pools out.
    fn take(&self, is_taken: impl Fn(&Pool) -> bool) -> Vec<Arc<Pool>> {
        let taken = |pool: &mut Arc<Pool>| is_taken(pool);
        lock(&self.pools).extract_if(.., taken).collect()
    }
}

/// Connections to one host.
pub(super) struct Pool {
    config: Arc<SharedConfig>,
    host: Arc<str>,
    pub(super) protocol: Protocol,
    pub(super) client: reqwest::Client,
    /// Drives its connections.
    runtime: Option<Handle>,
    /// Roots that its connections are verified with.
    pub(super) roots: Arc<Roots>,
    pub(super) made_at: Instant,
    state: Mutex<State>,
    version_changed: Notify,
}

#[derive(Default)]
struct State {
    version: Version,
    /// Exchanges in progress that have a place.
    in_progress: usize,
    /// The most exchanges that had a place at the same time. Each may have left an
    /// idle connection.
    peak: usize,
    /// Time of the last response.
    used_at: Option<Instant>,
}

/// Version of HTTP that the host speaks.
#[derive(Clone, Copy, Default, PartialEq)]
enum Version {
    #[default]
    Unknown,
    /// An exchange is finding out since then.
    Asked(Instant),
    Http1,
    Http2,
}

/// What a new exchange does first.
enum Step {
    /// Begin, and tell the version of the response.
    Ask,
    /// Wait for the version.
    Wait(Duration),
    Begin,
}

impl State {
    fn enter(&mut self, came_at: Instant) -> Step {
        // By then all idle connections are closed.
        if self
            .used_at
            .is_some_and(|used_at| used_at.elapsed() > IDLE_TIMEOUT)
        {
            self.used_at = None;
            self.peak = self.in_progress;
            self.version = Version::Unknown;
        }
        match self.version {
            Version::Unknown => {
                self.version = Version::Asked(Instant::now());
                Step::Ask
            }
            Version::Asked(at) => {
                match MAX_WAIT_FOR_VERSION.saturating_sub(at.min(came_at).elapsed()) {
                    Duration::ZERO => Step::Begin,
                    left => Step::Wait(left),
                }
            }
            Version::Http1 | Version::Http2 => Step::Begin,
        }
    }

    /// Counts an exchange that has a place. Returns whether there were never so
    /// many at the same time.
    fn begin(&mut self) -> bool {
        self.in_progress += 1;
        let is_more = self.in_progress > self.peak;
        self.peak = self.peak.max(self.in_progress);
        is_more
    }
}

impl Pool {
    pub(super) fn is_for(&self, config: &Arc<SharedConfig>, host: &str) -> bool {
        Arc::ptr_eq(&self.config, config) && *self.host == *host
    }

    pub(super) fn speaks_http2(&self) -> bool {
        self.protocol == Protocol::Https && lock(&self.state).version == Version::Http2
    }

    /// Waits while another exchange finds out which version of HTTP the host
    /// speaks, because with HTTP/2 all can share its connection.
    pub(super) async fn enter(self: &Arc<Self>) -> Entered {
        let came_at = Instant::now();
        let asks = loop {
            let mut changed = std::pin::pin!(self.version_changed.notified());
            changed.as_mut().enable();
            let step = lock(&self.state).enter(came_at);
            match step {
                Step::Ask => break true,
                Step::Begin => break false,
                Step::Wait(left) => drop(tokio::time::timeout(left, changed).await),
            }
        };
        Entered {
            pool: Arc::clone(self),
            asks,
        }
    }
}

/// Exchange that has no response yet.
pub(super) struct Entered {
    pool: Arc<Pool>,
    /// Whether others wait for its response.
    asks: bool,
}

impl Entered {
    /// Records the version of the response.
    pub(super) fn answered(self, version: http::Version) {
        let mut state = lock(&self.pool.state);
        state.used_at = Some(Instant::now());
        state.version = match version {
            http::Version::HTTP_2 => Version::Http2,
            _ => Version::Http1,
        };
        drop(state);
        self.pool.version_changed.notify_waiters();
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        // It failed, so that another one must find out.
        if self.asks && matches!(state.version, Version::Asked(_)) {
            state.version = Version::Unknown;
            drop(state);
            self.pool.version_changed.notify_waiters();
        }
    }
}

/// Place of an exchange over HTTP/1.1. Dropping it lets another one begin.
pub(super) struct Place {
    pool: Arc<Pool>,
    _permit: Permit,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.pool.state).in_progress -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_client_that_was_dropped_are_not_used_again() {
        let engine = crate::client::tests::engine(|builder| builder);
        let config = HttpConfig {
            user_agent: http::HeaderValue::from_static("test of settings"),
            ..engine.config.http.clone()
        };
        let pools = Pools::new();
        let first = pools.join(config.clone());
        let second = pools.join(config.clone());
        assert!(Arc::ptr_eq(&first, &second), "equal settings are shared");
        pools.depart(&first);
        let third = pools.join(config.clone());
        assert!(Arc::ptr_eq(&first, &third), "another client uses them");
        pools.depart(&second);
        pools.depart(&third);
        // Its connections are still being closed.
        let fourth = pools.join(config);
        assert!(!Arc::ptr_eq(&first, &fourth), "with its TLS sessions");
    }
}
