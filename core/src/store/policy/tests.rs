use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn a_note(failures: u8, kind: ErrorKind, status: u16, oauth_error: &str) -> Note {
    Note {
        failures,
        kind: kind_number(kind),
        status,
        oauth_error: oauth_error.to_owned(),
    }
}

fn rest_of(left: Duration, failures: u8) -> Answer {
    let note = a_note(failures, ErrorKind::Api, 503, "");
    rest(1_000 + left.as_millis() as u64, note, 1_000)
}

const MISS: Situation = Situation {
    refresh: None,
    silence: Duration::from_secs(1),
    patience: Duration::from_secs(13),
    left: Duration::from_secs(30),
    reserve: Duration::from_secs(3),
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
    let passed = |passed| Situation { passed, ..MISS };
    let fails = |answer: &Answer| match answer {
        Answer::Note(rest) => Step::Fail(rest.clone()),
        _ => panic!("this is not a note: {answer:?}"),
    };
    let many = rest_of(secs(2), 4);
    let too_late = rest_of(secs(30), 1);
    let refused_id = rest(
        6_000,
        a_note(1, ErrorKind::OAuth, 401, "invalid_client"),
        1_000,
    );
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
        ("a note", rest_of(secs(2), 3), MISS, Step::Wait(ms(2_125))),
        (
            "a note, during a refresh",
            rest_of(secs(2), 3),
            refresh(800),
            Step::Postpone(ms(2_500)),
        ),
        ("many failures", many.clone(), MISS, fails(&many)),
        (
            "many failures, during a refresh",
            many.clone(),
            refresh(800),
            Step::Postpone(ms(2_500)),
        ),
        ("a refusal", refused_id.clone(), MISS, fails(&refused_id)),
        (
            "a note beyond the deadline",
            too_late.clone(),
            MISS,
            fails(&too_late),
        ),
        (
            "a note beyond any of ours",
            rest_of(secs(62), 1),
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
        let decided = decide(&answer, &situation, 0.5);
        let same = match (&decided, &step) {
            // A share of a float is rarely a whole number of nanoseconds.
            (Step::Postpone(a), Step::Postpone(b)) => a.abs_diff(*b) < ms(1),
            (a, b) => a == b,
        };
        assert!(same, "{what}: {decided:?} in place of {step:?}");
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
    assert_eq!((own_time(secs(30)), own_time(secs(4))), (secs(3), secs(1)));
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
            Some((10, secs(5))),
        ),
        (
            "the last that is counted",
            unavailable,
            before(255),
            quiet,
            Some((255, secs(5))),
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
            "no answer, which may be this machine's fault",
            error(ErrorKind::Transport, 0, None, None),
            before(9),
            quiet,
            Some((3, ms(1_000))),
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

#[test]
fn b30_store_keeps_no_token_beyond_its_use() {
    for (lifetime, reserve, kept) in [(1_000, 0.0, 950), (1_000, 0.5, 500), (1_000, 1.0, 0)] {
        assert_eq!(keep(secs(lifetime), reserve), secs(kept));
    }
}
