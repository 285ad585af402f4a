use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const PRINCIPAL: Principal<'static> = Principal {
    auth_url: "https://auth.layerfi.com/oauth2/token",
    scope: "https://sandbox.layerfi.com/sandbox",
    client_id: "client-1",
    basic_encoding: "raw",
};
const BUSINESS: BusinessScope<'static> = BusinessScope {
    api_url: "https://sandbox.layerfi.com",
    business_id: "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    session_duration: 3600,
};
const BORN: u64 = 1_795_705_275_713;
const LIFETIME: Duration = Duration::from_secs(3600);
const TOKEN: &str = "fake.token.0123456789";

fn root(secret: &str, shared_key: Option<&str>) -> RootKey {
    RootKey::new(&secret.into(), shared_key.map(Secret::from).as_ref())
}

fn access() -> SealKeys {
    root("fake-secret", None).access_token("layerfi", &PRINCIPAL)
}

fn business() -> SealKeys {
    root("fake-secret", None).business_token("layerfi", &PRINCIPAL, &BUSINESS)
}

fn entry(keys: &SealKeys) -> Vec<u8> {
    keys.seal_entry(BORN, BORN + 17, LIFETIME, TOKEN).unwrap()
}

fn note() -> Note {
    Note {
        failures: 3,
        kind: 6,
        status: 401,
        oauth_error: "invalid_client".to_owned(),
    }
}

