//! Slot for one value: read without a lock, fetched once for all callers,
//! refreshed in the background.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use futures_util::FutureExt as _;

use super::entry::{Entry, Verdict};
use super::flight::{Flight, FlightResult, FlightSender, State};
use super::policy;
use super::source::{Context, FetchParams, Mode, Outcome, Source};
use crate::deadline::Progress;
use crate::error::{BUG, Error, ErrorKind, Result};
use crate::stats::Event;
use crate::sys::clock::{Clock, Now};
use crate::sys::fork::PerProcess;
use crate::sys::jitter::random;
use crate::sys::sync::{Mutex, MutexGuard, lock, step};

/// Slot for one value.
///
/// Readers only load `current`. A caller that finds no valid value there locks
/// `state` for a few instructions. The lock is never held during a wait, nor
/// while code of the user (a log subscriber, a waker, a destructor) runs.
pub(crate) struct Slot<V> {
    current: ArcSwapOption<Entry<V>>,
    /// After a fork the parent's lock may stay locked forever, and its flight
    /// does not exist in the child.
    state: PerProcess<Mutex<State<V>>>,
}

/// How many values a caller refuses that have less than the lifetime it requires, because
/// they were fetched for others. A new value has more, but one from a shared cache may
/// not. The last one is served, because callers with other requirements must not make
/// each other wait forever.
const MAX_TOO_OLD: u32 = 2;

/// What a caller without a value does next.
enum Step<V> {
    Serve(Arc<Entry<V>>),
    Fail(Error),
    Wait(Flight<V>),
}

/// Value that is read in place, without changing a shared reference count. It
/// keeps the value in memory and should be short-lived.
pub(crate) struct Borrowed<V>(CurrentGuard<V>);

/// Guard of a slot's current entry.
pub(crate) type CurrentGuard<V> = Guard<Option<Arc<Entry<V>>>>;

impl<V> Borrowed<V> {
    /// `None` for an empty guard.
    #[inline]
    pub(super) fn new(current: CurrentGuard<V>) -> Option<Self> {
        current.is_some().then_some(Self(current))
    }

    #[inline]
    pub(crate) fn entry(&self) -> &Entry<V> {
        match &*self.0 {
            Some(entry) => entry,
            // `new` refuses a guard without an entry.
            None => unreachable!("a hit without an entry"),
        }
    }

    #[inline]
    pub(crate) fn value(&self) -> &V {
        &self.entry().value
    }
}

/// Whether a value below the default minimum is served instead of this failure:
/// the value has not expired, a retry may help, and the caller required no
/// minimum.
fn is_fallback<V>(
    entry: &Entry<V>,
    error: &Error,
    min_remaining: Option<Duration>,
    now: Now,
) -> bool {
    error.is_retryable() && min_remaining.is_none() && entry.is_alive(now)
}

