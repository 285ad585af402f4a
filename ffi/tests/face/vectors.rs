//! The shared table, `tests/vectors`, through the C and the C++ face. The
//! programs `tests/c/vectors.c` and `tests/cpp/vectors.cpp` make the calls,
//! and tell what came of them; everything else is done here.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use layerfi_auth_emulator::{
    BasicDecoding, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};
use serde_json::{Map, Value, json};

use crate::support::{Mode, Program, Watch, root};

/// Cases that run side by side. They mostly wait.
const WORKERS: usize = 12;

/// Under valgrind every client takes half a second of computing to set up TLS,
/// so that one case in so many must do there.
const VALGRIND_TAKES_ONE_IN: usize = 12;

#[test]
fn the_table_holds_in_c() {
    run_table(&Program::c("vectors"));
}

#[test]
fn the_table_holds_in_cpp() {
    run_table(&Program::cpp("vectors"));
}

#[test]
fn the_table_is_clean_under_address_and_undefined_sanitizer() {
    run_table(&Program::c("vectors").mode(Mode::Address));
    run_table(&Program::cpp("vectors").mode(Mode::Address));
}

#[test]
fn the_table_is_clean_under_valgrind() {
    run_table(&Program::c("vectors").mode(Mode::Valgrind));
}

fn read_cases() -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/vectors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let table: Value = serde_json::from_str(&text).unwrap();
            table["cases"].as_array().unwrap().clone()
        })
        .collect()
}

fn run_table(program: &Program) {
    let path = program.build();
    let mut cases = read_cases();
    assert!(cases.len() > 100, "the table is not there");
    let mut workers = WORKERS;
    if program.is_under_valgrind() {
        cases = cases.into_iter().step_by(VALGRIND_TAKES_ONE_IN).collect();
        workers = 3;
    }
    let wanted = std::env::var("LAYERFI_CASE").unwrap_or_default();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut face = Face::start(program, &path);
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = case["name"].as_str().unwrap();
                    if !name.contains(&wanted) {
                        continue;
                    }
                    if let Err(why) = run(case, &mut face) {
                        failures.lock().unwrap().push(format!("{name}: {why}"));
                        // What is still to be said belongs to a case that is over.
                        face.kill();
                        face = Face::start(program, &path);
                    }
                }
                if let Err(why) = face.finish() {
                    failures.lock().unwrap().push(why);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} cases in {}:\n{}",
        failures.len(),
        cases.len(),
        path.display(),
        failures.join("\n")
    );
}

/// A running program that speaks `tests/c/face.h`.
struct Face {
    child: Child,
    _watch: Watch,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    slow: bool,
}

/// An answer's fields, with whether it is a success.
struct Answer {
    ok: bool,
    fields: BTreeMap<String, String>,
}

impl Answer {
    fn get(&self, name: &str) -> Result<&str, String> {
        let field = self.fields.get(name);
        field
            .map(String::as_str)
            .ok_or_else(|| format!("the answer has no {name}"))
    }

    fn number(&self, name: &str) -> Result<i64, String> {
        self.get(name)?
            .parse()
            .map_err(|_| format!("{name} is not a number"))
    }
}

impl Face {
    fn start(program: &Program, path: &Path) -> Self {
        let mut command = program.command(path);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("LAYER_") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            _watch: Watch::on(child.id()),
            child,
            slow: program.is_slow(),
        }
    }

    fn order(&mut self, words: &[&str]) -> Result<(), String> {
        let line: Vec<_> = words.iter().map(|word| encode(word)).collect();
        let line = line.join("\t") + "\n";
        let orders = self.orders.as_mut().ok_or("the program is gone")?;
        orders
            .write_all(line.as_bytes())
            .map_err(|error| format!("the program is gone ({error})"))
    }

    fn answer(&mut self) -> Result<Answer, String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if !matches!(read, Ok(1..)) {
            return Err("the program ended".to_owned());
        }
        let mut words = line.trim_end_matches('\n').split('\t');
        let ok = match words.next() {
            Some("ok") => true,
            Some("error") => false,
            _ => return Err("the program said something else".to_owned()),
        };
        let fields = words
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect();
        Ok(Answer { ok, fields })
    }

    /// Lets it end by itself; leaks are found then.
    fn finish(mut self) -> Result<(), String> {
        self.orders = None;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            status => Err(format!("the program ended with {status:?}:\n{said}")),
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        if let Some(mut stderr) = self.child.stderr.take() {
            let mut said = String::new();
            let _ = stderr.read_to_string(&mut said);
            if !said.is_empty() {
                eprintln!("{said}");
            }
        }
        let _ = self.child.wait();
    }
}

