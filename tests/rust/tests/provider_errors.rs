//! Texts of the errors of a credentials provider, which the shared table cannot
//! express.

use layerfi_auth::{Credentials, CredentialsProvider, ErrorKind};
use layerfi_auth_emulator::DEFAULT_CLIENT_ID;
use layerfi_auth_tests::{client_builder, emulator};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the provider does.
#[derive(Clone, Copy)]
enum Provider {
    Fails,
    Returns(&'static str, &'static str),
    Hangs,
}

impl CredentialsProvider for Provider {
    async fn credentials(&self) -> Result<Credentials, Failure> {
        match self {
            Self::Fails => Err("the vault is sealed".into()),
            Self::Returns(id, secret) => Ok(Credentials::new(*id, *secret)),
            Self::Hangs => std::future::pending().await,
        }
    }
}

#[test]
fn b20_provider_mistakes_have_exact_texts() {
    let layer = emulator();
    for (provider, kind, message, remedy) in [
        (
            Provider::Fails,
            ErrorKind::Credentials,
            "the credentials provider failed: the vault is sealed",
            "see the provider's own message; the next call asks it again",
        ),
        (
            Provider::Returns("", "canary"),
            ErrorKind::Credentials,
            "the credentials provider returned invalid credentials: client_id is empty",
            "correct what the provider returns; the next call asks it again",
        ),
        (
            Provider::Returns(DEFAULT_CLIENT_ID, ""),
            ErrorKind::Credentials,
            "the credentials provider returned invalid credentials: client_secret is empty",
            "correct what the provider returns; the next call asks it again",
        ),
        (
            Provider::Returns(DEFAULT_CLIENT_ID, "canary\n"),
            ErrorKind::Credentials,
            "the credentials provider returned invalid credentials: client_secret starts or ends \
             with a line end",
            "correct what the provider returns; the next call asks it again",
        ),
        (
            Provider::Returns(DEFAULT_CLIENT_ID, "canary"),
            ErrorKind::OAuth,
            "token endpoint HOST returned invalid_client (HTTP 400)",
            "check that the credentials provider returns the pair that Layer issued for this \
             environment; the next call asks it again",
        ),
        (
            Provider::Returns(DEFAULT_CLIENT_ID, r#"{"secret": "canary"}"#),
            ErrorKind::OAuth,
            "token endpoint HOST returned invalid_client (HTTP 400)",
            "the secret looks like JSON: set only the value; otherwise check that the credentials \
             provider returns the pair that Layer issued for this environment; the next call asks \
             it again",
        ),
        (
            Provider::Hangs,
            ErrorKind::Timeout,
            "no result within 0.2 s, waiting for the credentials provider",
            "retry; if it happens again, find out why reading the credentials takes so long, or \
             set a longer timeout",
        ),
    ] {
        let mut builder = client_builder(&layer).credentials_provider(provider);
        if matches!(provider, Provider::Hangs) {
            builder = builder.timeout(std::time::Duration::from_millis(200));
        }
        let error = builder.build_blocking().unwrap().token().unwrap_err();
        let host = layer.url().replace("http://", "");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "an error shows the secret");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.message().replace(&host, "HOST"), message);
        assert_eq!(error.remedy(), remedy);
    }
}
