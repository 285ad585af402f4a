//! Code that the end-to-end tests share: clients for an emulator, the runner of
//! the shared table, and everything of the support crate.

mod binding;
mod clients;
pub mod memory_probe;
mod table;
mod tls_front;

pub use binding::{Binding, Call, Outcome, Output};
pub use clients::{
    BUSINESS, Token, assert_new_token, assert_same_token, block_on, business, businesses, client,
    client_builder, unwrap_all,
};
pub use layerfi_auth_test_support::*;
pub use table::{Case, Texts, Transport, read_table, run, take_texts};
pub use tls_front::{Authority, Handshakes, TlsFront};
