//! Name, connection, certificate: the way to one host.

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use super::report::Report;
use super::step_ends;
use crate::args::SettingsArgs;
use crate::failure::Failure;
use crate::net::place::Place;
use crate::net::{proxy, tls};

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
    let host = place.authority();
    let proxy = proxy::on_the_way(settings, place);
    // With a proxy it is the proxy that is connected to, and that looks up names.
    let (next, via) = match &proxy {
        Some(proxy) => (&proxy.place, format!("proxy {}, ", proxy.place.authority())),
        None => (place, String::new()),
    };

    let skip = |report: &mut Report<'_>, names: &[&'static str], why: &str| {
        names
            .iter()
            .try_for_each(|name| report.skipped(name, Some(&host), why))
    };

    let looked_up = timeout_at(
        step_ends(ends),
        lookup_host((next.host.as_str(), next.port)),
    )
    .await;
    let addresses: Vec<_> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            report.failed_as(
                "dns",
                Some(&host),
                format!("{via}the name cannot be resolved ({error})"),
                "check the name in the URL and this machine's DNS; behind a proxy, set HTTPS_PROXY",
            )?;
            skip(report, &["tcp", "tls"], "the name is not resolved")?;
            return Ok(None);
        }
        Err(_) => {
            report.failed_as(
                "dns",
                Some(&host),
                format!("{via}no answer in time"),
                "check this machine's DNS; behind a proxy, set HTTPS_PROXY",
            )?;
            skip(report, &["tcp", "tls"], "the name is not resolved")?;
            return Ok(None);
        }
    };
    let first = addresses.first().map(|address| address.ip().to_string());
    let more = match addresses.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    let detail = format!("{via}{}{more}", first.unwrap_or_default());
    report.passed("dns", Some(&host), detail)?;

    let failed_to_connect = match timeout_at(step_ends(ends), connect(&addresses)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    let mut stream = match failed_to_connect {
        Ok(stream) => stream,
        Err(why) => {
            report.failed_as(
                "tcp",
                Some(&host),
                format!("{via}no connection ({why})"),
                "check that the host is up and that no firewall is between; behind a proxy, set \
                 HTTPS_PROXY",
            )?;
            skip(report, &["tls"], "there is no connection")?;
            return Ok(None);
        }
    };
    report.passed("tcp", Some(&host), format!("{via}connected"))?;

    if let Some(proxy) = &proxy {
        if proxy.place.tls || !place.tls {
            skip(
                report,
                &["tls"],
                "not looked into through this kind of proxy",
            )?;
            return Ok(Some(Way::Unseen));
        }
        let tunnel = timeout_at(step_ends(ends), proxy.tunnel(&mut stream, place)).await;
        let why = match tunnel {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("the proxy does not answer".to_owned()),
        };
        if let Some(why) = why {
            let remedy = "check the proxy's address and credentials, and whether it lets this host \
                          through; NO_PROXY exempts hosts";
            report.failed_as("tls", Some(&host), format!("{via}{why}"), remedy)?;
            return Ok(None);
        }
    }

    if !place.tls {
        let detail = "none: plain HTTP on loopback, as allowed";
        report.passed("tls", Some(&host), detail)?;
        return Ok(Some(Way::Plain(stream)));
    }
    let handshake = tls::handshake(stream, place, tls::roots(extra));
    match timeout_at(step_ends(ends), handshake).await {
        Ok(Ok(done)) => {
            let certificate = done.certificate.map_or_else(String::new, |summary| {
                format!(
                    ", issuer {}, {} days left",
                    summary.issuer, summary.days_left
                )
            });
            let detail = format!("{}{certificate}", done.version);
            report.passed("tls", Some(&host), detail)?;
            Ok(Some(Way::Tls(Box::new(done.stream))))
        }
        Ok(Err(refused)) => {
            report.failed_as("tls", Some(&host), refused.what, refused.remedy)?;
            Ok(None)
        }
        Err(_) => {
            let remedy = "check that the URL's port speaks TLS, and what stands between";
            report.failed_as(
                "tls",
                Some(&host),
                "no answer to the handshake in time",
                remedy,
            )?;
            Ok(None)
        }
    }
}

/// The first address that takes the connection.
async fn connect(addresses: &[std::net::SocketAddr]) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
