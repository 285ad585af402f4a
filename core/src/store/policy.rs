//! Policy of the shared cache: what a fetch does after each look into the store. All
//! functions are pure.

use std::time::Duration;

use super::failure::Rest;

/// Time of a lease. It is a promise to be quick, not a lock: after it, another process
/// sends the request too. It is never renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// How often the holder of an expired lease looks whether another process was quicker.
pub(crate) const OVERDUE_INTERVAL: Duration = Duration::from_millis(500);

/// Longest time of a lease that one of us has taken; a longer one is not ours.
const MAX_LEASE: Duration = Duration::from_millis(3_500);

/// For how long a request without an answer tells a process that others would get none for
/// it either. Alone, it would ask each 10 to 15 s.
pub(crate) const UNANSWERED_AGE: Duration = Duration::from_secs(60);

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
    /// Whether another request of the fleet failed since the fetch began.
    pub(crate) has_news: bool,
    /// Whether a request of this process had no answer lately: it is not the one that
    /// could tell the fleet more.
    pub(crate) is_unanswered: bool,
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
        Answer::Note(rest) => resting(rest, situation, random),
        Answer::Held(left) => match left {
            Some(left) if *left <= MAX_LEASE => held(*left, situation, random),
            _ => Step::Alone,
        },
    }
}

/// What a fetch does while a note forbids requests. No call fails by a failure of the time
/// before it: it waits for the next request of the fleet, as it would send one itself.
fn resting(rest: &Rest, situation: &Situation, random: f64) -> Step {
    if situation.refresh.is_some() {
        return Step::Postpone(rest.left + Duration::from_secs(1).mul_f64(random));
    }
    let is_told = situation.has_news && rest.is_answered() && rest.has_failed_often();
    if is_told || rest.is_permanent() {
        return Step::Fail(rest.clone());
    }
    if rest.left >= situation.left {
        // A wait until the deadline would only delay the failure. Without an answer of the
        // server it is worth it: nobody knows when it is well again, and an error with a
        // time to wait would make a quiet time for the next calls.
        return if rest.is_by_the_server() || situation.has_news && rest.is_answered() {
            Step::Fail(rest.clone())
        } else if situation.has_news || situation.is_unanswered {
            Step::Wait(rest.left + Duration::from_millis(250).mul_f64(random))
        } else {
            Step::Alone
        };
    }
    if !rest.is_answered() && is_last_moment(situation) {
        return Step::Alone;
    }
    Step::Wait(rest.left + Duration::from_millis(250).mul_f64(random))
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
    if situation.silence > situation.patience || is_last_moment(situation) {
        return Step::Alone;
    }
    Step::Wait(poll(left, random))
}

/// Whether a fetch asks the server itself before its deadline. Where the server answers
/// no process, it cannot be told from machines that do not reach it, and the one that does
/// may be this one. Not if it has just found that it is not.
fn is_last_moment(situation: &Situation) -> bool {
    situation.left <= situation.reserve && !situation.is_unanswered
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

/// Time before the deadline from which a fetch waits for no other process. Differs, so that
/// the first one that is answered spares the others their requests. `random` is in 0..1.
pub(crate) fn own_time(timeout: Duration, random: f64) -> Duration {
    LEASE.min(timeout / 4).mul_f64(1.0 + 2.0 * random)
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

#[cfg(test)]
mod tests;
