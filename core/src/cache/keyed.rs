//! Bounded set of slots by key.

use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hashbrown::Equivalent;

use super::entry::{Entry, Verdict};
use super::map::ReadMap;
use super::policy;
use super::sieve::Sieve;
use super::slot::{Borrowed, Slot};
use super::source::{Context, FetchParams, Outcome, Source};
use crate::deadline::Progress;
use crate::error::Result;
use crate::sys::clock::{Clock, Now};
use crate::sys::fork::PerProcess;
use crate::sys::sync::{AtomicBool, Mutex, lock};

/// Bounded set of slots by key. A lookup takes no lock, and a fetch for one key
/// does not delay another key. When the set is full, a new key evicts an
/// expired key, or else the one that [`Sieve`] selects.
pub(crate) struct Keyed<K, V>(Arc<Shared<K, V>>);

struct Shared<K, V> {
    nodes: ReadMap<K, Arc<Node<V>>>,
    capacity: usize,
    /// Its lock also protects all changes to `nodes`.
    order: PerProcess<Mutex<Sieve<K>>>,
}

struct Node<V> {
    slot: Arc<Slot<V>>,
    /// Number of the node in the insertion order.
    number: u64,
    /// Whether it was used since the SIEVE hand last passed.
    used: AtomicBool,
}

