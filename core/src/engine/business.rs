//! Business tokens: slots by business and session duration, and minting.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::Engine;
use super::exchange::{TokenSource, authorize, authorized, is_401};
use super::key::{Key, KeyRef};
use crate::business_id::BusinessId;
use crate::cache::{Borrowed, Entry, Failed, FetchParams, Fetched, Outcome, Source};
use crate::config::Config;
use crate::deadline::{Deadline, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::layer_api::{self, MintParts};
use crate::protocol::message::Request;
use crate::rate_limit::Permit;
use crate::secret::Secret;
use crate::session_duration::SessionDuration;
use crate::stats::Event;
use crate::sys::sync::{Mutex, lock};
use crate::token::{BusinessToken, Life, RESERVE};

/// Which business token a caller requests.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) business: BusinessId,
    pub(crate) session_duration: SessionDuration,
    pub(crate) min_remaining: Option<Duration>,
}

/// The business tokens of one business.
pub(crate) struct OfBusiness<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) wanted: &'a Wanted,
}

impl TokenSource for OfBusiness<'_> {
    type Token = BusinessToken;

    async fn token(&self, progress: &Progress) -> Result<BusinessToken> {
        let token = self.engine.business_token(self.wanted, None, progress);
        Ok(token.await?.value.clone())
    }

    async fn renewed(
        &self,
        refused: &BusinessToken,
        progress: &Progress,
    ) -> Result<Option<BusinessToken>> {
        let secret = refused.shared_secret();
        let renewed = self
            .engine
            .renew_business_token(self.wanted, &secret, progress);
        renewed.await.map(Some)
    }

    fn authorize(request: &mut Request, token: &BusinessToken) {
        authorize(request, token.authorization(), token.shared_secret());
    }
}

impl Engine {
    /// Returns a business token, from the cache or from the fetch of its key.
    /// With a permit, its requests stay within the rate limit; the first one
    /// uses that permit.
    pub(crate) async fn business_token(
        self: &Arc<Self>,
        wanted: &Wanted,
        permit: Option<Permit>,
        progress: &Progress,
    ) -> Result<Arc<Entry<BusinessToken>>> {
        let source = self.business_source(wanted, permit);
        let key = wanted.key();
        self.business
            .get(&self.cx, &key, source, wanted.min_remaining, progress)
            .await
    }

    /// Another business token than one that a server refused. See
    /// [`Keyed::renew`](crate::cache::Keyed::renew).
    pub(crate) async fn renew_business_token(
        self: &Arc<Self>,
        wanted: &Wanted,
        refused: &Secret,
        progress: &Progress,
    ) -> Result<BusinessToken> {
        let source = self.business_source(wanted, None);
        let is_refused = |token: &BusinessToken| token.is(refused.expose());
        let entry = self
            .business
            .renew(&self.cx, &wanted.key(), source, progress, is_refused)
            .await?;
        Ok(entry.value.clone())
    }

    /// Business token in the cache, if one can be served now.
    #[inline]
    pub(crate) fn cached_business_token(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        min_remaining: Option<Duration>,
    ) -> Option<Borrowed<BusinessToken>> {
        let key = KeyRef {
            business,
            session_duration,
        };
        let source = || {
            let wanted = Wanted {
                business: business.clone(),
                session_duration,
                min_remaining,
            };
            self.business_source(&wanted, None)
        };
        self.business.hit(&self.cx, &key, min_remaining, source)
    }

