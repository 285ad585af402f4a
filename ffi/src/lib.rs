//! The C binding of layerfi-auth. It translates between C and the engine, which makes all
//! decisions. Users read `include/layerfi_auth.h`, which is generated from the comments here, and
//! `docs/c.md`.
//!
//! Each C object has its own file, with the functions that return it and work on it. All of them
//! use `guard`, `handle`, `input`, `str_view`, `callback`, `failure`, `registers` and `macros`.

#![allow(unsafe_code)] // Each block has a comment that says why it is sound.
#![allow(non_camel_case_types)] // Types are named as in C.
#![allow(clippy::missing_safety_doc)] // The header's conventions hold for all functions.

pub mod batch;
pub mod builder;
pub mod business_token;
mod callback;
pub mod client;
pub mod credentials;
pub mod default;
pub mod environment;
pub mod error;
mod failure;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod guard;
mod handle;
mod input;
pub mod json;
pub mod log;
mod macros;
mod panic;
mod registers;
pub mod response;
pub mod result;
pub mod stats;
pub mod str_view;
#[cfg(feature = "test-hooks")]
mod test_hooks;
mod time;
pub mod token;
pub mod version;
pub mod whoami;

/// Zeroes what the HTTP and TLS libraries free: it may hold parts of requests and responses. Only
/// this library uses it; the program keeps its own allocator.
#[global_allocator]
static ALLOCATOR: layerfi_auth::ZeroOnFree = layerfi_auth::ZeroOnFree::new();
