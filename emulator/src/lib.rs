//! Emulator of the Layer accounting API's authentication, for tests and
//! demonstrations. It needs no account and no network.
//!
//! It implements what Layer's documentation describes: the token endpoint,
//! `GET /whoami`, business-scoped tokens, the error envelope and the rate
//! limit, over HTTP or HTTPS. A test can move its clock, revoke its tokens,
//! rotate its secrets and script its failures, from Rust or over an HTTP
//! control API.
//!
//! ```
//! use std::time::Duration;
//! use layerfi_auth_emulator::{Emulator, Endpoint, Fault};
//!
//! let layer = Emulator::builder().start_blocking()?;
//! // Give layer.url(), layer.token_url() and layer.scope() to the client under test.
//!
//! layer.fault(Endpoint::Token, Fault::status(503).header("retry-after", "1").times(2))?;
//! layer.advance(Duration::from_secs(3600)); // every access token has expired
//! assert_eq!(layer.count(Endpoint::Token), 0);
//! # Ok::<(), layerfi_auth_emulator::EmulatorError>(())
//! ```
#![forbid(unsafe_code)]

// A module uses only modules after it in this list: builder, emulator, thread,
// control, server, routes, state, data, response, fault, tls, then the single files
// defaults, endpoint, environment, error, ids, lock and resource.
mod builder;
mod control;
mod data;
mod defaults;
mod emulator;
mod endpoint;
mod environment;
mod error;
mod fault;
mod ids;
mod lock;
mod resource;
mod response;
mod routes;
mod server;
mod state;
mod thread;
mod tls;

pub use builder::EmulatorBuilder;
pub use defaults::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID};
pub use emulator::Emulator;
pub use endpoint::Endpoint;
pub use environment::Environment;
pub use error::EmulatorError;
pub use fault::definition::{Encoding, Fault};
pub use fault::queue::FaultStatus;
pub use fault::times::Times;
pub use fault::wire::{At, Drip, Endless, Part, Wire};
pub use state::basic_auth::BasicDecoding;
pub use state::connections::ConnectionAction;
pub use state::counters::{Counters, EndpointCounters};
pub use state::fingerprints::AuthorizationMark;
pub use state::issued::IssuedToken;
pub use state::log::LogEntry;
pub use state::tokens::TokenKind;
pub use tls::options::{HttpVersions, TlsTrouble, TlsVersions};

/// The guide: its Rust code compiles as doctests, and `tests/guide.rs` runs its
/// JSON and shell commands.
#[cfg(doctest)]
#[doc = include_str!("../../docs/emulator.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
