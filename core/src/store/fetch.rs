//! A slot's fetch through the shared cache: looks into the store, and sends the request
//! only if no other process has a token or is getting one. Knows no HTTP.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;

use super::failure::{self, Rest};
use super::policy::{self, Answer, Held, Needs, Situation, Step};
use super::seal::{Note, OpenEntry, Rejected, SealKeys};
use super::{Found, LookUp, Mark, Owner, Published, StoreError, StoreErrorKind, TokenStore};
use crate::cache::{Entry, Failed, FetchParams, Fetched, Outcome, REFUSED_AGE, oldest, quiet_time};
use crate::deadline::Progress;
use crate::error::Result;
use crate::secret::Secret;
use crate::stats::{Counters, Event};
use crate::sys::clock::{Clock, Now};
use crate::sys::events::debug;
use crate::sys::jitter::random;

/// What a call waits for, in its error.
const OTHER_PROCESS: &str = "another process that gets the token for the shared cache";

/// Shared cache of one client.
pub(crate) struct SharedCache {
    store: Arc<dyn TokenStore>,
    clock: Clock,
    stats: Arc<Counters>,
    attempt_timeout: Duration,
    timeout: Duration,
    /// When a rejected entry was last logged, by the monotonic clock.
    logged_rejection: AtomicU64,
    logged_skew: AtomicBool,
    /// When a fetch with a refused token last began, by the monotonic clock.
    last_refusal: AtomicU64,
    /// When a request for an access token, and one for a business token, last had no answer,
    /// by the monotonic clock.
    unanswered: (AtomicU64, AtomicU64),
}

/// A token that can be stored.
pub(crate) trait SharedToken: Clone {
    /// The token itself.
    fn secret_text(&self) -> &str;
}

/// One fetch: what it looks for, and how a token is made of what it finds. It has one
/// owner and one deadline for all of its attempts.
pub(crate) struct SharedFetch<'a, V> {
    cache: &'a SharedCache,
    keys: Arc<SealKeys>,
    kind: Kind,
    wanted: Wanted<V>,
    deadline: Instant,
    progress: Progress,
    make: Box<Make<'a, V>>,
    /// Whether a refused token is replaced although it is young.
    replaces_young: bool,
    owner: Owner,
}

/// Makes a token of its text, of the time at which it was requested, and of its lifetime.
type Make<'a, V> = dyn Fn(&Secret, Now, Duration) -> Result<V> + Send + Sync + 'a;

/// What the fetch is for.
pub(crate) struct Wanted<V> {
    held: Option<Arc<Entry<V>>>,
    refused: Option<Arc<Entry<V>>>,
    min_remaining: Option<Duration>,
}

impl<V> Wanted<V> {
    pub(crate) fn new(params: &FetchParams<V>) -> Self {
        Self {
            held: params.held.clone(),
            refused: params.refused.clone(),
            min_remaining: params.min_remaining,
        }
    }
}

/// Kind of the token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Share of the lifetime that must be left for callers.
    pub(crate) reserve: f64,
    /// Whether it is the token of all calls: other processes are told of permanent
    /// failures, and a refused one may be replaced at any age, once in ten seconds.
    pub(crate) is_access: bool,
    /// For logs.
    pub(crate) name: &'static str,
}

/// State of one attempt.
struct Walk {
    /// Mark of the entry that is passed over.
    seen: Vec<u8>,
    passed: u32,
    patience: Duration,
    own_time: Duration,
    /// Start, or when another process last told that it is alive.
    sign_of_life: Instant,
    /// Failure note of the last look; `None` before the first one.
    last_note: Option<Option<Vec<u8>>>,
    /// Whether a request of another process failed since the start.
    has_news: bool,
    has_waited: bool,
}

impl Walk {
    /// Whether a look showed another failure note than the one before, which is kept.
    fn replace_note(&mut self, note: Option<&[u8]>) -> bool {
        let note = note.map(<[u8]>::to_vec);
        let before = self.last_note.replace(note);
        before.is_some_and(|before| Some(before) != self.last_note)
    }
}

/// What a look found, opened.
struct Opened {
    answer: Answer,
    candidate: Option<Candidate>,
    note: Option<Note>,
}

/// An entry of the store that opened.
struct Candidate {
    entry: OpenEntry,
    age: Duration,
    requested_at: Now,
}

impl SharedCache {
    pub(crate) fn new(
        store: Arc<dyn TokenStore>,
        clock: Clock,
        stats: Arc<Counters>,
        attempt_timeout: Duration,
        timeout: Duration,
    ) -> Self {
        Self {
            store,
            clock,
            stats,
            attempt_timeout,
            timeout,
            logged_rejection: AtomicU64::new(0),
            logged_skew: AtomicBool::new(false),
            last_refusal: AtomicU64::new(0),
            unanswered: Default::default(),
        }
    }

