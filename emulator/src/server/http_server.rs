//! Construction of hyper's server.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use crate::tls::options::HttpVersions;

/// Time limit of a TLS handshake and of a request head.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of a connection's buffer, and so of a request head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

pub(crate) fn new(versions: HttpVersions) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .http2()
        .timer(TokioTimer::new());
    match versions {
        HttpVersions::Both => server,
        HttpVersions::Http1 => server.http1_only(),
        HttpVersions::Http2 => server.http2_only(),
    }
}
