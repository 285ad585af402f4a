//! Blocking client, for threads.
//!
//! Hits are served on the calling thread. Everything else runs on the engine's
//! background thread while the caller waits.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::batch::{BatchProgress, BusinessTokens};
use super::builder::ClientBuilder;
use super::options::{BatchOptions, BusinessTokenOptions};
pub use super::pending::Pending;
use super::reader::{BusinessTokenRef, TokenReader, TokenRef};
#[doc(hidden)]
pub use super::waiting::Waiting;
use super::waiting::would_deadlock;
use crate::business_id::BusinessId;
use crate::engine::runtime;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::session_duration::SessionDuration;
use crate::stats::Stats;
use crate::sys::queue::{Received, queue};
use crate::sys::{fork, threads};
use crate::token::{AccessToken, BusinessToken};
use crate::whoami::WhoAmI;

/// Maximum interval between two progress reports of a batch.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Generation of this process, which changes with each fork. For bindings that
/// have their own threads. Forks are counted from the first client on.
#[doc(hidden)]
#[must_use]
pub fn process_generation() -> u32 {
    fork::watch();
    fork::process()
}

/// Starts a thread that blocks all signals. For bindings, whose credentials
/// providers may block.
///
/// # Errors
/// The system's error if the process may start no other thread.
#[doc(hidden)]
pub fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    threads::start(name, run)
}

/// Waits for what runs on the library's thread, until the process loses that thread. For
/// bindings, whose own channels know nothing of it.
#[doc(hidden)]
pub fn until_lost<T>(
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    runtime::Wait::new(Box::pin(call))
}

/// Value whose use or drop wakes the library's thread, such as a channel. It is neither used
/// nor dropped after the process has lost that thread. For bindings.
#[doc(hidden)]
pub struct Held<T>(runtime::Tied<T>);

impl<T> Held<T> {
    pub fn new(value: T) -> Self {
        Self(runtime::Tied::new(value))
    }

    /// # Errors
    /// Retryable, after a fork, or after the program has closed the library's descriptors.
    pub fn get(&self) -> Result<&T> {
        self.0.get()
    }
}

/// [`crate::Client`] whose calls block the thread.
///
/// [`Client::from`] and [`Client::as_async`] convert between the two, which share
/// one cache. Each call ends within the client's timeout. Do not use it on the
/// threads of an async runtime, which must not block, nor in a log subscriber.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
}

impl From<crate::Client> for Client {
    fn from(client: crate::Client) -> Self {
        Self { client }
    }
}

impl Client {
    /// Returns a builder; make the client with [`ClientBuilder::build_blocking`].
    pub fn builder() -> ClientBuilder {
        crate::Client::builder()
    }

    /// Makes a client from environment variables; see [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming what is missing or invalid.
    pub fn from_env() -> Result<Self> {
        crate::Client::from_env().map(Self::from)
    }

    /// The same client, for async calls.
    #[must_use]
    pub fn as_async(&self) -> &crate::Client {
        &self.client
    }

