//! The client: the public face. Glue only.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;
use url::Url;

use crate::batch::{BatchOptions, BusinessTokens};
use crate::business_id::BusinessId;
use crate::cache::{Borrowed, Reader};
use crate::call;
use crate::config::{ClientBuilder, Config};
use crate::engine::{AccessTokenSource, Engine, KeyRef};
use crate::environment::{self, Environment};
use crate::error::{Error, Result};
use crate::fork;
use crate::http::Request;
use crate::layer_api;
use crate::secret::Secret;
use crate::stats::Stats;
use crate::token::{AccessToken, BusinessToken, SessionDuration, WhoAmI};
use crate::warm;

/// The largest answer that [`Client::execute`] takes.
const EXECUTE_CAP: usize = 16 * 1024 * 1024;

/// More is as good as for ever, and overflows a clock.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A client of Layer's authentication: one per set of credentials, for the
/// whole program.
///
/// A clone is one reference more; all clones share one cache. It may be used
/// from any thread, task and runtime at once, outlives the runtime it was made
/// in, and works in the child after a `fork()`.
///
/// Its async methods want a Tokio runtime around them, built with `enable_all`. Each ends within the
/// client's timeout (30 seconds by default, see [`Client::with_timeout`]), and
/// each may be cancelled by dropping its future: a token request that others
/// wait for goes on.
#[derive(Clone)]
pub struct Client {
    engine: Arc<Engine>,
    timeout: Duration,
}

