//! The same client for threads, with no runtime of the caller's.
//!
//! A hit is served on the calling thread; everything else runs on one
//! background thread per process, started on first use and made anew after a
//! fork, while the caller sleeps.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::batch::{BatchOptions, BatchProgress};
use crate::business_id::BusinessId;
use crate::client::{BusinessTokenOptions, TokenReader, TokenRef};
use crate::config::ClientBuilder;
use crate::error::{Error, Result};
use crate::stats::Stats;
use crate::token::{AccessToken, BusinessToken, SessionDuration, WhoAmI};

pub use crate::runtime::Pending;

/// The generation of this process, another one after each fork: for faces that
/// keep threads of their own. The first client begins the count.
#[doc(hidden)]
#[must_use]
pub fn process_generation() -> u32 {
    crate::fork::watch();
    crate::fork::generation()
}

/// A [`crate::Client`] whose calls block the thread.
///
/// The two are one client: [`Client::from`] and [`Client::as_async`] go from
/// one to the other, and the cache is shared. Each call ends within the
/// client's timeout. Not for the threads of an async runtime, which must not
/// block.
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
    /// Begins a client; end with [`ClientBuilder::build_blocking`].
    pub fn builder() -> ClientBuilder {
        crate::Client::builder()
    }

    /// Makes a client from the environment's variables; see [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming what is missing or wrong.
    pub fn from_env() -> Result<Self> {
        crate::Client::from_env().map(Self::from)
    }

    /// The async client that it is.
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

    /// Starts a call in the background and returns at once, for callers with
    /// something to look after while they wait, such as signals.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) where no thread can be started.
    pub fn start<T, F>(&self, call: impl FnOnce(crate::Client) -> F) -> Result<Pending<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Pending::start(self.client.timeout(), call(self.client.clone()))
    }

    fn run<T, F>(&self, call: impl FnOnce(crate::Client) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.start(call)?.join()
    }

    /// As [`crate::Client::token`].
    ///
    /// # Errors
    /// As [`crate::Client::token`].
    pub fn token(&self) -> Result<AccessToken> {
        if let Some(token) = self.client.borrow_token() {
            return Ok(token.clone());
        }
        self.run(|client| async move { client.token().await })
    }

    /// As [`crate::Client::try_token`].
    #[must_use]
    pub fn try_token(&self) -> Option<AccessToken> {
        self.client.try_token()
    }

    /// As [`crate::Client::token_at_hand`].
    ///
    /// # Errors
    /// As [`crate::Client::token_at_hand`].
    pub fn token_at_hand(&self) -> Result<Option<AccessToken>> {
        self.client.token_at_hand()
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
        if options.min_remaining.is_none()
            && let Some(token) = self
                .client
                .try_business_token(business, options.session_duration)
        {
            return Ok(token);
        }
        let business = business.clone();
        self.run(|client| async move { client.business_token_with(&business, options).await })
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

    /// Tokens for many businesses, one result per input, in order; see
    /// [`crate::Client::business_tokens`]. `progress` is called from the
    /// calling thread whenever a result is there, and ends the batch by
    /// returning `false`: what is missing then is an error in its place.
    /// The client's timeout bounds each business from its turn on, not the batch.
    pub fn business_tokens(
        &self,
        businesses: impl IntoIterator<Item = BusinessId>,
        options: BatchOptions,
        mut progress: impl FnMut(BatchProgress) -> bool,
    ) -> Vec<Result<BusinessToken>> {
        let businesses: Vec<_> = businesses.into_iter().collect();
        let count = businesses.len();
        let (sender, receiver) = std::sync::mpsc::sync_channel(64);
        let mut stream = self.client.business_tokens_with(businesses, options);
        let batch = async move {
            while let Some(result) = stream.next().await {
                let mut item = Some((result, stream.progress()));
                // The channel is for threads; the runtime must not block on it.
                while let Some(unsent) = item.take() {
                    match sender.try_send(unsent) {
                        Ok(()) => {}
                        Err(std::sync::mpsc::TrySendError::Full(unsent)) => {
                            item = Some(unsent);
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return,
                    }
                }
            }
        };
        let mut results = Vec::with_capacity(count);
        let missing = match crate::runtime::background() {
            Ok(background) => {
                let task = background.spawn(batch);
                for (result, so_far) in &receiver {
                    results.push(result);
                    if !progress(so_far) {
                        break;
                    }
                }
                task.abort();
                Error::timeout("the batch was ended before this business's turn")
            }
            Err(error) => error,
        };
        results.resize(count, Err(missing));
        results
    }

    /// As [`crate::Client::invalidate`].
    pub fn invalidate(&self, token: &AccessToken) -> bool {
        self.client.invalidate(token)
    }

    /// As [`crate::Client::invalidate_business_token`].
    pub fn invalidate_business_token(&self, token: &BusinessToken) -> bool {
        self.client.invalidate_business_token(token)
    }

    /// As [`crate::Client::execute`].
    ///
    /// # Errors
    /// As [`crate::Client::execute`].
    pub fn execute(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        self.run(|client| async move { client.execute(request).await })
    }

    /// As [`crate::Client::business_id`].
    ///
    /// # Errors
    /// As [`crate::Client::business_id`].
    pub fn business_id(&self, id: &str) -> Result<BusinessId> {
        self.client.business_id(id)
    }

    /// As [`crate::Client::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.client.stats()
    }
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
