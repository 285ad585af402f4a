//! Engine: the HTTP requests, and the caches that start them.

mod access;
pub(crate) mod business;
mod credentials;
mod exchange;
pub(crate) mod keep_warm;
pub(crate) mod key;
mod prepare;
pub(crate) mod runtime;
#[cfg(feature = "redis")]
mod shared;
#[cfg(feature = "redis")]
mod shared_keys;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arc_swap::ArcSwapOption;

use self::credentials::CredentialsReader;
use self::key::Key;
use self::runtime::EngineThread;
#[cfg(feature = "redis")]
use self::shared_keys::Shared;
use crate::cache::{Context, Keyed, Slot};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::Result;
use crate::http::Http;
use crate::protocol::layer_api::MintParts;
use crate::protocol::message::Request;
use crate::rate_limit::RateLimiter;
use crate::retry::RetryPolicy;
use crate::stats::Counters;
use crate::sys::fork;
use crate::token::{AccessToken, BusinessToken};

/// State that all clones of a client share.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) cx: Context,
    pub(crate) access: Arc<Slot<AccessToken>>,
    pub(crate) business: Keyed<Key, BusinessToken>,
    /// Rate limiter of batches.
    pub(crate) rate_limiter: RateLimiter,
    http: Http,
    retry: RetryPolicy,
    credentials: CredentialsReader,
    /// The credentials that the server refused most recently.
    refused: ArcSwapOption<Credentials>,
    /// The last token request, and the credentials in it.
    token_request: ArcSwapOption<(Credentials, Arc<Request>)>,
    /// Parts of the last request for a business token.
    mint_parts: ArcSwapOption<MintParts>,
    #[cfg(feature = "redis")]
    shared: Option<Shared>,
    /// Process generation in which `keep_warm` runs.
    warm_in: AtomicU32,
}

impl Engine {
    pub(crate) fn new(config: Config) -> Self {
        let environment = config.endpoints.environment;
        let stats = Arc::new(Counters::default());
        Self {
            #[cfg(feature = "redis")]
            shared: Shared::of(&config, &stats),
            cx: Context {
                clock: config.clock.clone(),
                spawn: Arc::new(EngineThread),
                stats,
            },
            access: Arc::new(Slot::new()),
            business: Keyed::new(config.business_token_capacity),
            rate_limiter: RateLimiter::new(
                environment.requests_per_second(),
                environment != Environment::Custom,
            ),
            http: Http::new(config.http.clone()),
            retry: RetryPolicy {
                max_attempts: config.max_attempts,
                ..RetryPolicy::default()
            },
            credentials: CredentialsReader::new(config.credentials.clone(), config.basic_encoding),
            refused: ArcSwapOption::empty(),
            token_request: ArcSwapOption::empty(),
            mint_parts: ArcSwapOption::empty(),
            warm_in: AtomicU32::new(0),
            config,
        }
    }

    /// Fails if a call on this thread would wait for itself.
    pub(crate) fn check_may_wait(&self) -> Result<()> {
        self.credentials.check_may_wait()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Connections are closed only if their descriptors are still this library's.
        fork::notice();
    }
}