impl<V> Node<V> {
    #[inline]
    fn mark_used(&self) {
        // Loaded first, because a store takes the cache line away from other
        // readers.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

/// Maximum number of expired keys that one call removes. Each removal copies a
/// table of some hundred entries, which takes microseconds.
const MAX_REMOVED_PER_CALL: usize = 64;

/// How long a key without a value is kept. This is longer than any quiet time,
/// so that a removal never causes an early request.
const FAILURE_MEMORY: u64 = 120_000_000_000;

impl<K, V> Keyed<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
{
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared {
            nodes: ReadMap::new(),
            capacity,
            order: PerProcess::new(),
        }))
    }

    /// As [`Slot::hit`], for one key.
    #[inline]
    pub(crate) fn hit<Q, S>(
        &self,
        cx: &Context,
        key: &Q,
        min_remaining: Option<Duration>,
        source: impl FnOnce() -> S,
    ) -> Option<Borrowed<V>>
    where
        Q: Hash + Equivalent<K>,
        S: Source<V>,
    {
        let shared = &self.0;
        let hit = |node: &Arc<Node<V>>| {
            node.mark_used();
            let registered = || Registered::new(source(), shared, node.number, cx);
            node.slot.load_valid(cx, min_remaining, registered)
        };
        Borrowed::new(shared.nodes.with_or_default(key, hit))
    }

    /// Reads the value of a key, if it can be served now, and whether its refresh
    /// is due. Starts no refresh: a batch calls [`refresh`](Self::refresh) when
    /// its limits allow it.
    pub(crate) fn peek<Q, R>(
        &self,
        cx: &Context,
        key: &Q,
        read: impl FnOnce(&Entry<V>) -> R,
    ) -> Option<(R, bool)>
    where
        Q: Hash + Equivalent<K>,
    {
        let read = |node: &Arc<Node<V>>| {
            node.mark_used();
            let entry = node.slot.peek()?;
            let due = match entry.verdict_at(cx.clock.now(), None) {
                Verdict::Good => false,
                Verdict::Refresh => true,
                Verdict::Spent => return None,
            };
            cx.stats.count_hit(entry.is_stale());
            Some((read(&entry), due))
        };
        self.0.nodes.with(key, read)?
    }

    /// Starts the refresh of a key if it is due and no other caller has started
    /// it.
    pub(crate) fn refresh<Q, S>(&self, cx: &Context, key: &Q, source: S)
    where
        Q: Hash + Equivalent<K>,
        S: Source<V>,
    {
        let Some(node) = self.0.nodes.with(key, Arc::clone) else {
            return;
        };
        if let Some(entry) = node.slot.peek() {
            let source = Registered::new(source, &self.0, node.number, cx);
            node.slot.refresh(cx, &source, &entry, None);
        }
    }

    /// Returns the value of a key, from its slot or from the shared fetch of
    /// the key.
    pub(crate) async fn get<S>(
        &self,
        cx: &Context,
        key: &K,
        source: S,
        min_remaining: Option<Duration>,
        progress: &Progress,
    ) -> Result<Arc<Entry<V>>>
    where
        S: Source<V>,
    {
        let node = self.0.node(key, cx.clock.now(), source.budget());
        let source = Registered::new(source, &self.0, node.number, cx);
        node.slot.get(cx, &source, min_remaining, progress).await
    }

    /// As [`Slot::renew`], for one key. Returns the current value if it is younger than
    /// [`REFUSED_AGE`](policy::REFUSED_AGE), or after too many refusals.
    pub(crate) async fn renew<S>(
        &self,
        cx: &Context,
        key: &K,
        source: S,
        progress: &Progress,
        is_refused: impl Fn(&V) -> bool,
    ) -> Result<Arc<Entry<V>>>
    where
        S: Source<V>,
    {
        let node = self.0.node(key, cx.clock.now(), source.budget());
        let source = Registered::new(source, &self.0, node.number, cx);
        let is_young = |entry: &Arc<Entry<V>>| entry.age(cx.clock.now()) < policy::REFUSED_AGE;
        if node.slot.peek().filter(is_young).is_none() {
            let renewed = node.slot.renew(cx, &source, progress, is_refused).await?;
            if let Some(entry) = renewed {
                return Ok(entry);
            }
        }
        node.slot.get(cx, &source, None, progress).await
    }

    /// As [`Slot::try_get`].
    pub(crate) fn try_get<S>(
        &self,
        cx: &Context,
        key: &K,
        source: S,
        min_remaining: Option<Duration>,
    ) -> Result<Option<Arc<Entry<V>>>>
    where
        S: Source<V>,
    {
        let node = self.0.node(key, cx.clock.now(), source.budget());
        let source = Registered::new(source, &self.0, node.number, cx);
        node.slot.try_get(cx, &source, min_remaining)
    }

    /// Removes the expired keys and returns the number of the others.
    pub(crate) fn len(&self, cx: &Context) -> usize {
        loop {
            let mut order = lock(self.0.order());
            let removed = self.0.remove_expired(&mut order, cx.clock.now());
            let len = order.len();
            // The lock is released between the rounds, for other callers that
            // wait for it.
            drop(order);
            if removed.len() < MAX_REMOVED_PER_CALL {
                return len;
            }
        }
    }

    /// Number of keys, expired ones included.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn nodes(&self) -> usize {
        lock(self.0.order()).len()
    }

    /// Removes the value of a key if `is_it` returns true for it.
    pub(crate) fn invalidate<Q>(&self, cx: &Context, key: &Q, is_it: impl Fn(&V) -> bool) -> bool
    where
        Q: Hash + Equivalent<K>,
    {
        let slot = self.0.nodes.with(key, |node| Arc::clone(&node.slot));
        slot.is_some_and(|slot| slot.invalidate(cx, is_it))
    }

    /// Removes the value, of any key, for which `is_it` returns true. It reads
    /// all keys, which is acceptable because refused tokens are rare.
    pub(crate) fn invalidate_any(&self, cx: &Context, is_it: impl Fn(&V) -> bool) -> bool {
        let mut refused = None;
        self.0.nodes.for_each(|_, node| {
            if node.slot.peek().is_some_and(|entry| is_it(&entry.value)) {
                refused = Some(Arc::clone(&node.slot));
            }
        });
        refused.is_some_and(|slot| slot.invalidate(cx, is_it))
    }
}

