//! Store in the memory of a test, with a clock and faults that the test controls. Its
//! operations do what the scripts do in Redis and Valkey; the table of cases in
//! `cases.rs` checks both.

pub(crate) mod client;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{
    Action, Found, LookUp, Names, Operation, Owner, Published, Reply, StoreError, StoreErrorKind,
    TokenStore,
};
use crate::sys::sync::{Mutex, lock};

/// Store in memory. It uses Tokio's timers only if it has a latency or costs.
pub(crate) struct MemoryStore {
    /// Clock of the store's machine, in nanoseconds since 1970.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
    is_paused: watch::Sender<bool>,
}

/// Faults and properties of a store. The default has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// It refuses connections.
    pub(crate) is_down: bool,
    /// It writes nothing, as a replica or a full server: it grants no lease.
    pub(crate) is_read_only: bool,
    /// It says that another owner has a lease without an end.
    pub(crate) has_endless_lease: bool,
    /// Time on the way to the store, and the same on the way back.
    pub(crate) latency: Duration,
    /// Time that its one thread takes for an operation.
    pub(crate) cost: Duration,
    /// How far its clock is ahead, in milliseconds.
    pub(crate) clock_ahead: i64,
}

/// Numbers of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) look_ups: u64,
    pub(crate) publications: u64,
    pub(crate) releases: u64,
    /// Most operations within one second of its clock.
    pub(crate) peak: u64,
}

impl Counts {
    pub(crate) fn all(&self) -> u64 {
        self.look_ups + self.publications + self.releases
    }
}

#[derive(Default)]
struct State {
    values: HashMap<String, Value>,
    faults: Faults,
    counts: Counts,
    /// The last second, and its operations.
    second: (u64, u64),
    /// When the thread has executed all that it received.
    busy_until: u64,
    /// Operations whose callers have given up, with their time of arrival. They are
    /// executed before the next operation, as of that time.
    given_up: Vec<(u64, Sending)>,
    has_failed: bool,
}

struct Value {
    bytes: Vec<u8>,
    /// In milliseconds of the store's time.
    expires: u64,
}

/// An operation on its way.
struct Sending {
    names: Names,
    owner: Owner,
    action: OwnedAction,
}

enum OwnedAction {
    LookUp { seen: Vec<u8>, lease: Duration },
    Publish { entry: Vec<u8>, keep: Duration },
    Release { note: Vec<u8>, keep: Duration },
}

impl From<Operation<'_>> for Sending {
    fn from(operation: Operation<'_>) -> Self {
        let action = match operation.action {
            Action::LookUp { seen, lease } => OwnedAction::LookUp {
                seen: seen.to_vec(),
                lease,
            },
            Action::Publish { entry, keep } => OwnedAction::Publish {
                entry: entry.to_vec(),
                keep,
            },
            Action::Release { note, keep } => OwnedAction::Release {
                note: note.to_vec(),
                keep,
            },
        };
        Self {
            names: operation.names.clone(),
            owner: operation.owner.clone(),
            action,
        }
    }
}

