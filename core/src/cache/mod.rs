//! The heart: values that expire, kept so that nobody waits for one that is
//! there, nobody asks for one twice, and nobody gets one that is dead.
//!
//! The cache gets its values through [`Source`], runs its flights through
//! [`Spawn`], and knows neither HTTP nor any runtime.

mod control;
mod entry;
mod keyed;
mod map;
mod policy;
mod reader;
mod slot;
#[cfg(test)]
#[cfg_attr(shuttle, allow(dead_code))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::clock::{Clock, Now};
use crate::error::{Error, Result};
use crate::stats::Counters;

pub(crate) use entry::Entry;
pub(crate) use keyed::Keyed;
pub(crate) use reader::Reader;
pub(crate) use slot::{Borrowed, Slot};

/// Where values come from.
pub(crate) trait Source<V>: Send + Sync {
    /// Gets a new value. Runs as a task of its own that no caller's
    /// cancellation ends, and must end by itself within [`Source::budget`].
    fn fetch(&self, mode: Mode) -> BoxFuture<'static, Outcome<V>>;

    /// Whether [`Mode::IfChanged`] is understood.
    fn can_change(&self) -> bool;

    /// The longest that a fetch takes.
    fn budget(&self) -> Duration;
}

/// How eager a fetch is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Get a value.
    Always,
    /// The last fetch failed for good and it is too early for another: only
    /// if what it failed with (the credentials) has changed since.
    IfChanged,
}

/// How a fetch ends.
pub(crate) enum Outcome<V> {
    Fetched(Fetched<V>),
    Failed(Error),
    /// What the value is made from could not be had, from a slot that keeps
    /// quiet by itself: this one need not, and heals when that one does.
    FailedEarlier(Error),
    /// Answer to [`Mode::IfChanged`]: nothing has, and no request was made.
    Unchanged,
}

/// A new value with what its life depends on.
pub(crate) struct Fetched<V> {
    pub(crate) value: V,
    /// Read before the request was sent: the server's count may have begun then.
    pub(crate) requested_at: Now,
    pub(crate) lifetime: Duration,
    /// How much of the life must be left for the value to be handed out
    /// without a wait, as a share of it: 0 for a value that is good to its end.
    pub(crate) reserve: f64,
}

impl<V> Fetched<V> {
    /// When it dies, by the monotonic clock alone.
    fn dies_at(&self) -> u64 {
        self.requested_at
            .mono
            .saturating_add(policy::nanos(self.lifetime))
    }
}

/// Runs a flight to its end, whoever waits for it.
pub(crate) trait Spawn: Send + Sync {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()>;
}

/// What the cache works with, the same for all slots of a client.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) stats: Arc<Counters>,
}
