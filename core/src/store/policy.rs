//! Policy of the shared cache: what a fetch does after each look into the store. All
//! functions are pure.

use std::time::Duration;

use super::seal::Note;
use crate::error::{Details, Error, ErrorKind};
use crate::retry;

/// Time of a lease. It is a promise to be quick, not a lock: after it, another process
/// sends the request too. It is never renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// How often the holder of an expired lease looks whether another process was quicker.
pub(crate) const OVERDUE_INTERVAL: Duration = Duration::from_millis(500);

/// Longest time of a lease that one of us has taken; a longer one is not ours.
const MAX_LEASE: Duration = Duration::from_millis(3_500);

/// Longest time for which a note of one of us forbids requests, with a second for clocks.
const MAX_REST: Duration = Duration::from_secs(61);

/// How long a note stays after the time for which it forbids requests, so that the next
/// failure is counted on.
pub(crate) const NOTE_KEEP: Duration = Duration::from_secs(60);

/// From this many failures of the fleet on, a fetch fails with the note's error.
const FAILURES_TO_SHARE: u8 = 4;

/// How far ahead of the store's time an entry may have been requested.
const MAX_AHEAD: u64 = 2_000;

/// How many entries that do not fit are passed over.
const MAX_PASSED: u32 = 3;

/// Difference of the clocks at which a warning is logged.
pub(crate) const SKEW_WARNING: Duration = Duration::from_secs(5);

/// What the last look found, after opening it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Entry {
        fits: bool,
    },
    Lease,
    /// A failure note forbids requests for this long.
    Note(Rest),
    /// A failure note that does not open, or forbids requests for too long.
    UnknownNote,
    /// Another process has the lease for this long.
    Held(Option<Duration>),
    Refused,
    Fault,
}

/// For how long a note forbids requests, and whether its error is that of all processes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rest {
    pub(crate) left: Duration,
    pub(crate) is_shared: bool,
    pub(crate) note: Note,
}

/// State of the fetch.
#[derive(Clone, Debug)]
pub(crate) struct Situation {
    /// A refresh, for which no caller waits: the token that it replaces.
    pub(crate) refresh: Option<Held>,
    /// Time since the fetch began, or since the last sign that a holder is alive.
    pub(crate) silence: Duration,
    pub(crate) patience: Duration,
    /// Time until the deadline.
    pub(crate) left: Duration,
    /// Time before the deadline from which the fetch waits for no other process.
    pub(crate) reserve: Duration,
    /// Entries that did not fit.
    pub(crate) passed: u32,
}

/// Token that callers are served during a refresh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) age: Duration,
    /// Age up to which callers are served without a wait: for a token with a reserve, less
    /// than its lifetime.
    pub(crate) lifetime: Duration,
}

impl Held {
    /// Share of its lifetime that is over.
    fn share(self) -> f64 {
        share(self.age, self.lifetime)
    }
}

/// What the fetch does next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Takes the entry.
    Adopt,
    /// Looks again, for another entry than this one.
    LookPast,
    /// Sends the request as the holder of the lease.
    Fetch,
    /// Sends the request without a lease.
    Alone,
    /// Looks again after this time.
    Wait(Duration),
    /// Ends the refresh without a result; it is tried again after this time.
    Postpone(Duration),
    /// Fails with the note's error.
    Fail(Rest),
}

