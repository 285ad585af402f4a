//! Forward proxy in front of the emulator. Every host name leads to the emulator,
//! so clients can use names that do not resolve.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::ids::random_uuid;
use crate::response::buffered::BufferedResponse;
use crate::response::scripted;
use crate::routes::target::Target;
use crate::server::body::ResponseBody;
use crate::server::connection;
use crate::server::dispatch::{Reply, dispatch, entry, subject, wait};
use crate::server::stream::Stream;
use crate::server::takeover::{ConnectionHandle, End, Step};
use crate::state::basic_auth::{self, BasicDecoding};
use crate::state::log::truncated;
use crate::state::shared::State;
use crate::tls::options::HttpVersions;

const TUNNEL_HEAD: &str = "HTTP/1.1 200 Connection established\r\n";
const CHALLENGE: &str = "Basic realm=\"layerfi-auth-emulator\"";

/// Serves a connection to the proxy, and the tunnel in it, until it ends.
pub(crate) async fn serve(state: Arc<State>, tcp: TcpStream) {
    let open = state.traffic.connected();
    let mut stream: Box<dyn Stream> = Box::new(tcp);
    if state.config.proxy_tls
        && let Some(tls) = state.tls()
    {
        let mut config = tls.config.as_ref().clone();
        config.alpn_protocols = HttpVersions::Http1.alpn();
        match connection::handshake(&state, Arc::new(config), stream).await {
            Some(encrypted) => stream = encrypted,
            None => return,
        }
    }
    let respond = |handle, request| respond(Arc::clone(&state), handle, request);
    let tunnel = connection::serve_http(&state, stream, HttpVersions::Http1, &open, respond).await;
    if let Some(stream) = tunnel {
        connection::serve_stream(state, stream, &open).await;
    }
}

/// What the proxy does with a request.
enum Decision {
    /// Opens a tunnel.
    Tunnel,
    /// Passes the request to the emulator, with this path.
    Forward(Uri),
    Refuse(BufferedResponse),
}

async fn respond(
    state: Arc<State>,
    handle: ConnectionHandle,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (mut parts, body) = request.into_parts();
    // Before the request is counted, as in `dispatch`.
    let releases = state.releases.count();
    let path = shown(&parts.uri);
    let fault = state.faults.take(&subject(&TARGET, &path));
    let user = credentials(&parts.headers).map(|(user, _)| truncated(&user));
    let mut entry = entry(&state, &parts, &TARGET, &handle, &random_uuid().to_string());
    entry.path = truncated(&path);
    entry.proxy_user = user;
    entry.authorization = parts
        .headers
        .get(PROXY_AUTHORIZATION)
        .map(|value| state.fingerprints.mark(value.as_bytes()));
    entry.fault = fault.as_ref().map(|(id, _)| *id);
    let in_flight = state.traffic.arrived(entry);
    let fault = fault.as_ref().map(|(_, fault)| fault.as_ref());

    let decision = match fault {
        Some(fault) if fault.is_fixed() => Decision::Refuse(scripted::fixed(fault, String::new)),
        _ => decide(&state, &parts),
    };
    wait(&state, fault, releases).await;
    let has_wire = fault.is_some_and(|fault| fault.wire.is_some());
    let response = match decision {
        Decision::Refuse(response) => response,
        Decision::Tunnel if !has_wire => {
            in_flight.answered(StatusCode::OK.as_u16());
            state.traffic.tunnel_opened();
            let mut head = TUNNEL_HEAD.to_owned();
            for (name, value) in fault.iter().flat_map(|fault| &fault.headers) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let steps = vec![Step::Write(Bytes::from(head))];
            match handle.take_over(steps, End::Tunnel).await {}
        }
        Decision::Forward(path) if !has_wire => {
            parts.uri = path;
            parts.headers.remove(PROXY_AUTHORIZATION);
            let response = dispatch(state, handle, Request::from_parts(parts, body)).await?;
            in_flight.answered(response.status().as_u16());
            return Ok(response);
        }
        Decision::Tunnel | Decision::Forward(_) => BufferedResponse::empty(StatusCode::OK),
    };
    let reply = Reply {
        response,
        fault,
        version: parts.version,
        releases,
    };
    Ok(reply.send(&state, handle, in_flight).await)
}

const TARGET: Target<'static> = Target {
    endpoint: Endpoint::Proxy,
    business: None,
    resource: None,
};

/// `host:port` of a `CONNECT`, or the URL of a request without its query.
fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    match uri.scheme_str() {
        Some(scheme) => format!("{scheme}://{authority}{}", uri.path()),
        None => format!("{authority}{}", uri.path()),
    }
}

fn decide(state: &State, parts: &Parts) -> Decision {
    if let Some(required) = state.settings().proxy_credentials {
        let given = credentials(&parts.headers);
        if given != Some((required.user, required.password)) {
            let response = html(
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                "This proxy requires a user and a password.",
            );
            return Decision::Refuse(response.with(PROXY_AUTHENTICATE, CHALLENGE));
        }
    }
    if parts.method == Method::CONNECT {
        return Decision::Tunnel;
    }
    if parts.uri.scheme_str().is_none() {
        return Decision::Refuse(html(
            StatusCode::BAD_REQUEST,
            "This is a proxy. It accepts CONNECT, and requests with an absolute URL.",
        ));
    }
    if parts.uri.scheme_str() != Some("http") || state.tls().is_some() {
        return Decision::Refuse(html(
            StatusCode::BAD_GATEWAY,
            "The server speaks HTTPS. Use CONNECT.",
        ));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    match path.parse() {
        Ok(path) => Decision::Forward(path),
        Err(_) => Decision::Refuse(html(StatusCode::BAD_REQUEST, "The URL is not valid.")),
    }
}

/// User and password in the Basic credentials for the proxy.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(PROXY_AUTHORIZATION)?.to_str().ok()?;
    basic_auth::parse(value, BasicDecoding::Raw)
}

/// An error page, as proxies send it.
fn html(status: StatusCode, text: &str) -> BufferedResponse {
    let mut response = BufferedResponse::empty(status).with(CONTENT_TYPE, "text/html");
    response.body = format!(
        "<html><head><title>{status}</title></head><body><h1>{status}</h1><p>{text}</p></body></html>"
    )
    .into();
    response
}
