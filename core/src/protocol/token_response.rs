//! Token response of both endpoints: RFC 6749 section 5.1, in the forms that
//! Layer sends, with strict checks.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Visitor;
use serde_json::Value;

use crate::error::{Details, Error, Result};
use crate::secret::Secret;
use crate::token::{MAX_LIFETIME, check_access_token};

/// Lifetime if `expires_in` is missing: the one that Layer documents.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3_600);

/// Text of the parsed body: a part of it, or a copy if it has escapes, which is wiped
/// when dropped, however the parser returns.
pub(crate) enum SecretText<'a> {
    Borrowed(&'a str),
    Owned(Secret),
}

impl SecretText<'_> {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text.expose(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for SecretText<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = SecretText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(SecretText::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(SecretText::Owned(Secret::new(text)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    access_token: SecretText<'a>,
    #[serde(borrow)]
    token_type: SecretText<'a>,
    #[serde(default)]
    expires_in: Value,
}

/// Token response whose fields have been checked.
pub(crate) struct TokenResponse<'a> {
    pub(crate) access_token: SecretText<'a>,
    pub(crate) lifetime: Duration,
}

/// Parses the body of a 200. `what` names the sender in messages; `what` and
/// `details` are called only on failure.
pub(crate) fn parse<'a>(
    what: impl Fn() -> String,
    body: &'a [u8],
    details: impl Fn() -> Details,
) -> Result<TokenResponse<'a>> {
    let refuse = |why: &str| {
        let what = format!("{} sent an invalid token response: {why}", what());
        Error::protocol(what, details())
    };
    // serde would also accept a list of the fields' values.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(refuse("a JSON list, not an object"));
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| {
        // serde's own text quotes the offending value, which may be the token.
        refuse(match error.classify() {
            serde_json::error::Category::Data => {
                "JSON without access_token and token_type as strings, each once"
            }
            serde_json::error::Category::Eof => "truncated JSON",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
        })
    })?;
    if !body.token_type.as_str().eq_ignore_ascii_case("bearer") {
        return Err(refuse("token_type is not Bearer"));
    }
    check_access_token(body.access_token.as_str()).map_err(refuse)?;
    let lifetime = lifetime(&body.expires_in).map_err(refuse)?;
    Ok(TokenResponse {
        access_token: body.access_token,
        lifetime,
    })
}

/// Lifetime from `expires_in`: whole seconds as a number or as a string of digits.
fn lifetime(expires_in: &Value) -> Result<Duration, &'static str> {
    let seconds = match expires_in {
        Value::Null => return Ok(DEFAULT_LIFETIME),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(seconds), _) => seconds,
            // A fraction is rounded down, because a shorter lifetime is safe.
            // (`as` saturates: below zero it gives zero, and too much exceeds
            // the cap.)
            (None, Some(seconds)) => seconds as u64,
            (None, None) => 0,
        },
        Value::String(digits)
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            // More digits than fit exceed the cap.
            digits.parse().unwrap_or(u64::MAX)
        }
        _ => return Err("expires_in is neither a number nor a string of digits"),
    };
    if seconds == 0 {
        return Err("expires_in is 0 or negative");
    }
    Ok(Duration::from_secs(seconds).min(MAX_LIFETIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what() -> String {
        "token endpoint".to_owned()
    }

    #[test]
    fn b10_expires_in_is_read_in_all_forms() {
        let answer = |expires_in: &str| {
            let body = format!(r#"{{"access_token":"t","token_type":"Bearer"{expires_in}}}"#);
            parse(what, body.as_bytes(), Details::default)
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
    fn b21_token_type_must_be_bearer_in_any_case() {
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
            let result = parse(what, body.as_bytes(), Details::default);
            assert_eq!(result.is_ok(), accepted, "{token_type}");
        }
    }

    #[test]
    fn b20_error_never_quotes_the_body() {
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
            match parse(what, body.as_bytes(), Details::default) {
                Ok(_) => panic!("accepted {body}"),
                Err(error) => assert!(!format!("{error} {error:?}").contains("canary"), "{error}"),
            }
        }
    }
}