impl MemoryStore {
    /// An empty store whose machine has this clock: nanoseconds since 1970.
    pub(crate) fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            clock: Box::new(clock),
            state: Mutex::default(),
            is_paused: watch::Sender::new(false),
        }
    }

    pub(crate) fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.state).faults);
    }

    /// Executes nothing from now on. Operations wait, and are executed by
    /// [`resume`](Self::resume) although their callers may have given up.
    pub(crate) fn pause(&self) {
        self.is_paused.send_replace(true);
    }

    pub(crate) fn resume(&self) {
        let now = (self.clock)();
        let mut state = lock(&self.state);
        for (arrives, _) in &mut state.given_up {
            *arrives = (*arrives).max(now);
        }
        state.execute_given_up(now);
        drop(state);
        self.is_paused.send_replace(false);
    }

    /// Removes everything.
    pub(crate) fn wipe(&self) {
        lock(&self.state).values.clear();
    }

    /// Removes a key, as a full server does.
    #[cfg(test)]
    pub(crate) fn evict(&self, name: &str) {
        lock(&self.state).values.remove(name);
    }

    /// Value of a key that has not expired.
    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let mut state = lock(&self.state);
        let now = state.time(now);
        state.get(name, now).map(|value| value.bytes.clone())
    }

    /// Writes a key, as somebody with access to the store could do.
    #[cfg(test)]
    pub(crate) fn put(&self, name: &str, bytes: &[u8], keep: Duration) {
        let now = (self.clock)();
        let mut state = lock(&self.state);
        let now = state.time(now);
        state.set(name, bytes, now, keep);
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// Opens a connection. The kernel of a paused server accepts it.
    async fn connect(&self) -> Result<(), StoreError> {
        let latency = lock(&self.state).faults.latency;
        if !latency.is_zero() {
            sleep(2 * latency).await;
        }
        let now = (self.clock)();
        let mut state = lock(&self.state);
        if state.faults.is_down {
            return Err(StoreError::new(
                StoreErrorKind::Connect,
                "connection refused",
            ));
        }
        state.busy(now);
        Ok(())
    }

    async fn send(&self, operation: Operation<'_>) -> Result<Reply, StoreError> {
        let latency = lock(&self.state).faults.latency;
        let result = self.deliver(operation.into(), latency).await;
        if !latency.is_zero() {
            sleep(latency).await;
        }
        lock(&self.state).has_failed = result.is_err();
        result
    }

    async fn deliver(&self, operation: Sending, latency: Duration) -> Result<Reply, StoreError> {
        let mut sent = Sent {
            store: self,
            arrives: (self.clock)().saturating_add(nanos(latency)),
            operation: Some(operation),
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        if *self.is_paused.borrow() {
            let mut is_paused = self.is_paused.subscribe();
            // Never an error: the sender is in `self`.
            let _ = is_paused.wait_for(|is_paused| !is_paused).await;
        }
        let now = (self.clock)();
        let (answer, wait) = {
            let mut state = lock(&self.state);
            // What was given up is executed later, so it is taken before the guard of `state`.
            let operation = sent.operation.take();
            state.execute_given_up(now);
            match operation {
                Some(operation) if !state.faults.is_down => {
                    (state.execute(operation, now)?, state.busy(now))
                }
                _ => {
                    return Err(StoreError::new(
                        StoreErrorKind::Connect,
                        "connection refused",
                    ));
                }
            }
        };
        // Shorter waits than Tokio's timers have.
        if wait >= Duration::from_millis(1) {
            sleep(wait).await;
        }
        Ok(answer)
    }
}

/// Operation on its way to the store. If its caller gives up, it arrives nevertheless.
struct Sent<'a> {
    store: &'a MemoryStore,
    arrives: u64,
    operation: Option<Sending>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            let mut state = lock(&self.store.state);
            state.given_up.push((self.arrives, operation));
        }
    }
}

impl State {
    /// The store's time, in milliseconds since 1970.
    fn time(&self, now: u64) -> u64 {
        (now / 1_000_000).saturating_add_signed(self.faults.clock_ahead)
    }

    fn get(&mut self, name: &str, now: u64) -> Option<&Value> {
        if self.values.get(name)?.expires <= now {
            self.values.remove(name);
        }
        self.values.get(name)
    }

    fn bytes(&mut self, name: &str, now: u64) -> Option<Vec<u8>> {
        self.get(name, now).map(|value| value.bytes.clone())
    }

    fn set(&mut self, name: &str, bytes: &[u8], now: u64, keep: Duration) {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let value = Value {
            bytes: bytes.to_vec(),
            expires: now.saturating_add(keep),
        };
        self.values.insert(name.to_owned(), value);
    }

    /// How long the store is busy with an operation that it has just received.
    fn busy(&mut self, now: u64) -> Duration {
        let cost = nanos(self.faults.cost);
        self.busy_until = self.busy_until.max(now).saturating_add(cost);
        Duration::from_nanos(self.busy_until - now)
    }

    fn count(&mut self, action: &OwnedAction, now: u64) {
        *match action {
            OwnedAction::LookUp { .. } => &mut self.counts.look_ups,
            OwnedAction::Publish { .. } => &mut self.counts.publications,
            OwnedAction::Release { .. } => &mut self.counts.releases,
        } += 1;
        let second = now / 1_000_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        self.counts.peak = self.counts.peak.max(self.second.1);
    }

