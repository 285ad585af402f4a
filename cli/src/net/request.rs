//! One HTTP/1.1 request over an open connection.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::endpoint::Endpoint;

/// The status and headers of a response. The body is not read.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// Sends `GET path` and returns the head of the response.
pub(crate) async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    endpoint: &Endpoint,
    path: &str,
    authorization: Option<&HeaderValue>,
) -> Result<Head, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, endpoint.authority())
        .header(
            header::USER_AGENT,
            concat!("layerfi-auth-cli/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close");
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let mut response = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = &mut response => response,
        end = connection => match end {
            // The connection can end before the response is polled again.
            Ok(()) => response.await,
            Err(error) => Err(error),
        },
    };
    let (head, _) = response.map_err(|error| error.to_string())?.into_parts();
    Ok(Head {
        status: head.status,
        headers: head.headers,
    })
}
