//! Failure notes: what a process whose request failed tells the others. All functions are
//! pure.

use std::time::Duration;

use super::seal::Note;
use crate::error::{Details, Error, ErrorKind};
use crate::retry;

/// Longest time for which a transient failure forbids requests, without a `Retry-After`:
/// no call waits longer for the fleet than this and the time of one request.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Longest time for which a note of the fleet forbids requests, with a second for clocks.
const MAX_REST: Duration = Duration::from_secs(61);

/// How far the clock of the store may be behind this machine's for a note to count. An
/// attacker who can write to the store could put an old note back, and with a wrong time of
/// the store that note would fail calls for ever.
const MAX_LAG: Duration = Duration::from_secs(600);

/// How long a note stays after the time for which it forbids requests, so that the next
/// failure is counted on.
pub(crate) const NOTE_KEEP: Duration = Duration::from_secs(60);

/// From this many failures of the fleet on, a fetch may fail with the note's error: as
/// many as it would have tried by itself.
const FAILURES_TO_SHARE: u8 = 4;

/// A failure note, and for how long it forbids requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rest {
    pub(crate) left: Duration,
    pub(crate) note: Note,
}

impl Rest {
    /// `None` if no process of the fleet can have written a note until then, at the store's time
    /// `now` and this machine's `wall`.
    pub(crate) fn new(until: u64, note: Note, now: u64, wall: u64) -> Option<Self> {
        let left = Duration::from_millis(until.saturating_sub(now));
        let is_over = Duration::from_millis(wall.saturating_sub(until)) > MAX_LAG;
        (left <= MAX_REST && !is_over).then_some(Self { left, note })
    }

    /// Whether the request of no process can succeed.
    pub(crate) fn is_permanent(&self) -> bool {
        !error_of(&self.note, self.left).is_retryable()
    }

    /// Whether the server answered. Otherwise the fault may be that of one machine.
    pub(crate) fn is_answered(&self) -> bool {
        self.note.status != 0
    }

    /// Whether so many requests failed that others may fail with them.
    pub(crate) fn has_failed_often(&self) -> bool {
        self.note.failures >= FAILURES_TO_SHARE
    }

    /// Whether the server said how long.
    pub(crate) fn is_by_the_server(&self) -> bool {
        self.is_answered() && self.left > MAX_BACKOFF
    }
}

/// Note about a failure, and for how long it forbids requests. `None` if the failure says
/// nothing about the requests of other processes. `permanent` is the quiet time after a
/// permanent failure; without it, a permanent failure makes no note.
pub(crate) fn note(
    error: &Error,
    before: Option<&Note>,
    permanent: Option<Duration>,
    random: f64,
) -> Option<(Note, Duration)> {
    let failures = before.map_or(0, |note| note.failures).saturating_add(1);
    let rest = if error.is_retryable() {
        let doubled = Duration::from_millis(250) * (1 << failures.saturating_sub(1).min(8));
        let rest = doubled.min(MAX_BACKOFF);
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
        (None, None) => format!("no answer ({kind})"),
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
mod tests {
    use super::*;
    use crate::store::tests::a_note;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn b30_note_counts_failures_and_forbids_requests_for_a_while() {
        let error = |kind, status: u16, oauth: Option<&str>, retry_after: Option<u64>| {
            let details = Details {
                http_status: (status != 0).then_some(status),
                oauth_error: oauth.map(str::to_owned),
                retry_after: retry_after.map(secs),
                ..Details::default()
            };
            Error::with_details(kind, "x", "", details)
        };
        let quiet = Some(secs(2));
        let unavailable = error(ErrorKind::Api, 503, None, None);
        let before = |failures| Some(a_note(failures, ErrorKind::Api, 503, ""));
        for (what, error, before, permanent, expected) in [
            (
                "the first failure",
                unavailable.clone(),
                None,
                quiet,
                Some((1, ms(250))),
            ),
            (
                "the third",
                unavailable.clone(),
                before(2),
                quiet,
                Some((3, ms(1_000))),
            ),
            (
                "the tenth",
                unavailable.clone(),
                before(9),
                quiet,
                Some((10, secs(2))),
            ),
            (
                "the last that is counted",
                unavailable,
                before(255),
                quiet,
                Some((255, secs(2))),
            ),
            (
                "Retry-After",
                error(ErrorKind::RateLimited, 429, None, Some(20)),
                None,
                quiet,
                Some((1, secs(20))),
            ),
            (
                "an hour's Retry-After",
                error(ErrorKind::RateLimited, 429, None, Some(3_600)),
                None,
                quiet,
                Some((1, secs(60))),
            ),
            (
                "no answer",
                error(ErrorKind::Transport, 0, None, None),
                before(9),
                quiet,
                Some((10, secs(2))),
            ),
            (
                "wrong credentials",
                error(ErrorKind::OAuth, 401, Some("invalid_client"), None),
                None,
                quiet,
                Some((1, secs(2))),
            ),
            (
                "wrong credentials, of a business token",
                error(ErrorKind::OAuth, 401, Some("invalid_client"), None),
                None,
                None,
                None,
            ),
            (
                "a proxy's refusal",
                error(ErrorKind::Api, 403, None, None),
                None,
                quiet,
                None,
            ),
        ] {
            let noted = note(&error, before.as_ref(), permanent, 1.0);
            let found = noted.map(|(note, rest)| (note.failures, rest));
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn b30_note_counts_for_the_time_of_a_note_and_by_both_clocks() {
        const T: u64 = 1_800_000_000_000;
        for (what, until, now, wall, left) in [
            ("a note", T + 5_000, T, T, Some(5_000)),
            ("one whose time is over", T, T + 1, T, Some(0)),
            ("the longest", T + 61_000, T, T, Some(61_000)),
            ("one that is too long", T + 61_001, T, T, None),
            (
                "a machine that is ahead",
                T + 5_000,
                T,
                T + 600_000,
                Some(5_000),
            ),
            ("a store that lies", T + 5_000, T, T + 606_000, None),
            ("a machine that is behind", T + 5_000, T, 0, Some(5_000)),
        ] {
            let rest = Rest::new(until, a_note(1, ErrorKind::Api, 503, ""), now, wall);
            assert_eq!(rest.map(|rest| rest.left), left.map(ms), "{what}");
        }
    }

    #[test]
    fn b30_error_of_a_note_tells_what_failed() {
        let refused = error_of(&a_note(2, ErrorKind::OAuth, 401, "invalid_client"), secs(7));
        assert_eq!(refused.kind(), ErrorKind::OAuth);
        assert_eq!(refused.oauth_error(), Some("invalid_client"));
        assert_eq!(refused.retry_after(), Some(secs(7)));
        assert!(!refused.is_retryable());
        let text = refused.to_string();
        assert!(
            text.contains("invalid_client (HTTP 401), 2 failures"),
            "{text}"
        );

        let limited = error_of(&a_note(1, ErrorKind::RateLimited, 429, ""), secs(20));
        assert!(limited.is_retryable());
        assert_eq!(limited.http_status(), Some(429));
        assert!(limited.to_string().contains("retry in 20 s"), "{limited}");

        let unknown = Note {
            kind: 200,
            ..a_note(1, ErrorKind::Api, 0, "")
        };
        assert!(error_of(&unknown, secs(1)).is_retryable());
    }
}
