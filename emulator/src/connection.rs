//! The stream under a connection, and how a fault takes it away from hyper.
//!
//! hyper sees a [`SharedIo`]. When a fault wants bytes that no HTTP server
//! sends, the request's task hands a [`Takeover`] to the connection's task,
//! which takes the stream out, lets hyper go, and carries it out by hand.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use crate::sync::lock;

/// A stream with TCP at its bottom.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The stream as hyper holds it.
#[derive(Clone)]
pub(crate) struct SharedIo {
    stream: Arc<Mutex<Option<Box<dyn Stream>>>>,
}

impl SharedIo {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream: Arc::new(Mutex::new(Some(stream))),
        }
    }

    /// Takes the stream; hyper finds the connection closed from then on.
    pub(crate) fn take(&self) -> Option<Box<dyn Stream>> {
        lock(&self.stream).take()
    }

    fn poll<T>(
        &self,
        gone: io::Result<T>,
        poll: impl FnOnce(Pin<&mut dyn Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match lock(&self.stream).as_deref_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(gone),
        }
    }
}

fn broken<T>() -> io::Result<T> {
    Err(io::ErrorKind::BrokenPipe.into())
}

impl AsyncRead for SharedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(Ok(()), |stream| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for SharedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(broken(), |stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Ok(()), |stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Ok(()), |stream| stream.poll_shutdown(context))
    }
}

/// What to write by hand, and how to end.
#[derive(Debug)]
pub(crate) struct Takeover {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// All at once.
    Write(Bytes),
    /// This many spaces.
    Spaces(u64),
    /// One byte, a pause, one byte.
    Drip(Bytes, Duration),
    /// The same bytes for as long as somebody takes them.
    Repeat(Bytes),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Close,
    Reset,
    Stall,
}

/// A request's way to its connection.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) number: u64,
    pub(crate) takeover: mpsc::UnboundedSender<Takeover>,
}

impl Handle {
    /// Asks for the connection and never returns: the caller's task ends with
    /// hyper's hold on the stream.
    pub(crate) async fn take_over(&self, steps: Vec<Step>, end: End) -> std::convert::Infallible {
        let _ = self.takeover.send(Takeover { steps, end });
        std::future::pending().await
    }
}

/// Between two repeats: fast enough to outrun any patience, slow enough not to
/// take the machine from the tests.
const REPEAT_PAUSE: Duration = Duration::from_millis(1);
/// How long the end of a closed connection waits for the client to hang up.
const LINGER: Duration = Duration::from_secs(1);

impl Takeover {
    pub(crate) async fn carry_out(self, mut stream: Box<dyn Stream>) {
        for step in self.steps {
            if step.carry_out(&mut stream).await.is_err() {
                return;
            }
        }
        match self.end {
            End::Close => close(stream).await,
            End::Reset => {
                // With nothing left to linger for, closing sends RST.
                let _ = stream.tcp().set_zero_linger();
            }
            End::Stall => {
                let mut scratch = [0; 1024];
                while matches!(stream.read(&mut scratch).await, Ok(read) if read > 0) {}
            }
        }
    }
}

impl Step {
    async fn carry_out(self, stream: &mut Box<dyn Stream>) -> io::Result<()> {
        match self {
            Self::Write(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            Self::Spaces(count) => {
                tokio::io::copy(&mut tokio::io::repeat(b' ').take(count), stream).await?;
                stream.flush().await
            }
            Self::Drip(bytes, every) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(every).await;
                }
                Ok(())
            }
            Self::Repeat(bytes) => loop {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                tokio::time::sleep(REPEAT_PAUSE).await;
            },
        }
    }
}

/// Ends the sending side, then reads what the client still sends: closing with
/// unread bytes would turn the FIN into a reset.
async fn close(mut stream: Box<dyn Stream>) {
    let _ = stream.shutdown().await;
    let mut scratch = [0; 1024];
    let drain = async { while matches!(stream.read(&mut scratch).await, Ok(read) if read > 0) {} };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
