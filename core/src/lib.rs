//! Tokens for the [Layer](https://docs.layerfi.com) accounting API: acquired
//! once, always at hand, never shown.
//!
//! A [`Client`] exchanges client credentials for an access token (OAuth 2.0,
//! RFC 6749 section 4.4), keeps a valid one at hand for every thread, task and
//! forked worker, and mints business-scoped tokens for browsers and mobile
//! apps.
//!
//! ```no_run
//! # async fn example() -> Result<(), layerfi_auth::Error> {
//! use layerfi_auth::{BusinessId, Client};
//!
//! let client = Client::from_env()?; // LAYER_CLIENT_ID, LAYER_CLIENT_SECRET, LAYER_ENVIRONMENT
//! let token = client.token().await?; // at once, after the first time
//! let header = token.authorization(); // ready, and marked sensitive
//!
//! let business: BusinessId = "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse()?;
//! let for_the_browser = client.business_token(&business).await?;
//! # let _ = (header, for_the_browser); Ok(())
//! # }
//! ```
//!
//! Features: `blocking` (a client for threads), `test-util` (a clock that
//! tests move).

mod auth_token;
mod batch;
#[cfg(feature = "blocking")]
pub mod blocking;
mod business_id;
mod cache;
mod call;
mod client;
mod clock;
mod config;
mod credentials;
mod engine;
mod environment;
mod error;
mod fork;
/// For `fuzz/` only.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod layer_api;
mod oauth;
mod pace;
mod proxy;
mod retry;
mod runtime;
mod secret;
mod signals;
mod stats;
mod sync;
mod tls;
mod token;
mod warm;
mod zero_on_free;

pub use batch::{BatchOptions, BatchProgress, BusinessTokens};
pub use business_id::BusinessId;
pub use client::{BusinessTokenOptions, Client, TokenReader, TokenRef};
#[cfg(any(test, feature = "test-util"))]
pub use clock::TestClock;
pub use config::ClientBuilder;
pub use credentials::{BasicEncoding, Credentials, CredentialsProvider};
pub use environment::Environment;
pub use error::{Error, ErrorKind, Result};
pub use secret::Secret;
pub use stats::Stats;
pub use token::{AccessToken, BusinessToken, SessionDuration, WhoAmI};
pub use zero_on_free::ZeroOnFree;

/// The guide's code, compiled.
#[cfg(all(doctest, feature = "blocking"))]
#[doc = include_str!("../../docs/rust.md")]
struct Guide;
