//! The commands against the emulator: what they print, and how they end.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the report"
)]

mod common;

use std::process::{Command, Stdio};

use common::{at, bare, ca_file, run, run_with_input, start};
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, Endpoint,
    Fault,
};
use serde_json::{Value, json};

#[test]
fn each_command_prints_what_it_is_for() {
    let layer = start(Emulator::builder());
    let token = run(at(&layer, &["token"]));
    assert_eq!(
        (token.code, token.stderr.as_str()),
        (0, ""),
        "{}",
        token.all()
    );
    assert!(token.stdout.starts_with("eyJ") && token.stdout.lines().count() == 1);

    let header = run(at(&layer, &["header"]));
    assert!(
        header.stdout.starts_with("Authorization: Bearer eyJ"),
        "{}",
        header.all()
    );

    let whoami = run(at(&layer, &["whoami"]));
    assert!(whoami.stdout.contains("Layer Example"), "{}", whoami.all());

    let business = run(at(
        &layer,
        &["business-token", DEMO_BUSINESS_ID, "--duration", "900"],
    ));
    assert!(business.stdout.starts_with("eyJ"), "{}", business.all());
    let log = layer.log();
    assert_eq!(log.last().unwrap().session_duration, Some(900));
    let agent = &log.last().unwrap().headers["user-agent"];
    assert!(agent.starts_with("layerfi-auth-cli/"), "{agent}");
}

#[test]
fn json_has_the_documented_fields() {
    let layer = start(Emulator::builder());
    let fields = |args: &[&str]| {
        let outcome = run(at(&layer, args));
        assert_eq!(outcome.code, 0, "{}", outcome.all());
        assert_eq!(outcome.stdout.lines().count(), 1);
        outcome.json()
    };
    let token = fields(&["--json", "token"]);
    assert_eq!(token["token_type"], "Bearer");
    assert!((3_590..=3_600).contains(&token["expires_in"].as_u64().unwrap()));
    let expires_at = token["expires_at"].as_str().unwrap();
    assert!(
        expires_at.len() == 20 && expires_at.ends_with('Z'),
        "{expires_at}"
    );

    let header = fields(&["header", "--json"]);
    assert!(
        header["authorization"]
            .as_str()
            .unwrap()
            .starts_with("Bearer eyJ")
    );

    let whoami = fields(&["whoami", "--json"]);
    assert_eq!(
        whoami,
        json!({
            "client_name": "Layer Example",
            "client_id": "018f1657-dc66-7482-917b-c0c0e532f52b",
            "environment": "custom",
            "api_url": layer.url(),
        })
    );

    let upper = DEMO_BUSINESS_ID.to_uppercase();
    let business = fields(&["business-token", &upper, "--json", "--duration", "60"]);
    assert_eq!(business["business_id"], DEMO_BUSINESS_ID);
    assert!((50..=60).contains(&business["expires_in"].as_u64().unwrap()));
    let mut names: Vec<_> = business.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "access_token",
            "business_id",
            "expires_at",
            "expires_in",
            "token_type"
        ]
    );
}

