//! The mistakes of the shared table, `tests/vectors/mistakes.json`, made with the
//! command. A message and a remedy name the command's flags and variables.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the test's report"
)]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use common::{bare, run, start, variables};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};
use layerfi_auth_test_support::vectors::{
    Files, bytes_of, text_matches, variable_of, with_addresses,
};
use layerfi_auth_test_support::{Canary, control};
use serde_json::{Map, Value, json};

/// Number of rows that run at the same time.
const WORKERS: usize = 4;

/// Settings that have a flag of the same name.
const FLAGS: [&str; 15] = [
    "client_id",
    "client_secret_file",
    "api_url",
    "auth_url",
    "scope",
    "ca_file",
    "trust",
    "shared_cache",
    "shared_cache_prefix",
    "basic_encoding",
    "allow_http_loopback",
    "allow_opaque_business_ids",
    "timeout",
    "environment",
    "session_duration",
];

static HELP: OnceLock<String> = OnceLock::new();

fn rows() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/mistakes.json");
    let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    table["cases"].as_array().unwrap().clone()
}

/// A row that the command can run: its flags and variables.
#[derive(Default)]
struct Setup {
    flags: Vec<String>,
    variables: BTreeMap<String, OsString>,
    /// Settings that a flag sets.
    by_flag: Vec<String>,
}

impl Setup {
    /// `None` if the row has a setting for which there is no flag.
    fn of(row: &Value, layer: &Emulator, files: &Files) -> Option<Self> {
        let mut setup = Self::default();
        if let Some(changes) = row["variables"].as_object() {
            let base = variables(layer).into_iter();
            setup.variables = base
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            for (name, value) in changes {
                match bytes_of(value) {
                    None => setup.variables.remove(name),
                    Some(bytes) => setup
                        .variables
                        .insert(name.clone(), OsString::from_vec(bytes)),
                };
            }
            return Some(setup);
        }
        let mut settings = json!({
            "environment": "custom",
            "api_url": layer.url(),
            "auth_url": layer.token_url(),
            "scope": layer.scope(),
            "client_id": DEFAULT_CLIENT_ID,
            "client_secret": DEFAULT_CLIENT_SECRET,
            "allow_http_loopback": true,
        });
        let settings = settings.as_object_mut().unwrap();
        if let Some(pem) = layer.ca_pem() {
            let path = files.folder().join("ca-of-the-emulator.pem");
            std::fs::write(&path, pem).unwrap();
            settings.insert("ca_pem".to_owned(), json!(path));
        }
        let changes = row["client"].as_object().cloned().unwrap_or_default();
        settings.extend(changes);
        for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
            match (name.as_str(), value) {
                // No flag takes the secret, and the flag of the environment accepts
                // only known names.
                ("client_secret" | "environment", Value::String(text)) => {
                    let variable = variable_of(name).unwrap();
                    setup.variables.insert(variable, text.into());
                }
                ("ca_pem", Value::String(path)) => setup.flag("ca_file", Some(path)),
                // No flag takes a proxy.
                ("proxy", Value::String(url)) => {
                    setup.variables.insert("HTTPS_PROXY".to_owned(), url.into());
                }
                ("timeout_ms", ms) => {
                    let seconds = ms.as_u64().unwrap() as f64 / 1_000.0;
                    setup.flag("timeout", Some(&seconds.to_string()));
                }
                (name, Value::String(text)) if FLAGS.contains(&name) => {
                    setup.flag(name, Some(text));
                }
                (name, Value::Bool(true)) if FLAGS.contains(&name) => setup.flag(name, None),
                _ => return None,
            }
        }
        Some(setup)
    }

    fn flag(&mut self, setting: &str, value: Option<&str>) {
        let flag = flag(setting);
        self.flags.push(match value {
            Some(value) => format!("{flag}={value}"),
            None => flag,
        });
        self.by_flag.push(setting.to_owned());
    }

    fn is_set(&self, variable: &str) -> bool {
        self.variables
            .get(variable)
            .is_some_and(|value| !value.is_empty())
    }

    fn name_in_message(&self, setting: &str) -> String {
        let variable = variable_of(setting).filter(|variable| self.is_set(variable));
        match setting {
            "business_id" => "business id".to_owned(),
            _ if self.by_flag.iter().any(|name| name == setting) => flag(setting),
            _ if variable.is_some() => variable.unwrap(),
            "client_secret" => "the client secret".to_owned(),
            // Words that are English as well.
            "environment" | "scope" => setting.to_owned(),
            _ => flag(setting),
        }
    }

    fn name_in_remedy(&self, setting: &str) -> String {
        let variable = variable_of(setting);
        match (setting, variable) {
            _ if self.by_flag.iter().any(|name| name == setting) => flag(setting),
            ("allow_http_loopback", _) => {
                "--allow-http-loopback or LAYER_ALLOW_HTTP_LOOPBACK=1".to_owned()
            }
            ("client_secret", Some(variable)) => variable,
            (_, Some(variable)) if self.is_set(&variable) => variable,
            (_, Some(variable)) => format!("{} or {variable}", flag(setting)),
            (_, None) => flag(setting),
        }
    }
}

