//! Tests of the cache, with a test clock and a scripted source.

#[cfg(not(shuttle))]
mod keyed;
#[cfg(shuttle)]
mod model;
#[cfg(not(shuttle))]
mod random;
#[cfg(not(shuttle))]
mod slot;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{Context, FetchParams, Fetched, Mode, Outcome, Slot, Source, Spawn};
use crate::deadline::Progress;
use crate::error::{Details, Error, ErrorKind, Result};
use crate::stats::Counters;
use crate::sys::clock::{Clock, Now, TestClock};

pub(super) const LIFE: Duration = Duration::from_secs(3_600);

/// Runs fetches as tasks of Tokio, or of the model checker.
struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<()> {
        #[cfg(not(shuttle))]
        drop(tokio::spawn(task));
        #[cfg(shuttle)]
        drop(shuttle::future::spawn(task));
        Ok(())
    }
}

pub(super) fn context(clock: &TestClock) -> Context {
    Context {
        clock: Clock::Test(clock.clone()),
        spawn: Arc::new(Tasks),
        stats: Arc::new(Counters::default()),
    }
}

/// Result of a scripted fetch.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Give(Duration),
    /// A value of another process, with a lifetime of one hour, of this age.
    Adopt {
        value: u32,
        age: Duration,
    },
    /// As `Adopt`, if that is enough for the caller; otherwise a new value.
    #[cfg_attr(not(shuttle), allow(dead_code))] // Only for the model.
    AdoptIfEnough {
        value: u32,
        age: Duration,
    },
    /// Postpones a refresh. Another fetch gives a value.
    Postpone(Duration),
    PostponeAny(Duration),
    Fail(Error),
    FailUpstream(Error),
    Panic,
    /// The fetch never ends.
    Hang,
}

/// Source with scripted results. After the last one, it returns values with a
/// lifetime of one hour. Each value is the number of its fetch.
#[derive(Clone)]
pub(super) struct Script(Arc<Inner>);

/// Values of the parameters that the last fetch was told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Params {
    pub(super) held: Option<u32>,
    pub(super) refused: Option<u32>,
    pub(super) min_remaining: Option<Duration>,
}

struct Inner {
    clock: TestClock,
    acts: Mutex<VecDeque<Act>>,
    fetches: AtomicU32,
    probes: AtomicU32,
    running: AtomicU32,
    /// Failures in a row that the last fetch was told.
    failures: AtomicU32,
    params: Mutex<Params>,
    /// A permit per fetch that may end.
    gate: Semaphore,
    changed: std::sync::atomic::AtomicBool,
    can_change: bool,
    reserve: f64,
    given: Mutex<Vec<(u32, Now, Duration)>>,
}

impl Script {
    pub(super) fn new(clock: &TestClock) -> Self {
        Self::with(clock, false, 0.0)
    }

    pub(super) fn with(clock: &TestClock, can_change: bool, reserve: f64) -> Self {
        Self(Arc::new(Inner {
            clock: clock.clone(),
            acts: Mutex::default(),
            fetches: AtomicU32::new(0),
            probes: AtomicU32::new(0),
            running: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            params: Mutex::default(),
            gate: Semaphore::new(1_000_000),
            changed: std::sync::atomic::AtomicBool::new(false),
            can_change,
            reserve,
            given: Mutex::default(),
        }))
    }

    pub(super) fn then(&self, act: Act) -> &Self {
        self.0.acts.lock().unwrap().push_back(act);
        self
    }

    /// Makes fetches wait for a permit from now on.
    pub(super) fn hold(&self) {
        self.0.gate.forget_permits(usize::MAX);
    }

    /// Lets one waiting fetch complete.
    pub(super) fn release(&self) {
        self.0.gate.add_permits(1);
    }

    pub(super) fn change_credentials(&self) {
        self.0.changed.store(true, Ordering::SeqCst);
    }

    /// Whether a value may be served, computed independently of the cache.
    pub(super) fn is_alive(&self, value: u32) -> bool {
        let now = Clock::Test(self.0.clock.clone()).now();
        let given = self.0.given.lock().unwrap();
        let (_, requested_at, life) = *given.iter().find(|(number, ..)| *number == value).unwrap();
        let life = life.as_nanos() as i128;
        let by_mono = i128::from(now.mono) - i128::from(requested_at.mono) < life;
        let by_wall = i128::from(now.wall) - i128::from(requested_at.wall) < life;
        by_mono && by_wall
    }

