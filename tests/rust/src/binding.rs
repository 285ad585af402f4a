//! Calls through the async and the blocking Rust client.

use std::time::{Duration, SystemTime};

use layerfi_auth::{
    AccessToken, BusinessToken, BusinessTokenOptions, Client, Error, SessionDuration, WhoAmI,
    blocking,
};
use tokio::runtime::Runtime;

/// The client that makes a call.
#[derive(Clone, Copy, Debug)]
pub enum Binding {
    Async,
    Blocking,
}

/// A call with its arguments as written in the table.
#[derive(Clone)]
pub enum Call {
    Token,
    WhoAmI,
    Mint {
        business_id: String,
        session_duration: Option<u64>,
    },
    Business {
        business_id: String,
        session_duration: Option<u64>,
        min_remaining: Option<u64>,
    },
    Invalidate(AccessToken),
}

/// The result of a successful call. No `Debug`: it contains tokens.
#[derive(Clone)]
pub enum Output {
    Built,
    Token(AccessToken),
    WhoAmI(WhoAmI),
    Business(BusinessToken),
    Invalidated(bool),
}

impl Output {
    /// The token's text, if there is one.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Token(token) => Some(token.secret()),
            Self::Business(token) => Some(token.secret()),
            Self::Built | Self::WhoAmI(_) | Self::Invalidated(_) => None,
        }
    }

    pub fn expires_at(&self) -> Option<SystemTime> {
        match self {
            Self::Token(token) => Some(token.expires_at()),
            Self::Business(token) => Some(token.expires_at()),
            Self::Built | Self::WhoAmI(_) | Self::Invalidated(_) => None,
        }
    }
}

pub type Outcome = Result<Output, Error>;

fn duration(seconds: Option<u64>) -> Result<SessionDuration, Error> {
    seconds.map_or(Ok(SessionDuration::default()), SessionDuration::from_secs)
}

fn options(
    session_duration: Option<u64>,
    min_remaining: Option<u64>,
) -> Result<BusinessTokenOptions, Error> {
    let options = BusinessTokenOptions::default().session_duration(duration(session_duration)?);
    Ok(match min_remaining {
        Some(seconds) => options.min_remaining(Duration::from_secs(seconds)),
        None => options,
    })
}

async fn call_async(client: &Client, call: Call) -> Outcome {
    Ok(match call {
        Call::Token => Output::Token(client.token().await?),
        Call::WhoAmI => Output::WhoAmI(client.whoami().await?),
        Call::Mint {
            business_id,
            session_duration,
        } => {
            let business = client.business_id(&business_id)?;
            let mint = client.mint_business_token(&business, duration(session_duration)?);
            Output::Business(mint.await?)
        }
        Call::Business {
            business_id,
            session_duration,
            min_remaining,
        } => {
            let business = client.business_id(&business_id)?;
            let options = options(session_duration, min_remaining)?;
            Output::Business(client.business_token_with(&business, options).await?)
        }
        Call::Invalidate(token) => Output::Invalidated(client.invalidate(&token)),
    })
}

fn call_blocking(client: &blocking::Client, call: Call) -> Outcome {
    Ok(match call {
        Call::Token => Output::Token(client.token()?),
        Call::WhoAmI => Output::WhoAmI(client.whoami()?),
        Call::Mint {
            business_id,
            session_duration,
        } => {
            let business = client.business_id(&business_id)?;
            Output::Business(client.mint_business_token(&business, duration(session_duration)?)?)
        }
        Call::Business {
            business_id,
            session_duration,
            min_remaining,
        } => {
            let business = client.business_id(&business_id)?;
            let options = options(session_duration, min_remaining)?;
            Output::Business(client.business_token_with(&business, options)?)
        }
        Call::Invalidate(token) => Output::Invalidated(client.invalidate(&token)),
    })
}

impl Binding {
    /// Makes a call from several tasks or threads at once.
    pub fn call(
        self,
        runtime: &Runtime,
        client: &Client,
        call: &Call,
        callers: usize,
    ) -> Vec<Outcome> {
        match self {
            Self::Async => runtime.block_on(async {
                let tasks: Vec<_> = (0..callers)
                    .map(|_| {
                        let (client, call) = (client.clone(), call.clone());
                        tokio::spawn(async move { call_async(&client, call).await })
                    })
                    .collect();
                let mut outcomes = Vec::new();
                for task in tasks {
                    outcomes.push(task.await.unwrap());
                }
                outcomes
            }),
            Self::Blocking => {
                let client = blocking::Client::from(client.clone());
                std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..callers)
                        .map(|_| scope.spawn(|| call_blocking(&client, call.clone())))
                        .collect();
                    threads
                        .into_iter()
                        .map(|thread| thread.join().unwrap())
                        .collect()
                })
            }
        }
    }
}
