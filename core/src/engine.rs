//! What the client is made of: the exchanges with Layer, and the cache that
//! asks for them.

use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::business_id::BusinessId;
use crate::cache::{Context, Entry, Fetched, Keyed, Mode, Outcome, Slot, Source};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Answer, Http, Request};
use crate::layer_api;
use crate::oauth;
use crate::pace::{Pace, Permit};
use crate::retry;
use crate::runtime::Runtime;
use crate::stats::{Counters, Event};
use crate::sync::{Mutex, lock};
use crate::token::{AccessToken, BusinessToken, SessionDuration, WhoAmI};

/// What a cached business token is filed under.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    business: BusinessId,
    session_duration: SessionDuration,
}

/// The same, borrowed: looking one up must not touch a shared count.
pub(crate) struct KeyRef<'a> {
    pub(crate) business: &'a BusinessId,
    pub(crate) session_duration: SessionDuration,
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `Key` derives it.
        self.business.hash(state);
        self.session_duration.hash(state);
    }
}

impl hashbrown::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.business == key.business && self.session_duration == key.session_duration
    }
}

/// How much of a business token's life must be left when it is handed out.
pub(crate) const BUSINESS_RESERVE: f64 = 0.5;

pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) cx: Context,
    /// The process generation in which `keep_warm` runs.
    pub(crate) warm: AtomicU32,
    pub(crate) access: Arc<Slot<AccessToken>>,
    pub(crate) business: Keyed<Key, BusinessToken>,
    http: Http,
    /// How fast batches may go.
    pub(crate) pace: Pace,
    /// The credentials that the server last refused for good.
    refused: ArcSwapOption<Credentials>,
}

impl Engine {
    pub(crate) fn new(config: Config) -> Self {
        let environment = config.endpoints.environment;
        Self {
            cx: Context {
                clock: config.clock.clone(),
                spawn: Arc::new(Runtime),
                stats: Arc::new(Counters::default()),
            },
            warm: AtomicU32::new(0),
            access: Arc::new(Slot::new()),
            business: Keyed::new(config.business_token_capacity),
            http: Http::new(config.http.clone()),
            pace: Pace::new(
                environment.requests_per_second(),
                environment != Environment::Custom,
            ),
            refused: ArcSwapOption::empty(),
            config,
        }
    }

    /// The access token, from the cache or from the flight for it.
    pub(crate) async fn access_token(self: &Arc<Self>) -> Result<AccessToken> {
        let source = AccessTokenSource(Arc::clone(self));
        let entry = self.access.get(&self.cx, &source, None).await?;
        Ok(entry.value.clone())
    }

    /// Whether a token is at hand; starts the refresh that may be due.
    pub(crate) fn borrow_access_token(self: &Arc<Self>) -> bool {
        self.access
            .hit(&self.cx, || AccessTokenSource(Arc::clone(self)))
            .is_some()
    }

    /// A business token, from the cache or from its key's flight.
    pub(crate) async fn business_token(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        remaining: Option<Duration>,
        permit: Option<Permit>,
    ) -> Result<Arc<Entry<BusinessToken>>> {
        let key = Key {
            business: business.clone(),
            session_duration,
        };
        let source = self.business_source(business, session_duration, permit);
        self.business.get(&self.cx, &key, source, remaining).await
    }

    /// With a permit it keeps to the pace, beginning with that one.
    pub(crate) fn business_source(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        permit: Option<Permit>,
    ) -> BusinessTokenSource {
        BusinessTokenSource {
            engine: Arc::clone(self),
            business: business.clone(),
            session_duration,
            paced: permit.is_some(),
            permit: Mutex::new(permit),
            over: Mutex::new(None),
        }
    }

    /// Starts a refresh for a batch, if it is still due. It is one of the
    /// batch's requests in flight until what is returned resolves.
    pub(crate) fn refresh_business_token(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        permit: Permit,
    ) -> oneshot::Receiver<()> {
        let (sender, over) = oneshot::channel();
        let mut source = self.business_source(business, session_duration, Some(permit));
        source.over = Mutex::new(Some(sender));
        let key = KeyRef {
            business,
            session_duration,
        };
        self.business.refresh(&self.cx, &key, source);
        over
    }

    pub(crate) fn invalidate(&self, token: &AccessToken) -> bool {
        self.access.invalidate(&self.cx, |current| current == token)
    }

