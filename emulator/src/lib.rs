//! Layer on loopback: an emulator of the Layer accounting API's authentication,
//! for tests and demonstrations with no account and no network.
//!
//! It answers as Layer's documentation says: the token endpoint, `GET /whoami`,
//! business-scoped tokens, the error envelope, the rate limit; over HTTP or
//! HTTPS. Its clock can be moved, its tokens revoked, its secrets rotated, and
//! it can be told to misbehave in every way a client must live with, from Rust
//! or over a control API.
//!
//! ```
//! use std::time::Duration;
//! use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
//!
//! let layer = Emulator::builder().start_blocking()?;
//! // A client under test is given layer.url(), layer.token_url(), layer.scope().
//!
//! layer.fault(Endpoint::Token, Fault::status(503).header("retry-after", "1").times(2))?;
//! layer.advance(Duration::from_secs(3600)); // every access token has expired
//! assert_eq!(layer.count(Endpoint::Token), 0);
//! # Ok::<(), layerfi_auth_emulator::EmulatorError>(())
//! ```
#![forbid(unsafe_code)]

mod addresses;
mod answer;
mod body;
mod builder;
mod clients;
mod clock;
mod connection;
mod control;
mod cors;
mod delivery;
mod dispatch;
mod emulator;
mod endpoint;
mod envelope;
mod environment;
mod error;
mod fault;
mod log;
mod random;
mod rate;
mod routes;
mod server;
mod state;
mod sync;
mod thread;
mod tls;
mod tokens;
mod traffic;

pub use builder::EmulatorBuilder;
pub use clients::BasicDecoding;
pub use emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator};
pub use endpoint::Endpoint;
pub use environment::Environment;
pub use error::EmulatorError;
pub use fault::{At, Drip, Endless, Fault, FaultStatus, Part, Times, Wire};
pub use log::{AuthorizationMark, LogEntry};
pub use tls::{HttpVersions, TlsTrouble, TlsVersions};
pub use tokens::TokenKind;
pub use traffic::{Counters, EndpointCounters};

/// The guide's Rust, compiled; its JSON and shell are run by `tests/guide.rs`.
#[cfg(doctest)]
#[doc = include_str!("../../docs/emulator.md")]
struct Guide;