    /// Whether the store answered last.
    pub(crate) fn is_up(&self) -> bool {
        self.store.is_up()
    }

    fn rejected(&self, why: Rejected) {
        /// At most one warning a minute.
        const INTERVAL: u64 = 60_000_000_000;
        self.stats.count(Event::SharedRejected);
        let now = self.clock.now().mono;
        let before = self.logged_rejection.load(Ordering::Relaxed);
        let is_due = before == 0 || now.saturating_sub(before) >= INTERVAL;
        let claim = |from| {
            self.logged_rejection
                .compare_exchange(from, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if is_due && claim(before).is_ok() {
            let reason = match why {
                Rejected::Foreign => "it has another format",
                Rejected::Damaged => "it was altered, or sealed with another key",
            };
            tracing::warn!(
                target: "layerfi_auth",
                reason,
                "an entry of the shared cache was not accepted"
            );
        }
    }

    /// Whether no fetch with a refused token has begun within the age up to which a
    /// refused token is kept. Such a fetch may replace a younger one: after a revocation,
    /// calls must not fail until the token is old enough.
    fn claim_refusal(&self) -> bool {
        let now = self.clock.now().mono;
        let before = self.last_refusal.load(Ordering::Relaxed);
        let age = Duration::from_nanos(now.saturating_sub(before));
        let is_due = before == 0 || age > REFUSED_AGE;
        is_due
            && self
                .last_refusal
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn unanswered(&self, kind: Kind) -> &AtomicU64 {
        match kind.is_access {
            true => &self.unanswered.0,
            false => &self.unanswered.1,
        }
    }

    /// Whether a request of this process had no answer lately.
    pub(super) fn is_unanswered(&self, kind: Kind) -> bool {
        let at = self.unanswered(kind).load(Ordering::Relaxed);
        let age = self.clock.now().mono.saturating_sub(at);
        at != 0 && Duration::from_nanos(age) < policy::UNANSWERED_AGE
    }

    fn failed(&self, error: &StoreError) {
        // While the store counts as down, it is not asked.
        if error.kind != StoreErrorKind::Down {
            self.stats.count(Event::SharedFault);
        }
    }

    /// Warns once if this machine's clock and that of the store differ.
    fn compare_clocks(&self, look: &LookUp, sent: Now) {
        let difference = Duration::from_millis(look.now.abs_diff(millis(sent)));
        if difference > policy::SKEW_WARNING && !self.logged_skew.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "layerfi_auth",
                seconds = difference.as_secs(),
                "the clock of this machine and that of the shared cache differ; correct them, or \
                 tokens are fetched more often than needed"
            );
        }
    }
}

impl<'a, V: SharedToken> SharedFetch<'a, V> {
    /// `None` if the system has no random numbers.
    pub(crate) fn new(
        cache: &'a SharedCache,
        keys: Arc<SealKeys>,
        kind: Kind,
        wanted: Wanted<V>,
        deadline: Instant,
        progress: &Progress,
        make: impl Fn(&Secret, Now, Duration) -> Result<V> + Send + Sync + 'a,
    ) -> Option<Self> {
        let mut owner = [0; 16];
        SystemRandom::new().fill(&mut owner).ok()?;
        let replaces_young = wanted.refused.is_some() && kind.is_access && cache.claim_refusal();
        Some(Self {
            replaces_young,
            cache,
            keys,
            kind,
            wanted,
            deadline,
            progress: progress.clone(),
            make: Box::new(make),
            owner: Owner(owner),
        })
    }

