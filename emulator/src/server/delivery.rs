//! Delivery of a response: through hyper, or by a takeover as the fault's `wire`
//! requires.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, Version};

use crate::fault::definition::Fault;
use crate::fault::wire::{At, Endless, Part, Wire};
use crate::response::buffered::BufferedResponse;
use crate::server::body::{Piece, ResponseBody};
use crate::server::takeover::{ConnectionHandle, End, Step};

/// Length 8, type 7, no flags, stream 0; last stream 0, `NO_ERROR`.
const GO_AWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const EARLY_HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </whoami>; rel=preload\r\n\r\n";
const ENDLESS_HEADER: &[u8] = b"x-endless: repeated until the client closes the connection\r\n";

/// Way to send a response.
pub(crate) enum Delivery {
    /// hyper sends it.
    Respond(Response<ResponseBody>),
    /// A takeover writes it without hyper.
    TakeOver(Vec<Step>, End),
    /// hyper sends it, over a connection that is frozen first.
    Freeze(Response<ResponseBody>),
    /// Nothing is sent; the connection stays open.
    Never,
}

pub(crate) fn deliver(
    response: BufferedResponse,
    fault: Option<&Fault>,
    version: Version,
    handle: &ConnectionHandle,
) -> Delivery {
    let Some(wire) = fault.and_then(|fault| fault.wire) else {
        return Delivery::Respond(ordinary(response, fault));
    };
    if wire.changes_head() && version == Version::HTTP_2 {
        // On HTTP/2 the bytes of a head cannot be changed, so the connection is
        // reset.
        return Delivery::TakeOver(Vec::new(), End::Reset);
    }
    let padding = padding(&response, fault);
    match wire {
        Wire::Close(at) => end_at(response, fault, at, End::Close, handle),
        Wire::Reset(at) => end_at(response, fault, at, End::Reset, handle),
        Wire::Freeze => Delivery::Freeze(ordinary(response, fault)),
        Wire::GoAway if version == Version::HTTP_2 => {
            let steps = vec![Step::Write(Bytes::from_static(GO_AWAY))];
            Delivery::TakeOver(steps, End::Close)
        }
        Wire::GoAway => Delivery::TakeOver(Vec::new(), End::Close),
        Wire::Stall(At::Before) => Delivery::Never,
        Wire::Stall(at) => end_at(response, fault, at, End::Stall, handle),
        Wire::Raw => Delivery::TakeOver(vec![Step::Write(response.body)], End::Close),
        Wire::Drip(drip) => {
            let every = std::time::Duration::from_millis(drip.every_ms);
            match drip.part {
                Part::Head => {
                    let head = head(&response, padding, true);
                    let steps = vec![
                        Step::Drip(head, every),
                        Step::Write(response.body),
                        Step::Spaces(padding),
                    ];
                    Delivery::TakeOver(steps, End::Close)
                }
                Part::Body => {
                    let length = response.body.len() as u64 + padding;
                    let pieces = vec![
                        Piece::Drip(response.body.clone(), every),
                        Piece::Spaces(padding),
                    ];
                    Delivery::Respond(with_length(response, length, pieces))
                }
            }
        }
        Wire::Endless(Endless::Body) => {
            let pieces = vec![Piece::Data(response.body.clone()), Piece::Endless];
            Delivery::Respond(http_response(response, ResponseBody::of(pieces)))
        }
        Wire::Endless(Endless::Headers) => Delivery::TakeOver(
            vec![
                Step::Write(head(&response, padding, false)),
                repeated(ENDLESS_HEADER),
            ],
            End::Close,
        ),
        Wire::Endless(Endless::Informational) => {
            Delivery::TakeOver(vec![repeated(EARLY_HINTS)], End::Close)
        }
    }
}

fn ordinary(response: BufferedResponse, fault: Option<&Fault>) -> Response<ResponseBody> {
    let padding = padding(&response, fault);
    if padding == 0 {
        let body = ResponseBody::whole(response.body.clone());
        return http_response(response, body);
    }
    let length = response.body.len() as u64 + padding;
    let pieces = vec![Piece::Data(response.body.clone()), Piece::Spaces(padding)];
    with_length(response, length, pieces)
}

fn padding(response: &BufferedResponse, fault: Option<&Fault>) -> u64 {
    fault.map_or(0, |fault| {
        fault.pad_body_to.saturating_sub(response.body.len() as u64)
    })
}

fn http_response(buffered: BufferedResponse, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = buffered.status;
    *response.headers_mut() = buffered.headers;
    response
}

fn with_length(
    mut response: BufferedResponse,
    length: u64,
    pieces: Vec<Piece>,
) -> Response<ResponseBody> {
    response.set(CONTENT_LENGTH, &length.to_string());
    http_response(response, ResponseBody::of(pieces))
}

fn end_at(
    response: BufferedResponse,
    fault: Option<&Fault>,
    at: At,
    end: End,
    handle: &ConnectionHandle,
) -> Delivery {
    let padding = padding(&response, fault);
    match at {
        At::Before => Delivery::TakeOver(Vec::new(), end),
        At::MidHead => {
            let mut head = head(&response, padding, true);
            head.truncate(head.len() / 2);
            Delivery::TakeOver(vec![Step::Write(head)], end)
        }
        At::After => {
            handle.end_after_response(end);
            Delivery::Respond(ordinary(response, fault))
        }
        At::MidBody => {
            let length = response.body.len() as u64 + padding;
            let half = length / 2;
            let sent = response.body.slice(
                ..response
                    .body
                    .len()
                    .min(usize::try_from(half).unwrap_or(usize::MAX)),
            );
            let pieces = vec![
                Piece::Data(sent.clone()),
                Piece::Spaces(half - sent.len() as u64),
                Piece::EndConnection(handle.clone(), end),
            ];
            // An empty body gets a length of 1, so that it is incomplete too.
            Delivery::Respond(with_length(response, length.max(1), pieces))
        }
    }
}

/// The bytes of an HTTP/1.1 head, without its end if `complete` is false.
fn head(response: &BufferedResponse, padding: u64, complete: bool) -> Bytes {
    let reason = response.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", response.status.as_u16());
    for (name, value) in &response.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if complete {
        let length = response.body.len() as u64 + padding;
        let _ = write!(
            text,
            "content-length: {length}\r\nconnection: close\r\n\r\n"
        );
    }
    text.into()
}

fn repeated(line: &'static [u8]) -> Step {
    Step::Repeat(line.repeat(16).into())
}