    /// As [`Slot::try_get`](crate::cache::Slot::try_get).
    pub(crate) fn try_business_token(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> Result<Option<BusinessToken>> {
        let source = self.business_source(wanted, None);
        let entry = self
            .business
            .try_get(&self.cx, &wanted.key(), source, wanted.min_remaining)?;
        Ok(entry.map(|entry| entry.value.clone()))
    }

    /// Starts a refresh for a batch, if it is still due. It counts as one of the
    /// batch's requests in flight until the receiver resolves.
    pub(crate) fn refresh_business_token(
        self: &Arc<Self>,
        wanted: &Wanted,
        permit: Permit,
    ) -> oneshot::Receiver<()> {
        let (sender, over) = oneshot::channel();
        let mut source = self.business_source(wanted, Some(permit));
        source.over = Mutex::new(Some(sender));
        let key = KeyRef {
            business: &wanted.business,
            session_duration: wanted.session_duration,
        };
        self.business.refresh(&self.cx, &key, source);
        over
    }

    /// Removes a cached business token if it is this one.
    pub(crate) fn invalidate_business_token(&self, token: &BusinessToken) -> bool {
        let key = KeyRef {
            business: token.business_id(),
            session_duration: token.session_duration(),
        };
        self.business
            .invalidate(&self.cx, &key, |current| current == token)
    }

    fn business_source(
        self: &Arc<Self>,
        wanted: &Wanted,
        permit: Option<Permit>,
    ) -> BusinessTokenSource {
        BusinessTokenSource {
            engine: Arc::clone(self),
            business: wanted.business.clone(),
            session_duration: wanted.session_duration,
            is_paced: permit.is_some(),
            permit: Mutex::new(permit),
            over: Mutex::new(None),
        }
    }

    /// Parts of requests with this session duration, made once for the same one.
    fn mint_parts(&self, session_duration: SessionDuration) -> Arc<MintParts> {
        if let Some(parts) = self.mint_parts.load_full()
            && parts.session_duration == session_duration
        {
            return parts;
        }
        let Config {
            endpoints, http, ..
        } = &self.config;
        let parts = Arc::new(MintParts::new(
            endpoints,
            &http.user_agent,
            session_duration,
        ));
        self.mint_parts.store(Some(Arc::clone(&parts)));
        parts
    }

    /// Mints a token, which is not cached. With a permit, its requests stay
    /// within the rate limit; the first one uses that permit.
    pub(crate) fn mint(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        permit: Option<Permit>,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<Fetched<BusinessToken>>> + Send {
        // Not by the attribute, whose future is twice as large.
        let span = tracing::debug_span!(target: "layerfi_auth", "mint", %business);
        let mint = self.send_mint(business, session_duration, permit, deadline);
        mint.instrument(span)
    }

    async fn send_mint(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        permit: Option<Permit>,
        deadline: &Deadline,
    ) -> Result<Fetched<BusinessToken>> {
        let is_paced = permit.is_some();
        let first = Mutex::new(permit);
        let first = &first;
        let endpoints = &self.config.endpoints;
        let parts = &self.mint_parts(session_duration);
        authorized(self, deadline, is_401, |token| async move {
            let request = layer_api::mint_request(endpoints, parts, &token, business);
            let request = &request;
            let attempt = || async move {
                let held = lock(first).take();
                let mut permit = match held {
                    None if is_paced => Some(self.rate_limiter.acquire().await),
                    held => held,
                };
                if let Some(permit) = &mut permit {
                    permit.sent();
                }
                self.cx.stats.count(Event::Mint);
                // The lifetime counts from before the request is sent.
                let requested_at = self.cx.clock.now();
                let response = self.http.send(request, deadline).await;
                let read = |response| layer_api::read_mint(&request.url, business, response);
                let minted = match &response {
                    Ok(response) => read(response).map(|minted| (minted, response)),
                    Err(error) => Err(error.clone()),
                };
                if let Some(permit) = permit {
                    permit.answered(minted.as_ref().map(|(_, response)| &response.headers));
                }
                let (minted, response) = minted?;
                let life = Life {
                    requested_at,
                    lifetime: minted.lifetime,
                    clock: self.cx.clock.clone(),
                };
                let value = BusinessToken::new(
                    minted.access_token.as_str(),
                    business.clone(),
                    session_duration,
                    life,
                    Arc::clone(endpoints),
                )
                .map_err(|why| {
                    Error::protocol(format!("minting a token: {why}"), response.details())
                })?;
                Ok(Fetched {
                    value,
                    requested_at,
                    lifetime: minted.lifetime,
                    reserve: RESERVE,
                })
            };
            self.retrying(self.retry, deadline, attempt).await
        })
        .await
    }
}

impl Wanted {
    fn key(&self) -> Key {
        Key {
            business: self.business.clone(),
            session_duration: self.session_duration,
        }
    }
}

fn outcome<V>(result: Result<Outcome<V>, Failed>) -> Outcome<V> {
    result.unwrap_or_else(|failed| match failed {
        Failed::Own(error) => Outcome::Failed(error),
        Failed::Upstream(error) => Outcome::FailedUpstream(error),
    })
}

/// Source of the business tokens of one key.
pub(crate) struct BusinessTokenSource {
    engine: Arc<Engine>,
    business: BusinessId,
    session_duration: SessionDuration,
    is_paced: bool,
    /// Permit for the first fetch.
    permit: Mutex<Option<Permit>>,
    /// Dropped when the first fetch has ended.
    over: Mutex<Option<oneshot::Sender<()>>>,
}

impl Source<BusinessToken> for BusinessTokenSource {
    fn fetch(
        &self,
        params: FetchParams<BusinessToken>,
    ) -> BoxFuture<'static, Outcome<BusinessToken>> {
        let engine = Arc::clone(&self.engine);
        let business = self.business.clone();
        let (session_duration, is_paced) = (self.session_duration, self.is_paced);
        let permit = lock(&self.permit).take();
        let over = lock(&self.over).take();
        Box::pin(async move {
            let deadline = Deadline::with_progress(engine.config.timeout, params.progress.clone());
            let engine = &engine;
            let request = || async {
                // The access token is fetched first and separately: its failure
                // is not one of this business, and its own slot has the quiet
                // time.
                if let Err(error) = engine.access_token(deadline.progress()).await {
                    return Err(Failed::Upstream(error));
                }
                let permit = match permit {
                    None if is_paced => Some(engine.rate_limiter.acquire().await),
                    permit => permit,
                };
                engine
                    .mint(&business, session_duration, permit, &deadline)
                    .await
                    .map_err(|error| match error.kind() {
                        ErrorKind::OAuth | ErrorKind::Credentials => Failed::Upstream(error),
                        _ => Failed::Own(error),
                    })
            };
            let mint = pin!(async {
                #[cfg(feature = "redis")]
                if let Some(fetch) = engine
                    .shared_business_fetch(&business, session_duration, &params, &deadline)
                    .await
                {
                    // Boxed, so that a fetch without a shared cache is not larger for it.
                    return Ok(outcome(Box::pin(fetch.attempt(request)).await));
                }
                Ok(outcome(request().await.map(Outcome::Fetched)))
            });
            let outcome = deadline.bound(mint).await;
            drop(over);
            outcome.unwrap_or_else(Outcome::Failed)
        })
    }

    fn can_change(&self) -> bool {
        false
    }

    fn budget(&self) -> Duration {
        self.engine.config.timeout
    }
}
