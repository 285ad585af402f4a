//! Simulation of a fleet: thousands of processes that share a token through a store, in
//! the time of a test clock.
//!
//! Each process is a task with the real cache slot, the real fetch through the store with
//! its policy, the real retry policy and the real parser of token responses. The store is
//! in memory; the token endpoint is a few lines here. Both have latencies and faults.
//! All runs with the same seed have the same result.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::{BoxFuture, Either, join_all, pending, select};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use crate::cache::{Context, Failed, FetchParams, Fetched, Outcome, Slot, Source, Spawn};
use crate::credentials::{Credentials, Origin};
use crate::deadline::{self, Deadline};
use crate::error::{Details, Error, Result};
use crate::protocol::message::Response;
use crate::protocol::oauth;
use crate::retry::{self, RetryPolicy};
use crate::secret::Secret;
use crate::stats::{Counters, Event as Counted};
use crate::store::fetch::{Kind, SharedCache, SharedFetch, Wanted};
use crate::store::memory::{MemoryClient, MemoryStore};
use crate::store::seal::{Principal, RootKey, SealKeys};
use crate::store::{Found, LookUp, Names, Owner, Published, StoreError, TokenStore};
use crate::sys::clock::{Clock, Now, TestClock};
use crate::sys::jitter;
use crate::token::{AccessToken, Life};

/// Timeouts of the processes: the defaults of a client.
const TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Mean time until a process repeats a call that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long after the revocation of all tokens each process has made a call.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// Properties of the store: a way of 1 ms, and what a command cost when it was measured.
const STORE_LATENCY: Duration = Duration::from_millis(1);
const STORE_COST: Duration = Duration::from_micros(35);

/// How the processes share tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not at all.
    Alone,
    /// Through the store, but each that finds no token sends a request.
    WithoutLease,
    /// Through the store, with leases.
    WithLease,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The token endpoint answers as usual.
    EndpointRecovers,
    /// The token endpoint answers 503.
    EndpointFails,
    /// The token endpoint does not answer.
    EndpointIsSilent,
    /// The process that sends the next request ends before it has an answer.
    HolderIsKilled,
    /// All tokens issued so far are revoked: the API answers 401 to them. Each process
    /// makes a call within a second.
    TokensAreRevoked,
    /// The store refuses connections, or accepts them again.
    StoreIsDown(bool),
    /// The store does not execute what it receives, or continues.
    StoreIsPaused(bool),
    /// The store loses everything.
    StoreIsWiped,
    /// The store grants no leases, as a replica or a full server, or grants them again.
    StoreIsReadOnly(bool),
    /// The store says that somebody has a lease without an end, or speaks the truth again.
    StoreLies(bool),
    /// The clock of the store is moved, by seconds.
    StoreClockIs(i64),
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Short name, in `snake_case`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Number of processes.
    pub processes: u32,
    /// Time within which they all start.
    pub start_within: Duration,
    /// Lifetime of a token.
    pub lifetime: Duration,
    /// For how long it runs.
    pub duration: Duration,
    /// Shortest and longest time for an answer of the token endpoint.
    pub latency: (Duration, Duration),
    /// Mean time between two calls of a process.
    pub call_interval: Duration,
    /// Requests per second to which the token endpoint gives a token; others get 429.
    pub rate_limit: Option<u32>,
    /// How far the wall clocks of processes are ahead or behind, at most.
    pub clock_skew: Duration,
    /// Events by their time after the start.
    pub events: Vec<(Duration, Event)>,
}

/// Result of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// Calls of all processes.
    pub calls: u64,
    /// Calls that failed.
    pub failed_calls: u64,
    /// Calls that got a token which had expired.
    pub dead_tokens: u64,
    /// Requests that the token endpoint received.
    pub requests: u64,
    /// Most of them within one second.
    pub peak_requests: u64,
    /// Longest time of a process without a token, from the beginning of the first call
    /// that did not have one at once.
    pub longest_without: Duration,
    /// Operations of the store.
    pub commands: u64,
    /// Most of them within one second.
    pub peak_commands: u64,
    /// Tokens that processes got from the store.
    pub adopted: u64,
    /// Requests that processes sent without a lease although they have a store.
    pub alone: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Token endpoint, and the API to which the tokens are shown.