fn flag(setting: &str) -> String {
    assert!(
        FLAGS.contains(&setting),
        "{setting} is in a text of the command, which has no such flag"
    );
    format!("--{}", setting.replace('_', "-"))
}

fn emulator(options: &Value) -> Emulator {
    let mut builder = Emulator::builder().tls(options["tls"] == true);
    if options["proxy"] == true {
        builder = builder.proxy();
    }
    for name in options["names"].as_array().into_iter().flatten() {
        builder = builder.name(name.as_str().unwrap());
    }
    for client in options["clients"].as_array().into_iter().flatten() {
        let text = |name: &str| client[name].as_str().unwrap().to_owned();
        assert_eq!(client["unauthorized"], true, "not supported by this runner");
        builder = builder.unauthorized_client(text("id"), text("secret"));
    }
    for business in options["businesses"].as_array().into_iter().flatten() {
        builder = builder.business(business.as_str().unwrap());
    }
    start(builder)
}

/// Exit codes, as in `docs/cli.md`.
fn exit_code(kind: &str) -> i32 {
    match kind {
        "invalid_argument" => 2,
        "config" => 3,
        "credentials" => 4,
        "oauth" => 5,
        "api" => 6,
        "rate_limited" => 7,
        "transport" => 8,
        "timeout" => 9,
        "tls" => 10,
        "protocol" => 11,
        other => panic!("{other} is not in this list"),
    }
}

