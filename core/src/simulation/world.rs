//! What all processes of a simulated fleet share, and what is counted.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::stats::Counters;
use crate::store::memory::MemoryStore;
use crate::store::seal::SealKeys;
use crate::sys::sync::Mutex;

/// How the processes share tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not at all.
    Alone,
    /// Through the store, but each that finds no token sends a request.
    WithoutLease,
    /// Through the store, with leases.
    WithLease,
}

/// Result of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// Calls of all processes.
    pub calls: u64,
    /// Calls that failed.
    pub failed_calls: u64,
    /// Calls that got a token which had expired.
    pub dead_tokens: u64,
    /// Requests that the token endpoint received.
    pub requests: u64,
    /// Most of them within one second.
    pub peak_requests: u64,
    /// Longest time of a process without a token, from the beginning of the first call
    /// that did not have one at once.
    pub longest_without: Duration,
    /// Operations of the store.
    pub commands: u64,
    /// Most of them within one second.
    pub peak_commands: u64,
    /// Tokens that processes got from the store.
    pub adopted: u64,
    /// Requests that processes sent without a lease although they have a store.
    pub alone: u64,
}

/// What all processes share.
pub(super) struct World {
    pub(super) endpoint: Endpoint,
    pub(super) store: Arc<MemoryStore>,
    pub(super) keys: Arc<SealKeys>,
    pub(super) outcomes: Mutex<Outcomes>,
    pub(super) stats: Arc<Counters>,
}
