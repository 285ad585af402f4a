//! Many values by key: a slot each, bounded in number, nothing dead kept.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use hashbrown::Equivalent;

use super::entry::Verdict;
use super::map::ReadMap;
use super::{Context, Entry, Mode, Outcome, Slot, Source, policy};
use crate::clock::{Clock, Now};
use crate::error::Result;
use crate::fork;
use crate::sync::{AtomicBool, Mutex, lock};

/// Slots by key. Finding one takes no lock; a key's flight holds up no other
/// key. Whoever comes when all places are taken turns out the least useful:
/// SIEVE (NSDI 2024), which keeps what was asked for again and drops what was
/// asked for once, and writes one flag per hit at most.
pub(crate) struct Keyed<K, V>(Arc<Shared<K, V>>);

struct Shared<K, V> {
    places: ReadMap<K, Arc<Place<V>>>,
    capacity: usize,
    order: ArcSwap<Ledger<K>>,
}

struct Place<V> {
    slot: Arc<Slot<V>>,
    /// Its number in the order.
    number: u64,
    /// Asked for since the hand last passed.
    visited: AtomicBool,
}

impl<V> Place<V> {
    #[inline]
    fn visit(&self) {
        // Looked at first: a store would take the line from other readers.
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
    }
}

/// A removal copies a table of some hundreds, in microseconds.
const MOST_BURIED_AT_ONCE: u32 = 64;

/// How long a place without a value is kept: longer than any quiet time, so
/// that forgetting it never means asking again too soon.
const MEMORY_OF_FAILURE: u64 = 120_000_000_000;

/// The order under its lock, which is the lock of all changes to the map too.
/// It belongs to one process: after a fork it may be held for ever.
struct Ledger<K> {
    generation: u32,
    order: Mutex<Order<K>>,
}

/// Who came when, and who dies when. Touched on misses only.
struct Order<K> {
    next: u64,
    /// From the oldest to the newest.
    queue: BTreeMap<u64, K>,
    /// Where the next victim is looked for.
    hand: u64,
    deaths: BTreeSet<(u64, u64)>,
}

impl<K> Ledger<K> {
    fn new() -> Self {
        Self {
            generation: fork::generation(),
            order: Mutex::new(Order {
                next: 0,
                queue: BTreeMap::new(),
                hand: 0,
                deaths: BTreeSet::new(),
            }),
        }
    }
}

impl<K, V> Keyed<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared {
            places: ReadMap::new(),
            capacity,
            order: ArcSwap::from_pointee(Ledger::new()),
        }))
    }

    /// The value of a key, if it can be handed out at once.
    #[inline]
    pub(crate) fn hit<Q, S, R>(
        &self,
        cx: &Context,
        key: &Q,
        source: impl FnOnce() -> S,
        read: impl FnOnce(&Entry<V>) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K>,
        S: Source<V>,
    {
        let shared = &self.0;
        let hit = |place: &Arc<Place<V>>| {
            place.visit();
            let registered = || Registered::new(source(), shared, place.number, cx);
            let borrowed = place.slot.hit(cx, registered)?;
            Some(read(borrowed.entry()))
        };
        shared.places.with(key, hit)?
    }

    /// The value of a key, if it can be handed out at once, and whether its
    /// refresh is due. Starts none: for callers that come for thousands, whose
    /// refreshes [`refresh`](Self::refresh) starts when there is room for them.
    pub(crate) fn look<Q, R>(
        &self,
        cx: &Context,
        key: &Q,
        read: impl FnOnce(&Entry<V>) -> R,
    ) -> Option<(R, bool)>
    where
        Q: Hash + Equivalent<K>,
    {
        let look = |place: &Arc<Place<V>>| {
            place.visit();
            let entry = place.slot.peek()?;
            let due = match entry.verdict(&cx.clock) {
                Verdict::Good => false,
                Verdict::Refresh => true,
                Verdict::Spent => return None,
            };
            cx.stats.count_hit(entry.is_stale());
            Some((read(&entry), due))
        };
        self.0.places.with(key, look)?
    }

    /// Starts the refresh of a key's value that is due, unless someone else
    /// just did.
    pub(crate) fn refresh<Q, S>(&self, cx: &Context, key: &Q, source: S)
    where
        Q: Hash + Equivalent<K>,
        S: Source<V>,
    {
        let Some(place) = self.0.places.with(key, Arc::clone) else {
            return;
        };
        if let Some(entry) = place.slot.peek() {
            let source = Registered::new(source, &self.0, place.number, cx);
            place.slot.refresh(cx, &source, &entry);
        }
    }

    /// The value of a key, from its slot or from the key's one flight.
    pub(crate) async fn get<S>(
        &self,
        cx: &Context,
        key: &K,
        source: S,
        remaining: Option<Duration>,
    ) -> Result<Arc<Entry<V>>>
    where
        S: Source<V>,
    {
        let place = self.0.place(key, cx.clock.now(), source.budget());
        let source = Registered::new(source, &self.0, place.number, cx);
        place.slot.get(cx, &source, remaining).await
    }

    /// How many there are, after the dead are gone.
    pub(crate) fn len(&self, cx: &Context) -> usize {
        let ledger = self.0.ledger();
        let mut order = lock(&ledger.order);
        while self.0.bury(&mut order, cx.clock.now()) {
            // A pause for those who wait for the lock.
            drop(order);
            order = lock(&ledger.order);
        }
        order.queue.len()
    }

    /// How many there are, dead ones included.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn places(&self) -> usize {
        lock(&self.0.ledger().order).queue.len()
    }

    /// Forgets a key's value if `is_it` says that it was refused.
    pub(crate) fn invalidate<Q>(&self, cx: &Context, key: &Q, is_it: impl Fn(&V) -> bool) -> bool
    where
        Q: Hash + Equivalent<K>,
    {
        let slot = self.0.places.with(key, |place| Arc::clone(&place.slot));
        slot.is_some_and(|slot| slot.invalidate(cx, is_it))
    }
}

