//! The steps of a case: calls, and their expected outcomes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use layerfi_auth_emulator::Emulator;
use layerfi_auth_test_support::control;
use layerfi_auth_test_support::vectors::{text_matches, variable_of};
use serde_json::{Map, Value, json};

use super::case::only;
use super::program::{Reply, VectorProgram};
use crate::support::lateness;

pub struct Steps<'a> {
    pub program: &'a mut VectorProgram,
    pub layer: &'a Emulator,
    pub built: &'a Reply,
    pub secret: &'a str,
    /// Whether the client is made from environment variables.
    pub uses_variables: bool,
    /// The timeout of each call.
    pub timeout: Duration,
}

impl Steps<'_> {
    pub fn step(
        &mut self,
        number: usize,
        step: &Value,
        before: &[Option<Reply>],
    ) -> Result<Option<Reply>, String> {
        let fields = step.as_object().ok_or("the step is not an object")?;
        if let Some(method) = step["control"].as_str() {
            only(fields, &["control", "path", "body"])?;
            let path = step["path"]
                .as_str()
                .ok_or("the control step has no path")?;
            control(self.layer.control_address(), method, path, &step["body"]);
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
        let call = step["call"].as_str().ok_or("the step has no call")?;
        if call == "build" {
            self.check(self.built, &step["expect"], before, SystemTime::now())?;
            return Ok(None);
        }
        if !self.built.ok {
            return Err(format!(
                "the client was not built: {}",
                self.built.get("display")?
            ));
        }
        let words = self.words(call, step, number)?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (began, started) = (SystemTime::now(), Instant::now());
        let mut first: Option<Reply> = None;
        for _ in 0..step["repeat"].as_u64().unwrap_or(1) {
            let called = Instant::now();
            self.program.send(&words)?;
            for caller in 0..step["callers"].as_u64().unwrap_or(1) {
                let reply = self.program.receive()?;
                if caller == 0 {
                    // The program replies when all callers have ended.
                    self.program.times.add(call, called.elapsed(), self.timeout);
                }
                if let Some(token) = reply.fields.get("secret") {
                    let what = if call == "token" {
                        "access token"
                    } else {
                        "business token"
                    };
                    self.program.secrets.add_text(what, token);
                }
                self.check(&reply, &step["expect"], before, began)?;
                if let Some(first) = &first
                    && call != "mint_business_token"
                    && first.fields.get("secret") != reply.fields.get("secret")
                {
                    return Err("the callers got different tokens".to_owned());
                }
                first.get_or_insert(reply);
            }
        }
        let took = u64::try_from(started.elapsed().as_millis()).unwrap();
        if let Some(limits) = step["elapsed_ms"].as_array() {
            let limit = |at: usize| limits.get(at).and_then(Value::as_u64).unwrap_or_default();
            let allowed = limit(1) + u64::try_from(lateness().as_millis()).unwrap();
            if took < limit(0) || (took > allowed && !self.program.slow) {
                return Err(format!(
                    "it took {took} ms, expected {limits:?} ms (at most {allowed} on this machine)"
                ));
            }
        }
        Ok(first)
    }

    fn words(&self, call: &str, step: &Value, number: usize) -> Result<Vec<String>, String> {
        let callers = step["callers"].as_u64().unwrap_or(1).to_string();
        let business = || {
            let id = step["business_id"].as_str();
            id.map(str::to_owned).ok_or("the call has no business_id")
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
            other => return Err(format!("{other} is not a call")),
        })
    }

    fn check(
        &self,
        reply: &Reply,
        expect: &Value,
        before: &[Option<Reply>],
        began: SystemTime,
    ) -> Result<(), String> {
        let empty = Map::new();
        only(expect.as_object().unwrap_or(&empty), &["ok", "error"])?;
        if let Some(expected) = expect["ok"].as_object() {
            if !reply.ok {
                return Err(format!("it failed: {}", reply.get("display")?));
            }
            return check_ok(reply, expected, before, began);
        }
        let expected = expect["error"]
            .as_object()
            .ok_or("the step has no expectation")?;
        if reply.ok {
            return Err(format!("it succeeded, expected {}", expect["error"]));
        }
        self.check_error(reply, expected)
    }

    fn check_error(&self, error: &Reply, expected: &Map<String, Value>) -> Result<(), String> {
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
                "message" | "remedy" => {
                    let named = |setting: &str| match setting {
                        _ if name == "message" || !self.uses_variables => setting.to_owned(),
                        "allow_http_loopback" => "LAYER_ALLOW_HTTP_LOOPBACK=1".to_owned(),
                        _ => variable_of(setting).unwrap_or_else(|| setting.to_owned()),
                    };
                    let text = error.get(name)?;
                    let wanted = expected.as_str().unwrap_or_default();
                    if text_matches(wanted, text, named) {
                        expected.clone()
                    } else {
                        json!(text)
                    }
                }
                other => return Err(format!("{other} is not a field of an error")),
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
                return Err(format!("the {text} of the error is empty"));
            }
        }
        check_no_secret(error, self.secret, self.program)
    }
}

/// Fails if an error contains a secret or a text of the server.
pub fn check_no_secret(error: &Reply, secret: &str, program: &VectorProgram) -> Result<(), String> {
    let has_secret = |text: &String| {
        text.to_ascii_lowercase().contains("canary")
            || (!secret.is_empty() && text.contains(secret))
            || program.secrets.find_in(text.as_bytes()).is_some()
    };
    if error.fields.values().any(has_secret) {
        return Err("the error contains a secret or a text of the server".to_owned());
    }
    Ok(())
}

fn check_ok(
    reply: &Reply,
    expected: &Map<String, Value>,
    before: &[Option<Reply>],
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
            _ => Err(format!("step {expected} has no token to compare with")),
        }
    };
    for (name, expected) in expected {
        let good = match name.as_str() {
            "lifetime" => {
                let seconds = expected.as_i64().ok_or("lifetime is not a number")?;
                let requested = reply.number("expires_at_ms")? - seconds * 1_000;
                let until = unix_ms(SystemTime::now()) + 1_000;
                (unix_ms(began) - 1_000..=until).contains(&requested)
                    && reply.number("expires_in").unwrap_or(seconds) == seconds
            }
            "same_as" => reply.get("secret")? == earlier(expected)?,
            "differs_from" => reply.get("secret")? != earlier(expected)?,
            "business_id" | "client_name" | "client_id" => json!(reply.get(name)?) == *expected,
            "session_duration" => json!(reply.number(name)?) == *expected,
            "invalidated" => json!(reply.number(name)? == 1) == *expected,
            other => return Err(format!("{other} is not a field of a success")),
        };
        if !good {
            return Err(format!("{name} is not {expected}"));
        }
    }
    Ok(())
}