    /// One attempt: looks until there is a token, or sends the request. The outcome
    /// `Failed` is the failure of another process, after which a retry would only ask the
    /// store again.
    ///
    /// # Errors
    /// The error of the own request.
    pub(crate) async fn attempt<F>(&self, request: impl FnOnce() -> F) -> Result<Outcome<V>, Failed>
    where
        F: Future<Output = Result<Fetched<V>, Failed>>,
    {
        // Boxed, so that its future is in this one's memory only while it runs.
        let request = || Box::pin(request());
        let mut walk = self.start();
        loop {
            let sent = self.cache.clock.now();
            let look = self.look_up(&walk.seen, policy::LEASE).await;
            let found = self.read(&mut walk, &look, sent);
            let situation = self.situation(&walk, sent);
            match (policy::decide(&found.answer, &situation, random()), look) {
                (Step::Adopt, _) => {
                    if let Some(fetched) = found.candidate.and_then(|found| self.adopt(found)) {
                        return Ok(Outcome::Fetched(fetched));
                    }
                    // A token that no header can contain.
                    walk.passed += 1;
                }
                (Step::LookPast, _) => walk.passed += 1,
                (Step::Fetch, Ok(look)) => {
                    let lease = Lease {
                        look: &look,
                        sent,
                        seen: &walk.seen,
                    };
                    return self.fetch(&lease, found.note, request()).await;
                }
                (Step::Fetch | Step::Alone, look) => {
                    let fetched = self.fetch_alone(look.ok(), sent, request()).await?;
                    return Ok(Outcome::Fetched(fetched));
                }
                (Step::Wait(time), _) => {
                    if !std::mem::replace(&mut walk.has_waited, true) {
                        self.waits();
                    }
                    sleep(time).await;
                }
                (Step::Postpone(time), _) => return Ok(Outcome::Postponed(time)),
                (Step::Fail(rest), _) => {
                    return Ok(Outcome::Failed(failure::error_of(&rest.note, rest.left)));
                }
            }
        }
    }

    fn start(&self) -> Walk {
        let SharedCache {
            attempt_timeout,
            timeout,
            ..
        } = *self.cache;
        Walk {
            seen: self.first_seen(),
            passed: 0,
            patience: policy::patience(attempt_timeout, timeout, random()),
            own_time: policy::own_time(timeout, random()),
            sign_of_life: Instant::now(),
            last_note: None,
            has_news: false,
            has_waited: false,
        }
    }

    /// Opens what a look found, and what it says about the other processes.
    fn read(&self, walk: &mut Walk, look: &Result<LookUp, StoreError>, sent: Now) -> Opened {
        let Ok(look) = look else {
            return Opened {
                answer: Answer::Fault,
                candidate: None,
                note: None,
            };
        };
        self.cache.compare_clocks(look, sent);
        let note = self.note(look);
        let is_first = walk.last_note.is_none();
        let is_other = walk.replace_note(look.note.as_deref());
        if let Some((_, note)) = &note
            && (is_first || is_other)
        {
            walk.sign_of_life = Instant::now();
            walk.has_news = is_other;
            self.tell(note);
        }
        let mut candidate = None;
        let answer = match &look.found {
            Found::Entry(entry) => {
                walk.seen = mark_of(entry).to_vec();
                candidate = self.open(entry, look.now, sent);
                let fits = candidate.as_ref().is_some_and(|found| self.fits(found));
                Answer::Entry { fits }
            }
            Found::Note => {
                let rest = note.clone();
                let rest =
                    rest.and_then(|(until, note)| Rest::new(until, note, look.now, millis(sent)));
                rest.map_or(Answer::UnknownNote, Answer::Note)
            }
            Found::Lease => Answer::Lease,
            Found::Held(left) => Answer::Held(*left),
            Found::Refused => Answer::Refused,
        };
        Opened {
            answer,
            candidate,
            note: note.map(|(_, note)| note),
        }
    }

    fn situation(&self, walk: &Walk, now: Now) -> Situation {
        Situation {
            refresh: self.held(now),
            silence: walk.sign_of_life.elapsed(),
            patience: walk.patience,
            left: self.left(),
            reserve: walk.own_time,
            has_news: walk.has_news,
            is_unanswered: self.cache.is_unanswered(self.kind),
            passed: walk.passed,
        }
    }

    /// Records that the fetch waits for another process.
    fn waits(&self) {
        self.cache.stats.count(Event::SharedWait);
        debug!(
            [token = self.kind.name],
            "another process gets the token; waiting for it"
        );
        self.progress.waits_for(&OTHER_PROCESS.into());
    }

    /// Records a failure of another process, for a call that waits until its deadline.
    fn tell(&self, note: &Note) {
        let failure = failure::error_of(note, Duration::ZERO);
        let waits_for = format!("{OTHER_PROCESS}; {}", failure.message());
        self.progress.waits_for(&waits_for.into());
    }

    /// Sends the request without a lease.
    async fn fetch_alone(
        &self,
        look: Option<LookUp>,
        sent: Now,
        request: impl Future<Output = Result<Fetched<V>, Failed>>,
    ) -> Result<Fetched<V>, Failed> {
        self.cache.stats.count(Event::SharedAlone);
        let unanswered = Unanswered::new(self.cache, self.kind);
        let fetched = unanswered.end(request.await)?;
        // Where the store has not failed, other processes may use it.
        Ok(match look {
            Some(look) if look.found != Found::Refused => {
                self.publish(fetched, look.now, sent).await
            }
            _ => fetched,
        })
    }