/// What a fetch does after a look. `random` is in 0..1.
pub(crate) fn decide(answer: &Answer, situation: &Situation, random: f64) -> Step {
    match answer {
        Answer::Entry { fits: true } => Step::Adopt,
        Answer::Entry { fits: false } if situation.passed < MAX_PASSED => Step::LookPast,
        Answer::Entry { fits: false } | Answer::Refused | Answer::UnknownNote => Step::Alone,
        Answer::Lease => Step::Fetch,
        // A store that restarts costs nothing: the token is good for a while.
        Answer::Fault => match situation.refresh {
            Some(held) if held.share() < 0.85 => {
                let share = 0.85 + 0.07 * random - held.share();
                Step::Postpone(held.lifetime.mul_f64(share.max(0.0)))
            }
            _ => Step::Alone,
        },
        Answer::Note(rest) if situation.refresh.is_some() => {
            Step::Postpone(rest.left + Duration::from_secs(1).mul_f64(random))
        }
        // A wait until the deadline would only delay the failure.
        Answer::Note(rest) if rest.is_shared || rest.left >= situation.left => {
            Step::Fail(rest.clone())
        }
        Answer::Note(rest) => Step::Wait(rest.left + Duration::from_millis(250).mul_f64(random)),
        Answer::Held(left) => match left {
            Some(left) if *left <= MAX_LEASE => held(*left, situation, random),
            _ => Step::Alone,
        },
    }
}

/// What a fetch does while another process has the lease.
fn held(left: Duration, situation: &Situation, random: f64) -> Step {
    if let Some(held) = situation.refresh {
        // Again after the lease, but while a short-lived token is still good.
        let share = 0.88 + 0.05 * random - held.share();
        let late = held.lifetime.mul_f64(share.max(0.0));
        let wait = left + Duration::from_secs(1).mul_f64(random);
        return Step::Postpone(wait.min(late.max(Duration::from_millis(250))));
    }
    if situation.silence > situation.patience || situation.left <= situation.reserve {
        return Step::Alone;
    }
    Step::Wait(poll(left, random))
}

/// Time until the next look while another process has the lease for `left`: about half
/// of the time that its request has taken, so that quick requests are noticed quickly and
/// slow ones cost few commands.
fn poll(left: Duration, random: f64) -> Duration {
    let taken = LEASE.saturating_sub(left);
    let wait = (taken / 2).clamp(Duration::from_millis(50), Duration::from_millis(500));
    wait.mul_f64(0.5 + random)
}

/// How long a fetch waits for other processes without a sign of life. `random` is in
/// 0..1.
pub(crate) fn patience(attempt_timeout: Duration, timeout: Duration, random: f64) -> Duration {
    (attempt_timeout + LEASE)
        .min(timeout / 2)
        .mul_f64(1.0 + 0.2 * random)
}

/// Time before the deadline from which a fetch waits for no other process.
pub(crate) fn own_time(timeout: Duration) -> Duration {
    LEASE.min(timeout / 4)
}

/// Longest time for an operation of the store, so that a slow store leaves most of the
/// call's time to the request.
pub(crate) fn store_time(left: Duration) -> Duration {
    Duration::from_secs(2).min(left / 4)
}

/// Age of an entry when the reader's look was sent: by the store's clock or by the wall
/// clocks of publisher and reader, whichever is greater. `None` if it was requested too
/// far ahead of the store's time. All times in milliseconds since 1970.
pub(crate) fn age(
    born: u64,
    publisher_wall: u64,
    store_now: u64,
    reader_wall: u64,
) -> Option<Duration> {
    if born > store_now.saturating_add(MAX_AHEAD) {
        return None;
    }
    let by_store = store_now.saturating_sub(born);
    let by_walls = reader_wall.saturating_sub(publisher_wall);
    Some(Duration::from_millis(by_store.max(by_walls)))
}

/// What an entry must be for the fetch to adopt it.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// A refresh: the age of the token that it replaces.
    pub(crate) younger_than: Option<Duration>,
    /// Age up to which the token is served to the caller, without a reserve for requests
    /// of its own.
    pub(crate) oldest: Duration,
}

/// Whether an entry of this age is adopted. `is_refused`: a server refused it, and it is
/// to be replaced.
pub(crate) fn fits(age: Duration, lifetime: Duration, is_refused: bool, needs: &Needs) -> bool {
    let most = match needs.younger_than {
        Some(held) if age >= held => return false,
        // An older one would be refreshed at once.
        Some(_) => needs.oldest.mul_f64(0.75),
        None => needs.oldest.min(lifetime.mul_f64(0.95)),
    };
    !is_refused && age < most
}

