//! Fetches of several machines through a store in memory, in the time of a test clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use crate::cache::{Context, Entry, Failed, FetchParams, Fetched, Outcome, Slot, Source, Spawn};
use crate::deadline::Progress;
use crate::error::{Details, Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::stats::{Counters, Event};
use crate::store::fetch::{Kind, SharedCache, SharedFetch, SharedToken, Wanted};
use crate::store::memory::MemoryStore;
use crate::store::policy;
use crate::store::seal::{Note, Principal, RootKey, SealKeys};
use crate::store::{Owner, TokenStore as _};
use crate::sys::clock::{Clock, Now, TestClock};
use crate::sys::sync::{Mutex, lock};

const HOUR: Duration = Duration::from_secs(3_600);
const TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Token with a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token(String);

impl SharedToken for Token {
    fn secret_text(&self) -> &str {
        &self.0
    }
}

/// What the server does with a request: the time that it takes, and the error.
type Answer = (Duration, Option<Error>);

/// A store, and a server that counts its requests. Without further answers, it gives a
/// token at once.
struct Fleet {
    clock: TestClock,
    store: Arc<MemoryStore>,
    /// Share of a token's lifetime that must be left for callers.
    reserve: f64,
    requests: AtomicU32,
    answers: Mutex<VecDeque<Answer>>,
}

impl Fleet {
    fn new() -> Arc<Self> {
        Self::with_reserve(0.0)
    }

    fn with_reserve(reserve: f64) -> Arc<Self> {
        let clock = TestClock::following_tokio();
        let of_store = Clock::Test(clock.clone());
        Arc::new(Self {
            clock,
            store: Arc::new(MemoryStore::new(move || of_store.now().wall)),
            reserve,
            requests: AtomicU32::new(0),
            answers: Mutex::new(VecDeque::new()),
        })
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn assert_requests(&self, expected: u32) {
        let requests = self.requests();
        assert_eq!(requests, expected, "the fleet sent {requests} requests");
    }

    fn answer_next(&self, takes: Duration, error: Option<Error>) {
        lock(&self.answers).push_back((takes, error));
    }

    /// Time of the store, in milliseconds since 1970.
    fn now(&self) -> u64 {
        Clock::Test(self.clock.clone()).now().wall / 1_000_000
    }

    fn machine(self: &Arc<Self>) -> Machine {
        self.machine_with(TestClock::following_tokio())
    }

    fn machine_with(self: &Arc<Self>, clock: TestClock) -> Machine {
        let clock = Clock::Test(clock);
        let stats = Arc::new(Counters::default());
        let store = Arc::clone(&self.store);
        Machine {
            cx: Context {
                clock: clock.clone(),
                spawn: Arc::new(Tasks),
                stats: Arc::clone(&stats),
            },
            slot: Arc::new(Slot::new()),
            source: Shared(Arc::new(SharedParts {
                fleet: Arc::clone(self),
                cache: SharedCache::new(store, clock.clone(), stats, ATTEMPT_TIMEOUT, TIMEOUT),
                keys: keys("secret"),
                clock,
            })),
        }
    }
}

fn keys(secret: &str) -> Arc<SealKeys> {
    let principal = Principal {
        auth_url: "https://auth.test/oauth2/token",
        scope: "scope",
        client_id: "client",
        basic_encoding: "raw",
    };
    Arc::new(RootKey::new(&secret.into(), None).access_token("layerfi", &principal))
}

struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        drop(tokio::spawn(task));
        Ok(())
    }
}

/// One process with a slot.
struct Machine {
    cx: Context,
    slot: Arc<Slot<Token>>,
    source: Shared,
}

#[derive(Clone)]
struct Shared(Arc<SharedParts>);

struct SharedParts {
    fleet: Arc<Fleet>,
    cache: SharedCache,
    keys: Arc<SealKeys>,
    clock: Clock,
}

impl SharedParts {
    fn kind(&self) -> Kind {
        Kind {
            reserve: self.fleet.reserve,
            is_access: true,
            name: "access",
        }
    }

