//! Stream under a connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::lock::lock;

/// A TCP stream, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for Box<dyn Stream> {
    fn tcp(&self) -> &TcpStream {
        self.as_ref().tcp()
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.tcp()
    }
}

/// The stream that hyper uses. [`take`](Self::take) takes it away from hyper.
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

    /// Takes the stream. For hyper the connection is closed afterwards.
    pub(crate) fn take(&self) -> Option<Box<dyn Stream>> {
        lock(&self.stream).take()
    }

    fn poll<T>(
        &self,
        if_taken: io::Result<T>,
        poll: impl FnOnce(Pin<&mut dyn Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match lock(&self.stream).as_deref_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(if_taken),
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
