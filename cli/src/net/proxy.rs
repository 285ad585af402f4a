//! Which proxy the engine's requests take, by the same rules and the same
//! library as there.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::place::Place;
use crate::args::SettingsArgs;

/// A proxy on the way to some place.
pub(crate) struct Proxy {
    pub(crate) place: Place,
    authorization: Option<HeaderValue>,
}

/// The proxy on the way to `to`, if there is one.
pub(crate) fn on_the_way(args: &SettingsArgs, to: &Place) -> Option<Proxy> {
    let var = |upper: &str| {
        [upper.to_ascii_lowercase().as_str(), upper]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    find(args, to, var)
}

fn find(args: &SettingsArgs, to: &Place, var: impl Fn(&str) -> Option<String>) -> Option<Proxy> {
    if args.no_proxy {
        return None;
    }
    let (url, except) = match &args.proxy {
        Some(url) => (url.clone(), String::new()),
        None => {
            let own = if to.tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
            let url = var(own).or_else(|| var("ALL_PROXY"))?;
            (url, var("NO_PROXY").unwrap_or_default())
        }
    };
    let matcher = Matcher::builder()
        .all(url)
        // The engine never sends requests to this machine through a proxy.
        .no(format!("{except},localhost,127.0.0.0/8,::1"))
        .build();
    let uri: Uri = format!("{}://{}/", to.scheme(), to.authority())
        .parse()
        .ok()?;
    let intercept = matcher.intercept(&uri)?;
    let proxy = intercept.uri();
    let tls = proxy.scheme_str() == Some("https");
    Some(Proxy {
        place: Place {
            tls,
            host: proxy.host()?.trim_matches(['[', ']']).to_owned(),
            port: proxy.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        },
        authorization: intercept.basic_auth().cloned(),
    })
}

/// The longest answer to CONNECT that is read.
const LONGEST_HEAD: usize = 8 * 1024;

impl Proxy {
    /// Asks the proxy at the other end of `stream` for a tunnel (RFC 9110
    /// section 9.3.6).
    pub(crate) async fn tunnel(&self, stream: &mut TcpStream, to: &Place) -> Result<(), String> {
        let broke = |error: std::io::Error| format!("the proxy closed the connection ({error})");
        let to = to.authority();
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        stream.write_all(&head).await.map_err(broke)?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the head is TLS, and not ours to take.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= LONGEST_HEAD {
                return Err("the proxy's answer is no HTTP".to_owned());
            }
            answer.push(stream.read_u8().await.map_err(broke)?);
        }
        let status = answer
            .get(9..12)
            .and_then(|code| std::str::from_utf8(code).ok());
        match status {
            Some(code) if answer.starts_with(b"HTTP/1.") && code.starts_with('2') => Ok(()),
            Some(code) if answer.starts_with(b"HTTP/1.") && code.parse::<u16>().is_ok() => {
                Err(format!("the proxy refused the tunnel (HTTP {code})"))
            }
            _ => Err("the proxy's answer is no HTTP".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_the_one_that_the_engine_takes() {
        let layer = Place::of("https://api.layerfi.com").unwrap();
        let here = Place::of("https://127.0.0.1:8443").unwrap();
        let vars = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:pw@proxy:3128".to_owned()),
            "NO_PROXY" => Some("internal.example".to_owned()),
            _ => None,
        };
        let none = SettingsArgs::default();
        let found = find(&none, &layer, vars).unwrap();
        assert_eq!(found.place.authority(), "proxy:3128");
        assert!(found.authorization.is_some());
        assert!(find(&none, &here, vars).is_none());
        let internal = Place::of("https://internal.example").unwrap();
        assert!(find(&none, &internal, vars).is_none());
        let given = SettingsArgs {
            proxy: Some("other:1".into()),
            ..SettingsArgs::default()
        };
        let found = find(&given, &internal, vars).unwrap();
        assert_eq!(found.place.authority(), "other:1");
        let off = SettingsArgs {
            no_proxy: true,
            ..SettingsArgs::default()
        };
        assert!(find(&off, &layer, vars).is_none());
    }
}
