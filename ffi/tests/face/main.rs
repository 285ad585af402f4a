//! The C and C++ faces as their users have them: the header, the library and
//! the emulator, in programs of their own.

mod abi;
mod examples;
mod header;
mod install;
mod programs;
mod support;
mod vectors;
