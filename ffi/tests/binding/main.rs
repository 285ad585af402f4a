//! The C and C++ bindings as users get them: programs with the header and the library, against
//! the emulator.

// A panic reports a failed test, in shared test code too.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod abi;
mod examples;
mod header;
mod install;
mod memory;
mod programs;
mod services;
mod support;
mod vectors;
