//! Stream under a connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

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

/// Resolves when a frozen connection is released.
type Released = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The stream that hyper uses. [`take`](Self::take) takes it away from hyper.
#[derive(Clone)]
pub(crate) struct SharedIo {
    stream: Arc<Mutex<Option<Box<dyn Stream>>>>,
    /// Set while the connection is frozen.
    frozen: Arc<Mutex<Option<Released>>>,
}

impl SharedIo {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream: Arc::new(Mutex::new(Some(stream))),
            frozen: Arc::default(),
        }
    }

    /// Takes the stream. For hyper the connection is closed afterwards.
    pub(crate) fn take(&self) -> Option<Box<dyn Stream>> {
        lock(&self.stream).take()
    }

    /// Neither reads nor writes until `released` resolves. The system's buffers
    /// still accept bytes of the client.
    pub(crate) fn freeze(&self, released: impl Future<Output = ()> + Send + 'static) {
        *lock(&self.frozen) = Some(Box::pin(released));
    }

    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        if_taken: io::Result<T>,
        poll: impl FnOnce(Pin<&mut dyn Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        {
            // hyper reads and writes in one task, so one waker is enough.
            let mut frozen = lock(&self.frozen);
            if let Some(released) = frozen.as_mut() {
                ready!(released.as_mut().poll(context));
                *frozen = None;
            }
        }
        match lock(&self.stream).as_deref_mut() {
            Some(stream) => poll(Pin::new(stream), context),
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
        self.poll(context, Ok(()), |stream, context| {
            stream.poll_read(context, buffer)
        })
    }
}

impl AsyncWrite for SharedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, broken(), |stream, context| {
            stream.poll_write(context, bytes)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, Ok(()), |stream, context| {
            stream.poll_flush(context)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, Ok(()), |stream, context| {
            stream.poll_shutdown(context)
        })
    }
}
