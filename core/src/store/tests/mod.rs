//! Tests against real servers of Redis and Valkey, and of fetches through a store in
//! memory.

mod fetch;
mod servers;
