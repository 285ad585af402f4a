//! Slot of the access token.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
use futures_util::TryFutureExt as _;
use futures_util::future::BoxFuture;
use tracing::Instrument as _;

use super::exchange::{TokenSource, authorize};
use super::{Engine, keep_warm};
#[cfg(feature = "redis")]
use crate::cache::Failed;
use crate::cache::{
    Borrowed, CurrentGuard, FetchParams, Fetched, Mode, Outcome, Source,
    may_be_fixed_by_credentials,
};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::deadline::{Deadline, Progress};
use crate::error::{Error, Result};
use crate::protocol::message::Request;
use crate::protocol::oauth;
use crate::stats::Event;
use crate::sys::events::debug;
use crate::token::{AccessToken, Life};

/// The access token.
impl TokenSource for Arc<Engine> {
    type Token = AccessToken;

    fn token(&self, progress: &Progress) -> impl Future<Output = Result<AccessToken>> + Send {
        self.access_token(progress)
    }

    fn renewed(
        &self,
        refused: &AccessToken,
        progress: &Progress,
    ) -> impl Future<Output = Result<Option<AccessToken>>> + Send {
        self.renew_access_token(refused, progress)
    }

    fn authorize(request: &mut Request, token: &AccessToken) {
        authorize(request, token.authorization(), token.shared_secret());
    }
}

impl Engine {
    /// Access token, from the cache or from the fetch that all callers share.
    pub(crate) async fn access_token(self: &Arc<Self>, progress: &Progress) -> Result<AccessToken> {
        let entry = self
            .access
            .get(&self.cx, &self.access_source(), None, progress)
            .await?;
        Ok(entry.value.clone())
    }

    /// Access token in the cache, if one can be served now.
    #[inline(always)]
    pub(crate) fn cached_access_token(self: &Arc<Self>) -> Option<Borrowed<AccessToken>> {
        let check = |current, tick| self.check_access_token(current, tick);
        self.access.hit_or(&self.cx, check)
    }

    #[cold]
    #[inline(never)]
    fn check_access_token(
        self: &Arc<Self>,
        current: CurrentGuard<AccessToken>,
        tick: u64,
    ) -> CurrentGuard<AccessToken> {
        let source = || self.access_source();
        self.access.check_hit(&self.cx, current, tick, None, source)
    }

    /// As [`Slot::try_get`](crate::cache::Slot::try_get).
    pub(crate) fn try_access_token(self: &Arc<Self>) -> Result<Option<AccessToken>> {
        let source = self.access_source();
        let entry = self.access.try_get(&self.cx, &source, None)?;
        Ok(entry.map(|entry| entry.value.clone()))
    }

    /// Fetches or refreshes the access token if that is due.
    pub(super) async fn keep_access_token_fresh(self: &Arc<Self>) -> Result<()> {
        let source = self.access_source();
        self.access.keep_fresh(&self.cx, &source).await
    }

    pub(crate) fn access_source(self: &Arc<Self>) -> AccessTokenSource {
        AccessTokenSource(Arc::clone(self))
    }

    /// Another access token than one that the API refused. See
    /// [`Slot::renew`](crate::cache::Slot::renew).
    pub(crate) async fn renew_access_token(
        self: &Arc<Self>,
        refused: &AccessToken,
        progress: &Progress,
    ) -> Result<Option<AccessToken>> {
        let entry = self
            .access
            .renew(&self.cx, &self.access_source(), progress, |current| {
                current == refused
            })
            .await?;
        Ok(entry.map(|entry| entry.value.clone()))
    }

    /// Removes the access token if it is this one. See [`crate::Client::invalidate`].
    pub(crate) fn invalidate_access_token(&self, is_it: impl Fn(&AccessToken) -> bool) -> bool {
        self.access.invalidate(&self.cx, is_it)
    }

    /// Gets an access token with client credentials, with retries. If the server
    /// refuses credentials that may have been rotated, they are read again.
    async fn acquire(
        &self,
        params: &FetchParams<AccessToken>,
        deadline: &Deadline,
    ) -> Result<Outcome<AccessToken>> {
        let mut credentials = self.read_credentials(deadline).await?;
        if params.mode == Mode::IfChanged && self.was_refused(&credentials) {
            return Ok(Outcome::Unchanged);
        }
        // Credentials are read again at most once: a provider that returns other
        // credentials each time must not cause a loop of requests.
        let mut may_reread = self.credentials.can_change() && params.mode == Mode::Always;
        loop {
            let error = match self.obtain_token(&credentials, params, deadline).await {
                Ok(Outcome::Failed(error)) | Err(error) => error,
                Ok(outcome) => {
                    // Storing costs more than looking.
                    if self.refused.load().is_some() {
                        self.refused.store(None);
                    }
                    return Ok(outcome);
                }
            };
            if !(may_be_fixed_by_credentials(&error) && self.credentials.can_change()) {
                return Err(error);
            }
            self.refused.store(Some(Arc::new(credentials)));
            if !may_reread {
                return Err(error);
            }
            may_reread = false;
            credentials = self.read_credentials(deadline).await?;
            if self.was_refused(&credentials) {
                return Err(error);
            }
        }
    }