#[test]
fn every_kind_of_error_has_its_code_and_its_json() {
    let plain = || start(Emulator::builder());
    let faulty = |endpoint, fault: Fault| {
        let layer = plain();
        layer.fault(endpoint, fault.forever()).unwrap();
        layer
    };
    let over_tls = || start(Emulator::builder().tls(true));
    const HERE: &str = "http://127.0.0.1:1";
    const FILE: &str = "--client-secret-file";
    let too_many = json!({"errors": []});
    #[rustfmt::skip]
    let table: Vec<(Emulator, &[&str], i32, &str)> = vec![
        (plain(), &["business-token", "../x"], 2, "invalid_argument"),
        (plain(), &["business-token", DEMO_BUSINESS_ID, "--duration", "0"], 2, "invalid_argument"),
        (plain(), &["nonsense"], 2, "invalid_argument"),
        (plain(), &["token", "--timeout", "x"], 2, "invalid_argument"),
        (plain(), &["token", "--proxy", "http://user:pw@127.0.0.1:1"], 2, "invalid_argument"),
        (plain(), &["emulator", "--environment", "custom"], 2, "invalid_argument"),
        (plain(), &["token", "--client-id", "a:b"], 3, "config"),
        (plain(), &["token", "--api-url", "http://example.com"], 3, "config"),
        (plain(), &["token", "--timeout", "0"], 2, "invalid_argument"),
        (plain(), &["token", FILE, "/"], 4, "credentials"),
        (plain(), &["token", FILE, "/dev/null"], 4, "credentials"),
        (plain(), &["token", FILE, "/nonexistent/secret"], 4, "credentials"),
        (plain(), &["token", "--client-id", "nobody"], 5, "oauth"),
        (faulty(Endpoint::Whoami, Fault::status(403)), &["whoami"], 6, "api"),
        (faulty(Endpoint::Whoami, Fault::status(429).body(too_many)), &["whoami"], 7, "rate_limited"),
        (plain(), &["token", "--auth-url", HERE], 8, "transport"),
        (faulty(Endpoint::Token, Fault::hold()), &["token", "--timeout", "0.5"], 9, "timeout"),
        (over_tls(), &["token"], 10, "tls"),
        (faulty(Endpoint::Token, Fault::text("<html>")), &["token"], 11, "protocol"),
        (plain(), &["emulator", FILE, "/nonexistent/secret"], 12, "local"),
    ];
    for (layer, args, code, kind) in table {
        let outcome = run(at(&layer, &[args, &["--json"]].concat()));
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.all());
        let error = outcome.error();
        assert_eq!(error["kind"], kind, "{args:?}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(!error["remedy"].as_str().unwrap().is_empty(), "{error}");
        assert_eq!(error.as_object().unwrap().len(), 10, "{error}");
        assert_eq!(outcome.stdout, "", "{args:?}");

        let for_people = run(at(&layer, args));
        assert_eq!(for_people.code, code, "{args:?}: {}", for_people.all());
        assert!(
            for_people.stderr.starts_with("error: "),
            "{}",
            for_people.all()
        );
        assert!(
            for_people.stderr.contains("\n  try: "),
            "{}",
            for_people.all()
        );
    }
}

#[test]
fn an_errors_details_are_in_its_json() {
    let layer = start(Emulator::builder());
    let error = run(at(&layer, &["token", "--client-id", "nobody", "--json"])).error();
    assert_eq!(error["oauth_error"], "invalid_client");
    assert_eq!(error["http_status"], 400);
    assert_eq!(error["retryable"], false);
    assert_eq!(
        error["request_id"],
        layer.log().last().unwrap().request_id.as_str()
    );
    assert!(
        !error["message"].as_str().unwrap().contains("request id"),
        "{error}"
    );
    let error = run(at(&layer, &["token", "--scope", "", "--json"])).error();
    assert_eq!(error["field"], "scope");
}

#[test]
fn a_wrong_flag_is_named_as_the_flag_that_it_is() {
    for (args, flag) in [
        (
            ["--client-secret-file", "/nonexistent/secret"],
            "--client-secret-file",
        ),
        (["--timeout", "0"], "--timeout"),
    ] {
        let outcome = run(bare(
            &[
                &["token", "--client-id", "an-id", "--environment", "sandbox"][..],
                &args,
            ]
            .concat(),
        ));
        assert!(outcome.stderr.contains(flag), "{}", outcome.all());
        assert!(!outcome.stderr.contains("LAYER_"), "{}", outcome.all());
    }
}