struct Endpoint {
    lifetime: Duration,
    latency: (Duration, Duration),
    rate_limit: Option<u32>,
    state: Mutex<EndpointState>,
    url: Url,
    credentials: Credentials,
}

struct EndpointState {
    rng: Rng,
    behaviour: Behaviour,
    /// Whether the sender of the next request is killed.
    kills: bool,
    requests: u64,
    peak: u64,
    /// Requests of the last second, and those of them that got a token.
    second: (u64, u64, u32),
    /// When each token expires, by its number.
    expiries: Vec<Instant>,
    /// Tokens before this number are revoked.
    revoked: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Normal,
    Fails,
    Silent,
}

/// Whether the API accepts a token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Validity {
    Valid,
    Revoked,
    Expired,
}

impl Endpoint {
    /// Answers a request of a process.
    async fn answer(&self, process: &Process) -> Result<(Now, Response)> {
        let requested_at = process.cx.clock.now();
        let (latency, is_killed) = {
            let mut state = lock(&self.state);
            let second = process.world.start.elapsed().as_secs();
            if state.second.0 != second {
                state.second = (second, 0, 0);
            }
            state.requests += 1;
            state.second.1 += 1;
            state.peak = state.peak.max(state.second.1);
            let (least, most) = self.latency;
            let latency = least + (most - least).mul_f64(state.rng.f64());
            (latency, std::mem::take(&mut state.kills))
        };
        if is_killed {
            process.is_killed.store(true, Ordering::Relaxed);
            process.killed.notify_waiters();
            pending::<()>().await;
        }
        // Half of it is the way there.
        sleep(latency / 2).await;
        let response = self.respond(process);
        let Some(response) = response else {
            sleep(ATTEMPT_TIMEOUT.saturating_sub(latency / 2)).await;
            return Err(Error::attempt_timeout("no answer within 10 s"));
        };
        sleep(latency / 2).await;
        Ok((requested_at, response))
    }

    /// `None` for no answer.
    fn respond(&self, process: &Process) -> Option<Response> {
        let mut state = lock(&self.state);
        match state.behaviour {
            Behaviour::Normal => {}
            Behaviour::Fails => return Some(self.response(503, "{}".to_owned(), None)),
            Behaviour::Silent => return None,
        }
        let second = process.world.start.elapsed().as_secs();
        if state.second.0 != second {
            state.second = (second, 0, 0);
        }
        state.second.2 += 1;
        if self.rate_limit.is_some_and(|limit| state.second.2 > limit) {
            return Some(self.response(429, "{}".to_owned(), Some("1")));
        }
        let number = state.expiries.len();
        state.expiries.push(Instant::now() + self.lifetime);
        let seconds = self.lifetime.as_secs();
        let body = format!(
            r#"{{"access_token":"simulated.{number}","expires_in":{seconds},"token_type":"Bearer"}}"#
        );
        Some(self.response(200, body, None))
    }

    fn response(&self, status: u16, body: String, retry_after: Option<&'static str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        Response {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            secret: self.credentials.client_secret().clone(),
            authorization: None,
        }
    }

    /// Whether the API accepts a token now.
    fn validity(&self, token: &AccessToken) -> Validity {
        let state = lock(&self.state);
        let number = token.secret().rsplit('.').next();
        let number = number.and_then(|number| number.parse::<usize>().ok());
        let number = number.unwrap_or(usize::MAX);
        match state.expiries.get(number) {
            Some(expiry) if Instant::now() < *expiry => match number < state.revoked {
                true => Validity::Revoked,
                false => Validity::Valid,
            },
            _ => Validity::Expired,
        }
    }
}

