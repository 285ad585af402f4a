//! What every store does: operations and their answers, for the store in memory and for
//! real servers.

#![allow(clippy::panic, clippy::unwrap_used)] // Its panics are failures of tests.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Found, LookUp, Names, Owner, Published, TokenStore};

/// A time that does not end during a case.
const LONG: Duration = Duration::from_secs(600);
/// A time that a case waits for.
const SHORT: Duration = Duration::from_millis(300);
/// How long a case waits until something expires. Only reached by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// One operation, and its answer.
enum Step {
    /// Looks for another entry than this one (0: any) and expects an answer.
    Look {
        seen: u8,
        owner: u8,
        lease: Duration,
        finds: Finds,
    },
    /// Looks until the answer is this one.
    LookUntil { owner: u8, finds: Finds },
    Publish {
        owner: u8,
        entry: (u8, u64),
        keep: Duration,
        answer: Answer,
    },
    /// Ends a lease, with a note of this number that forbids requests for a time (0: no
    /// note).
    Release {
        owner: u8,
        note: u8,
        rest: Duration,
        keep: Duration,
    },
    /// The last look returned this note (0: none).
    Noted(u8),
}

#[derive(Clone, Copy)]
enum Finds {
    Entry(u8, u64),
    Note,
    Lease,
    /// Another owner has a lease that ends at most this much later.
    Held(Duration),
    /// No entry, no note, and no lease was taken.
    Nothing,
}

#[derive(Clone, Copy)]
enum Answer {
    Stored,
    Younger(u8, u64),
}

use Answer::{Stored, Younger};
use Finds::{Entry, Held, Lease, Note, Nothing};
use Step::{LookUntil, Noted};

const fn look(seen: u8, owner: u8, finds: Finds) -> Step {
    Step::Look {
        seen,
        owner,
        lease: LONG,
        finds,
    }
}

const fn short_lease(owner: u8) -> Step {
    Step::Look {
        seen: 0,
        owner,
        lease: SHORT,
        finds: Lease,
    }
}

/// A look that takes no lease.
const fn peek(seen: u8, owner: u8, finds: Finds) -> Step {
    Step::Look {
        seen,
        owner,
        lease: Duration::ZERO,
        finds,
    }
}

const fn publish(owner: u8, mark: u8, born: u64, answer: Answer) -> Step {
    Step::Publish {
        owner,
        entry: (mark, born),
        keep: LONG,
        answer,
    }
}

const fn release(owner: u8, note: u8, rest: Duration) -> Step {
    Step::Release {
        owner,
        note,
        rest,
        keep: LONG,
    }
}