#[test]
fn with_json_each_line_on_standard_error_is_json() {
    let layer = start(Emulator::builder());
    let outcome = run(at(
        &layer,
        &["token", "--client-id", "nobody", "--json", "-vv"],
    ));
    let mut lines: Vec<Value> = outcome
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let error = lines.pop().unwrap();
    assert_eq!(error["error"]["kind"], "oauth", "the error comes last");
    assert!(!lines.is_empty());
    for line in lines {
        let log = &line["log"];
        assert!(
            log["target"].as_str().unwrap().starts_with("layerfi_auth"),
            "{line}"
        );
        assert!(!log["message"].as_str().unwrap().is_empty(), "{line}");
        assert!(
            log["time"].is_string() && log["level"].is_string(),
            "{line}"
        );
        assert!(log["fields"].is_object(), "{line}");
    }
}

#[test]
fn flags_win_over_variables_even_over_wrong_ones() {
    let layer = start(Emulator::builder());
    let mut command = at(
        &layer,
        &["whoami", "--environment", "custom", "--client-id"],
    );
    command
        .arg(DEFAULT_CLIENT_ID)
        .env("LAYER_ENVIRONMENT", "nonsense")
        .env("LAYER_CLIENT_ID", "nobody");
    let outcome = run(command);
    assert_eq!(outcome.code, 0, "{}", outcome.all());
}

#[test]
fn the_remaining_settings_reach_the_engine() {
    // An id that is no UUID gets as far as the server, and no further here.
    let layer = start(Emulator::builder());
    for (flags, code) in [(&[][..], 2), (&["--allow-opaque-business-ids"], 6)] {
        let outcome = run(at(&layer, &[&["business-token", "my.id"], flags].concat()));
        assert_eq!(outcome.code, code, "{}", outcome.all());
    }

    let decoding = Emulator::builder().basic_decoding(BasicDecoding::Form);
    let layer = start(decoding.client("an-id", "a%2Bb+c"));
    for (encoding, code) in [("raw", 5), ("form", 0)] {
        let mut command = at(&layer, &["whoami", "--basic-encoding", encoding]);
        command
            .env("LAYER_CLIENT_ID", "an-id")
            .env("LAYER_CLIENT_SECRET", "a%2Bb+c");
        let outcome = run(command);
        assert_eq!(outcome.code, code, "{encoding}: {}", outcome.all());
    }

    // A label too long for DNS: refused with no packet sent.
    let nowhere = format!("https://{}.invalid", "a".repeat(64));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for (flags, proxied) in [
        (&[][..], true),
        (&["--no-proxy"], false),
        (&["--proxy", "http://127.0.0.1:1"], true),
    ] {
        let mut command = at(
            &layer,
            &[&["token", "--auth-url", &nowhere], flags].concat(),
        );
        command.env("HTTPS_PROXY", &proxy);
        let outcome = run(command);
        assert_eq!(outcome.code, 8, "{}", outcome.all());
        assert_eq!(
            outcome.stderr.contains("proxy"),
            proxied,
            "{flags:?}: {}",
            outcome.all()
        );
    }
}

#[test]
fn the_secret_comes_from_a_file_or_standard_input() {
    let layer = start(Emulator::builder());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{DEFAULT_CLIENT_SECRET}\n")).unwrap();
    let mut from_file = at(&layer, &["whoami", "--client-secret-file"]);
    from_file
        .arg(file.path())
        .env("LAYER_CLIENT_SECRET", "wrong");
    let outcome = run(from_file);
    assert_eq!(outcome.code, 0, "{}", outcome.all());

    for (input, code) in [
        (format!("{DEFAULT_CLIENT_SECRET}\n"), 0),
        (String::new(), 12),
    ] {
        let mut command = at(&layer, &["whoami", "--client-secret-stdin"]);
        command.env("LAYER_CLIENT_SECRET", "wrong");
        let outcome = run_with_input(command, Some(&input));
        assert_eq!(outcome.code, code, "{}", outcome.all());
    }
}

