//! Reader of a slot for one thread.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::entry::{Entry, Verdict};
use super::slot::Slot;
use super::source::{Context, Source};

/// Reader of a slot for one thread. While the value stays the same, a hit
/// writes nothing that other threads use.
pub(crate) struct Reader<V> {
    slot: Arc<Slot<V>>,
    cache: arc_swap::Cache<Current<V>, Option<Arc<Entry<V>>>>,
}

/// A slot's current value, in the form that `arc_swap::Cache` expects.
struct Current<V>(Arc<Slot<V>>);

impl<V> Deref for Current<V> {
    type Target = ArcSwapOption<Entry<V>>;

    fn deref(&self) -> &Self::Target {
        self.0.current()
    }
}

impl<V: PartialEq + Send + Sync + 'static> Reader<V> {
    pub(crate) fn new(slot: Arc<Slot<V>>) -> Self {
        Self {
            cache: arc_swap::Cache::new(Current(Arc::clone(&slot))),
            slot,
        }
    }

    /// As [`Slot::hit`].
    #[inline]
    pub(crate) fn hit<S>(&mut self, cx: &Context, source: impl FnOnce() -> S) -> Option<&V>
    where
        S: Source<V>,
    {
        let tick = cx.clock.tick();
        let entry = self.cache.load().as_ref()?;
        let is_stale = match entry.hit_at(tick) {
            Some(is_stale) => is_stale,
            None => check_hit(&self.slot, cx, entry, tick, source)?,
        };
        cx.stats.count_hit(is_stale);
        Some(&entry.value)
    }
}

/// [`Reader::hit`] for a value that was not yet found valid in this clock tick. Returns
/// whether the hit is a stale one.
#[cold]
#[inline(never)]
fn check_hit<V, S>(
    slot: &Arc<Slot<V>>,
    cx: &Context,
    entry: &Entry<V>,
    tick: u64,
    source: impl FnOnce() -> S,
) -> Option<bool>
where
    V: PartialEq + Send + Sync + 'static,
    S: Source<V>,
{
    match entry.check(&cx.clock, tick, None) {
        Verdict::Spent => return None,
        verdict => slot.on_tick(cx, source(), entry, verdict, None),
    }
    Some(entry.is_stale())
}
