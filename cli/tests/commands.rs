//! Output, errors and exit codes of the commands, against the emulator.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::process::{Command, Stdio};

use common::{at, bare, ca_file, run, run_with_input, start};
use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, Endpoint,
    Fault,
};
use layerfi_auth_test_support::ReservedPort;
use serde_json::{Value, json};

#[test]
fn each_command_prints_its_result() {
    let layer = start(Emulator::builder());
    let token = run(at(&layer, &["token"]));
    token.assert_code(0);
    assert_eq!(token.stderr, "", "token writes to stderr");
    assert!(
        token.stdout.starts_with("eyJ") && token.stdout.lines().count() == 1,
        "token does not print one line with a token: {}",
        token.all()
    );

    let header = run(at(&layer, &["header"]));
    assert!(
        header.stdout.starts_with("Authorization: Bearer eyJ"),
        "header does not print an Authorization header: {}",
        header.all()
    );

    run(at(&layer, &["whoami"])).assert_stdout_contains("Layer Example");

    for (flag, seconds) in [("--session-duration", 900), ("--duration", 901)] {
        let business = run(at(
            &layer,
            &[
                "business-token",
                DEMO_BUSINESS_ID,
                flag,
                &seconds.to_string(),
            ],
        ));
        assert!(
            business.stdout.starts_with("eyJ"),
            "business-token {flag} does not print a token: {}",
            business.all()
        );
        let log = layer.log();
        assert_eq!(
            log.last().unwrap().session_duration,
            Some(seconds),
            "{flag} is not sent as session_duration"
        );
        let agent = &log.last().unwrap().headers["user-agent"];
        assert!(
            agent.starts_with("layerfi-auth-cli/"),
            "wrong User-Agent: {agent}"
        );
    }
}

