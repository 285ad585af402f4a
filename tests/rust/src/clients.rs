//! Clients for an emulator, business ids, and comparisons of tokens.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use layerfi_auth::{AccessToken, BusinessId, BusinessToken, Client, ClientBuilder, Environment};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};

/// A business id. The emulator's default client owns every UUID.
pub const BUSINESS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// Longer than a test may take on a slow machine. The emulator may hold a response for as
/// long, and no second request must be sent meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// A builder for a client of this emulator, independent of the environment, with long
/// timeouts.
pub fn client_builder(layer: &Emulator) -> ClientBuilder {
    let builder = Client::builder()
        .environment(Environment::Custom)
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .api_url(layer.url())
        .auth_url(layer.token_url())
        .scope(layer.scope())
        .allow_http_loopback(true)
        .no_proxy()
        .timeout(PATIENCE)
        .attempt_timeout(PATIENCE);
    match layer.ca_pem() {
        Some(pem) => builder.ca_pem(pem),
        None => builder,
    }
}

/// A client of this emulator, otherwise with default settings.
pub fn client(layer: &Emulator) -> Client {
    client_builder(layer).build().unwrap()
}

/// [`BUSINESS`], parsed.
pub fn business() -> BusinessId {
    BUSINESS.parse().unwrap()
}

/// This many different business ids.
pub fn businesses(count: usize) -> Vec<BusinessId> {
    (0..count)
        .map(|number| {
            format!("00000000-0000-4000-8000-{number:012x}")
                .parse()
                .unwrap()
        })
        .collect()
}

/// A token whose text can be compared.
pub trait Token {
    /// The token's text.
    fn text(&self) -> &str;
}

impl Token for AccessToken {
    fn text(&self) -> &str {
        self.secret()
    }
}

impl Token for BusinessToken {
    fn text(&self) -> &str {
        self.secret()
    }
}

/// Asserts that two tokens are the same, without printing them.
#[track_caller]
pub fn assert_same_token<T: Token>(actual: &T, expected: &T) {
    assert!(
        actual.text() == expected.text(),
        "got another token, expected the same one"
    );
}

/// Asserts that two tokens differ, without printing them.
#[track_caller]
pub fn assert_new_token<T: Token>(actual: &T, old: &T) {
    assert!(
        actual.text() != old.text(),
        "got the old token, expected a new one"
    );
}

/// Unwraps the results of a batch; panics with the number of failures and the
/// first error.
#[track_caller]
pub fn unwrap_all<T>(results: Vec<layerfi_auth::Result<T>>) -> Vec<T> {
    let failed = results.iter().filter(|result| result.is_err()).count();
    let mut tokens = Vec::new();
    for result in results {
        match result {
            Ok(token) => tokens.push(token),
            Err(error) => panic!("{failed} results failed, the first with: {error}"),
        }
    }
    tokens
}

/// Runs a future on this thread. An async runtime may need descriptors of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