impl<K, V> Shared<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The place of a key, made if it is not there.
    fn place(&self, key: &K, now: Now, budget: Duration) -> Arc<Place<V>> {
        let find = |place: &Arc<Place<V>>| {
            place.visit();
            Arc::clone(place)
        };
        if let Some(place) = self.places.with(key, find) {
            return place;
        }
        let ledger = self.ledger();
        let mut order = lock(&ledger.order);
        if let Some(place) = self.places.with(key, find) {
            return place;
        }
        self.bury(&mut order, now);
        while order.queue.len() >= self.capacity {
            self.evict(&mut order, now);
        }
        order.next += 1;
        let number = order.next;
        let slot = Arc::new(Slot::new());
        let place = Arc::new(Place {
            slot,
            number,
            visited: AtomicBool::new(false),
        });
        order.queue.insert(number, key.clone());
        // In case no value ever comes.
        let forgotten_at = now.mono + policy::nanos(budget) + MEMORY_OF_FAILURE;
        order.deaths.insert((forgotten_at, number));
        self.places.insert(key.clone(), Arc::clone(&place));
        place
    }

    /// The order as this process keeps it; after a fork, made anew from what
    /// is there. The old one is leaked, its lock perhaps held by a thread that
    /// is no more.
    fn ledger(&self) -> Arc<Ledger<K>> {
        let ledger = self.order.load_full();
        if ledger.generation == fork::generation() {
            return ledger;
        }
        std::mem::forget(Arc::clone(&ledger));
        let fresh = Ledger::new();
        let mut order = lock(&fresh.order);
        self.places.for_each(|key, place| {
            order.next = order.next.max(place.number);
            order.queue.insert(place.number, key.clone());
            let dies_at = place.slot.peek().map_or(0, |entry| entry.dies_at());
            order.deaths.insert((dies_at, place.number));
        });
        drop(order);
        drop(self.order.compare_and_swap(&ledger, Arc::new(fresh)));
        self.order.load_full()
    }

    /// Removes what has died, though not all at once: of a hundred thousand that
    /// die together the caller who comes next must not bury each. Whether
    /// there is more.
    fn bury(&self, order: &mut Order<K>, now: Now) -> bool {
        for _ in 0..MOST_BURIED_AT_ONCE {
            let Some(&(_, number)) = order
                .deaths
                .first()
                .filter(|(dies_at, _)| *dies_at <= now.mono)
            else {
                return false;
            };
            order.deaths.pop_first();
            let Some(key) = order.queue.get(&number) else {
                continue;
            };
            // It may have been refreshed since: then its death stands in the
            // list once more.
            if self.places.with(key, |place| place.slot.is_dead(now)) == Some(true) {
                self.places.remove(key);
                order.queue.remove(&number);
            }
        }
        true
    }

    /// Removes the first that was not asked for since the hand last passed.
    /// One in the middle of a flight is spared as well: its key would start
    /// another.
    fn evict(&self, order: &mut Order<K>, now: Now) {
        // Twice round; after that all are in flight, and the bound is the bound.
        let mut spares = 2 * order.queue.len();
        loop {
            let after_hand = (Bound::Included(order.hand), Bound::Unbounded);
            let next = order
                .queue
                .range(after_hand)
                .next()
                .or_else(|| order.queue.iter().next());
            let Some((&number, key)) = next else { return };
            order.hand = number + 1;
            let is_spared = |place: &Arc<Place<V>>| {
                place.visited.swap(false, Ordering::Relaxed) || place.slot.is_flying(now)
            };
            if self.places.with(key, is_spared) == Some(true) && spares > 0 {
                spares -= 1;
            } else {
                self.places.remove(key);
                order.queue.remove(&number);
                return;
            }
        }
    }
}

/// A source that notes when what it brought will die.
struct Registered<S, K, V> {
    source: S,
    shared: Weak<Shared<K, V>>,
    number: u64,
    clock: Clock,
}

impl<S, K, V> Registered<S, K, V> {
    fn new(source: S, shared: &Arc<Shared<K, V>>, number: u64, cx: &Context) -> Self {
        Self {
            source,
            shared: Arc::downgrade(shared),
            number,
            clock: cx.clock.clone(),
        }
    }
}

impl<S, K, V> Source<V> for Registered<S, K, V>
where
    S: Source<V>,
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn fetch(&self, mode: Mode) -> BoxFuture<'static, Outcome<V>> {
        let fetch = self.source.fetch(mode);
        let shared = Weak::clone(&self.shared);
        let number = self.number;
        let clock = self.clock.clone();
        Box::pin(async move {
            let outcome = fetch.await;
            if let Some(shared) = shared.upgrade() {
                let now = clock.now();
                let dies_at = match &outcome {
                    Outcome::Fetched(fetched) => fetched.dies_at(),
                    Outcome::Failed(_) | Outcome::FailedEarlier(_) | Outcome::Unchanged => {
                        now.mono.saturating_add(MEMORY_OF_FAILURE)
                    }
                };
                let ledger = shared.ledger();
                let mut order = lock(&ledger.order);
                if order.queue.contains_key(&number) {
                    order.deaths.insert((dies_at, number));
                }
                shared.bury(&mut order, now);
            }
            outcome
        })
    }

    fn can_change(&self) -> bool {
        self.source.can_change()
    }

    fn budget(&self) -> Duration {
        self.source.budget()
    }
}
