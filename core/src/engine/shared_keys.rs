//! The shared cache of an engine: its store, and the keys of its tokens.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::config::Config;
use crate::credentials::{BasicEncoding, Credentials};
use crate::secret::Secret;
use crate::shared_cache::SharedCacheConfig;
use crate::stats::{Counters, SharedCacheState};
use crate::store::TokenStore;
use crate::store::fetch::{SharedCache, SharedToken};
use crate::store::redis::RedisStore;
use crate::store::seal::{Principal, RootKey, SealKeys};
use crate::token::{AccessToken, BusinessToken};

/// Shared cache of an engine.
pub(super) struct Shared {
    pub(super) cache: SharedCache,
    key: Option<Secret>,
    pub(super) prefix: Arc<str>,
    pub(super) business_tokens: bool,
    /// Of the credentials that were used last.
    pub(super) derived: ArcSwapOption<Derived>,
}

/// Keys of one client secret.
pub(super) struct Derived {
    pub(super) credentials: Credentials,
    pub(super) root: RootKey,
    pub(super) access: Arc<SealKeys>,
}

impl SharedToken for AccessToken {
    fn secret_text(&self) -> &str {
        self.secret()
    }
}

impl SharedToken for BusinessToken {
    fn secret_text(&self) -> &str {
        self.secret()
    }
}

impl Shared {
    /// The shared cache of these settings, if there is one.
    pub(super) fn of(config: &Config, stats: &Arc<Counters>) -> Option<Self> {
        let settings = config.shared_cache.as_ref()?;
        let store = RedisStore::new(settings.server.clone(), Arc::clone(&config.http.trust));
        Some(Self::new(settings, store, config, stats))
    }

    fn new(
        settings: &SharedCacheConfig,
        store: Arc<dyn TokenStore>,
        config: &Config,
        stats: &Arc<Counters>,
    ) -> Self {
        Self {
            cache: SharedCache::new(
                store,
                config.clock.clone(),
                Arc::clone(stats),
                config.http.attempt_timeout,
                config.timeout,
            ),
            key: settings.key.clone(),
            prefix: Arc::clone(&settings.prefix),
            business_tokens: settings.business_tokens,
            derived: ArcSwapOption::empty(),
        }
    }

    pub(super) fn state(&self) -> SharedCacheState {
        if self.cache.is_up() {
            SharedCacheState::Up
        } else {
            SharedCacheState::Down
        }
    }

    /// Keys of these credentials, derived once for the same ones.
    pub(super) fn derive(&self, config: &Config, credentials: &Credentials) -> Arc<Derived> {
        if let Some(derived) = self.derived.load_full()
            && derived.credentials == *credentials
        {
            return derived;
        }
        let root = RootKey::new(credentials.client_secret(), self.key.as_ref());
        let access = root.access_token(&self.prefix, &principal(config, credentials));
        let derived = Arc::new(Derived {
            credentials: credentials.clone(),
            root,
            access: Arc::new(access),
        });
        self.derived.store(Some(Arc::clone(&derived)));
        derived
    }
}

pub(super) fn principal<'a>(config: &'a Config, credentials: &'a Credentials) -> Principal<'a> {
    Principal {
        auth_url: config.endpoints.auth_url.as_str(),
        scope: &config.endpoints.scope,
        client_id: credentials.client_id(),
        basic_encoding: match config.basic_encoding {
            BasicEncoding::Raw => "raw",
            BasicEncoding::Form => "form",
        },
    }
}
