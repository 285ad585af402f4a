//! Client: the public API.

pub(crate) mod batch;
#[cfg(feature = "blocking")]
pub mod blocking;
pub(crate) mod builder;
mod call;
#[doc(hidden)]
pub mod diagnosis;
pub(crate) mod options;
#[cfg(feature = "blocking")]
mod pending;
pub(crate) mod reader;
#[cfg(feature = "blocking")]
mod waiting;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use url::Url;

use self::batch::BusinessTokens;
use self::builder::ClientBuilder;
use self::options::{BatchOptions, BusinessTokenOptions};
use self::reader::{BusinessTokenRef, TokenReader, TokenRef};
use crate::business_id::BusinessId;
use crate::deadline::{Deadline, MAX_TIMEOUT};
use crate::engine::business::{OfBusiness, Wanted};
use crate::engine::runtime::Wait;
use crate::engine::{Engine, keep_warm};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::protocol::layer_api;
use crate::protocol::message::{Request, Response};
use crate::secret::Secret;
use crate::session_duration::SessionDuration;
use crate::stats::Stats;
use crate::sys::fork;
use crate::token::{AccessToken, BusinessToken};
use crate::url::{is_below, parse_request_url};
use crate::whoami::WhoAmI;

/// Largest response that [`Client::execute`] accepts, in bytes.
const MAX_EXECUTE_BODY: usize = 16 * 1024 * 1024;

/// Client of Layer's authentication. Make one per set of credentials, for the
/// whole program.
///
/// Clones share one cache and are cheap. A client may be used from any number of
/// threads and tasks at once, and in the child after a `fork()`.
///
/// All I/O runs on one background thread per process, which the first request
/// starts. So async methods work under any executor, with or without a Tokio
/// runtime. Each call ends within the client's timeout (30 seconds by default, see
/// [`with_timeout`](Self::with_timeout)). Dropping a future cancels the call; a
/// token request that other calls share goes on.
#[derive(Clone)]
pub struct Client {
    engine: Arc<Engine>,
    timeout: Duration,
}

