//! What every store must do, as one table of cases.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Found, LookUp, Names, Owner, Published, TokenStore};

const LEASE: Duration = Duration::from_secs(3);
const KEEP: Duration = Duration::from_secs(60);
/// A time that a test waits for.
const SHORT: Duration = Duration::from_millis(300);
/// How long a test waits until something expires. Only reached by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names of one token, in their own part of the store.
pub(super) fn names(part: &str) -> Names {
    let name = |end| format!("layerfi:1:{{{part}}}:{end}");
    Names {
        value: name("v"),
        lease: name("l"),
        note: name("n"),
    }
}

/// Entry with the fields that a store reads: mark and time.
pub(super) fn entry(mark: u8, born: u64) -> Vec<u8> {
    let mut entry = vec![1, 1];
    entry.extend([mark; 16]);
    entry.extend(format!("{born:013}").bytes());
    // A sealed text has any bytes.
    entry.extend([0, 13, 10, 255]);
    entry
}

/// Failure note until a time of the store.
pub(super) fn note(until: u64) -> Vec<u8> {
    let mut note = entry(0, until);
    note[1] = 0x81;
    note
}

pub(super) fn owner(number: u8) -> Owner {
    Owner([number; 16])
}

async fn look(store: &dyn TokenStore, names: &Names, seen: &[u8], number: u8) -> LookUp {
    let found = store.look_up(names, seen, &owner(number), LEASE).await;
    found.expect("a look-up failed")
}

/// Looks until there is a lease for it.
async fn look_until_lease(store: &dyn TokenStore, names: &Names, number: u8) -> LookUp {
    let start = Instant::now();
    loop {
        let look = look(store, names, b"", number).await;
        if look.found == Found::Lease {
            return look;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "no lease after {PATIENCE:?}, but {:?}",
            look.found
        );
        sleep(Duration::from_millis(20)).await;
    }
}

async fn publish(store: &dyn TokenStore, names: &Names, number: u8, entry: &[u8]) -> Published {
    let published = store.publish(names, &owner(number), entry, KEEP).await;
    published.expect("a publication failed")
}

async fn release(store: &dyn TokenStore, names: &Names, number: u8, note: &[u8]) {
    let released = store.release(names, &owner(number), note, KEEP).await;
    released.expect("a release failed");
}

/// Checks all operations. `part` parts the names of several runs in one store.
pub(super) async fn check(store: &dyn TokenStore, part: &str) {
    lease_has_one_owner(store, &names(&format!("{part}-lease"))).await;
    entry_is_found_unless_it_was_seen(store, &names(&format!("{part}-entry"))).await;
    younger_entry_stays(store, &names(&format!("{part}-younger"))).await;
    note_forbids_requests(store, &names(&format!("{part}-note"))).await;
    without_a_lease_it_only_looks(store, &names(&format!("{part}-looks"))).await;
    one_of_many_gets_the_lease(store, &names(&format!("{part}-many"))).await;
    late_publication_changes_nothing_else(store, &names(&format!("{part}-late"))).await;
    all_keys_expire(store, |key| names(&format!("{part}-expires-{key}"))).await;
    junk_is_passed_over(store, |key| names(&format!("{part}-junk-{key}"))).await;
}

async fn lease_has_one_owner(store: &dyn TokenStore, names: &Names) {
    let first = look(store, names, b"", 1).await;
    assert_eq!((&first.found, &first.note), (&Found::Lease, &None));
    let again = look(store, names, b"", 1).await;
    assert_eq!(again.found, Found::Lease, "it was the owner's already");
    assert!(again.now >= first.now, "the store's time went back");
    match look(store, names, b"", 2).await.found {
        Found::Held(Some(left)) => assert!(left <= LEASE && left > Duration::ZERO, "{left:?}"),
        other => panic!("another owner has the lease, but {other:?} was found"),
    }
    release(store, names, 2, b"").await;
    let other = look(store, names, b"", 2).await.found;
    assert!(matches!(other, Found::Held(_)), "it ended another's lease");
    release(store, names, 1, b"").await;
    assert_eq!(look(store, names, b"", 2).await.found, Found::Lease);
}

