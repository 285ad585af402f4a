//! Counters of a client's events. They contain no secret.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::error::ErrorKind;

/// Snapshot of a client's counters since the client was created (in a forked child:
/// since the parent created it).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls served from the cache without a wait.
    pub hits: u64,
    /// Hits while a refresh was due, under way or failing.
    pub stale_serves: u64,
    /// Fetches started because there was no value to serve.
    pub misses: u64,
    /// Calls that waited for a fetch, their own or a shared one.
    pub waits: u64,
    /// Fetches started ahead of expiry, without a waiting caller.
    pub refreshes: u64,
    /// Requests sent to the token endpoint.
    pub token_requests: u64,
    /// Requests sent to mint business tokens.
    pub mints: u64,
    /// Requests that were sent again after a failure.
    pub retries: u64,
    /// Tokens invalidated because a server refused them.
    pub invalidations: u64,
    /// Fetches that failed, after their retries, by kind of error. Kinds that did not
    /// occur are left out.
    pub failures: Vec<(ErrorKind, u64)>,
    /// Business tokens in the cache, including keys whose failure is remembered.
    pub business_tokens: usize,
    /// Expiry of the current access token, if there is one.
    pub expires_at: Option<SystemTime>,
}

/// Events that are counted outside the hit path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Miss,
    Wait,
    Refresh,
    TokenRequest,
    Mint,
    Retry,
    Invalidation,
}

const EVENTS: usize = 7;
const KINDS: usize = ErrorKind::ALL.len();
const SHARDS: usize = 16;

/// Counters in separate cache lines (two, because processors fetch pairs), so
/// that threads do not slow one another.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    hits: AtomicU64,
    stale: AtomicU64,
}

/// Counters of a client.
#[derive(Default)]
pub(crate) struct Counters {
    hits: [Shard; SHARDS],
    events: [AtomicU64; EVENTS],
    failures: [AtomicU64; KINDS],
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Shard of this thread. Threads get the shards round-robin, so up to sixteen
/// threads do not share one.
#[inline]
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        let mut own = shard.get();
        if own == usize::MAX {
            own = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            shard.set(own);
        }
        own
    })
}

impl Counters {
    #[inline]
    pub(crate) fn count_hit(&self, stale: bool) {
        if let Some(shard) = self.hits.get(shard()) {
            shard.hits.fetch_add(1, Ordering::Relaxed);
            if stale {
                shard.stale.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn count(&self, event: Event) {
        if let Some(counter) = self.events.get(event as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self, kind: ErrorKind) {
        if let Some(counter) = self.failures.get(kind as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, event: Event) -> u64 {
        self.events
            .get(event as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            hits: self
                .hits
                .iter()
                .map(|shard| shard.hits.load(Ordering::Relaxed))
                .sum(),
            stale_serves: self
                .hits
                .iter()
                .map(|shard| shard.stale.load(Ordering::Relaxed))
                .sum(),
            misses: self.get(Event::Miss),
            waits: self.get(Event::Wait),
            refreshes: self.get(Event::Refresh),
            token_requests: self.get(Event::TokenRequest),
            mints: self.get(Event::Mint),
            retries: self.get(Event::Retry),
            invalidations: self.get(Event::Invalidation),
            failures: ErrorKind::ALL
                .into_iter()
                .zip(&self.failures)
                .map(|(kind, counter)| (kind, counter.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            business_tokens: 0,
            expires_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b24_each_event_is_counted_in_its_field() {
        let counters = Counters::default();
        for stale in [false, true, false] {
            counters.count_hit(stale);
        }
        for (times, event) in [
            (2, Event::Miss),
            (3, Event::Wait),
            (4, Event::Refresh),
            (5, Event::TokenRequest),
            (6, Event::Mint),
            (7, Event::Retry),
            (8, Event::Invalidation),
        ] {
            for _ in 0..times {
                counters.count(event);
            }
        }
        counters.failed(ErrorKind::OAuth);
        counters.failed(ErrorKind::Internal);
        let stats = counters.snapshot();
        assert_eq!(
            [
                stats.hits,
                stats.stale_serves,
                stats.misses,
                stats.waits,
                stats.refreshes,
                stats.token_requests,
                stats.mints,
                stats.retries,
                stats.invalidations
            ],
            [3, 1, 2, 3, 4, 5, 6, 7, 8]
        );
        assert_eq!(
            stats.failures,
            [(ErrorKind::OAuth, 1), (ErrorKind::Internal, 1)]
        );
    }

    #[test]
    fn b24_hits_of_concurrent_threads_are_all_counted() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1_000).for_each(|_| counters.count_hit(false)));
            }
        });
        assert_eq!(counters.snapshot().hits, 20_000);
    }
}
