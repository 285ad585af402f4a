//! Fetches of tokens through the shared cache.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::shared_keys::{Shared, principal};
use crate::business_id::BusinessId;
use crate::cache::FetchParams;
use crate::credentials::Credentials;
use crate::deadline::Deadline;
use crate::error::{Details, Error};
use crate::secret::Secret;
use crate::session_duration::SessionDuration;
use crate::stats::SharedCacheState;
use crate::store::fetch::{Kind, SharedFetch, Wanted};
use crate::store::seal::BusinessScope;
use crate::sys::clock::Now;
use crate::token::{AccessToken, BusinessToken, Life, RESERVE};

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
            is_access: true,
            name: "access",
        };
        let make = |text: &Secret, requested_at, lifetime| {
            let token = AccessToken::new(text.expose(), self.life(requested_at, lifetime));
            token.map_err(|why| Error::protocol(why, Details::default()))
        };
        let keys = Arc::clone(&derived.access);
        let ends = deadline.at().into();
        let wanted = Wanted::new(params);
        let progress = deadline.progress();
        SharedFetch::new(&shared.cache, keys, kind, wanted, ends, progress, make)
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
            is_access: false,
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
        let (keys, progress) = (Arc::new(keys), deadline.progress());
        SharedFetch::new(&shared.cache, keys, kind, wanted, ends, progress, make)
    }

    fn life(&self, requested_at: Now, lifetime: Duration) -> Life {
        Life {
            requested_at,
            lifetime,
            clock: self.cx.clock.clone(),
        }
    }
}