fn encode(word: &str) -> String {
    let mut text = String::new();
    for b in word.bytes() {
        if b.is_ascii_graphic() && b != b'%' || b == b' ' {
            text.push(char::from(b));
        } else {
            text.push_str(&format!("%{b:02X}"));
        }
    }
    text
}

fn decode(word: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = word.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Refuses what nobody here looks at.
fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("the table has an unknown field, {name}")),
        None => Ok(()),
    }
}

/// A server that nobody may ask.
struct Canary(TcpListener);

impl Canary {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    fn was_met(&self) -> bool {
        self.0.accept().is_ok()
    }
}

fn run(case: &Value, face: &mut Face) -> Result<(), String> {
    let text = case.to_string();
    let canary = text.contains("{{canary_url}}").then(Canary::new);
    let case: Value = match &canary {
        Some(canary) => serde_json::from_str(&text.replace("{{canary_url}}", &canary.url()))
            .map_err(|error| error.to_string())?,
        None => case.clone(),
    };
    let empty = Map::new();
    let object = |name: &str| case[name].as_object().unwrap_or(&empty);
    only(
        case.as_object().unwrap_or(&empty),
        &[
            "name", "why", "emulator", "settings", "client", "faults", "steps", "requests", "stats",
        ],
    )?;
    let layer = start(object("emulator"))?;
    if let Some(settings) = case.get("settings") {
        control(&layer, "POST", "/settings", settings)?;
    }
    if let Some(faults) = case.get("faults") {
        control(&layer, "POST", "/faults", faults)?;
    }
    let secret = configure(object("client"), &layer, face)?;
    face.order(&["build"])?;
    let built = face.answer()?;
    let mut answers: Vec<Option<Answer>> = Vec::new();
    let mut steps = Steps {
        face,
        layer: &layer,
        built: &built,
        secret: &secret,
    };
    for (number, step) in case["steps"]
        .as_array()
        .ok_or("no steps")?
        .iter()
        .enumerate()
    {
        let answer = steps
            .step(number, step, &answers)
            .map_err(|why| format!("step {number}: {why}"))?;
        answers.push(answer);
    }
    let counters = layer.counters();
    let wanted = object("requests");
    let names: Vec<_> = Endpoint::ALL
        .iter()
        .map(|endpoint| endpoint.name())
        .collect();
    only(wanted, &names)?;
    for endpoint in Endpoint::ALL {
        let (min, max) = bounds(wanted.get(endpoint.name()).unwrap_or(&json!(0)))?;
        let count = counters.endpoint(endpoint).total;
        if !(min..=max).contains(&count) {
            let name = endpoint.name();
            return Err(format!(
                "{count} requests of {name}, expected {min} to {max}"
            ));
        }
    }
    if built.ok && case.get("stats").is_some() {
        face.order(&["stats"])?;
        let stats = face.answer()?;
        for (name, expected) in object("stats") {
            let got = stats.number(name)?;
            if json!(got) != *expected {
                return Err(format!("stats.{name} is {got}, expected {expected}"));
            }
        }
    }
    face.order(&["end"])?;
    match canary {
        Some(canary) if canary.was_met() => Err("a redirect was followed".to_owned()),
        _ => Ok(()),
    }
}

fn bounds(value: &Value) -> Result<(u64, u64), String> {
    if let Some(exactly) = value.as_u64() {
        return Ok((exactly, exactly));
    }
    match (value["min"].as_u64(), value["max"].as_u64()) {
        (Some(min), Some(max)) => Ok((min, max)),
        _ => Err(format!("{value} is no number of requests")),
    }
}

