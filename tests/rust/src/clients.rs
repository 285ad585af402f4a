//! Clients for an emulator, and business ids.

use layerfi_auth::{BusinessId, Client, ClientBuilder, Environment};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};

/// A business id. The emulator's default client owns every UUID.
pub const BUSINESS: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// A builder for a client of this emulator, independent of the environment.
pub fn client_builder(layer: &Emulator) -> ClientBuilder {
    let builder = Client::builder()
        .environment(Environment::Custom)
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .api_url(layer.url())
        .auth_url(layer.token_url())
        .scope(layer.scope())
        .allow_http_loopback(true)
        .no_proxy();
    match layer.ca_pem() {
        Some(pem) => builder.ca_pem(pem),
        None => builder,
    }
}

/// A client of this emulator with default settings.
pub fn client(layer: &Emulator) -> Client {
    client_builder(layer).build().unwrap()
}

/// [`BUSINESS`], parsed.
pub fn business() -> BusinessId {
    BUSINESS.parse().unwrap()
}

/// This many different business ids.
pub fn businesses(count: usize) -> Vec<BusinessId> {
    (0..count)
        .map(|number| {
            format!("00000000-0000-4000-8000-{number:012x}")
                .parse()
                .unwrap()
        })
        .collect()
}