#[test]
fn json_output_has_the_documented_fields() {
    let layer = start(Emulator::builder());
    let fields = |args: &[&str]| {
        let outcome = run(at(&layer, args));
        outcome.assert_code(0);
        assert_eq!(
            outcome.stdout.lines().count(),
            1,
            "{args:?} prints more than one line: {}",
            outcome.all()
        );
        outcome.json()
    };
    let token = fields(&["--json", "token"]);
    assert_eq!(token["token_type"], "Bearer");
    let expires_in = token["expires_in"].as_u64().unwrap();
    assert!(
        (3_000..=3_600).contains(&expires_in),
        "wrong expires_in: {token}"
    );
    let expires_at = token["expires_at"].as_str().unwrap();
    assert!(
        expires_at.len() == 20 && expires_at.ends_with('Z'),
        "expires_at is not RFC 3339 in UTC with whole seconds: {expires_at}"
    );

    let header = fields(&["header", "--json"]);
    assert!(
        header["authorization"]
            .as_str()
            .unwrap()
            .starts_with("Bearer eyJ"),
        "wrong authorization: {header}"
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
    let business = fields(&[
        "business-token",
        &upper,
        "--json",
        "--session-duration",
        "60",
    ]);
    assert_eq!(business["business_id"], DEMO_BUSINESS_ID);
    let expires_in = business["expires_in"].as_u64().unwrap();
    assert!(
        (1..=60).contains(&expires_in),
        "wrong expires_in: {business}"
    );
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
fn every_error_kind_has_its_exit_code_and_json() {
    let plain = || start(Emulator::builder());
    let faulty = |endpoint, fault: Fault| {
        let layer = plain();
        layer.fault(endpoint, fault.forever()).unwrap();
        layer
    };
    let over_tls = || start(Emulator::builder().tls(true));
    const CLOSED_PORT: &str = "http://127.0.0.1:1";
    const FILE: &str = "--client-secret-file";
    let too_many = json!({"errors": []});
    #[rustfmt::skip]
    let table: Vec<(Emulator, &[&str], i32, &str)> = vec![
        (plain(), &["business-token", "../x"], 2, "invalid_argument"),
        (plain(), &["business-token", DEMO_BUSINESS_ID, "--session-duration", "0"], 2, "invalid_argument"),
        (plain(), &["business-token"], 2, "invalid_argument"),
        (plain(), &["nonsense"], 2, "invalid_argument"),
        (plain(), &["help", "nonsense"], 2, "invalid_argument"),
        (plain(), &["emulator", "--port", "x"], 2, "invalid_argument"),
        (plain(), &["token", "--timeout", "x"], 2, "invalid_argument"),
        (plain(), &["token", "--proxy", "http://user:pw@127.0.0.1:1"], 2, "invalid_argument"),
        (plain(), &["emulator", "--environment", "custom"], 2, "invalid_argument"),
        (plain(), &["token", "--client-id", "a:b"], 3, "config"),
        (plain(), &["token", "--api-url", "http://example.com"], 3, "config"),
        (plain(), &["token", "--timeout", "0"], 2, "invalid_argument"),
        (plain(), &["token", FILE, "/"], 4, "credentials"),
        (plain(), &["token", FILE, "/dev/null"], 4, "credentials"),
        (plain(), &["token", FILE, "/nonexistent/secret"], 4, "credentials"),
        (plain(), &["token", "--client-id", "unknown-client"], 5, "oauth"),
        (faulty(Endpoint::Whoami, Fault::status(403)), &["whoami"], 6, "api"),
        (faulty(Endpoint::Whoami, Fault::status(429).body(too_many)), &["whoami"], 7, "rate_limited"),
        (plain(), &["token", "--auth-url", CLOSED_PORT], 8, "transport"),
        (faulty(Endpoint::Token, Fault::hold()), &["token", "--timeout", "0.5"], 9, "timeout"),
        (over_tls(), &["token"], 10, "tls"),
        (faulty(Endpoint::Token, Fault::text("<html>")), &["token"], 11, "protocol"),
        (plain(), &["emulator", FILE, "/nonexistent/secret"], 12, "local"),
    ];
    for (layer, args, code, kind) in table {
        // Before the command: `help` takes no arguments after its own.
        let outcome = run(at(&layer, &[&["--json"], args].concat()));
        assert_eq!(
            outcome.code,
            code,
            "{args:?} ends with the wrong exit code: {}",
            outcome.all()
        );
        let error = outcome.error();
        assert_eq!(error["kind"], kind, "{args:?}: wrong kind: {error}");
        for field in ["message", "remedy"] {
            assert!(
                !error[field].as_str().unwrap().is_empty(),
                "{args:?}: {field} is empty: {error}"
            );
        }
        assert_eq!(
            error.as_object().unwrap().len(),
            10,
            "{args:?}: wrong number of fields: {error}"
        );
        assert_eq!(outcome.stdout, "", "{args:?} writes to stdout");

        let as_text = run(at(&layer, args));
        assert_eq!(
            as_text.code,
            code,
            "{args:?} ends with the wrong exit code: {}",
            as_text.all()
        );
        assert!(
            as_text.stderr.starts_with("error: "),
            "{args:?}: stderr does not start with 'error: ': {}",
            as_text.all()
        );
        as_text.assert_stderr_contains("\n  try: ");
    }
}

#[test]
fn json_errors_contain_the_details() {
    let layer = start(Emulator::builder());
    let error = run(at(
        &layer,
        &["token", "--client-id", "unknown-client", "--json"],
    ))
    .error();
    assert_eq!(error["oauth_error"], "invalid_client");
    assert_eq!(error["http_status"], 400);
    assert_eq!(error["retryable"], false);
    assert_eq!(
        error["request_id"],
        layer.log().last().unwrap().request_id.as_str()
    );
    assert!(
        !error["message"].as_str().unwrap().contains("request id"),
        "the message repeats the request id: {error}"
    );
    for (args, field) in [
        (&["token", "--scope", ""][..], "scope"),
        (&["business-token", "x"], "business_id"),
        (&["business-token"], "business_id"),
        (
            &["business-token", DEMO_BUSINESS_ID, "--duration", "0"],
            "session_duration",
        ),
        (&["token", "--timeout", "x"], "timeout"),
        (&["token", "--environment", "x"], "environment"),
    ] {
        let error = run(at(&layer, &[args, &["--json"]].concat())).error();
        assert_eq!(error["field"], field, "{args:?}: {error}");
    }
}

#[test]
fn invalid_arguments_have_conventional_messages() {
    for (args, message, remedy) in [
        (
            &["business-token"][..],
            "the following required arguments were not provided: <BUSINESS_ID>",
            "run layerfi-auth business-token [OPTIONS] <BUSINESS_ID>, or see layerfi-auth --help",
        ),
        (
            &["business-token", "x", "--session-duration", "1h"],
            "invalid value '1h' for '--session-duration <SECONDS>': it must be 1 to 86400 seconds, \
             got 1h",
            "see layerfi-auth --help",
        ),
        (
            &["business-token", "x", "--duration", "86401"],
            "invalid value '86401' for '--session-duration <SECONDS>': it must be 1 to 86400 \
             seconds, got 86401",
            "see layerfi-auth --help",
        ),
        (
            &["emulator", "--port", "70000"],
            "invalid value '70000' for '--port <PORT>': it must be 0 to 65535, got 70000",
            "see layerfi-auth --help",
        ),
        (
            &["emulator", "--access-token-lifetime", "1h"],
            "invalid value '1h' for '--access-token-lifetime <SECONDS>': it must be 0 to \
             315360000 seconds (ten years), got 1h",
            "see layerfi-auth --help",
        ),
        (
            &["token", "--basic-encoding", "x"],
            "invalid value 'x' for '--basic-encoding <ENCODING>' [possible values: raw, form]",
            "see layerfi-auth --help",
        ),
        (
            &["tokens"],
            "unrecognized subcommand 'tokens'; tip: a similar subcommand exists: 'token'",
            "run layerfi-auth [OPTIONS] <COMMAND>, or see layerfi-auth --help",
        ),
    ] {
        let error = run(bare(&[&["--json"], args].concat())).error();
        assert_eq!(error["message"], message, "wrong message for {args:?}");
        assert_eq!(error["remedy"], remedy, "wrong remedy for {args:?}");
    }
}

#[test]
fn engine_errors_name_flags_and_variables() {
    let layer = start(Emulator::builder());
    for (variables, args, texts) in [
        (
            &[("LAYER_CLIENT_ID", "a:b")][..],
            &["token"][..],
            &["LAYER_CLIENT_ID", "--basic-encoding"][..],
        ),
        (
            &[],
            &["token", "--client-id", "a:b"],
            &["--client-id", "--basic-encoding"],
        ),
        (
            &[("LAYER_CLIENT_ID", "")],
            &["token"],
            &["--client-id", "LAYER_CLIENT_ID"],
        ),
        (
            &[("LAYER_CLIENT_SECRET", "")],
            &["token"],
            &["--client-secret-file", "LAYER_CLIENT_SECRET"],
        ),
        (
            &[("LAYER_ENVIRONMENT", "")],
            &["token"],
            &["--environment", "LAYER_ENVIRONMENT"],
        ),
        (
            &[("LAYER_SCOPE", "")],
            &["token"],
            &["--scope", "LAYER_SCOPE"],
        ),
        (
            &[("LAYER_API_URL", "http://example.com")],
            &["token"],
            &["LAYER_API_URL"],
        ),
        (
            &[],
            &["token", "--api-url", "http://example.com"],
            &["--api-url"],
        ),
        (
            &[("LAYER_ALLOW_HTTP_LOOPBACK", "0")],
            &["token"],
            &["--allow-http-loopback", "LAYER_ALLOW_HTTP_LOOPBACK"],
        ),
        (
            &[("LAYER_CA_FILE", "/nonexistent/ca.pem")],
            &["token"],
            &["LAYER_CA_FILE", "/nonexistent/ca.pem"],
        ),
        (
            &[("LAYER_TRUST", "mozilla")],
            &["token"],
            &["LAYER_TRUST must be system, bundled or ca_only"],
        ),
        (
            &[("LAYER_TRUST", "mozilla")],
            &["token", "--trust", "ca_only"],
            &["--trust is ca_only without a --ca-file", "set --ca-file"],
        ),
        (&[], &["token", "--proxy", "ftp://p"], &["--proxy"]),
        (
            &[("LAYER_SHARED_CACHE", "http://:canary@cache")],
            &["token"],
            &["LAYER_SHARED_CACHE does not start with redis://"],
        ),
        (
            &[("LAYER_SHARED_CACHE", "http://:canary@cache")],
            &["token", "--shared-cache", "redis://cache:x"],
            &["--shared-cache has a port", "in --shared-cache"],
        ),
        (
            &[("LAYER_SHARED_CACHE", "redis://cache")],
            &["token", "--shared-cache-prefix", "a b"],
            &["--shared-cache-prefix has the character"],
        ),
        (
            &[],
            &["token", "--client-id", "unknown-client"],
            &["--client-id"],
        ),
        (&[], &["business-token", "x"], &["business id"]),
    ] {
        let mut command = at(&layer, args);
        command.envs(variables.iter().copied());
        let outcome = run(command);
        assert_ne!(outcome.code, 0, "{variables:?} {args:?} succeed");
        for text in texts {
            outcome.assert_stderr_contains(text);
        }
        // The engine's names, which are not flags.
        for name in [
            "client_id",
            "client_secret",
            "api_url",
            "ca_file",
            "basic_encoding",
            "shared_cache",
            "canary",
        ] {
            assert!(
                !outcome.stderr.contains(name),
                "{variables:?} {args:?}: the error names {name}: {}",
                outcome.all()
            );
        }
    }
}

#[test]
fn an_error_about_a_flag_names_the_flag_and_no_variable() {
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
        outcome.assert_stderr_contains(flag);
        assert!(
            !outcome.stderr.contains("LAYER_"),
            "the error about {flag} names a variable: {}",
            outcome.all()
        );
    }
}

#[test]
fn with_json_every_line_on_stderr_is_json() {
    // Over TLS, because the certificates that are read are logged.
    let layer = start(Emulator::builder().tls(true));
    let ca = ca_file(&layer);
    let mut command = at(
        &layer,
        &["token", "--client-id", "unknown-client", "--json", "-vv"],
    );
    command.env("LAYER_CA_FILE", ca.path());
    let outcome = run(command);
    let mut lines: Vec<Value> = outcome
        .stderr
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|_| panic!("the line is not JSON: {line}"))
        })
        .collect();
    let error = lines.pop().unwrap();
    assert_eq!(
        error["error"]["kind"], "oauth",
        "the last line is not the error"
    );
    assert!(!lines.is_empty(), "-vv logs nothing");
    for line in lines {
        let log = &line["log"];
        assert!(
            log["target"].as_str().unwrap().starts_with("layerfi_auth"),
            "wrong target: {line}"
        );
        assert!(
            !log["message"].as_str().unwrap().is_empty(),
            "no message: {line}"
        );
        assert!(
            log["time"].is_string() && log["level"].is_string(),
            "no time or level: {line}"
        );
        assert!(log["fields"].is_object(), "no fields: {line}");
    }
}

