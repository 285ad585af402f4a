//! Handling of one request: log, fault, endpoint, headers, delivery.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE};
use http::{HeaderName, Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Limited};

use crate::endpoint::Endpoint;
use crate::fault::definition::Fault;
use crate::fault::queue::Subject;
use crate::ids::random_uuid;
use crate::response::buffered::BufferedResponse;
use crate::response::{cors, scripted};
use crate::routes::request::{LogNotes, ReceivedRequest};
use crate::routes::router;
use crate::routes::target::{Target, classify};
use crate::server::body::ResponseBody;
use crate::server::delivery::{Delivery, deliver};
use crate::server::takeover::ConnectionHandle;
use crate::state::clock::http_date;
use crate::state::log::{LogEntry, logged_headers, truncated};
use crate::state::shared::State;
use crate::state::traffic::RequestInFlight;

/// Limit of a request body. Layer's requests are a form or one JSON field.
const MAX_BODY_BYTES: usize = 64 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Records a request, finds its fault and sends the response.
pub(crate) async fn dispatch<B>(
    state: Arc<State>,
    handle: ConnectionHandle,
    request: Request<B>,
) -> Result<Response<ResponseBody>, Infallible>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let (parts, body) = request.into_parts();
    let target = classify(&parts.method, parts.uri.path());
    let request_id = random_uuid().to_string();
    // Both come before the request is counted: a test that sees the request in
    // the counters may then release held responses or clear the faults.
    let releases = state.releases.count();
    let fault = state.faults.take(&subject(&target, parts.uri.path()));
    let mut entry = entry(&state, &parts, &target, &handle, &request_id);
    entry.fault = fault.as_ref().map(|(id, _)| *id);
    let in_flight = state.traffic.arrived(entry);
    let fault = fault.as_ref().map(|(_, fault)| fault.as_ref());

    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.ok().map(http_body_util::Collected::to_bytes);
    let received = ReceivedRequest {
        method: &parts.method,
        target: &target,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    };
    let mut response = match fault {
        Some(fault) if fault.is_fixed() => {
            scripted::fixed(fault, || router::token_for_body(&state, &received))
        }
        _ => {
            let mut notes = LogNotes::default();
            let response = router::respond(&state, &received, &mut notes);
            in_flight.update_entry(|entry| {
                entry.client_id = notes.client_id;
                entry.session_duration = notes.session_duration;
            });
            response
        }
    };
    response.set(REQUEST_ID, &request_id);
    if target.endpoint != Endpoint::Token {
        cors::allow(&parts.headers, &mut response);
    }

    wait(&state, fault, releases).await;
    // After the wait, so that the date is the time of sending.
    response.set(DATE, &http_date(state.clock.now()));
    let reply = Reply {
        response,
        fault,
        version: parts.version,
        releases,
    };
    Ok(reply.send(&state, handle, in_flight).await)
}

/// What faults compare of a request.
pub(crate) fn subject<'a>(target: &Target<'a>, path: &'a str) -> Subject<'a> {
    Subject {
        endpoint: target.endpoint,
        business: target.business,
        resource: target.resource.map(|resource| resource.name),
        path,
    }
}

/// Response to a request, with the fault that changes how it is sent.
pub(crate) struct Reply<'a> {
    pub(crate) response: BufferedResponse,
    pub(crate) fault: Option<&'a Fault>,
    pub(crate) version: Version,
    /// Count of releases when the request arrived.
    pub(crate) releases: u64,
}

impl Reply<'_> {
    /// Returns the response, unless the fault takes the connection over.
    pub(crate) async fn send(
        self,
        state: &State,
        handle: ConnectionHandle,
        in_flight: RequestInFlight,
    ) -> Response<ResponseBody> {
        let mut response = self.response;
        if let Some(fault) = self.fault {
            scripted::modify(&mut response, fault);
        }
        let response = match deliver(response, self.fault, self.version, &handle) {
            Delivery::Respond(response) => response,
            Delivery::Freeze(response) => {
                handle.io.freeze(state.releases.more_than(self.releases));
                response
            }
            Delivery::TakeOver(steps, end) => match handle.take_over(steps, end).await {},
            Delivery::Never => std::future::pending().await,
        };
        in_flight.answered(response.status().as_u16());
        response
    }
}

/// Waits as long as the fault holds and delays the response. `releases` is the
/// count of releases when the request arrived.
pub(crate) async fn wait(state: &State, fault: Option<&Fault>, releases: u64) {
    if fault.is_some_and(|fault| fault.hold) {
        state.releases.more_than(releases).await;
    }
    if let Some(fault) = fault
        && fault.delay_ms > 0
    {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
}

/// The log entry of a request that has just arrived.
pub(crate) fn entry(
    state: &State,
    parts: &http::request::Parts,
    target: &Target<'_>,
    handle: &ConnectionHandle,
    request_id: &str,
) -> LogEntry {
    let authorization = parts.headers.get(AUTHORIZATION);
    LogEntry {
        number: 0,
        at_ms: 0,
        took_ms: None,
        connection: handle.number,
        http_version: if parts.version == Version::HTTP_2 {
            "HTTP/2"
        } else {
            "HTTP/1.1"
        },
        method: truncated(parts.method.as_str()),
        path: truncated(parts.uri.path()),
        endpoint: target.endpoint,
        resource: target.resource.map(|resource| resource.name),
        status: None,
        done: false,
        request_id: request_id.to_owned(),
        client_id: None,
        business_id: target.business.map(truncated),
        proxy_user: None,
        session_duration: None,
        authorization: authorization.map(|value| state.fingerprints.mark(value.as_bytes())),
        headers: logged_headers(&parts.headers),
        fault: None,
    }
}
