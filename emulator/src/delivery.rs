//! From an answer and a fault's `wire` to what hyper sends, or to a takeover.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, Version};

use crate::answer::Answer;
use crate::body::{AnswerBody, Piece};
use crate::connection::{End, Handle, Step};
use crate::fault::{At, Endless, Fault, Part, Wire};

const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </whoami>; rel=preload\r\n\r\n";
const ENDLESS_HEADER: &[u8] = b"x-endless: on and on and on and on and on and on and on\r\n";

/// How an answer is to leave.
pub(crate) enum Delivery {
    /// Through hyper.
    Answer(Response<AnswerBody>),
    /// By hand; hyper gives up the connection.
    TakeOver(Vec<Step>, End),
    /// Not at all; the connection stays.
    Never,
}

pub(crate) fn deliver(
    answer: Answer,
    fault: Option<&Fault>,
    version: Version,
    handle: &Handle,
) -> Delivery {
    let Some(wire) = fault.and_then(|fault| fault.wire) else {
        return Delivery::Answer(ordinary(answer, fault));
    };
    if wire.shapes_head() && version == Version::HTTP_2 {
        // HTTP/2 has no head to cut, drip or lengthen by hand; the nearest is
        // to lose the connection.
        return Delivery::TakeOver(Vec::new(), End::Reset);
    }
    let padding = padding(&answer, fault);
    match wire {
        Wire::Close(at) => cut(answer, padding, at, End::Close, handle),
        Wire::Reset(at) => cut(answer, padding, at, End::Reset, handle),
        Wire::Stall(At::Before) => Delivery::Never,
        Wire::Stall(at) => cut(answer, padding, at, End::Stall, handle),
        Wire::Raw => Delivery::TakeOver(vec![Step::Write(answer.body)], End::Close),
        Wire::Drip(drip) => {
            let every = std::time::Duration::from_millis(drip.every_ms);
            match drip.part {
                Part::Head => {
                    let head = head(&answer, padding, true);
                    let steps = vec![
                        Step::Drip(head, every),
                        Step::Write(answer.body),
                        Step::Spaces(padding),
                    ];
                    Delivery::TakeOver(steps, End::Close)
                }
                Part::Body => {
                    let length = answer.body.len() as u64 + padding;
                    let pieces = vec![
                        Piece::Drip(answer.body.clone(), every),
                        Piece::Spaces(padding),
                    ];
                    Delivery::Answer(with_length(answer, length, pieces))
                }
            }
        }
        Wire::Endless(Endless::Body) => {
            let pieces = vec![Piece::Data(answer.body.clone()), Piece::Endless];
            Delivery::Answer(response(answer, AnswerBody::of(pieces)))
        }
        Wire::Endless(Endless::Headers) => Delivery::TakeOver(
            vec![
                Step::Write(head(&answer, padding, false)),
                repeated(ENDLESS_HEADER),
            ],
            End::Close,
        ),
        Wire::Endless(Endless::Informational) => {
            Delivery::TakeOver(vec![repeated(HINT)], End::Close)
        }
    }
}

fn ordinary(answer: Answer, fault: Option<&Fault>) -> Response<AnswerBody> {
    let padding = padding(&answer, fault);
    if padding == 0 {
        let body = AnswerBody::whole(answer.body.clone());
        return response(answer, body);
    }
    let length = answer.body.len() as u64 + padding;
    let pieces = vec![Piece::Data(answer.body.clone()), Piece::Spaces(padding)];
    with_length(answer, length, pieces)
}

fn padding(answer: &Answer, fault: Option<&Fault>) -> u64 {
    fault.map_or(0, |fault| {
        fault.pad_body_to.saturating_sub(answer.body.len() as u64)
    })
}

fn response(answer: Answer, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

fn with_length(mut answer: Answer, length: u64, pieces: Vec<Piece>) -> Response<AnswerBody> {
    answer.set(CONTENT_LENGTH, &length.to_string());
    response(answer, AnswerBody::of(pieces))
}

fn cut(answer: Answer, padding: u64, at: At, end: End, handle: &Handle) -> Delivery {
    match at {
        At::Before => Delivery::TakeOver(Vec::new(), end),
        At::MidHead => {
            let mut head = head(&answer, padding, true);
            head.truncate(head.len() / 2);
            Delivery::TakeOver(vec![Step::Write(head)], end)
        }
        At::MidBody => {
            let length = answer.body.len() as u64 + padding;
            let half = length / 2;
            let sent = answer.body.slice(
                ..answer
                    .body
                    .len()
                    .min(usize::try_from(half).unwrap_or(usize::MAX)),
            );
            let pieces = vec![
                Piece::Data(sent.clone()),
                Piece::Spaces(half - sent.len() as u64),
                Piece::Cut(handle.clone(), end),
            ];
            // An empty body has no middle: promise one byte, so that a cut shows.
            Delivery::Answer(with_length(answer, length.max(1), pieces))
        }
    }
}

/// The head as HTTP/1.1 writes it; without its last line if more is to come.
fn head(answer: &Answer, padding: u64, complete: bool) -> Bytes {
    let reason = answer.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", answer.status.as_u16());
    for (name, value) in &answer.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if complete {
        let length = answer.body.len() as u64 + padding;
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
