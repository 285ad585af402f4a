//! Tests against real servers of Redis and Valkey.

#[cfg(all(unix, not(shuttle)))]
mod servers;
mod stress;
