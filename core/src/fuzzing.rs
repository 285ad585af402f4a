//! The parsers of bytes from outside, for `fuzz/`: each with what must hold
//! whatever comes in. Only there under `--cfg fuzzing`, and in this crate's
//! own tests, which run the corpus.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)] // A panic here is the report.

use std::ffi::OsString;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;
use zeroize::Zeroizing;

use crate::auth_token;
use crate::business_id::BusinessId;
use crate::clock::Now;
use crate::config::ClientBuilder;
use crate::environment::{Endpoints, Environment};
use crate::error::{Details, Error};
use crate::http::Answer;
use crate::layer_api;
use crate::oauth;
use crate::retry::{LONGEST_RETRY_AFTER, parse_retry_after};
use crate::secret::Secret;
use crate::tls;
use crate::token::{AccessToken, LONGEST_LIFE};

/// What servers and settings of the corpus say, and no error may.
const SECRET: &str = "canary-9f1c";

/// An error tells what failed and what to do, in a few plain words.
fn check(error: &Error) {
    let shown = format!("{error} {error:?}");
    for secret in [SECRET, "Y2FuYXJ5OjlmMWM"] {
        assert!(!shown.contains(secret), "a secret is shown");
    }
    assert!(shown.len() < 4_096, "an error of {} bytes", shown.len());
    assert!(!error.message().is_empty() && !error.remedy().is_empty());
}

/// The body of a token answer: a token that a header can carry and that lives
/// a day at the most, or an error that quotes nothing.
pub fn token_response(body: &[u8]) {
    let now = Now {
        mono: 1,
        wall: 1_700_000_000_000_000_000,
    };
    match auth_token::parse("the request", body, Details::default()) {
        Ok(answer) => {
            assert!(answer.lifetime >= Duration::from_secs(1) && answer.lifetime <= LONGEST_LIFE);
            let token = AccessToken::new(&answer.access_token, now, answer.lifetime).unwrap();
            assert_eq!(token.secret(), answer.access_token.as_str());
            assert!(token.authorization().is_sensitive());
            assert!(token.authorization().to_str().is_ok());
        }
        Err(error) => {
            check(&error);
            // Its words are this library's own: not one comes from the body.
            let known = auth_token::parse("the request", b"", Details::default());
            assert_eq!(known.err().unwrap().kind(), error.kind());
            assert!(error.message().is_ascii() && error.message().len() < 200);
        }
    }
}

/// A refusal, as both endpoints' are read: two bytes of status, a line with its
/// request id, a line with its `Retry-After`, and its body.
pub fn refusal(data: &[u8]) {
    let Some((status, rest)) = data.split_first_chunk() else {
        return;
    };
    let status = u16::from_be_bytes(*status);
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (request_id, retry_after, body) = (part(), part(), part());
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-request-id", request_id), ("retry-after", retry_after)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(
        header::DATE,
        HeaderValue::from_static("Tue, 24 Nov 2026 08:00:00 GMT"),
    );
    let answer = Answer {
        status: StatusCode::from_u16(300 + status % 300).unwrap(),
        headers,
        body: Zeroizing::new(body.to_vec()),
        secret: Secret::new(SECRET),
        authorization: Some(HeaderValue::from_static("Basic Y2FuYXJ5OjlmMWM=")),
    };
    let url = Url::parse("https://auth.layerfi.com/oauth2/token").unwrap();
    let from_oauth = oauth::read_answer(&url, &answer).err().unwrap();
    let from_api = layer_api::check_status("the call", &answer).unwrap_err();
    for error in [from_oauth, from_api] {
        check(&error);
        assert_eq!(error.http_status(), Some(answer.status.as_u16()));
        assert!(error.retry_after() <= Some(LONGEST_RETRY_AFTER));
        for word in [error.request_id(), error.oauth_error(), error.error_enum()] {
            assert!(word.is_none_or(|word| {
                word.len() <= 128
                    && word
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            }));
        }
    }
}

/// `Retry-After`, with the server's time in its first four bytes.
pub fn retry_after(data: &[u8]) {
    let Some((now, value)) = data.split_first_chunk() else {
        return;
    };
    let Ok(value) = std::str::from_utf8(value) else {
        return;
    };
    let now = UNIX_EPOCH + Duration::from_secs(u32::from_be_bytes(*now).into());
    if let Some(delay) = parse_retry_after(value, now) {
        assert!(delay <= LONGEST_RETRY_AFTER);
    }
}

