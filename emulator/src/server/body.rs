//! Response body for hyper, made of pieces: data, padding, slow or endless data,
//! or a takeover of the connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::server::takeover::{ConnectionHandle, End, FLUSH_TIME, Takeover};

const CHUNK: &[u8] = &[b' '; 16 * 1024];
/// Pause between two chunks of an endless body.
const ENDLESS_PAUSE: Duration = Duration::from_millis(1);

/// A part of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// This many spaces.
    Spaces(u64),
    /// Spaces without end.
    Endless,
    /// Data, one byte at a time.
    Drip(Bytes, Duration),
    /// Ends the connection after the pieces before it are written.
    EndConnection(ConnectionHandle, End),
    /// Ends the connection now.
    EndConnectionNow(ConnectionHandle, End),
    /// No more data, and no end of the body.
    Silence,
}

/// Response body made of pieces.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    pieces: VecDeque<Piece>,
    /// The length, if hyper writes `Content-Length`.
    exact: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// An ordinary body; hyper writes `Content-Length`.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let exact = Some(bytes.len() as u64);
        Self {
            pieces: VecDeque::from([Piece::Data(bytes)]),
            exact,
            pause: None,
        }
    }

    /// A body whose `Content-Length`, if any, the caller sets.
    pub(crate) fn of(pieces: Vec<Piece>) -> Self {
        Self {
            pieces: pieces.into(),
            exact: None,
            pause: None,
        }
    }

    fn pause(&mut self, pause: Duration) {
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        match piece {
            Piece::Data(bytes) => frame(bytes),
            Piece::Spaces(0) => self.poll_frame(context),
            Piece::Spaces(left) => {
                let now = left.min(CHUNK.len() as u64);
                if left > now {
                    self.pieces.push_front(Piece::Spaces(left - now));
                }
                let now = usize::try_from(now).unwrap_or(0);
                frame(Bytes::from_static(CHUNK).slice(..now))
            }
            Piece::Endless => {
                self.pieces.push_front(Piece::Endless);
                self.pause(ENDLESS_PAUSE);
                frame(Bytes::from_static(CHUNK))
            }
            Piece::Drip(mut bytes, every) => {
                if bytes.is_empty() {
                    return self.poll_frame(context);
                }
                let first = bytes.split_to(1);
                self.pieces.push_front(Piece::Drip(bytes, every));
                self.pause(every);
                frame(first)
            }
            Piece::EndConnection(handle, end) => {
                self.pieces.push_front(Piece::EndConnectionNow(handle, end));
                self.pause(FLUSH_TIME);
                self.poll_frame(context)
            }
            Piece::EndConnectionNow(handle, end) => {
                let _ = handle.takeover.send(Takeover {
                    steps: Vec::new(),
                    end,
                });
                self.pieces.push_front(Piece::Silence);
                self.poll_frame(context)
            }
            Piece::Silence => {
                // No wake-up is needed: the takeover has woken the task of the
                // connection, which drops this body.
                self.pieces.push_front(Piece::Silence);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Data(bytes) if bytes.is_empty()))
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, |exact| {
            if self.pieces.is_empty() {
                SizeHint::with_exact(0)
            } else {
                SizeHint::with_exact(exact)
            }
        })
    }
}
