use layerfi_auth::{BusinessId, Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    // One client for the whole program. No request is made yet.
    let client = Client::from_env()?;

    let me = client.whoami().await?;
    println!("{} ({})", me.client_name, me.client_id);

    // A valid token, from the cache after the first call, in every thread and task.
    let token = client.token().await?;
    assert!(token.authorization().is_sensitive()); // The value of the Authorization header.

    // Or let the client send the request: after a 401 it retries once with a new token.
    let business: BusinessId = "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse()?;
    let answer = client.get(&format!("/v1/businesses/{business}")).await?;
    println!("GET /v1/businesses/{business}: {}", answer.status());

    // For a browser: cached per business, with at least half of its lifetime left.
    let for_the_browser = client.business_token(&business).await?;
    println!("{for_the_browser:?}"); // The token itself is not shown.
    Ok(())
}
