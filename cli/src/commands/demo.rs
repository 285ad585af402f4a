//! `layerfi-auth demo`: the whole way against an emulator in this process. It
//! counts what the emulator saw, and fails if that is not what is promised.

mod page;
mod steps;

use layerfi_auth::{Client, Environment};
use layerfi_auth_emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};

use self::page::Page;
use self::steps::Stage;
use crate::failure::Failure;
use crate::output::Output;
use crate::runtime::block_on;

pub(super) fn run(output: &Output) -> Result<(), Failure> {
    let emulator = Emulator::builder().tls(true).start_blocking()?;
    let mut page = Page::new(output);
    block_on(async {
        let client = client(&emulator)?;
        page.opening(&emulator.url())?;
        let stage = Stage {
            emulator: &emulator,
            client,
        };
        stage.access_token(&mut page).await?;
        stage.whoami(&mut page).await?;
        let token = stage.business_token(&mut page).await?;
        stage.herd(&mut page).await?;
        stage.revoked(&mut page).await?;
        stage.refresh_ahead(&mut page).await?;
        page.snippet(&token, &emulator)?;
        page.finish()
    })
}

/// A client with an empty cache. It takes nothing from the environment: a real
/// account's settings have no business here.
fn client(emulator: &Emulator) -> Result<Client, Failure> {
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
