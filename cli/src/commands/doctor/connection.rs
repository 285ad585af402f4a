//! Checks the connection to one host: name resolution, TCP, proxy and TLS.

use std::net::SocketAddr;

use layerfi_auth::Client;
use layerfi_auth::diagnosis::Trusted;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::client::TlsStream;

use crate::commands::doctor::deadline::Deadline;
use crate::commands::doctor::report::Report;
use crate::failure::Failure;
use crate::net;
use crate::net::endpoint::Endpoint;
use crate::net::proxy::{self, Proxy};
use crate::net::tls::{self, Handshake, Problem};

const HTTPS_PROXY_SKIPPED: &str = "not checked through an https:// proxy";

/// A connection that is ready for HTTP.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// The client can connect, but `doctor` cannot: through an https:// proxy.
    NotOpened,
}

/// Opens a connection to a host. `None` if a step fails.
pub(super) async fn check(
    endpoint: &Endpoint,
    client: &Client,
    deadline: Deadline,
    report: &mut Report<'_>,
) -> Result<Option<Connection>, Failure> {
    let authority = endpoint.authority();
    let host = Some(authority.as_str());
    let proxy = proxy::select(client, endpoint);
    // With a proxy, this machine connects to the proxy, and the proxy resolves
    // the host's name.
    let (peer, via) = match &proxy {
        Some(proxy) => (
            &proxy.endpoint,
            format!("proxy {}, ", proxy.endpoint.authority()),
        ),
        None => (endpoint, String::new()),
    };

    let addresses = match resolve(peer, proxy.is_some(), deadline).await {
        Ok(addresses) => addresses,
        Err(problem) => {
            let detail = format!("{via}{}", problem.message);
            report.failed_as("dns", host, detail, problem.remedy)?;
            report.skipped("tcp", host, "the name was not resolved")?;
            report.skipped("tls", host, "the name was not resolved")?;
            return Ok(None);
        }
    };
    report.passed("dns", host, format!("{via}{}", summary(&addresses)))?;

    let stream = match connect(&addresses, proxy.is_some(), deadline).await {
        Ok(stream) => stream,
        Err(problem) => {
            let detail = format!("{via}{}", problem.message);
            report.failed_as("tcp", host, detail, problem.remedy)?;
            report.skipped("tls", host, "no TCP connection")?;
            return Ok(None);
        }
    };
    report.passed("tcp", host, format!("{via}connected"))?;

    match &proxy {
        Some(proxy) if proxy.endpoint.tls => {
            report.skipped("tls", host, HTTPS_PROXY_SKIPPED)?;
            return Ok(Some(Connection::NotOpened));
        }
        _ if !endpoint.tls => {
            report.passed("tls", host, "not used: plain HTTP on loopback is allowed")?;
            return Ok(Some(Connection::Plain(stream)));
        }
        _ => {}
    }
    match handshake(stream, endpoint, proxy.as_ref(), client, deadline).await {
        Ok(done) => {
            let certificate = done.certificate.map_or_else(String::new, |certificate| {
                format!(
                    ", issuer {}, {}",
                    certificate.issuer,
                    certificate.lifetime()
                )
            });
            let detail = format!(
                "{}{certificate}; verified with {}",
                done.version, done.trusted
            );
            report.passed("tls", host, detail)?;
            Ok(Some(Connection::Tls(Box::new(done.stream))))
        }
        Err(problem) => {
            let detail = format!("{via}{}", problem.message);
            report.failed_as("tls", host, detail, problem.remedy)?;
            Ok(None)
        }
    }
}

async fn resolve(
    peer: &Endpoint,
    is_proxy: bool,
    deadline: Deadline,
) -> Result<Vec<SocketAddr>, Problem> {
    let lookup = net::resolve::resolve(peer.host.clone(), peer.port);
    let message = match timeout_at(deadline.of_step(), lookup).await {
        Ok(Ok(addresses)) => return Ok(addresses),
        Ok(Err(error)) => format!("cannot resolve the name: {error}"),
        Err(_) => "the name was not resolved in time".to_owned(),
    };
    Err(Problem {
        message,
        remedy: if is_proxy {
            "check the proxy's host name in --proxy or HTTPS_PROXY, and this machine's DNS"
        } else {
            "check the host in the URL and this machine's DNS; behind a proxy, set HTTPS_PROXY"
        }
        .to_owned(),
    })
}

fn summary(addresses: &[SocketAddr]) -> String {
    let first = addresses
        .first()
        .map_or_else(String::new, |address| address.ip().to_string());
    match addresses.len() {
        0 | 1 => first,
        count => format!("{first} and {} more", count - 1),
    }
}

/// Connects to the first address that accepts a connection.
async fn connect(
    addresses: &[SocketAddr],
    is_proxy: bool,
    deadline: Deadline,
) -> Result<TcpStream, Problem> {
    let message = match timeout_at(deadline.of_step(), TcpStream::connect(addresses)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => format!("cannot connect: {error}"),
        Err(_) => "no connection in time".to_owned(),
    };
    Err(Problem {
        message,
        remedy: if is_proxy {
            "check the proxy's host and port in --proxy or HTTPS_PROXY, and that it is running"
        } else {
            "check that the server is running and that no firewall blocks the connection; behind \
             a proxy, set HTTPS_PROXY"
        }
        .to_owned(),
    })
}

/// Opens the proxy's tunnel, if there is a proxy, and performs the TLS
/// handshake.
async fn handshake(
    mut stream: TcpStream,
    endpoint: &Endpoint,
    proxy: Option<&Proxy>,
    client: &Client,
    deadline: Deadline,
) -> Result<Handshake, Problem> {
    if let Some(proxy) = proxy {
        timeout_at(deadline.of_step(), proxy.tunnel(&mut stream, endpoint))
            .await
            .unwrap_or_else(|_| {
                Err(Problem {
                    message: "the proxy did not respond in time".to_owned(),
                    remedy: "check that the proxy's URL has the host and port of an HTTP proxy, \
                             and that it is running"
                        .to_owned(),
                })
            })?;
    }
    let trusted = Trusted::of(client);
    let handshake = tls::handshake(stream, endpoint, &trusted);
    timeout_at(deadline.of_step(), handshake)
        .await
        .unwrap_or_else(|_| {
            Err(Problem {
                message: "the server did not answer the TLS handshake in time".to_owned(),
                remedy: "check that the URL's port serves TLS; a firewall may block the connection"
                    .to_owned(),
            })
        })
}