/// How long the store keeps a token. `reserve` is the share of the lifetime that must be
/// left for callers.
pub(crate) fn keep(lifetime: Duration, reserve: f64) -> Duration {
    lifetime.mul_f64(0.95_f64.min(1.0 - reserve.clamp(0.0, 1.0)))
}

fn share(age: Duration, lifetime: Duration) -> f64 {
    if lifetime.is_zero() {
        return 1.0;
    }
    age.as_secs_f64() / lifetime.as_secs_f64()
}

/// What a note that forbids requests until then means at the store's time `now`.
pub(crate) fn rest(until: u64, note: Note, now: u64) -> Answer {
    let left = Duration::from_millis(until.saturating_sub(now));
    if left > MAX_REST {
        return Answer::UnknownNote;
    }
    Answer::Note(Rest {
        left,
        is_shared: note.failures >= FAILURES_TO_SHARE || !error_of(&note, left).is_retryable(),
        note,
    })
}

/// Note about a failure, and for how long it forbids requests. `None` if the failure says
/// nothing about the requests of other processes. `permanent` is the quiet time after a
/// permanent failure, if other processes are told of one.
pub(crate) fn note(
    error: &Error,
    before: Option<&Note>,
    permanent: Option<Duration>,
    random: f64,
) -> Option<(Note, Duration)> {
    let failures = before.map_or(0, |note| note.failures).saturating_add(1);
    // Without an answer the fault may be this machine's, so no other process fails by it.
    let failures = match error.http_status() {
        Some(_) => failures,
        None => failures.min(FAILURES_TO_SHARE - 1),
    };
    let rest = if error.is_retryable() {
        let doubled = Duration::from_millis(250) * (1 << failures.saturating_sub(1).min(8));
        let rest = doubled.min(Duration::from_secs(5));
        rest.mul_f64(0.5 + 0.5 * random)
            .max(retry::retry_after(error))
    } else {
        // Other refusals, such as a proxy's, may be this machine's.
        permanent.filter(|_| error.oauth_error().is_some())?
    };
    let note = Note {
        failures,
        kind: kind_number(error.kind()),
        status: error.http_status().unwrap_or(0),
        oauth_error: error.oauth_error().unwrap_or_default().to_owned(),
    };
    Some((note, rest.min(Duration::from_secs(60))))
}

/// Error of the request that another process noted.
pub(crate) fn error_of(note: &Note, left: Duration) -> Error {
    let kind = ErrorKind::ALL.get(usize::from(note.kind)).copied();
    let kind = kind.unwrap_or(ErrorKind::Transport);
    let status = (note.status != 0).then_some(note.status);
    let oauth_error = (!note.oauth_error.is_empty()).then(|| note.oauth_error.clone());
    let reason = match (&oauth_error, status) {
        (Some(code), Some(status)) => format!("{code} (HTTP {status})"),
        (Some(code), None) => code.clone(),
        (None, Some(status)) => format!("HTTP {status}"),
        (None, None) => format!("error kind {kind}"),
    };
    let plural = if note.failures == 1 { "" } else { "s" };
    let what = format!(
        "the last token request of the processes that share this cache failed: {reason}, \
         {} failure{plural} in a row",
        note.failures
    );
    let permanent = oauth_error.is_some();
    let remedy = if permanent {
        "check {client_id}, {client_secret} and {scope} with Layer; other processes have the same ones"
            .to_owned()
    } else {
        format!("retry in {} s", left.as_secs().max(1))
    };
    let details = Details {
        http_status: status,
        oauth_error,
        retry_after: Some(left),
        attempts: 0,
        ..Details::default()
    };
    Error::with_details(kind, what, remedy, details)
}

fn kind_number(kind: ErrorKind) -> u8 {
    let at = ErrorKind::ALL.iter().position(|other| *other == kind);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
