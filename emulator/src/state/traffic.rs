//! Recording of connections and requests in the counters and the log. One lock
//! guards both, so that a request is in both or in neither.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;
use crate::lock::lock;
use crate::state::counters::Counters;
use crate::state::log::{LogEntry, RequestLog};
use crate::state::settings::whole_millis;
use crate::state::tokens::TokenKind;

#[derive(Debug)]
pub(crate) struct Traffic {
    started: Instant,
    records: Mutex<Records>,
    changed: Condvar,
}

#[derive(Debug)]
struct Records {
    log: RequestLog,
    counters: Counters,
    /// Not a counter, so that a reset does not repeat a number.
    last_connection: u64,
}

impl Traffic {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            records: Mutex::new(Records {
                log: RequestLog::default(),
                counters: Counters::new(),
                last_connection: 0,
            }),
            changed: Condvar::new(),
        })
    }

    /// Counts and logs a request. The result records how it ends.
    pub(crate) fn arrived(self: &Arc<Self>, mut entry: LogEntry) -> RequestInFlight {
        let arrived = Instant::now();
        entry.at_ms = whole_millis(arrived - self.started);
        let endpoint = entry.endpoint;
        let number = self.change(|records| {
            records.counters.total += 1;
            let counts = records.counters.endpoints.entry(endpoint).or_default();
            counts.total += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
            records.log.push(entry)
        });
        RequestInFlight {
            traffic: Arc::clone(self),
            endpoint,
            number,
            arrived,
            status: None,
        }
    }

    /// Counts a new connection as open until the result is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> OpenConnection {
        let number = self.change(|records| {
            records.counters.connections += 1;
            records.counters.open_connections += 1;
            records.last_connection += 1;
            records.last_connection
        });
        OpenConnection {
            traffic: Arc::clone(self),
            number,
        }
    }

    pub(crate) fn tls_failed(&self) {
        self.change(|records| records.counters.tls_failures += 1);
    }

    pub(crate) fn tunnel_opened(&self) {
        self.change(|records| records.counters.tunnels += 1);
    }

    pub(crate) fn issued(&self, kind: TokenKind) {
        self.change(|records| match kind {
            TokenKind::Access => records.counters.access_tokens += 1,
            TokenKind::Business => records.counters.business_tokens += 1,
        });
    }

    pub(crate) fn rate_limited(&self) {
        self.change(|records| records.counters.rate_limited += 1);
    }

    pub(crate) fn counters(&self) -> Counters {
        lock(&self.records).counters.clone()
    }

    pub(crate) fn log(&self, after: u64, limit: usize) -> Vec<LogEntry> {
        lock(&self.records).log.after(after, limit)
    }

    /// The last `limit` entries above `after`, and the oldest entry's number.
    pub(crate) fn latest(&self, after: u64, limit: usize) -> (u64, Vec<LogEntry>) {
        lock(&self.records).log.latest(after, limit)
    }

    /// Milliseconds of real time since the start, as in the log.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        whole_millis(self.started.elapsed())
    }

    /// Empties the log and the counters, except for what is open or in flight.
    pub(crate) fn clear(&self) {
        self.change(|records| {
            let mut fresh = Counters::new();
            fresh.open_connections = records.counters.open_connections;
            for (endpoint, counts) in &mut fresh.endpoints {
                counts.in_flight = records.counters.endpoint(*endpoint).in_flight;
                counts.max_in_flight = counts.in_flight;
            }
            records.counters = fresh;
            records.log.clear();
        });
    }

    /// Blocks until the counters satisfy a condition; false after the timeout.
    pub(crate) fn wait_until(&self, enough: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        let records = lock(&self.records);
        let (_records, outcome) = self
            .changed
            .wait_timeout_while(records, timeout, |records| !enough(&records.counters))
            .unwrap_or_else(PoisonError::into_inner);
        !outcome.timed_out()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Records) -> T) -> T {
        let result = change(&mut lock(&self.records));
        self.changed.notify_all();
        result
    }
}

/// An open connection, counted until it is dropped.
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
        self.traffic.change(|records| {
            let open = &mut records.counters.open_connections;
            *open = open.saturating_sub(1);
        });
    }
}

/// A request in flight. If it is dropped before [`answered`](Self::answered), it
/// counts as unanswered.
pub(crate) struct RequestInFlight {
    traffic: Arc<Traffic>,
    endpoint: Endpoint,
    number: u64,
    arrived: Instant,
    status: Option<u16>,
}

impl RequestInFlight {
    /// Changes the log entry of the request.
    pub(crate) fn update_entry(&self, update: impl FnOnce(&mut LogEntry)) {
        if let Some(entry) = lock(&self.traffic.records).log.get_mut(self.number) {
            update(entry);
        }
    }

    /// Records that the head of a response is sent.
    pub(crate) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let status = self.status;
        let took = status.map(|_| whole_millis(self.arrived.elapsed()));
        self.traffic.change(|records| {
            let counts = records.counters.endpoints.entry(self.endpoint).or_default();
            counts.in_flight = counts.in_flight.saturating_sub(1);
            match status {
                Some(status) => *counts.by_status.entry(status).or_default() += 1,
                None => counts.unanswered += 1,
            }
            if let Some(entry) = records.log.get_mut(self.number) {
                entry.status = status;
                entry.took_ms = took;
                entry.done = true;
            }
        });
    }
}
