//! Parsers of untrusted input, for `fuzz/`, each with the properties that must
//! hold for any input. Compiled under `--cfg fuzzing`, and in this crate's tests,
//! which run the corpus.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)] // A panic is the fuzzer's report.

use std::ffi::OsString;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use url::Url;

use crate::business_id::BusinessId;
use crate::client::builder::ClientBuilder;
use crate::credentials::{Credentials, Origin};
use crate::environment::{Endpoints, Environment};
use crate::error::{Details, Error};
use crate::protocol::message::Response;
use crate::protocol::{layer_api, oauth, token_response as response};
use crate::retry::parse_retry_after;
use crate::secret::Secret;
use crate::sys::clock::Clock;
use crate::token::{AccessToken, Life, MAX_LIFETIME};
use crate::trust;

/// Longest `Retry-After` that is reported.
const YEAR: Duration = Duration::from_secs(31_536_000);

/// Text in the corpus that no error message may contain.
const SECRET: &str = "canary-9f1c";

/// Checks that an error is short, has a remedy and shows no secret.
fn check(error: &Error) {
    let shown = format!("{error} {error:?}");
    for secret in [SECRET, "Y2FuYXJ5OjlmMWM"] {
        assert!(!shown.contains(secret), "a secret is shown");
    }
    assert!(shown.len() < 4_096, "an error of {} bytes", shown.len());
    assert!(!error.message().is_empty() && !error.remedy().is_empty());
}

/// Body of a token response: a token that is valid in a header and expires within
/// a day, or an error that quotes nothing.
pub fn token_response(body: &[u8]) {
    let parse = |body| response::parse(|| "the server".to_owned(), body, Details::default);
    match parse(body) {
        Ok(answer) => {
            assert!(answer.lifetime >= Duration::from_secs(1) && answer.lifetime <= MAX_LIFETIME);
            let life = Life {
                requested_at: Clock::System.now(),
                lifetime: answer.lifetime,
                clock: Clock::System,
            };
            let token = AccessToken::new(answer.access_token.as_str(), life).unwrap();
            assert_eq!(token.secret(), answer.access_token.as_str());
            assert!(token.authorization().is_sensitive());
            assert!(token.authorization().to_str().is_ok());
        }
        Err(error) => {
            check(&error);
            // The text is this library's own: no word comes from the body.
            let known = parse(b"");
            assert_eq!(known.err().unwrap().kind(), error.kind());
            assert!(error.message().is_ascii() && error.message().len() < 200);
        }
    }
}

/// Error response of either endpoint: two bytes of status, a line with the
/// request id, a line with `Retry-After`, and the body.
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
    let answer = Response {
        status: StatusCode::from_u16(300 + status % 300).unwrap(),
        headers,
        body: Bytes::copy_from_slice(body),
        secret: Secret::new(SECRET),
        authorization: HeaderValue::from_static("Basic Y2FuYXJ5OjlmMWM="),
    };
    let url = Url::parse("https://auth.layerfi.com/oauth2/token").unwrap();
    let credentials = Credentials::new("id", SECRET);
    let from_oauth = oauth::read_response(&url, &answer, &credentials, Origin::Given)
        .err()
        .unwrap();
    let from_api = layer_api::check_status(
        || "the call".to_owned(),
        layer_api::Resource::Whoami,
        &answer,
    )
    .unwrap_err();
    for error in [from_oauth, from_api] {
        check(&error);
        assert_eq!(error.http_status(), Some(answer.status.as_u16()));
        assert!(error.retry_after() <= Some(YEAR));
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
        assert!(delay <= YEAR);
    }
}

/// Environment variables that a client is made from.
#[cfg(unix)]
const VARIABLES: [&str; 14] = [
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
    "LAYER_TRUST",
];

/// Configuration from environment variables, one a line, in the order of
/// `VARIABLES`: credentials go to `https` or to this machine only.
#[cfg(unix)]
pub fn environment(data: &[u8]) {
    use std::os::unix::ffi::OsStringExt as _;

    let values: Vec<_> = data.split(|byte| *byte == b'\n').collect();

    // These variables may contain the secret. In the other variables it would be a
    // host or a name, which errors show (a host in lower case).
    let hides = |name: &str| name == "LAYER_CLIENT_SECRET" || name.ends_with("_PROXY");
    let is_shown = VARIABLES
        .iter()
        .zip(&values)
        .filter(|(name, _)| !hides(name))
        .any(|(_, value)| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            value.contains(SECRET)
        });
    if is_shown {
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

/// Business id: exactly one segment of a URL's path.
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
                assert_eq!(url.path(), path, "the path has changed");
                assert_eq!(url.host_str(), Some("sandbox.layerfi.com"));
                assert!(url.query().is_none() && url.fragment().is_none());
                assert_eq!(url.path_segments().unwrap().count(), 4);
            }
        }
    }
}

/// PEM text of certificate authorities.
pub fn ca_pem(pem: &[u8]) {
    let mut strict = Vec::new();
    let text = std::str::from_utf8(pem).ok();
    let read = text.and_then(|text| trust::pem::strict_pem(text, |found| strict.push(found)));
    if read.is_some() {
        let by_library: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        assert_eq!(Some(strict), by_library.ok(), "the bundle's parser differs");
    }
    match trust::pem::parse_ca(pem, "ca_file") {
        Ok(certificates) => assert!(!certificates.is_empty()),
        Err(error) => check(&error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    /// Runs the seeds of the fuzzers and all inputs that they found.
    #[test]
    fn b10_b18_b20_corpus_of_the_fuzzers_passes() {
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
