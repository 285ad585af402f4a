//! Makes a client from environment variables and calls `whoami`.
//! `tests/environment.rs` runs it once per case.
//!
//! Prints `ok` and the client's name, or the error's kind, field and text.

use layerfi_auth::blocking::Client;

fn main() {
    let outcome = Client::from_env().and_then(|client| client.whoami());
    match outcome {
        Ok(me) => println!("ok {}", me.client_name),
        Err(error) => println!(
            "{} {} {error} {error:?}",
            error.kind(),
            error.field().unwrap_or("-")
        ),
    }
}
