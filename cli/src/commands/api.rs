//! The command `api`: one request to the API.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read};

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use layerfi_auth::Client;
use serde_json::{Map, Value, json};

use crate::args::{ApiArgs, SettingsArgs};
use crate::failure::{Failure, StatusFailure};
use crate::output::Output;
use crate::runtime::block_on;
use crate::settings;
use crate::terminal::sanitize;

/// The bytes of a body, as `http` and the engine have them.
type Bytes = hyper::body::Bytes;

/// The largest body of a request.
const MAX_BODY_BYTES: u64 = 16 * 1024 * 1024;

pub(super) fn run(settings: &SettingsArgs, args: &ApiArgs, output: &Output) -> Result<(), Failure> {
    if settings.client_secret_stdin && matches!(args.data.as_deref(), Some("-" | "@-")) {
        return Err(Failure::usage(
            "--data - and --client-secret-stdin both read standard input",
            "give the body with --data @FILE, or the secret with --client-secret-file",
            Some("data"),
        ));
    }
    let client = settings::client(settings)?;
    let request = request(args)?;
    let response = block_on(async { send(&client, args, request).await })?;
    if output.json() {
        output.line(&to_json(&response).to_string())?;
    } else {
        if args.include {
            output.text(&head(&response))?;
        }
        body(&response, output)?;
    }
    refuse_error_status(args, &response)
}

fn request(args: &ApiArgs) -> Result<Request<Bytes>, Failure> {
    let invalid_path = || {
        Failure::usage(
            format!("the path {:?} is not valid", args.path),
            "give a path of the API such as /v1/businesses, percent-encoded",
            Some("path"),
        )
    };
    // A path without a slash would be taken as a host name.
    if !args.path.starts_with('/') && !args.path.contains("://") {
        return Err(invalid_path());
    }
    let uri: Uri = args.path.parse().map_err(|_| invalid_path())?;
    let mut headers = HeaderMap::new();
    for (name, value) in &args.headers {
        headers.append(name, value.clone());
    }
    let body = match &args.data {
        Some(data) => read_data(data, !headers.contains_key(header::CONTENT_TYPE))?,
        None => Bytes::new(),
    };
    let json = HeaderValue::from_static("application/json");
    if args.data.is_some() {
        headers.entry(header::CONTENT_TYPE).or_insert(json.clone());
    }
    headers.entry(header::ACCEPT).or_insert(json);
    let mut request = Request::new(body);
    *request.method_mut() = args.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The body that `--data` gives.
fn read_data(data: &str, must_be_json: bool) -> Result<Bytes, Failure> {
    let bytes = match data {
        "-" | "@-" => read_all(io::stdin().lock()),
        _ => match data.strip_prefix('@') {
            Some(path) => std::fs::File::open(path)
                .map_err(|error| error.to_string())
                .and_then(read_all),
            None => Ok(data.as_bytes().to_vec()),
        },
    };
    let bytes = bytes.map_err(|reason| {
        Failure::local(
            format!("cannot read the body from --data {data:?}: {reason}"),
            "check the path and its permissions",
        )
    })?;
    if must_be_json && let Err(error) = serde_json::from_slice::<Value>(&bytes) {
        return Err(Failure::usage(
            format!("--data is not valid JSON: {error}"),
            "correct the JSON; for another format, give its type with -H \"Content-Type: ...\"",
            Some("data"),
        ));
    }
    Ok(bytes.into())
}

fn read_all(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(MAX_BODY_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BODY_BYTES {
        return Err("it is larger than 16 MiB".to_owned());
    }
    Ok(bytes)
}

async fn send(
    client: &Client,
    args: &ApiArgs,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Failure> {
    let Some(business) = &args.business else {
        return Ok(client.execute(request).await?);
    };
    let business = client.business_id(business)?;
    let response = client.execute_for_business(&business, args.session_duration, request);
    Ok(response.await?)
}

/// The status and the headers, as `--include` prints them.
fn head(response: &Response<Bytes>) -> String {
    let mut text = format!("HTTP {}\n", response.status());
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = writeln!(text, "{name}: {}", sanitize(&value));
    }
    text.push('\n');
    text
}

/// Prints the body as it is. A terminal gets it without control characters.
fn body(response: &Response<Bytes>, output: &Output) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return output.bytes(response.body());
    }
    let text = String::from_utf8_lossy(response.body());
    let mut text: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    output.text(&text)
}

fn to_json(response: &Response<Bytes>) -> Value {
    let mut headers = Map::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(Value::String(all)) => {
                all.push_str(", ");
                all.push_str(&value);
            }
            _ => {
                headers.insert(name.as_str().to_owned(), value.into());
            }
        }
    }
    let body = response.body();
    let body = match serde_json::from_slice::<Value>(body) {
        Ok(json) => json,
        Err(_) if body.is_empty() => Value::Null,
        Err(_) => String::from_utf8_lossy(body).into(),
    };
    json!({ "status": response.status().as_u16(), "headers": headers, "body": body })
}

fn refuse_error_status(args: &ApiArgs, response: &Response<Bytes>) -> Result<(), Failure> {
    let status = response.status();
    if status.as_u16() < 400 {
        return Ok(());
    }
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let remedy = match status.as_u16() {
        401 => "run layerfi-auth doctor to check the credentials and the environment",
        403 => "check that the client may use this path and this business",
        404 => "check the path and the ids in it",
        429 => "wait before you repeat the request",
        500.. => "repeat the request later",
        _ => "the body of the response says what is wrong",
    };
    Err(Failure::Status(StatusFailure {
        status: status.as_u16(),
        message: format!("{} {}: HTTP {status}", args.method, args.path),
        remedy,
        request_id: header("x-request-id"),
        retry_after: header("retry-after").and_then(|seconds| seconds.parse().ok()),
    }))
}
