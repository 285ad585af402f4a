//! Selects the proxy for an endpoint, by the same rules and with the same
//! library as the engine.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::SettingsArgs;
use crate::net::endpoint::Endpoint;

/// The proxy that requests to an endpoint go through.
pub(crate) struct Proxy {
    pub(crate) endpoint: Endpoint,
    authorization: Option<HeaderValue>,
}

/// Returns the proxy for `to`, if there is one.
pub(crate) fn select(args: &SettingsArgs, to: &Endpoint) -> Option<Proxy> {
    let var = |upper: &str| {
        [upper.to_ascii_lowercase().as_str(), upper]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    select_with(args, to, var)
}

fn select_with(
    args: &SettingsArgs,
    to: &Endpoint,
    var: impl Fn(&str) -> Option<String>,
) -> Option<Proxy> {
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
        // Like the engine: no proxy for loopback.
        .no(format!("{except},localhost,127.0.0.0/8,::1"))
        .build();
    let uri: Uri = format!("{}://{}/", to.scheme(), to.authority())
        .parse()
        .ok()?;
    let intercept = matcher.intercept(&uri)?;
    let proxy = intercept.uri();
    let tls = proxy.scheme_str() == Some("https");
    Some(Proxy {
        endpoint: Endpoint {
            tls,
            host: proxy.host()?.trim_matches(['[', ']']).to_owned(),
            port: proxy.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        },
        authorization: intercept.basic_auth().cloned(),
    })
}

/// The limit for the response to CONNECT, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// The reason that a proxy opened no tunnel.
pub(crate) enum TunnelError {
    /// The HTTP status of the proxy's response.
    Status(u16),
    Other(String),
}

impl Proxy {
    /// Opens a tunnel through the proxy with CONNECT (RFC 9110 section 9.3.6).
    pub(crate) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        to: &Endpoint,
    ) -> Result<(), TunnelError> {
        let broken = |error: std::io::Error| {
            TunnelError::Other(format!("the proxy closed the connection: {error}"))
        };
        let not_http = || TunnelError::Other("the proxy's response is not HTTP".to_owned());
        let to = to.authority();
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        stream.write_all(&head).await.map_err(broken)?;
        let mut response = Vec::new();
        // Reads byte by byte: the bytes after the head belong to the TLS stream.
        while !response.ends_with(b"\r\n\r\n") {
            if response.len() >= MAX_HEAD {
                return Err(not_http());
            }
            response.push(stream.read_u8().await.map_err(broken)?);
        }
        if !response.starts_with(b"HTTP/1.") {
            return Err(not_http());
        }
        let status = response
            .get(9..12)
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| code.parse().ok());
        match status {
            Some(200..=299) => Ok(()),
            Some(status) => Err(TunnelError::Status(status)),
            None => Err(not_http()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_follows_flags_variables_and_no_proxy() {
        let layer = Endpoint::of("https://api.layerfi.com").unwrap();
        let here = Endpoint::of("https://127.0.0.1:8443").unwrap();
        let vars = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:pw@proxy:3128".to_owned()),
            "NO_PROXY" => Some("internal.example".to_owned()),
            _ => None,
        };
        let none = SettingsArgs::default();
        let found = select_with(&none, &layer, vars).unwrap();
        assert_eq!(found.endpoint.authority(), "proxy:3128");
        assert!(found.authorization.is_some());
        assert!(select_with(&none, &here, vars).is_none());
        let internal = Endpoint::of("https://internal.example").unwrap();
        assert!(select_with(&none, &internal, vars).is_none());
        let given = SettingsArgs {
            proxy: Some("other:1".into()),
            ..SettingsArgs::default()
        };
        let found = select_with(&given, &internal, vars).unwrap();
        assert_eq!(found.endpoint.authority(), "other:1");
        let off = SettingsArgs {
            no_proxy: true,
            ..SettingsArgs::default()
        };
        assert!(select_with(&off, &layer, vars).is_none());
    }
}