async fn entry_is_found_unless_it_was_seen(store: &dyn TokenStore, names: &Names) {
    let now = look(store, names, b"", 1).await.now;
    let stored = entry(7, now);
    assert_eq!(publish(store, names, 1, &stored).await, Published::Stored);
    for seen in [&b""[..], &[8; 16], b"short"] {
        let found = look(store, names, seen, 2).await.found;
        assert_eq!(found, Found::Entry(stored.clone()), "seen {seen:?}");
    }
    let past = look(store, names, &[7; 16], 2).await.found;
    assert_eq!(
        past,
        Found::Lease,
        "the entry was seen, and nobody has the lease"
    );
    // The one that has the lease now finds a newer one.
    let newer = entry(9, now + 1);
    assert_eq!(publish(store, names, 2, &newer).await, Published::Stored);
    assert_eq!(
        look(store, names, &[7; 16], 3).await.found,
        Found::Entry(newer)
    );
}

async fn younger_entry_stays(store: &dyn TokenStore, names: &Names) {
    let now = look(store, names, b"", 1).await.now;
    let young = entry(1, now);
    assert_eq!(publish(store, names, 1, &young).await, Published::Stored);
    match publish(store, names, 2, &entry(2, now - 1)).await {
        Published::Younger { now: then, entry } => {
            assert_eq!(entry, young);
            assert!(then >= now);
        }
        Published::Stored => panic!("an older entry replaced a younger one"),
    }
    // Equal times, and a later one.
    for (mark, born) in [(3, now), (4, now + 5)] {
        let entry = entry(mark, born);
        assert_eq!(publish(store, names, 5, &entry).await, Published::Stored);
        assert_eq!(look(store, names, b"", 6).await.found, Found::Entry(entry));
    }
    // The owner of the lease may store what was requested earlier.
    assert_eq!(look(store, names, &[4; 16], 7).await.found, Found::Lease);
    let earlier = entry(8, now);
    assert_eq!(publish(store, names, 7, &earlier).await, Published::Stored);
    assert_eq!(
        look(store, names, &[8; 16], 9).await.found,
        Found::Lease,
        "it kept the lease"
    );
}

async fn note_forbids_requests(store: &dyn TokenStore, names: &Names) {
    let now = look(store, names, b"", 1).await.now;
    let ahead = note(now + 600_000);
    release(store, names, 1, &ahead).await;
    let forbidden = look(store, names, b"", 2).await;
    assert_eq!(forbidden.found, Found::Note);
    assert_eq!(forbidden.note.as_deref(), Some(&*ahead));
    // An entry counts more than a note.
    let stored = entry(1, now);
    let over = note(now - 1);
    release(store, names, 2, &over).await;
    let allowed = look(store, names, b"", 2).await;
    assert_eq!(allowed.found, Found::Lease, "the note's time is over");
    assert_eq!(
        allowed.note.as_deref(),
        Some(&*over),
        "its count is still of use"
    );
    release(store, names, 2, &ahead).await;
    assert_eq!(publish(store, names, 3, &stored).await, Published::Stored);
    let found = look(store, names, b"", 4).await;
    assert_eq!(
        (found.found, found.note),
        (Found::Entry(stored), None),
        "the note was removed"
    );
    // A note that is none of ours forbids nothing.
    for junk in [&b"x"[..], &[b'9'; 20], &[b'9'; 18]] {
        release(store, names, 4, junk).await;
        assert_eq!(
            look(store, names, &[1; 16], 4).await.found,
            Found::Lease,
            "{junk:?}"
        );
    }
}

async fn without_a_lease_it_only_looks(store: &dyn TokenStore, names: &Names) {
    let only_look = async |number| {
        let found = store
            .look_up(names, b"", &owner(number), Duration::ZERO)
            .await;
        found.expect("a look-up failed").found
    };
    assert_eq!(only_look(1).await, Found::Held(Some(Duration::ZERO)));
    assert_eq!(
        look(store, names, b"", 2).await.found,
        Found::Lease,
        "it took the lease"
    );
    assert!(matches!(only_look(1).await, Found::Held(Some(left)) if !left.is_zero()));
    assert_eq!(only_look(2).await, Found::Lease, "it is the owner's");
    let now = look(store, names, b"", 2).await.now;
    let stored = entry(1, now);
    assert_eq!(publish(store, names, 2, &stored).await, Published::Stored);
    assert_eq!(only_look(1).await, Found::Entry(stored));
}