/// The variables that a client is made from.
#[cfg(unix)]
const VARIABLES: [&str; 13] = [
    "LAYER_ENVIRONMENT",
    "LAYER_CLIENT_ID",
    "LAYER_CLIENT_SECRET",
    "LAYER_CLIENT_SECRET_FILE",
    "LAYER_API_URL",
    "LAYER_AUTH_URL",
    "LAYER_SCOPE",
    "LAYER_ALLOW_HTTP_LOOPBACK",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUEST_METHOD",
];

/// A configuration from the environment's variables, one a line, in the order
/// of `VARIABLES`: credentials go to `https` or to this machine, or nowhere.
#[cfg(unix)]
pub fn environment(data: &[u8]) {
    use std::os::unix::ffi::OsStringExt as _;

    let values: Vec<_> = data.split(|byte| *byte == b'\n').collect();

    // What is a secret, and where it may be hidden: elsewhere it is a host or a
    // name like any other, and shown (a host in small letters).
    let hides = |name: &str| name == "LAYER_CLIENT_SECRET" || name.ends_with("_PROXY");
    let told = VARIABLES
        .iter()
        .zip(&values)
        .filter(|(name, _)| !hides(name))
        .any(|(_, value)| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            value.contains(SECRET)
        });
    if told {
        return;
    }
    let var = |name: &str| {
        let at = VARIABLES.iter().position(|known| *known == name)?;
        values
            .get(at)
            .map(|value| OsString::from_vec(value.to_vec()))
    };
    let config = ClientBuilder::from_vars(var)
        .and_then(|builder| builder.resolve(|name| var(name)?.into_string().ok()));
    match config {
        Err(error) => check(&error),
        Ok(config) => {
            let endpoints = &config.endpoints;
            assert!(!endpoints.api_url.ends_with('/'));
            let api = layer_api::api_url(endpoints, "/whoami").unwrap();
            for url in [&api, &endpoints.auth_url] {
                let here = match url.host().unwrap() {
                    url::Host::Domain(name) => name == "localhost",
                    url::Host::Ipv4(address) => address.is_loopback(),
                    url::Host::Ipv6(address) => address.is_loopback(),
                };
                assert!(
                    url.scheme() == "https" || (url.scheme() == "http" && here),
                    "{url} would get credentials"
                );
                assert!(url.username().is_empty() && url.password().is_none());
            }
            assert!(!format!("{:?}", config.credentials).contains(SECRET));
        }
    }
}

/// A business id: one segment of a URL's path, and nothing but that.
pub fn business_id(id: &[u8]) {
    let Ok(id) = std::str::from_utf8(id) else {
        return;
    };
    let endpoints = Endpoints::new(Environment::Sandbox, None, None, None, false).unwrap();
    for id in [id.parse::<BusinessId>(), BusinessId::opaque(id)] {
        match id {
            Err(error) => check(&error),
            Ok(id) => {
                let segment = id.path_segment();
                let path = format!("/v1/businesses/{segment}/auth-token");
                let url = layer_api::api_url(&endpoints, &path).unwrap();
                assert_eq!(url.path(), path, "the path became another one");
                assert_eq!(url.host_str(), Some("sandbox.layerfi.com"));
                assert!(url.query().is_none() && url.fragment().is_none());
                assert_eq!(url.path_segments().unwrap().count(), 4);
            }
        }
    }
}

/// PEM text of certificate authorities.
pub fn ca_pem(pem: &[u8]) {
    match tls::parse_ca(pem) {
        Ok(certificates) => assert!(!certificates.is_empty()),
        Err(error) => check(&error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    /// What the fuzzers began with, and whatever they found, by every run of
    /// the tests.
    #[test]
    fn b10_b18_b20_the_corpus() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 6] = [
            ("token_response", super::token_response),
            ("refusal", super::refusal),
            ("retry_after", super::retry_after),
            ("environment", super::environment),
            ("business_id", super::business_id),
            ("ca_pem", super::ca_pem),
        ];
        for (name, target) in targets {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");
            let mut count = 0;
            for entry in std::fs::read_dir(format!("{folder}{name}")).unwrap() {
                target(&std::fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 3, "{name}");
        }
    }
}
