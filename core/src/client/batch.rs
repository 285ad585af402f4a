//! Batches: business tokens for many businesses, in order, each business once,
//! with bounded concurrency.

use std::collections::{HashMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::options::BatchOptions;
use crate::business_id::BusinessId;
use crate::deadline::Deadline;
use crate::engine::business::Wanted;
use crate::engine::runtime::{self, Task, Tied};
use crate::engine::{Engine, keep_warm, key::KeyRef};
use crate::error::Result;
use crate::rate_limit::Permit;
use crate::token::BusinessToken;

/// Progress of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchProgress {
    /// Inputs, duplicates included.
    pub total: usize,
    /// Different businesses, invalid ids included.
    pub distinct: usize,
    /// Different businesses that have a result.
    pub done: usize,
    /// Different businesses whose result is an error.
    pub failed: usize,
}

/// Maximum number of results that are ready but not taken. At this number the
/// batch waits.
const MAX_READY: usize = 64;

/// Stream of [`Client::business_tokens`](crate::Client::business_tokens): one result per input, in
/// the order of the input.
///
/// The batch starts when it is first polled. It requests missing tokens first
/// and then refreshes those that are due, and it pauses while its results are
/// not taken. Dropping the stream ends it. It works under any executor.
#[must_use = "streams do nothing unless polled"]
pub struct BusinessTokens {
    state: State,
    progress: Arc<Counters>,
    left: usize,
}

enum State {
    Idle(Box<Driver>),
    /// The results, and the task that sends them.
    Running(Tied<(mpsc::Receiver<Result<BusinessToken>>, Task<()>)>),
    Failed(crate::Error),
    Ended,
}

/// Progress, shared by the batch and its stream.
#[derive(Default)]
struct Counters {
    /// Whether the batch has ended early: it starts no more requests.
    is_stopped: AtomicBool,
    total: usize,
    distinct: usize,
    done: AtomicUsize,
    failed: AtomicUsize,
}

/// Input of a batch: an id, or the error of an invalid one.
pub(super) type Input = Result<BusinessId>;

impl BusinessTokens {
    pub(super) fn new(
        engine: Arc<Engine>,
        timeout: Duration,
        businesses: impl Iterator<Item = (String, Input)>,
        options: BatchOptions,
    ) -> Self {
        let driver = Driver::new(engine, timeout, businesses, options);
        Self {
            progress: Arc::clone(&driver.progress),
            left: driver.inputs.len(),
            state: State::Idle(Box::new(driver)),
        }
    }

    /// Progress so far. Results that are ready but not taken count as done.
    #[must_use]
    pub fn progress(&self) -> BatchProgress {
        self.progress.snapshot()
    }

    /// Source of the progress, for a caller that does not own the stream.
    #[cfg(feature = "blocking")]
    pub(super) fn observer(&self) -> impl Fn() -> BatchProgress + Send + 'static {
        let progress = Arc::clone(&self.progress);
        move || progress.snapshot()
    }

    /// Returns a function that ends the batch from any thread, for a caller that does
    /// not own the stream. The batch starts no request after that call, and the
    /// stream ends after the results that are ready in order.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let progress = Arc::clone(&self.progress);
        move || progress.is_stopped.store(true, Ordering::Relaxed)
    }

    fn start(&mut self) {
        let State::Idle(driver) = std::mem::replace(&mut self.state, State::Ended) else {
            return;
        };
        keep_warm::ensure(&driver.engine);
        let (sender, results) = mpsc::channel(MAX_READY);
        self.state = match runtime::spawn(driver.run(sender)) {
            Ok(task) => State::Running(Tied::new((results, task))),
            Err(error) => State::Failed(error),
        };
    }
}

