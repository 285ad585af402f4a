//! Store in the memory of a test, with a clock and faults that the test controls. Its
//! operations do what the scripts do in Redis and Valkey; the table of cases in
//! `cases.rs` checks both.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::breaker::{Breaker, Permit};
use super::{Found, LookUp, Names, Owner, Published, StoreError, StoreErrorKind, TokenStore};
use crate::sys::jitter::random;
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
    given_up: Vec<(u64, Operation)>,
    has_failed: bool,
}

struct Value {
    bytes: Vec<u8>,
    /// In milliseconds of the store's time.
    expires: u64,
}

struct Operation {
    names: Names,
    owner: Owner,
    action: Action,
}

enum Action {
    LookUp { seen: Vec<u8>, lease: Duration },
    Publish { entry: Vec<u8>, keep: Duration },
    Release { note: Vec<u8>, keep: Duration },
}

enum Answer {
    LookUp(LookUp),
    Published(Published),
    Released,
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
            return Err(failure(StoreErrorKind::Connect, "connection refused"));
        }
        state.busy(now);
        Ok(())
    }

    async fn run(
        &self,
        names: &Names,
        owner: &Owner,
        action: Action,
    ) -> Result<Answer, StoreError> {
        let operation = Operation {
            names: names.clone(),
            owner: owner.clone(),
            action,
        };
        let latency = lock(&self.state).faults.latency;
        let result = self.deliver(operation, latency).await;
        if !latency.is_zero() {
            sleep(latency).await;
        }
        lock(&self.state).has_failed = result.is_err();
        result
    }

    async fn deliver(&self, operation: Operation, latency: Duration) -> Result<Answer, StoreError> {
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
                _ => return Err(failure(StoreErrorKind::Connect, "connection refused")),
            }
        };
        // Shorter waits than Tokio's timers have.
        if wait >= Duration::from_millis(1) {
            sleep(wait).await;
        }
        Ok(answer)
    }
}

fn failure(kind: StoreErrorKind, what: &str) -> StoreError {
    StoreError {
        kind,
        what: what.into(),
    }
}

fn unexpected() -> StoreError {
    failure(StoreErrorKind::Protocol, "answer to another operation")
}

