//! `layerfi_response`: a call of the API with the token in its header.

use std::ffi::{CString, c_char};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};

use crate::client::layerfi_client;
use crate::error::{layerfi_error, layerfi_result};
use crate::failure::Failure;
use crate::handle;
use crate::panic::{self, guard};
use crate::string::{self, layerfi_str};

/// One header of a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct layerfi_header {
    /// Its name, such as `Content-Type`.
    pub name: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// The answer to layerfi_client_execute(). A const pointer to it may be used
/// from many threads at once.
pub struct layerfi_response {
    status: u32,
    headers: Vec<(HeaderName, CString)>,
    /// With a NUL behind it.
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
                // A header value holds no NUL.
                .map(|(name, value)| {
                    let value = CString::new(value.as_bytes()).unwrap_or_default();
                    (name.clone(), value)
                })
                .collect(),
            body,
        }
    }
}

/// Sends a request to the Layer API with the access token in its header. On
/// 401 the token is thrown away and the request sent once more with a new one.
/// Any other status is an answer and not an error, and so is a second 401: look
/// at layerfi_response_status(). Redirects are not followed, and nothing but the
/// 401 is tried again.
///
/// `uri` is a path such as `/v1/businesses`, or a URL of the API: to any other
/// host the token is not sent. `headers` are `header_count` of them, `body` is
/// `body_length` bytes; NULL is fine for none. Answers over 16 MiB are
/// refused. Free the answer with layerfi_response_free().
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
        // SAFETY: by the laws of the header, handles, strings and arrays are
        // null or valid.
        let (client, method, uri, headers, body) = unsafe {
            (
                handle::borrow(client, "client")?,
                string::read(method, "method")?,
                string::read(uri, "uri")?,
                slice(headers, header_count, "headers")?,
                slice(body, body_length, "body")?,
            )
        };
        handle::check_out(out, "out")?;
        let mut request = Request::new(Bytes::copy_from_slice(body));
        *request.method_mut() = Method::from_bytes(method.as_bytes())
            .map_err(|_| Failure::Argument("method", "is no HTTP method"))?;
        *request.uri_mut() =
            Uri::try_from(uri).map_err(|_| Failure::Argument("uri", "is not a URI"))?;
        for header in headers {
            // SAFETY: by the laws of the header, strings are null or valid.
            let (name, value) = unsafe {
                (
                    string::read(header.name, "headers")?,
                    string::read(header.value, "headers")?,
                )
            };
            let unfit = |_| Failure::Argument("headers", "has a name or value that is none");
            request.headers_mut().append(
                HeaderName::try_from(name).map_err(|_| unfit(()))?,
                HeaderValue::try_from(value).map_err(|_| unfit(()))?,
            );
        }
        let response = client.waiting(timeout_ms)?.execute(request)?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_response::new(&response)) };
        Ok(())
    })
}

/// An array that C gave.
///
/// # Safety
/// `first` is null, or points to `count` values that nobody changes during `'a`.
unsafe fn slice<'a, T>(
    first: *const T,
    count: usize,
    argument: &'static str,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return Err(Failure::Null(argument));
    }
    // SAFETY: as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// The HTTP status; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_status(response: *const layerfi_response) -> u32 {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { response.as_ref() }.map_or(0, |response| response.status)
}

/// The first header of a name, in any case of letters; empty where there is
/// none. It need not be UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_header(
    response: *const layerfi_response,
    name: *const c_char,
) -> layerfi_str {
    panic::value(layerfi_str::EMPTY, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (Some(response), Ok(name)) =
            (unsafe { (response.as_ref(), string::read(name, "name")) })
        else {
            return layerfi_str::EMPTY;
        };
        response
            .headers
            .iter()
            .find(|(known, _)| known.as_str().eq_ignore_ascii_case(name))
            .map_or(layerfi_str::EMPTY, |(_, value)| layerfi_str::of(value))
    })
}

/// The body. It may hold any bytes, NUL included; one more NUL lies behind it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_body(response: *const layerfi_response) -> layerfi_str {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { response.as_ref() }.map_or(layerfi_str::EMPTY, |response| {
        layerfi_str::before_nul(&response.body)
    })
}

/// Frees an answer, and the views on it with it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_response_free(response: *mut layerfi_response) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(response) };
    });
}
