//! An answer before it meets the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::fault::Fault;

/// Status, headers and body, all of it in memory.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        let mut answer = Self::empty(status);
        answer
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.body = body.to_string().into();
        answer
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header; a value that cannot be one is left out.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// The answer that a fault gives by itself. `token` is called once at most.
    pub(crate) fn canned(fault: &Fault, token: impl FnOnce() -> String) -> Self {
        let status = fault
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        let mut answer = Self::empty(status.unwrap_or(StatusCode::OK));
        let text = match (&fault.body, &fault.body_base64) {
            (Some(Value::String(text)), _) => Some(text.clone()),
            (Some(json), _) => Some(json.to_string()),
            (None, Some(encoded)) => {
                answer.body = STANDARD.decode(encoded).unwrap_or_default().into();
                None
            }
            (None, None) => None,
        };
        if let Some(text) = text {
            const MARK: &str = "{{token}}";
            let text = if text.contains(MARK) {
                text.replace(MARK, &token())
            } else {
                text
            };
            answer.body = text.into();
        }
        if !answer.body.is_empty() {
            answer
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        answer
    }

    /// What a fault changes on any answer, real or canned.
    pub(crate) fn altered(mut self, fault: &Fault) -> Self {
        if let Some(patch) = &fault.patch
            && let Ok(mut body) = serde_json::from_slice::<Value>(&self.body)
        {
            merge(&mut body, patch);
            self.body = body.to_string().into();
        }
        for (name, value) in &fault.headers {
            if let Ok(name) = HeaderName::try_from(name) {
                self.set(name, value);
            }
        }
        self
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(fields) = target {
        for (name, change) in changes {
            if change.is_null() {
                fields.remove(name);
            } else {
                merge(fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_merge_is_that_of_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
            (json!({"a": "foo"}), json!(null), json!(null)),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, result, "{target} {patch}");
        }
    }

    #[test]
    fn a_canned_body_gets_one_working_token_and_a_json_type() {
        let body = json!({"access_token": "{{token}}", "again": "{{token}}"});
        let answer = Answer::canned(&Fault::json(body), || "tok".to_owned());
        assert_eq!(answer.body, r#"{"access_token":"tok","again":"tok"}"#);
        assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
        let answer = Answer::canned(&Fault::status(503), || unreachable!());
        assert!(answer.body.is_empty() && answer.headers.is_empty());
        let html = Fault::text("<p>").header("content-type", "text/html");
        let answer = Answer::canned(&html, || unreachable!()).altered(&html);
        assert_eq!(answer.headers[CONTENT_TYPE], "text/html");
    }
}