#[test]
fn a_flag_takes_precedence_over_an_invalid_variable() {
    let layer = start(Emulator::builder());
    let mut command = at(
        &layer,
        &["whoami", "--environment", "custom", "--client-id"],
    );
    command
        .arg(DEFAULT_CLIENT_ID)
        .env("LAYER_ENVIRONMENT", "nonsense")
        .env("LAYER_CLIENT_ID", "unknown-client");
    let outcome = run(command);
    outcome.assert_code(0);
}

#[test]
fn the_remaining_settings_are_passed_to_the_engine() {
    // The server answers an id that is not a UUID with 404.
    let layer = start(Emulator::builder());
    for (flags, code) in [(&[][..], 2), (&["--allow-opaque-business-ids"], 6)] {
        let outcome = run(at(&layer, &[&["business-token", "my.id"], flags].concat()));
        outcome.assert_code(code);
    }

    let decoding = Emulator::builder().basic_decoding(BasicDecoding::Form);
    let layer = start(decoding.client("an-id", "a%2Bb+c"));
    for (encoding, code) in [("raw", 5), ("form", 0)] {
        let mut command = at(&layer, &["whoami", "--basic-encoding", encoding]);
        command
            .env("LAYER_CLIENT_ID", "an-id")
            .env("LAYER_CLIENT_SECRET", "a%2Bb+c");
        let outcome = run(command);
        assert_eq!(
            outcome.code,
            code,
            "wrong exit code for encoding {encoding}: {}",
            outcome.all()
        );
    }

    // A label that is too long for DNS fails without a packet.
    let nowhere = format!("https://{}.invalid", "a".repeat(64));
    let closed = ReservedPort::new();
    let proxy = format!("http://{}", closed.address());
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
        outcome.assert_code(8);
        assert_eq!(
            outcome.stderr.contains("proxy"),
            proxied,
            "wrong proxy with {flags:?}: {}",
            outcome.all()
        );
    }
}

