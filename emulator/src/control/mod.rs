//! Control API: the functions of the [`Emulator`](crate::Emulator) handle over
//! plain HTTP and JSON, for tests in other languages.

pub(crate) mod commands;
pub(crate) mod console;
pub(crate) mod context;
pub(crate) mod guard;
pub(crate) mod service;
