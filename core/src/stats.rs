//! Counters of a client's events. They contain no secret.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
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
    /// Tokens that came from the shared cache.
    pub shared_adopted: u64,
    /// Tokens that this client stored in the shared cache.
    pub shared_published: u64,
    /// Fetches that waited for another process.
    pub shared_waits: u64,
    /// Requests that this client sent by itself although it has a shared cache, because
    /// the store failed or no other process came to a result.
    pub shared_alone: u64,
    /// Entries of the shared cache that were not accepted.
    pub shared_rejected: u64,
    /// Failed operations of the shared cache.
    pub shared_faults: u64,
    /// Whether the shared cache is used.
    pub shared_cache: SharedCacheState,
    /// Expiry of the current access token, if there is one.
    pub expires_at: Option<SystemTime>,
}

/// Whether a client's shared cache is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedCacheState {
    /// The client has no shared cache.
    #[default]
    Off,
    /// It is used. It answered last, or was not asked yet.
    Up,
    /// It failed last, and is asked again after a pause.
    Down,
}

impl SharedCacheState {
    /// `off`, `up` or `down`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
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
    SharedAdopted,
    SharedPublished,
    SharedWait,
    SharedAlone,
    SharedRejected,
    SharedFault,
}

const EVENTS: usize = 13;
const KINDS: usize = ErrorKind::ALL.len();
const SHARDS: usize = 16;

/// Hits, and those of them that were stale.
#[derive(Default)]
pub(crate) struct HitCounters {
    hits: AtomicU64,
    stale: AtomicU64,
}

/// Counters in separate cache lines (two, because processors fetch pairs), so
/// that threads do not slow one another.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    /// Of the thread that owns the shard. Only that thread writes here, so it needs
    /// no locked instruction, which costs as much as the rest of a reader's hit.
    own: HitCounters,
    /// Of the threads that own no shard.
    others: HitCounters,
}

/// Counters of a client.
#[derive(Default)]
pub(crate) struct Counters {
    hits: [Shard; SHARDS],
    events: [AtomicU64; EVENTS],
    failures: [AtomicU64; KINDS],
}

/// The shards that threads own, by bits.
static OWNED: AtomicU32 = AtomicU32::new(0);

/// [`PLACE`] of a thread that has not counted yet.
const NO_PLACE: usize = usize::MAX;

thread_local! {
    /// Where this thread counts: the index of the shard that it owns, or `SHARDS`
    /// more than that of a shard that it shares.
    static PLACE: Cell<usize> = const { Cell::new(NO_PLACE) };
    static OWNER: Owner = const { Owner(Cell::new(None)) };
}

/// Returns a thread's shard when the thread ends.
struct Owner(Cell<Option<usize>>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(shard) = self.0.get() {
            // Destructors that run after this one may count too.
            PLACE.set(SHARDS + shard);
            // `Release`: the next owner goes on from the counts of this one.
            OWNED.fetch_and(!(1 << shard), Ordering::Release);
        }
    }
}

/// Gives this thread a shard of its own if one is free; otherwise it shares one. (In
/// the child of a fork the shards of the parent's other threads stay taken.)
fn find_place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let take = |owner: &Owner| {
        let take = |owned: u32| {
            let free = owned.trailing_ones();
            ((free as usize) < SHARDS).then_some(owned | (1 << free))
        };
        let owned = OWNED.fetch_update(Ordering::Acquire, Ordering::Relaxed, take);
        let shard = owned.ok()?.trailing_ones() as usize;
        owner.0.set(Some(shard));
        Some(shard)
    };
    let place = match OWNER.try_with(take) {
        Ok(Some(own)) => own,
        Ok(None) | Err(_) => SHARDS + NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS,
    };
    PLACE.set(place);
    place
}

/// Counters for one hit of the current thread.
pub(crate) struct HitCounter<'a> {
    counters: &'a HitCounters,
    is_own: bool,
}

impl HitCounter<'_> {
    #[inline]
    pub(crate) fn count(self, stale: bool) {
        let add = |counter: &AtomicU64| {
            if self.is_own {
                let count = counter.load(Ordering::Relaxed);
                counter.store(count.wrapping_add(1), Ordering::Relaxed);
            } else {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        add(&self.counters.hits);
        if stale {
            add(&self.counters.stale);
        }
    }
}

impl Counters {
    #[inline]
    pub(crate) fn count_hit(&self, stale: bool) {
        self.hit_counter().count(stale);
    }

    /// Where the current thread counts a hit. The caller counts it before the thread
    /// does anything else with this client.
    #[inline]
    pub(crate) fn hit_counter(&self) -> HitCounter<'_> {
        match self.hits.get(PLACE.get()) {
            Some(shard) => HitCounter {
                counters: &shard.own,
                is_own: true,
            },
            None => self.shared_hit_counter(),
        }
    }

    /// For a thread that owns no shard, and for the first hit of a thread.
    #[cold]
    #[inline(never)]
    fn shared_hit_counter(&self) -> HitCounter<'_> {
        let place = match PLACE.get() {
            NO_PLACE => find_place(),
            place => place,
        };
        let [first, ..] = &self.hits;
        let shard = self.hits.get(place % SHARDS).unwrap_or(first);
        let is_own = place < SHARDS;
        HitCounter {
            counters: if is_own { &shard.own } else { &shard.others },
            is_own,
        }
    }

    /// Sum of one counter over all shards.
    fn sum(&self, counter: impl Fn(&HitCounters) -> &AtomicU64) -> u64 {
        let load = |counters| counter(counters).load(Ordering::Relaxed);
        let shards = self.hits.iter();
        shards
            .map(|shard| load(&shard.own) + load(&shard.others))
            .sum()
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
            hits: self.sum(|counters| &counters.hits),
            stale_serves: self.sum(|counters| &counters.stale),
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
            shared_adopted: self.get(Event::SharedAdopted),
            shared_published: self.get(Event::SharedPublished),
            shared_waits: self.get(Event::SharedWait),
            shared_alone: self.get(Event::SharedAlone),
            shared_rejected: self.get(Event::SharedRejected),
            shared_faults: self.get(Event::SharedFault),
            shared_cache: SharedCacheState::Off,
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
        assert_eq!(counters.snapshot().hits, 20_000, "hits that were counted");
    }

    /// A thread that gets the shard of an ended one goes on from its counts.
    #[test]
    fn b24_hits_of_ended_threads_stay_counted() {
        let counters = Counters::default();
        for _ in 0..3 * SHARDS {
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        counters.count_hit(true);
                        let place = PLACE.get();
                        assert!(place < 2 * SHARDS, "the thread has no place to count");
                    });
                }
            });
        }
        let stats = counters.snapshot();
        let expected = 6 * SHARDS as u64;
        assert_eq!((stats.hits, stats.stale_serves), (expected, expected));
    }

    /// Two threads that both own a shard never own the same one.
    #[test]
    fn b24_threads_that_run_together_own_different_shards() {
        let threads = 2 * SHARDS;
        let all_have_places = std::sync::Barrier::new(threads);
        let counters = Counters::default();
        let mut places: Vec<usize> = std::thread::scope(|scope| {
            let place = || {
                counters.count_hit(false);
                all_have_places.wait();
                PLACE.get()
            };
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(place)).collect();
            let places = running.into_iter().map(|thread| thread.join().unwrap());
            places.collect()
        });
        places.retain(|place| *place < SHARDS);
        let owners = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), owners, "two threads own one shard");
        assert_eq!(counters.snapshot().hits, threads as u64);
    }
}