/// What all processes share.
struct World {
    start: Instant,
    endpoint: Endpoint,
    store: Arc<MemoryStore>,
    keys: Arc<SealKeys>,
    outcomes: Mutex<Outcomes>,
    stats: Arc<Counters>,
}

/// One process of the fleet.
struct Process {
    world: Arc<World>,
    cx: Context,
    slot: Arc<Slot<AccessToken>>,
    shared: Option<SharedCache>,
    is_killed: AtomicBool,
    killed: Notify,
}

/// Runs fetches as tasks of the runtime.
struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        drop(tokio::spawn(task));
        Ok(())
    }
}

#[derive(Clone)]
struct ProcessSource(Arc<Process>);

impl Source<AccessToken> for ProcessSource {
    fn fetch(&self, params: FetchParams<AccessToken>) -> BoxFuture<'static, Outcome<AccessToken>> {
        let process = Arc::clone(&self.0);
        Box::pin(async move {
            let deadline = Deadline::with_progress(TIMEOUT, params.progress.clone());
            let obtain = pin!(process.obtain(&params, &deadline));
            let outcome = deadline.bound(obtain).await;
            outcome.unwrap_or_else(Outcome::Failed)
        })
    }

    fn can_change(&self) -> bool {
        false
    }

    fn budget(&self) -> Duration {
        TIMEOUT
    }
}

impl Process {
    /// What the engine does for an access token.
    async fn obtain(
        &self,
        params: &FetchParams<AccessToken>,
        deadline: &Deadline,
    ) -> Result<Outcome<AccessToken>> {
        let policy = RetryPolicy::default().after_failures(params.failures);
        let on_retry = |_: &Error, _: u32, _: Duration| self.cx.stats.count(Counted::Retry);
        let Some(shared) = &self.shared else {
            let fetched = retry::run(policy, deadline, on_retry, || self.request()).await?;
            return Ok(Outcome::Fetched(fetched));
        };
        let kind = Kind {
            reserve: 0.0,
            is_access: true,
            name: "access",
        };
        let make = |text: &Secret, requested_at, lifetime| {
            self.token(text.expose(), requested_at, lifetime)
        };
        let keys = Arc::clone(&self.world.keys);
        let ends = deadline.at().into();
        let wanted = Wanted::new(params);
        let Some(fetch) = SharedFetch::new(shared, keys, kind, wanted, ends, make) else {
            return Err(Error::attempt_timeout("no random numbers"));
        };
        let attempt = || async {
            let request = || async { self.request().await.map_err(Failed::Own) };
            fetch.attempt(request).await.map_err(Failed::into_error)
        };
        retry::run(policy, deadline, on_retry, attempt).await
    }

    async fn request(&self) -> Result<Fetched<AccessToken>> {
        let endpoint = &self.world.endpoint;
        let (requested_at, response) = endpoint.answer(self).await?;
        let credentials = &endpoint.credentials;
        let token = oauth::read_response(&endpoint.url, &response, credentials, Origin::Given)?;
        let value = self.token(token.access_token.as_str(), requested_at, token.lifetime)?;
        Ok(Fetched {
            value,
            requested_at,
            lifetime: token.lifetime,
            reserve: 0.0,
        })
    }

    fn token(&self, text: &str, requested_at: Now, lifetime: Duration) -> Result<AccessToken> {
        let life = Life {
            requested_at,
            lifetime,
            clock: self.cx.clock.clone(),
        };
        AccessToken::new(text, life).map_err(|why| Error::protocol(why, Details::default()))
    }