#[test]
fn the_secret_is_read_from_a_file_or_stdin() {
    let layer = start(Emulator::builder());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{DEFAULT_CLIENT_SECRET}\n")).unwrap();
    let mut from_file = at(&layer, &["whoami", "--client-secret-file"]);
    from_file
        .arg(file.path())
        .env("LAYER_CLIENT_SECRET", "wrong");
    let outcome = run(from_file);
    outcome.assert_code(0);

    for (input, code) in [
        (format!("{DEFAULT_CLIENT_SECRET}\n"), 0),
        (String::new(), 12),
    ] {
        let mut command = at(&layer, &["whoami", "--client-secret-stdin"]);
        command.env("LAYER_CLIENT_SECRET", "wrong");
        let outcome = run_with_input(command, Some(&input));
        outcome.assert_code(code);
    }
}

#[test]
fn a_secret_argument_is_refused_and_not_printed() {
    for args in [
        &["token", "--client-secret", "canary"][..],
        &["--client-secret=canary", "token"],
        &["token", "--client-secret=canary", "--json"],
        &["token", "--client-secrets=canary"],
        &["token", "--proxy", "http://u:canary@127.0.0.1:1"],
        &["token", "--shared-cache", "redis://u:canary@127.0.0.1:1"],
        &["token", "--shared-cache-key", "canary"],
        &["--shared-cache-key=canary", "token"],
    ] {
        let outcome = run(bare(args));
        outcome.assert_code(2);
        outcome.assert_nowhere("canary");
    }
}

