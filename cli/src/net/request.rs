//! One bare request over a connection that stands.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::place::Place;

/// The head of an answer; its body is not read.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// `GET path`, with an `Authorization` header or without one.
pub(crate) async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    place: &Place,
    path: &str,
    authorization: Option<&HeaderValue>,
) -> Result<Head, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, place.authority())
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
    let mut answer = std::pin::pin!(sender.send_request(request));
    // Dropped with this future: the connection is good for one request.
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        end = connection => match end {
            // It ends once the answer is there, which is then to be picked up.
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let (head, _) = answer.map_err(|error| error.to_string())?.into_parts();
    Ok(Head {
        status: head.status,
        headers: head.headers,
    })
}