/// Runs one row with its own command, and with `doctor` where that can fail in the
/// same way. `None` if the command cannot run it.
fn check(row: &Value) -> Option<Result<(), String>> {
    let only = row["only"].as_array();
    if only.is_some_and(|names| !names.contains(&json!("command"))) {
        return None;
    }
    let step = row["steps"].as_array().unwrap().last().unwrap();
    let business = step["business_id"].as_str();
    if step["session_duration"].is_number() {
        return None;
    }
    let arguments: Vec<&str> = match step["call"].as_str().unwrap() {
        "build" | "token" => vec!["token"],
        "whoami" => vec!["whoami"],
        "mint_business_token" => vec!["business-token"],
        _ => return None,
    };
    let commands = match arguments.first() {
        Some(&"token") if is_for_doctor(step) => vec![arguments, vec!["doctor"]],
        _ => vec![arguments],
    };
    for command in commands {
        let layer = emulator(&row["emulator"]);
        let canary = Canary::new();
        let files = Files::create(row.get("files"));
        let text = files.fill(&row.to_string());
        let text = with_addresses(&text, &layer).replace("{{canary_url}}", &canary.url());
        let row: Value = serde_json::from_str(&text).unwrap();
        let setup = Setup::of(&row, &layer, &files)?;
        if let Some(settings) = row.get("settings") {
            control(layer.control_address(), "POST", "/settings", settings);
        }
        if let Some(faults) = row.get("faults") {
            control(layer.control_address(), "POST", "/faults", faults);
        }
        let step = row["steps"].as_array().unwrap().last().unwrap();
        let expected = step["expect"]["error"].as_object().unwrap();
        let uses_proxy = setup.variables.contains_key("HTTPS_PROXY");
        let mut line = bare(if uses_proxy {
            &["--json"][..]
        } else {
            &["--json", "--no-proxy"]
        });
        line.args(&setup.flags).args(&command);
        if let Some(business) = business {
            line.args(["--", business]);
        }
        line.envs(&setup.variables);
        let outcome = run(line);
        let error = if command == ["doctor"] {
            let report = outcome.json();
            let failed = report["checks"].as_array().unwrap().iter();
            let mut errors = failed.filter(|check| check["error"].is_object());
            match errors.next() {
                Some(check) => check["error"].clone(),
                None => return Some(Err(format!("doctor found nothing: {}", outcome.all()))),
            }
        } else {
            let code = exit_code(expected["kind"].as_str().unwrap());
            if outcome.code != code {
                return Some(Err(format!("not exit code {code}: {}", outcome.all())));
            }
            outcome.error()
        };
        if let Err(why) = compare(&error, expected, &setup) {
            return Some(Err(format!("{}: {why}", command.join(" "))));
        }
        assert!(!canary.was_contacted(), "a redirect was followed");
    }
    Some(Ok(()))
}

/// Whether `doctor` meets the failure of a step of its own, and not earlier, in its
/// checks of the network.
fn is_for_doctor(step: &Value) -> bool {
    let kind = step["expect"]["error"]["kind"].as_str().unwrap();
    !matches!(kind, "transport" | "timeout" | "tls")
}

/// Fails if a text names a flag that the command does not have, or a setting that
/// is not its flag.
fn check_names(text: &str, help: &str) -> Result<(), String> {
    // Text in quotes is the user's own.
    for part in text.split('"').step_by(2) {
        for word in part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
            let is_flag = word.strip_prefix("--").is_some_and(|flag| !flag.is_empty());
            if is_flag
                && !help.contains(&format!("{word} "))
                && !help.contains(&format!("{word}\n"))
            {
                return Err(format!("{word} is not a flag of the command, in: {text}"));
            }
            if FLAGS.contains(&word) && word.contains('_') {
                return Err(format!("{word} is not the name of a flag, in: {text}"));
            }
        }
    }
    Ok(())
}

fn compare(error: &Value, expected: &Map<String, Value>, setup: &Setup) -> Result<(), String> {
    let help = HELP.get_or_init(|| run(bare(&["business-token", "--help"])).stdout);
    for field in ["message", "remedy"] {
        check_names(error[field].as_str().unwrap(), help)?;
    }
    for (name, expected) in expected {
        let got = match name.as_str() {
            "retry_after_ms" => json!(error["retry_after"].as_u64().map(|s| s * 1_000)),
            name => error[name].clone(),
        };
        let is_same = match name.as_str() {
            "message" | "remedy" => {
                let named = |setting: &str| match name.as_str() {
                    "message" => setup.name_in_message(setting),
                    _ => setup.name_in_remedy(setting),
                };
                text_matches(expected.as_str().unwrap(), got.as_str().unwrap(), named)
            }
            _ => got == *expected,
        };
        if !is_same {
            return Err(format!("{name} is {got}, expected {expected}"));
        }
    }
    Ok(())
}

#[test]
fn every_mistake_has_the_texts_of_the_table() {
    let rows = rows();
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match check(row) {
                        None => {}
                        Some(Ok(())) => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(Err(why)) => {
                            let name = row["name"].as_str().unwrap();
                            failures.lock().unwrap().push(format!("{name}: {why}"));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} mistakes have other texts:\n{}",
        failures.len(),
        failures.join("\n")
    );
    let done = done.into_inner();
    assert!(done > 70, "only {done} rows were run");
}
