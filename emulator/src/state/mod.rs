//! State that requests, the control API and the [`Emulator`](crate::Emulator)
//! handle share.

pub(crate) mod basic_auth;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod connections;
pub(crate) mod counters;
pub(crate) mod fingerprints;
pub(crate) mod issued;
pub(crate) mod log;
pub(crate) mod rate_limiter;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod traffic;