    /// Calls until the end.
    async fn run(self: Arc<Self>, mut rng: Rng, times: Times) {
        let mut at = times.begin + times.start_within.mul_f64(rng.f64());
        let mut revocations = times.revocations.into_iter().peekable();
        let mut without_since = None;
        loop {
            // A call within a second after each revocation.
            if let Some(revoked) = revocations.next_if(|revoked| *revoked <= at) {
                let seen = revoked + SEEN_WITHIN.mul_f64(rng.f64());
                at = at.min(seen).max(Instant::now());
            }
            if at >= times.end {
                return;
            }
            sleep_until(at).await;
            let call = pin!(self.call(&mut without_since));
            let killed = pin!(self.killed.notified());
            let is_served = match select(call, killed).await {
                Either::Left((is_served, _)) => is_served,
                Either::Right(_) => return,
            };
            if self.is_killed.load(Ordering::Relaxed) {
                return;
            }
            let mean = if is_served {
                times.call_interval
            } else {
                RETRY_INTERVAL
            };
            at = Instant::now() + mean.mul_f64(0.5 + rng.f64());
        }
    }

    /// One call of the API. Returns whether it succeeded.
    async fn call(self: &Arc<Self>, without_since: &mut Option<Instant>) -> bool {
        let begin = Instant::now();
        let is_served = self.call_api().await;
        let mut outcomes = lock(&self.world.outcomes);
        outcomes.calls += 1;
        if is_served {
            let without = without_since.take().unwrap_or(begin).elapsed();
            outcomes.longest_without = outcomes.longest_without.max(without);
        } else {
            without_since.get_or_insert(begin);
            outcomes.failed_calls += 1;
        }
        is_served
    }

    async fn call_api(self: &Arc<Self>) -> bool {
        let source = ProcessSource(Arc::clone(self));
        let deadline = Deadline::after(TIMEOUT);
        let token = match self.slot.hit(&self.cx, None, || source.clone()) {
            Some(hit) => hit.value().clone(),
            None => {
                let get = self.slot.get(&self.cx, &source, None, deadline.progress());
                match deadline.bound(pin!(get)).await {
                    Ok(entry) => entry.value.clone(),
                    Err(_) => return false,
                }
            }
        };
        let endpoint = &self.world.endpoint;
        if self.count(endpoint.validity(&token)) != Validity::Revoked {
            return true;
        }
        let renew = self
            .slot
            .renew(&self.cx, &source, deadline.progress(), |current| {
                *current == token
            });
        match deadline.bound(pin!(renew)).await {
            Ok(Some(fresh)) if fresh.value != token => {
                self.count(endpoint.validity(&fresh.value)) != Validity::Revoked
            }
            _ => false,
        }
    }

    fn count(&self, validity: Validity) -> Validity {
        if validity == Validity::Expired {
            lock(&self.world.outcomes).dead_tokens += 1;
        }
        validity
    }
}

/// When processes make calls.
#[derive(Clone)]
struct Times {
    begin: Instant,
    start_within: Duration,
    end: Instant,
    call_interval: Duration,
    revocations: Vec<Instant>,
}

/// Store that grants everyone a lease.
struct WithoutLease(MemoryClient);

impl TokenStore for WithoutLease {
    fn look_up<'a>(
        &'a self,
        names: &'a Names,
        seen: &'a [u8],
        owner: &'a Owner,
        _lease: Duration,
    ) -> BoxFuture<'a, std::result::Result<LookUp, StoreError>> {
        Box::pin(async move {
            let mut look = self.0.look_up(names, seen, owner, Duration::ZERO).await?;
            if let Found::Held(_) | Found::Note = look.found {
                look.found = Found::Lease;
            }
            Ok(look)
        })
    }

    fn publish<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        entry: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, std::result::Result<Published, StoreError>> {
        self.0.publish(names, owner, entry, keep)
    }

    fn release<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        _note: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, std::result::Result<(), StoreError>> {
        self.0.release(names, owner, b"", keep)
    }

    fn is_up(&self) -> bool {
        self.0.is_up()
    }
}

/// Lets deadlines of this thread follow Tokio's time while it lives.
struct SimulatedTime;

impl SimulatedTime {
    fn new() -> Self {
        deadline::follow_tokio(true);
        Self
    }
}

impl Drop for SimulatedTime {
    fn drop(&mut self) {
        deadline::follow_tokio(false);
    }
}