impl Client {
    /// Begins a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Makes a client from the environment's variables; see [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming what is missing or wrong.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.build()
    }

    pub(crate) fn new(config: Config) -> Self {
        fork::watch();
        let timeout = config.timeout;
        Self {
            engine: Arc::new(Engine::new(config)),
            timeout,
        }
    }

    /// The same client, sharing its cache, with another timeout for each call:
    /// everything included, waiting, retries and back-off. A day at the most.
    ///
    /// A token request is shared by all callers, so it has the client's own timeout
    /// ([`ClientBuilder::timeout`]): a shorter one ends the wait and not the request, a longer
    /// one is of use to the calls that follow it.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            timeout: timeout.min(LONGEST_TIMEOUT),
        }
    }

    /// What each call may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A valid access token: at once where there is one, else from a request
    /// that all callers share. A token about to expire is returned at once and
    /// replaced in the background.
    ///
    /// # Errors
    /// What the token request failed with, after its retries; the same for all who waited.
    /// While nothing can be expected to have changed since the last failure (2 to 60 seconds
    /// after a refusal of the credentials) that one is returned again with no request.
    pub async fn token(&self) -> Result<AccessToken> {
        if let Some(token) = self.borrow_token() {
            return Ok(token.clone());
        }
        self.ends(self.engine.access_token()).await
    }

    /// The access token if it is at hand; never waits, and needs no runtime.
    /// Where there is none, `None`, and a request for one is on its way.
    #[must_use]
    pub fn try_token(&self) -> Option<AccessToken> {
        self.token_at_hand().unwrap_or_else(|error| {
            tracing::debug!(target: "layerfi_auth", %error, "no token is at hand");
            None
        })
    }

    /// [`try_token`](Self::try_token) that tells of a failure: `None` is a
    /// token that may come, and worth another look.
    ///
    /// # Errors
    /// What the last token request failed with, while it is too early for another one: as
    /// [`token`](Self::token), which would fail with the same.
    pub fn token_at_hand(&self) -> Result<Option<AccessToken>> {
        if let Some(token) = self.borrow_token() {
            return Ok(Some(token.clone()));
        }
        let source = AccessTokenSource(Arc::clone(&self.engine));
        let entry = self.engine.access.poll(&self.engine.cx, &source)?;
        Ok(entry.map(|entry| entry.value.clone()))
    }

    /// The access token read where it lies: no lock, no allocation, no shared
    /// count, so threads do not slow one another. `None` where [`token`](Self::token)
    /// would wait; no request is started then.
    ///
    /// Meant to be held for a moment: copy what you need and let go.
    #[must_use]
    #[inline]
    pub fn borrow_token(&self) -> Option<TokenRef> {
        warm::ensure(&self.engine);
        let source = || AccessTokenSource(Arc::clone(&self.engine));
        self.engine
            .access
            .hit(&self.engine.cx, source)
            .map(TokenRef)
    }

    /// A reader for one thread or task, for the hottest loops: as long as the
    /// token stays the same, a read touches nothing that other threads write.
    #[must_use]
    pub fn reader(&self) -> TokenReader {
        TokenReader {
            reader: Reader::new(Arc::clone(&self.engine.access)),
            client: self.clone(),
        }
    }

    /// Asks Layer whose credentials these are: `GET /whoami`.
    ///
    /// # Errors
    /// As [`token`](Self::token), and [`ErrorKind::Api`](crate::ErrorKind::Api).
    pub async fn whoami(&self) -> Result<WhoAmI> {
        self.ends(self.engine.whoami(self.deadline())).await
    }

    /// A token for one business, to be handed to a browser: from the cache,
    /// with at least half of its life left, or newly minted. For one hour; see
    /// [`business_token_with`](Self::business_token_with) for other wishes.
    ///
    /// # Errors
    /// As [`whoami`](Self::whoami). If minting fails in a way that a retry may mend, and a
    /// token with less than half of its life is at hand, that one is returned.
    pub async fn business_token(&self, business: &BusinessId) -> Result<BusinessToken> {
        self.business_token_with(business, BusinessTokenOptions::default())
            .await
    }

    /// [`business_token`](Self::business_token) with a session duration and a
    /// minimum of remaining life of your own.
    ///
    /// # Errors
    /// As [`business_token`](Self::business_token).
    pub async fn business_token_with(
        &self,
        business: &BusinessId,
        options: BusinessTokenOptions,
    ) -> Result<BusinessToken> {
        let BusinessTokenOptions {
            session_duration,
            min_remaining,
        } = options;
        if min_remaining.is_none()
            && let Some(token) = self.try_business_token(business, session_duration)
        {
            return Ok(token);
        }
        let get = self
            .engine
            .business_token(business, session_duration, min_remaining, None);
        Ok(self.ends(get).await?.value.clone())
    }

    /// A business token if one with at least half of its life is at hand;
    /// never waits, and starts no request for one that is not.
    #[must_use]
    pub fn try_business_token(
        &self,
        business: &BusinessId,
        session_duration: SessionDuration,
    ) -> Option<BusinessToken> {
        self.engine.business.hit(
            &self.engine.cx,
            &KeyRef {
                business,
                session_duration,
            },
            || {
                self.engine
                    .business_source(business, session_duration, None)
            },
            |entry| entry.value.clone(),
        )
    }

    /// A new token for one business, always from Layer and cached nowhere.
    ///
    /// # Errors
    /// As [`whoami`](Self::whoami).
    pub async fn mint_business_token(
        &self,
        business: &BusinessId,
        session_duration: SessionDuration,
    ) -> Result<BusinessToken> {
        let deadline = self.deadline();
        let mint = self.engine.mint(business, session_duration, None, deadline);
        Ok(self.ends(mint).await?.value)
    }

    /// Tokens for many businesses: a stream of one result per input, in the
    /// order of the input. Duplicates are minted once; at most 32 requests are
    /// in flight, in step with Layer's rate limit. The client's timeout bounds
    /// each business from its turn on, and not the batch.
    ///
    /// A token at hand is returned as it is. Where its refresh is due, that
    /// comes after all that is missing and keeps to the same bounds; what the
    /// batch ends before is left to the next call.
    pub fn business_tokens(
        &self,
        businesses: impl IntoIterator<Item = BusinessId>,
    ) -> BusinessTokens {
        self.business_tokens_with(businesses, BatchOptions::default())
    }

    /// [`business_tokens`](Self::business_tokens) with options.
    pub fn business_tokens_with(
        &self,
        businesses: impl IntoIterator<Item = BusinessId>,
        options: BatchOptions,
    ) -> BusinessTokens {
        BusinessTokens::new(Arc::clone(&self.engine), self.timeout, businesses, options)
    }

    /// Throws the access token away because a server refused it with 401, if
    /// it is still the current one; the next call gets a new one. `false`
    /// where it is not, or where this happens so often that new tokens are
    /// clearly no help (five times at once, then once in ten seconds).
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        self.engine.invalidate(token)
    }

    /// Throws a cached business token away, if it is still the current one.
    pub fn invalidate_business_token(&self, token: &BusinessToken) -> bool {
        let key = KeyRef {
            business: token.business_id(),
            session_duration: token.session_duration(),
        };
        let is_it = |current: &BusinessToken| current == token;
        self.engine
            .business
            .invalidate(&self.engine.cx, &key, is_it)
    }

    /// Sends a request to the Layer API with the access token in its header.
    /// On 401 the token is thrown away and the request sent once more with a
    /// new one. Any other status is an answer and not an error; redirects are
    /// not followed.
    ///
    /// The URI is a path such as `/v1/businesses`, or a URL of the API: to any
    /// other host the token is not sent. Answers over 16 MiB are refused.
    ///
    /// # Errors
    /// As [`token`](Self::token); [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument)
    /// where the URI leads elsewhere.
    pub async fn execute(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let request = Request {
            url: self.own_url(&parts.uri)?,
            method: parts.method,
            headers: parts.headers,
            body,
            body_cap: EXECUTE_CAP,
            secret: Secret::new(""),
        };
        let mut answer = self
            .ends(self.engine.execute(request, self.deadline()))
            .await?;
        let body = Bytes::from(std::mem::take(&mut *answer.body));
        let mut response = http::Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    /// `GET` of a path, by [`execute`](Self::execute).
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn get(&self, path: &str) -> Result<http::Response<Bytes>> {
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|_| {
            Error::invalid_argument(
                "path",
                "the path is not a URI",
                "give a path such as /whoami",
            )
        })?;
        self.execute(request).await
    }

    /// Where a URI leads, if it leads to the API.
    fn own_url(&self, uri: &http::Uri) -> Result<Url> {
        let endpoints = &self.engine.config.endpoints;
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let url = if uri.authority().is_none() {
            layer_api::api_url(endpoints, path).ok()
        } else {
            environment::parse_url(&uri.to_string()).ok()
        };
        let api = layer_api::api_url(endpoints, "")?;
        // The same origin, and beneath the same path.
        url.filter(|url| {
            url.origin() == api.origin()
                && url.username().is_empty()
                && url.password().is_none()
                && url
                    .path()
                    .strip_prefix(api.path().trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .ok_or_else(|| {
            Error::invalid_argument(
                "uri",
                format!("the request's URI does not lead to {}", endpoints.api_url),
                "give a path, or a URL of the API; the token is sent nowhere else",
            )
        })
    }

    /// Checks a business id: a UUID, or any plain text where the client was
    /// built with `allow_opaque_business_ids`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn business_id(&self, id: &str) -> Result<BusinessId> {
        match id.parse() {
            Err(_) if self.engine.config.allow_opaque_business_ids => BusinessId::opaque(id),
            result => result,
        }
    }

    /// The environment it was built for.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.engine.config.endpoints.environment
    }

    /// The API's base URL, without a slash at its end.
    #[must_use]
    pub fn api_url(&self) -> &str {
        &self.engine.config.endpoints.api_url
    }

    /// The URL of the token endpoint.
    #[must_use]
    pub fn auth_url(&self) -> &str {
        self.engine.config.endpoints.auth_url.as_str()
    }

    /// The OAuth scope that is asked for.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.engine.config.endpoints.scope
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            business_tokens: self.engine.business.len(&self.engine.cx),
            expires_at: self
                .engine
                .access
                .peek()
                .map(|entry| entry.value.expires_at()),
            ..self.engine.cx.stats.snapshot()
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    async fn ends<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        call::ends(&self.engine, self.timeout, call).await
    }
}

