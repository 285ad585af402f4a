//! The shared cache in an engine: derives the keys of its tokens, and runs fetches
//! through the store.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::Engine;
use crate::business_id::BusinessId;
use crate::cache::FetchParams;
use crate::config::Config;
use crate::credentials::{BasicEncoding, Credentials};
use crate::deadline::Deadline;
use crate::error::{Details, Error};
use crate::secret::Secret;
use crate::session_duration::SessionDuration;
use crate::shared_cache::SharedCacheConfig;
use crate::stats::{Counters, SharedCacheState};
use crate::store::TokenStore;
use crate::store::fetch::{Kind, SharedCache, SharedFetch, SharedToken, Wanted};
use crate::store::redis::RedisStore;
use crate::store::seal::{BusinessScope, Principal, RootKey, SealKeys};
use crate::sys::clock::Now;
use crate::token::{AccessToken, BusinessToken, Life, RESERVE};

/// Shared cache of an engine.
pub(super) struct Shared {
    cache: SharedCache,
    key: Option<Secret>,
    prefix: Arc<str>,
    business_tokens: bool,
    /// Of the credentials that were used last.
    derived: ArcSwapOption<Derived>,
}

/// Keys of one client secret.
pub(super) struct Derived {
    credentials: Credentials,
    root: RootKey,
    access: Arc<SealKeys>,
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
    fn derive(&self, config: &Config, credentials: &Credentials) -> Arc<Derived> {
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

fn principal<'a>(config: &'a Config, credentials: &'a Credentials) -> Principal<'a> {
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

impl Engine {
    /// Whether this client has a shared cache, and whether it answered last.
    pub(crate) fn shared_cache_state(&self) -> SharedCacheState {
        self.shared
            .as_ref()
            .map_or(SharedCacheState::Off, Shared::state)
    }

    /// A fetch of the access token through the store; `None` without a store.
    pub(super) fn shared_access_fetch<'a>(
        &'a self,
        credentials: &Credentials,
        params: &FetchParams<AccessToken>,
        deadline: &Deadline,
    ) -> Option<SharedFetch<'a, AccessToken>> {
        let shared = self.shared.as_ref()?;
        let derived = shared.derive(&self.config, credentials);
        let kind = Kind {
            reserve: 0.0,
            shares_permanent_failures: true,
            name: "access",
        };
        let make = |text: &Secret, requested_at, lifetime| {
            let token = AccessToken::new(text.expose(), self.life(requested_at, lifetime));
            token.map_err(|why| Error::protocol(why, Details::default()))
        };
        let keys = Arc::clone(&derived.access);
        let ends = deadline.at().into();
        SharedFetch::new(&shared.cache, keys, kind, Wanted::new(params), ends, make)
    }

    /// A fetch of a business token through the store; `None` without a store, or if the
    /// credentials, from which the keys are derived, cannot be read.
    pub(super) async fn shared_business_fetch<'a>(
        &'a self,
        business: &'a BusinessId,
        session_duration: SessionDuration,
        params: &FetchParams<BusinessToken>,
        deadline: &Deadline,
    ) -> Option<SharedFetch<'a, BusinessToken>> {
        let shared = self
            .shared
            .as_ref()
            .filter(|shared| shared.business_tokens)?;
        // Not read for each token: credentials change with the access token.
        let derived = match shared.derived.load_full() {
            Some(derived) => derived,
            None => shared.derive(&self.config, &self.read_credentials(deadline).await.ok()?),
        };
        let endpoints = &self.config.endpoints;
        let scope = BusinessScope {
            api_url: &endpoints.api_url,
            business_id: business.as_str(),
            session_duration: session_duration.as_secs(),
        };
        let principal = principal(&self.config, &derived.credentials);
        let keys = derived
            .root
            .business_token(&shared.prefix, &principal, &scope);
        let kind = Kind {
            reserve: RESERVE,
            // It is quick and local to this business.
            shares_permanent_failures: false,
            name: "business",
        };
        let make = move |text: &Secret, requested_at, lifetime| {
            BusinessToken::new(
                text.expose(),
                business.clone(),
                session_duration,
                self.life(requested_at, lifetime),
                Arc::clone(endpoints),
            )
            .map_err(|why| Error::protocol(why, Details::default()))
        };
        let ends = deadline.at().into();
        let wanted = Wanted::new(params);
        SharedFetch::new(&shared.cache, Arc::new(keys), kind, wanted, ends, make)
    }

    fn life(&self, requested_at: Now, lifetime: Duration) -> Life {
        Life {
            requested_at,
            lifetime,
            clock: self.cx.clock.clone(),
        }
    }
}
