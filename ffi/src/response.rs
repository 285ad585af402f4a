//! `layerfi_response`: a request to the Layer API with the access token, and its response.

use std::ffi::{CString, c_char};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};

use crate::client::{Timeout, layerfi_client};
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get, read_slice, read_str, write_out};
use crate::panic;
use crate::result::layerfi_result;
use crate::str_view::layerfi_str;

/// A header of a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct layerfi_header {
    /// Its name, such as `Content-Type`.
    pub name: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// The response to layerfi_client_execute(). A const pointer to it may be used
/// from several threads at the same time. Free it with layerfi_response_free().
pub struct layerfi_response {
    status: u32,
    headers: Vec<(HeaderName, CString)>,
    /// Followed by a NUL.
    body: Vec<u8>,
}

impl layerfi_response {
    fn new(response: &Response<Bytes>) -> Self {
        let mut body = Vec::with_capacity(response.body().len() + 1);
        body.extend_from_slice(response.body());
        body.push(0);
        Self {
            status: u32::from(response.status().as_u16()),
            headers: response
                .headers()
                .iter()
                // A header value has no NUL.
                .map(|(name, value)| {
                    let value = CString::new(value.as_bytes()).unwrap_or_default();
                    (name.clone(), value)
                })
                .collect(),
            body,
        }
    }
}

/// Sends a request to the Layer API with the access token in its `Authorization`
/// header. If the response is 401, the token is invalidated and the request is
/// sent again with a new one. Redirects are not followed, and there is no retry
/// except after 401. Free the response with layerfi_response_free().
///
/// A response with any status, a second 401 included, is a success of this call:
/// check layerfi_response_status().
///
/// `method` is an HTTP method such as `GET`. `uri` is a path such as
/// `/v1/businesses`, or a URL of the API; the token is not sent to any other host.
/// `headers` is an array of `header_count` headers, `body` has `body_length`
/// bytes; each may be NULL if its count is 0. `timeout_ms` limits the call in
/// milliseconds; LAYERFI_DEFAULT is the client's timeout.
///
/// Errors: LAYERFI_RESULT_INVALID_ARGUMENT for a method, URI or header that is
/// not valid; LAYERFI_RESULT_PROTOCOL for a response of more than 16 MiB;
/// otherwise as layerfi_client_token().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_execute(
    client: *const layerfi_client,
    method: *const c_char,
    uri: *const c_char,
    headers: *const layerfi_header,
    header_count: usize,
    body: *const u8,
    body_length: usize,
    timeout_ms: u64,
    out: *mut *mut layerfi_response,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let client = borrow!(client);
        let (method, uri) = (read_str!(method), read_str!(uri));
        let headers = read_slice!(headers, header_count);
        let body = read_slice!(body, body_length);
        check_out!(out);
        let timeout = Timeout::read(timeout_ms)?;
        let mut request = Request::new(Bytes::copy_from_slice(body));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| {
            Failure::Argument(
                "method",
                "is not an HTTP method",
                "use one such as GET or POST",
            )
        })?;
        *request.uri_mut() = Uri::try_from(uri).map_err(|_| {
            let remedy = "use a path such as /v1/businesses, or a URL of the API";
            Failure::Argument("uri", "is not a valid URI", remedy)
        })?;
        for header in headers {
            let (name, value) = (
                read_str!(header.name, "headers"),
                read_str!(header.value, "headers"),
            );
            request.headers_mut().append(
                HeaderName::try_from(name).map_err(|_| {
                    let remedy = "use letters, digits and hyphens";
                    Failure::Argument("headers", "has a name that is not valid", remedy)
                })?,
                HeaderValue::try_from(value).map_err(|_| {
                    let remedy = "use no control characters";
                    Failure::Argument("headers", "has a value that is not valid", remedy)
                })?,
            );
        }
        let response = client.waiting(timeout)?.execute(request)?;
        write_out!(out, layerfi_response::new(&response));
        Ok(())
    })
}

/// The HTTP status of the response; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_status(response: *const layerfi_response) -> u32 {
    get!(response, 0, |response| response.status)
}

/// The value of the first header with this name; empty if there is none. Names
/// are not case-sensitive. The value may be other bytes than UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_header(
    response: *const layerfi_response,
    name: *const c_char,
) -> layerfi_str {
    let find = || {
        let (response, name) = (borrow!(response), read_str!(name));
        let mut headers = response.headers.iter();
        let found = headers.find(|(known, _)| known.as_str().eq_ignore_ascii_case(name));
        Ok::<_, Failure>(found.map_or(layerfi_str::EMPTY, |(_, value)| layerfi_str::of(value)))
    };
    panic::catch(layerfi_str::EMPTY, || find().unwrap_or(layerfi_str::EMPTY))
}

/// The body of the response. It may have any bytes, NUL included; a NUL follows
/// its last byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_body(response: *const layerfi_response) -> layerfi_str {
    get!(response, layerfi_str::EMPTY, |response| {
        layerfi_str::before_nul(&response.body)
    })
}

/// Frees a response and ends the views of it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_free(response: *mut layerfi_response) {
    free!(response);
}
