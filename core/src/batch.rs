//! Many business tokens at once: bounded, in order, each business once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};

use crate::business_id::BusinessId;
use crate::error::Result;
use crate::token::{BusinessToken, SessionDuration};

/// How a batch is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// The session duration of all its tokens; one hour by default.
    pub session_duration: SessionDuration,
    /// Requests in flight at the most; 32 by default, at least 1.
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

type Outcome = (usize, Result<BusinessToken>);

/// How a batch gets a token.
pub(crate) type Get =
    Box<dyn Fn(BusinessId) -> BoxFuture<'static, Result<BusinessToken>> + Send + Sync>;

/// The stream of [`Client::business_tokens`](crate::Client::business_tokens): one result per input, in the
/// order of the input. Requests are made only while it is polled, and for what
/// is still missing: dropping it ends the batch.
#[must_use = "streams do nothing unless polled"]
pub struct BusinessTokens {
    get: Get,
    max_in_flight: usize,
    distinct: Arc<[BusinessId]>,
    /// Per input, which of the distinct ones it is.
    inputs: VecDeque<usize>,
    results: Vec<Option<Result<BusinessToken>>>,
    started: usize,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
    progress: BatchProgress,
}

impl BusinessTokens {
    pub(crate) fn new(
        businesses: impl IntoIterator<Item = BusinessId>,
        max_in_flight: usize,
        get: Get,
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
            get,
            max_in_flight: max_in_flight.max(1),
            results: vec![None; distinct.len()],
            distinct: distinct.into(),
            inputs,
            started: 0,
            in_flight: FuturesUnordered::new(),
            progress,
        }
    }

    /// How far it has come. Results that wait for their turn count as done.
    #[must_use]
    pub fn progress(&self) -> BatchProgress {
        self.progress
    }

    fn start_more(&mut self) {
        while self.in_flight.len() < self.max_in_flight
            && let Some(business) = self.distinct.get(self.started)
        {
            let place = self.started;
            self.started += 1;
            let token = (self.get)(business.clone());
            self.in_flight
                .push(Box::pin(async move { (place, token.await) }));
        }
    }

    /// The result whose turn it is, if it is there.
    fn next_in_order(&mut self) -> Option<Result<BusinessToken>> {
        let result = self.results.get(*self.inputs.front()?)?.clone()?;
        self.inputs.pop_front();
        Some(result)
    }
}

impl Stream for BusinessTokens {
    type Item = Result<BusinessToken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.start_more();
            // Whatever is ready is taken in first: a slow one at the front
            // must not keep the others' places occupied.
            match self.in_flight.poll_next_unpin(cx) {
                Poll::Ready(Some((place, result))) => {
                    self.progress.done += 1;
                    self.progress.failed += usize::from(result.is_err());
                    if let Some(free) = self.results.get_mut(place) {
                        *free = Some(result);
                    }
                }
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
