//! The token answer that both endpoints give: RFC 6749 section 5.1, as Layer
//! sends it and as strictly as is safe.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Details, Error, Result};
use crate::token::{LONGEST_LIFE, check_access_token};

/// What Layer documents, and so what a missing `expires_in` means.
const DOCUMENTED_LIFE: Duration = Duration::from_secs(3_600);

/// A text that is wiped when dropped, on every way out of the parser.
struct SecretText(Zeroizing<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretText,
    token_type: String,
    #[serde(default)]
    expires_in: Value,
}

/// A token answer whose fields have been checked.
pub(crate) struct AuthToken {
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) lifetime: Duration,
}

/// Reads the body of a 200. `what` names the request in messages.
pub(crate) fn parse(what: &str, body: &[u8], details: Details) -> Result<AuthToken> {
    let refuse = |why: &str| Error::protocol(format!("{what}: {why}"), details.clone());
    // serde would also take a list of the fields' values.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(refuse("the answer is a JSON list and not an object"));
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        // serde's own text quotes what it stumbled over, which may be the token.
        refuse(match error.classify() {
            serde_json::error::Category::Data => {
                "the answer is JSON but not a token answer (access_token and token_type as \
                 strings, each once)"
            }
            serde_json::error::Category::Eof => "the answer is truncated JSON",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                "the answer is not JSON"
            }
        })
    })?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(refuse("token_type is not Bearer"));
    }
    check_access_token(&answer.access_token.0).map_err(refuse)?;
    let lifetime = lifetime(&answer.expires_in).map_err(refuse)?;
    Ok(AuthToken {
        access_token: answer.access_token.0,
        lifetime,
    })
}

/// What `expires_in` means: whole seconds as a number or as a string of digits.
fn lifetime(expires_in: &Value) -> Result<Duration, &'static str> {
    let seconds = match expires_in {
        Value::Null => return Ok(DOCUMENTED_LIFE),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(seconds), _) => seconds,
            // A float is cut to whole seconds: less life is the safe side.
            // (`as` saturates: below zero is zero, too much is the cap.)
            (None, Some(seconds)) => seconds as u64,
            (None, None) => 0,
        },
        Value::String(digits)
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            // More digits than fit are more than the cap.
            digits.parse().unwrap_or(u64::MAX)
        }
        _ => return Err("expires_in is neither a number nor a string of digits"),
    };
    if seconds == 0 {
        return Err("expires_in says that the token is dead on arrival");
    }
    Ok(Duration::from_secs(seconds).min(LONGEST_LIFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b10_every_form_of_expires_in() {
        let answer = |expires_in: &str| {
            let body = format!(r#"{{"access_token":"t","token_type":"Bearer"{expires_in}}}"#);
            parse("token request", body.as_bytes(), Details::default())
                .map(|token| token.lifetime.as_secs())
                .ok()
        };
        for (form, seconds) in [
            ("", Some(3_600)),
            (r#","expires_in":null"#, Some(3_600)),
            (r#","expires_in":3600"#, Some(3_600)),
            (r#","expires_in":"3600""#, Some(3_600)),
            (r#","expires_in":"12345""#, Some(12_345)),
            (r#","expires_in":1"#, Some(1)),
            (r#","expires_in":3600.9"#, Some(3_600)),
            (r#","expires_in":1e3"#, Some(1_000)),
            (r#","expires_in":86401"#, Some(86_400)),
            (r#","expires_in":1e300"#, Some(86_400)),
            (r#","expires_in":18446744073709551616"#, Some(86_400)),
            (r#","expires_in":"99999999999999999999999""#, Some(86_400)),
            (r#","expires_in":0"#, None),
            (r#","expires_in":0.5"#, None),
            (r#","expires_in":-1"#, None),
            (r#","expires_in":"0""#, None),
            (r#","expires_in":"-1""#, None),
            (r#","expires_in":"1.5""#, None),
            (r#","expires_in":" 60""#, None),
            (r#","expires_in":"""#, None),
            (r#","expires_in":true"#, None),
            (r#","expires_in":[3600]"#, None),
            (r#","expires_in":{}"#, None),
        ] {
            assert_eq!(answer(form), seconds, "{form}");
        }
    }

    #[test]
    fn b21_the_type_must_be_bearer_in_any_case() {
        for (token_type, accepted) in [
            (r#""Bearer""#, true),
            (r#""bearer""#, true),
            (r#""BEARER""#, true),
            (r#""mac""#, false),
            (r#""Bearer ""#, false),
            (r#""""#, false),
            ("null", false),
            ("1", false),
        ] {
            let body = format!(r#"{{"access_token":"t","token_type":{token_type}}}"#);
            let result = parse("token request", body.as_bytes(), Details::default());
            assert_eq!(result.is_ok(), accepted, "{token_type}");
        }
    }

    #[test]
    fn b20_a_refusal_never_quotes_the_body() {
        for body in [
            r#"{"access_token":"canary","token_type":1}"#,
            r#"{"access_token":"canary","access_token":"canary","token_type":"Bearer"}"#,
            r#"{"access_token":{"canary":1},"token_type":"Bearer"}"#,
            r#""canary""#,
            "canary",
            r#"{"access_token":"canary"#,
            r#"["canary","Bearer",3600]"#,
            r#"{"access_token":"canary canary","token_type":"Bearer"}"#,
            "\u{feff}{\"access_token\":\"canary\",\"token_type\":\"Bearer\"}",
            r#"{"access_token":"canary","token_type":"Bearer"} canary"#,
        ] {
            match parse("token request", body.as_bytes(), Details::default()) {
                Ok(_) => panic!("accepted {body}"),
                Err(error) => assert!(!format!("{error} {error:?}").contains("canary"), "{error}"),
            }
        }
    }
}