    /// Mark of the entry that the first look passes over. A refused token is not passed
    /// over at first, to see how old it is.
    fn first_seen(&self) -> Vec<u8> {
        match (&self.wanted.refused, &self.wanted.held) {
            (None, Some(held)) => self.keys.mark(held.value.secret_text()).to_vec(),
            _ => Vec::new(),
        }
    }

    fn held(&self, now: Now) -> Option<Held> {
        let held = self.wanted.held.as_ref()?;
        Some(Held {
            age: held.age(now),
            lifetime: held.oldest(self.wanted.min_remaining),
        })
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs an operation of the store, which leaves time for the request.
    async fn bounded<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let ends = Instant::now() + policy::store_time(self.left());
        let result = timeout_at(ends, operation).await.unwrap_or_else(|_| {
            let what = "no answer in time";
            Err(StoreError::new(StoreErrorKind::Timeout, what))
        });
        result.inspect_err(|error| self.cache.failed(error))
    }

    async fn look_up(&self, seen: &[u8], lease: Duration) -> Result<LookUp, StoreError> {
        let names = self.keys.names();
        let look = self.cache.store.look_up(names, seen, &self.owner, lease);
        let span = tracing::debug_span!(target: "layerfi_auth", "shared_look");
        self.bounded(look).instrument(span).await
    }

    /// The failure note of a look, if it opens, and until when it forbids requests.
    fn note(&self, look: &LookUp) -> Option<(u64, Note)> {
        let sealed = look.note.as_deref()?;
        match self.keys.open_note(sealed) {
            Ok(note) => Some(note),
            Err(why) => {
                self.cache.rejected(why);
                None
            }
        }
    }

    fn open(&self, entry: &[u8], store_now: u64, sent: Now) -> Option<Candidate> {
        let entry = match self.keys.open_entry(entry) {
            Ok(entry) => entry,
            Err(why) => {
                self.cache.rejected(why);
                return None;
            }
        };
        let age = policy::age(entry.born, entry.wall, store_now, millis(sent))?;
        Some(Candidate {
            age,
            // By both clocks, from before the look was sent.
            requested_at: sent.before(age),
            entry,
        })
    }

    fn fits(&self, found: &Candidate) -> bool {
        let lifetime = found.entry.lifetime;
        let refused = self.wanted.refused.as_ref();
        let is_refused = refused.is_some_and(|refused| self.mark_is(found.entry.mark, refused))
            && (self.replaces_young || found.age > REFUSED_AGE);
        let now = self.cache.clock.now();
        let needs = Needs {
            younger_than: self.wanted.held.as_ref().map(|held| held.age(now)),
            oldest: oldest(lifetime, self.kind.reserve, self.wanted.min_remaining),
        };
        policy::fits(found.age, lifetime, is_refused, &needs)
    }

    fn mark_is(&self, mark: Mark, entry: &Entry<V>) -> bool {
        self.keys.mark(entry.value.secret_text()) == mark
    }

    fn adopt(&self, found: Candidate) -> Option<Fetched<V>> {
        let Candidate {
            entry,
            age,
            requested_at,
        } = found;
        let value = (self.make)(&entry.token, requested_at, entry.lifetime).ok()?;
        self.cache.stats.count(Event::SharedAdopted);
        debug!(
            [
                token = self.kind.name,
                age = age.as_secs(),
                expires_in = entry.lifetime.saturating_sub(age).as_secs()
            ],
            "got a token from the shared cache"
        );
        Some(Fetched {
            value,
            requested_at,
            lifetime: entry.lifetime,
            reserve: self.kind.reserve,
        })
    }

    /// Sends the request as the holder of the lease, and tells the others its result.
    async fn fetch(
        &self,
        lease: &Lease<'_>,
        before: Option<Note>,
        request: impl Future<Output = Result<Fetched<V>, Failed>>,
    ) -> Result<Outcome<V>, Failed> {
        let overdue = pin!(self.watch(lease));
        let request = pin!(request);
        let unanswered = Unanswered::new(self.cache, self.kind);
        let result = match select(request, overdue).await {
            Either::Left((result, _)) => unanswered.end(result),
            Either::Right((other, _)) => return unanswered.end(Ok(Outcome::Fetched(other))),
        };
        match result {
            Ok(fetched) => {
                let fetched = self.publish(fetched, lease.look.now, lease.sent).await;
                Ok(Outcome::Fetched(fetched))
            }
            Err(failed) => {
                self.release(&failed, before.as_ref(), lease).await;
                Err(failed)
            }
        }
    }

