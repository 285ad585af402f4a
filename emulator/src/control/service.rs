//! HTTP service of the control API.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::control::context::{CommandError, Control};
use crate::control::{commands, console, guard};
use crate::server::http_server;
use crate::tls::options::HttpVersions;

/// Limit of a command's body. The largest fault fits, also in base64.
const MAX_BODY_BYTES: usize = 8 << 20;

/// Serves a connection to the control API.
pub(crate) async fn serve(control: Arc<Control>, stream: TcpStream) {
    let service = service_fn(move |request| handle(Arc::clone(&control), request));
    // An error means that the client disconnected.
    let _ = http_server::new(HttpVersions::Http1)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    control: Arc<Control>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let wants_console = control.state.config.console
        && request.method() == Method::GET
        && request.uri().path() == "/"
        && console::is_wanted(request.headers());
    let (status, body) = match run(&control, request, wants_console).await {
        Ok(None) => return Ok(console::page()),
        Ok(Some(body)) => (StatusCode::OK, body),
        Err(CommandError(status, text)) => (status, json!({"error": text})),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Runs a command and returns its result; `None` for the console.
async fn run(
    control: &Control,
    request: Request<Incoming>,
    wants_console: bool,
) -> Result<Option<Value>, CommandError> {
    guard::check(request.headers(), wants_console)
        .map_err(|text| CommandError(StatusCode::FORBIDDEN, text.to_owned()))?;
    if wants_console {
        return Ok(None);
    }
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(|_| {
            CommandError(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body must be at most {MAX_BODY_BYTES} bytes"),
            )
        })?
        .to_bytes();
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    let get = parts.method == Method::GET;
    let post = parts.method == Method::POST;
    let delete = parts.method == Method::DELETE;
    let result = match path {
        "/" if get => Ok(commands::info(control)),
        "/faults" if get => commands::list_faults(control),
        "/faults" if post => commands::add_faults(control, &body),
        "/faults" if delete => Ok(commands::clear_faults(control)),
        "/release" if post => Ok(commands::release(control)),
        "/clock" if get => Ok(commands::clock(control)),
        "/clock" if post => commands::set_clock(control, &body),
        "/connections" if post => commands::connections(control, &body),
        "/settings" if get => Ok(commands::settings(control)),
        "/settings" if post => commands::change_settings(control, &body),
        "/snapshot" if get => commands::snapshot(control, query),
        "/tokens" if get => commands::tokens(control),
        "/tokens" if post => commands::issue(control, &body),
        "/revoke" if post => commands::revoke(control, &body),
        "/rotate" if post => commands::rotate(control, &body),
        "/credentials" if get => Ok(commands::credentials(control)),
        "/tls/rotate" if post => commands::rotate_authority(control),
        "/counters" if get => commands::counters(control),
        "/log" if get => commands::log(control, query),
        "/log" if delete => Ok(commands::clear_log(control)),
        "/fingerprint" if post => commands::fingerprint(control, &body),
        "/reset" if post => Ok(commands::reset(control)),
        "/shutdown" if post => Ok(commands::shutdown(control)),
        _ => match path.strip_prefix("/faults/") {
            Some(id) if delete => commands::remove_fault(control, id),
            _ => Err(CommandError(
                StatusCode::NOT_FOUND,
                "unknown command; GET / lists all commands".to_owned(),
            )),
        },
    };
    result.map(Some)
}