/// Each case has keys of its own.
const CASES: &[(&str, &[Step])] = &[
    (
        "the first look gets the lease, and keeps it",
        &[
            look(0, 1, Lease),
            look(0, 2, Held(LONG)),
            look(0, 1, Lease),
            look(0, 2, Held(LONG)),
            Noted(0),
        ],
    ),
    (
        "a lease ends by itself",
        &[
            short_lease(1),
            LookUntil {
                owner: 2,
                finds: Lease,
            },
        ],
    ),
    (
        "a look of its owner does not renew a lease",
        &[
            look(0, 1, Lease),
            Step::Look {
                seen: 0,
                owner: 1,
                lease: LONG.saturating_mul(2),
                finds: Lease,
            },
            look(0, 2, Held(LONG)),
        ],
    ),
    (
        "a lease ends with the publication, and all get the entry",
        &[
            look(0, 1, Lease),
            publish(1, 1, 100, Stored),
            look(0, 2, Entry(1, 100)),
            look(0, 1, Entry(1, 100)),
            look(1, 2, Lease),
            look(1, 1, Held(LONG)),
            look(0, 1, Entry(1, 100)),
        ],
    ),
    (
        "an entry other than the seen one is returned, also while there is a lease",
        &[
            publish(1, 1, 100, Stored),
            look(1, 2, Lease),
            look(2, 3, Entry(1, 100)),
            publish(2, 2, 200, Stored),
            look(1, 3, Entry(2, 200)),
            look(2, 3, Lease),
        ],
    ),
    (
        "a look without a lease takes none",
        &[
            peek(0, 1, Nothing),
            look(0, 2, Lease),
            peek(0, 1, Held(LONG)),
            publish(2, 1, 100, Stored),
            peek(0, 1, Entry(1, 100)),
            peek(1, 1, Nothing),
            look(1, 3, Lease),
        ],
    ),
    (
        "a late publication does not replace an entry that was requested later",
        &[
            short_lease(1),
            LookUntil {
                owner: 2,
                finds: Lease,
            },
            publish(2, 2, 200, Stored),
            publish(1, 1, 199, Younger(2, 200)),
            look(0, 3, Entry(2, 200)),
        ],
    ),
    (
        "a late publication replaces an entry that was not requested later",
        &[
            publish(1, 1, 200, Stored),
            publish(2, 2, 200, Stored),
            publish(3, 3, 201, Stored),
            look(0, 4, Entry(3, 201)),
        ],
    ),
    (
        "a late publication leaves the lease of another owner",
        &[
            look(0, 1, Lease),
            publish(2, 2, 200, Stored),
            look(2, 3, Held(LONG)),
            // The owner of the lease may store an entry that was requested earlier.
            publish(1, 1, 100, Stored),
            look(0, 3, Entry(1, 100)),
            look(1, 3, Lease),
        ],
    ),
    (
        "an entry expires",
        &[
            Step::Publish {
                owner: 1,
                entry: (1, 100),
                keep: SHORT,
                answer: Stored,
            },
            LookUntil {
                owner: 2,
                finds: Lease,
            },
        ],
    ),
    (
        "a release without a note ends the lease of its owner only",
        &[
            look(0, 1, Lease),
            release(2, 0, Duration::ZERO),
            look(0, 2, Held(LONG)),
            release(1, 0, Duration::ZERO),
            look(0, 2, Lease),
            Noted(0),
        ],
    ),
    (
        "a note forbids leases, also to the one who wrote it",
        &[
            look(0, 1, Lease),
            release(1, 1, LONG),
            look(0, 2, Note),
            Noted(1),
            look(0, 1, Note),
            peek(0, 1, Note),
        ],
    ),
    (
        "an entry is returned in spite of a note",
        &[
            publish(1, 1, 100, Stored),
            look(1, 1, Lease),
            release(1, 1, LONG),
            look(0, 2, Entry(1, 100)),
            Noted(1),
            look(1, 2, Note),
        ],
    ),
    (
        "a note stays after the time for which it forbids leases",
        &[
            look(0, 1, Lease),
            release(1, 1, SHORT),
            LookUntil {
                owner: 2,
                finds: Lease,
            },
            Noted(1),
            look(0, 3, Held(LONG)),
            Noted(1),
        ],
    ),
    (
        "a note is replaced by the next one, and removed by a publication",
        &[
            look(0, 1, Lease),
            release(1, 1, Duration::ZERO),
            look(0, 2, Lease),
            Noted(1),
            release(2, 2, LONG),
            look(0, 3, Note),
            Noted(2),
            publish(3, 1, 100, Stored),
            look(0, 1, Entry(1, 100)),
            Noted(0),
        ],
    ),
    (
        "a publication that comes too late leaves the note",
        &[
            publish(1, 2, 200, Stored),
            look(2, 1, Lease),
            release(1, 1, LONG),
            publish(3, 1, 100, Younger(2, 200)),
            look(2, 1, Note),
        ],
    ),
    (
        "a note expires",
        &[
            look(0, 1, Lease),
            Step::Release {
                owner: 1,
                note: 1,
                rest: LONG,
                keep: SHORT,
            },
            LookUntil {
                owner: 2,
                finds: Lease,
            },
            Noted(0),
        ],
    ),
];

/// Runs all cases, with keys that begin with `prefix`, which are not in the store.
///
/// # Panics
/// If the store does something else.
pub(crate) async fn store_cases(store: &dyn TokenStore, prefix: &str) {
    for (name, steps) in CASES {
        run(store, prefix, name, steps).await;
    }
    one_of_many_gets_the_lease(store, prefix).await;
    values_that_are_not_entries(store, prefix).await;
    assert!(store.is_up(), "the store is not up after the cases");
}

async fn run(store: &dyn TokenStore, prefix: &str, case: &str, steps: &[Step]) {
    let names = names(prefix, case);
    let mut last: Option<LookUp> = None;
    for (number, step) in steps.iter().enumerate() {
        let what = format!("case \"{case}\", step {number}");
        match step {
            Step::Look {
                seen,
                owner: by,
                lease,
                finds,
            } => {
                let mark = [*seen; 16];
                let seen = if *seen == 0 { &[][..] } else { &mark };
                let look = store.look_up(&names, seen, &owner(*by), *lease).await;
                let look = look.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                assert!(is(&look.found, *finds), "{what}: found {:?}", look.found);
                last = Some(look);
            }
            Step::LookUntil { owner: by, finds } => {
                let start = Instant::now();
                let look = loop {
                    let look = store.look_up(&names, &[], &owner(*by), LONG).await;
                    let look = look.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    if is(&look.found, *finds) {
                        break look;
                    }
                    assert!(
                        start.elapsed() < PATIENCE,
                        "{what}: after {PATIENCE:?} it still finds {:?}",
                        look.found
                    );
                    sleep(Duration::from_millis(20)).await;
                };
                last = Some(look);
            }
            Step::Publish {
                owner: by,
                entry: (mark, born),
                keep,
                answer,
            } => {
                let entry = entry(*mark, *born);
                let published = store.publish(&names, &owner(*by), &entry, *keep).await;
                let published = published.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                let is_expected = match (&published, answer) {
                    (Published::Stored, Stored) => true,
                    (Published::Younger { entry, now }, Younger(mark, born)) => {
                        *entry == self::entry(*mark, *born) && *now > 1_700_000_000_000
                    }
                    _ => false,
                };
                assert!(is_expected, "{what}: answered {published:?}");
            }
            Step::Release {
                owner: by,
                note,
                rest,
                keep,
            } => {
                let until = last.as_ref().map_or(0, |look| look.now) + rest.as_millis() as u64;
                let note = note_of(*note, until);
                let released = store.release(&names, &owner(*by), &note, *keep).await;
                released.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            }
            Noted(number) => {
                let note = last.as_ref().and_then(|look| look.note.as_ref());
                let noted = note.and_then(|note| note.last().copied()).unwrap_or(0);
                assert_eq!(noted, *number, "{what}: number of the note");
            }
        }
    }
    let time = last.map_or(0, |look| look.now);
    assert!(
        (1_700_000_000_000..4_000_000_000_000).contains(&time),
        "case \"{case}\": {time} is not the time in milliseconds"
    );
}

