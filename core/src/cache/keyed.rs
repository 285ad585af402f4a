//! Many values by key: a slot each, bounded in number, nothing dead kept.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use super::{Context, Entry, Mode, Outcome, Slot, Source};
use crate::clock::{Clock, Now};
use crate::error::Result;
use crate::fork;
use crate::sync::{AtomicBool, Mutex, lock};

/// Slots by key. Finding one takes no lock; a key's flight holds up no other
/// key. Whoever comes when all places are taken turns out the least useful:
/// SIEVE (NSDI 2024), which keeps what was asked for again and drops what was
/// asked for once, and writes one flag per hit at most.
pub(crate) struct Keyed<K, V> {
    table: ArcSwap<Table<K, V>>,
    capacity: usize,
}

struct Table<K, V> {
    generation: u32,
    places: papaya::HashMap<K, Arc<Place<V>>, foldhash::fast::RandomState>,
    order: Mutex<Order<K>>,
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

/// How long a place without a value is kept: longer than any quiet time, so
/// that forgetting it never means asking again too soon.
const MEMORY_OF_FAILURE: u64 = 120_000_000_000;

/// Who came when, and who dies when. Touched on misses only.
struct Order<K> {
    next: u64,
    /// From the oldest to the newest.
    queue: BTreeMap<u64, K>,
    /// Where the next victim is looked for.
    hand: u64,
    deaths: BTreeSet<(u64, u64)>,
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    fn new() -> Self {
        Self {
            generation: fork::generation(),
            places: papaya::HashMap::with_hasher(foldhash::fast::RandomState::default()),
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
        Self {
            table: ArcSwap::from_pointee(Table::new()),
            capacity,
        }
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
        Q: Hash + papaya::Equivalent<K>,
        S: Source<V>,
    {
        let table = self.table.load();
        if table.generation != fork::generation() {
            return None;
        }
        let places = table.places.pin();
        let place = places.get(key)?;
        place.visit();
        let registered = || Registered::new(source(), &table, place.number, cx);
        let borrowed = place.slot.hit(cx, registered)?;
        Some(read(borrowed.entry()))
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
        let table = self.table();
        let place = self.place(&table, key, cx.clock.now());
        let source = Registered::new(source, &table, place.number, cx);
        place.slot.get(cx, &source, remaining).await
    }

    /// The place of a key, made if it is not there.
    fn place(&self, table: &Table<K, V>, key: &K, now: Now) -> Arc<Place<V>> {
        let places = table.places.pin();
        if let Some(place) = places.get(key) {
            place.visit();
            return Arc::clone(place);
        }
        let mut order = lock(&table.order);
        if let Some(place) = places.get(key) {
            return Arc::clone(place);
        }
        table.bury(&mut order, now);
        while order.queue.len() >= self.capacity {
            table.evict(&mut order, now);
        }
        order.next += 1;
        let number = order.next;
        let place = Arc::new(Place {
            slot: Arc::new(Slot::new()),
            number,
            visited: AtomicBool::new(false),
        });
        order.queue.insert(number, key.clone());
        // In case no value ever comes.
        order
            .deaths
            .insert((now.mono.saturating_add(MEMORY_OF_FAILURE), number));
        places.insert(key.clone(), Arc::clone(&place));
        place
    }

    /// How many there are, after the dead are gone.
    pub(crate) fn len(&self, cx: &Context) -> usize {
        let table = self.table();
        let mut order = lock(&table.order);
        table.bury(&mut order, cx.clock.now());
        order.queue.len()
    }

    /// Forgets a key's value if `is_it` says that it was refused.
    pub(crate) fn invalidate<Q>(&self, cx: &Context, key: &Q, is_it: impl Fn(&V) -> bool) -> bool
    where
        Q: Hash + papaya::Equivalent<K>,
    {
        let table = self.table();
        let places = table.places.pin();
        places
            .get(key)
            .is_some_and(|place| place.slot.invalidate(cx, is_it))
    }

    /// The table of this process. After a fork the old one's lock may be held
    /// for ever and its map be half-way through a change of size, so the slots
    /// move to a new one; the old is leaked.
    fn table(&self) -> Arc<Table<K, V>> {
        let table = self.table.load_full();
        if table.generation == fork::generation() {
            return table;
        }
        std::mem::forget(Arc::clone(&table));
        let fresh = Table::new();
        {
            let mut order = lock(&fresh.order);
            let places = fresh.places.pin();
            for (key, place) in &table.places.pin() {
                order.next += 1;
                let number = order.next;
                order.queue.insert(number, key.clone());
                if let Some(entry) = place.slot.peek() {
                    order.deaths.insert((entry.dies_at(), number));
                }
                let moved = Place {
                    slot: Arc::clone(&place.slot),
                    number,
                    visited: AtomicBool::new(place.visited.load(Ordering::Relaxed)),
                };
                places.insert(key.clone(), Arc::new(moved));
            }
        }
        let before = self.table.compare_and_swap(&table, Arc::new(fresh));
        drop(before);
        self.table.load_full()
    }
}

impl<K, V> Table<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Removes what has died.
    fn bury(&self, order: &mut Order<K>, now: Now) {
        let places = self.places.pin();
        while let Some(&(dies_at, number)) = order.deaths.first()
            && dies_at <= now.mono
        {
            order.deaths.pop_first();
            let Some(key) = order.queue.get(&number) else {
                continue;
            };
            // It may have been refreshed since: then its death stands in the
            // list once more.
            if places.get(key).is_some_and(|place| place.slot.is_dead(now)) {
                places.remove(key);
                order.queue.remove(&number);
            }
        }
    }

    /// Removes the first that was not asked for since the hand last passed.
    /// One in the middle of a flight is spared as well: its key would start
    /// another.
    fn evict(&self, order: &mut Order<K>, now: Now) {
        let places = self.places.pin();
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
            let spared = places.get(key).is_some_and(|place| {
                place.visited.swap(false, Ordering::Relaxed) || place.slot.is_flying(now)
            });
            if spared && spares > 0 {
                spares -= 1;
            } else {
                places.remove(key);
                order.queue.remove(&number);
                return;
            }
        }
    }
}

/// A source that notes when what it brought will die.
struct Registered<S, K, V> {
    source: S,
    table: Weak<Table<K, V>>,
    number: u64,
    clock: Clock,
}

impl<S, K, V> Registered<S, K, V> {
    fn new(source: S, table: &Arc<Table<K, V>>, number: u64, cx: &Context) -> Self {
        Self {
            source,
            table: Arc::downgrade(table),
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
        let table = Weak::clone(&self.table);
        let number = self.number;
        let clock = self.clock.clone();
        Box::pin(async move {
            let outcome = fetch.await;
            if let Some(table) = table.upgrade() {
                let now = clock.now();
                let dies_at = match &outcome {
                    Outcome::Fetched(fetched) => fetched.dies_at(),
                    Outcome::Failed(_) | Outcome::Unchanged => {
                        now.mono.saturating_add(MEMORY_OF_FAILURE)
                    }
                };
                let mut order = lock(&table.order);
                if order.queue.contains_key(&number) {
                    order.deaths.insert((dies_at, number));
                }
                table.bury(&mut order, now);
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
