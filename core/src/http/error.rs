//! Explains the errors of reqwest.

use std::io;
use std::sync::Arc;

use url::Url;

use super::{resolve, tls, tls_error, tunnel};
use crate::config::{HttpConfig, ProxyServer};
use crate::error::{Details, Error, ErrorKind, clipped};
use crate::trust::Roots;
use crate::url::host;

/// Error of an exchange with the host of `url`. Unlike reqwest's text, its text
/// never shows the whole URL.
pub(super) fn explain(
    error: reqwest::Error,
    url: &Url,
    proxy: Option<&ProxyServer>,
    roots: &Roots,
    config: &HttpConfig,
) -> Error {
    let error = error.without_url();
    let host = &*host(url);
    let via = proxy.map_or_else(String::new, |proxy| {
        format!(" through the proxy {}", proxy.address)
    });
    if error.is_timeout() {
        let what = if error.is_connect() {
            let limit = config.connect_timeout;
            format!("cannot connect to {host}{via} within {limit:?}")
        } else {
            format!("no response from {host}{via} in time")
        };
        return Error::attempt_timeout(what);
    }
    let unreachable_proxy = proxy
        .filter(|_| tunnel::failure(&error) == Some(tunnel::Failure::Unreachable))
        .map(|proxy| format!("the proxy {}", proxy.address));
    let peer = unreachable_proxy.as_deref().unwrap_or(host);
    if let Some(tls) = tls::find_error(&error) {
        let address = match (&unreachable_proxy, proxy) {
            (Some(_), Some(proxy)) => proxy.address.clone(),
            _ => tunnel::authority(url),
        };
        let (what, remedy) = tls_error::explain(&tls, peer, &address, roots);
        return Error::new(ErrorKind::Tls, what, remedy).caused_by(Arc::new(tls));
    }
    let cause = root_cause(&error);
    if is_malformed_http(&error) {
        let what = format!("{host} did not send valid HTTP: {cause}");
        return Error::protocol(what, Details::default());
    }
    let (what, remedy) = match &unreachable_proxy {
        Some(proxy) => (
            format!("cannot connect to {proxy} for {host}: {cause}"),
            "check that the proxy's URL is right and that it is running; then retry",
        ),
        None if error.is_connect() => (
            format!("cannot connect to {host}{via}: {cause}"),
            connect_remedy(&error),
        ),
        None => (
            format!("the connection to {host}{via} broke: {cause}"),
            "check the network; then retry",
        ),
    };
    let explained = Error::new(ErrorKind::Transport, what, remedy);
    match io_cause(&error) {
        Some(io) => explained.caused_by(Arc::new(io)),
        None => explained,
    }
}

/// What to do about a connection that could not be made.
fn connect_remedy(error: &reqwest::Error) -> &'static str {
    if find::<resolve::UnknownName>(error).is_some() {
        return "check the host name in the URL, and this machine's name servers; then retry";
    }
    match io_cause(error).map(|io| io.kind()) {
        Some(io::ErrorKind::ConnectionRefused) => {
            "check the host and the port in the URL, and that the server runs; then retry"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "a firewall or a sandbox on this machine forbids the connection: allow it there"
        }
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            "this machine has no route to the host: check the network; then retry"
        }
        _ => "check the network; then retry",
    }
}

/// Text of the innermost cause, which has the most detail. Below hyper only a
/// system error is used, because errors of HTTP/2 quote the server.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        if cause.is::<hyper::Error>() && !next.is::<io::Error>() {
            break;
        }
        cause = next;
    }
    let text = cause.to_string();
    // rustls ends a text with a link to its manual.
    clipped(text.split(": https://").next().unwrap_or_default())
}

/// System error in a chain of causes. It is created again from its code,
/// because the original belongs to a chain that may quote the server.
fn io_cause(error: &reqwest::Error) -> Option<io::Error> {
    let io = find::<io::Error>(error)?;
    Some(match io.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::from(io.kind()),
    })
}

/// The first error of this type in a chain of causes.
fn find<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(next) = cause {
        if let Some(found) = next.downcast_ref() {
            return Some(found);
        }
        cause = next.source();
    }
    None
}

fn is_malformed_http(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(next) = cause {
        if next
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return true;
        }
        cause = next.source();
    }
    false
}
