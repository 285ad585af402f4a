//! What came in and went out: the log and the counters, under one lock, so that
//! a test which sees a request in one sees it in the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::endpoint::Endpoint;
use crate::log::{LogEntry, Ring};
use crate::sync::lock;
use crate::tokens::TokenKind;

/// Counts since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted, TLS handshakes that failed included.
    pub connections: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// TLS handshakes that failed, most often because the client refused.
    pub tls_failures: u64,
    /// Access tokens issued, those inside scripted bodies included.
    pub access_tokens: u64,
    /// Business tokens issued, likewise.
    pub business_tokens: u64,
    /// Requests refused by the rate limit. A scripted 429 is not counted here.
    pub rate_limited: u64,
    /// Requests of all endpoints.
    pub total: u64,
    /// By endpoint; every endpoint has its entry.
    pub endpoints: BTreeMap<Endpoint, EndpointCounters>,
}

/// Counts of one endpoint.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct EndpointCounters {
    /// Requests that arrived.
    pub total: u64,
    /// Answers by status, counted when their head goes out.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests that ended without an answer's head: the client left, or a
    /// fault ended the connection.
    pub unanswered: u64,
    /// Requests that have arrived and are not answered yet.
    pub in_flight: u64,
    /// The most that were ever in flight together.
    pub max_in_flight: u64,
}

impl Counters {
    fn new() -> Self {
        let endpoints = Endpoint::ALL
            .iter()
            .map(|&at| (at, EndpointCounters::default()));
        Self {
            endpoints: endpoints.collect(),
            ..Self::default()
        }
    }

    /// The counts of one endpoint.
    #[must_use]
    pub fn endpoint(&self, endpoint: Endpoint) -> EndpointCounters {
        self.endpoints.get(&endpoint).cloned().unwrap_or_default()
    }

    /// Answers of this status, over all endpoints.
    #[must_use]
    pub fn status(&self, status: u16) -> u64 {
        self.endpoints
            .values()
            .filter_map(|counts| counts.by_status.get(&status))
            .sum()
    }
}

#[derive(Debug)]
pub(crate) struct Traffic {
    started: Instant,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    ring: Ring,
    counters: Counters,
    /// Apart from the counters, so that a reset never gives a number twice.
    last_connection: u64,
}

impl Traffic {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            inner: Mutex::new(Inner {
                ring: Ring::default(),
                counters: Counters::new(),
                last_connection: 0,
            }),
            changed: Condvar::new(),
        })
    }

    /// Counts and logs an arrival; the ticket does the rest.
    pub(crate) fn arrived(self: &Arc<Self>, mut entry: LogEntry) -> Ticket {
        let arrived = Instant::now();
        entry.at_ms = whole_millis(arrived - self.started);
        let endpoint = entry.endpoint;
        let number = self.change(|inner| {
            inner.counters.total += 1;
            let counts = inner.counters.endpoints.entry(endpoint).or_default();
            counts.total += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
            inner.ring.push(entry)
        });
        Ticket {
            traffic: Arc::clone(self),
            endpoint,
            number,
            arrived,
            status: None,
        }
    }

    pub(crate) fn connected(self: &Arc<Self>) -> OpenConnection {
        let number = self.change(|inner| {
            inner.counters.connections += 1;
            inner.counters.open_connections += 1;
            inner.last_connection += 1;
            inner.last_connection
        });
        OpenConnection {
            traffic: Arc::clone(self),
            number,
        }
    }

    pub(crate) fn tls_failed(&self) {
        self.change(|inner| inner.counters.tls_failures += 1);
    }

    pub(crate) fn issued(&self, kind: TokenKind) {
        self.change(|inner| match kind {
            TokenKind::Access => inner.counters.access_tokens += 1,
            TokenKind::Business => inner.counters.business_tokens += 1,
        });
    }

    pub(crate) fn rate_limited(&self) {
        self.change(|inner| inner.counters.rate_limited += 1);
    }

    pub(crate) fn counters(&self) -> Counters {
        lock(&self.inner).counters.clone()
    }

    pub(crate) fn log(&self, after: u64, limit: usize) -> Vec<LogEntry> {
        lock(&self.inner).ring.after(after, limit)
    }

    /// Starts afresh; what is open or in flight stays so.
    pub(crate) fn clear(&self) {
        self.change(|inner| {
            let mut fresh = Counters::new();
            fresh.open_connections = inner.counters.open_connections;
            for (endpoint, counts) in &mut fresh.endpoints {
                counts.in_flight = inner.counters.endpoint(*endpoint).in_flight;
                counts.max_in_flight = counts.in_flight;
            }
            inner.counters = fresh;
            inner.ring.clear();
        });
    }

    /// Waits until the counters satisfy a condition; false if they do not in time.
    pub(crate) fn wait_until(&self, enough: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        let inner = lock(&self.inner);
        let (_inner, outcome) = self
            .changed
            .wait_timeout_while(inner, timeout, |inner| !enough(&inner.counters))
            .unwrap_or_else(PoisonError::into_inner);
        !outcome.timed_out()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut lock(&self.inner));
        self.changed.notify_all();
        result
    }
}

/// An open connection; counted until it is dropped.
pub(crate) struct OpenConnection {
    traffic: Arc<Traffic>,
    number: u64,
}

impl OpenConnection {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.traffic.change(|inner| {
            let open = &mut inner.counters.open_connections;
            *open = open.saturating_sub(1);
        });
    }
}

/// A request in flight. Dropped before it was answered, however that came
/// about, it counts as unanswered.
pub(crate) struct Ticket {
    traffic: Arc<Traffic>,
    endpoint: Endpoint,
    number: u64,
    arrived: Instant,
    status: Option<u16>,
}

impl Ticket {
    /// Adds to the log entry what was found out on the way.
    pub(crate) fn note(&self, note: impl FnOnce(&mut LogEntry)) {
        if let Some(entry) = lock(&self.traffic.inner).ring.get_mut(self.number) {
            note(entry);
        }
    }

    /// The head of an answer goes out.
    pub(crate) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let status = self.status;
        let took = status.map(|_| whole_millis(self.arrived.elapsed()));
        self.traffic.change(|inner| {
            let counts = inner.counters.endpoints.entry(self.endpoint).or_default();
            counts.in_flight = counts.in_flight.saturating_sub(1);
            match status {
                Some(status) => *counts.by_status.entry(status).or_default() += 1,
                None => counts.unanswered += 1,
            }
            if let Some(entry) = inner.ring.get_mut(self.number) {
                entry.status = status;
                entry.took_ms = took;
                entry.done = true;
            }
        });
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
