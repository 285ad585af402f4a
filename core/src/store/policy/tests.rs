use super::*;
use crate::error::ErrorKind;
use crate::store::tests::a_note;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn rest_of(left: Duration, failures: u8, status: u16) -> Rest {
    let kind = match status {
        0 => ErrorKind::Timeout,
        _ => ErrorKind::Api,
    };
    let note = a_note(failures, kind, status, "");
    Rest { left, note }
}

const MISS: Situation = Situation {
    refresh: None,
    silence: Duration::from_secs(1),
    patience: Duration::from_secs(13),
    left: Duration::from_secs(30),
    reserve: Duration::from_secs(3),
    has_news: false,
    is_unanswered: false,
    passed: 0,
};

fn refresh(age: u64) -> Situation {
    Situation {
        refresh: Some(Held {
            age: secs(age),
            lifetime: secs(1_000),
        }),
        ..MISS
    }
}

/// Each row of what a fetch may see.
#[test]
fn b30_each_answer_of_the_store_has_one_next_step() {
    let held = |ms_left| Answer::Held(Some(ms(ms_left)));
    let silent = Situation {
        silence: secs(14),
        ..MISS
    };
    let short = |age| Situation {
        refresh: Some(Held {
            age: ms(age),
            lifetime: secs(10),
        }),
        ..MISS
    };
    let hurried = Situation {
        left: secs(3),
        ..MISS
    };
    let unanswered = Situation {
        is_unanswered: true,
        ..hurried.clone()
    };
    let passed = |passed| Situation { passed, ..MISS };
    for (what, answer, situation, step) in [
        (
            "an entry that fits",
            Answer::Entry { fits: true },
            MISS,
            Step::Adopt,
        ),
        (
            "the same, during a refresh",
            Answer::Entry { fits: true },
            refresh(800),
            Step::Adopt,
        ),
        (
            "an entry that does not fit",
            Answer::Entry { fits: false },
            passed(2),
            Step::LookPast,
        ),
        (
            "one more of them",
            Answer::Entry { fits: false },
            passed(3),
            Step::Alone,
        ),
        ("the lease", Answer::Lease, MISS, Step::Fetch),
        (
            "the lease, during a refresh",
            Answer::Lease,
            refresh(800),
            Step::Fetch,
        ),
        ("a full store", Answer::Refused, MISS, Step::Alone),
        (
            "a full store, during a refresh",
            Answer::Refused,
            refresh(800),
            Step::Alone,
        ),
        ("a store that failed", Answer::Fault, MISS, Step::Alone),
        (
            "the same, early in a refresh",
            Answer::Fault,
            refresh(800),
            Step::Postpone(secs(85)),
        ),
        (
            "the same, late in a refresh",
            Answer::Fault,
            refresh(850),
            Step::Alone,
        ),
        (
            "a note that does not open",
            Answer::UnknownNote,
            MISS,
            Step::Alone,
        ),
        ("a new lease", held(3_000), MISS, Step::Wait(ms(50))),
        (
            "a lease of a second ago",
            held(2_000),
            MISS,
            Step::Wait(ms(500)),
        ),
        ("a lease that ends", held(1), MISS, Step::Wait(ms(500))),
        (
            "a lease, during a refresh",
            held(2_000),
            refresh(800),
            Step::Postpone(ms(2_500)),
        ),
        (
            "a lease, during a refresh of a short-lived token",
            held(2_000),
            short(8_050),
            Step::Postpone(ms(1_000)),
        ),
        (
            "the same, shortly before it expires",
            held(2_000),
            short(9_500),
            Step::Postpone(ms(250)),
        ),
        (
            "a lease, after a long silence",
            held(2_000),
            silent,
            Step::Alone,
        ),
        (
            "a lease, before the deadline",
            held(2_000),
            hurried,
            Step::Alone,
        ),
        (
            "the same after a request without an answer",
            held(2_000),
            unanswered,
            Step::Wait(ms(500)),
        ),
        ("a lease that is too long", held(3_501), MISS, Step::Alone),
        (
            "the same, during a refresh",
            held(3_501),
            refresh(800),
            Step::Alone,
        ),
        (
            "a lease without an end",
            Answer::Held(None),
            MISS,
            Step::Alone,
        ),
    ] {
        assert_decides(what, &answer, &situation, &step);
    }
}

fn assert_decides(what: &str, answer: &Answer, situation: &Situation, step: &Step) {
    let decided = decide(answer, situation, 0.5);
    let same = match (&decided, step) {
        // A share of a float is rarely a whole number of nanoseconds.
        (Step::Postpone(a), Step::Postpone(b)) => a.abs_diff(*b) < ms(1),
        (a, b) => a == b,
    };
    assert!(same, "{what}: {decided:?} in place of {step:?}");
}