/// Runs a simulation. It must run on a current-thread runtime of Tokio whose time is
/// paused, and alone on its thread.
pub async fn run(scenario: &Scenario, sharing: Sharing, seed: u64) -> Outcomes {
    let _time = SimulatedTime::new();
    jitter::set_seed(seed);
    let mut rng = Rng::with_seed(seed);
    let start = Instant::now();
    let clock = TestClock::following_tokio();
    let of_store = Clock::Test(clock.clone());
    let store = Arc::new(MemoryStore::new(move || of_store.now().wall));
    store.set_faults(|faults| {
        faults.latency = STORE_LATENCY;
        faults.cost = STORE_COST;
    });
    let world = Arc::new(World {
        start,
        endpoint: Endpoint::new(scenario, &mut rng),
        store,
        keys: Arc::new(keys()),
        outcomes: Mutex::default(),
        stats: Arc::default(),
    });
    let revocations = scenario
        .events
        .iter()
        .filter(|(_, event)| *event == Event::TokensAreRevoked)
        .map(|(at, _)| start + *at)
        .collect();
    let times = Times {
        begin: start,
        start_within: scenario.start_within,
        end: start + scenario.duration,
        call_interval: scenario.call_interval,
        revocations,
    };
    let processes: Vec<_> = (0..scenario.processes)
        .map(|_| {
            let process = Process::new(&world, sharing, scenario.clock_skew, &mut rng);
            let run = Arc::new(process).run(rng.fork(), times.clone());
            tokio::spawn(run)
        })
        .collect();
    let mut events = scenario.events.clone();
    events.sort_by_key(|(at, _)| *at);
    for (at, event) in events {
        sleep_until(start + at).await;
        world.apply(event);
    }
    join_all(processes).await;
    world.outcomes()
}

/// Keys of the fleet's token.
fn keys() -> SealKeys {
    let root = RootKey::new(&Secret::new("simulated-secret"), None);
    let principal = Principal {
        auth_url: "https://auth.simulated/oauth2/token",
        scope: "simulated",
        client_id: "simulated-client",
        basic_encoding: "raw",
    };
    root.access_token("layerfi", &principal)
}

impl Endpoint {
    fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let url = "https://auth.simulated/oauth2/token";
        let Ok(url) = Url::parse(url) else {
            unreachable!("{url} is not a URL");
        };
        Self {
            lifetime: scenario.lifetime,
            latency: scenario.latency,
            rate_limit: scenario.rate_limit,
            state: Mutex::new(EndpointState {
                rng: rng.fork(),
                behaviour: Behaviour::Normal,
                kills: false,
                requests: 0,
                peak: 0,
                second: (0, 0, 0),
                expiries: Vec::new(),
                revoked: 0,
            }),
            url,
            credentials: Credentials::new("simulated-client", "simulated-secret"),
        }
    }
}

impl Process {
    fn new(world: &Arc<World>, sharing: Sharing, skew: Duration, rng: &mut Rng) -> Self {
        let clock = TestClock::following_tokio();
        let skew = skew.mul_f64(rng.f64());
        if rng.bool() {
            clock.suspend(skew);
        } else {
            clock.set_wall_back(skew);
        }
        let clock = Clock::Test(clock);
        let client = MemoryClient::new(Arc::clone(&world.store));
        let store: Option<Arc<dyn TokenStore>> = match sharing {
            Sharing::Alone => None,
            Sharing::WithoutLease => Some(Arc::new(WithoutLease(client))),
            Sharing::WithLease => Some(Arc::new(client)),
        };
        let shared = store.map(|store| {
            let stats = Arc::clone(&world.stats);
            SharedCache::new(store, clock.clone(), stats, ATTEMPT_TIMEOUT, TIMEOUT)
        });
        Self {
            world: Arc::clone(world),
            cx: Context {
                clock,
                spawn: Arc::new(Tasks),
                stats: Arc::clone(&world.stats),
            },
            slot: Arc::new(Slot::new()),
            shared,
            is_killed: AtomicBool::new(false),
            killed: Notify::new(),
        }
    }
}