impl<V: PartialEq + Send + Sync + 'static> Slot<V> {
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            state: PerProcess::new(),
        }
    }

    /// Returns the value if one can be served now; `None` is a miss. Starts a
    /// refresh if one is due.
    #[inline]
    pub(crate) fn hit<S>(
        self: &Arc<Self>,
        cx: &Context,
        min_remaining: Option<Duration>,
        source: impl FnOnce() -> S,
    ) -> Option<Borrowed<V>>
    where
        S: Source<V>,
    {
        Borrowed::new(self.load_valid(cx, min_remaining, source))
    }

    /// As [`hit`](Self::hit) without a minimum. `check` calls
    /// [`check_hit`](Self::check_hit) in a function that is not generic: otherwise each crate
    /// that is compiled with a hit in it contains a copy of what a refresh needs.
    #[inline(always)]
    pub(crate) fn hit_or(
        &self,
        cx: &Context,
        check: impl FnOnce(CurrentGuard<V>, u64) -> CurrentGuard<V>,
    ) -> Option<Borrowed<V>> {
        Borrowed::new(self.load_good(cx, true, check))
    }

    /// As [`hit`](Self::hit). Returns an empty guard for a miss, which fits into two
    /// registers: an `Option` of a guard is written to memory and read back.
    #[inline]
    pub(super) fn load_valid<S>(
        self: &Arc<Self>,
        cx: &Context,
        min_remaining: Option<Duration>,
        source: impl FnOnce() -> S,
    ) -> CurrentGuard<V>
    where
        S: Source<V>,
    {
        self.load_good(cx, min_remaining.is_none(), |current, tick| {
            self.check_hit(cx, current, tick, min_remaining, source)
        })
    }

    /// The current value if it was found valid in this clock tick and any minimum is enough;
    /// otherwise what `check` returns for it.
    #[inline]
    fn load_good(
        &self,
        cx: &Context,
        any: bool,
        check: impl FnOnce(CurrentGuard<V>, u64) -> CurrentGuard<V>,
    ) -> CurrentGuard<V> {
        // What may panic comes before the load, and what is rare goes to a function
        // that takes the guard by value. So the guard needs no place in memory.
        let tick = cx.clock.tick();
        let counter = cx.stats.hit_counter();
        step();
        let current = self.current.load();
        match &*current {
            Some(entry) if any && entry.is_good_at(tick) => {
                counter.count(entry.is_stale());
                current
            }
            _ => check(current, tick),
        }
    }

    /// [`load_valid`](Self::load_valid) for a value that was not yet found valid in
    /// this clock tick.
    #[cold]
    #[inline(never)]
    pub(crate) fn check_hit<S>(
        self: &Arc<Self>,
        cx: &Context,
        current: CurrentGuard<V>,
        tick: u64,
        min_remaining: Option<Duration>,
        source: impl FnOnce() -> S,
    ) -> CurrentGuard<V>
    where
        S: Source<V>,
    {
        let Some(entry) = &*current else {
            return current;
        };
        match entry.check(&cx.clock, tick, min_remaining) {
            Verdict::Spent => return Guard::from_inner(None),
            verdict => self.on_tick(cx, source(), entry, verdict, min_remaining),
        }
        cx.stats.count_hit(entry.is_stale());
        current
    }

    /// Work of a hit that is needed once per clock tick. A separate function, so that
    /// the hit path stays short.
    #[inline(never)]
    pub(super) fn on_tick<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: S,
        entry: &Entry<V>,
        verdict: Verdict,
        min_remaining: Option<Duration>,
    ) where
        S: Source<V>,
    {
        if verdict == Verdict::Refresh {
            self.refresh(cx, &source, entry, min_remaining);
        } else {
            source.on_tick();
        }
    }

    /// Returns the value, from the cache or from the fetch that all waiting
    /// callers share. Dropping the future ends the wait, not the fetch.
    pub(crate) async fn get<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        min_remaining: Option<Duration>,
        progress: &Progress,
    ) -> Result<Arc<Entry<V>>>
    where
        S: Source<V>,
    {
        let mut too_old = 0;
        loop {
            let flight = match self.join(cx, source, min_remaining) {
                Step::Serve(entry) => {
                    cx.stats.count_hit(entry.is_stale());
                    return Ok(entry);
                }
                Step::Fail(error) => return Err(error),
                Step::Wait(flight) => flight,
            };
            cx.stats.count(Event::Wait);
            progress.share(&flight.progress);
            let is_for_this_caller = flight.is_for(min_remaining);
            let entry = match wait(flight).await {
                Ok(Some(entry)) => entry,
                // A refresh that was postponed. This caller joined it when the value
                // that it was to replace had expired.
                Ok(None) => continue,
                Err(error) => return self.fall_back(cx, error, min_remaining),
            };
            let now = cx.clock.now();
            if !entry.is_alive(now) {
                // The machine was suspended before this waiter ran.
                continue;
            }
            if is_for_this_caller
                || too_old == MAX_TOO_OLD
                || entry.verdict_at(now, min_remaining) != Verdict::Spent
            {
                return Ok(entry);
            }
            too_old += 1;
        }
    }

    /// Starts a fetch if there is no value, and does not wait. Returns the last
    /// failure during the quiet time.
    pub(crate) fn try_get<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        min_remaining: Option<Duration>,
    ) -> Result<Option<Arc<Entry<V>>>>
    where
        S: Source<V>,
    {
        match self.join(cx, source, min_remaining) {
            Step::Serve(entry) => {
                cx.stats.count_hit(entry.is_stale());
                Ok(Some(entry))
            }
            Step::Fail(error) => Err(error),
            // The fetch in progress may only check whether the credentials have
            // changed. Until it ends, the last failure is returned.
            Step::Wait(_) => match lock(self.state()).quiet(cx.clock.now()) {
                Some(error) => Err(error.clone()),
                None => Ok(None),
            },
        }
    }

    /// Starts a fetch if there is no value, and does not wait. Counts no hits or waits,
    /// because no caller is served. Does nothing during the quiet time after a failure.
    ///
    /// # Errors
    /// The fetch could not be started.
    pub(crate) fn prepare<S>(self: &Arc<Self>, cx: &Context, source: &S) -> Result<()>
    where
        S: Source<V>,
    {
        match self.join(cx, source, None) {
            // Without a quiet time no fetch has failed.
            Step::Fail(error) if lock(self.state()).quiet(cx.clock.now()).is_none() => Err(error),
            Step::Fail(_) | Step::Serve(_) | Step::Wait(_) => Ok(()),
        }
    }

    /// Fetches a missing value, and starts a refresh if one is due. Counts no
    /// hits or waits, because no caller is served.
    pub(crate) async fn keep_fresh<S>(self: &Arc<Self>, cx: &Context, source: &S) -> Result<()>
    where
        S: Source<V>,
    {
        if let Some(entry) = self.peek() {
            match entry.verdict_at(cx.clock.now(), None) {
                Verdict::Good => return Ok(()),
                Verdict::Refresh => {
                    self.refresh(cx, source, &entry, None);
                    return Ok(());
                }
                Verdict::Spent => {}
            }
        }
        loop {
            match self.join(cx, source, None) {
                Step::Serve(_) => return Ok(()),
                Step::Fail(error) => return Err(error),
                Step::Wait(flight) => {
                    if wait(flight).await?.is_some() {
                        return Ok(());
                    }
                    // A refresh that was postponed, as in `get`.
                }
            }
        }
    }

    /// After a failure: the current value, if it has not expired and a retry may help.
    fn fall_back(
        &self,
        cx: &Context,
        error: Error,
        min_remaining: Option<Duration>,
    ) -> Result<Arc<Entry<V>>> {
        step();
        match self.current.load_full() {
            Some(entry) if is_fallback(&entry, &error, min_remaining, cx.clock.now()) => {
                cx.stats.count_hit(entry.is_stale());
                Ok(entry)
            }
            _ => Err(error),
        }
    }

    /// Finds the fetch to wait for, or starts it.
    fn join<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        min_remaining: Option<Duration>,
    ) -> Step<V>
    where
        S: Source<V>,
    {
        let mut state = lock(self.state());
        let now = cx.clock.now();
        // A fetch may have ended since the caller looked.
        step();
        let current = self.current.load_full();
        if let Some(entry) = &current
            && entry.verdict_at(now, min_remaining) != Verdict::Spent
        {
            return Step::Serve(Arc::clone(entry));
        }
        if let Some(flight) = state.flight() {
            return Step::Wait(flight.clone());
        }
        let mut mode = Mode::Always;
        if let Some(error) = state.quiet(now).cloned() {
            let reread = source.can_change()
                && policy::may_be_fixed_by_credentials(&error)
                && state.may_reread(now);
            if !reread {
                return match current {
                    Some(entry) if is_fallback(&entry, &error, min_remaining, now) => {
                        Step::Serve(entry)
                    }
                    _ => Step::Fail(error),
                };
            }
            mode = Mode::IfChanged;
        }
        cx.stats.count(Event::Miss);
        let reason = Reason {
            mode,
            held: None,
            min_remaining,
        };
        match self.launch(cx, source, reason, state) {
            Ok(flight) => Step::Wait(flight),
            Err(error) => Step::Fail(error),
        }
    }

    /// Starts a refresh that is due, unless another caller has started it.
    #[cold]
    pub(super) fn refresh<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        entry: &Entry<V>,
        min_remaining: Option<Duration>,
    ) where
        S: Source<V>,
    {
        source.on_tick();
        let now = cx.clock.now();
        if !entry.claim_refresh(now, min_remaining, source.budget()) {
            return;
        }
        let state = lock(self.state());
        step();
        // Since the verdict, the entry may have expired or may have been
        // replaced or invalidated. Then no refresh of it is needed.
        let held = self.current.load_full();
        let is_current = held
            .as_deref()
            .is_some_and(|current| std::ptr::eq(current, entry));
        if !is_current || state.flight().is_some() {
            return;
        }
        cx.stats.count(Event::Refresh);
        let reason = Reason {
            mode: Mode::Always,
            held,
            min_remaining,
        };
        if let Err(error) = self.launch(cx, source, reason, state) {
            let error = error.as_dyn();
            tracing::warn!(target: "layerfi_auth", error, "cannot start a refresh");
        }
    }

    /// Starts a fetch as a separate task.
    fn launch<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        reason: Reason<V>,
        mut state: MutexGuard<'_, State<V>>,
    ) -> Result<Flight<V>>
    where
        S: Source<V>,
    {
        let (sender, flight) = state.start(reason.min_remaining);
        let expired = state.expire_refused(cx.clock.now());
        let params = FetchParams {
            mode: reason.mode,
            failures: state.failures(),
            progress: flight.progress.clone(),
            held: reason.held.clone(),
            refused: state.refused().cloned(),
            min_remaining: reason.min_remaining,
        };
        // The lock is released first, because the task may finish before
        // `spawn` returns.
        drop(state);
        drop(expired);
        let running = Running {
            slot: Arc::clone(self),
            cx: cx.clone(),
            mode: reason.mode,
            held: reason.held,
            sender: Some(sender),
        };
        let fetch = source.fetch(params);
        let task = async move {
            let outcome = AssertUnwindSafe(fetch).catch_unwind().await;
            running.finish(outcome.unwrap_or_else(|_| {
                Outcome::Failed(Error::new(
                    ErrorKind::Internal,
                    "a background task panicked",
                    "see the panic's text on standard error: correct your credentials provider if it is its \
                     own, or report it as a bug in layerfi-auth",
                ))
            }));
        };
        cx.spawn.spawn(Box::pin(task))?;
        Ok(flight)
    }

    /// Stores the outcome of a fetch. The value is stored before the flight
    /// ends, so that a caller always finds one of them.
    fn finish(
        &self,
        cx: &Context,
        mode: Mode,
        held: Option<&Entry<V>>,
        outcome: Outcome<V>,
    ) -> FlightResult<V> {
        let now = cx.clock.now();
        let (error, is_own) = match outcome {
            Outcome::Fetched(fetched) => {
                let entry = Arc::new(Entry::new(fetched));
                if entry.is_alive(now) {
                    self.replace(&entry);
                    return Ok(Some(entry));
                }
                let error = Error::new(
                    ErrorKind::Timeout,
                    "the token had expired when it arrived",
                    "retry; the token's lifetime is shorter than the time that the response took",
                );
                (error, true)
            }
            Outcome::Failed(error) => (error, true),
            Outcome::FailedUpstream(error) => (error, false),
            Outcome::Postponed(wait) => match held {
                Some(held) => {
                    let mut state = lock(self.state());
                    state.finish();
                    held.postpone_refresh(now, policy::nanos(wait));
                    return Ok(None);
                }
                // Its callers would start the same fetch again and again.
                None => {
                    let what = "a fetch for which callers wait was postponed";
                    (Error::new(ErrorKind::Internal, what, BUG), true)
                }
            },
            Outcome::Unchanged => {
                let mut state = lock(self.state());
                state.finish();
                return Err(state.last_error().cloned().unwrap_or_else(|| {
                    Error::new(
                        ErrorKind::Internal,
                        "the credentials have not changed, but no failure is known",
                        BUG,
                    )
                }));
            }
        };
        let mut state = lock(self.state());
        state.finish();
        step();
        let current = self.current.load_full();
        let (wait, before) = if is_own {
            state.failed(&error, mode == Mode::IfChanged, now)
        } else {
            (policy::refresh_backoff(1, &error, random()), None)
        };
        let serving = current.filter(|entry| entry.is_alive(now));
        if let Some(entry) = &serving {
            entry.postpone_refresh(now, wait);
        }
        drop(state);
        drop(before);
        if is_own {
            cx.stats.failed(error.kind());
        }
        if serving.is_some() {
            tracing::warn!(
                target: "layerfi_auth",
                error = error.as_dyn(),
                "refresh failed; the current token is served until it expires"
            );
        }
        Err(error)
    }

    /// Stores a new value and ends the flight that fetched it.
    fn replace(&self, entry: &Arc<Entry<V>>) {
        let mut state = lock(self.state());
        state.finish();
        let last_error = state.succeeded();
        let refused = state.replace_refused(entry);
        step();
        let mut before = self.current.load_full();
        if before
            .as_ref()
            .is_none_or(|other| !other.is_younger_than(entry))
        {
            step();
            before = self.current.swap(Some(Arc::clone(entry)));
        }
        drop(state);
        drop((before, last_error, refused));
    }

    /// Gets another value than one that the server refused. Other callers are served
    /// the refused value until the new one arrives, because the server may refuse it
    /// for one resource only. `None` if there were too many refusals recently.
    pub(crate) async fn renew<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        progress: &Progress,
        is_refused: impl Fn(&V) -> bool,
    ) -> Result<Option<Arc<Entry<V>>>>
    where
        S: Source<V>,
    {
        loop {
            match self.start_renewal(cx, source, &is_refused) {
                None => return Ok(None),
                Some(Step::Fail(error)) => return Err(error),
                Some(Step::Serve(_)) => break,
                Some(Step::Wait(flight)) => {
                    cx.stats.count(Event::Wait);
                    progress.share(&flight.progress);
                    match wait(flight).await? {
                        Some(entry) if entry.is_alive(cx.clock.now()) => return Ok(Some(entry)),
                        Some(_) => break,
                        // A refresh that was postponed: it would have replaced the
                        // refused value.
                        None => {}
                    }
                }
            }
        }
        self.get(cx, source, None, progress).await.map(Some)
    }

    fn start_renewal<S>(
        self: &Arc<Self>,
        cx: &Context,
        source: &S,
        is_refused: impl Fn(&V) -> bool,
    ) -> Option<Step<V>>
    where
        S: Source<V>,
    {
        let mut state = lock(self.state());
        step();
        let current = self.current.load_full();
        if let Some(entry) = &current
            && !is_refused(&entry.value)
        {
            return Some(Step::Serve(Arc::clone(entry)));
        }
        if let Some(flight) = state.flight() {
            return Some(Step::Wait(flight.clone()));
        }
        let now = cx.clock.now();
        if let Some(error) = state.quiet(now) {
            return Some(Step::Fail(error.clone()));
        }
        if !state.invalidations.take(now.mono) {
            return None;
        }
        cx.stats.count(Event::Invalidation);
        // Without a value, `invalidate` has recorded it.
        let before = current.and_then(|refused| state.set_refused(refused));
        let reason = Reason {
            mode: Mode::Always,
            held: None,
            min_remaining: None,
        };
        let launched = self.launch(cx, source, reason, state);
        drop(before);
        Some(match launched {
            Ok(flight) => Step::Wait(flight),
            Err(error) => Step::Fail(error),
        })
    }

    /// Removes the value if `is_it` says that the server refused this value.
    /// Returns `false` if the current value is another one, or if there were too
    /// many invalidations recently.
    pub(crate) fn invalidate(&self, cx: &Context, is_it: impl Fn(&V) -> bool) -> bool {
        let mut state = lock(self.state());
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
        let before = self
            .current
            .swap(None)
            .and_then(|refused| state.set_refused(refused));
        drop(state);
        drop(before);
        cx.stats.count(Event::Invalidation);
        true
    }

    /// Entry, valid or expired.
    pub(crate) fn peek(&self) -> Option<Arc<Entry<V>>> {
        self.current.load_full()
    }

    /// Whether a fetch is in progress.
    pub(super) fn is_fetching(&self) -> bool {
        lock(self.state()).flight().is_some()
    }

    /// Whether the slot can be removed: it has no valid value, no fetch in
    /// progress, and no failure that must be remembered.
    pub(super) fn is_dead(&self, now: Now) -> bool {
        let state = lock(self.state());
        let busy = state.flight().is_some() || state.quiet(now).is_some();
        let alive = self
            .current
            .load()
            .as_ref()
            .is_some_and(|entry| entry.is_alive(now));
        !busy && !alive
    }

    fn state(&self) -> &Mutex<State<V>> {
        step();
        self.state.get_or_init(|| Mutex::new(State::new()))
    }

    /// Time until a refresh is due, and whether one is already due; `None` if
    /// there is no value.
    pub(crate) fn until_refresh(&self, clock: &Clock) -> Option<(Duration, bool)> {
        let entry = self.current.load_full()?;
        Some((entry.until_refresh(clock.now()), entry.is_stale()))
    }
}