    async fn request(&self) -> Result<Fetched<Token>, Failed> {
        let requested_at = self.clock.now();
        let number = self.fleet.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = lock(&self.fleet.answers).pop_front();
        let (takes, error) = answer.unwrap_or_default();
        sleep(takes).await;
        match error {
            Some(error) => Err(Failed::Own(error)),
            None => Ok(Fetched {
                value: Token(format!("token.{number}")),
                requested_at,
                lifetime: HOUR,
                reserve: self.fleet.reserve,
            }),
        }
    }
}

impl Source<Token> for Shared {
    fn fetch(&self, params: FetchParams<Token>) -> BoxFuture<'static, Outcome<Token>> {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let kind = this.kind();
            let make = |text: &Secret, _: Now, _: Duration| Ok(Token(text.expose().to_owned()));
            let ends = Instant::now() + TIMEOUT;
            let keys = Arc::clone(&this.keys);
            let wanted = Wanted::new(&params);
            let progress = &params.progress;
            let cache = &this.cache;
            let fetch = SharedFetch::new(cache, keys, kind, wanted, ends, progress, make).unwrap();
            let ended = fetch.attempt(|| this.request());
            match tokio::time::timeout_at(ends, ended).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(failed)) => Outcome::Failed(failed.into_error()),
                Err(_) => Outcome::Failed(Error::attempt_timeout("no result in time")),
            }
        })
    }

    fn can_change(&self) -> bool {
        false
    }

    fn budget(&self) -> Duration {
        TIMEOUT
    }
}

impl Machine {
    async fn entry(&self) -> Result<Arc<Entry<Token>>> {
        self.entry_with(None).await
    }

    async fn entry_with(&self, min_remaining: Option<Duration>) -> Result<Arc<Entry<Token>>> {
        let progress = Progress::default();
        let get = self
            .slot
            .get(&self.cx, &self.source, min_remaining, &progress);
        get.await
    }

    async fn token(&self) -> String {
        self.entry().await.unwrap().value.0.clone()
    }

    /// Calls with a hit, which may start a refresh, and lets the refresh run.
    async fn hit(&self) -> String {
        let source = || self.source.clone();
        let token = self
            .slot
            .hit(&self.cx, None, source)
            .unwrap()
            .value()
            .0
            .clone();
        sleep(Duration::from_millis(1)).await;
        token
    }

    /// What a call does after a 401 to this token. `None` without another attempt.
    async fn renew(&self, refused: &str) -> Option<String> {
        let progress = Progress::default();
        let renew = self.slot.renew(&self.cx, &self.source, &progress, |token| {
            token.0 == refused
        });
        renew.await.unwrap().map(|entry| entry.value.0.clone())
    }

    fn is_unanswered(&self) -> bool {
        let parts = &self.source.0;
        parts.cache.is_unanswered(parts.kind())
    }

    fn count(&self, event: Event) -> u64 {
        self.cx.stats.get(event)
    }

    #[track_caller]
    fn assert_count(&self, event: Event, expected: u64) {
        let count = self.count(event);
        assert_eq!(
            count, expected,
            "the machine counted {count} times {event:?}"
        );
    }

    fn failures(&self) -> usize {
        self.cx.stats.snapshot().failures.len()
    }
}

fn refusal(status: u16) -> Error {
    let details = Details {
        http_status: Some(status),
        ..Details::default()
    };
    Error::with_details(ErrorKind::Protocol, "refused", "retry", details)
}

#[tokio::test(start_paused = true)]
async fn b30_machines_share_one_token_and_its_age() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.machine(), fleet.machine());
    assert_eq!(one.token().await, "token.1");
    sleep(Duration::from_secs(1_000)).await;
    let entry = two.entry().await.unwrap();
    assert_eq!(entry.value.0, "token.1");
    assert_eq!(entry.age(two.cx.clock.now()), Duration::from_secs(1_000));
    fleet.assert_requests(1);
    one.assert_count(Event::SharedPublished, 1);
    two.assert_count(Event::SharedAdopted, 1);
    two.assert_count(Event::SharedWait, 0);
}

