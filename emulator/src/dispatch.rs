//! One request from arrival to delivery: log, fault, route, headers, wire.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE};
use http::{HeaderName, Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Limited};

use crate::answer::Answer;
use crate::body::AnswerBody;
use crate::clock::http_date;
use crate::connection::Handle;
use crate::cors;
use crate::delivery::{Delivery, deliver};
use crate::endpoint::{Endpoint, Target, classify};
use crate::log::{LogEntry, cut, shown_headers};
use crate::random;
use crate::routes::{self, Notes, Received};
use crate::state::State;

/// Requests are small: a form, or one JSON field.
const REQUEST_BODY_CAP: usize = 64 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) async fn dispatch<B>(
    state: Arc<State>,
    handle: Handle,
    request: Request<B>,
) -> Result<Response<AnswerBody>, Infallible>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let (parts, body) = request.into_parts();
    let target = classify(&parts.method, parts.uri.path());
    let request_id = random::uuid().to_string();
    // Both before the arrival is counted: who sees it counted, and then
    // releases or clears faults, must not be too early.
    let releases = state.releases();
    let fault = state.faults.take(&target);
    let mut entry = entry(&state, &parts, &target, &handle, &request_id);
    entry.fault = fault.as_ref().map(|(id, _)| *id);
    let ticket = state.traffic.arrived(entry);
    let fault = fault.as_ref().map(|(_, fault)| fault.as_ref());

    let body = Limited::new(body, REQUEST_BODY_CAP).collect().await;
    let body = body.ok().map(http_body_util::Collected::to_bytes);
    let received = Received {
        method: &parts.method,
        target: &target,
        headers: &parts.headers,
        body,
    };
    let mut answer = match fault {
        Some(fault) if fault.is_canned() => {
            Answer::canned(fault, || routes::token_for_body(&state, &received))
        }
        _ => {
            let mut notes = Notes::default();
            let answer = routes::answer(&state, &received, &mut notes);
            ticket.note(|entry| {
                entry.client_id = notes.client_id;
                entry.session_duration = notes.session_duration;
            });
            answer
        }
    };
    answer.set(REQUEST_ID, &request_id);
    if target.endpoint != Endpoint::Token {
        cors::allow(&parts.headers, &mut answer);
    }

    if fault.is_some_and(|fault| fault.hold) {
        state.release_after(releases).await;
    }
    if let Some(fault) = fault
        && fault.delay_ms > 0
    {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    // After the wait, so that a late answer is dated when it leaves.
    answer.set(DATE, &http_date(state.clock.now()));
    if let Some(fault) = fault {
        answer = answer.altered(fault);
    }

    match deliver(answer, fault, parts.version, &handle) {
        Delivery::Answer(response) => {
            ticket.answered(response.status().as_u16());
            Ok(response)
        }
        Delivery::TakeOver(steps, end) => match handle.take_over(steps, end).await {},
        Delivery::Never => std::future::pending().await,
    }
}

fn entry(
    state: &State,
    parts: &http::request::Parts,
    target: &Target<'_>,
    handle: &Handle,
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
        method: cut(parts.method.as_str()),
        path: cut(parts.uri.path()),
        endpoint: target.endpoint,
        status: None,
        done: false,
        request_id: request_id.to_owned(),
        client_id: None,
        business_id: target.business.map(cut),
        session_duration: None,
        authorization: authorization.map(|value| state.fingerprints.mark(value.as_bytes())),
        headers: shown_headers(&parts.headers),
        fault: None,
    }
}
