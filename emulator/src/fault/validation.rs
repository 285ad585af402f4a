//! Validation of a fault before it is added.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::endpoint::Endpoint;
use crate::fault::definition::Fault;
use crate::fault::wire::Wire;
use crate::resource::RESOURCES;

/// The body is in memory as long as the fault; `pad_body_to` makes larger ones.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Padding is made while it is sent, so this limits time, not memory.
const MAX_PADDED_BYTES: u64 = 1 << 30;
const MAX_HEADER_BYTES: u32 = 16 << 20;
const MAX_DELAY_MS: u64 = 3_600_000;

impl Fault {
    /// Refuses a fault that cannot work. The error starts with the field's name.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(resource) = &self.resource {
            if !RESOURCES.contains(&resource.as_str()) {
                return Err(format!(
                    "resource: {resource:?} is not a resource; use one of {}",
                    RESOURCES.join(", ")
                ));
            }
            if self
                .endpoint
                .is_some_and(|endpoint| endpoint != Endpoint::BusinessData)
            {
                return Err("resource: only the endpoint business_data has resources".to_owned());
            }
        }
        if let Some(status) = self.status
            && (StatusCode::from_u16(status).is_err() || status < 200)
        {
            return Err(format!("status: must be 200 to 999, got {status}"));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(format!(
                    "headers: {name:?} or its value is not a valid header; \
                     use wire \"raw\" to send any bytes"
                ));
            }
        }
        let framing = |name: &&String| {
            [CONTENT_LENGTH, TRANSFER_ENCODING]
                .iter()
                .any(|framing| name.eq_ignore_ascii_case(framing.as_str()))
        };
        if let Some(name) = self.headers.keys().find(framing) {
            return Err(format!(
                "headers: the emulator sets {name:?} itself; use wire \"raw\" to send any bytes"
            ));
        }
        for (name, bytes) in &self.pad_headers {
            if HeaderName::try_from(name).is_err() {
                return Err(format!("pad_headers: {name:?} is not a header name"));
            }
            if *bytes > MAX_HEADER_BYTES {
                return Err(format!(
                    "pad_headers: must be at most {MAX_HEADER_BYTES}, got {bytes} for {name:?}"
                ));
            }
        }
        if self.encoding.is_some() && self.pad_body_to > 0 {
            return Err(
                "encoding: spaces after an encoded body are not valid, so pad_body_to must not \
                 be set"
                    .to_owned(),
            );
        }
        if self.body.is_some() && self.body_base64.is_some() {
            return Err("body: set body or body_base64, not both".to_owned());
        }
        if let Some(encoded) = &self.body_base64
            && STANDARD.decode(encoded).is_err()
        {
            return Err("body_base64: not valid base64".to_owned());
        }
        let size = self.body.as_ref().map_or(0, |body| body.to_string().len())
            + self.body_base64.as_ref().map_or(0, String::len);
        if size > MAX_BODY_BYTES {
            return Err(format!(
                "body: must be at most {MAX_BODY_BYTES} bytes, got {size}; \
                 pad_body_to makes larger ones"
            ));
        }
        if self.patch.is_some() && self.is_fixed() {
            return Err(
                "patch: changes the real response, so status and body must not be set".to_owned(),
            );
        }
        if self.pad_body_to > MAX_PADDED_BYTES {
            return Err(format!(
                "pad_body_to: must be at most {MAX_PADDED_BYTES}, got {}",
                self.pad_body_to
            ));
        }
        let every_ms = match self.wire {
            Some(Wire::Drip(drip)) => drip.every_ms,
            _ => 0,
        };
        for (name, value) in [("delay_ms", self.delay_ms), ("every_ms", every_ms)] {
            if value > MAX_DELAY_MS {
                return Err(format!(
                    "{name}: must be at most {MAX_DELAY_MS} (one hour), got {value}; \
                     wire {{\"stall\": \"before\"}} never responds"
                ));
            }
        }
        if self.wire == Some(Wire::Raw) {
            if self.body.is_none() && self.body_base64.is_none() {
                return Err(
                    "wire: \"raw\" sends the body, so body or body_base64 must be set".to_owned(),
                );
            }
            if self.status.is_some()
                || !self.headers.is_empty()
                || !self.pad_headers.is_empty()
                || self.encoding.is_some()
                || self.pad_body_to > 0
            {
                return Err("wire: \"raw\" sends only the body, so status, headers, \
                     pad_headers, encoding and pad_body_to must not be set"
                    .to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(json: &str) -> String {
        match serde_json::from_str::<Fault>(json) {
            Err(error) => error.to_string(),
            Ok(fault) => fault.check().err().unwrap_or_default(),
        }
    }

    #[test]
    fn invalid_fault_is_refused_with_the_name_of_the_field() {
        for (json, part) in [
            (r#"{"status": 99}"#, "status"),
            (r#"{"status": 100}"#, "status"),
            (r#"{"headers": {"a b": "c"}}"#, "headers"),
            (r#"{"headers": {"a": "c\r\nd: e"}}"#, "wire \"raw\""),
            (r#"{"headers": {"Content-Length": "3"}}"#, "wire \"raw\""),
            (r#"{"body": "a", "body_base64": "YQ=="}"#, "not both"),
            (r#"{"body_base64": "?"}"#, "base64"),
            (r#"{"patch": {}, "status": 200}"#, "patch"),
            (r#"{"delay_ms": 3600001}"#, "delay_ms"),
            (r#"{"pad_body_to": 99999999999}"#, "pad_body_to"),
            (r#"{"pad_headers": {"a b": 1}}"#, "pad_headers"),
            (r#"{"pad_headers": {"a": 99999999}}"#, "pad_headers"),
            (r#"{"encoding": "gzip", "pad_body_to": 1}"#, "encoding"),
            (r#"{"encoding": "lzma"}"#, "unknown variant `lzma`"),
            (r#"{"wire": "raw"}"#, "must be set"),
            (
                r#"{"wire": "raw", "body": "x", "status": 200}"#,
                "sends only the body",
            ),
            (r#"{"wire": "sing"}"#, "unknown variant `sing`"),
            (r#"{"wire": {"close": "late"}}"#, "unknown variant `late`"),
            (r#"{"wire": {"drip": {"part": "body"}}}"#, "every_ms"),
            (r#"{"staus": 503}"#, "unknown field `staus`"),
            (r#"{"resource": "vendor"}"#, "use one of accounting-config"),
            (
                r#"{"resource": "vendors", "endpoint": "token"}"#,
                "only the endpoint business_data",
            ),
            (r#"{"endpoint": "tokens"}"#, "unknown variant `tokens`"),
        ] {
            let error = error_of(json);
            assert!(
                error.contains(part),
                "the error for {json} must contain {part:?}, got {error:?}"
            );
        }
    }

    #[test]
    fn valid_fault_keeps_its_json_form() {
        for json in [
            r#"{}"#,
            r#"{"endpoint":"token","times":"forever","hold":true}"#,
            r#"{"endpoint":"auth_token","business_id":"x","skip":2,"times":3,"status":503,"headers":{"retry-after":"1"}}"#,
            r#"{"body":{"access_token":"{{token}}"},"wire":{"drip":{"part":"body","every_ms":10}}}"#,
            r#"{"patch":{"token_type":null},"pad_body_to":70000,"wire":{"endless":"body"}}"#,
            r#"{"endpoint":"proxy","path":"a:443","for_ms":60000,"pad_headers":{"a":9},"encoding":"br"}"#,
            r#"{"endpoint":"business_data","resource":"bank-transactions/{id}","status":500}"#,
            r#"{"body":"SSH-2.0-x","wire":"raw"}"#,
            r#"{"wire":"freeze"}"#,
            r#"{"wire":"go_away"}"#,
            r#"{"wire":{"close":"after"}}"#,
        ] {
            assert_eq!(error_of(json), "", "{json} must be valid");
            let fault: Fault = serde_json::from_str(json).unwrap();
            assert_eq!(
                serde_json::to_string(&fault).unwrap(),
                json,
                "the JSON form must not change"
            );
        }
    }
}
