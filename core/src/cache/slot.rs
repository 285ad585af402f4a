//! One value: read without a lock, fetched by one flight for all callers,
//! refreshed behind their backs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt as _;

use super::control::{Control, GRACE, Landed, Landing, State};
use super::entry::Verdict;
use super::{Context, Entry, Mode, Outcome, Source, policy};
use crate::clock::{Clock, Now};
use crate::error::{Error, ErrorKind, Result};
use crate::stats::Event;
use crate::sync::{MutexGuard, random, step};

/// A place for one value.
///
/// Readers look at `current` and nothing else. Whoever finds nothing good
/// there goes through the control, whose lock is held for a few instructions
/// and never across a wait.
pub(crate) struct Slot<V> {
    pub(super) current: ArcSwapOption<Entry<V>>,
    control: ArcSwap<Control<V>>,
}

/// A flight that is lost this often is not started again for the same caller.
const MOST_LOST_FLIGHTS: u32 = 3;

/// What a caller without a value is to do.
enum Step<V> {
    Serve(Arc<Entry<V>>),
    Fail(Error),
    Wait(Landing<V>),
}

/// A value that is read where it lies, with no shared count touched. Holding
/// it keeps the value alive; it is meant to be short-lived.
pub(crate) struct Borrowed<V>(arc_swap::Guard<Option<Arc<Entry<V>>>>);

impl<V> Borrowed<V> {
    #[inline]
    pub(crate) fn entry(&self) -> &Entry<V> {
        match &*self.0 {
            Some(entry) => entry,
            // Made in `Slot::hit` alone, from a guard that was just seen to hold one.
            None => unreachable!("a hit without an entry"),
        }
    }

    #[inline]
    pub(crate) fn value(&self) -> &V {
        &self.entry().value
    }
}

/// Whether a value that was not good enough is better than this failure: it is
/// alive, a retry may help, and the caller made no wish that it falls short of.
fn is_fallback<V>(entry: &Entry<V>, error: &Error, remaining: Option<Duration>, now: Now) -> bool {
    error.is_retryable() && remaining.is_none() && entry.is_alive(now)
}

