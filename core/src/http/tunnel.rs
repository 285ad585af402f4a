//! What a proxy answers to CONNECT (RFC 9110, section 9.3.6).
//!
//! reqwest opens the tunnels. Its error says only that a proxy refused one, or that
//! it wants authentication. So after another refusal this module asks the proxy
//! again, to learn the status, every 10 s at most. After a 407 it does not ask: more
//! wrong passwords could lock an account.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::resolve;
use crate::config::{ProxyServer, Refusal};
use crate::error::{Details, Error, ErrorKind, is_retryable_status};

/// Time for the second CONNECT.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a proxy is asked at most: some proxies answer a wrong password with
/// another status than 407.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// How long no call is sent through a proxy that refused the password.
const PASSWORD_INTERVAL: Duration = Duration::from_secs(1);

/// Largest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Failure of reqwest to open a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The proxy cannot be reached.
    Unreachable,
    /// The proxy answered 407.
    Authentication,
    /// The proxy answered something else.
    Refused,
    /// The proxy closed the connection without an answer.
    Closed,
}

/// The failure of a tunnel in a chain of causes. The type of the error is private,
/// so that only its text can be compared; a test opens real tunnels for each.
pub(super) fn failure(error: &reqwest::Error) -> Option<Failure> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(next) = cause {
        // Not `starts_with` on the whole chain: each error shows only its own text.
        if let Some(why) = next.to_string().strip_prefix("tunnel error: ") {
            return Some(match why {
                "failed to create underlying connection" => Failure::Unreachable,
                "proxy authorization required" => Failure::Authentication,
                "unexpected end of file" | "io error establishing tunnel" => Failure::Closed,
                _ => Failure::Refused,
            });
        }
        cause = next.source();
    }
    None
}

/// Error for a call to `host`, which the proxy did not connect to.
pub(crate) fn refused(proxy: &ProxyServer, host: &str, refusal: &Refusal) -> Error {
    let (what, remedy) = explain(proxy, host, refusal);
    let details = Details {
        permanent: match refusal {
            Refusal::Status(status, _) => !is_retryable_status(*status),
            Refusal::NotHttp | Refusal::Closed => false,
        },
        ..Details::default()
    };
    Error::with_details(ErrorKind::Transport, what, remedy, details)
}

/// What a refusal means and what to do about it.
fn explain(proxy: &ProxyServer, host: &str, refusal: &Refusal) -> (String, String) {
    let address = &proxy.address;
    let refused = format!("the proxy {address} refused to connect to {host}");
    match refusal {
        // Some proxies answer 401 to a wrong password.
        Refusal::Status(status @ (407 | 401), schemes) => {
            let others = schemes.join(", ");
            if !schemes.is_empty() && !schemes.iter().any(|s| s.eq_ignore_ascii_case("basic")) {
                return (
                    format!(
                        "{refused} (HTTP {status}): it accepts only {others} authentication, and this \
                         client supports only Basic"
                    ),
                    format!("use a proxy that accepts Basic, or add {host} to NO_PROXY"),
                );
            }
            if proxy.authorization.is_some() {
                return (
                    format!(
                        "{refused} (HTTP {status}): it did not accept the user name and password"
                    ),
                    "check the user name and password in the proxy's URL; they are sent as Basic, \
                     because NTLM and Negotiate are not supported"
                        .to_owned(),
                );
            }
            (
                format!("{refused} (HTTP {status}): it requires a user name and a password"),
                "add them to the proxy's URL: http://user:password@host:port".to_owned(),
            )
        }
        Refusal::Status(status, _) if is_retryable_status(*status) => (
            format!("{refused} (HTTP {status})"),
            "check that the proxy is healthy and can reach this host; then retry".to_owned(),
        ),
        Refusal::Status(status, _) => (
            format!("{refused} (HTTP {status})"),
            "ask the proxy's administrator to allow this host, or add it to NO_PROXY".to_owned(),
        ),
        Refusal::NotHttp => (
            format!("{address}, the proxy for {host}, did not answer with valid HTTP"),
            "check that the proxy's URL has the host and port of an HTTP proxy".to_owned(),
        ),
        Refusal::Closed => (
            format!("the proxy {address} closed the connection instead of connecting to {host}"),
            "check that the proxy is healthy and allows this host; then retry".to_owned(),
        ),
    }
}

/// Error for a tunnel to the host of `url` that reqwest could not open. `tls` is for
/// a proxy with an `https://` URL.
pub(super) async fn ask(
    failure: Failure,
    proxy: &ProxyServer,
    url: &Url,
    host: &str,
    tls: rustls::ClientConfig,
) -> Option<Error> {
    let refusal = match failure {
        Failure::Unreachable => return None,
        Failure::Authentication => {
            let refusal = Refusal::Status(407, Vec::new());
            remember(proxy, &refusal);
            refusal
        }
        Failure::Closed => Refusal::Closed,
        Failure::Refused => match recent_refusal(proxy) {
            Some(refusal) => refusal,
            None => {
                let target = authority(url);
                let probe = tokio::time::timeout(PROBE_TIMEOUT, probe(proxy, &target, tls));
                match probe.await {
                    Ok(Ok(())) => return Some(accepted_later(proxy, host)),
                    Ok(Err(refusal)) => {
                        remember(proxy, &refusal);
                        refusal
                    }
                    Err(_) => Refusal::Closed,
                }
            }
        },
    };
    Some(refused(proxy, host, &refusal))
}