    /// Number of fetches that made a request.
    pub(super) fn fetches(&self) -> u32 {
        self.0.fetches.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(super) fn assert_fetches(&self, expected: u32) {
        let fetches = self.fetches();
        assert_eq!(fetches, expected, "the value was fetched {fetches} times");
    }

    /// Number of fetches that started with a check for changed credentials.
    pub(super) fn probes(&self) -> u32 {
        self.0.probes.load(Ordering::SeqCst)
    }

    /// Failures in a row that the last fetch was told.
    pub(super) fn failures(&self) -> u32 {
        self.0.failures.load(Ordering::SeqCst)
    }

    /// Parameters that the last fetch was told.
    pub(super) fn params(&self) -> Params {
        *self.0.params.lock().unwrap()
    }
}

impl Source<u32> for Script {
    fn fetch(&self, params: FetchParams<u32>) -> BoxFuture<'static, Outcome<u32>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            inner.failures.store(params.failures, Ordering::SeqCst);
            *inner.params.lock().unwrap() = Params {
                held: params.held.as_ref().map(|entry| entry.value),
                refused: params.refused.as_ref().map(|entry| entry.value),
                min_remaining: params.min_remaining,
            };
            if params.mode == Mode::IfChanged {
                inner.probes.fetch_add(1, Ordering::SeqCst);
                if !inner.changed.swap(false, Ordering::SeqCst) {
                    return Outcome::Unchanged;
                }
            }
            let requested_at = Clock::Test(inner.clock.clone()).now();
            let number = inner.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            assert_eq!(
                inner.running.fetch_add(1, Ordering::SeqCst),
                0,
                "two fetches at once"
            );
            let running = Running(&inner.running);
            inner.gate.acquire().await.unwrap().forget();
            #[cfg(shuttle)]
            shuttle::future::yield_now().await;
            let act = inner
                .acts
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or(Act::Give(LIFE));
            let act = match act {
                Act::Postpone(wait) if params.held.is_some() => Act::PostponeAny(wait),
                Act::Postpone(_) => Act::Give(LIFE),
                Act::AdoptIfEnough { value, age } => match params.min_remaining {
                    Some(wanted) if wanted > LIFE - age => Act::Give(LIFE),
                    _ => Act::Adopt { value, age },
                },
                act => act,
            };
            let (value, requested_at, lifetime) = match &act {
                Act::Give(lifetime) => (number, requested_at, *lifetime),
                Act::Adopt { value, age } => (*value, requested_at.before(*age), LIFE),
                _ => (number, requested_at, Duration::ZERO),
            };
            inner
                .given
                .lock()
                .unwrap()
                .push((value, requested_at, lifetime));
            drop(running);
            match act {
                Act::Give(_) | Act::Adopt { .. } => Outcome::Fetched(Fetched {
                    value,
                    requested_at,
                    lifetime,
                    reserve: inner.reserve,
                }),
                Act::AdoptIfEnough { .. } | Act::Postpone(_) => unreachable!("see above"),
                Act::PostponeAny(wait) => Outcome::Postponed(wait),
                Act::Fail(error) => Outcome::Failed(error),
                Act::FailUpstream(error) => Outcome::FailedUpstream(error),
                Act::Panic => panic!("scripted panic"),
                Act::Hang => std::future::pending().await,
            }
        })
    }

    fn can_change(&self) -> bool {
        self.0.can_change
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(30)
    }
}

struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn transient() -> Error {
    Error::new(ErrorKind::Transport, "unreachable", "")
}

pub(super) fn limited(retry_after: Duration) -> Error {
    let details = Details {
        retry_after: Some(retry_after),
        ..Details::default()
    };
    Error::with_details(ErrorKind::RateLimited, "too many", "", details)
}

pub(super) fn permanent() -> Error {
    let details = Details {
        oauth_error: Some("invalid_client".to_owned()),
        ..Details::default()
    };
    Error::with_details(ErrorKind::OAuth, "refused", "", details)
}

/// Runs all tasks until none can make progress.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Checks whose fetch the value is from: the first fetch returns 1, the next one 2.
#[track_caller]
pub(super) fn assert_served<E: std::fmt::Debug>(result: std::result::Result<u32, E>, fetch: u32) {
    let value = result.expect("the call failed");
    assert_eq!(value, fetch, "the value of fetch {value} was served");
}

/// Slot with a clock and a scripted source.
pub(super) struct Bench {
    pub(super) clock: TestClock,
    pub(super) cx: Context,
    pub(super) slot: Arc<Slot<u32>>,
    pub(super) script: Script,
}

impl Bench {
    pub(super) fn new() -> Self {
        let clock = TestClock::new();
        Self::with(Script::new(&clock), clock)
    }

    pub(super) fn with(script: Script, clock: TestClock) -> Self {
        Self {
            cx: context(&clock),
            slot: Arc::new(Slot::new()),
            script,
            clock,
        }
    }

    /// Gets the value as a client does: a hit, or a wait.
    pub(super) async fn get(&self) -> Result<u32> {
        if let Some(value) = self.hit() {
            return Ok(value);
        }
        self.get_with(None).await
    }

    pub(super) async fn get_with(&self, min_remaining: Option<Duration>) -> Result<u32> {
        let progress = Progress::default();
        self.slot
            .get(&self.cx, &self.script, min_remaining, &progress)
            .await
            .map(|entry| entry.value)
    }

    pub(super) fn hit(&self) -> Option<u32> {
        self.hit_with(None)
    }

    pub(super) fn hit_with(&self, min_remaining: Option<Duration>) -> Option<u32> {
        self.slot
            .hit(&self.cx, min_remaining, || self.script.clone())
            .map(|borrowed| *borrowed.value())
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Gets another value than this one, which a server refused.
    pub(super) async fn renew(&self, value: u32) -> Result<Option<u32>> {
        let progress = Progress::default();
        self.slot
            .renew(&self.cx, &self.script, &progress, |current| {
                *current == value
            })
            .await
            .map(|entry| entry.map(|entry| entry.value))
    }

    pub(super) fn invalidate(&self, value: u32) -> bool {
        self.slot.invalidate(&self.cx, |current| *current == value)
    }
}
