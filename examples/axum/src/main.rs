//! Web server with sign-in, a token endpoint for Layer's components, and a call of the
//! Layer API.

use std::collections::HashMap;
use std::future::ready;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Path, State};
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, request::Parts};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use layerfi_auth::Client;
use layerfi_auth_axum::{LayerError, layer_token_route};
use tokio::net::TcpListener;
use uuid::Uuid;

/// Users and their businesses. Yours are in a database, with passwords.
const USERS: [(&str, &str); 2] = [
    ("ada", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    ("grace", "00000000-0000-4000-8000-000000000002"),
];

#[derive(Clone)]
struct App {
    layer: Client,
    /// Business of each signed-in user, by the value of the cookie.
    sessions: Arc<Mutex<HashMap<String, &'static str>>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_ansi(std::io::stdout().is_terminal())
        .init();
    let layer = Client::from_env()?;
    layer.prepare()?; // The first request finds an access token, or shares the request for it.

    let current_business = |business: Option<Business>| ready(business.map(|found| found.0));
    let app = Router::new()
        .route("/", get(page))
        .route("/sign-in/{user}", post(sign_in))
        .route(
            "/layer-token",
            layer_token_route(layer.clone(), current_business),
        )
        .route("/transactions", get(transactions))
        .with_state(App {
            layer,
            sessions: Arc::default(),
        });

    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    tracing::info!("listening on http://{}", listener.local_addr()?);
    serve(listener, app)
        .with_graceful_shutdown(asked_to_stop())
        .await?;
    tracing::info!("stopped");
    Ok(())
}

/// Business of the signed-in user. A handler that also serves others takes an `Option`.
struct Business(&'static str);

impl OptionalFromRequestParts<App> for Business {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<Option<Self>, Self::Rejection> {
        let sessions = app.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = cookie(&parts.headers, "session");
        Ok(session
            .and_then(|id| sessions.get(id))
            .map(|found| Self(found)))
    }
}

impl FromRequestParts<App> for Business {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let business: Option<Self> =
            <Self as OptionalFromRequestParts<App>>::from_request_parts(parts, app).await?;
        business.ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// A cookie that the browser sent.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    cookies
        .split("; ")
        .find_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('='))
}

/// Stub: signs a user in without a password.
async fn sign_in(State(app): State<App>, Path(user): Path<String>) -> Response {
    let Some((_, business)) = USERS.iter().find(|(name, _)| *name == user) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let session = Uuid::new_v4().to_string();
    // With HTTPS, add `Secure`.
    let cookie = format!("session={session}; HttpOnly; SameSite=Lax; Path=/");
    let mut sessions = app.sessions.lock().unwrap_or_else(PoisonError::into_inner);
    sessions.insert(session, business);
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

/// The user's bank transactions, which the server reads with its access token.
async fn transactions(
    State(app): State<App>,
    Business(business): Business,
) -> Result<Response, LayerError> {
    let path = format!("/v1/businesses/{business}/bank-transactions");
    let answer = app.layer.get(&path).await?;
    if !answer.status().is_success() {
        tracing::warn!("Layer answered {} for {path}", answer.status());
        return Ok(StatusCode::BAD_GATEWAY.into_response());
    }
    Ok(([(CONTENT_TYPE, "application/json")], answer.into_body()).into_response())
}

/// Where the page with Layer's components would be.
async fn page(business: Option<Business>) -> Html<&'static str> {
    Html(match business {
        None => {
            "<h1>Sign in</h1>\
             <form method=post action=/sign-in/ada><button>as Ada</button></form>\
             <form method=post action=/sign-in/grace><button>as Grace</button></form>"
        }
        Some(_) => {
            "<h1>Your books</h1><p>The page's session comes from POST /layer-token.</p>\
             <a href=/transactions>Bank transactions</a>"
        }
    })
}

/// Waits for Ctrl-C, or for the signal of `docker stop`, systemd and Kubernetes.
async fn asked_to_stop() {
    let interrupt = async { drop(tokio::signal::ctrl_c().await) };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    interrupt.await;
}