impl ClientBuilder {
    /// Checks everything and makes the client. No request, no runtime needed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), whose [`Error::field`] names the setting.
    pub fn build(self) -> Result<Client> {
        self.resolve(|name| std::env::var(name).ok())
            .map(Client::new)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("environment", &self.environment())
            .field("api_url", &self.api_url())
            .field("credentials", &self.engine.config.credentials)
            .finish_non_exhaustive()
    }
}

/// What is wished of a cached business token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusinessTokenOptions {
    /// How long its session is to be; one hour by default.
    pub session_duration: SessionDuration,
    /// How much life it must have left, also if that means an error: of what the server gave
    /// it nine tenths at the most. By default half, and less where no new one can be had.
    pub min_remaining: Option<Duration>,
}

/// The access token, read where it lies. See [`Client::borrow_token`].
pub struct TokenRef(Borrowed<AccessToken>);

impl Deref for TokenRef {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        self.0.value()
    }
}

impl fmt::Debug for TokenRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// One thread's or task's own reader. See [`Client::reader`].
pub struct TokenReader {
    reader: Reader<AccessToken>,
    client: Client,
}

impl TokenReader {
    /// As [`Client::borrow_token`].
    #[inline]
    pub fn borrow_token(&mut self) -> Option<&AccessToken> {
        let engine = &self.client.engine;
        self.reader.hit(&engine.cx, || {
            // Not on every read: who reads in a loop is there when a refresh is due.
            warm::ensure(engine);
            AccessTokenSource(Arc::clone(engine))
        })
    }