    pub(super) async fn read_credentials(&self, deadline: &Deadline) -> Result<Credentials> {
        let read = self.credentials.read(deadline.progress()).await;
        read.map_err(|error| error.naming(self.config.variables))
    }

    fn was_refused(&self, credentials: &Credentials) -> bool {
        self.refused
            .load()
            .as_ref()
            .is_some_and(|refused| **refused == *credentials)
    }

    /// Token request for these credentials, made once for the same ones.
    fn token_request(&self, credentials: &Credentials) -> Result<Arc<Request>> {
        if let Some(made) = self.token_request.load_full()
            && made.0 == *credentials
        {
            return Ok(Arc::clone(&made.1));
        }
        let Config {
            endpoints,
            basic_encoding,
            http,
            ..
        } = &self.config;
        let request =
            oauth::token_request(endpoints, credentials, *basic_encoding, &http.user_agent)?;
        let request = Arc::new(request);
        let made = (credentials.clone(), Arc::clone(&request));
        self.token_request.store(Some(Arc::new(made)));
        Ok(request)
    }

    /// Gets a token with these credentials, from the shared cache or from the server.
    async fn obtain_token(
        &self,
        credentials: &Credentials,
        params: &FetchParams<AccessToken>,
        deadline: &Deadline,
    ) -> Result<Outcome<AccessToken>> {
        let request = &*self.token_request(credentials)?;
        let policy = self.retry.after_failures(params.failures);
        let exchange = || self.exchange_credentials(request, credentials, deadline);
        #[cfg(feature = "redis")]
        if let Some(fetch) = self.shared_access_fetch(credentials, params, deadline) {
            let attempt = || async {
                let request = || exchange().map_err(Failed::Own);
                fetch.attempt(request).await.map_err(Failed::into_error)
            };
            // Boxed, so that a fetch without a shared cache is not larger for it.
            return Box::pin(self.retrying(policy, deadline, attempt)).await;
        }
        let fetched = self.retrying(policy, deadline, exchange).await?;
        Ok(Outcome::Fetched(fetched))
    }

    /// Sends a token request once.
    async fn exchange_credentials(
        &self,
        request: &Request,
        credentials: &Credentials,
        deadline: &Deadline,
    ) -> Result<Fetched<AccessToken>> {
        self.cx.stats.count(Event::TokenRequest);
        // The lifetime counts from before the request is sent.
        let requested_at = self.cx.clock.now();
        let response = self.http.send(request, deadline).await?;
        let token = oauth::read_response(
            &request.url,
            &response,
            credentials,
            self.credentials.origin(),
        )?;
        let life = Life {
            requested_at,
            lifetime: token.lifetime,
            clock: self.cx.clock.clone(),
        };
        let value = AccessToken::new(token.access_token.as_str(), life)
            .map_err(|why| Error::protocol(format!("token response: {why}"), response.details()))?;
        debug!(
            [expires_in = token.lifetime.as_secs()],
            "got an access token"
        );
        Ok(Fetched {
            value,
            requested_at,
            lifetime: token.lifetime,
            reserve: 0.0,
        })
    }
}

/// Source of access tokens.
pub(crate) struct AccessTokenSource(Arc<Engine>);

impl Source<AccessToken> for AccessTokenSource {
    fn fetch(&self, params: FetchParams<AccessToken>) -> BoxFuture<'static, Outcome<AccessToken>> {
        let engine = Arc::clone(&self.0);
        let span = tracing::debug_span!(target: "layerfi_auth", "get_access_token");
        let fetch = async move {
            let progress = params.progress.clone();
            let deadline = Deadline::with_progress(engine.config.timeout, progress);
            let acquire = pin!(engine.acquire(&params, &deadline));
            let outcome = deadline.bound(acquire).await;
            outcome.unwrap_or_else(Outcome::Failed)
        };
        Box::pin(fetch.instrument(span))
    }

    fn can_change(&self) -> bool {
        self.0.credentials.can_change()
    }

    fn budget(&self) -> Duration {
        self.0.config.timeout
    }

    fn on_tick(&self) {
        keep_warm::ensure(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_duration::SessionDuration;

    #[test]
    fn futures_of_calls_are_small() {
        let engine = crate::client::tests::engine(|builder| builder);
        let deadline = Deadline::after(Duration::from_secs(1));
        let business = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let session = SessionDuration::default();
        let params = FetchParams {
            mode: Mode::Always,
            failures: 0,
            progress: Progress::default(),
            held: None,
            refused: None,
            min_remaining: None,
        };
        let acquire = size_of_val(&engine.acquire(&params, &deadline));
        let mint = size_of_val(&engine.mint(&business, session, None, &deadline));
        // They are moved, and each move copies them.
        for (name, bytes) in [("a token", acquire), ("a mint", mint)] {
            assert!(bytes <= 4 * 1024, "the future of {name} has {bytes} bytes");
        }
    }
}