/// A paused store executes what was given up, so a lease belongs to nobody.
#[tokio::test(start_paused = true)]
async fn b30_lease_of_a_ghost_costs_its_time_and_no_failure() {
    let fleet = Fleet::new();
    let machine = fleet.machine();
    fleet.store.pause();
    let names = keys("secret").names().clone();
    let ghost = Owner([7; 16]);
    let look = fleet.store.look_up(&names, b"", &ghost, policy::LEASE);
    let given_up = tokio::time::timeout(Duration::from_millis(500), look).await;
    assert!(given_up.is_err(), "a paused store answered");
    fleet.store.resume();
    assert_eq!(fleet.store.get(&names.lease), Some(vec![7; 16]));
    let start = Instant::now();
    assert_eq!(machine.token().await, "token.1");
    let waited = start.elapsed();
    let expected = policy::LEASE..=policy::LEASE + Duration::from_millis(750);
    assert!(expected.contains(&waited), "waited {waited:?}");
    fleet.assert_requests(1);
    machine.assert_count(Event::SharedAlone, 0);
}

#[tokio::test(start_paused = true)]
async fn b30_slow_holder_adopts_what_a_quicker_one_published() {
    let fleet = Fleet::new();
    let (slow, quick) = (fleet.machine(), fleet.machine());
    fleet.answer_next(Duration::from_secs(20), None);
    fleet.answer_next(Duration::from_millis(200), None);
    let start = Instant::now();
    let (one, two) = tokio::join!(slow.token(), async {
        sleep(Duration::from_millis(10)).await;
        quick.token().await
    });
    assert_eq!([&*one, &*two], ["token.2"; 2]);
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(5), "waited {waited:?}");
    fleet.assert_requests(2);
    slow.assert_count(Event::SharedAdopted, 1);
}

#[tokio::test(start_paused = true)]
async fn b30_late_publication_does_not_replace_a_younger_token() {
    let fleet = Fleet::new();
    let (late, other) = (fleet.machine(), fleet.machine());
    // Both answers come between two looks of the one whose lease has ended.
    fleet.answer_next(Duration::from_millis(3_450), None);
    let late_token = async { late.token().await };
    let other_token = async {
        sleep(Duration::from_millis(3_000)).await;
        let names = keys("secret").names().clone();
        fleet.store.evict(&names.lease);
        fleet.answer_next(Duration::from_millis(400), None);
        other.token().await
    };
    let (one, two) = tokio::join!(late_token, other_token);
    assert_eq!([&*one, &*two], ["token.2"; 2], "tokens of both");
    fleet.assert_requests(2);
    assert_eq!(fleet.machine().token().await, "token.2", "the stored one");
}

#[tokio::test(start_paused = true)]
async fn b30_minimum_that_the_shared_token_does_not_meet_gets_a_new_one() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.machine(), fleet.machine());
    assert_eq!(one.token().await, "token.1");
    sleep(Duration::from_secs(2_000)).await;
    assert_eq!(two.token().await, "token.1");
    // 1,600 s are left.
    let wanted = Some(Duration::from_secs(1_500));
    let entry = two.entry_with(wanted).await.unwrap();
    assert_eq!(entry.value.0, "token.1");
    let wanted = Some(Duration::from_secs(1_700));
    let entry = two.entry_with(wanted).await.unwrap();
    assert_eq!(entry.value.0, "token.2");
    // Without it in its own slot, another machine finds the new one.
    let entry = fleet.machine().entry_with(wanted).await.unwrap();
    assert_eq!(entry.value.0, "token.2");
    fleet.assert_requests(2);
}

#[tokio::test(start_paused = true)]
async fn b11_b30_refused_token_is_replaced_once_for_all_machines() {
    let fleet = Fleet::new();
    let machines: Vec<_> = (0..20).map(|_| fleet.machine()).collect();
    for machine in &machines {
        assert_eq!(machine.token().await, "token.1");
    }
    sleep(Duration::from_secs(60)).await;
    let renewals = machines.iter().map(|machine| machine.renew("token.1"));
    for renewed in futures_util::future::join_all(renewals).await {
        assert_eq!(renewed.as_deref(), Some("token.2"));
    }
    fleet.assert_requests(2);
}

