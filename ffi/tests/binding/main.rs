//! The C and C++ faces as their users have them: the header, the library and
//! the emulator, in programs of their own.

// A panic in a test is its report, in what tests share too.
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
mod secrets;
mod support;
mod vectors;
