//! An answer's body as hyper polls it: whole, padded, dripping, endless or cut.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::connection::{End, Handle, Takeover};

/// Time for hyper to put on the wire what it was given before the connection
/// is taken from it.
const FLUSH: Duration = Duration::from_millis(20);
const CHUNK: &[u8] = &[b' '; 16 * 1024];
/// A pause between two chunks of an endless body.
const ENDLESS_PAUSE: Duration = Duration::from_millis(1);

/// What comes next.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// This many spaces.
    Spaces(u64),
    /// Spaces without an end.
    Endless,
    /// One byte at a time.
    Drip(Bytes, Duration),
    /// The connection ends like this, once what came before is on the wire.
    Cut(Handle, End),
    /// It ends like this at once.
    CutNow(Handle, End),
    /// Nothing more, and no end.
    Silence,
}

/// A body made of pieces.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    pieces: VecDeque<Piece>,
    /// Known where hyper is to write the `Content-Length` itself.
    exact: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let exact = Some(bytes.len() as u64);
        Self {
            pieces: VecDeque::from([Piece::Data(bytes)]),
            exact,
            pause: None,
        }
    }

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

impl Body for AnswerBody {
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
            Piece::Cut(handle, end) => {
                self.pieces.push_front(Piece::CutNow(handle, end));
                self.pause(FLUSH);
                self.poll_frame(context)
            }
            Piece::CutNow(handle, end) => {
                let _ = handle.takeover.send(Takeover {
                    steps: Vec::new(),
                    end,
                });
                self.pieces.push_front(Piece::Silence);
                self.poll_frame(context)
            }
            Piece::Silence => {
                // Nothing wakes this: the connection's task, which the takeover
                // did wake, drops it.
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
