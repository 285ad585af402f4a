//! The cache on a test clock and a scripted source.

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

use super::{Context, Fetched, Mode, Outcome, Slot, Source, Spawn};
use crate::clock::{Clock, Now, TestClock};
use crate::error::{Details, Error, ErrorKind, Result};
use crate::stats::Counters;

pub(super) const LIFE: Duration = Duration::from_secs(3_600);

/// Runs flights as tasks of Tokio, or of the model checker.
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

/// What a fetch is to come to.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Give(Duration),
    Fail(Error),
    FailEarlier(Error),
    /// Only when it is told to come home.
    FailLate(Error),
    Panic,
    /// The task is never finished.
    Hang,
}

/// A source that does as it is told; when it is told nothing more, it gives
/// values that live an hour. Its values are the numbers of their fetches.
#[derive(Clone)]
pub(super) struct Script(Arc<Inner>);

struct Inner {
    clock: TestClock,
    acts: Mutex<VecDeque<Act>>,
    fetches: AtomicU32,
    probes: AtomicU32,
    in_the_air: AtomicU32,
    homecoming: tokio::sync::Notify,
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
            in_the_air: AtomicU32::new(0),
            homecoming: tokio::sync::Notify::new(),
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

    /// From now on fetches wait until they are let go.
    pub(super) fn hold(&self) {
        self.0.gate.forget_permits(usize::MAX);
    }

    pub(super) fn let_go(&self) {
        self.0.gate.add_permits(1);
    }

    /// The fetches that are late end now.
    pub(super) fn come_home(&self) {
        self.0.homecoming.notify_waiters();
    }

    pub(super) fn change_credentials(&self) {
        self.0.changed.store(true, Ordering::SeqCst);
    }

    /// Whether a value may be served, by arithmetic of this test's own.
    pub(super) fn is_alive(&self, value: u32) -> bool {
        let now = Clock::Test(self.0.clock.clone()).now();
        let given = self.0.given.lock().unwrap();
        let (_, born, life) = *given.iter().find(|(number, ..)| *number == value).unwrap();
        let life = life.as_nanos() as i128;
        let by_mono = i128::from(now.mono) - i128::from(born.mono) < life;
        let by_wall = i128::from(now.wall) - i128::from(born.wall) < life;
        by_mono && by_wall
    }

    /// Fetches that made a request.
    pub(super) fn fetches(&self) -> u32 {
        self.0.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn probes(&self) -> u32 {
        self.0.probes.load(Ordering::SeqCst)
    }
}

impl Source<u32> for Script {
    fn fetch(&self, mode: Mode) -> BoxFuture<'static, Outcome<u32>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            if mode == Mode::IfChanged {
                inner.probes.fetch_add(1, Ordering::SeqCst);
                if !inner.changed.swap(false, Ordering::SeqCst) {
                    return Outcome::Unchanged;
                }
            }
            let requested_at = Clock::Test(inner.clock.clone()).now();
            let number = inner.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            assert_eq!(
                inner.in_the_air.fetch_add(1, Ordering::SeqCst),
                0,
                "two flights at once"
            );
            let down = Down(&inner.in_the_air);
            inner.gate.acquire().await.unwrap().forget();
            #[cfg(shuttle)]
            shuttle::future::yield_now().await;
            let act = inner
                .acts
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or(Act::Give(LIFE));
            let life = if let Act::Give(life) = &act {
                *life
            } else {
                Duration::ZERO
            };
            inner
                .given
                .lock()
                .unwrap()
                .push((number, requested_at, life));
            drop(down);
            match act {
                Act::Give(lifetime) => Outcome::Fetched(Fetched {
                    value: number,
                    requested_at,
                    lifetime,
                    reserve: inner.reserve,
                }),
                Act::Fail(error) => Outcome::Failed(error),
                Act::FailEarlier(error) => Outcome::FailedEarlier(error),
                Act::FailLate(error) => {
                    inner.homecoming.notified().await;
                    Outcome::Failed(error)
                }
                Act::Panic => panic!("as told"),
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

struct Down<'a>(&'a AtomicU32);

impl Drop for Down<'_> {
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

/// Lets every task run until nothing moves.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A slot with all that goes with it.
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

    /// As a client does it: a look, then the wait.
    pub(super) async fn get(&self) -> Result<u32> {
        if let Some(value) = self.hit() {
            return Ok(value);
        }
        self.slot
            .get(&self.cx, &self.script, None)
            .await
            .map(|entry| entry.value)
    }

    pub(super) fn hit(&self) -> Option<u32> {
        self.slot
            .hit(&self.cx, || self.script.clone())
            .map(|borrowed| *borrowed.value())
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(super) fn invalidate(&self, value: u32) -> bool {
        self.slot.invalidate(&self.cx, |current| *current == value)
    }
}