impl Client {
    /// Returns a builder.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Makes a client from environment variables; see [`ClientBuilder::from_env`].
    ///
    /// # Examples
    /// ```no_run
    /// # fn example() -> Result<(), layerfi_auth::Error> {
    /// let client = layerfi_auth::Client::from_env()?; // LAYER_ENVIRONMENT, LAYER_CLIENT_ID, …
    /// println!("{}", client.api_url());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming what is missing or invalid.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.build()
    }

    /// Returns the same client, with the same cache, and another timeout for each
    /// call, waits and retries included. A day at most.
    ///
    /// A token request is shared by all callers, so its own timeout is the one that
    /// the client was built with ([`ClientBuilder::timeout`]).
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            timeout: timeout.min(MAX_TIMEOUT),
        }
    }

    /// Timeout of each call.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Starts to get an access token in the background, so that the first call that
    /// needs one finds it. Call it where the program starts: it returns at once and
    /// needs no runtime. Does nothing while there is a valid token or a request for one.
    ///
    /// The background thread starts, reads the trusted certificates, and connects to the
    /// token endpoint. The connection to the API is opened by the first request to it:
    /// no other request is sent.
    ///
    /// A failed request is logged as a warning. It is returned by calls that need a
    /// token, as if they had sent it.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example() -> Result<(), layerfi_auth::Error> {
    /// let client = layerfi_auth::Client::from_env()?;
    /// client.prepare()?; // returns at once; the first call finds the token
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport), retryable, if the
    /// background thread cannot be started.
    pub fn prepare(&self) -> Result<()> {
        self.engine.prepare()
    }

    /// Returns a valid access token: at once if one is cached, otherwise from a
    /// request that all callers share. A token that is about to expire is returned
    /// at once and refreshed in the background.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// let token = client.token().await?;
    /// let request = layerfi_auth::reexports::http::Request::get(format!("{}/whoami", client.api_url()))
    ///     .header("authorization", token.authorization());
    /// # let _ = request;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The failure of the token request, after its retries. All callers
    /// that waited get the same error. For some time after a failure (2 to 60
    /// seconds after the credentials were refused) the same error is returned
    /// without a request.
    pub async fn token(&self) -> Result<AccessToken> {
        match self.borrow_token() {
            Some(token) => Ok(token.clone()),
            None => self.fetch_token().await,
        }
    }

    /// [`token`](Self::token) without a cached one. Boxed, so that the future of a hit
    /// is small.
    #[cold]
    pub(super) fn fetch_token(&self) -> Wait<AccessToken> {
        let get = |engine: Arc<Engine>, deadline: Deadline| async move {
            engine.access_token(deadline.progress()).await
        };
        call::run_shared(&self.engine, self.timeout, get)
    }

    /// Returns the access token if one is cached, and never waits. `None` means
    /// that a request is under way and a later call may succeed.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// match client.try_token()? {
    ///     Some(token) => println!("{} s left", token.remaining().as_secs()),
    ///     None => println!("not ready yet"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The failure of the last token request, during the quiet time
    /// after it.
    #[inline]
    pub fn try_token(&self) -> Result<Option<AccessToken>> {
        match self.borrow_token() {
            Some(token) => Ok(Some(token.clone())),
            None => self.engine.try_access_token(),
        }
    }

    /// Returns the access token for reading in place: no lock, no allocation, no
    /// shared count, so threads do not slow one another. Returns `None` if
    /// [`token`](Self::token) would wait; no request is started then.
    ///
    /// Hold it for a moment only: copy what you need.
    #[must_use]
    #[inline]
    pub fn borrow_token(&self) -> Option<TokenRef> {
        match self.engine.cached_access_token() {
            Some(hit) => Some(TokenRef::new(hit)),
            None => self.no_token(),
        }
    }

    /// Does what a hit would have done for `keep_warm`.
    #[cold]
    fn no_token(&self) -> Option<TokenRef> {
        keep_warm::ensure(&self.engine);
        None
    }

    /// Returns a reader for one thread or task, for hot loops: as long as the token
    /// stays the same, a read writes nothing that other threads use.
    #[must_use]
    pub fn reader(&self) -> TokenReader {
        TokenReader::new(Arc::clone(&self.engine))
    }

    /// Asks Layer which client the credentials belong to: `GET /whoami`.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// let me = client.whoami().await?;
    /// println!("{} ({})", me.client_name, me.client_id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`token`](Self::token), and [`ErrorKind::Api`](crate::ErrorKind::Api).
    pub async fn whoami(&self) -> Result<WhoAmI> {
        self.run(|engine, deadline| async move { engine.whoami(&deadline).await })
            .await
    }

    /// Returns a token for one business, to be handed to a browser: from the cache,
    /// with at least half of its lifetime left, or newly minted. The session
    /// duration is one hour; see [`business_token_with`](Self::business_token_with)
    /// for options.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client, business: layerfi_auth::BusinessId) -> Result<(), layerfi_auth::Error> {
    /// let token = client.business_token(&business).await?;
    /// println!("{token:?}"); // The token itself is not shown.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`whoami`](Self::whoami). If minting fails with a retryable
    /// error, a cached token with less than half of its lifetime left is returned
    /// instead.
    pub async fn business_token(&self, business: &BusinessId) -> Result<BusinessToken> {
        self.business_token_with(business, BusinessTokenOptions::default())
            .await
    }

    /// [`business_token`](Self::business_token) with options.
    ///
    /// # Errors
    /// As [`business_token`](Self::business_token).
    pub async fn business_token_with(
        &self,
        business: &BusinessId,
        options: BusinessTokenOptions,
    ) -> Result<BusinessToken> {
        match self.borrow_business_token(business, options) {
            Some(token) => Ok(token.clone()),
            None => self.fetch_business_token(wanted(business, options)).await,
        }
    }

    /// As [`fetch_token`](Self::fetch_token).
    #[cold]
    fn fetch_business_token(&self, wanted: Wanted) -> Wait<BusinessToken> {
        let get = |engine: Arc<Engine>, deadline: Deadline| async move {
            let get = engine.business_token(&wanted, None, deadline.progress());
            Ok(get.await?.value.clone())
        };
        call::run_shared(&self.engine, self.timeout, get)
    }

    /// Returns a business token if there is one in the cache that meets the options,
    /// and never waits. `None` means that a request is under way and a later call may
    /// succeed.
    ///
    /// # Errors
    /// The failure of the last request for this token, during the quiet
    /// time after it.
    pub fn try_business_token(
        &self,
        business: &BusinessId,
        options: impl Into<BusinessTokenOptions>,
    ) -> Result<Option<BusinessToken>> {
        let options = options.into();
        match self.borrow_business_token(business, options) {
            Some(token) => Ok(Some(token.clone())),
            None => self.engine.try_business_token(&wanted(business, options)),
        }
    }

    /// Returns a business token from the cache that meets the options; starts no
    /// request. Returns `None` if [`business_token_with`](Self::business_token_with)
    /// would wait.
    #[must_use]
    #[inline]
    pub fn cached_business_token(
        &self,
        business: &BusinessId,
        options: BusinessTokenOptions,
    ) -> Option<BusinessToken> {
        self.borrow_business_token(business, options)
            .map(|token| token.clone())
    }

    /// Returns a business token from the cache for reading in place, as
    /// [`borrow_token`](Self::borrow_token) does for the access token. Starts no
    /// request. Returns `None` if
    /// [`business_token_with`](Self::business_token_with) would wait.
    ///
    /// Hold it for a moment only: copy what you need.
    ///
    /// ```
    /// # use layerfi_auth::{BusinessId, Client, Result, SessionDuration};
    /// /// The answer of an endpoint that a page gets its token from.
    /// async fn answer(client: &Client, business: &BusinessId) -> Result<String> {
    ///     if let Some(token) = client.borrow_business_token(business, SessionDuration::default()) {
    ///         return Ok(token.to_json().expose().to_owned());
    ///     }
    ///     let token = client.business_token(business).await?;
    ///     Ok(token.to_json().expose().to_owned())
    /// }
    /// ```
    #[must_use]
    #[inline]
    pub fn borrow_business_token(
        &self,
        business: &BusinessId,
        options: impl Into<BusinessTokenOptions>,
    ) -> Option<BusinessTokenRef> {
        let BusinessTokenOptions {
            session_duration,
            min_remaining,
        } = options.into();
        self.engine
            .cached_business_token(business, session_duration, min_remaining)
            .map(BusinessTokenRef::new)
    }

    /// Mints a new token for one business. It is not cached.
    ///
    /// # Errors
    /// As [`whoami`](Self::whoami).
    pub async fn mint_business_token(
        &self,
        business: &BusinessId,
        session_duration: SessionDuration,
    ) -> Result<BusinessToken> {
        let business = business.clone();
        self.run(move |engine, deadline| async move {
            let mint = pin!(engine.mint(&business, session_duration, None, &deadline));
            Ok(mint.await?.value)
        })
        .await
    }

    /// Returns tokens for many businesses: a stream of one result per input, in the
    /// order of the input. Duplicates are minted once; at most 32 requests are in
    /// flight, within Layer's rate limit. The client's timeout bounds the request of
    /// each business, not the batch.
    ///
    /// Cached tokens are returned as they are. Those that are due for refresh are
    /// refreshed after all missing ones, within the same limits, until the batch ends.
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
        let inputs = businesses.into_iter().map(|id| (String::new(), Ok(id)));
        BusinessTokens::new(Arc::clone(&self.engine), self.timeout, inputs, options)
    }

    /// [`business_tokens_with`](Self::business_tokens_with) for ids as text.
    /// The result of an invalid id is an error, and no request is sent for it.
    pub fn business_tokens_for_ids(
        &self,
        ids: impl IntoIterator<Item = impl Into<String>>,
        options: BatchOptions,
    ) -> BusinessTokens {
        let inputs = ids.into_iter().map(|id| {
            let text = id.into();
            let id = self.business_id(&text);
            (text, id)
        });
        BusinessTokens::new(Arc::clone(&self.engine), self.timeout, inputs, options)
    }

    /// Returns an access token other than one that a server refused with 401: the
    /// current one if it is another, otherwise a new one. Until that arrives, other
    /// callers get the current token, because the server may refuse it for one
    /// resource only. After too many refusals (allowed are five at once, then one per
    /// ten seconds) it returns `refused` itself: the 401 is then final.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// let token = client.token().await?;
    /// // … the API answers 401 to this token …
    /// let fresh = client.renew_token(&token).await?;
    /// if fresh != token {
    ///     // Send the request once more, with `fresh.authorization()`.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub async fn renew_token(&self, refused: &AccessToken) -> Result<AccessToken> {
        let refused = refused.clone();
        let renew = |engine: Arc<Engine>, deadline: Deadline| async move {
            let renewed = engine.renew_access_token(&refused, deadline.progress());
            Ok(renewed.await?.unwrap_or(refused))
        };
        call::run_shared(&self.engine, self.timeout, renew).await
    }

    /// Returns another business token than one that a page reports as refused, given as
    /// the token alone or as the value of the `Authorization` header, and keeps serving
    /// the refused one to others until the new one arrives. Compares in constant time.
    ///
    /// Returns the current token if it is another one already, if it is less than 10
    /// seconds old, or after too many refusals: a page that gets 401 for everything must
    /// not cause a request each time.
    ///
    /// # Errors
    /// As [`business_token`](Self::business_token).
    pub async fn renew_business_token(
        &self,
        business: &BusinessId,
        options: BusinessTokenOptions,
        refused: impl Into<Secret>,
    ) -> Result<BusinessToken> {
        let (wanted, refused) = (wanted(business, options), refused.into());
        let renew = |engine: Arc<Engine>, deadline: Deadline| async move {
            let progress = deadline.progress();
            engine
                .renew_business_token(&wanted, &refused, progress)
                .await
        };
        call::run_shared(&self.engine, self.timeout, renew).await
    }

    /// Removes the access token from the cache because a server refused it with 401,
    /// if it is still the current one; the next call gets a new one. Returns `false`
    /// if it is not, or after too many invalidations (allowed are five at once, then
    /// one per ten seconds).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// let token = client.token().await?;
    /// client.invalidate(&token); // The next call gets a new one.
    /// # Ok(())
    /// # }
    /// ```
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        self.engine
            .invalidate_access_token(|current| current == token)
    }

    /// Removes a business token from the cache, if it is still the current one.
    /// Limited like [`invalidate`](Self::invalidate).
    pub fn invalidate_business_token(&self, token: &BusinessToken) -> bool {
        self.engine.invalidate_business_token(token)
    }

    /// Removes a token from the cache that a server refused with 401, an access token
    /// or a business token, given as the value of the `Authorization` header or as
    /// the token alone. Compares in constant time. Limited like
    /// [`invalidate`](Self::invalidate).
    pub fn invalidate_text(&self, token: &str) -> bool {
        self.engine
            .invalidate_access_token(|current| current.is(token))
            || self
                .engine
                .business
                .invalidate_any(&self.engine.cx, |current| current.is(token))
    }

    /// Sends a request to the Layer API with the access token in its header. On 401
    /// the request is sent once more with a new token. A response with any other
    /// status is returned, not an error; redirects are not followed.
    ///
    /// The URI is a path such as `/v1/businesses`, or a URL of the API: the token is
    /// not sent to any other host. Responses over 16 MiB are rejected. Only the
    /// client's timeout limits the request.
    ///
    /// # Errors
    /// As [`token`](Self::token);
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the URI is not one of
    /// the API.
    pub async fn execute(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let request = self.api_request(request)?;
        let received = self
            .run(
                |engine, deadline| async move { engine.execute(&engine, request, &deadline).await },
            )
            .await?;
        Ok(api_response(received))
    }

    /// Sends a request as [`execute`](Self::execute) does, but with a business token: it
    /// can read this business only. The token comes from the cache, or is minted.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// use layerfi_auth::{BusinessTokenOptions, reexports::http};
    ///
    /// let business = client.business_id("3fa85f64-5717-4562-b3fc-2c963f66afa6")?;
    /// let path = format!("/v1/businesses/{business}/invoices");
    /// let request = http::Request::get(path).body("".into()).unwrap();
    /// let options = BusinessTokenOptions::default();
    /// let answer = client.execute_for_business(&business, options, request).await?;
    /// println!("{}", answer.status());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`business_token`](Self::business_token) and [`execute`](Self::execute).
    pub async fn execute_for_business(
        &self,
        business: &BusinessId,
        options: impl Into<BusinessTokenOptions>,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>> {
        let (wanted, request) = (wanted(business, options.into()), self.api_request(request)?);
        let received = self
            .run(|engine, deadline| async move {
                let source = OfBusiness {
                    engine: &engine,
                    wanted: &wanted,
                };
                engine.execute(&source, request, &deadline).await
            })
            .await?;
        Ok(api_response(received))
    }

    /// The request in the engine's form, if its URI is one of the API.
    fn api_request(&self, request: http::Request<Bytes>) -> Result<Request> {
        let (parts, body) = request.into_parts();
        Ok(Request {
            url: self.request_url(&parts.uri)?,
            peer: self.engine.config.endpoints.api.clone(),
            method: parts.method,
            headers: Arc::new(parts.headers),
            authorization: HeaderValue::from_static(""),
            body,
            max_body: MAX_EXECUTE_BODY,
            bounded_attempt: false,
            secret: Secret::new(""),
        })
    }

    /// Sends a `GET` of a path by [`execute`](Self::execute).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: layerfi_auth::Client) -> Result<(), layerfi_auth::Error> {
    /// let answer = client.get("/whoami").await?; // After a 401, once more with a new token.
    /// println!("{}", answer.status());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn get(&self, path: &str) -> Result<http::Response<Bytes>> {
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|_| {
            Error::invalid_argument(
                "path",
                "path is not a valid URI",
                "give a path such as /whoami",
            )
        })?;
        self.execute(request).await
    }

    /// URL of a request, if it is one of the API.
    fn request_url(&self, uri: &http::Uri) -> Result<Url> {
        let endpoints = &self.engine.config.endpoints;
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let url = if uri.authority().is_none() {
            layer_api::api_url(endpoints, path).ok()
        } else {
            parse_request_url(&uri.to_string())
        };
        let url = url.filter(|url| is_below(url, &endpoints.base));
        url.ok_or_else(|| {
            Error::invalid_argument(
                "uri",
                format!("uri is not a URL of {}", endpoints.api_url),
                "give a path, or a URL of the API; the token is not sent elsewhere",
            )
        })
    }

    /// Parses a business id: a UUID, or any plain text if the client was built with
    /// [`allow_opaque_business_ids`](ClientBuilder::allow_opaque_business_ids).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    #[inline]
    pub fn business_id(&self, id: &str) -> Result<BusinessId> {
        match BusinessId::parse_uuid(id) {
            Some(id) => Ok(id),
            None if self.engine.config.allow_opaque_business_ids => BusinessId::opaque(id),
            None => id.parse(),
        }
    }

    /// Environment that the client was built for.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.engine.config.endpoints.environment
    }

    /// Base URL of the API, without a trailing slash.
    #[must_use]
    pub fn api_url(&self) -> &str {
        &self.engine.config.endpoints.api_url
    }

    /// URL of the token endpoint.
    #[must_use]
    pub fn auth_url(&self) -> &str {
        self.engine.config.endpoints.auth_url.as_str()
    }

    /// OAuth scope of the token request.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.engine.config.endpoints.scope
    }

    /// Counters of events since the client was created.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            business_tokens: self.engine.business.len(&self.engine.cx),
            expires_at: self
                .engine
                .access
                .peek()
                .map(|entry| entry.value.expires_at()),
            #[cfg(feature = "redis")]
            shared_cache: self.engine.shared_cache_state(),
            ..self.engine.cx.stats.snapshot()
        }
    }

    async fn run<T, F>(
        &self,
        call: impl FnOnce(Arc<Engine>, Deadline) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        call::run(&self.engine, self.timeout, call).await
    }
}

