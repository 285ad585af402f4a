//! Tests against real servers of Redis and Valkey, and of fetches through a store in
//! memory.

#[cfg(not(shuttle))]
mod fetch;
#[cfg(all(unix, not(shuttle)))]
mod servers;
#[cfg(all(unix, not(shuttle)))]
mod stress;
