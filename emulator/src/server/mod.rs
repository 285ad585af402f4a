//! Server: listeners, connections, and requests from arrival to response.

pub(crate) mod addresses;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod delivery;
pub(crate) mod dispatch;
pub(crate) mod http_server;
pub(crate) mod listener;
pub(crate) mod proxy;
pub(crate) mod stream;
pub(crate) mod takeover;
