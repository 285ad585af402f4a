//! Helpers that the tests of all packages share.

mod control;
mod emulator;
mod listener;
mod process;
mod random;
#[cfg(unix)]
mod redis_server;
mod secrets;
pub mod vectors;

pub use control::control;
pub use emulator::{
    MAX_WAIT, assert_requests, emulator, emulator_variables, eventually, remove_settings, wait_for,
};
pub use listener::{Canary, CuttableLink, Proxy, ReservedPort, accept};
pub use process::{Watchdog, cargo_build, limit_descriptors};
pub use random::Random;
#[cfg(unix)]
pub use redis_server::{RedisServer, RedisServerBuilder, Reply, ServerKind};
pub use secrets::{Secrets, find};

/// A multi-thread runtime with this many worker threads.
pub fn multi_thread_runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap()
}