impl World {
    fn apply(&self, event: Event) {
        let store = &self.store;
        let mut endpoint = lock(&self.endpoint.state);
        match event {
            Event::EndpointRecovers => endpoint.behaviour = Behaviour::Normal,
            Event::EndpointFails => endpoint.behaviour = Behaviour::Fails,
            Event::EndpointIsSilent => endpoint.behaviour = Behaviour::Silent,
            Event::HolderIsKilled => endpoint.kills = true,
            Event::TokensAreRevoked => endpoint.revoked = endpoint.expiries.len(),
            Event::StoreIsDown(is) => store.set_faults(|faults| faults.is_down = is),
            Event::StoreIsPaused(true) => store.pause(),
            Event::StoreIsPaused(false) => store.resume(),
            Event::StoreIsWiped => store.wipe(),
            Event::StoreIsReadOnly(is) => store.set_faults(|faults| faults.is_read_only = is),
            Event::StoreLies(does) => store.set_faults(|faults| faults.has_endless_lease = does),
            Event::StoreClockIs(ahead) => {
                store.set_faults(|faults| faults.clock_ahead = ahead.saturating_mul(1_000));
            }
        }
    }

    fn outcomes(&self) -> Outcomes {
        let endpoint = lock(&self.endpoint.state);
        let commands = self.store.counts();
        Outcomes {
            requests: endpoint.requests,
            peak_requests: endpoint.peak,
            commands: commands.all(),
            peak_commands: commands.peak,
            adopted: self.stats.get(Counted::SharedAdopted),
            alone: self.stats.get(Counted::SharedAlone),
            ..lock(&self.outcomes).clone()
        }
    }
}

impl Scenario {
    /// Three lifetimes of one hour, without faults.
    #[must_use]
    pub fn three_lifetimes(processes: u32) -> Self {
        let hour = Duration::from_secs(3_600);
        Self {
            name: "three_lifetimes",
            title: "three lifetimes of one hour",
            processes,
            start_within: Duration::from_secs(1),
            lifetime: hour,
            duration: 3 * hour,
            latency: (Duration::from_millis(100), Duration::from_millis(800)),
            call_interval: Duration::from_secs(60),
            rate_limit: None,
            clock_skew: Duration::ZERO,
            events: Vec::new(),
        }
    }