impl<V: Send + Sync + 'static> Slot<V> {
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            control: ArcSwap::from_pointee(Control::new()),
        }
    }

    /// The value, if there is one to be handed out; `None` is a miss. Starts
    /// the refresh that may be due.
    #[inline]
    pub(crate) fn hit<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: impl FnOnce() -> S,
    ) -> Option<Borrowed<V>>
    where
        S: Source<V>,
    {
        step();
        let current = self.current.load();
        let entry = current.as_ref()?;
        match entry.verdict(&cx.clock) {
            Verdict::Good => {}
            Verdict::Refresh => self.refresh(cx, &source(), entry),
            Verdict::Spent => return None,
        }
        cx.stats.count_hit(entry.is_stale());
        Some(Borrowed(current))
    }

    /// The value, from the cache or from a flight that is shared with
    /// everyone who waits now. Dropping the future ends the wait and not the
    /// flight.
    pub(crate) async fn get<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        remaining: Option<Duration>,
    ) -> Result<Arc<Entry<V>>>
    where
        S: Source<V>,
    {
        let mut lost = 0;
        loop {
            let mut landing = match self.join(cx, source, remaining) {
                Step::Serve(entry) => {
                    cx.stats.count_hit(entry.is_stale());
                    return Ok(entry);
                }
                Step::Fail(error) => return Err(error),
                Step::Wait(landing) => landing,
            };
            cx.stats.count(Event::Wait);
            // The value is copied out at once: the receiver's guard is a lock.
            let landed = match landing.wait_for(Option::is_some).await {
                Ok(landed) => landed.clone(),
                Err(_) => None,
            };
            match landed {
                // Unless it has died while nobody looked: a machine that was
                // suspended between the landing and this.
                Some(Ok(entry)) if entry.is_alive(cx.clock.now()) => return Ok(entry),
                Some(Err(error)) => return self.fall_back(cx, error, remaining),
                // The task was dropped together with the runtime it ran in;
                // whoever still waits does so in another one.
                _ if lost < MOST_LOST_FLIGHTS => lost += 1,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "the request's task was dropped before its end, several times over",
                        "the runtime is shutting down",
                    ));
                }
            }
        }
    }

    /// Sees to it that a value comes where none is at hand, and waits for
    /// nothing. The last failure, while it is too early to ask again.
    pub(crate) fn poll<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
    ) -> Result<Option<Arc<Entry<V>>>>
    where
        S: Source<V>,
    {
        match self.join(cx, source, None) {
            Step::Serve(entry) => {
                cx.stats.count_hit(entry.is_stale());
                Ok(Some(entry))
            }
            Step::Fail(error) => Err(error),
            // What is in the air may only look whether the credentials are
            // still those that were refused: so far, they are.
            Step::Wait(_) => match self.control().lock().quiet(cx.clock.now()) {
                Some(error) => Err(error.clone()),
                None => Ok(None),
            },
        }
    }

    /// After a failure: what is left of a value that is past handing out
    /// freely but still alive, if a retry of the fetch may help.
    fn fall_back(
        &self,
        cx: &Context,
        error: Error,
        remaining: Option<Duration>,
    ) -> Result<Arc<Entry<V>>> {
        step();
        match self.current.load_full() {
            Some(entry) if is_fallback(&entry, &error, remaining, cx.clock.now()) => {
                cx.stats.count_hit(entry.is_stale());
                Ok(entry)
            }
            _ => Err(error),
        }
    }

    /// Finds the flight to wait for, or starts it.
    fn join<S>(self: &Arc<Self>, cx: &Context, source: &S, remaining: Option<Duration>) -> Step<V>
    where
        S: Source<V>,
    {
        let control = self.control();
        let state = control.lock();
        let now = cx.clock.now();
        // Someone may have landed since the caller looked.
        step();
        let current = self.current.load_full();
        if let Some(entry) = &current {
            let suffices = match remaining {
                None => entry.is_good(now),
                Some(wanted) => entry.is_alive(now) && entry.has_remaining(now, wanted),
            };
            if suffices {
                return Step::Serve(Arc::clone(entry));
            }
        }
        if let Some(landing) = state.in_the_air(now) {
            return Step::Wait(landing.clone());
        }
        let mut mode = Mode::Always;
        if let Some(error) = state.quiet(now) {
            if !source.can_change() || !policy::may_be_mended_by_credentials(error) {
                return match current {
                    Some(entry) if is_fallback(&entry, error, remaining, now) => Step::Serve(entry),
                    _ => Step::Fail(error.clone()),
                };
            }
            mode = Mode::IfChanged;
        }
        cx.stats.count(Event::Miss);
        match self.launch(cx, source, mode, state, now) {
            Ok(landing) => Step::Wait(landing),
            Err(error) => Step::Fail(error),
        }
    }

    /// Starts the refresh that is due, unless someone else just did.
    #[cold]
    pub(super) fn refresh<S>(self: &Arc<Self>, cx: &Context, source: &S, entry: &Entry<V>)
    where
        S: Source<V>,
    {
        let now = cx.clock.now();
        if !entry.claim_refresh(now, source.budget() + GRACE) {
            return;
        }
        let control = self.control();
        let state = control.lock();
        step();
        // Between the look and the lock it may have died, been replaced, or
        // been thrown away: then its refresh is nobody's business any more.
        let current = self.current.load();
        if !current
            .as_deref()
            .is_some_and(|current| std::ptr::eq(current, entry))
        {
            return;
        }
        if state.in_the_air(now).is_some() {
            return;
        }
        cx.stats.count(Event::Refresh);
        if let Err(error) = self.launch(cx, source, Mode::Always, state, now) {
            tracing::warn!(target: "layerfi_auth", %error, "a refresh could not be started");
        }
    }

    /// Puts a flight into the air, as a task of its own.
    fn launch<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        mode: Mode,
        mut state: MutexGuard<'_, State<V>>,
        now: Now,
    ) -> Result<Landing<V>>
    where
        S: Source<V>,
    {
        let (number, sender, landing) = state.take_off(now, source.budget());
        // Unlocked first: the task may run, and land, before `spawn` returns.
        drop(state);
        let slot = Arc::clone(self);
        let fetch = source.fetch(mode);
        let flight_cx = cx.clone();
        let task = async move {
            let outcome = AssertUnwindSafe(fetch)
                .catch_unwind()
                .await
                .unwrap_or_else(|_| {
                    Outcome::Failed(Error::new(
                        ErrorKind::Internal,
                        "a background task panicked",
                        "report this, with the panic's text from standard error",
                    ))
                });
            let landed = slot.land(&flight_cx, number, outcome);
            sender.send_replace(Some(landed));
        };
        cx.spawn.spawn(Box::pin(task)).inspect_err(|_| {
            self.control().lock().touch_down(number);
        })?;
        Ok(landing)
    }

    /// Takes in what a flight brings. The value is in its place before the
    /// flight is over, so that no caller can find neither.
    fn land(&self, cx: &Context, number: u64, outcome: Outcome<V>) -> Landed<V> {
        let control = self.control();
        let mut state = control.lock();
        let now = cx.clock.now();
        let counts = state.touch_down(number);
        step();
        let current = self.current.load_full();
        let (error, is_own) = match outcome {
            Outcome::Fetched(fetched) => {
                let entry = Arc::new(Entry::new(fetched));
                if entry.is_alive(now) {
                    state.succeeded();
                    // A flight that was given up for lost may come home after its successor.
                    if current.is_none_or(|other| !other.is_younger_than(&entry)) {
                        step();
                        self.current.store(Some(Arc::clone(&entry)));
                    }
                    return Ok(entry);
                }
                (
                    Error::timeout("the token had expired by the time it arrived"),
                    true,
                )
            }
            Outcome::Failed(error) => (error, true),
            Outcome::FailedEarlier(error) => (error, false),
            Outcome::Unchanged => {
                return Err(state.last_error().cloned().unwrap_or_else(|| {
                    Error::new(
                        ErrorKind::Internal,
                        "nothing changed, and nothing failed",
                        "report this",
                    )
                }));
            }
        };
        // One that was given up for lost has no say in what came after it.
        if !counts {
            return Err(error);
        }
        let wait = if is_own {
            cx.stats.failed(error.kind());
            state.failed(&error, now)
        } else {
            policy::refresh_backoff(1, &error, random())
        };
        if let Some(entry) = current.filter(|entry| entry.is_alive(now)) {
            entry.postpone_refresh(now, wait);
            tracing::warn!(
                target: "layerfi_auth", %error,
                "a refresh failed; the current token is served until it expires"
            );
        }
        Err(error)
    }

    /// Throws the value away if `is_it` says that it is the one that a server
    /// refused. `false` where it is another one already, or where this was
    /// done too often of late.
    pub(crate) fn invalidate(&self, cx: &Context, is_it: impl Fn(&V) -> bool) -> bool {
        let control = self.control();
        let mut state = control.lock();
        step();
        let refused = self
            .current
            .load()
            .as_ref()
            .is_some_and(|entry| is_it(&entry.value));
        if !refused || !state.invalidations.take(cx.clock.now().mono) {
            return false;
        }
        step();
        self.current.store(None);
        cx.stats.count(Event::Invalidation);
        true
    }

    /// The entry, whatever its state.
    pub(crate) fn peek(&self) -> Option<Arc<Entry<V>>> {
        self.current.load_full()
    }

    /// Whether someone waits for it, or is behind it.
    pub(super) fn is_flying(&self, now: Now) -> bool {
        self.control().lock().in_the_air(now).is_some()
    }

    /// Whether it can be forgotten: nothing alive in it, nothing in the air,
    /// nothing to remember about a failure.
    pub(super) fn is_dead(&self, now: Now) -> bool {
        let control = self.control();
        let state = control.lock();
        let busy = state.in_the_air(now).is_some() || state.quiet(now).is_some();
        let alive = self
            .current
            .load()
            .as_ref()
            .is_some_and(|entry| entry.is_alive(now));
        !busy && !alive
    }

    /// The control of this process.
    fn control(&self) -> Arc<Control<V>> {
        step();
        let control = self.control.load_full();
        if control.is_of_this_process() {
            return control;
        }
        // Leaked, never dropped: what is in it may be in use by threads that
        // were in the middle of something at the fork.
        std::mem::forget(Arc::clone(&control));
        let fresh = Arc::new(Control::new());
        let before = self.control.compare_and_swap(&control, Arc::clone(&fresh));
        if Arc::ptr_eq(&before, &control) {
            fresh
        } else {
            self.control.load_full()
        }
    }
}

/// The clock is only asked through the context, so that tests move it.
impl<V> Slot<V> {
    /// How long until a refresh is due, and whether one has been before;
    /// nothing where there is no value.
    pub(crate) fn until_refresh(&self, clock: &Clock) -> Option<(Duration, bool)> {
        let entry = self.current.load_full()?;
        Some((entry.until_refresh(clock.now()), entry.is_stale()))
    }
}

#[cfg(all(test, not(shuttle)))]
impl<V: 'static> Slot<V> {
    /// Holds the lock, as a thread would that a fork leaves behind, and goes on
    /// holding it.
    pub(super) fn with_lock_held_across(&self, then: impl FnOnce()) -> impl Drop {
        struct Held<V: 'static>(Option<MutexGuard<'static, State<V>>>);
        impl<V> Drop for Held<V> {
            fn drop(&mut self) {
                drop(self.0.take());
            }
        }
        // Leaked, so that the guard may outlive the slot.
        let control: &'static Arc<Control<V>> = Box::leak(Box::new(self.control.load_full()));
        let held = Held(Some(control.lock()));
        then();
        held
    }
}
