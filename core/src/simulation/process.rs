//! One process of a simulated fleet.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::endpoint::Validity;
use super::scenario::{ATTEMPT_TIMEOUT, TIMEOUT};
use super::world::{Sharing, World};
use crate::cache::{Context, Failed, FetchParams, Fetched, Outcome, Slot, Source, Spawn};
use crate::credentials::Origin;
use crate::deadline::Deadline;
use crate::error::{Details, Error, Result};
use crate::protocol::oauth;
use crate::retry::{self, RetryPolicy};
use crate::secret::Secret;
use crate::stats::Event;
use crate::store::fetch::{Kind, SharedCache, SharedFetch, Wanted};
use crate::store::memory::client::MemoryClient;
use crate::store::{Action, Found, Operation, Reply, StoreError, TokenStore};
use crate::sys::clock::{Clock, Now, TestClock};
use crate::sys::sync::lock;
use crate::token::{AccessToken, Life};

/// Mean time until a process repeats a call that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long after the revocation of all tokens each process has made a call.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// One process of the fleet.
pub(super) struct Process {
    world: Arc<World>,
    cx: Context,
    slot: Arc<Slot<AccessToken>>,
    pub(super) client: Arc<MemoryClient>,
    shared: Option<SharedCache>,
    /// No request reaches the token endpoint.
    pub(super) is_offline: AtomicBool,
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
        let on_retry = |_: &Error, _: u32, _: Duration| self.cx.stats.count(Event::Retry);
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
        let progress = deadline.progress();
        let fetch = SharedFetch::new(shared, keys, kind, wanted, ends, progress, make);
        let Some(fetch) = fetch else {
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
        let requested_at = self.cx.clock.now();
        let arrives = !self.is_offline.load(Ordering::Relaxed);
        let Some(response) = endpoint.answer(arrives).await else {
            self.is_killed.store(true, Ordering::Relaxed);
            self.killed.notify_waiters();
            return pending().await;
        };
        let response = response?;
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
    pub(super) async fn run(self: Arc<Self>, mut rng: Rng, times: Times) {
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
pub(super) struct Times {
    pub(super) begin: Instant,
    pub(super) start_within: Duration,
    pub(super) end: Instant,
    pub(super) call_interval: Duration,
    pub(super) revocations: Vec<Instant>,
}

/// Store that grants everyone a lease.
struct WithoutLease(Arc<MemoryClient>);

impl TokenStore for WithoutLease {
    fn run<'a>(
        &'a self,
        mut operation: Operation<'a>,
    ) -> BoxFuture<'a, std::result::Result<Reply, StoreError>> {
        match &mut operation.action {
            Action::LookUp { lease, .. } => *lease = Duration::ZERO,
            Action::Release { note, .. } => *note = b"",
            Action::Publish { .. } => {}
        }
        Box::pin(async move {
            let mut reply = self.0.run(operation).await?;
            if let Reply::LookUp(look) = &mut reply
                && let Found::Held(_) | Found::Note = look.found
            {
                look.found = Found::Lease;
            }
            Ok(reply)
        })
    }

    fn is_up(&self) -> bool {
        self.0.is_up()
    }
}

impl Process {
    pub(super) fn new(world: &Arc<World>, sharing: Sharing, skew: Duration, rng: &mut Rng) -> Self {
        let clock = TestClock::following_tokio();
        let skew = skew.mul_f64(rng.f64());
        if rng.bool() {
            clock.suspend(skew);
        } else {
            clock.set_wall_back(skew);
        }
        let clock = Clock::Test(clock);
        let client = Arc::new(MemoryClient::new(Arc::clone(&world.store)));
        let store: Option<Arc<dyn TokenStore>> = match sharing {
            Sharing::Alone => None,
            Sharing::WithoutLease => Some(Arc::new(WithoutLease(Arc::clone(&client)))),
            Sharing::WithLease => Some(Arc::clone(&client) as Arc<dyn TokenStore>),
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
            client,
            shared,
            is_offline: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
            killed: Notify::new(),
        }
    }
}
