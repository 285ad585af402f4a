//! Interfaces of the cache: the source of values, the tasks that fetch them,
//! and the state that all slots of a client share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::deadline::Progress;
use crate::error::{Error, Result};
use crate::stats::Counters;
use crate::sys::clock::{Clock, Now};

/// Source of a slot's values.
pub(crate) trait Source<V>: Send + Sync {
    /// Fetches a new value. It runs as a separate task, which goes on when a
    /// caller is cancelled and must end within [`Source::budget`].
    fn fetch(&self, params: FetchParams) -> BoxFuture<'static, Outcome<V>>;

    /// Whether the source supports [`Mode::IfChanged`].
    fn can_change(&self) -> bool;

    /// The longest time that a fetch takes.
    fn budget(&self) -> Duration;

    /// Called about once per clock tick while hits are served.
    fn on_tick(&self) {}
}

/// Parameters of a fetch.
pub(crate) struct FetchParams {
    pub(crate) mode: Mode,
    /// Number of consecutive failed fetches before this one.
    pub(crate) failures: u32,
    /// Progress of the fetch, for the callers that wait for it.
    pub(crate) progress: Progress,
}

/// Whether a fetch may do without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Get a value.
    Always,
    /// The last fetch failed permanently and its quiet time is not over: fetch
    /// only if the credentials have changed.
    IfChanged,
}

/// Outcome of a fetch.
pub(crate) enum Outcome<V> {
    Fetched(Fetched<V>),
    Failed(Error),
    /// Another slot on which this value depends failed. That slot has the quiet
    /// time, so this slot needs none and recovers together with it.
    FailedUpstream(Error),
    /// Answer to [`Mode::IfChanged`]: nothing has changed, and no request was made.
    Unchanged,
}

/// New value with the data that determines its lifetime.
pub(crate) struct Fetched<V> {
    pub(crate) value: V,
    /// Read before the request was sent, because the server may count the
    /// lifetime from then.
    pub(crate) requested_at: Now,
    pub(crate) lifetime: Duration,
    /// Share of the lifetime that must be left for a caller to get the value
    /// without a wait; 0 if it can be served until it expires.
    pub(crate) reserve: f64,
}

impl<V> Fetched<V> {
    /// When it expires, by the monotonic clock alone.
    pub(super) fn expires_at(&self) -> u64 {
        let lifetime = u64::try_from(self.lifetime.as_nanos()).unwrap_or(u64::MAX);
        self.requested_at.mono.saturating_add(lifetime)
    }
}

/// Runs fetches as background tasks.
pub(crate) trait Spawn: Send + Sync {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()>;
}

/// State that all slots of a client share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) stats: Arc<Counters>,
}