#[test]
fn no_output_contains_the_secret_or_an_unrequested_token() {
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
    let mut log_lines = 0;
    for rotated in [false, true] {
        if rotated {
            layer.rotate("an-id", "another").unwrap();
        }
        for args in commands {
            for more in [&["-vv"][..], &["-vv", "--json"]] {
                let outcome = with_secret(&[args, more].concat());
                outcome.assert_nowhere("canary");
                // The base64 of `an-id:` in the Basic header.
                outcome.assert_nowhere("YW4taWQ6");
                assert!(
                    !outcome.stderr.contains("eyJ"),
                    "{args:?} writes a token to stderr: {}",
                    outcome.stderr
                );
                if matches!(args[0], "whoami" | "doctor") {
                    assert!(
                        !outcome.stdout.contains("eyJ"),
                        "{args:?} writes a token to stdout: {}",
                        outcome.all()
                    );
                }
                let is_log = |line: &&str| line.starts_with("20") || line.starts_with("{\"log\"");
                for line in outcome.stderr.lines().filter(is_log) {
                    assert!(
                        line.contains(" layerfi_auth") || line.contains("\"layerfi_auth"),
                        "another library's event is logged: {line}"
                    );
                    log_lines += 1;
                }
            }
        }
    }
    assert!(log_lines > 10, "-vv logs only {log_lines} lines");
}

#[test]
fn a_closed_pipe_ends_the_command_without_a_message() {
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
        let mut stderr = String::new();
        let code = child.wait();
        std::io::Read::read_to_string(child.0.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        assert_eq!(
            (code, stderr.as_str()),
            (141, ""),
            "{args:?}: wrong exit code or output after a closed pipe"
        );
    }
}

#[test]
fn help_and_version_exit_with_0_and_no_arguments_with_2() {
    let version = run(bare(&["--version"]));
    version.assert_code(0);
    assert_eq!(
        version.stdout,
        concat!("layerfi-auth ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = run(bare(&["--help"]));
    help.assert_code(0);
    help.assert_stdout_contains("business-token");
    let nothing = run(bare(&[]));
    nothing.assert_code(2);
    nothing.assert_stderr_contains("Usage");
}

#[test]
fn the_help_command_prints_the_same_as_the_help_flag() {
    for (command, flag) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "business-token"], &["business-token", "--help"]),
        (&["help", "emulator"], &["emulator", "--help"]),
    ] {
        let outcome = run(bare(command));
        outcome.assert_code(0);
        assert_eq!(
            outcome.stdout,
            run(bare(flag)).stdout,
            "{command:?} and {flag:?} print different texts"
        );
    }
    run(bare(&["help", "business-token"])).assert_stdout_contains("--session-duration <SECONDS>");
}

#[test]
fn curl_accepts_the_header() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let layer = start(Emulator::builder());
    let header = run(at(&layer, &["header"]));
    let url = format!("{}/whoami", layer.url());
    // As an argument, and from stdin, which keeps it out of the process list.
    for (argument, input) in [
        (header.stdout.trim(), None),
        ("@-", Some(header.stdout.as_str())),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-H", argument, &url]);
        let answer = run_with_input(curl, input);
        answer.assert_stdout_contains("Layer Example");
    }
}