async fn one_of_many_gets_the_lease(store: &dyn TokenStore, names: &Names) {
    let looks = (1..=50).map(|number| look(store, names, b"", number));
    let found = join_all(looks).await;
    let leases = found.iter().filter(|look| look.found == Found::Lease);
    assert_eq!(leases.count(), 1, "leases of 50 looks at the same moment");
}

/// The publication of a process whose lease has ended.
async fn late_publication_changes_nothing_else(store: &dyn TokenStore, names: &Names) {
    let now = look(store, names, b"", 1).await.now;
    let late = entry(2, now - 1);
    assert_eq!(publish(store, names, 2, &late).await, Published::Stored);
    let found = look(store, names, &[2; 16], 3).await.found;
    assert!(matches!(found, Found::Held(_)), "it ended another's lease");
    let by_owner = entry(1, now);
    assert_eq!(publish(store, names, 1, &by_owner).await, Published::Stored);

    assert_eq!(look(store, names, &[1; 16], 4).await.found, Found::Lease);
    let ahead = note(now + 600_000);
    release(store, names, 4, &ahead).await;
    let published = publish(store, names, 2, &late).await;
    assert!(
        matches!(published, Published::Younger { .. }),
        "{published:?}"
    );
    let found = look(store, names, &[1; 16], 5).await.found;
    assert_eq!(found, Found::Note, "it removed the note");
}

async fn all_keys_expire(store: &dyn TokenStore, names: impl Fn(&str) -> Names) {
    let lease = names("lease");
    let look_up = store.look_up(&lease, b"", &owner(1), SHORT).await;
    assert_eq!(look_up.expect("a look-up failed").found, Found::Lease);
    look_until_lease(store, &lease, 2).await;

    // Its owner does not renew it by looking.
    let renewed = names("renewed");
    for lease in [KEEP, 2 * KEEP] {
        let look_up = store.look_up(&renewed, b"", &owner(1), lease).await;
        assert_eq!(look_up.expect("a look-up failed").found, Found::Lease);
    }
    match look(store, &renewed, b"", 2).await.found {
        Found::Held(Some(left)) => assert!(left <= KEEP, "renewed: {left:?}"),
        other => panic!("another owner has the lease, but {other:?} was found"),
    }

    let value = names("value");
    let now = look(store, &value, b"", 1).await.now;
    let published = store
        .publish(&value, &owner(1), &entry(1, now), SHORT)
        .await;
    published.expect("a publication failed");
    look_until_lease(store, &value, 2).await;

    // A note stays after the time until which it forbids requests.
    let rest = names("rest");
    let now = look(store, &rest, b"", 1).await.now;
    let until = note(now + SHORT.as_millis() as u64);
    release(store, &rest, 1, &until).await;
    assert_eq!(look_until_lease(store, &rest, 2).await.note, Some(until));

    let noted = names("note");
    let now = look(store, &noted, b"", 1).await.now;
    let ahead = note(now + 600_000);
    let released = store.release(&noted, &owner(1), &ahead, SHORT).await;
    released.expect("a release failed");
    assert_eq!(look_until_lease(store, &noted, 2).await.note, None);
}

/// Values that somebody with access to the store could write.
async fn junk_is_passed_over(store: &dyn TokenStore, names: impl Fn(&str) -> Names) {
    for junk in [&b"x"[..], b"\x01\x01", &[0xff; 40], &[b'9'; 31]] {
        let names = names(&junk.len().to_string());
        assert_eq!(publish(store, &names, 1, junk).await, Published::Stored);
        // What is passed over is known by its bytes in the place of the mark. A value
        // that ends before it counts as none.
        let mark = junk.get(2..junk.len().min(18)).unwrap_or_default();
        for (seen, is_found) in [
            (&b""[..], !mark.is_empty()),
            (&[7; 16], true),
            (mark, false),
        ] {
            let found = look(store, &names, seen, 1).await.found;
            let expected = match is_found {
                true => Found::Entry(junk.to_vec()),
                false => Found::Lease,
            };
            assert_eq!(found, expected, "{junk:?}, seen {seen:?}");
        }
        let over = entry(1, 1_700_000_000_000);
        assert_eq!(publish(store, &names, 1, &over).await, Published::Stored);
        assert_eq!(look(store, &names, b"", 2).await.found, Found::Entry(over));
    }
}