/// After a revocation no call waits until the token is old. A client to which everything
/// answers 401 replaces the token of all once in ten seconds.
#[tokio::test(start_paused = true)]
async fn b11_b30_refused_token_that_is_young_is_replaced_once_in_ten_seconds() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.machine(), fleet.machine());
    assert_eq!(one.token().await, "token.1");
    assert_eq!(two.token().await, "token.1");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(two.renew("token.1").await.as_deref(), Some("token.2"));
    assert_eq!(one.renew("token.1").await.as_deref(), Some("token.2"));
    assert_eq!(fleet.requests(), 2, "requests after a revocation");
    for second in 0..9 {
        for machine in [&one, &two] {
            let renewed = machine.renew("token.2").await;
            let is_same = renewed.as_deref().is_none_or(|token| token == "token.2");
            assert!(is_same, "{renewed:?} after {second} s");
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fleet.requests(), 2, "requests while it is young");
    assert_eq!(fleet.machine().token().await, "token.2");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(two.renew("token.2").await.as_deref(), Some("token.3"));
    assert_eq!(one.renew("token.2").await.as_deref(), Some("token.3"));
    fleet.assert_requests(3);
}

#[tokio::test(start_paused = true)]
async fn b30_postponed_refresh_is_no_failure() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.machine(), fleet.machine());
    one.token().await;
    two.token().await;
    sleep(Duration::from_secs(3_100)).await;
    fleet.answer_next(Duration::from_secs(2), None);
    assert_eq!(one.hit().await, "token.1");
    assert_eq!(two.hit().await, "token.1");
    assert_eq!(fleet.requests(), 2, "two refreshes at the same time");
    two.assert_count(Event::Refresh, 1);
    assert_eq!(two.count(Event::SharedWait), 0, "a refresh waited");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(two.hit().await, "token.1");
    assert_eq!(two.hit().await, "token.2", "after the next refresh");
    assert_eq!((one.failures(), two.failures()), (0, 0));
    fleet.assert_requests(2);
}

#[tokio::test(start_paused = true)]
async fn b30_refresh_waits_while_the_store_is_down() {
    let fleet = Fleet::new();
    let machine = fleet.machine();
    machine.token().await;
    fleet.store.set_faults(|faults| faults.is_down = true);
    // The refresh is due between 75 % and 85 %; without the store, from 85 % on.
    for at in [2_700, 2_900, 3_050] {
        let elapsed = machine.slot.peek().unwrap().age(machine.cx.clock.now());
        sleep(Duration::from_secs(at) - elapsed).await;
        assert_eq!(machine.hit().await, "token.1");
        assert_eq!(fleet.requests(), 1, "at {at} s");
    }
    sleep(Duration::from_secs(400)).await;
    assert_eq!(machine.hit().await, "token.1");
    assert_eq!(machine.hit().await, "token.2");
    assert_eq!(machine.failures(), 0);
    // It is not published, and a miss does not wait either.
    let other = fleet.machine();
    let start = Instant::now();
    assert_eq!(other.token().await, "token.3");
    assert_eq!(start.elapsed(), Duration::ZERO);
    other.assert_count(Event::SharedAlone, 1);
}

#[tokio::test(start_paused = true)]
async fn b04_b30_no_caller_waits_for_a_token_with_a_reserve_while_the_store_is_down() {
    let fleet = Fleet::with_reserve(0.5);
    let machine = fleet.machine();
    machine.token().await;
    fleet.store.set_faults(|faults| faults.is_down = true);
    for second in 1..3_600 {
        sleep(Duration::from_secs(1)).await;
        let source = || machine.source.clone();
        let hit = machine.slot.hit(&machine.cx, None, source);
        assert!(hit.is_some(), "a caller waits after {second} s");
    }
    // Refreshes begin at 85 to 92 % of half an hour.
    fleet.assert_requests(3);
}

