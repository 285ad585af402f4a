//! What the end-to-end tests share: clients for an emulator, the table of
//! cases, listeners that must or must not be met.

mod control;
mod dice;
mod face;
mod layer;
mod listener;
pub mod memory_probe;
mod table;

pub use control::control;
pub use dice::Dice;
pub use face::{Answer, Call, Face, Outcome};
pub use layer::{
    BUSINESS, PATIENCE, assert_requests, business, businesses, client, client_builder, emulator,
    eventually, multi_thread_runtime,
};
pub use listener::{Canary, Line, Proxy, accept};
pub use table::{Case, Transport, read_table, run};