    /// Runs a call of the API with the access token. On 401 the token is
    /// thrown away and the call made once more with a new one; if that is
    /// refused too, or there is no other, the 401 stands.
    async fn authorized<T, F>(
        self: &Arc<Self>,
        deadline: Instant,
        mut call: impl FnMut(AccessToken) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let token = self.access_token().await?;
        let refusal = match self.retrying(deadline, || call(token.clone())).await {
            Err(error) if error.http_status() == Some(401) => error,
            result => return result,
        };
        self.invalidate(&token);
        let fresh = self.access_token().await?;
        if fresh == token {
            return Err(refusal);
        }
        self.retrying(deadline, || call(fresh.clone())).await
    }

    async fn retrying<T, F>(&self, deadline: Instant, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let on_retry = |error: &Error, delay: Duration| {
            self.cx.stats.count(Event::Retry);
            tracing::debug!(target: "layerfi_auth", %error, ?delay, "a request failed and is sent again");
        };
        retry::run(self.config.retry, deadline, on_retry, attempt).await
    }

    #[tracing::instrument(level = "debug", target = "layerfi_auth", skip_all)]
    pub(crate) async fn whoami(self: &Arc<Self>, deadline: Instant) -> Result<WhoAmI> {
        self.authorized(deadline, |token| async move {
            layer_api::whoami(&self.http, &self.config.endpoints, &token, deadline).await
        })
        .await
    }

    /// Mints a token, cached nowhere. With a permit all its requests keep to
    /// the pace; the first has its leave already.
    #[tracing::instrument(level = "debug", target = "layerfi_auth", skip_all, fields(%business))]
    pub(crate) async fn mint(
        self: &Arc<Self>,
        business: &BusinessId,
        session_duration: SessionDuration,
        mut permit: Option<Permit>,
        deadline: Instant,
    ) -> Result<Fetched<BusinessToken>> {
        let paced = permit.is_some();
        self.authorized(deadline, |token| {
            let first = permit.take();
            async move {
                let mut permit = match first {
                    None if paced => Some(self.pace.ready().await),
                    first => first,
                };
                if let Some(permit) = &mut permit {
                    permit.sent();
                }
                self.cx.stats.count(Event::Mint);
                // The life is counted from before the request is sent.
                let requested_at = self.cx.clock.now();
                let result = layer_api::mint_business_token(
                    &self.http,
                    &self.config.endpoints,
                    &token,
                    business,
                    session_duration,
                    deadline,
                )
                .await;
                if let Some(permit) = permit {
                    permit.answered(result.as_ref().map(|answer| &answer.headers));
                }
                let answer = result?.value;
                let value = BusinessToken::new(
                    &answer.access_token,
                    business.clone(),
                    session_duration,
                    requested_at,
                    answer.lifetime,
                )
                .map_err(|why| {
                    Error::protocol(format!("minting a token: {why}"), Default::default())
                })?;
                Ok(Fetched {
                    value,
                    requested_at,
                    lifetime: answer.lifetime,
                    reserve: BUSINESS_RESERVE,
                })
            }
        })
        .await
    }

    /// Sends a request of the user's with the access token. Any status is an
    /// answer; only 401 is met with one more try.
    #[tracing::instrument(level = "debug", target = "layerfi_auth", skip_all, fields(method = %request.method, path = request.url.path()))]
    pub(crate) async fn execute(
        self: &Arc<Self>,
        mut request: Request,
        deadline: Instant,
    ) -> Result<Answer> {
        let token = self.access_token().await?;
        let authorize = |request: &mut Request, token: &AccessToken| {
            request
                .headers
                .insert(http::header::AUTHORIZATION, token.authorization().clone());
            request.secret = token.shared_secret();
        };
        authorize(&mut request, &token);
        let answer = self.http.send(&request, deadline).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.invalidate(&token);
        let fresh = self.access_token().await?;
        if fresh == token {
            return Ok(answer);
        }
        authorize(&mut request, &fresh);
        self.http.send(&request, deadline).await
    }

    /// Gets an access token by client credentials, with retries. A refusal of
    /// credentials that may have been rotated is met by reading them again.
    async fn acquire(&self, mode: Mode) -> Outcome<AccessToken> {
        let deadline = Instant::now() + self.config.timeout;
        match timeout_at(deadline, self.acquire_by(mode, deadline)).await {
            Ok(Ok(Some(fetched))) => Outcome::Fetched(fetched),
            Ok(Ok(None)) => Outcome::Unchanged,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(Error::timeout(format!(
                "no access token within {:?}",
                self.config.timeout
            ))),
        }
    }