fn api_response(received: Response) -> http::Response<Bytes> {
    let mut response = http::Response::new(received.body);
    *response.status_mut() = received.status;
    *response.headers_mut() = received.headers;
    response
}

fn wanted(business: &BusinessId, options: BusinessTokenOptions) -> Wanted {
    Wanted {
        business: business.clone(),
        session_duration: options.session_duration,
        min_remaining: options.min_remaining,
    }
}

impl ClientBuilder {
    /// Validates the settings and makes the client. It makes no request and needs no
    /// runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config); [`Error::field`] names the setting.
    pub fn build(self) -> Result<Client> {
        let config = self.resolve(|name| std::env::var(name).ok())?;
        fork::watch();
        let timeout = config.timeout;
        Ok(Client {
            engine: Arc::new(Engine::new(config)),
            timeout,
        })
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

#[cfg(test)]
pub(crate) mod tests {
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

    /// Engine of a client that makes no requests.
    pub(crate) fn engine(set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Arc<Engine> {
        let client = set(builder("https://127.0.0.1:1")).build().unwrap();
        Arc::clone(&client.engine)
    }

    #[test]
    fn b19_uri_outside_the_api_is_refused() {
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
            let url = client.request_url(&uri.parse().unwrap());
            let url = url.as_ref().map(Url::as_str);
            assert_eq!(url.ok(), leads_to, "uri {uri}");
        }
    }
}
