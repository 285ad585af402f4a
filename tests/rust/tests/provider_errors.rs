//! Texts of the errors of a credentials provider, which the shared table cannot
//! express.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use layerfi_auth::{Client, Credentials, CredentialsProvider, ErrorKind, blocking};
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
            builder = builder.timeout(Duration::from_millis(200));
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

/// Provider that calls the client which calls it.
#[derive(Clone)]
struct CallsItsClient(Arc<OnceLock<Client>>, Call);

#[derive(Clone, Copy, Debug)]
enum Call {
    Awaited,
    AwaitedWithTimeout,
    Blocking,
    WhoAmI,
}

impl CredentialsProvider for CallsItsClient {
    async fn credentials(&self) -> Result<Credentials, Failure> {
        let client = self.0.get().unwrap().clone();
        let result = match self.1 {
            Call::Awaited => client.token().await.map(drop),
            Call::AwaitedWithTimeout => {
                let client = client.with_timeout(Duration::from_secs(100));
                client.token().await.map(drop)
            }
            Call::Blocking => blocking::Client::from(client).token().map(drop),
            Call::WhoAmI => client.whoami().await.map(drop),
        };
        result.map_err(|error| error.message().to_owned())?;
        unreachable!("the call of the provider succeeded");
    }
}

#[test]
fn b27_provider_that_calls_its_own_client_is_told_so_at_once() {
    let layer = emulator();
    for call in [
        Call::Awaited,
        Call::AwaitedWithTimeout,
        Call::Blocking,
        Call::WhoAmI,
    ] {
        let own = Arc::new(OnceLock::new());
        let client = client_builder(&layer)
            .credentials_provider(CallsItsClient(Arc::clone(&own), call))
            .timeout(Duration::from_secs(300))
            .build()
            .unwrap();
        assert!(own.set(client.clone()).is_ok(), "set twice");
        let began = Instant::now();
        let error = blocking::Client::from(client).token().unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(60), "{call:?}");
        assert_eq!(error.kind(), ErrorKind::Credentials, "{call:?}: {error}");
        let message = "the credentials provider failed: the credentials provider called its own \
                       client, whose calls wait for it";
        assert_eq!(error.message(), message, "{call:?}");
    }
}
