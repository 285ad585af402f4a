//! Authentication for the [Layer](https://docs.layerfi.com) accounting API.
//!
//! A [`Client`] exchanges client credentials for an access token (OAuth 2.0,
//! RFC 6749 section 4.4), keeps a valid one ready for each thread, task and forked
//! worker, and mints business tokens for browsers and mobile apps.
//!
//! ```no_run
//! # async fn example() -> Result<(), layerfi_auth::Error> {
//! use layerfi_auth::{BusinessId, Client};
//!
//! let client = Client::from_env()?; // LAYER_CLIENT_ID, LAYER_CLIENT_SECRET, LAYER_ENVIRONMENT
//! let token = client.token().await?; // without a wait, after the first time
//! let header = token.authorization(); // ready to use, and marked sensitive
//!
//! let business: BusinessId = "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse()?;
//! let for_the_browser = client.business_token(&business).await?;
//! # let _ = (header, for_the_browser); Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `blocking` | [`blocking::Client`], for threads |
//! | `redis` | [`ClientBuilder::shared_cache`]: processes share tokens through Redis or Valkey |
//! | `test-util` | [`TestClock`], a clock that tests move |
//! | `debug-events` | the engine's events at DEBUG, also if `tracing` is compiled without that level; for the C library |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod allowed_origins;
mod business_id;
mod cache;
mod client;
mod config;
mod credentials;
mod deadline;
mod engine;
mod environment;
mod error;
/// For `fuzz/` only.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod layer_provider_props;
mod layer_session;
mod protocol;
mod rate_limit;
mod retry;
mod secret;
mod session_duration;
mod setting_names;
mod shared_cache;
/// For tests and an example only.
#[cfg(all(feature = "redis", any(test, feature = "test-util"), not(shuttle)))]
#[doc(hidden)]
pub mod simulation;
mod stats;
#[cfg(feature = "redis")]
mod store;
mod sys;
mod token;
mod trust;
mod url;
mod whoami;

/// Crates whose types are in this API, in the versions that it uses.
pub mod reexports {
    pub use ::{bytes, http};
    pub use futures_util::stream::Stream;
}

pub use allowed_origins::AllowedOrigins;
pub use business_id::BusinessId;
pub use client::Client;
pub use client::batch::{BatchProgress, BusinessTokens};
#[cfg(feature = "blocking")]
pub use client::blocking;
pub use client::builder::ClientBuilder;
#[doc(hidden)]
pub use client::diagnosis;
pub use client::options::{BatchOptions, BusinessTokenOptions};
pub use client::reader::{BusinessTokenRef, TokenReader, TokenRef};
pub use credentials::{BasicEncoding, Credentials, CredentialsProvider};
pub use environment::Environment;
pub use error::{Error, ErrorKind, Result};
pub use layer_provider_props::LayerProviderProps;
pub use layer_session::LayerSession;
pub use secret::Secret;
pub use session_duration::SessionDuration;
pub use stats::{SharedCacheState, Stats};
#[cfg(any(test, feature = "test-util"))]
pub use sys::clock::TestClock;
pub use sys::zero_on_free::ZeroOnFree;
pub use token::{AccessToken, BusinessToken};
pub use trust::Trust;
pub use whoami::WhoAmI;

/// The code of a guide, compiled. `layerfi-auth-axum` compiles that of `docs/rust.md`, which
/// uses it.
#[cfg(doctest)]
#[doc = include_str!("../../docs/fleets.md")]
struct Fleets;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