fn start(options: &Map<String, Value>) -> Result<Emulator, String> {
    only(
        options,
        &[
            "basic_decoding",
            "invalid_client_status",
            "clients",
            "businesses",
        ],
    )?;
    let mut builder = Emulator::builder();
    if let Some(decoding) = options.get("basic_decoding") {
        builder = builder.basic_decoding(match decoding.as_str() {
            Some("raw") => BasicDecoding::Raw,
            Some("form") => BasicDecoding::Form,
            _ => return Err(format!("basic_decoding {decoding}")),
        });
    }
    if let Some(status) = options.get("invalid_client_status").and_then(Value::as_u64) {
        builder = builder.invalid_client_status(u16::try_from(status).unwrap());
    }
    for client in options
        .get("clients")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
        builder = match client["unauthorized"].as_bool() {
            Some(true) => builder.unauthorized_client(text("id"), text("secret")),
            _ => builder.client(text("id"), text("secret")),
        };
    }
    for business in options
        .get("businesses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        builder = builder.business(business.as_str().unwrap_or_default());
    }
    builder.start_blocking().map_err(|error| error.to_string())
}

/// Tells the program the client's settings, and gives the secret.
fn configure(
    changes: &Map<String, Value>,
    layer: &Emulator,
    face: &mut Face,
) -> Result<String, String> {
    let mut settings = json!({
        "environment": "custom",
        "api_url": layer.url(),
        "auth_url": layer.token_url(),
        "scope": layer.scope(),
        "client_id": DEFAULT_CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "allow_http_loopback": true,
    });
    let settings = settings.as_object_mut().ok_or("no object")?;
    settings.extend(changes.clone());
    if !settings.contains_key("proxy") {
        face.order(&["set", "no_proxy", ""])?;
    }
    let secret = settings.get("client_secret").and_then(Value::as_str);
    let secret = secret.unwrap_or_default().to_owned();
    for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        face.order(&["set", name, &text])?;
    }
    Ok(secret)
}

struct Steps<'a> {
    face: &'a mut Face,
    layer: &'a Emulator,
    built: &'a Answer,
    secret: &'a str,
}

impl Steps<'_> {
    fn step(
        &mut self,
        number: usize,
        step: &Value,
        before: &[Option<Answer>],
    ) -> Result<Option<Answer>, String> {
        let fields = step.as_object().ok_or("no object")?;
        if let Some(method) = step["control"].as_str() {
            only(fields, &["control", "path", "body"])?;
            let path = step["path"].as_str().ok_or("an order without a path")?;
            control(self.layer, method, path, &step["body"])?;
            return Ok(None);
        }
        only(
            fields,
            &[
                "call",
                "business_id",
                "session_duration",
                "min_remaining",
                "token_of",
                "repeat",
                "callers",
                "elapsed_ms",
                "expect",
            ],
        )?;
        let call = step["call"].as_str().ok_or("a step without a call")?;
        if call == "build" {
            self.check(self.built, &step["expect"], before, SystemTime::now())?;
            return Ok(None);
        }
        if !self.built.ok {
            return Err(format!(
                "no client was built: {}",
                self.built.get("display")?
            ));
        }
        let words = self.words(call, step, number)?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (began, started) = (SystemTime::now(), Instant::now());
        let mut first: Option<Answer> = None;
        for _ in 0..step["repeat"].as_u64().unwrap_or(1) {
            self.face.order(&words)?;
            for _ in 0..step["callers"].as_u64().unwrap_or(1) {
                let answer = self.face.answer()?;
                self.check(&answer, &step["expect"], before, began)?;
                if let Some(first) = &first
                    && call != "mint_business_token"
                    && first.fields.get("secret") != answer.fields.get("secret")
                {
                    return Err("callers got different tokens".to_owned());
                }
                first.get_or_insert(answer);
            }
        }
        let took = u64::try_from(started.elapsed().as_millis()).unwrap();
        if let Some(limits) = step["elapsed_ms"].as_array() {
            let limit = |at: usize| limits.get(at).and_then(Value::as_u64).unwrap_or_default();
            if took < limit(0) || (took > limit(1) && !self.face.slow) {
                return Err(format!("took {took} ms, expected {limits:?}"));
            }
        }
        Ok(first)
    }

    fn words(&self, call: &str, step: &Value, number: usize) -> Result<Vec<String>, String> {
        let callers = step["callers"].as_u64().unwrap_or(1).to_string();
        let business = || {
            let id = step["business_id"].as_str();
            id.map(str::to_owned).ok_or("a call without business_id")
        };
        let given = |name: &str| match &step[name] {
            Value::Null => "-".to_owned(),
            number => number.to_string(),
        };
        let key = number.to_string();
        Ok(match call {
            "token" => vec!["token".into(), callers, key],
            "whoami" => vec!["whoami".into(), callers],
            "mint_business_token" => {
                let duration = given("session_duration");
                vec!["mint".into(), callers, business()?, duration, key]
            }
            "business_token" => {
                let (duration, remaining) = (given("session_duration"), given("min_remaining"));
                vec![
                    "business".into(),
                    callers,
                    business()?,
                    duration,
                    remaining,
                    key,
                ]
            }
            "invalidate" => vec!["invalidate".into(), callers, given("token_of")],
            other => return Err(format!("no call is named {other}")),
        })
    }

    fn check(
        &self,
        answer: &Answer,
        expect: &Value,
        before: &[Option<Answer>],
        began: SystemTime,
    ) -> Result<(), String> {
        let empty = Map::new();
        only(expect.as_object().unwrap_or(&empty), &["ok", "error"])?;
        if let Some(expected) = expect["ok"].as_object() {
            if !answer.ok {
                return Err(format!("it failed: {}", answer.get("display")?));
            }
            return check_ok(answer, expected, before, began);
        }
        let expected = expect["error"].as_object().ok_or("no expectation")?;
        if answer.ok {
            return Err(format!("it succeeded, expected {}", expect["error"]));
        }
        self.check_error(answer, expected)
    }

    fn check_error(&self, error: &Answer, expected: &Map<String, Value>) -> Result<(), String> {
        for (name, expected) in expected {
            let got = match name.as_str() {
                "kind" => json!(error.get(name)?),
                "oauth_error" | "error_enum" | "field" => match error.get(name)? {
                    "" => Value::Null,
                    text => json!(text),
                },
                "http_status" => match error.number(name)? {
                    0 => Value::Null,
                    status => json!(status),
                },
                "retry_after_ms" => match error.number(name)? {
                    -1 => Value::Null,
                    ms => json!(ms),
                },
                "retryable" => json!(error.number(name)? == 1),
                other => return Err(format!("an error has no {other}")),
            };
            if got != *expected {
                let display = error.get("display")?;
                return Err(format!(
                    "{name} is {got}, expected {expected}, in: {display}"
                ));
            }
        }
        for text in ["message", "remedy"] {
            if error.get(text)?.is_empty() {
                return Err(format!("its {text} is empty"));
            }
        }
        let shows = |text: &String| {
            text.to_ascii_lowercase().contains("canary")
                || (!self.secret.is_empty() && text.contains(self.secret))
        };
        if error.fields.values().any(shows) {
            return Err("it shows a secret, or what the server said".to_owned());
        }
        Ok(())
    }
}