    /// All scenarios.
    #[must_use]
    pub fn all(processes: u32, seed: u64) -> Vec<Self> {
        use Event::{
            EndpointFails, EndpointIsSilent, EndpointRecovers, HolderIsKilled, StoreClockIs,
            StoreIsDown, StoreIsPaused, StoreIsReadOnly, StoreIsWiped, StoreLies, TokensAreRevoked,
        };
        let with = |name, title, events: &[(u64, Event)]| Self {
            name,
            title,
            events: events
                .iter()
                .map(|(at, event)| (Duration::from_secs(*at), *event))
                .collect(),
            ..Self::three_lifetimes(processes)
        };
        // A token is refreshed at 75 % to 85 % of its lifetime.
        vec![
            Self::three_lifetimes(processes),
            Self {
                rate_limit: Some(100),
                ..with(
                    "rate_limit",
                    "the token endpoint grants 100 requests a second",
                    &[],
                )
            },
            Self {
                latency: (Duration::from_secs(8), Duration::from_secs(8)),
                ..with("slow_endpoint", "the token endpoint takes 8 s", &[])
            },
            with(
                "endpoint_fails_at_the_start",
                "the token endpoint answers 503 for the first 60 s",
                &[(0, EndpointFails), (60, EndpointRecovers)],
            ),
            with(
                "endpoint_fails_at_the_refresh",
                "the token endpoint answers 503 for 10 min when the first refresh is due",
                &[(2_700, EndpointFails), (3_300, EndpointRecovers)],
            ),
            with(
                "endpoint_is_silent",
                "the token endpoint does not answer for the first 60 s",
                &[(0, EndpointIsSilent), (60, EndpointRecovers)],
            ),
            with(
                "holder_is_killed",
                "the process that gets the first token is killed",
                &[(0, HolderIsKilled)],
            ),
            with(
                "tokens_are_revoked",
                "all tokens are revoked, and all processes see a 401 within 1 s",
                &[(1_000, TokensAreRevoked)],
            ),
            with(
                "store_is_away_1_min",
                "the store is down for 60 s when the first refresh is due",
                &[(2_700, StoreIsDown(true)), (2_760, StoreIsDown(false))],
            ),
            with(
                "store_is_away_10_min",
                "the store is down for 10 min when the first refresh is due",
                &[(2_700, StoreIsDown(true)), (3_300, StoreIsDown(false))],
            ),
            with(
                "store_is_paused",
                "the store does not answer for the first 60 s",
                &[(0, StoreIsPaused(true)), (60, StoreIsPaused(false))],
            ),
            with(
                "store_is_never_there",
                "the store is never there",
                &[(0, StoreIsDown(true))],
            ),
            with(
                "store_is_read_only",
                "the store is read-only",
                &[(0, StoreIsReadOnly(true))],
            ),
            with(
                "store_lies",
                "the store says that somebody always has a lease",
                &[(0, StoreLies(true))],
            ),
            with(
                "store_is_wiped",
                "the store loses everything every 10 min",
                &(1..18)
                    .map(|at| (600 * at, StoreIsWiped))
                    .collect::<Vec<_>>(),
            ),
            with(
                "store_clock_jumps",
                "the clock of the store is moved by 30 min, back, and behind",
                &[
                    (600, StoreClockIs(1_800)),
                    (1_800, StoreClockIs(0)),
                    (5_400, StoreClockIs(-1_800)),
                ],
            ),
            Self {
                clock_skew: Duration::from_secs(300),
                ..with(
                    "clock_skew",
                    "the clocks of the machines differ by up to 10 min",
                    &[],
                )
            },
            Self::chaos(processes, seed),
        ]
    }

