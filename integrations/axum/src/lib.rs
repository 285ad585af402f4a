#![doc = include_str!("../README.md")]

mod business;
mod endpoint;
mod error;
mod options;
mod route;

pub use business::IntoBusiness;
pub use error::LayerError;
pub use options::{InvalidOrigin, LayerTokenOptions};
pub use route::{layer_token_route, layer_token_route_with};

/// The code of the guide to the Rust crates, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct Guide;