/// `host:port` of a URL, as in CONNECT.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or(443))
}

fn remember(proxy: &ProxyServer, refusal: &Refusal) {
    let entry = (Instant::now(), refusal.clone());
    proxy.refused.store(Some(Arc::new(entry)));
}

/// The last refusal, if it was a moment ago: the answer to a retry is the same.
fn recent_refusal(proxy: &ProxyServer) -> Option<Refusal> {
    let last = proxy.refused.load();
    let (at, refusal) = last.as_deref()?;
    // reqwest's error is another one for a 407.
    let is_other = !matches!(refusal, Refusal::Status(407, _));
    (is_other && at.elapsed() < PROBE_INTERVAL).then(|| refusal.clone())
}

/// Error for a call that is not sent, because the proxy refused the password of
/// another call a moment ago: calls for many businesses must not lock an account.
pub(super) fn locked_out(proxy: &ProxyServer, host: &str) -> Option<Error> {
    let last = proxy.refused.load();
    let (at, refusal) = last.as_deref()?;
    let is_password = matches!(refusal, Refusal::Status(401 | 407, _));
    (is_password && at.elapsed() < PASSWORD_INTERVAL).then(|| refused(proxy, host, refusal))
}

fn accepted_later(proxy: &ProxyServer, host: &str) -> Error {
    let address = &proxy.address;
    Error::new(
        ErrorKind::Transport,
        format!("the proxy {address} refused to connect to {host}, and then did connect"),
        "retry; if it happens again, ask the proxy's administrator",
    )
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolve::addresses(host, port).await?;
    TcpStream::connect(addresses.as_slice()).await
}

async fn probe(
    proxy: &ProxyServer,
    target: &str,
    mut tls: rustls::ClientConfig,
) -> Result<(), Refusal> {
    let url = &proxy.url;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Refusal::Closed);
    };
    let host = host.trim_matches(['[', ']']);
    let mut stream = connect(host, port).await.map_err(|_| Refusal::Closed)?;
    if url.scheme() != "https" {
        return open(&mut stream, proxy, target).await;
    }
    tls.alpn_protocols = Vec::new();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Refusal::Closed)?;
    let connector = TlsConnector::from(Arc::new(tls));
    let mut stream = connector
        .connect(name, stream)
        .await
        .map_err(|_| Refusal::Closed)?;
    open(&mut stream, proxy, target).await
}

/// Opens a tunnel to `target`, `host:port`, over a connection to the proxy.
pub(crate) async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &ProxyServer,
    target: &str,
) -> Result<(), Refusal> {
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let sent = async {
        stream.write_all(&head).await?;
        stream.flush().await
    };
    sent.await.map_err(|_| Refusal::Closed)?;
    let mut answer = Vec::new();
    // Reads byte by byte: the bytes after the head belong to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        let prefix = answer.get(..7).unwrap_or(b"HTTP/1.");
        if prefix != b"HTTP/1." || answer.len() >= MAX_HEAD {
            return Err(Refusal::NotHttp);
        }
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) if answer.is_empty() => return Err(Refusal::Closed),
            Err(_) => return Err(Refusal::NotHttp),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    match parse_answer(&answer) {
        Some((200..=299, _)) => Ok(()),
        Some((status, schemes)) => Err(Refusal::Status(status, schemes)),
        None => Err(Refusal::NotHttp),
    }
}

/// The status of an answer and the schemes in `Proxy-Authenticate`.
fn parse_answer(answer: &str) -> Option<(u16, Vec<String>)> {
    let mut lines = answer.lines();
    let mut first = lines.next()?.split(' ');
    if !first.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = first.next()?;
    let status = status.parse().ok().filter(|_| status.len() == 3)?;
    let mut schemes = Vec::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if !name.eq_ignore_ascii_case("proxy-authenticate") {
            continue;
        }
        // Other parts of the line are parameters, such as `realm="x"`.
        for part in value.split(',') {
            let scheme = part.split_whitespace().next().unwrap_or_default();
            let is_known = ["Basic", "Digest", "NTLM", "Negotiate", "Kerberos", "Bearer"]
                .iter()
                .find(|known| known.eq_ignore_ascii_case(scheme));
            schemes.extend(is_known.map(|known| (*known).to_owned()));
        }
    }
    Some((status, schemes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_a_proxy_is_read() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some((200, vec![]))),
            ("HTTP/1.0 503\r\n\r\n", Some((503, vec![]))),
            (
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"a, b\"\r\n\r\n",
                Some((407, vec!["Basic"])),
            ),
            (
                "HTTP/1.1 407 x\r\nproxy-authenticate: Negotiate\r\nPROXY-AUTHENTICATE:NTLM\r\n\r\n",
                Some((407, vec!["Negotiate", "NTLM"])),
            ),
            (
                "HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM, Basic realm=\"canary\"\r\n\r\n",
                Some((407, vec!["NTLM", "Basic"])),
            ),
            ("HTTP/1.1 canary\r\n\r\n", None),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
            ("", None),
        ] {
            let expected = expected.map(|(status, schemes): (u16, Vec<&str>)| {
                (status, schemes.into_iter().map(str::to_owned).collect())
            });
            assert_eq!(parse_answer(answer), expected, "{answer:?}");
        }
    }
}