    /// As [`crate::Client::with_timeout`].
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            client: self.client.with_timeout(timeout),
        }
    }

    /// Starts a call in the background and returns at once, for callers that check
    /// something else while they wait, such as signals.
    ///
    /// # Errors
    /// [`Transport`](crate::ErrorKind::Transport) if no thread can be started.
    pub fn start<T, F>(&self, call: impl FnOnce(crate::Client) -> F) -> Result<Pending<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.client.engine.check_may_wait()?;
        Pending::start(self.client.timeout(), call(self.client.clone()))
    }

    /// Makes a call that goes on while this thread waits for it. For bindings, which
    /// check for signals meanwhile.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) on the library's own thread.
    #[doc(hidden)]
    pub fn waiting<T, F>(&self, call: impl FnOnce(crate::Client) -> F) -> Result<Waiting<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Waiting::new(self.client.timeout(), call(self.client.clone()))
    }

    fn run<T, F>(&self, call: impl FnOnce(crate::Client) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.waiting(call)?.join()
    }

    /// As [`crate::Client::prepare`].
    ///
    /// # Errors
    /// As [`crate::Client::prepare`].
    pub fn prepare(&self) -> Result<()> {
        self.client.prepare()
    }

    /// As [`crate::Client::token`].
    ///
    /// # Errors
    /// As [`crate::Client::token`].
    #[inline]
    pub fn token(&self) -> Result<AccessToken> {
        match self.client.borrow_token() {
            Some(token) => Ok(token.clone()),
            None => self.fetch_token(),
        }
    }

    /// [`token`](Self::token) without a cached one.
    #[cold]
    #[inline(never)]
    fn fetch_token(&self) -> Result<AccessToken> {
        Waiting::new(self.client.timeout(), self.client.fetch_token())?.join()
    }

    /// As [`crate::Client::renew_token`].
    ///
    /// # Errors
    /// As [`crate::Client::renew_token`].
    pub fn renew_token(&self, refused: &AccessToken) -> Result<AccessToken> {
        let refused = refused.clone();
        self.run(|client| async move { client.renew_token(&refused).await })
    }

    /// As [`crate::Client::renew_business_token`].
    ///
    /// # Errors
    /// As [`crate::Client::renew_business_token`].
    pub fn renew_business_token(
        &self,
        business: &BusinessId,
        options: BusinessTokenOptions,
        refused: impl Into<Secret>,
    ) -> Result<BusinessToken> {
        self.renew_refused_business_token(business.clone(), options, refused.into())
    }

    /// Not generic, so that it is compiled once and not in each crate that calls it.
    fn renew_refused_business_token(
        &self,
        business: BusinessId,
        options: BusinessTokenOptions,
        refused: Secret,
    ) -> Result<BusinessToken> {
        self.run(|client| async move {
            client
                .renew_business_token(&business, options, refused)
                .await
        })
    }

    /// As [`crate::Client::try_token`].
    ///
    /// # Errors
    /// As [`crate::Client::try_token`].
    #[inline]
    pub fn try_token(&self) -> Result<Option<AccessToken>> {
        self.client.try_token()
    }

    /// As [`crate::Client::borrow_token`].
    #[must_use]
    #[inline]
    pub fn borrow_token(&self) -> Option<TokenRef> {
        self.client.borrow_token()
    }

    /// As [`crate::Client::reader`].
    #[must_use]
    pub fn reader(&self) -> TokenReader {
        self.client.reader()
    }

    /// As [`crate::Client::whoami`].
    ///
    /// # Errors
    /// As [`crate::Client::whoami`].
    pub fn whoami(&self) -> Result<WhoAmI> {
        self.run(|client| async move { client.whoami().await })
    }

    /// As [`crate::Client::business_token`].
    ///
    /// # Errors
    /// As [`crate::Client::business_token`].
    pub fn business_token(&self, business: &BusinessId) -> Result<BusinessToken> {
        self.business_token_with(business, BusinessTokenOptions::default())
    }

    /// As [`crate::Client::business_token_with`].
    ///
    /// # Errors
    /// As [`crate::Client::business_token_with`].
    pub fn business_token_with(
        &self,
        business: &BusinessId,
        options: BusinessTokenOptions,
    ) -> Result<BusinessToken> {
        match self.client.borrow_business_token(business, options) {
            Some(token) => Ok(token.clone()),
            None => self.fetch_business_token(business.clone(), options),
        }
    }

    /// As [`fetch_token`](Self::fetch_token).
    #[cold]
    #[inline(never)]
    fn fetch_business_token(
        &self,
        business: BusinessId,
        options: BusinessTokenOptions,
    ) -> Result<BusinessToken> {
        self.run(|client| async move { client.business_token_with(&business, options).await })
    }

    /// As [`crate::Client::borrow_business_token`].
    #[must_use]
    #[inline]
    pub fn borrow_business_token(
        &self,
        business: &BusinessId,
        options: impl Into<BusinessTokenOptions>,
    ) -> Option<BusinessTokenRef> {
        self.client.borrow_business_token(business, options)
    }

    /// As [`crate::Client::try_business_token`].
    ///
    /// # Errors
    /// As [`crate::Client::try_business_token`].
    pub fn try_business_token(
        &self,
        business: &BusinessId,
        options: impl Into<BusinessTokenOptions>,
    ) -> Result<Option<BusinessToken>> {
        self.client.try_business_token(business, options)
    }

    /// As [`crate::Client::mint_business_token`].
    ///
    /// # Errors
    /// As [`crate::Client::mint_business_token`].
    pub fn mint_business_token(
        &self,
        business: &BusinessId,
        session_duration: SessionDuration,
    ) -> Result<BusinessToken> {
        let business = business.clone();
        self.run(|client| async move {
            client
                .mint_business_token(&business, session_duration)
                .await
        })
    }

    /// Returns tokens for many businesses, one result per input, in order; see
    /// [`crate::Client::business_tokens`]. `progress` is called on the calling thread,
    /// with each result and at least four times a second. If it returns `false`, the
    /// batch ends, and each missing result is an error. The client's timeout bounds
    /// the request of each business, not the batch.
    pub fn business_tokens(
        &self,
        businesses: impl IntoIterator<Item = BusinessId>,
        options: BatchOptions,
        mut progress: impl FnMut(BatchProgress) -> bool,
    ) -> Vec<Result<BusinessToken>> {
        collect(
            self.client.business_tokens_with(businesses, options),
            self.client.timeout(),
            &mut progress,
        )
    }

    /// As [`business_tokens`](Self::business_tokens), for ids as text. The result of
    /// an invalid id is an error.
    pub fn business_tokens_for_ids(
        &self,
        ids: impl IntoIterator<Item = impl Into<String>>,
        options: BatchOptions,
        mut progress: impl FnMut(BatchProgress) -> bool,
    ) -> Vec<Result<BusinessToken>> {
        let batch = self.client.business_tokens_for_ids(ids, options);
        collect(batch, self.client.timeout(), &mut progress)
    }

    /// As [`crate::Client::invalidate`].
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        self.client.invalidate(token)
    }

    /// As [`crate::Client::invalidate_business_token`].
    pub fn invalidate_business_token(&self, token: &BusinessToken) -> bool {
        self.client.invalidate_business_token(token)
    }

    /// As [`crate::Client::invalidate_text`].
    pub fn invalidate_text(&self, token: &str) -> bool {
        self.client.invalidate_text(token)
    }

    /// As [`crate::Client::execute`].
    ///
    /// # Errors
    /// As [`crate::Client::execute`].
    pub fn execute(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        self.run(|client| async move { client.execute(request).await })
    }

    /// As [`crate::Client::execute_for_business`].
    ///
    /// # Errors
    /// As [`crate::Client::execute_for_business`].
    pub fn execute_for_business(
        &self,
        business: &BusinessId,
        options: impl Into<BusinessTokenOptions>,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>> {
        let (business, options) = (business.clone(), options.into());
        self.run(|client| async move {
            let sent = client.execute_for_business(&business, options, request);
            sent.await
        })
    }

    /// As [`crate::Client::get`].
    ///
    /// # Errors
    /// As [`crate::Client::get`].
    pub fn get(&self, path: &str) -> Result<http::Response<Bytes>> {
        let path = path.to_owned();
        self.run(|client| async move { client.get(&path).await })
    }

    /// As [`crate::Client::business_id`].
    ///
    /// # Errors
    /// As [`crate::Client::business_id`].
    pub fn business_id(&self, id: &str) -> Result<BusinessId> {
        self.client.business_id(id)
    }

    /// As [`crate::Client::timeout`].
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.client.timeout()
    }

    /// As [`crate::Client::environment`].
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.client.environment()
    }

    /// As [`crate::Client::api_url`].
    #[must_use]
    pub fn api_url(&self) -> &str {
        self.client.api_url()
    }

    /// As [`crate::Client::auth_url`].
    #[must_use]
    pub fn auth_url(&self) -> &str {
        self.client.auth_url()
    }

    /// As [`crate::Client::scope`].
    #[must_use]
    pub fn scope(&self) -> &str {
        self.client.scope()
    }

    /// As [`crate::Client::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.client.stats()
    }
}