    async fn acquire_by(
        &self,
        mode: Mode,
        deadline: Instant,
    ) -> Result<Option<Fetched<AccessToken>>> {
        let source = &self.config.credentials;
        let encoding = self.config.basic_encoding;
        let mut credentials = source.read(encoding).await?;
        if mode == Mode::IfChanged && self.was_refused(&credentials) {
            return Ok(None);
        }
        // Once more at the most: a provider that gives others each time must
        // not become a loop of requests.
        let mut may_reread = source.can_change();
        loop {
            let error = match self.request_token(&credentials, deadline).await {
                Ok(fetched) => {
                    self.refused.store(None);
                    return Ok(Some(fetched));
                }
                Err(error) => error,
            };
            if error.kind() != ErrorKind::OAuth || error.is_retryable() || !source.can_change() {
                return Err(error);
            }
            self.refused.store(Some(Arc::new(credentials)));
            if !may_reread {
                return Err(error);
            }
            may_reread = false;
            credentials = source.read(encoding).await?;
            if self.was_refused(&credentials) {
                return Err(error);
            }
        }
    }

    fn was_refused(&self, credentials: &Credentials) -> bool {
        self.refused
            .load()
            .as_ref()
            .is_some_and(|refused| **refused == *credentials)
    }

    async fn request_token(
        &self,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Fetched<AccessToken>> {
        self.retrying(deadline, || async {
            self.cx.stats.count(Event::TokenRequest);
            // The life is counted from before the request is sent.
            let requested_at = self.cx.clock.now();
            let answer = oauth::request_token(
                &self.http,
                &self.config.endpoints,
                credentials,
                self.config.basic_encoding,
                deadline,
            )
            .await?;
            let value = AccessToken::new(&answer.access_token, requested_at, answer.lifetime)
                .map_err(|why| {
                    Error::protocol(format!("token request: {why}"), Default::default())
                })?;
            tracing::debug!(
                target: "layerfi_auth",
                expires_in = answer.lifetime.as_secs(),
                "a new access token"
            );
            Ok(Fetched {
                value,
                requested_at,
                lifetime: answer.lifetime,
                reserve: 0.0,
            })
        })
        .await
    }
}

/// Access tokens, for their slot.
pub(crate) struct AccessTokenSource(pub(crate) Arc<Engine>);

impl Source<AccessToken> for AccessTokenSource {
    fn fetch(&self, mode: Mode) -> BoxFuture<'static, Outcome<AccessToken>> {
        let engine = Arc::clone(&self.0);
        let span = tracing::debug_span!(target: "layerfi_auth", "get_access_token");
        Box::pin(async move { engine.acquire(mode).await }.instrument(span))
    }

    fn can_change(&self) -> bool {
        self.0.config.credentials.can_change()
    }

    fn budget(&self) -> Duration {
        self.0.config.timeout
    }
}

/// Business tokens of one key, for its slot.
pub(crate) struct BusinessTokenSource {
    engine: Arc<Engine>,
    business: BusinessId,
    session_duration: SessionDuration,
    paced: bool,
    /// For the first flight.
    permit: Mutex<Option<Permit>>,
    /// Dropped when that one is over, whatever becomes of it.
    over: Mutex<Option<oneshot::Sender<()>>>,
}

impl Source<BusinessToken> for BusinessTokenSource {
    fn fetch(&self, _: Mode) -> BoxFuture<'static, Outcome<BusinessToken>> {
        let engine = Arc::clone(&self.engine);
        let business = self.business.clone();
        let Self {
            session_duration,
            paced,
            ..
        } = *self;
        let permit = lock(&self.permit).take();
        let over = lock(&self.over).take();
        Box::pin(async move {
            let timeout = engine.config.timeout;
            let deadline = Instant::now() + timeout;
            let mint = async {
                // Asked for by itself first: a failure of the access token's is
                // not this business's, and is kept quiet about where it arose.
                engine
                    .access_token()
                    .await
                    .map_err(Outcome::FailedEarlier)?;
                let permit = match permit {
                    None if paced => Some(engine.pace.ready().await),
                    permit => permit,
                };
                let mint = engine.mint(&business, session_duration, permit, deadline);
                mint.await.map_err(|error| match error.kind() {
                    ErrorKind::OAuth | ErrorKind::Credentials => Outcome::FailedEarlier(error),
                    _ => Outcome::Failed(error),
                })
            };
            let minted = timeout_at(deadline, mint).await;
            drop(over);
            match minted {
                Ok(Ok(fetched)) => Outcome::Fetched(fetched),
                Ok(Err(outcome)) => outcome,
                Err(_) => Outcome::Failed(Error::timeout(format!(
                    "no token for business {business} within {timeout:?}"
                ))),
            }
        })
    }

    fn can_change(&self) -> bool {
        false
    }

    fn budget(&self) -> Duration {
        self.engine.config.timeout
    }
}