/// Each row of what failure notes say.
#[test]
fn b30_call_fails_by_a_failure_of_others_only_if_it_was_after_its_start() {
    let few = rest_of(secs(2), 3, 503);
    let many = rest_of(secs(2), 4, 503);
    let silent = rest_of(secs(2), 9, 0);
    let told_to_wait = rest_of(secs(20), 1, 429);
    let refused_id = Rest {
        left: secs(5),
        note: a_note(1, ErrorKind::OAuth, 401, "invalid_client"),
    };
    let news = Situation {
        has_news: true,
        ..MISS
    };
    let left = |seconds, situation: &Situation| Situation {
        left: secs(seconds),
        ..situation.clone()
    };
    let unanswered = Situation {
        is_unanswered: true,
        ..news.clone()
    };
    let wait = Step::Wait(ms(2_125));
    let fail = |rest: &Rest| Step::Fail(rest.clone());
    for (what, rest, situation, step) in [
        ("a note", &few, MISS, wait.clone()),
        ("another note", &few, news.clone(), wait.clone()),
        ("many failures before the call", &many, MISS, wait.clone()),
        ("many failures", &many, news.clone(), fail(&many)),
        (
            "during a refresh",
            &many,
            refresh(800),
            Step::Postpone(ms(2_500)),
        ),
        (
            "a refusal before the call",
            &refused_id,
            MISS,
            fail(&refused_id),
        ),
        ("no answers", &silent, news.clone(), wait.clone()),
        (
            "no answers, at the end",
            &silent,
            left(3, &news),
            Step::Alone,
        ),
        (
            "no answer to this process either",
            &silent,
            unanswered.clone(),
            wait,
        ),
        (
            "the same, at the end",
            &silent,
            left(3, &unanswered),
            Step::Wait(ms(2_125)),
        ),
        (
            "the same, at the very end",
            &silent,
            left(2, &unanswered),
            Step::Wait(ms(2_125)),
        ),
        ("Retry-After", &told_to_wait, MISS, Step::Wait(ms(20_125))),
        (
            "Retry-After beyond the deadline",
            &told_to_wait,
            left(20, &MISS),
            fail(&told_to_wait),
        ),
        (
            "a call with a short time",
            &many,
            left(2, &MISS),
            Step::Alone,
        ),
        ("the same after a failure", &few, left(2, &news), fail(&few)),
    ] {
        assert_decides(what, &Answer::Note(rest.clone()), &situation, &step);
    }
}

#[test]
fn b30_processes_that_wait_look_again_at_different_times() {
    for (left, random, wait) in [
        (ms(3_000), 0.0, ms(25)),
        (ms(3_000), 1.0, ms(75)),
        (ms(2_400), 0.5, ms(300)),
        (ms(0), 0.0, ms(250)),
        (ms(0), 1.0, ms(750)),
    ] {
        assert_eq!(poll(left, random), wait, "{left:?} {random}");
    }
}

#[test]
fn b30_patience_leaves_half_of_the_call() {
    for (attempt, timeout, random, expected) in [
        (secs(10), secs(30), 0.0, secs(13)),
        (secs(10), secs(30), 1.0, ms(15_600)),
        (secs(10), secs(4), 0.0, secs(2)),
        (secs(1), secs(30), 0.0, secs(4)),
    ] {
        assert_eq!(patience(attempt, timeout, random), expected);
    }
    assert_eq!(
        (own_time(secs(30), 0.0), own_time(secs(4), 0.0)),
        (secs(3), secs(1))
    );
    assert_eq!(own_time(secs(30), 1.0), secs(9));
    assert_eq!(
        (store_time(secs(30)), store_time(secs(1))),
        (secs(2), ms(250))
    );
}

#[test]
fn b30_age_is_the_greater_one_of_both_clocks() {
    const T: u64 = 1_800_000_000_000;
    for (what, born, wall, store, reader, age) in [
        ("equal clocks", T, T, T + 5_000, T + 5_000, Some(5_000)),
        (
            "a store that stepped back",
            T,
            T,
            T - 1_000,
            T + 5_000,
            Some(5_000),
        ),
        (
            "a reader that is behind",
            T,
            T,
            T + 5_000,
            T - 60_000,
            Some(5_000),
        ),
        (
            "a publisher that is ahead",
            T,
            T + 60_000,
            T + 5_000,
            T + 5_000,
            Some(5_000),
        ),
        (
            "a publisher that is behind",
            T,
            T - 60_000,
            T + 5_000,
            T + 5_000,
            Some(65_000),
        ),
        ("both behind", T, T, T - 1, T - 1, Some(0)),
        ("a little ahead of the store", T + 2_000, T, T, T, Some(0)),
        ("far ahead of the store", T + 2_001, T, T, T, None),
        ("the end of time", u64::MAX, 0, 0, 0, None),
    ] {
        let found = super::age(born, wall, store, reader);
        assert_eq!(found, age.map(ms), "{what}");
    }
}

#[test]
fn b30_entry_must_be_young_enough() {
    let miss = Needs {
        younger_than: None,
        oldest: secs(1_000),
    };
    let half = Needs {
        oldest: secs(500),
        ..miss.clone()
    };
    let refresh = |held| Needs {
        younger_than: Some(secs(held)),
        oldest: secs(1_000),
    };
    let refresh_of_half = Needs {
        oldest: secs(500),
        ..refresh(499)
    };
    for (what, age, is_refused, needs, fits_it) in [
        ("new", 0, false, &miss, true),
        ("nearly expired", 950, false, &miss, false),
        ("not quite", 949, false, &miss, true),
        ("with half of its life", 499, false, &half, true),
        (
            "with less than the caller requires",
            500,
            false,
            &half,
            false,
        ),
        ("younger than the held one", 700, false, &refresh(701), true),
        ("as old as the held one", 700, false, &refresh(700), false),
        ("due for a refresh", 750, false, &refresh(900), false),
        (
            "young for a caller who requires half",
            374,
            false,
            &refresh_of_half,
            true,
        ),
        (
            "due for a refresh with a reserve",
            375,
            false,
            &refresh_of_half,
            false,
        ),
        ("refused", 10, true, &miss, false),
    ] {
        let found = fits(secs(age), secs(1_000), is_refused, needs);
        assert_eq!(found, fits_it, "a token that is {what}");
    }
    assert!(
        !fits(Duration::ZERO, Duration::ZERO, false, &miss),
        "no life"
    );
}

#[test]
fn b30_store_keeps_no_token_beyond_its_use() {
    for (lifetime, reserve, kept) in [(1_000, 0.0, 950), (1_000, 0.5, 500), (1_000, 1.0, 0)] {
        assert_eq!(keep(secs(lifetime), reserve), secs(kept));
    }
}