    fn execute_given_up(&mut self, now: u64) {
        let all = std::mem::take(&mut self.given_up);
        let (arrived, later): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(arrives, _)| *arrives <= now);
        self.given_up = later;
        for (arrives, operation) in arrived {
            if !self.faults.is_down {
                // Nobody waits for the answer.
                let _ = self.execute(operation, arrives);
            }
        }
    }

    fn execute(&mut self, operation: Sending, now: u64) -> Result<Reply, StoreError> {
        let Sending {
            names,
            owner,
            action,
        } = operation;
        self.count(&action, now);
        let now = self.time(now);
        let is_read_only = self.faults.is_read_only;
        Ok(match action {
            OwnedAction::LookUp { seen, lease } => {
                Reply::LookUp(self.look_up(&names, &seen, &owner, lease, now))
            }
            _ if is_read_only => {
                return Err(StoreError::new(StoreErrorKind::Protocol, "read-only"));
            }
            OwnedAction::Publish { entry, keep } => {
                Reply::Published(self.publish(&names, &owner, &entry, keep, now))
            }
            OwnedAction::Release { note, keep } => {
                self.release(&names, &owner, &note, keep, now);
                Reply::Released
            }
        })
    }

    fn look_up(
        &mut self,
        names: &Names,
        seen: &[u8],
        owner: &Owner,
        lease: Duration,
        now: u64,
    ) -> LookUp {
        let note = self.bytes(&names.note, now);
        let entry = self.bytes(&names.value, now);
        let found = match entry {
            Some(entry) if mark_of(&entry) != seen => Found::Entry(entry),
            _ if note
                .as_deref()
                .and_then(time_of)
                .is_some_and(|until| until > now) =>
            {
                Found::Note
            }
            _ => self.lease(names, owner, lease, now),
        };
        LookUp { now, found, note }
    }

    fn lease(&mut self, names: &Names, owner: &Owner, lease: Duration, now: u64) -> Found {
        if self.faults.has_endless_lease {
            return Found::Held(None);
        }
        let is_read_only = self.faults.is_read_only && !lease.is_zero();
        if let Some(held) = self.get(&names.lease, now) {
            let left = Duration::from_millis(held.expires.saturating_sub(now));
            return match held.bytes == owner.0 {
                true => Found::Lease,
                false if is_read_only => Found::Refused,
                false => Found::Held(Some(left)),
            };
        }
        if is_read_only {
            return Found::Refused;
        }
        if lease.is_zero() {
            return Found::Held(Some(Duration::ZERO));
        }
        self.set(&names.lease, &owner.0, now, lease);
        Found::Lease
    }

    fn publish(
        &mut self,
        names: &Names,
        owner: &Owner,
        entry: &[u8],
        keep: Duration,
        now: u64,
    ) -> Published {
        let is_owner = self.bytes(&names.lease, now).as_deref() == Some(&owner.0);
        if let Some(stored) = self.bytes(&names.value, now)
            && !is_owner
            && time_of(&stored) > time_of(entry)
        {
            return Published::Younger { now, entry: stored };
        }
        self.set(&names.value, entry, now, keep);
        if is_owner {
            self.evict(&names.lease);
        }
        self.evict(&names.note);
        Published::Stored
    }

    fn release(&mut self, names: &Names, owner: &Owner, note: &[u8], keep: Duration, now: u64) {
        if self.bytes(&names.lease, now).as_deref() == Some(&owner.0) {
            self.evict(&names.lease);
        }
        if !note.is_empty() {
            self.set(&names.note, note, now, keep);
        }
    }

    fn evict(&mut self, name: &str) {
        self.values.remove(name);
    }
}

/// Mark of an entry; less of a short one, as in the scripts.
fn mark_of(entry: &[u8]) -> &[u8] {
    let end = entry.len().min(18);
    entry.get(2..end).unwrap_or_default()
}

/// When an entry was requested, or until when a note forbids requests.
fn time_of(sealed: &[u8]) -> Option<u64> {
    str::from_utf8(sealed.get(18..31)?).ok()?.parse().ok()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl TokenStore for MemoryStore {
    fn run<'a>(&'a self, operation: Operation<'a>) -> BoxFuture<'a, Result<Reply, StoreError>> {
        Box::pin(self.send(operation))
    }

    fn is_up(&self) -> bool {
        !lock(&self.state).has_failed
    }
}

#[cfg(test)]
mod tests;
