//! The C face of layerfi-auth. It translates, and nothing else: every decision
//! is the engine's. Users read `include/layerfi_auth.h`, which is made from the
//! comments here, and `docs/c.md`.
//!
//! One file per C object; `panic`, `handle`, `string` and `failure` are the
//! plumbing that all of them share, and `callback` is how C is called back.

#![allow(unsafe_code)] // This crate is the border; each block says why it is sound.
#![allow(non_camel_case_types)] // Types are named as C sees them.
#![allow(clippy::missing_safety_doc)] // The header's first comment has the laws for all functions.

pub mod batch;
pub mod builder;
pub mod business_token;
mod callback;
pub mod client;
pub mod credentials;
pub mod error;
pub mod execute;
mod failure;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod handle;
#[cfg(feature = "test-hooks")]
mod hooks;
pub mod log;
mod panic;
mod registers;
pub mod stats;
pub mod string;
pub mod token;
pub mod version;
pub mod whoami;

/// What the HTTP and TLS libraries free, with requests and answers in it, is
/// wiped too. It is this library's own allocator: a program that links it
/// keeps its own.
#[global_allocator]
static ALLOCATOR: layerfi_auth::ZeroOnFree = layerfi_auth::ZeroOnFree::new();