    /// The store is paused, down, wiped or read-only at random times.
    #[must_use]
    pub fn chaos(processes: u32, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut events = Vec::new();
        let mut at = 240.0 * rng.f64();
        let end = 3.0 * 3_600.0;
        while at < end {
            let lasts = 1.0 + 119.0 * rng.f64();
            let (begins, ends) = match rng.u8(..4) {
                0 => (Event::StoreIsPaused(true), Event::StoreIsPaused(false)),
                1 => (Event::StoreIsDown(true), Event::StoreIsDown(false)),
                2 => (Event::StoreIsReadOnly(true), Event::StoreIsReadOnly(false)),
                _ => (Event::StoreIsWiped, Event::HolderIsKilled),
            };
            events.push((Duration::from_secs_f64(at), begins));
            events.push((Duration::from_secs_f64(at + lasts), ends));
            at += lasts + 240.0 * rng.f64();
        }
        Self {
            name: "chaos",
            title: "the store is paused, down, read-only or wiped, and holders are killed, at random",
            events,
            ..Self::three_lifetimes(processes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESSES: u32 = 100;

    /// A scenario of a small fleet whose processes call rarely.
    fn scenario(name: &str) -> Scenario {
        let mut all = Scenario::all(PROCESSES, 1).into_iter();
        let found = all.find(|scenario| scenario.name == name);
        Scenario {
            call_interval: Duration::from_secs(300),
            ..found.unwrap_or_else(|| panic!("no scenario {name}"))
        }
    }

    fn simulate(scenario: &Scenario, sharing: Sharing, seed: u64) -> Outcomes {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcomes = runtime.block_on(run(scenario, sharing, seed));
        assert!(outcomes.calls > 30 * u64::from(PROCESSES), "{outcomes:?}");
        assert_eq!(outcomes.dead_tokens, 0, "{}", scenario.name);
        outcomes
    }

    fn with_lease(name: &str) -> Outcomes {
        simulate(&scenario(name), Sharing::WithLease, 1)
    }

    /// For each scenario: the requests with leases, and the longest time without a token.
    #[test]
    fn b30_simulated_fleets_send_few_requests_and_no_call_fails_because_of_the_store() {
        let seconds = Duration::from_secs;
        for (name, requests, longest) in [
            ("three_lifetimes", 4..=4, seconds(1)),
            ("rate_limit", 4..=4, seconds(1)),
            // The lease ends before the answer.
            ("slow_endpoint", 4..=12, seconds(10)),
            // One more, by the process that gets the lease next.
            ("holder_is_killed", 5..=5, seconds(5)),
            ("tokens_are_revoked", 5..=6, seconds(2)),
            ("store_is_away_1_min", 4..=5, seconds(1)),
            ("store_is_wiped", 4..=20, seconds(1)),
            ("store_clock_jumps", 4..=12, seconds(1)),
            ("clock_skew", 4..=12, seconds(1)),
            // All are alone at the start.
            ("store_is_paused", 100..=110, seconds(3)),
            ("store_lies", 4..=100, seconds(20)),
            ("store_is_away_10_min", 4..=150, seconds(1)),
            ("store_is_never_there", 400..=400, seconds(3)),
            ("store_is_read_only", 400..=400, seconds(3)),
        ] {
            let outcomes = with_lease(name);
            assert_eq!(outcomes.failed_calls, 0, "failed calls: {name}");
            assert!(
                requests.contains(&outcomes.requests),
                "{name}: {} requests, expected {requests:?}",
                outcomes.requests
            );
            let without = outcomes.longest_without;
            assert!(without <= longest, "{name}: {without:?} without a token");
        }
    }

    #[test]
    fn b30_simulated_fleet_sends_one_request_at_a_time_while_the_endpoint_fails() {
        for (name, most, calls_fail) in [
            ("endpoint_fails_at_the_start", 40, true),
            ("endpoint_fails_at_the_refresh", 300, false),
        ] {
            let outcomes = with_lease(name);
            assert!(outcomes.requests <= most, "{name}: {outcomes:?}");
            assert!(outcomes.peak_requests <= 3, "{name}: {outcomes:?}");
            assert_eq!(outcomes.failed_calls > 0, calls_fail, "{name}");
            let alone = simulate(&scenario(name), Sharing::Alone, 1);
            assert!(alone.requests > 10 * outcomes.requests, "{name}: {alone:?}");
        }
    }

    #[test]
    fn b30_simulated_chaos_of_the_store_costs_requests_and_no_calls() {
        for seed in [1, 2] {
            let scenario = Scenario {
                call_interval: Duration::from_secs(300),
                ..Scenario::chaos(PROCESSES, seed)
            };
            let alone = simulate(&scenario, Sharing::Alone, seed);
            let shared = simulate(&scenario, Sharing::WithLease, seed);
            assert_eq!(shared.failed_calls, 0, "seed {seed}");
            assert!(
                shared.requests < alone.requests,
                "seed {seed}: {} requests, and {} alone",
                shared.requests,
                alone.requests
            );
        }
    }

    #[test]
    fn b30_simulated_fleet_without_leases_sends_more_requests_than_with_them() {
        let scenario = scenario("three_lifetimes");
        let without = simulate(&scenario, Sharing::WithoutLease, 1);
        let alone = simulate(&scenario, Sharing::Alone, 1);
        assert_eq!(alone.requests, 4 * u64::from(PROCESSES));
        assert!(
            (5..alone.requests).contains(&without.requests),
            "{without:?}"
        );
    }

    #[test]
    fn simulation_with_the_same_seed_has_the_same_result() {
        let scenario = scenario("chaos");
        let first = simulate(&scenario, Sharing::WithLease, 7);
        assert_eq!(simulate(&scenario, Sharing::WithLease, 7), first);
        assert_ne!(simulate(&scenario, Sharing::WithLease, 8), first);
    }
}
