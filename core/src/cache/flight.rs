//! Single flight: the fetch that all callers without a value share, and the
//! effect of past failures on the next fetch.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::policy;
use super::promise::{Awaited, Promise, promise};
use crate::deadline::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::clock::Now;
use crate::sys::jitter::random;

/// State of a slot that its lock protects.
pub(super) struct State<V> {
    flight: Option<Flight<V>>,
    /// Number of consecutive failed fetches.
    failures: u32,
    last_error: Option<Error>,
    quiet_until: u64,
    /// Earliest time at which credentials may be read again during the quiet
    /// time.
    reread_at: u64,
    /// How many times in a row changed credentials failed too.
    changes: u32,
    /// Whether changed credentials failed during this quiet time.
    changed_failed: bool,
    pub(super) invalidations: policy::Invalidations,
    /// Value that a server refused, until another one replaces it or it expires.
    refused: Option<Arc<Entry<V>>>,
}

/// Fetch in progress. The callers that wait for it hold clones.
pub(super) struct Flight<V> {
    pub(super) result: Awaited<FlightResult<V>>,
    pub(super) progress: Progress,
    /// Remaining lifetime that the caller who started it requires.
    min_remaining: Option<Duration>,
}

impl<V> Flight<V> {
    /// Whether its value must suffice for a caller that requires `min_remaining`: a new
    /// fetch for this caller would return nothing better.
    pub(super) fn is_for(&self, min_remaining: Option<Duration>) -> bool {
        match (self.min_remaining, min_remaining) {
            (None, None) => true,
            (Some(own), Some(other)) => own >= other,
            _ => false,
        }
    }
}

impl<V> Clone for Flight<V> {
    fn clone(&self) -> Self {
        Self {
            result: self.result.clone(),
            progress: self.progress.clone(),
            min_remaining: self.min_remaining,
        }
    }
}

/// `None` if a refresh was postponed.
pub(super) type FlightResult<V> = Result<Option<Arc<Entry<V>>>>;
pub(super) type FlightSender<V> = Promise<FlightResult<V>>;

impl<V> State<V> {
    pub(super) fn new() -> Self {
        Self {
            flight: None,
            failures: 0,
            last_error: None,
            quiet_until: 0,
            reread_at: 0,
            changes: 0,
            changed_failed: false,
            invalidations: policy::Invalidations::new(),
            refused: None,
        }
    }

    pub(super) fn flight(&self) -> Option<&Flight<V>> {
        self.flight.as_ref()
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Value that a server refused.
    pub(super) fn refused(&self) -> Option<&Arc<Entry<V>>> {
        self.refused.as_ref()
    }

    /// Forgets the refused value if it has expired. Returns it; the caller must drop it
    /// after it releases the lock.
    pub(super) fn expire_refused(&mut self, now: Now) -> Option<Arc<Entry<V>>> {
        self.refused.take_if(|refused| !refused.is_alive(now))
    }

    /// Records which value a server refused. Returns the one before, which the caller
    /// must drop after it releases the lock.
    pub(super) fn set_refused(&mut self, entry: Arc<Entry<V>>) -> Option<Arc<Entry<V>>> {
        self.refused.replace(entry)
    }

    /// Forgets the refused value if the new one is another. Returns it; the caller must
    /// drop it after it releases the lock.
    pub(super) fn replace_refused(&mut self, entry: &Entry<V>) -> Option<Arc<Entry<V>>>
    where
        V: PartialEq,
    {
        self.refused.take_if(|refused| refused.value != entry.value)
    }

    /// Records the start of a fetch.
    pub(super) fn start(
        &mut self,
        min_remaining: Option<Duration>,
    ) -> (FlightSender<V>, Flight<V>) {
        let (sender, result) = promise();
        let flight = Flight {
            result,
            progress: Progress::default(),
            min_remaining,
        };
        self.flight = Some(flight.clone());
        (sender, flight)
    }

    /// Records the end of the fetch.
    pub(super) fn finish(&mut self) {
        self.flight = None;
    }

    /// Records a success. Returns the last error, which the caller must drop
    /// after it releases the lock.
    pub(super) fn succeeded(&mut self) -> Option<Error> {
        self.failures = 0;
        self.quiet_until = 0;
        self.changes = 0;
        self.changed_failed = false;
        self.last_error.take()
    }

    /// Records a failure. Returns the wait before the next refresh and the
    /// previous error, which the caller must drop after it releases the lock.
    pub(super) fn failed(
        &mut self,
        error: &Error,
        was_reread: bool,
        now: Now,
    ) -> (u64, Option<Error>) {
        self.failures = self.failures.saturating_add(1);
        // Without credentials no request was sent, so they may be read again.
        self.changed_failed = was_reread && error.kind() != ErrorKind::Credentials;
        // New credentials start with a short quiet time again, because a secret may
        // be written in two steps. The quiet time grows while each change fails.
        let failures = if self.changed_failed {
            self.changes = self.changes.saturating_add(1);
            self.changes
        } else {
            self.failures
        };
        let quiet = policy::quiet_time(failures, error, random());
        self.quiet_until = now.mono.saturating_add(quiet);
        let before = self.last_error.replace(error.clone());
        let wait = policy::refresh_backoff(self.failures, error, random()).max(quiet);
        (wait, before)
    }

    pub(super) fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }

    /// Error to return at once during the quiet time.
    pub(super) fn quiet(&self, now: Now) -> Option<&Error> {
        if now.mono < self.quiet_until {
            self.last_error.as_ref()
        } else {
            None
        }
    }

    /// Whether the credentials may be read again during a quiet time: once a
    /// second, until changed credentials have failed too.
    pub(super) fn may_reread(&mut self, now: Now) -> bool {
        if self.changed_failed || now.mono < self.reread_at {
            return false;
        }
        self.reread_at = now.mono.saturating_add(policy::REREAD_INTERVAL);
        true
    }
}