/// Operation on its way to the store. If its caller gives up, it arrives nevertheless.
struct Sent<'a> {
    store: &'a MemoryStore,
    arrives: u64,
    operation: Option<Operation>,
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

    fn count(&mut self, action: &Action, now: u64) {
        *match action {
            Action::LookUp { .. } => &mut self.counts.look_ups,
            Action::Publish { .. } => &mut self.counts.publications,
            Action::Release { .. } => &mut self.counts.releases,
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

    fn execute(&mut self, operation: Operation, now: u64) -> Result<Answer, StoreError> {
        let Operation {
            names,
            owner,
            action,
        } = operation;
        self.count(&action, now);
        let now = self.time(now);
        let is_read_only = self.faults.is_read_only;
        Ok(match action {
            Action::LookUp { seen, lease } => {
                Answer::LookUp(self.look_up(&names, &seen, &owner, lease, now))
            }
            _ if is_read_only => return Err(failure(StoreErrorKind::Protocol, "read-only")),
            Action::Publish { entry, keep } => {
                Answer::Published(self.publish(&names, &owner, &entry, keep, now))
            }
            Action::Release { note, keep } => {
                self.release(&names, &owner, &note, keep, now);
                Answer::Released
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

/// How long the connection of a process may take, how long an answer may take, and how
/// long the connection stays without use, as in [`RedisStore`](super::redis::RedisStore).
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A process's connection to a [`MemoryStore`], with the limits and the circuit breaker
/// of the real one.
pub(crate) struct MemoryClient {
    store: Arc<MemoryStore>,
    breaker: Mutex<Breaker>,
    last_used: Mutex<Option<Instant>>,
}

impl MemoryClient {
    pub(crate) fn new(store: Arc<MemoryStore>) -> Self {
        Self {
            store,
            breaker: Mutex::default(),
            last_used: Mutex::default(),
        }
    }

    async fn limited<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let now = Instant::now();
        let permit = lock(&self.breaker)
            .enter(now.into_std())
            .ok_or_else(|| failure(StoreErrorKind::Down, "it failed shortly before"))?;
        let mut pass = Pass {
            client: self,
            permit: Some(permit),
        };
        let result = self.ask(now, operation).await;
        pass.permit = None;
        let mut breaker = lock(&self.breaker);
        if result.is_ok() {
            breaker.succeed(permit);
        } else {
            breaker.fail(permit, Instant::now().into_std(), random());
        }
        result
    }

    async fn ask<T>(
        &self,
        now: Instant,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let last_used = *lock(&self.last_used);
        if last_used.is_none_or(|last| now.saturating_duration_since(last) > IDLE_TIMEOUT) {
            bounded(CONNECT_TIMEOUT, self.store.connect()).await?;
        }
        let result = bounded(ANSWER_TIMEOUT, operation).await;
        *lock(&self.last_used) = result.is_ok().then(Instant::now);
        result
    }
}

/// Permission to ask, which is given back if the caller is cancelled.
struct Pass<'a> {
    client: &'a MemoryClient,
    permit: Option<Permit>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit {
            lock(&self.client.breaker).cancel(permit);
        }
    }
}

async fn bounded<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let result = tokio::time::timeout(limit, operation).await;
    result.unwrap_or_else(|_| Err(failure(StoreErrorKind::Timeout, "no answer in time")))
}

impl TokenStore for MemoryClient {
    fn look_up<'a>(
        &'a self,
        names: &'a Names,
        seen: &'a [u8],
        owner: &'a Owner,
        lease: Duration,
    ) -> BoxFuture<'a, Result<LookUp, StoreError>> {
        Box::pin(self.limited(self.store.look_up(names, seen, owner, lease)))
    }

    fn publish<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        entry: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        Box::pin(self.limited(self.store.publish(names, owner, entry, keep)))
    }

    fn release<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        note: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.limited(self.store.release(names, owner, note, keep)))
    }

    fn is_up(&self) -> bool {
        lock(&self.breaker).is_up()
    }
}