impl<K, V> Shared<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
{
    /// Returns the node of a key, and adds it if it is missing.
    fn node(&self, key: &K, now: Now, budget: Duration) -> Arc<Node<V>> {
        let find = |node: &Arc<Node<V>>| {
            node.mark_used();
            Arc::clone(node)
        };
        if let Some(node) = self.nodes.with(key, find) {
            return node;
        }
        let mut order = lock(self.order());
        if let Some(node) = self.nodes.with(key, find) {
            return node;
        }
        // Dropped after the lock is released: a node may contain an error whose
        // destructor is the user's code.
        let mut removed = self.remove_expired(&mut order, now);
        while order.len() >= self.capacity
            && let Some(node) = self.evict(&mut order)
        {
            removed.push(node);
        }
        // In case no value ever arrives.
        let forgotten_at = now.mono + policy::nanos(budget) + FAILURE_MEMORY;
        let node = Arc::new(Node {
            slot: Arc::new(Slot::new()),
            number: order.push(key.clone(), forgotten_at),
            used: AtomicBool::new(false),
        });
        self.nodes.insert(key.clone(), Arc::clone(&node));
        drop(order);
        drop(removed);
        node
    }

    /// Returns the order of this process. After a fork it is rebuilt from the
    /// map.
    fn order(&self) -> &Mutex<Sieve<K>> {
        self.order.get_or_init(|| {
            let mut order = Sieve::new();
            self.nodes.for_each(|key, node| {
                let expires_at = node.slot.peek().map_or(0, |entry| entry.expires_at());
                order.restore(node.number, key.clone(), expires_at);
            });
            Mutex::new(order)
        })
    }

    /// Removes expired nodes, up to [`MAX_REMOVED_PER_CALL`], so that one call
    /// does not remove thousands that expire together.
    fn remove_expired(&self, order: &mut Sieve<K>, now: Now) -> Vec<Arc<Node<V>>> {
        let mut removed = Vec::new();
        while removed.len() < MAX_REMOVED_PER_CALL
            && let Some((number, key)) = order
                .expired(now.mono)
                .map(|(number, key)| (number, key.clone()))
        {
            match self.nodes.with(&key, Arc::clone) {
                Some(node) if !node.slot.is_dead(now) => {
                    // A fetch is in progress, or its failure must be
                    // remembered.
                    order.set_expiry(number, now.mono.saturating_add(FAILURE_MEMORY));
                }
                node => {
                    self.nodes.remove(&key);
                    order.remove(number);
                    removed.extend(node);
                }
            }
        }
        removed
    }

    /// Evicts one node that was not used since the hand last passed. Nodes with a
    /// fetch in progress stay, because a later call for their key would start
    /// another fetch.
    fn evict(&self, order: &mut Sieve<K>) -> Option<Arc<Node<V>>> {
        let is_kept = |key: &K| {
            let keep = |node: &Arc<Node<V>>| {
                node.used.swap(false, Ordering::Relaxed) || node.slot.is_fetching()
            };
            self.nodes.with(key, keep) == Some(true)
        };
        let victim = order.victim(is_kept)?;
        let key = order.remove(victim)?;
        let node = self.nodes.with(&key, Arc::clone);
        self.nodes.remove(&key);
        node
    }
}

/// Source that records when its value expires.
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
    V: PartialEq + Send + Sync + 'static,
{
    fn fetch(&self, params: FetchParams<V>) -> BoxFuture<'static, Outcome<V>> {
        let fetch = self.source.fetch(params);
        let shared = Weak::clone(&self.shared);
        let number = self.number;
        let clock = self.clock.clone();
        Box::pin(async move {
            let outcome = fetch.await;
            if let Some(shared) = shared.upgrade() {
                let now = clock.now();
                let expires_at = match &outcome {
                    Outcome::Fetched(fetched) => fetched.expires_at(),
                    Outcome::Failed(_)
                    | Outcome::FailedUpstream(_)
                    | Outcome::Unchanged
                    | Outcome::Postponed(_) => now.mono.saturating_add(FAILURE_MEMORY),
                };
                let mut order = lock(shared.order());
                order.set_expiry(number, expires_at);
                let removed = shared.remove_expired(&mut order, now);
                drop(order);
                drop(removed);
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

    fn on_tick(&self) {
        self.source.on_tick();
    }
}
