//! The control API: all that the handle can do, over plain HTTP and JSON, for
//! tests in other languages.

mod guard;
mod orders;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::addresses::Addresses;
use crate::error::EmulatorError;
use crate::server;
use crate::state::State;
use crate::tls::HttpVersions;

/// Faults with a body of megabytes still fit, in base64.
const BODY_CAP: usize = 8 << 20;

/// What the control API acts on.
pub(crate) struct Control {
    pub(crate) state: Arc<State>,
    pub(crate) addresses: Addresses,
    pub(crate) stop: watch::Sender<bool>,
}

/// A refused order: a status and what is wrong.
pub(super) struct Refused(StatusCode, String);

impl Refused {
    fn bad(text: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_string())
    }
}

impl From<EmulatorError> for Refused {
    fn from(error: EmulatorError) -> Self {
        let status = match error {
            EmulatorError::UnknownClient => StatusCode::NOT_FOUND,
            EmulatorError::Crypto(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}

pub(crate) async fn serve(control: Arc<Control>, stream: TcpStream) {
    let service = service_fn(move |request| handle(Arc::clone(&control), request));
    // The other side of an error here is a client that left.
    let _ = server::builder(HttpVersions::Http1)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    control: Arc<Control>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match run(&control, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Refused(status, text)) => (status, json!({"error": text})),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

async fn run(control: &Control, request: Request<Incoming>) -> Result<Value, Refused> {
    guard::check(request.headers())
        .map_err(|why| Refused(StatusCode::FORBIDDEN, why.to_owned()))?;
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_CAP)
        .collect()
        .await
        .map_err(|_| {
            Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too large".to_owned(),
            )
        })?
        .to_bytes();
    let path = parts.uri.path();
    let get = parts.method == Method::GET;
    let post = parts.method == Method::POST;
    let delete = parts.method == Method::DELETE;
    match path {
        "/" if get => Ok(orders::info(control)),
        "/faults" if get => orders::list_faults(control),
        "/faults" if post => orders::add_faults(control, &body),
        "/faults" if delete => Ok(orders::clear_faults(control)),
        "/release" if post => Ok(orders::release(control)),
        "/clock" if get => Ok(orders::clock(control)),
        "/clock" if post => orders::set_clock(control, &body),
        "/settings" if get => Ok(orders::settings(control)),
        "/settings" if post => orders::change_settings(control, &body),
        "/tokens" if post => orders::issue(control, &body),
        "/revoke" if post => orders::revoke(control, &body),
        "/rotate" if post => orders::rotate(control, &body),
        "/counters" if get => orders::counters(control),
        "/log" if get => orders::log(control, parts.uri.query().unwrap_or_default()),
        "/log" if delete => Ok(orders::clear_log(control)),
        "/fingerprint" if post => orders::fingerprint(control, &body),
        "/reset" if post => Ok(orders::reset(control)),
        "/shutdown" if post => Ok(orders::shutdown(control)),
        _ => match path.strip_prefix("/faults/") {
            Some(id) if delete => orders::remove_fault(control, id),
            _ => Err(Refused(
                StatusCode::NOT_FOUND,
                "no such order; GET / lists them".to_owned(),
            )),
        },
    }
}
