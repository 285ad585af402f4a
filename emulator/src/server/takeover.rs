//! Takeover of a connection from hyper, for bytes that no HTTP server sends.
//!
//! The task of a request sends a [`Takeover`] to the task of its connection.
//! That task takes the stream, drops hyper's connection and runs the takeover.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::server::stream::{SharedIo, Stream};

/// Bytes to write without hyper, and the end of the connection.
#[derive(Debug)]
pub(crate) struct Takeover {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// One write of a takeover.
#[derive(Debug)]
pub(crate) enum Step {
    /// Writes all bytes at once.
    Write(Bytes),
    /// Writes this many spaces.
    Spaces(u64),
    /// Writes byte by byte, with a pause after each.
    Drip(Bytes, Duration),
    /// Writes the same bytes until the client closes the connection.
    Repeat(Bytes),
}

/// End of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// Sends nothing and waits until the client closes the connection.
    Stall,
    /// The stream goes on, as a tunnel through the proxy.
    Tunnel,
}

/// Lets a request freeze or take over its connection.
#[derive(Clone)]
pub(crate) struct ConnectionHandle {
    pub(crate) number: u64,
    pub(crate) takeover: mpsc::UnboundedSender<Takeover>,
    pub(crate) io: SharedIo,
}

impl std::fmt::Debug for ConnectionHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ConnectionHandle")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl ConnectionHandle {
    /// Ends the connection once hyper has had time to write the response.
    pub(crate) fn end_after_response(&self, end: End) {
        let takeover = self.takeover.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FLUSH_TIME).await;
            let _ = takeover.send(Takeover {
                steps: Vec::new(),
                end,
            });
        });
    }

    /// Starts a takeover. Never returns, because hyper drops the caller's task
    /// when it loses the stream.
    pub(crate) async fn take_over(&self, steps: Vec<Step>, end: End) -> std::convert::Infallible {
        let _ = self.takeover.send(Takeover { steps, end });
        std::future::pending().await
    }
}

/// Time for hyper to write data before a takeover.
pub(crate) const FLUSH_TIME: Duration = Duration::from_millis(20);
/// Pause between two writes of endless bytes, so that they do not use a whole
/// processor core.
const REPEAT_PAUSE: Duration = Duration::from_millis(1);
/// Time limit for the client to close a connection that this side has closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Takeover {
    /// Returns the stream only if it goes on.
    pub(crate) async fn run(self, mut stream: Box<dyn Stream>) -> Option<Box<dyn Stream>> {
        for step in self.steps {
            step.run(&mut stream).await.ok()?;
        }
        match self.end {
            End::Close => close(stream).await,
            End::Reset => {
                // With a linger time of zero, closing sends RST.
                let _ = stream.tcp().set_zero_linger();
            }
            End::Stall => drain(&mut stream).await,
            End::Tunnel => return Some(stream),
        }
        None
    }
}

impl Step {
    async fn run(self, stream: &mut Box<dyn Stream>) -> io::Result<()> {
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

/// Closes the sending side, then reads until the client closes its side.
/// Closing with unread bytes would send RST instead of FIN.
pub(crate) async fn close(mut stream: Box<dyn Stream>) {
    let _ = stream.shutdown().await;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, drain(&mut stream)).await;
}

/// Reads and discards until the client closes the connection.
pub(crate) async fn drain(stream: &mut Box<dyn Stream>) {
    let mut discarded = [0; 1024];
    while matches!(stream.read(&mut discarded).await, Ok(read) if read > 0) {}
}