/// Runs a batch to its end, until `progress` ends it, or until the engine's thread
/// was silent for the client's timeout.
fn collect(
    mut stream: BusinessTokens,
    timeout: Duration,
    progress: &mut dyn FnMut(BatchProgress) -> bool,
) -> Vec<Result<BusinessToken>> {
    let silence = timeout + 2 * PROGRESS_INTERVAL;
    let count = stream.progress().total;
    let progress_of_batch = stream.observer();
    let stop = stream.stopper();
    let mut results = Vec::with_capacity(count);
    let (sender, receiver) = queue();
    let task = runtime::spawn(async move {
        loop {
            // Sent without a result as well, so that the caller knows that the
            // engine's thread still runs.
            let message = match tokio::time::timeout(PROGRESS_INTERVAL, stream.next()).await {
                Ok(Some(result)) => Some(result),
                Ok(None) => return,
                Err(_) => None,
            };
            if !sender.send(message) {
                return;
            }
        }
    });
    let missing = match task {
        Ok(_) if runtime::is_engine_thread() => would_deadlock(),
        // The task is cancelled when this arm ends.
        Ok(task) => {
            let mut last_message = Instant::now();
            loop {
                match receiver.receive(PROGRESS_INTERVAL) {
                    Received::Message(message) => {
                        results.extend(message);
                        last_message = Instant::now();
                    }
                    Received::TimedOut if last_message.elapsed() > silence => break,
                    Received::TimedOut if task.abandoned().is_some() => break,
                    Received::TimedOut => {}
                    Received::Closed => break,
                }
                if !progress(progress_of_batch()) {
                    // The task below is only cancelled when its thread gets to it.
                    stop();
                    break;
                }
            }
            task.abandoned().unwrap_or_else(|| {
                Error::attempt_timeout("the batch ended before the result for this business")
            })
        }
        Err(error) => error,
    };
    results.resize(count, Err(missing));
    results
}

impl ClientBuilder {
    /// [`build`](Self::build) for a blocking client.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_blocking(self) -> Result<Client> {
        self.build().map(Client::from)
    }
}
