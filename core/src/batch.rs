//! Many business tokens at once: bounded, in order, each business once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};

use crate::business_id::BusinessId;
use crate::call;
use crate::engine::{Engine, KeyRef};
use crate::error::Result;
use crate::pace::Permit;
use crate::token::{BusinessToken, SessionDuration};

/// How a batch is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// The session duration of all its tokens; one hour by default.
    pub session_duration: SessionDuration,
    /// Requests in flight at the most; 32 by default, at least 1. Any number
    /// will do: Layer's rate limit bounds them as well.
    ///
    /// The client's timeout bounds each business's request, retries included,
    /// from its turn on. The wait for its turn, for one of these places and for
    /// the rate limit, is not counted, so that a batch may be of any size.
    pub max_in_flight: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            session_duration: SessionDuration::default(),
            max_in_flight: 32,
        }
    }
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchProgress {
    /// Inputs, duplicates included.
    pub total: usize,
    /// Different businesses among them.
    pub distinct: usize,
    /// Different businesses whose result is there.
    pub done: usize,
    /// Those of them that failed.
    pub failed: usize,
}

/// A result with its place; nothing where a refresh is over.
type Outcome = Option<(usize, Result<BusinessToken>)>;

/// The stream of [`Client::business_tokens`](crate::Client::business_tokens): one result per input, in the
/// order of the input. Requests are made only while it is polled, for what is
/// still missing and then for what is due for refresh: dropping it ends the
/// batch.
#[must_use = "streams do nothing unless polled"]
pub struct BusinessTokens {
    engine: Arc<Engine>,
    /// Of each business's request.
    timeout: Duration,
    options: BatchOptions,
    distinct: Arc<[BusinessId]>,
    /// Per input, which of the distinct ones it is.
    inputs: VecDeque<usize>,
    results: Vec<Option<Result<BusinessToken>>>,
    /// How many of the distinct ones have begun.
    started: usize,
    /// The wait for leave to mint the next. There is one for all, so that
    /// turns come in order.
    turn: Option<BoxFuture<'static, Result<Permit>>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// Those of the distinct ones that were at hand and are due for refresh.
    due: VecDeque<usize>,
    progress: BatchProgress,
}

impl BusinessTokens {
    pub(crate) fn new(
        engine: Arc<Engine>,
        timeout: Duration,
        businesses: impl IntoIterator<Item = BusinessId>,
        options: BatchOptions,
    ) -> Self {
        let mut places: HashMap<BusinessId, usize> = HashMap::new();
        let mut distinct = Vec::new();
        let mut inputs = VecDeque::new();
        for business in businesses {
            let place = *places.entry(business).or_insert_with_key(|business| {
                distinct.push(business.clone());
                distinct.len() - 1
            });
            inputs.push_back(place);
        }
        let progress = BatchProgress {
            total: inputs.len(),
            distinct: distinct.len(),
            ..BatchProgress::default()
        };
        Self {
            engine,
            timeout,
            options,
            results: vec![None; distinct.len()],
            distinct: distinct.into(),
            inputs,
            started: 0,
            turn: None,
            in_flight: FuturesUnordered::new(),
            due: VecDeque::new(),
            progress,
        }
    }

    /// How far it has come. Results that wait for their turn count as done.
    #[must_use]
    pub fn progress(&self) -> BatchProgress {
        self.progress
    }

    /// Begins with whatever has its turn: what is at hand, and what there is a
    /// place and leave for.
    fn start_more(&mut self, cx: &mut Context<'_>) {
        while let Some(business) = self.distinct.get(self.started) {
            let place = self.started;
            if let Some((token, due)) = self.at_hand(business) {
                self.started += 1;
                self.settle(place, Ok(token));
                if due {
                    self.due.push_back(place);
                }
                continue;
            }
            if self.is_full() {
                return;
            }
            let ask = || turn(Arc::clone(&self.engine), self.timeout);
            let turn = self.turn.get_or_insert_with(ask);
            let Poll::Ready(permit) = turn.poll_unpin(cx) else {
                return;
            };
            self.turn = None;
            self.started += 1;
            match permit {
                Ok(permit) => {
                    let token = self.token(business.clone(), permit);
                    let outcome = token.map(move |token| Some((place, token)));
                    self.in_flight.push(Box::pin(outcome));
                }
                Err(error) => self.settle(place, Err(error)),
            }
        }
        self.refresh_more();
    }

    /// Begins refreshes, for which nobody waits: only when nothing is missing
    /// any more, and only those that may be sent at once.
    fn refresh_more(&mut self) {
        while !self.is_full()
            && let Some(business) = self.due.front().and_then(|due| self.distinct.get(*due))
            && let Some(permit) = self.engine.pace.at_once()
        {
            let session_duration = self.options.session_duration;
            let over = self
                .engine
                .refresh_business_token(business, session_duration, permit);
            self.due.pop_front();
            self.in_flight.push(Box::pin(over.map(|_| None)));
        }
    }

    /// A token that is at hand, and whether its refresh is due. Starts none:
    /// thousands of them at once would be in nobody's pace.
    fn at_hand(&self, business: &BusinessId) -> Option<(BusinessToken, bool)> {
        let key = KeyRef {
            business,
            session_duration: self.options.session_duration,
        };
        self.engine
            .business
            .look(&self.engine.cx, &key, |entry| entry.value.clone())
    }

    /// A token whose turn it is.
    fn token(
        &self,
        business: BusinessId,
        permit: Permit,
    ) -> impl Future<Output = Result<BusinessToken>> + Send + 'static {
        let (engine, timeout) = (Arc::clone(&self.engine), self.timeout);
        let session_duration = self.options.session_duration;
        async move {
            let get = engine.business_token(&business, session_duration, None, Some(permit));
            Ok(call::ends(&engine, timeout, get).await?.value.clone())
        }
    }

    fn is_full(&self) -> bool {
        self.in_flight.len() >= self.options.max_in_flight.max(1)
    }

    fn settle(&mut self, place: usize, result: Result<BusinessToken>) {
        self.progress.done += 1;
        self.progress.failed += usize::from(result.is_err());
        if let Some(free) = self.results.get_mut(place) {
            *free = Some(result);
        }
    }

    /// The result whose turn it is, if it is there.
    fn next_in_order(&mut self) -> Option<Result<BusinessToken>> {
        let result = self.results.get(*self.inputs.front()?)?.clone()?;
        self.inputs.pop_front();
        Some(result)
    }
}

/// The wait for leave to mint one token. No timeout bounds it: how long it
/// takes is a matter of the batch's size.
fn turn(engine: Arc<Engine>, timeout: Duration) -> BoxFuture<'static, Result<Permit>> {
    Box::pin(async move {
        // The wait wants a runtime, and this says so where there is none.
        call::ends(&engine, timeout, std::future::ready(Ok(()))).await?;
        Ok(engine.pace.ready().await)
    })
}

impl Stream for BusinessTokens {
    type Item = Result<BusinessToken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.start_more(cx);
            // Whatever is ready is taken in first: a slow one at the front
            // must not keep the others' places occupied.
            match self.in_flight.poll_next_unpin(cx) {
                Poll::Ready(Some(Some((place, result)))) => self.settle(place, result),
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) | Poll::Pending => {
                    return match self.next_in_order() {
                        Some(result) => Poll::Ready(Some(result)),
                        None if self.inputs.is_empty() => Poll::Ready(None),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.inputs.len(), Some(self.inputs.len()))
    }
}

impl std::fmt::Debug for BusinessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusinessTokens")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
