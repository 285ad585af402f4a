//! The route.

use std::future::{Future, ready};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use layerfi_auth::Client;

use crate::business::IntoBusiness;
use crate::endpoint::Endpoint;
use crate::options::LayerTokenOptions;

/// Returns a route that answers with a session as JSON.
///
/// `current_business` gets one extractor, or a tuple of several, and returns the business
/// of the signed-in user, or `None` if nobody is signed in (401). See [`IntoBusiness`] for
/// a function that may refuse the user. A rejection of the extractor is the answer, with
/// the endpoint's headers.
///
/// ```
/// # use axum::{Router, extract::{FromRequestParts, State}, http::{StatusCode, request::Parts}};
/// # use layerfi_auth::{BusinessId, Client};
/// # use layerfi_auth_axum::layer_token_route;
/// # #[derive(Clone)] struct Database;
/// # impl Database { async fn business_of(&self, _: &User) -> Option<BusinessId> { None } }
/// struct User; // An extractor of yours.
/// # impl<S: Sync> FromRequestParts<S> for User {
/// #     type Rejection = StatusCode;
/// #     async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, StatusCode> { Ok(User) }
/// # }
///
/// fn app(client: Client, database: Database) -> Router {
///     let business = |(user, State(database)): (User, State<Database>)| async move {
///         database.business_of(&user).await
///     };
///     Router::new()
///         .route("/layer-token", layer_token_route(client, business))
///         .with_state(database)
/// }
/// ```
pub fn layer_token_route<S, E, F, Fut>(client: Client, current_business: F) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    E: FromRequestParts<S> + Send + 'static,
    F: Fn(E) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: IntoBusiness,
{
    layer_token_route_with(client, current_business, LayerTokenOptions::default())
}

/// [`layer_token_route`] with options.
pub fn layer_token_route_with<S, E, F, Fut>(
    client: Client,
    current_business: F,
    options: LayerTokenOptions,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    E: FromRequestParts<S> + Send + 'static,
    F: Fn(E) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: IntoBusiness,
{
    let methods = match options.allow_get {
        true => MethodFilter::POST.or(MethodFilter::GET),
        false => MethodFilter::POST,
    };
    let endpoint = Arc::new(Endpoint::new(&client, options));
    let preflight = {
        let endpoint = Arc::clone(&endpoint);
        move |headers: HeaderMap| ready(endpoint.preflight(headers.get(ORIGIN).cloned()))
    };
    let session = move |State(state): State<S>, request: Request| {
        let endpoint = Arc::clone(&endpoint);
        let current_business = current_business.clone();
        async move {
            let origin = request.headers().get(ORIGIN).cloned();
            let mut response = answer(&endpoint, current_business, &state, request).await;
            endpoint.add_headers(response.headers_mut(), origin);
            response
        }
    };
    on(methods, session).options(preflight)
}

async fn answer<S, E, F, Fut>(
    endpoint: &Endpoint,
    current_business: F,
    state: &S,
    request: Request,
) -> Response
where
    E: FromRequestParts<S>,
    F: Fn(E) -> Fut,
    Fut: Future,
    Fut::Output: IntoBusiness,
{
    let (mut parts, body) = request.into_parts();
    let user = match E::from_request_parts(&mut parts, state).await {
        Ok(user) => user,
        Err(rejection) => return rejection.into_response(),
    };
    match current_business(user).await.into_business() {
        Ok(business) => endpoint.answer(business, body).await,
        Err(refusal) => refusal,
    }
}