fn check_ok(
    answer: &Answer,
    expected: &Map<String, Value>,
    before: &[Option<Answer>],
    began: SystemTime,
) -> Result<(), String> {
    let unix_ms = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap()
    };
    let earlier = |expected: &Value| {
        let at = expected.as_u64().and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| before.get(at)) {
            Some(Some(earlier)) => earlier.get("secret"),
            _ => Err(format!("step {expected} gave nothing to compare with")),
        }
    };
    for (name, expected) in expected {
        let good = match name.as_str() {
            "lifetime" => {
                let seconds = expected.as_i64().ok_or("lifetime is no number")?;
                let requested = answer.number("expires_at_ms")? - seconds * 1_000;
                let until = unix_ms(SystemTime::now()) + 1_000;
                (unix_ms(began) - 1_000..=until).contains(&requested)
                    && answer.number("expires_in").unwrap_or(seconds) == seconds
            }
            "same_as" => answer.get("secret")? == earlier(expected)?,
            "differs_from" => answer.get("secret")? != earlier(expected)?,
            "business_id" | "client_name" | "client_id" => json!(answer.get(name)?) == *expected,
            "session_duration" => json!(answer.number(name)?) == *expected,
            "invalidated" => json!(answer.number(name)? == 1) == *expected,
            other => return Err(format!("a success has no {other}")),
        };
        if !good {
            return Err(format!("{name} is not {expected}"));
        }
    }
    Ok(())
}

/// An order to the emulator's control API, which must be accepted.
fn control(layer: &Emulator, method: &str, path: &str, body: &Value) -> Result<(), String> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let address = layer.control_address();
    let failed = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if !answer.starts_with("HTTP/1.1 2") {
        return Err(format!("{method} {path}: {answer}"));
    }
    Ok(())
}