#[tokio::test(start_paused = true)]
async fn b30_machines_try_one_after_another_while_the_server_fails() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.machine(), fleet.machine());
    fleet.answer_next(Duration::ZERO, Some(refusal(503)));
    assert!(one.entry().await.is_err());
    let start = Instant::now();
    assert_eq!(two.token().await, "token.2");
    let waited = start.elapsed();
    let pause = Duration::from_millis(125)..=Duration::from_millis(600);
    assert!(pause.contains(&waited), "waited {waited:?} after a failure");
    fleet.assert_requests(2);
}

/// A fleet whose last four requests failed.
async fn failing_fleet() -> Arc<Fleet> {
    let fleet = Fleet::new();
    for _ in 0..4 {
        fleet.answer_next(Duration::ZERO, Some(refusal(503)));
        assert!(fleet.machine().entry().await.is_err());
    }
    fleet.assert_requests(4);
    fleet
}

#[tokio::test(start_paused = true)]
async fn b30_failure_of_one_machine_fails_the_calls_that_wait_for_it() {
    let fleet = failing_fleet().await;
    let takes = Duration::from_millis(500);
    fleet.answer_next(takes, Some(refusal(503)));
    let (one, two) = (fleet.machine(), fleet.machine());
    let start = Instant::now();
    let (first, second) = tokio::join!(one.entry(), two.entry());
    for error in [first.err().unwrap(), second.err().unwrap()] {
        assert_eq!(error.http_status(), Some(503));
        let retry_after = error.retry_after().unwrap_or_default();
        assert!(retry_after <= Duration::from_secs(2), "{error}");
    }
    assert_eq!(fleet.requests(), 5, "each sent a request");
    assert!(
        start.elapsed() <= Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn b30_no_call_fails_by_a_failure_before_its_start() {
    let fleet = failing_fleet().await;
    let start = Instant::now();
    let (one, two) = (fleet.machine(), fleet.machine());
    let (first, second) = tokio::join!(one.token(), two.token());
    assert_eq!((&*first, &*second), ("token.5", "token.5"));
    // The back-off of the fleet, and a look.
    assert!(
        start.elapsed() <= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn b30_machine_remembers_for_a_minute_that_the_server_did_not_answer_it() {
    let fleet = Fleet::new();
    let machine = fleet.machine();
    // An answer that comes too late for the call, and then one in time.
    fleet.answer_next(2 * TIMEOUT, None);
    assert!(machine.entry().await.is_err());
    assert!(machine.is_unanswered());
    sleep(Duration::from_secs(61)).await;
    assert!(
        !machine.is_unanswered(),
        "it remembers for more than a minute"
    );
    let none = Error::attempt_timeout("no answer");
    fleet.answer_next(ATTEMPT_TIMEOUT, Some(none));
    assert!(machine.entry().await.is_err());
    assert!(machine.is_unanswered());
    sleep(Duration::from_secs(5)).await;
    assert!(machine.entry().await.is_ok());
    assert!(!machine.is_unanswered(), "an answer changed nothing");
}

#[tokio::test(start_paused = true)]
async fn b30_store_that_lies_about_the_time_keeps_no_old_failure_alive() {
    let fleet = Fleet::new();
    let note = Note {
        failures: 9,
        kind: 6,
        status: 401,
        oauth_error: "invalid_client".to_owned(),
    };
    let own = keys("secret");
    let sealed = own.seal_note(fleet.now() + 50_000, &note).unwrap();
    let machine = fleet.machine();
    sleep(Duration::from_secs(3_000)).await;
    fleet
        .store
        .set_faults(|faults| faults.clock_ahead = -3_000_000);
    fleet.store.put(&own.names().note, &sealed, HOUR);
    assert_eq!(machine.token().await, "token.1");
}

#[tokio::test(start_paused = true)]
async fn b30_note_of_another_secret_stops_nobody() {
    let fleet = Fleet::new();
    let machine = fleet.machine();
    let note = Note {
        failures: 9,
        kind: 6,
        status: 401,
        oauth_error: "invalid_client".to_owned(),
    };
    let (own, other) = (keys("secret"), keys("another"));
    assert_ne!(own.names(), other.names());
    let sealed = other.seal_note(fleet.now() + 50_000, &note).unwrap();
    fleet.store.put(&own.names().note, &sealed, HOUR);
    assert_eq!(machine.token().await, "token.1");
    machine.assert_count(Event::SharedRejected, 1);
    // The same note under the own secret does.
    let machine = Fleet::machine(&fleet);
    fleet.store.wipe();
    let sealed = own.seal_note(fleet.now() + 50_000, &note).unwrap();
    fleet.store.put(&own.names().note, &sealed, HOUR);
    let error = machine.entry().await.err().unwrap();
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    fleet.assert_requests(1);
}

#[tokio::test(start_paused = true)]
async fn b30_token_from_the_future_is_passed_over() {
    for (ahead, adopted) in [
        (1_000, true),
        (2_000, true),
        (2_001, false),
        (HOUR.as_millis() as u64, false),
    ] {
        let fleet = Fleet::new();
        let machine = fleet.machine();
        let keys = keys("secret");
        let born = fleet.now() + ahead;
        let entry = keys.seal_entry(born, born, HOUR, "stored").unwrap();
        fleet.store.put(&keys.names().value, &entry, HOUR);
        let token = machine.token().await;
        assert_eq!(token == "stored", adopted, "{ahead} ms ahead: {token}");
        assert_eq!(fleet.requests(), u32::from(!adopted), "{ahead} ms ahead");
        // It does not stay in the way of the others.
        if !adopted {
            assert_eq!(fleet.machine().token().await, "token.1");
        }
    }
}

/// A machine adopts a token that is older than the machine's start.
#[tokio::test(start_paused = true)]
async fn b09_b30_token_from_before_the_start_of_the_machine_expires_in_time() {
    let fleet = Fleet::new();
    let keys = keys("secret");
    // A test clock starts 1,000 s after the start of the machine.
    let lifetime = 24 * HOUR;
    let age = 20 * HOUR;
    let born = fleet.now() - age.as_millis() as u64;
    let entry = keys.seal_entry(born, born, lifetime, "stored").unwrap();
    fleet.store.put(&keys.names().value, &entry, HOUR);
    let clock = TestClock::following_tokio();
    let machine = fleet.machine_with(clock.clone());
    let entry = machine.entry().await.unwrap();
    assert_eq!(entry.value.0, "stored");
    // The wall clock tells nothing from now on.
    clock.set_wall_back(30 * HOUR);
    assert_eq!(entry.age(machine.cx.clock.now()), age);
    sleep(4 * HOUR - Duration::from_secs(1)).await;
    let source = || machine.source.clone();
    let is_served = machine.slot.hit(&machine.cx, None, source).is_some();
    assert!(is_served, "it expired too early");
    sleep(Duration::from_secs(1)).await;
    let entry = machine
        .slot
        .hit(&machine.cx, None, || machine.source.clone());
    assert_ne!(
        entry.map(|entry| entry.value().0.clone()).as_deref(),
        Some("stored"),
        "a dead token is served"
    );
}

#[tokio::test(start_paused = true)]
async fn b30_altered_and_foreign_entries_are_passed_over_and_replaced() {
    let keys = keys("secret");
    let fleet = Fleet::new();
    let born = fleet.now();
    let genuine = keys.seal_entry(born, born, HOUR, "stored").unwrap();
    let mut altered = genuine.clone();
    *altered.last_mut().unwrap() ^= 1;
    let of_another = self::keys("another");
    let foreign = of_another.seal_entry(born, born, HOUR, "stored").unwrap();
    let mut version = genuine.clone();
    version[0] = 2;
    for (entry, what) in [
        (altered, "altered"),
        (genuine[..genuine.len() - 1].to_vec(), "cut"),
        (foreign, "of another secret"),
        (version, "of another version"),
        (vec![0; 30 * 1024], "too long"),
        (b"junk that is no entry".to_vec(), "junk"),
        (Vec::new(), "empty"),
    ] {
        let fleet = Fleet::new();
        let machine = fleet.machine();
        fleet.store.put(&keys.names().value, &entry, HOUR);
        assert_eq!(machine.token().await, "token.1", "{what}");
        let rejected = u64::from(!entry.is_empty());
        assert_eq!(machine.count(Event::SharedRejected), rejected, "{what}");
        assert_eq!(fleet.machine().token().await, "token.1", "{what}");
        assert_eq!(fleet.requests(), 1, "{what}");
    }
}

/// An old entry that somebody puts back has its age in it.
#[tokio::test(start_paused = true)]
async fn b30_replayed_entry_is_no_younger_than_it_was() {
    let fleet = Fleet::new();
    let keys = keys("secret");
    let names = keys.names();
    fleet.machine().token().await;
    let old = fleet.store.get(&names.value).unwrap();
    sleep(Duration::from_secs(3_000)).await;
    fleet.store.put(&names.value, &old, 100 * HOUR);
    let machine = fleet.machine();
    let entry = machine.entry().await.unwrap();
    assert_eq!(
        entry.age(machine.cx.clock.now()),
        Duration::from_secs(3_000)
    );
    // From 95 % of its lifetime on, and after it.
    for _ in 0..2 {
        sleep(Duration::from_secs(430)).await;
        fleet.store.put(&names.value, &old, 100 * HOUR);
        let requests = fleet.requests();
        let token = fleet.machine().token().await;
        assert_ne!(token, "token.1", "a dead token was adopted");
        fleet.assert_requests(requests + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn b30_store_that_lies_about_a_lease_does_not_stop_a_call() {
    let fleet = Fleet::new();
    let machine = fleet.machine();
    fleet
        .store
        .set_faults(|faults| faults.has_endless_lease = true);
    let start = Instant::now();
    assert_eq!(machine.token().await, "token.1");
    assert_eq!(start.elapsed(), Duration::ZERO);
    // A lease that is always taken by another one again.
    let fleet = Fleet::new();
    let machine = fleet.machine();
    let names = keys("secret").names().clone();
    let thief = async {
        loop {
            fleet.store.put(&names.lease, &[9; 16], policy::LEASE);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let start = Instant::now();
    let token = tokio::select! {
        token = machine.token() => token,
        () = thief => unreachable!("the thief stopped"),
    };
    assert_eq!(token, "token.1");
    let waited = start.elapsed();
    assert!(waited <= Duration::from_secs(19), "waited {waited:?}");
    machine.assert_count(Event::SharedAlone, 1);
}

proptest! {
    /// `granted <= sent <= read <= answered` are the true times at which the store granted
    /// the lease, the request left, the reader read its clocks, and the store answered.
    #[test]
    fn b09_b30_token_is_never_believed_younger_than_it_is(
        granted in 100_000_000_u64..200_000_000,
        steps in [0_u64..3_000, 0..7_200_000, 0..3_000],
        publisher in -3_600_000_i64..3_600_000,
        reader in -3_600_000_i64..3_600_000,
        store in -3_600_000_i64..3_600_000,
        store_later in -3_600_000_i64..3_600_000,
    ) {
        let sent = granted + steps[0];
        let read = sent + steps[1];
        let answered = read + steps[2];
        let by = |time: u64, clock: i64| time.checked_add_signed(clock).unwrap();
        // The publisher reads its wall clock before the look that gets the lease.
        let age = policy::age(
            by(granted, store),
            by(granted, publisher),
            by(answered, store_later),
            by(read, reader),
        );
        let store_lost_time = store_later < store;
        let reader_is_behind = reader < publisher;
        if let Some(age) = age
            && !(store_lost_time && reader_is_behind)
        {
            prop_assert!(age >= Duration::from_millis(read - sent), "{age:?}");
        }
    }
}