fn is(found: &Found, expected: Finds) -> bool {
    match (found, expected) {
        (Found::Entry(found), Entry(mark, born)) => *found == entry(mark, born),
        (Found::Note, Note) | (Found::Lease, Lease) => true,
        (Found::Held(Some(left)), Held(most)) => !left.is_zero() && *left <= most,
        (Found::Held(Some(left)), Nothing) => left.is_zero(),
        _ => false,
    }
}

/// All look at the same moment, and one gets the lease.
async fn one_of_many_gets_the_lease(store: &dyn TokenStore, prefix: &str) {
    let names = names(prefix, "one of many");
    let owners: Vec<_> = (1..=50).map(owner).collect();
    let looks = owners
        .iter()
        .map(|owner| store.look_up(&names, &[], owner, LONG));
    let looks = join_all(looks).await;
    let leases = looks.into_iter().filter(|look| {
        let look = look
            .as_ref()
            .unwrap_or_else(|error| panic!("a look failed: {error:?}"));
        look.found == Found::Lease
    });
    assert_eq!(leases.count(), 1, "leases of 50 looks at the same moment");
}

/// What somebody with access to the store could write.
async fn values_that_are_not_entries(store: &dyn TokenStore, prefix: &str) {
    for (number, junk) in [&b"x"[..], b"\x01\x01", &[0xff; 40], &[b'9'; 31]]
        .into_iter()
        .enumerate()
    {
        let case = format!("junk {number}");
        let names = names(prefix, &case);
        let result = store.publish(&names, &owner(1), junk, LONG).await;
        assert_eq!(result.unwrap(), Published::Stored, "{case}: publication");
        let found = Found::Entry(junk.to_vec());
        // What is passed over is known by its bytes in the place of the mark. A value
        // that ends before it has no mark.
        let mark = junk.get(2..junk.len().min(18)).unwrap_or_default();
        if !mark.is_empty() {
            let look = store.look_up(&names, &[], &owner(1), LONG).await.unwrap();
            assert_eq!(look.found, found, "{case}: look");
        }
        let look = store.look_up(&names, mark, &owner(1), LONG).await.unwrap();
        assert_eq!(look.found, Found::Lease, "{case}: look past it");
        let look = store.look_up(&names, &[7; 16], &owner(1), LONG).await;
        assert_eq!(look.unwrap().found, found, "{case}: look past another");
        let published = store.publish(&names, &owner(1), &entry(1, 100), LONG).await;
        assert_eq!(published.unwrap(), Published::Stored, "{case}: over it");
    }
    // A note without a time forbids nothing.
    let names = names(prefix, "junk note");
    let released = store.release(&names, &owner(1), b"not a note", LONG).await;
    released.unwrap();
    let look = store.look_up(&names, &[], &owner(1), LONG).await.unwrap();
    assert_eq!(look.found, Found::Lease, "with a note that has no time");
    assert_eq!(look.note.as_deref(), Some(&b"not a note"[..]));
}

/// Keys of a case.
pub(crate) fn names(prefix: &str, case: &str) -> Names {
    let name = |what| format!("{prefix}:1:{{{case}}}:{what}");
    Names {
        value: name('v'),
        lease: name('l'),
        note: name('n'),
    }
}

pub(crate) fn owner(number: u8) -> Owner {
    Owner([number; 16])
}

/// Entry with a mark that consists of this number.
pub(crate) fn entry(mark: u8, born: u64) -> Vec<u8> {
    let mut entry = vec![1, 1];
    entry.extend_from_slice(&[mark; 16]);
    // A time of thirteen digits.
    entry.extend_from_slice(format!("{:013}", 1_700_000_000_000 + born).as_bytes());
    entry.extend_from_slice(&[0, 10, 13, 255, mark]);
    entry
}

/// Note that forbids requests until then; 0 for none.
fn note_of(number: u8, until: u64) -> Vec<u8> {
    if number == 0 {
        return Vec::new();
    }
    let mut note = vec![1, 0x81];
    note.extend_from_slice(&[0; 16]);
    note.extend_from_slice(format!("{until:013}").as_bytes());
    note.extend_from_slice(&[0, 10, 13, 255, number]);
    note
}