    /// The client it reads for.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for TokenReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReader")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn builder(api_url: &str) -> ClientBuilder {
        Client::builder()
            .environment(Environment::Custom)
            .credentials("id", "a secret")
            .api_url(api_url)
            .auth_url("https://127.0.0.1:1/oauth2/token")
            .scope("scope")
            .no_proxy()
    }

    #[test]
    fn b19_whatever_a_uri_says_it_leads_to_the_api_or_nowhere() {
        let client = builder("https://gateway.example/layer").build().unwrap();
        for (uri, leads_to) in [
            ("/whoami", Some("https://gateway.example/layer/whoami")),
            ("/a?b=c", Some("https://gateway.example/layer/a?b=c")),
            (
                "https://gateway.example/layer/x",
                Some("https://gateway.example/layer/x"),
            ),
            ("/a/../b", Some("https://gateway.example/layer/b")),
            ("/../other", None),
            ("/%2e%2e/other", None),
            ("*", None),
            ("https://gateway.example/other", None),
            ("https://gateway.example/layers", None),
            ("https://gateway.example:8443/layer/x", None),
            ("http://gateway.example/layer/x", None),
            ("https://user@gateway.example/layer/x", None),
            ("https://gateway.example.evil.example/layer/x", None),
        ] {
            let url = client.own_url(&uri.parse().unwrap());
            let url = url.as_ref().map(Url::as_str);
            assert_eq!(url.ok(), leads_to, "{uri}");
        }
    }

    #[test]
    fn b04_b13_a_forked_worker_is_kept_warm_from_its_first_hit_on() {
        let client = builder("https://127.0.0.1:1")
            .keep_warm(true)
            .build()
            .unwrap();
        let warm_in = || client.engine.warm.load(Ordering::Relaxed);
        assert_eq!(warm_in(), 0, "building it starts nothing");
        for _ in 0..2 {
            assert!(client.borrow_token().is_none());
            assert_eq!(warm_in(), fork::generation());
            fork::pretend::fork();
        }
    }
}