impl Stream for BusinessTokens {
    type Item = Result<BusinessToken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if matches!(self.state, State::Idle(_)) {
            self.start();
        }
        let left = self.left;
        let next = match &mut self.state {
            State::Running(running) => {
                match ready!(running.poll(cx, |(results, _), cx| results.poll_recv(cx))) {
                    Ok(next) => next,
                    Err(error) => {
                        self.state = State::Failed(error.clone());
                        Some(Err(error))
                    }
                }
            }
            State::Failed(error) if left > 0 => Some(Err(error.clone())),
            State::Idle(_) | State::Failed(_) | State::Ended => None,
        };
        match next {
            Some(result) => {
                self.left = self.left.saturating_sub(1);
                Poll::Ready(Some(result))
            }
            None if left > 0 && !self.progress.is_stopped() => {
                // The task ended early: the process is shutting down.
                let error = crate::Error::new(
                    crate::ErrorKind::Internal,
                    "the batch's background task ended early",
                    "the process is shutting down",
                );
                self.state = State::Failed(error.clone());
                self.left -= 1;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.state = State::Ended;
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl std::fmt::Debug for BusinessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusinessTokens")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Counters {
    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn snapshot(&self) -> BatchProgress {
        BatchProgress {
            total: self.total,
            distinct: self.distinct,
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// Result with the index of its business; `None` if a refresh has ended.
type Outcome = Option<(usize, Result<BusinessToken>)>;

/// The batch itself, which runs on the engine's thread.
struct Driver {
    engine: Arc<Engine>,
    /// Timeout of the request for each business.
    timeout: Duration,
    options: BatchOptions,
    /// Different businesses.
    distinct: Vec<Business>,
    /// For each input, the index of its business.
    inputs: VecDeque<usize>,
    /// Number of different businesses that have started.
    started: usize,
    /// Wait for the next permit. Only one wait runs at a time, so that businesses
    /// start in order.
    permit: Option<BoxFuture<'static, Permit>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// Businesses whose cached token is due for refresh.
    due: VecDeque<usize>,
    progress: Arc<Counters>,
}

/// One business of a batch.
struct Business {
    id: Input,
    result: Option<Result<BusinessToken>>,
    /// Inputs that still need the result.
    uses: usize,
}

impl Driver {
    fn new(
        engine: Arc<Engine>,
        timeout: Duration,
        businesses: impl Iterator<Item = (String, Input)>,
        options: BatchOptions,
    ) -> Self {
        let mut indices: HashMap<String, usize> = HashMap::new();
        let mut distinct: Vec<Business> = Vec::new();
        let mut inputs = VecDeque::new();
        for (text, id) in businesses {
            // The same business in another spelling is the same business.
            let text = id.as_ref().map_or(text, |id| id.as_str().to_owned());
            let index = *indices.entry(text).or_insert_with(|| {
                distinct.push(Business {
                    id,
                    result: None,
                    uses: 0,
                });
                distinct.len() - 1
            });
            if let Some(business) = distinct.get_mut(index) {
                business.uses += 1;
            }
            inputs.push_back(index);
        }
        let progress = Counters {
            total: inputs.len(),
            distinct: distinct.len(),
            ..Counters::default()
        };
        Self {
            engine,
            timeout,
            options,
            distinct,
            inputs,
            started: 0,
            permit: None,
            in_flight: FuturesUnordered::new(),
            due: VecDeque::new(),
            progress: Arc::new(progress),
        }
    }

    async fn run(mut self: Box<Self>, sender: mpsc::Sender<Result<BusinessToken>>) {
        while let Some(result) = self.next().await {
            if sender.send(result).await.is_err() {
                return;
            }
        }
    }

    async fn next(&mut self) -> Option<Result<BusinessToken>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<BusinessToken>>> {
        loop {
            self.start_more(cx);
            // First take all finished results: a slow business at the front must not
            // block the places of the others.
            match self.in_flight.poll_next_unpin(cx) {
                Poll::Ready(Some(Some((index, result)))) => self.settle(index, result),
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) | Poll::Pending => {
                    return match self.next_in_order() {
                        Some(result) => Poll::Ready(Some(result)),
                        None if self.inputs.is_empty() => Poll::Ready(None),
                        None if self.progress.is_stopped() && self.in_flight.is_empty() => {
                            Poll::Ready(None)
                        }
                        None => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Starts all businesses that can start: those with a cached token, and those
    /// for which there are a place and a permit.
    fn start_more(&mut self, cx: &mut Context<'_>) {
        if self.progress.is_stopped() {
            return;
        }
        while let Some(business) = self.distinct.get(self.started) {
            let index = self.started;
            let wanted = match &business.id {
                Ok(id) => self.wanted(id),
                Err(error) => {
                    let error = error.clone();
                    self.started += 1;
                    self.settle(index, Err(error));
                    continue;
                }
            };
            if let Some((token, is_due)) = self.cached(&wanted) {
                self.started += 1;
                self.settle(index, Ok(token));
                if is_due {
                    self.due.push_back(index);
                }
                continue;
            }
            if self.is_full() {
                return;
            }
            let engine = &self.engine;
            let permit = self.permit.get_or_insert_with(|| {
                // This wait has no timeout, because its length depends on the size of
                // the batch.
                let engine = Arc::clone(engine);
                Box::pin(async move { engine.rate_limiter.acquire().await })
            });
            let Poll::Ready(permit) = permit.poll_unpin(cx) else {
                return;
            };
            self.permit = None;
            self.started += 1;
            let token = self.token(wanted, permit);
            let outcome = token.map(move |token| Some((index, token)));
            self.in_flight.push(Box::pin(outcome));
        }
        self.refresh_more();
    }

    /// Starts refreshes. They come after all missing tokens, because no caller
    /// waits for them, and only while permits are available at once.
    fn refresh_more(&mut self) {
        while !self.is_full()
            && let Some(Ok(id)) = self
                .due
                .front()
                .and_then(|due| self.distinct.get(*due))
                .map(|business| &business.id)
            && let Some(permit) = self.engine.rate_limiter.try_acquire()
        {
            let wanted = self.wanted(id);
            let over = self.engine.refresh_business_token(&wanted, permit);
            self.due.pop_front();
            self.in_flight.push(Box::pin(over.map(|_| None)));
        }
    }

    fn wanted(&self, id: &BusinessId) -> Wanted {
        Wanted {
            business: id.clone(),
            session_duration: self.options.session_duration,
            min_remaining: None,
        }
    }

    /// Cached token, and whether its refresh is due. Starts no refresh, because
    /// thousands together would exceed the rate limit.
    fn cached(&self, wanted: &Wanted) -> Option<(BusinessToken, bool)> {
        let key = KeyRef {
            business: &wanted.business,
            session_duration: wanted.session_duration,
        };
        let engine = &self.engine;
        engine
            .business
            .peek(&engine.cx, &key, |entry| entry.value.clone())
    }

    /// Token of a business that has its permit.
    fn token(
        &self,
        wanted: Wanted,
        permit: Permit,
    ) -> impl Future<Output = Result<BusinessToken>> + Send + 'static {
        let (engine, timeout) = (Arc::clone(&self.engine), self.timeout);
        async move {
            let deadline = Deadline::after(timeout);
            let get = pin!(engine.business_token(&wanted, Some(permit), deadline.progress()));
            Ok(deadline.bound(get).await?.value.clone())
        }
    }

    fn is_full(&self) -> bool {
        self.in_flight.len() >= self.options.max_in_flight.max(1)
    }

    fn settle(&mut self, index: usize, result: Result<BusinessToken>) {
        let failed = usize::from(result.is_err());
        self.progress.failed.fetch_add(failed, Ordering::Relaxed);
        self.progress.done.fetch_add(1, Ordering::Relaxed);
        if let Some(business) = self.distinct.get_mut(index) {
            business.result = Some(result);
        }
    }

    /// The next result in the order of the input, if it is ready. A result is
    /// dropped after its last use.
    fn next_in_order(&mut self) -> Option<Result<BusinessToken>> {
        let business = self.distinct.get_mut(*self.inputs.front()?)?;
        let result = if business.uses > 1 {
            business.result.clone()?
        } else {
            business.result.take()?
        };
        business.uses -= 1;
        self.inputs.pop_front();
        Some(result)
    }
}