impl<V> Slot<V> {
    pub(super) fn current(&self) -> &ArcSwapOption<Entry<V>> {
        &self.current
    }
}

/// Waits for the result of a fetch.
async fn wait<V>(flight: Flight<V>) -> FlightResult<V> {
    let result = flight.result.wait().await;
    result.unwrap_or_else(|| Err(dropped()))
}

fn dropped() -> Error {
    Error::new(
        ErrorKind::Transport,
        "the request's background task was not started, or ended with its thread",
        "call again; the next call starts the task again",
    )
}

/// Why a fetch is started.
struct Reason<V> {
    mode: Mode,
    /// As in [`FetchParams`].
    held: Option<Arc<Entry<V>>>,
    min_remaining: Option<Duration>,
}

/// Fetch in progress. If it is dropped without a result (the task could not be
/// spawned, or its runtime ended), that counts as a failure: callers do not
/// wait forever, and the next call fetches again.
struct Running<V: PartialEq + Send + Sync + 'static> {
    slot: Arc<Slot<V>>,
    cx: Context,
    mode: Mode,
    held: Option<Arc<Entry<V>>>,
    sender: Option<FlightSender<V>>,
}

impl<V: PartialEq + Send + Sync + 'static> Running<V> {
    fn finish(mut self, outcome: Outcome<V>) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome<V>) {
        if let Some(sender) = self.sender.take() {
            let held = self.held.as_deref();
            let result = self.slot.finish(&self.cx, self.mode, held, outcome);
            sender.set(result);
        }
    }
}

impl<V: PartialEq + Send + Sync + 'static> Drop for Running<V> {
    fn drop(&mut self) {
        if self.sender.is_some() {
            self.send(Outcome::FailedUpstream(dropped()));
        }
    }
}

#[cfg(all(test, not(shuttle)))]
impl<V: PartialEq + Send + Sync + 'static> Slot<V> {
    /// Holds the lock, like a thread of the parent that does not exist in the
    /// child.
    pub(super) fn hold_lock(self: &Arc<Self>) -> impl Drop {
        struct Held<V: 'static>(Option<MutexGuard<'static, State<V>>>);
        impl<V> Drop for Held<V> {
            fn drop(&mut self) {
                drop(self.0.take());
            }
        }
        // Leaked, so that the guard may outlive the slot.
        let slot: &'static Arc<Self> = Box::leak(Box::new(Arc::clone(self)));
        Held(Some(lock(slot.state())))
    }
}
