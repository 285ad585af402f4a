//! Name, connection, certificate: the way to one host.

use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use super::report::Report;
use super::step_ends;
use crate::args::SettingsArgs;
use crate::failure::Failure;
use crate::net::place::Place;
use crate::net::proxy::{self, Proxy};
use crate::net::tls::{self, Handshake, Refused};

/// A connection that stands, ready for HTTP.
pub(super) enum Way {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// The client has a way that the doctor cannot look into.
    Unseen,
}

/// The PEM text of the authorities to trust beside the system's.
pub(super) fn extra_authorities(settings: &SettingsArgs) -> Vec<u8> {
    let path = settings.ca_file.clone().or_else(|| {
        std::env::var_os("LAYER_CA_FILE")
            .filter(|path| !path.is_empty())
            .map(Into::into)
    });
    // The client was built, so the file was there a moment ago.
    path.and_then(|path| std::fs::read(path).ok())
        .unwrap_or_default()
}

/// Walks the way to a host. `None` where it ends early.
pub(super) async fn reach(
    place: &Place,
    settings: &SettingsArgs,
    extra: &[u8],
    ends: Instant,
    report: &mut Report<'_>,
) -> Result<Option<Way>, Failure> {
    let authority = place.authority();
    let host = Some(authority.as_str());
    let proxy = proxy::on_the_way(settings, place);
    // With a proxy it is the proxy that is connected to, and that looks up names.
    let (next, via) = match &proxy {
        Some(proxy) => (&proxy.place, format!("proxy {}, ", proxy.place.authority())),
        None => (place, String::new()),
    };

    let addresses = match look_up(next, ends).await {
        Ok(addresses) => addresses,
        Err(why) => {
            report.failed_as("dns", host, format!("{via}{}", why.what), why.remedy)?;
            report.skipped("tcp", host, "the name is not resolved")?;
            report.skipped("tls", host, "the name is not resolved")?;
            return Ok(None);
        }
    };
    report.passed("dns", host, format!("{via}{}", shown(&addresses)))?;

    let stream = match connect(&addresses, ends).await {
        Ok(stream) => stream,
        Err(why) => {
            report.failed_as("tcp", host, format!("{via}{}", why.what), why.remedy)?;
            report.skipped("tls", host, "there is no connection")?;
            return Ok(None);
        }
    };
    report.passed("tcp", host, format!("{via}connected"))?;

    match &proxy {
        // TLS to the proxy itself, within which there is TLS to the host.
        Some(proxy) if proxy.place.tls => {
            report.skipped("tls", host, "not looked into through an https:// proxy")?;
            return Ok(Some(Way::Unseen));
        }
        _ if !place.tls => {
            report.passed("tls", host, "none: plain HTTP on loopback, as allowed")?;
            return Ok(Some(Way::Plain(stream)));
        }
        _ => {}
    }
    match shake_hands(stream, place, proxy.as_ref(), extra, ends).await {
        Ok(done) => {
            let certificate = done.certificate.map_or_else(String::new, |summary| {
                format!(", issuer {}, {}", summary.issuer, summary.life())
            });
            report.passed("tls", host, format!("{}{certificate}", done.version))?;
            Ok(Some(Way::Tls(Box::new(done.stream))))
        }
        Err(why) => {
            report.failed_as("tls", host, format!("{via}{}", why.what), why.remedy)?;
            Ok(None)
        }
    }
}

async fn look_up(next: &Place, ends: Instant) -> Result<Vec<SocketAddr>, Refused> {
    let looked_up = timeout_at(
        step_ends(ends),
        lookup_host((next.host.as_str(), next.port)),
    )
    .await;
    let what = match looked_up {
        Ok(Ok(addresses)) => return Ok(addresses.collect()),
        Ok(Err(error)) => format!("the name cannot be resolved ({error})"),
        Err(_) => "the name is not resolved in time".to_owned(),
    };
    Err(Refused {
        what,
        remedy: "check the name in the URL and this machine's DNS; behind a proxy, set HTTPS_PROXY",
    })
}

fn shown(addresses: &[SocketAddr]) -> String {
    let first = addresses
        .first()
        .map_or_else(String::new, |address| address.ip().to_string());
    match addresses.len() {
        0 | 1 => first,
        all => format!("{first} and {} more", all - 1),
    }
}

/// To the first address that takes the connection.
async fn connect(addresses: &[SocketAddr], ends: Instant) -> Result<TcpStream, Refused> {
    let what = match timeout_at(step_ends(ends), TcpStream::connect(addresses)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => format!("no connection ({error})"),
        Err(_) => "no connection in time".to_owned(),
    };
    Err(Refused {
        what,
        remedy: "check that the host is up and that no firewall is between; behind a proxy, set \
                 HTTPS_PROXY",
    })
}

/// Through the proxy's tunnel, if there is one.
async fn shake_hands(
    mut stream: TcpStream,
    place: &Place,
    proxy: Option<&Proxy>,
    extra: &[u8],
    ends: Instant,
) -> Result<Handshake, Refused> {
    if let Some(proxy) = proxy {
        timeout_at(step_ends(ends), proxy.tunnel(&mut stream, place))
            .await
            .unwrap_or_else(|_| Err("the proxy does not answer in time".to_owned()))
            .map_err(|what| Refused {
                what,
                remedy: "check the proxy's address and credentials, and whether it lets this host \
                         through; NO_PROXY exempts hosts",
            })?;
    }
    let handshake = tls::handshake(stream, place, tls::roots(extra));
    timeout_at(step_ends(ends), handshake)
        .await
        .unwrap_or_else(|_| {
            Err(Refused {
                what: "no answer to the handshake in time".to_owned(),
                remedy: "check that the URL's port speaks TLS, and what stands between",
            })
        })
}
