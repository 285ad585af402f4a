//! A client made from nothing but the environment. Driven by
//! `tests/environment.rs`: variables are a process's own, so each case is one.
//!
//! Prints `ok`, or the kind of the error, its field and its text.

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
