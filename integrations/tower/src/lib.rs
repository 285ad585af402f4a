#![doc = include_str!("../README.md")]

mod error;
mod layer;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod replay;
mod service;
mod token;

pub use error::AuthError;
pub use layer::LayerAuthLayer;
pub use replay::{CloneBody, NoReplay, Replay, ReplayWith};
pub use service::LayerAuth;
