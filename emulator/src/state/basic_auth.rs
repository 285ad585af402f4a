//! Client credentials in an HTTP Basic header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Decoding of the user and password in a Basic header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BasicDecoding {
    /// No decoding. `curl -u` sends this form, and Layer documents it.
    #[default]
    Raw,
    /// Form decoding, as RFC 6749 section 2.3.1 requires.
    Form,
}

/// The client id and secret in the value of a Basic header.
pub(crate) fn parse(authorization: &str, decoding: BasicDecoding) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some(match decoding {
        BasicDecoding::Raw => (id.to_owned(), secret.to_owned()),
        BasicDecoding::Form => (form_decode(id), form_decode(secret)),
    })
}

fn form_decode(text: &str) -> String {
    // Parses the text as the only key of a form. `=` and `&` are escaped first:
    // a form-encoded text does not contain them, so they are literal.
    form_urlencoded::parse(text.replace('=', "%3D").replace('&', "%26").as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn raw_and_form_decoding_differ_only_for_percent_and_plus() {
        for (pair, raw, form) in [
            ("id:secret", ("id", "secret"), ("id", "secret")),
            ("id:a%2Bb+c", ("id", "a%2Bb+c"), ("id", "a+b c")),
            ("i%3Ad:s", ("i%3Ad", "s"), ("i:d", "s")),
            ("id:a:b=c&d", ("id", "a:b=c&d"), ("id", "a:b=c&d")),
            (":", ("", ""), ("", "")),
        ] {
            let owned = |(id, secret): (&str, &str)| Some((id.to_owned(), secret.to_owned()));
            for (decoding, expected) in [(BasicDecoding::Raw, raw), (BasicDecoding::Form, form)] {
                assert_eq!(
                    parse(&header(pair), decoding),
                    owned(expected),
                    "wrong {decoding:?} decoding of {pair}"
                );
            }
        }
    }

    #[test]
    fn header_without_valid_basic_credentials_is_refused() {
        for bad in [
            "",
            "Basic",
            "Basic !",
            "Bearer aWQ6cw==",
            &header("no colon"),
        ] {
            assert_eq!(
                parse(bad, BasicDecoding::Raw),
                None,
                "{bad:?} must be refused"
            );
        }
        assert!(
            parse("bAsIc aWQ6cw==", BasicDecoding::Raw).is_some(),
            "the scheme must match in any case"
        );
    }
}
