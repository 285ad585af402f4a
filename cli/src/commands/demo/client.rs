//! The client of the demonstration.

use layerfi_auth::{Client, Environment};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};

use crate::failure::Failure;

/// Builds a client with an empty cache. Settings of a real account in the
/// environment have no effect.
pub(super) fn new_client(emulator: &Emulator) -> Result<Client, Failure> {
    Ok(Client::builder()
        .environment(Environment::Custom)
        .api_url(emulator.url())
        .auth_url(emulator.token_url())
        .scope(emulator.scope())
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .ca_pem(emulator.ca_pem().unwrap_or_default())
        .no_proxy()
        .build()?)
}
