//! Is a fault one that can be carried out?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Fault, Wire};

/// Bodies are kept while a fault lives; larger ones are made with `pad_body_to`.
const BODY_CAP: usize = 4 << 20;
/// Padding is made as it is sent, so this bounds time and not memory.
const PAD_CAP: u64 = 1 << 30;
const HOUR_MS: u64 = 3_600_000;

impl Fault {
    /// Refuses a fault that cannot do what it says, with the field's name.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(status) = self.status
            && (StatusCode::from_u16(status).is_err() || status < 200)
        {
            return Err(format!("status: {status} is no status of a final answer"));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(format!(
                    "headers: {name:?} cannot be sent as a header; wire \"raw\" sends any bytes"
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
                "headers: {name:?} is the emulator's to write; wire \"raw\" sends any bytes"
            ));
        }
        if self.body.is_some() && self.body_base64.is_some() {
            return Err("body: give body or body_base64, not both".to_owned());
        }
        if let Some(encoded) = &self.body_base64
            && STANDARD.decode(encoded).is_err()
        {
            return Err("body_base64: not base64".to_owned());
        }
        let size = self.body.as_ref().map_or(0, |body| body.to_string().len())
            + self.body_base64.as_ref().map_or(0, String::len);
        if size > BODY_CAP {
            return Err(format!("body: over {BODY_CAP} bytes; use pad_body_to"));
        }
        if self.patch.is_some() && self.is_canned() {
            return Err(
                "patch: changes the real answer, so status and body cannot be given".to_owned(),
            );
        }
        if self.pad_body_to > PAD_CAP {
            return Err(format!("pad_body_to: over {PAD_CAP} bytes"));
        }
        let every = match self.wire {
            Some(Wire::Drip(drip)) => drip.every_ms,
            _ => 0,
        };
        if self.delay_ms > HOUR_MS || every > HOUR_MS {
            return Err("delay_ms, every_ms: at most an hour; to never answer, wire {\"stall\": \"before\"}".to_owned());
        }
        if self.wire == Some(Wire::Raw) {
            if self.body.is_none() && self.body_base64.is_none() {
                return Err("wire: \"raw\" sends the body, and there is none".to_owned());
            }
            if self.status.is_some() || !self.headers.is_empty() || self.pad_body_to > 0 {
                return Err("wire: \"raw\" sends the body alone, so status, headers and pad_body_to cannot be given".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(json: &str) -> String {
        match serde_json::from_str::<Fault>(json) {
            Err(error) => error.to_string(),
            Ok(fault) => fault.check().err().unwrap_or_default(),
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
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
            (r#"{"wire": "raw"}"#, "there is none"),
            (r#"{"wire": "raw", "body": "x", "status": 200}"#, "alone"),
            (r#"{"wire": "sing"}"#, "unknown variant `sing`"),
            (r#"{"wire": {"close": "late"}}"#, "unknown variant `late`"),
            (r#"{"wire": {"drip": {"part": "body"}}}"#, "every_ms"),
            (r#"{"staus": 503}"#, "unknown field `staus`"),
            (r#"{"endpoint": "tokens"}"#, "unknown variant `tokens`"),
        ] {
            assert!(verdict(json).contains(part), "{json}: {:?}", verdict(json));
        }
    }

    #[test]
    fn what_makes_sense_is_taken_and_written_back_the_same() {
        for json in [
            r#"{}"#,
            r#"{"endpoint":"token","times":"forever","hold":true}"#,
            r#"{"endpoint":"auth_token","business_id":"x","skip":2,"times":3,"status":503,"headers":{"retry-after":"1"}}"#,
            r#"{"body":{"access_token":"{{token}}"},"wire":{"drip":{"part":"body","every_ms":10}}}"#,
            r#"{"patch":{"token_type":null},"pad_body_to":70000,"wire":{"endless":"body"}}"#,
            r#"{"body":"SSH-2.0-x","wire":"raw"}"#,
        ] {
            assert_eq!(verdict(json), "", "{json}");
            let fault: Fault = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        }
    }
}
