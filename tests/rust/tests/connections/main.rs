//! Connections: how many are made, which are left when they break, and which
//! requests are sent again.

mod broken;
mod limits;
mod resent;
mod resumed;
mod scripted_server;