    /// After the end of the lease: looks whether another process was quicker.
    async fn watch(&self, lease: &Lease<'_>) -> Fetched<V> {
        sleep(policy::LEASE).await;
        loop {
            let sent = self.cache.clock.now();
            let look = self.look_up(lease.seen, Duration::ZERO).await;
            if let Ok(look) = look
                && let Found::Entry(entry) = &look.found
                && let Some(found) = self.open(entry, look.now, sent)
                && self.fits(&found)
                && let Some(fetched) = self.adopt(found)
            {
                return fetched;
            }
            sleep(policy::OVERDUE_INTERVAL).await;
        }
    }

    /// Stores a new token. Returns it, or a younger one that another process has stored.
    async fn publish(&self, fetched: Fetched<V>, born: u64, sent: Now) -> Fetched<V> {
        let text = fetched.value.secret_text();
        let sealed = self
            .keys
            .seal_entry(born, millis(sent), fetched.lifetime, text);
        let Some(sealed) = sealed else {
            return fetched;
        };
        let keep = policy::keep(fetched.lifetime, self.kind.reserve);
        let names = self.keys.names();
        let publish = self.cache.store.publish(names, &self.owner, &sealed, keep);
        let span = tracing::debug_span!(target: "layerfi_auth", "shared_publish");
        let look_sent = self.cache.clock.now();
        match self.bounded(publish).instrument(span).await {
            Ok(Published::Stored) => {
                self.cache.stats.count(Event::SharedPublished);
                debug!(
                    [
                        token = self.kind.name,
                        expires_in = fetched.lifetime.as_secs()
                    ],
                    "stored a token in the shared cache"
                );
            }
            Ok(Published::Younger { now, entry }) => {
                let other = self
                    .open(&entry, now, look_sent)
                    .filter(|found| self.fits(found))
                    .and_then(|found| self.adopt(found));
                if let Some(other) = other {
                    return other;
                }
            }
            Err(_) => {}
        }
        fetched
    }

    /// Gives the lease back after a failure, with a note for the other processes.
    async fn release(&self, failed: &Failed, before: Option<&Note>, lease: &Lease<'_>) {
        let noted = match failed {
            Failed::Upstream(_) => None,
            Failed::Own(error) => {
                let failures = before.map_or(1, |note| u32::from(note.failures) + 1);
                let permanent = self
                    .kind
                    .is_access
                    .then(|| Duration::from_nanos(quiet_time(failures, error, random())));
                failure::note(error, before, permanent, random())
            }
        };
        let (sealed, keep) = match noted {
            None => (None, Duration::ZERO),
            Some((note, rest)) => {
                let since = Duration::from_nanos(self.cache.clock.now().age(lease.sent));
                let until = u64::try_from((since + rest).as_millis()).unwrap_or(u64::MAX);
                let until = lease.look.now.saturating_add(until);
                let sealed = self.keys.seal_note(until, &note);
                (sealed, rest + failure::NOTE_KEEP)
            }
        };
        let note = sealed.unwrap_or_default();
        let names = self.keys.names();
        let release = self.cache.store.release(names, &self.owner, &note, keep);
        // A store that fails here only keeps the lease until its end.
        let _ = self.bounded(release).await;
    }
}

/// A request that has no answer yet. If it ends without one, by the deadline of the call
/// too, that is remembered.
struct Unanswered<'a> {
    cache: &'a SharedCache,
    kind: Kind,
    is_answered: bool,
}

impl<'a> Unanswered<'a> {
    fn new(cache: &'a SharedCache, kind: Kind) -> Self {
        Self {
            cache,
            kind,
            is_answered: false,
        }
    }

    fn end<T>(mut self, result: Result<T, Failed>) -> Result<T, Failed> {
        self.is_answered = match &result {
            Ok(_) | Err(Failed::Upstream(_)) => true,
            Err(Failed::Own(error)) => error.http_status().is_some() || !error.is_retryable(),
        };
        result
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let now = match self.is_answered {
            true => 0,
            false => self.cache.clock.now().mono,
        };
        self.cache
            .unanswered(self.kind)
            .store(now, Ordering::Relaxed);
    }
}

/// A lease, and the look that got it.
struct Lease<'a> {
    look: &'a LookUp,
    sent: Now,
    seen: &'a [u8],
}

/// Mark of a sealed entry, which is not checked.
fn mark_of(entry: &[u8]) -> &[u8] {
    let end = entry.len().min(18);
    entry.get(2..end).unwrap_or_default()
}

/// Wall clock, in milliseconds since 1970.
fn millis(now: Now) -> u64 {
    now.wall / 1_000_000
}
