//! Responses that a fault sets or changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::fault::definition::{Encoding, Fault};
use crate::response::buffered::BufferedResponse;
use crate::response::encoding::encode;

/// Text in a scripted body that is replaced by a valid token.
const TOKEN_MARK: &str = "{{token}}";

/// The fixed response of a fault. Calls `token` at most once.
pub(crate) fn fixed(fault: &Fault, token: impl FnOnce() -> String) -> BufferedResponse {
    let status = fault
        .status
        .and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = BufferedResponse::empty(status.unwrap_or(StatusCode::OK));
    let text = match (&fault.body, &fault.body_base64) {
        (Some(Value::String(text)), _) => Some(text.clone()),
        (Some(json), _) => Some(json.to_string()),
        (None, Some(encoded)) => {
            response.body = STANDARD.decode(encoded).unwrap_or_default().into();
            None
        }
        (None, None) => None,
    };
    if let Some(mut text) = text {
        if text.contains(TOKEN_MARK) {
            text = text.replace(TOKEN_MARK, &token());
        }
        response.body = text.into();
    }
    if !response.body.is_empty() {
        response.set(CONTENT_TYPE, "application/json");
    }
    response
}

/// Applies `patch`, `headers`, `pad_headers` and `encoding` of a fault to a response,
/// fixed or real.
pub(crate) fn modify(response: &mut BufferedResponse, fault: &Fault) {
    if let Some(patch) = &fault.patch
        && let Ok(mut body) = serde_json::from_slice::<Value>(&response.body)
    {
        merge(&mut body, patch);
        response.body = body.to_string().into();
    }
    for (name, value) in &fault.headers {
        if let Ok(name) = HeaderName::try_from(name) {
            response.set(name, value);
        }
    }
    for (name, bytes) in &fault.pad_headers {
        if let Ok(name) = HeaderName::try_from(name) {
            let value = response.headers.get(&name).map(HeaderValue::as_bytes);
            let mut value = value.unwrap_or_default().to_vec();
            let length = usize::try_from(*bytes).unwrap_or(usize::MAX);
            value.resize(value.len().max(length), b'x');
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                response.headers.insert(name, value);
            }
        }
    }
    if let Some(encoding) = fault.encoding {
        let name = match encoding {
            Encoding::Gzip => "gzip",
            Encoding::Br => "br",
            Encoding::Zstd => "zstd",
        };
        response.body = encode(&response.body, encoding);
        response.set(CONTENT_ENCODING, name);
    }
}

/// Applies a JSON merge patch (RFC 7396).
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
    fn json_merge_patch_gives_the_results_of_rfc_7396() {
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
            assert_eq!(merged, result, "wrong result of patch {patch} on {target}");
        }
    }

    fn no_token() -> String {
        unreachable!("a body without {{token}} must not issue a token")
    }

    #[test]
    fn body_of_a_fixed_response_gets_one_token_and_the_json_type() {
        let body = json!({"access_token": "{{token}}", "again": "{{token}}"});
        let response = fixed(&Fault::json(body), || "tok".to_owned());
        assert_eq!(
            response.body, r#"{"access_token":"tok","again":"tok"}"#,
            "both marks must get the same token"
        );
        assert_eq!(
            response.headers[CONTENT_TYPE], "application/json",
            "the default content type must be JSON"
        );
    }

    #[test]
    fn fixed_response_without_a_body_has_no_headers() {
        let response = fixed(&Fault::status(503), no_token);
        assert!(
            response.body.is_empty() && response.headers.is_empty(),
            "body and headers must be empty, got {response:?}"
        );
    }

    #[test]
    fn header_of_a_fault_replaces_the_default_content_type() {
        let html = Fault::text("<p>").header("content-type", "text/html");
        let mut response = fixed(&html, no_token);
        modify(&mut response, &html);
        assert_eq!(
            response.headers[CONTENT_TYPE], "text/html",
            "the fault's header must be sent"
        );
    }
}
