//! Interfaces of the cache: the source of values, the tasks that fetch them,
//! and the state that all slots of a client share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::entry::{Entry, Fetched};
use crate::deadline::Progress;
use crate::error::{Error, Result};
use crate::stats::Counters;
use crate::sys::clock::Clock;

/// Source of a slot's values.
pub(crate) trait Source<V>: Send + Sync {
    /// Fetches a new value. It runs as a separate task, which goes on when a
    /// caller is cancelled and must end within [`Source::budget`].
    fn fetch(&self, params: FetchParams<V>) -> BoxFuture<'static, Outcome<V>>;

    /// Whether the source supports [`Mode::IfChanged`].
    fn can_change(&self) -> bool;

    /// The longest time that a fetch takes.
    fn budget(&self) -> Duration;

    /// Called about once per clock tick while hits are served.
    fn on_tick(&self) {}
}

/// Parameters of a fetch.
pub(crate) struct FetchParams<V> {
    pub(crate) mode: Mode,
    /// Number of consecutive failed fetches before this one.
    pub(crate) failures: u32,
    /// Progress of the fetch, for the callers that wait for it.
    pub(crate) progress: Progress,
    /// Value that a refresh is to replace, and that callers are served meanwhile.
    /// `None` if callers wait: for a missing value, or for another one than a value that
    /// a server refused.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "for a shared cache")
    )]
    pub(crate) held: Option<Arc<Entry<V>>>,
    /// Value that a server refused, if none has replaced it and it has not expired.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "for a shared cache")
    )]
    pub(crate) refused: Option<Arc<Entry<V>>>,
    /// Remaining lifetime that the caller who started the fetch requires.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "for a shared cache")
    )]
    pub(crate) min_remaining: Option<Duration>,
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
    /// A refresh was postponed by this time, and no request was made. This is no
    /// failure. A fetch for which callers wait must not end so.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "for a shared cache")
    )]
    Postponed(Duration),
}

/// Why a request for a value failed.
pub(crate) enum Failed {
    Own(Error),
    /// As [`Outcome::FailedUpstream`].
    Upstream(Error),
}

#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "for a store"))]
impl Failed {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Own(error) | Self::Upstream(error) => error,
        }
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