fn sealed_note(keys: &SealKeys) -> Vec<u8> {
    keys.seal_note(BORN, &note()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `seal_vectors.json` was computed with Python's `hmac`, `hashlib` and `cryptography`.
#[test]
fn b30_names_entries_and_notes_are_those_of_the_vectors() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../seal_vectors.json")).unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in &vectors {
        let text = |field: &str| vector[field].as_str().unwrap();
        let number = |field: &str| vector[field].as_u64().unwrap();
        let what = text("name");
        let root = root(text("secret"), vector["shared_cache_key"].as_str());
        let principal = Principal {
            auth_url: text("auth_url"),
            scope: text("scope"),
            client_id: text("client_id"),
            basic_encoding: text("basic_encoding"),
        };
        let keys = match vector.get("business_id") {
            None => root.access_token(text("prefix"), &principal),
            Some(_) => root.business_token(
                text("prefix"),
                &principal,
                &BusinessScope {
                    api_url: text("api_url"),
                    business_id: text("business_id"),
                    session_duration: number("session_duration").try_into().unwrap(),
                },
            ),
        };
        let names = Names {
            value: text("value_name").to_owned(),
            lease: text("lease_name").to_owned(),
            note: text("note_name").to_owned(),
        };
        assert_eq!(keys.names(), &names, "{what}");
        let token = text("token");
        assert_eq!(hex(&keys.mark(token)), text("mark"), "{what}");

        let nonce: Vec<u8> = (0..NONCE_LEN)
            .map(|at| u8::from_str_radix(&text("nonce")[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let nonce: [u8; NONCE_LEN] = nonce.try_into().unwrap();
        let (born, wall) = (number("born"), number("wall"));
        let lifetime = Duration::from_millis(number("lifetime_ms"));
        let sealed = keys
            .seal_entry_with(nonce, born, wall, lifetime, token)
            .unwrap();
        assert_eq!(hex(&sealed), text("entry"), "{what}");
        let opened = keys.open_entry(&sealed).unwrap();
        assert_eq!(
            (opened.born, opened.wall, opened.lifetime),
            (born, wall, lifetime),
            "{what}"
        );
        assert_eq!(opened.token.expose(), token, "{what}");
        assert_eq!(Some(opened.mark), mark_of(&sealed), "{what}");

        let note = Note {
            failures: number("failures").try_into().unwrap(),
            kind: number("kind").try_into().unwrap(),
            status: number("status").try_into().unwrap(),
            oauth_error: text("oauth_error").to_owned(),
        };
        let until = number("until");
        let sealed = keys.seal_note_with(nonce, until, &note).unwrap();
        assert_eq!(hex(&sealed), text("note"), "{what}");
        assert_eq!(keys.open_note(&sealed), Ok((until, note)), "{what}");
    }
}

#[test]
fn b30_altered_cut_and_extended_entries_and_notes_do_not_open() {
    let mut refused = 0;
    for keys in [access(), business()] {
        let (entry, note) = (entry(&keys), sealed_note(&keys));
        assert!(keys.open_entry(&entry).is_ok() && keys.open_note(&note).is_ok());
        for sealed in [entry, note] {
            let mut changed = Vec::new();
            for at in 0..sealed.len() {
                for bits in [1, 0x80, 0xff] {
                    let mut altered = sealed.clone();
                    altered[at] ^= bits;
                    changed.push(altered);
                }
                changed.push(sealed[..at].to_vec());
                changed.push(sealed[at + 1..].to_vec());
            }
            changed.push([&sealed[..], &[0]].concat());
            for altered in changed {
                assert!(
                    keys.open_entry(&altered).is_err() && keys.open_note(&altered).is_err(),
                    "an altered entry opened: {}",
                    hex(&altered)
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 1_500, "{refused} altered entries");
}

/// Contexts that differ from the first one in one respect each.
fn contexts() -> Vec<(&'static str, SealKeys)> {
    let of = |change: fn(&mut Principal<'static>)| {
        let mut principal = PRINCIPAL;
        change(&mut principal);
        root("fake-secret", None).access_token("layerfi", &principal)
    };
    let for_business = |change: fn(&mut BusinessScope<'static>)| {
        let mut scope = BUSINESS;
        change(&mut scope);
        root("fake-secret", None).business_token("layerfi", &PRINCIPAL, &scope)
    };
    let under = |secret: &str, shared_key: Option<&str>| {
        root(secret, shared_key).access_token("layerfi", &PRINCIPAL)
    };
    vec![
        ("the first", access()),
        (
            "auth_url",
            of(|it| it.auth_url = "https://auth.layerfi.com/oauth2/token/"),
        ),
        ("scope", of(|it| it.scope = "")),
        ("client_id", of(|it| it.client_id = "client-2")),
        ("basic_encoding", of(|it| it.basic_encoding = "form")),
        (
            "where a field ends",
            of(|it| {
                it.client_id = "client-";
                it.basic_encoding = "1raw";
            }),
        ),
        (
            "the order of fields",
            of(|it| {
                it.client_id = "raw";
                it.basic_encoding = "client-1";
            }),
        ),
        ("kind", business()),
        (
            "api_url",
            for_business(|it| it.api_url = "https://api.layerfi.com"),
        ),
        (
            "business_id",
            for_business(|it| it.business_id = "3fa85f64-5717-4562-b3fc-2c963f66afa7"),
        ),
        (
            "session_duration",
            for_business(|it| it.session_duration = 3601),
        ),
        (
            "where a field of a business ends",
            for_business(|it| {
                it.business_id = "3fa85f64-5717-4562-b3fc-2c963f66afa63";
                it.session_duration = 600;
            }),
        ),
        ("secret", under("fake-secret-2", None)),
        ("shared key", under("fake-secret", Some("key"))),
        ("another shared key", under("fake-secret", Some("key2"))),
        ("where the secret ends", under("fake-secre", Some("t"))),
    ]
}

#[test]
fn b30_each_field_of_the_context_changes_the_names() {
    let contexts = contexts();
    let names = |keys: &SealKeys| {
        let Names { value, lease, note } = keys.names().clone();
        [value, lease, note]
    };
    let all: HashSet<_> = contexts.iter().flat_map(|(_, keys)| names(keys)).collect();
    assert_eq!(
        all.len(),
        3 * contexts.len(),
        "two contexts have the same names"
    );
    assert_eq!(access().names(), access().names());
    assert_eq!(business().names(), business().names());
    // In the cluster, all three are in the slot of the text in braces.
    let slots: HashSet<_> = names(&access())
        .iter()
        .map(|name| name[name.find('{').unwrap()..=name.find('}').unwrap()].to_owned())
        .collect();
    assert_eq!(slots.len(), 1);
    // Another prefix is another place for the same entries.
    let other = root("fake-secret", None).access_token("other", &PRINCIPAL);
    assert_ne!(other.names(), access().names());
    assert!(other.open_entry(&entry(&access())).is_ok());
}

#[test]
fn b30_entries_and_notes_of_another_context_do_not_open() {
    let contexts = contexts();
    for (sealed_for, by) in &contexts {
        for (opened_for, keys) in &contexts {
            let same = sealed_for == opened_for;
            let opened = keys.open_entry(&entry(by)).is_ok();
            assert_eq!(opened, same, "entry: {sealed_for}, opened for {opened_for}");
            let opened = keys.open_note(&sealed_note(by)).is_ok();
            assert_eq!(opened, same, "note: {sealed_for}, opened for {opened_for}");
        }
    }
}

#[test]
fn b30_entries_notes_kinds_and_versions_are_not_exchanged() {
    let keys = access();
    let (entry, note) = (entry(&keys), sealed_note(&keys));
    assert_eq!(keys.open_note(&entry), Err(Rejected::Foreign));
    assert_eq!(keys.open_entry(&note).unwrap_err(), Rejected::Foreign);
    for (byte, value, expected) in [
        (0, 0, Rejected::Foreign),
        (0, 2, Rejected::Foreign),
        (1, 2, Rejected::Foreign),
        (1, 0x81, Rejected::Foreign),
        (2, 0, Rejected::Damaged),
    ] {
        let mut altered = entry.clone();
        altered[byte] = value;
        assert_eq!(
            keys.open_entry(&altered).unwrap_err(),
            expected,
            "byte {byte} is {value}"
        );
    }
    // As a note that has the kind of an entry, and the reverse.
    let mut disguised = note.clone();
    disguised[1] = 1;
    assert_eq!(keys.open_entry(&disguised).unwrap_err(), Rejected::Damaged);
    let mut disguised = entry;
    disguised[1] = 0x81;
    assert_eq!(keys.open_note(&disguised), Err(Rejected::Damaged));
}

/// An authentic text under a wrong mark, which only an owner of the secret can make.
#[test]
fn b30_an_entry_with_the_mark_of_another_token_does_not_open() {
    let keys = access();
    let seal = |mark| {
        let text = [&[0; 8][..], &[0; 8], TOKEN.as_bytes()];
        let nonce = random_nonce().unwrap();
        let sealed = keys.seal((VALUE_LABEL, ACCESS_TOKEN, mark, BORN, nonce), &text);
        keys.open_entry(&sealed.unwrap())
    };
    assert!(seal(keys.mark(TOKEN)).is_ok());
    assert_eq!(seal(keys.mark("another")).unwrap_err(), Rejected::Damaged);
    for at in 0..16 {
        let mut mark = keys.mark(TOKEN);
        mark[at] ^= 1;
        assert_eq!(seal(mark).unwrap_err(), Rejected::Damaged, "byte {at}");
    }
}

#[test]
fn b30_entries_over_20_kib_are_not_sealed_and_not_opened() {
    let keys = access();
    let overhead = entry(&keys).len() - TOKEN.len();
    let longest = "x".repeat(MAX_ENTRY - overhead);
    let sealed = keys.seal_entry(BORN, BORN, LIFETIME, &longest).unwrap();
    assert_eq!(sealed.len(), MAX_ENTRY);
    assert_eq!(keys.open_entry(&sealed).unwrap().token.expose(), longest);
    let too_long = format!("{longest}x");
    assert_eq!(keys.seal_entry(BORN, BORN, LIFETIME, &too_long), None);
    let foreign = [&sealed[..], &[0]].concat();
    assert_eq!(keys.open_entry(&foreign).unwrap_err(), Rejected::Foreign);
}

#[test]
fn b30_times_that_do_not_fit_are_not_sealed() {
    let keys = access();
    assert!(keys.seal_entry(LAST_TIME, 0, LIFETIME, TOKEN).is_some());
    assert_eq!(keys.seal_entry(LAST_TIME + 1, 0, LIFETIME, TOKEN), None);
    assert_eq!(keys.seal_entry(BORN, 0, Duration::MAX, TOKEN), None);
    assert_eq!(keys.seal_note(LAST_TIME + 1, &note()), None);
    assert_eq!(time_of(b"0000000000007"), Some(7));
    for not_a_time in [b"+000000000007", b" 000000000007", b"000000000000a"] {
        assert_eq!(time_of(not_a_time), None);
    }
}

#[test]
fn b30_each_seal_has_another_nonce() {
    let keys = access();
    let sealed: HashSet<_> = (0..200)
        .flat_map(|_| [entry(&keys), sealed_note(&keys)])
        .map(|sealed| sealed[HEAD_LEN - NONCE_LEN..HEAD_LEN].to_vec())
        .collect();
    assert_eq!(sealed.len(), 400);
}

#[test]
fn b20_b30_sealed_text_and_debug_output_show_no_token() {
    let keys = access();
    let sealed = entry(&keys);
    assert!(
        !sealed
            .windows(4)
            .any(|part| TOKEN.as_bytes().starts_with(part))
    );
    let opened = keys.open_entry(&sealed).unwrap();
    assert!(!format!("{opened:?}").contains("fake"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn b30_what_is_sealed_opens(
        born in 0..=LAST_TIME,
        wall: u64,
        lifetime: u64,
        token in ".{0,200}",
        note in (any::<u8>(), any::<u8>(), any::<u16>(), ".{0,60}"),
        for_business: bool,
    ) {
        let keys = if for_business { business() } else { access() };
        let lifetime = Duration::from_millis(lifetime);
        let opened = keys.open_entry(&keys.seal_entry(born, wall, lifetime, &token).unwrap());
        let opened = opened.unwrap();
        prop_assert_eq!(
            (opened.born, opened.wall, opened.lifetime, opened.token.expose(), opened.mark),
            (born, wall, lifetime, &*token, keys.mark(&token))
        );
        let (failures, kind, status, oauth_error) = note;
        let note = Note { failures, kind, status, oauth_error };
        let opened = keys.open_note(&keys.seal_note(born, &note).unwrap());
        prop_assert_eq!(opened, Ok((born, note)));
    }

    #[test]
    fn b30_no_bytes_open_or_panic(bytes: Vec<u8>, kind in 0..4_u8, from in 0..200_usize) {
        let keys = access();
        let genuine = entry(&keys);
        let start = &genuine[..from.min(genuine.len() - 1)];
        for bytes in [
            bytes.clone(),
            [&[VERSION, kind][..], &bytes].concat(),
            [&[VERSION, kind | NOTE][..], &bytes].concat(),
            [start, &bytes].concat(),
        ] {
            // A genuine entry may come about by its last byte.
            prop_assert!(bytes == genuine || keys.open_entry(&bytes).is_err());
            prop_assert!(keys.open_note(&bytes).is_err());
            let _ = mark_of(&bytes);
        }
    }

    #[test]
    fn b30_equal_names_mean_equal_fields(
        one in proptest::array::uniform4("[ab]{0,3}"),
        other in proptest::array::uniform4("[ab]{0,3}"),
    ) {
        let names = |fields: &[String; 4]| {
            let [auth_url, scope, client_id, basic_encoding] = fields;
            let principal = Principal { auth_url, scope, client_id, basic_encoding };
            root("fake-secret", None).access_token("layerfi", &principal).names().clone()
        };
        prop_assert_eq!(names(&one) == names(&other), one == other);
    }
}