#[test]
fn a_secret_as_an_argument_is_refused_and_not_repeated() {
    for args in [
        &["token", "--client-secret", "canary"][..],
        &["--client-secret=canary", "token"],
        &["token", "--client-secret=canary", "--json"],
        &["token", "--client-secrets=canary"],
        &["token", "--proxy", "http://u:canary@127.0.0.1:1"],
    ] {
        let outcome = run(bare(args));
        assert_eq!(outcome.code, 2, "{}", outcome.all());
        assert!(!outcome.all().contains("canary"), "{}", outcome.all());
    }
}

#[test]
fn no_output_holds_the_secret_or_a_token_that_was_not_asked_for() {
    let secret = "canary-secret-4711";
    let layer = start(Emulator::builder().client("an-id", secret).tls(true));
    let ca = ca_file(&layer);
    let with_secret = |args: &[&str]| {
        let mut command = at(&layer, args);
        command
            .env("LAYER_CLIENT_ID", "an-id")
            .env("LAYER_CLIENT_SECRET", secret)
            .env("RUST_LOG", "trace")
            .env("LAYER_CA_FILE", ca.path());
        run(command)
    };
    let commands: &[&[&str]] = &[
        &["token"],
        &["header"],
        &["whoami"],
        &["business-token", DEMO_BUSINESS_ID],
        &["doctor"],
        &["--help"],
        &["emulator", "--help"],
        &["token", "--scope", "wrong"],
        &["token", "--auth-url", "http://127.0.0.1:1"],
    ];
    let mut seen = 0;
    for rotated in [false, true] {
        if rotated {
            layer.rotate("an-id", "another").unwrap();
        }
        for args in commands {
            for more in [&["-vv"][..], &["-vv", "--json"]] {
                let outcome = with_secret(&[args, more].concat());
                assert!(!outcome.all().contains("canary"), "{args:?}");
                // Basic's base64 of id and secret, and any token in the log.
                assert!(!outcome.all().contains("YW4taWQ6"), "{args:?}");
                assert!(
                    !outcome.stderr.contains("eyJ"),
                    "{args:?} {}",
                    outcome.stderr
                );
                if matches!(args[0], "whoami" | "doctor") {
                    assert!(!outcome.stdout.contains("eyJ"), "{}", outcome.all());
                }
                // Other libraries' logs are not let through: nobody here answers for them.
                let told = |line: &&str| line.starts_with("20") || line.starts_with("{\"log\"");
                for line in outcome.stderr.lines().filter(told) {
                    assert!(
                        line.contains(" layerfi_auth") || line.contains("\"layerfi_auth"),
                        "{line}"
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "-vv tells something");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let layer = start(Emulator::builder());
    for args in [
        &["token"][..],
        &["whoami", "--json"],
        &["doctor"],
        &["demo"],
    ] {
        let mut command = at(&layer, args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = common::Running(command.spawn().unwrap());
        drop(child.0.stdout.take());
        let mut said = String::new();
        let code = child.wait();
        std::io::Read::read_to_string(child.0.stderr.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!((code, said.as_str()), (141, ""), "{args:?}");
    }
}

#[test]
fn help_and_version_succeed_and_silence_does_not() {
    let version = run(bare(&["--version"]));
    assert_eq!(version.code, 0);
    assert_eq!(
        version.stdout,
        concat!("layerfi-auth ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = run(bare(&["--help"]));
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("business-token"), "{}", help.all());
    let nothing = run(bare(&[]));
    assert_eq!(nothing.code, 2);
    assert!(nothing.stderr.contains("Usage"), "{}", nothing.all());
}

#[test]
fn the_header_works_in_curl() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let layer = start(Emulator::builder());
    let header = run(at(&layer, &["header"]));
    let url = format!("{}/whoami", layer.url());
    // As an argument, and from standard input, where no list of processes has it.
    for (given, input) in [
        (header.stdout.trim(), None),
        ("@-", Some(header.stdout.as_str())),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-H", given, &url]);
        let answer = run_with_input(curl, input);
        assert!(answer.stdout.contains("Layer Example"), "{}", answer.all());
    }
}