impl TokenStore for MemoryStore {
    fn look_up<'a>(
        &'a self,
        names: &'a Names,
        seen: &'a [u8],
        owner: &'a Owner,
        lease: Duration,
    ) -> BoxFuture<'a, Result<LookUp, StoreError>> {
        Box::pin(async move {
            let seen = seen.to_vec();
            match self
                .run(names, owner, Action::LookUp { seen, lease })
                .await?
            {
                Answer::LookUp(look) => Ok(look),
                _ => Err(unexpected()),
            }
        })
    }

    fn publish<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        entry: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        Box::pin(async move {
            let entry = entry.to_vec();
            match self
                .run(names, owner, Action::Publish { entry, keep })
                .await?
            {
                Answer::Published(published) => Ok(published),
                _ => Err(unexpected()),
            }
        })
    }

    fn release<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        note: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let note = note.to_vec();
            match self
                .run(names, owner, Action::Release { note, keep })
                .await?
            {
                Answer::Released => Ok(()),
                _ => Err(unexpected()),
            }
        })
    }

    fn is_up(&self) -> bool {
        !lock(&self.state).has_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cases::{entry, names, owner, store_cases};

    const LEASE: Duration = Duration::from_secs(3);

    fn store() -> MemoryStore {
        let start = Instant::now();
        MemoryStore::new(move || 1_780_000_000_000_000_000 + nanos(start.elapsed()))
    }

    #[tokio::test(start_paused = true)]
    async fn b30_store_in_memory_passes_the_cases_of_stores() {
        store_cases(&store(), "memory").await;
        let slow = store();
        slow.set_faults(|faults| faults.latency = Duration::from_millis(3));
        store_cases(&slow, "slow").await;
    }

    #[tokio::test(start_paused = true)]
    async fn b30_store_that_is_down_fails_and_recovers() {
        let store = store();
        let names = names("memory", "down");
        store.set_faults(|faults| faults.is_down = true);
        let look = store.look_up(&names, &[], &owner(1), LEASE).await;
        assert_eq!(look.unwrap_err().kind, StoreErrorKind::Connect);
        assert!(!store.is_up());
        store.set_faults(|faults| faults.is_down = false);
        let look = store.look_up(&names, &[], &owner(1), LEASE).await;
        assert_eq!(look.unwrap().found, Found::Lease);
        assert!(store.is_up());
    }

    #[tokio::test(start_paused = true)]
    async fn b30_read_only_store_shows_values_and_grants_no_lease() {
        let store = store();
        let names = names("memory", "read-only");
        let one = entry(1, 100);
        store.put(&names.value, &one, LEASE);
        store.set_faults(|faults| faults.is_read_only = true);
        let look = store.look_up(&names, &[], &owner(1), LEASE).await;
        assert_eq!(look.unwrap().found, Found::Entry(one));
        store.evict(&names.value);
        let look = store.look_up(&names, &[], &owner(1), LEASE).await;
        assert_eq!(look.unwrap().found, Found::Refused);
        let two = entry(2, 200);
        let published = store.publish(&names, &owner(1), &two, LEASE).await;
        assert!(published.is_err());
        assert_eq!(store.get(&names.value), None);
    }

    /// The ghost of a process that has given up holds a lease.
    #[tokio::test(start_paused = true)]
    async fn b30_paused_store_executes_what_was_given_up() {
        let store = store();
        let names = names("memory", "paused");
        store.pause();
        let ghost = owner(1);
        let look = store.look_up(&names, &[], &ghost, LEASE);
        let given_up = tokio::time::timeout(Duration::from_millis(500), look).await;
        assert!(given_up.is_err());
        let waiting = owner(2);
        let waits = store.look_up(&names, &[], &waiting, LEASE);
        let later = async {
            sleep(Duration::from_secs(10)).await;
            store.resume();
        };
        let (look, ()) = tokio::join!(waits, later);
        assert_eq!(look.unwrap().found, Found::Held(Some(LEASE)));
        sleep(LEASE).await;
        let look = store.look_up(&names, &[], &waiting, LEASE).await;
        assert_eq!(look.unwrap().found, Found::Lease);
    }

    #[tokio::test(start_paused = true)]
    async fn b30_store_has_latency_costs_and_a_clock_of_its_own() {
        let store = store();
        let names = names("memory", "slow");
        store.set_faults(|faults| {
            faults.latency = Duration::from_millis(20);
            faults.cost = Duration::from_millis(10);
            faults.clock_ahead = -5_000;
        });
        let start = Instant::now();
        let owners: Vec<_> = (0..10).map(owner).collect();
        let looks = owners
            .iter()
            .map(|owner| store.look_up(&names, &[], owner, LEASE));
        let looks = futures_util::future::join_all(looks).await;
        assert_eq!(start.elapsed(), Duration::from_millis(20 + 10 * 10 + 20));
        let times = looks.into_iter().map(|look| look.unwrap().now);
        assert!(
            times.eq([1_779_999_995_020; 10]),
            "time of the store's clock"
        );
        assert_eq!(
            store.counts(),
            Counts {
                look_ups: 10,
                peak: 10,
                ..Counts::default()
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn b30_lying_store_says_that_a_lease_has_no_end() {
        let store = store();
        store.set_faults(|faults| faults.has_endless_lease = true);
        let names = names("memory", "lying");
        let look = store.look_up(&names, &[], &owner(1), LEASE).await;
        assert_eq!(look.unwrap().found, Found::Held(None));
    }
}
