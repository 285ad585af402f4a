//! Tests against real servers of Redis and Valkey.

mod servers;
