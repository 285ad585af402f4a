//! Parses the URL of the shared cache. Its texts are never shown in an error, because it
//! may contain a password in any place where it is not valid.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;
use rustls_pki_types::ServerName;

use super::server::{StoreNode, StoreServer};
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretBuffer};

/// Ports of a server and of a Sentinel.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Longest host name (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// Longest path of a unix socket: `sun_path` on Linux, with its final zero.
const MAX_PATH: usize = 107;

/// Most databases that a server can have.
const MAX_DATABASE: i64 = i32::MAX as i64;

const FORMS: &str = "set {shared_cache} to redis://[user:password@]host[:port][/database], \
                     rediss://... for TLS, redis+unix:///path, or \
                     redis+sentinel://host[:port],host[:port]/service[/database]";

const ENCODE: &str = "in {shared_cache}, write each of the characters / ? # @ : and % of a user \
                      name or password as % and two hexadecimal digits, such as %2F for /";

/// What a scheme says about the server.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Server,
    Sentinels,
    UnixSocket,
}

pub(super) fn parse(url: &Secret) -> Result<StoreServer> {
    let text = url.expose();
    if text.is_empty() {
        return Err(bad("is empty", FORMS));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad("has a blank or a control character", FORMS));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        bad(
            "does not start with redis:// or another known scheme",
            FORMS,
        )
    })?;
    let (kind, tls) = match &*scheme.to_ascii_lowercase() {
        "redis" | "valkey" => (Kind::Server, false),
        "rediss" | "valkeys" => (Kind::Server, true),
        "redis+unix" | "unix" => (Kind::UnixSocket, false),
        "redis+sentinel" => (Kind::Sentinels, false),
        "rediss+sentinel" => (Kind::Sentinels, true),
        _ => {
            return Err(bad(
                "does not start with redis:// or another known scheme",
                FORMS,
            ));
        }
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // Such as the end of a password that contains a slash.
    if path.contains('@') && kind != Kind::UnixSocket {
        return Err(bad(
            "has an @ behind the host, perhaps because a user name or a password has characters \
             that must be encoded",
            ENCODE,
        ));
    }
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let (username, password) = user.map_or(Ok((None, None)), credentials)?;
    let mut server = StoreServer {
        nodes: Vec::new(),
        sentinel_service: None,
        tls,
        username,
        password,
        database: 0,
    };
    if kind == Kind::UnixSocket {
        if !hosts.is_empty() {
            return Err(bad(
                "names a unix socket and a host",
                "set {shared_cache} to redis+unix:///path, with three slashes",
            ));
        }
        unix_socket(&mut server, path)?;
        return Ok(server);
    }
    if path.contains(['?', '#']) {
        return Err(bad(
            "has a query or a fragment",
            "remove what follows ? or # in {shared_cache}",
        ));
    }
    let path = path.strip_prefix('/').unwrap_or_default();
    if kind == Kind::Server {
        server.nodes = vec![node(hosts, PORT, tls)?];
        server.database = database(path)?;
        return Ok(server);
    }
    server.nodes = hosts
        .split(',')
        .map(|host| node(host, SENTINEL_PORT, tls))
        .collect::<Result<_>>()?;
    let (service, number) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(bad(
            "names Sentinels without their service",
            "add the name of the master to {shared_cache}, such as \
             redis+sentinel://host:26379/mymaster",
        ));
    }
    server.sentinel_service = Some(decoded_text(service)?);
    server.database = database(number)?;
    Ok(server)
}

fn bad(what: &'static str, remedy: &'static str) -> Error {
    Error::config("shared_cache", format!("shared_cache {what}"), remedy)
}

/// User name and password before the @. An empty user name is that of a password alone.
fn credentials(text: &str) -> Result<(Option<String>, Option<Secret>)> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let user = (!user.is_empty()).then(|| decoded_text(user)).transpose()?;
    let password = password.filter(|password| !password.is_empty());
    Ok((user, password.map(decoded).transpose()?))
}

/// Text without percent-encoding. In one buffer, which is wiped.
fn decoded(text: &str) -> Result<Secret> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let is_code = |code: &[u8]| code.iter().all(u8::is_ascii_hexdigit);
        if !after.as_bytes().get(..2).is_some_and(is_code) {
            return Err(bad("has a % without two hexadecimal digits", ENCODE));
        }
        rest = after;
    }
    let mut buffer = SecretBuffer::with_capacity(text.len());
    for byte in percent_decode_str(text) {
        buffer.push(&[byte]);
    }
    buffer
        .into_secret()
        .ok_or_else(|| bad("has an encoded text that is not UTF-8", ENCODE))
}

fn decoded_text(text: &str) -> Result<String> {
    decoded(text).map(|text| text.expose().to_owned())
}

fn database(text: &str) -> Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = text
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse());
    match number {
        Some(Ok(number)) if number <= MAX_DATABASE => Ok(number),
        _ => Err(bad(
            "has a database that is not a number",
            "end {shared_cache} with the database's number, such as redis://host/0, or leave it \
             out for 0",
        )),
    }
}

fn node(text: &str, default_port: u16, tls: bool) -> Result<StoreNode> {
    let bad_host = || bad("has a host that is missing or not valid", FORMS);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(bad_host)?;
            let address: Ipv6Addr = host.parse().map_err(|_| bad_host())?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err(bad_host()),
            };
            (address.to_string(), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(is_plain) {
        return Err(bad_host());
    }
    // A certificate cannot be checked for another name.
    if tls && ServerName::try_from(&*host).is_err() {
        return Err(bad_host());
    }
    let port = match port {
        None => default_port,
        Some(port) => {
            let is_number = port.bytes().all(|b| b.is_ascii_digit());
            let number = is_number.then(|| port.parse().ok()).flatten();
            number.filter(|port| *port > 0).ok_or_else(|| {
                bad(
                    "has a port that is not a number of 1 to 65535",
                    "correct the port in {shared_cache}; in a user name or password, write each \
                     of the characters / ? # @ : and % as % and two hexadecimal digits",
                )
            })?
        }
    };
    Ok(StoreNode::Tcp { host, port })
}

fn unix_socket(server: &mut StoreServer, text: &str) -> Result<()> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if !query.is_empty() {
        let number = query
            .strip_prefix("db=")
            .filter(|number| !number.is_empty())
            .ok_or_else(|| {
                bad(
                    "has a query other than ?db=",
                    "remove what follows ? in {shared_cache}, except for db= and a number",
                )
            })?;
        server.database = database(number)?;
    }
    let path = decoded_text(path)?;
    if !path.starts_with('/') || path.ends_with('/') || path.len() > MAX_PATH || path.contains('\0')
    {
        return Err(bad(
            "has a path of a unix socket that is not valid",
            "set {shared_cache} to redis+unix:// and an absolute path of at most 107 bytes",
        ));
    }
    server.nodes = vec![StoreNode::Unix(path.into())];
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was parsed, as text. Passwords are shown, because they are the table's.
    fn shown(url: &str) -> Result<String> {
        let server = parse(&url.into())?;
        let nodes: Vec<_> = server.nodes.iter().map(ToString::to_string).collect();
        let mut text = nodes.join(",");
        if server.tls {
            text.push_str(" tls");
        }
        if let Some(user) = server.username {
            text.push_str(&format!(" user={user}"));
        }
        if let Some(password) = server.password {
            text.push_str(&format!(" password={}", password.expose()));
        }
        if let Some(service) = server.sentinel_service {
            text.push_str(&format!(" service={service}"));
        }
        if server.database != 0 {
            text.push_str(&format!(" db={}", server.database));
        }
        Ok(text)
    }

    #[test]
    fn b30_url_says_where_the_store_is() {
        for (url, expected) in [
            ("redis://cache", "cache:6379"),
            ("REDIS://cache/", "cache:6379"),
            ("valkey://cache", "cache:6379"),
            ("redis://cache:6380/2", "cache:6380 db=2"),
            (
                "redis://cache_1.example.com./2147483647",
                "cache_1.example.com.:6379 db=2147483647",
            ),
            ("redis://127.0.0.1:1", "127.0.0.1:1"),
            ("redis://[::1]", "[::1]:6379"),
            ("redis://[2001:db8::1]:65535/1", "[2001:db8::1]:65535 db=1"),
            ("redis://:pw@cache", "cache:6379 password=pw"),
            ("redis://user:pw@cache", "cache:6379 user=user password=pw"),
            ("redis://user@cache", "cache:6379 user=user"),
            ("redis://user:@cache", "cache:6379 user=user"),
            ("redis://:@cache", "cache:6379"),
            (
                "redis://u%3As:p%40%2f%25%C3%A4@cache",
                "cache:6379 user=u:s password=p@/%\u{e4}",
            ),
            (
                "redis://user:a:b@cache",
                "cache:6379 user=user password=a:b",
            ),
            (
                "redis://user:a@b@cache",
                "cache:6379 user=user password=a@b",
            ),
            ("rediss://cache", "cache:6379 tls"),
            ("rediss://[::1]:6380", "[::1]:6380 tls"),
            ("valkeys://cache", "cache:6379 tls"),
            ("redis+unix:///run/redis.sock", "/run/redis.sock"),
            ("unix:///run/redis.sock", "/run/redis.sock"),
            (
                "redis+unix:///run/a%20b@c.sock?db=3",
                "/run/a b@c.sock db=3",
            ),
            (
                "redis+unix://user:pw@/run/redis.sock",
                "/run/redis.sock user=user password=pw",
            ),
            ("redis+sentinel://a/main", "a:26379 service=main"),
            (
                "redis+sentinel://u:p@a:1,b,[::1]:2/main/4",
                "a:1,b:26379,[::1]:2 user=u password=p service=main db=4",
            ),
            (
                "rediss+sentinel://a,b/my%20main/",
                "a:26379,b:26379 tls service=my main",
            ),
        ] {
            assert_eq!(shown(url).as_deref().ok(), Some(expected), "{url}");
        }
    }

    #[test]
    fn b30_url_that_is_not_valid_is_refused_without_showing_it() {
        let long = format!("redis://{}", "canary.".repeat(40));
        let path = format!("unix:///{}", "canary".repeat(20));
        for url in [
            "",
            "canary",
            "canary:6379",
            "http://canary",
            "canary://host",
            "redis:canary",
            " redis://canary",
            "redis://canary\n",
            "redis://",
            "redis:///1",
            "redis://:canary@",
            "redis://canary:canary@:6379",
            "redis://host:canary",
            "redis://host:",
            "redis://host:0",
            "redis://host:65536",
            "redis://host:+1",
            "redis://host/canary",
            "redis://host/-1",
            "redis://host/2147483648",
            "redis://host/99999999999999999999",
            "redis://host/1/canary",
            "redis://host?password=canary",
            "redis://host/0#canary",
            "redis://a,b",
            "redis://::1",
            "redis://[::1",
            "redis://[::1]canary",
            "redis://[canary]",
            "redis://ho%73t",
            "redis://h\u{f6}st",
            "redis://user:can/ary@host",
            "redis://user:can?ary@host",
            "redis://user:can#ary@host",
            "redis://user:canary%@host",
            "redis://user:canary%4@host",
            "redis://user:canary%zz@host",
            "redis://user:canary%ff@host",
            "redis://can%ary:pw@host",
            "rediss://host_canary..",
            &long,
            "redis+unix://canary",
            "redis+unix://canary/path",
            "redis+unix:///",
            "redis+unix:///canary/",
            "redis+unix:///path?password=canary",
            "redis+unix:///path?db=canary",
            "redis+unix:///path?db=",
            "redis+unix:///path%00canary",
            &path,
            "redis+sentinel://a,b",
            "redis+sentinel://a,,b/canary",
            "redis+sentinel://a,b/",
            "redis+sentinel:///canary",
            "redis+sentinel://a/main/canary",
            "redis+sentinel://a/main%ff",
        ] {
            let error = match shown(url) {
                Ok(parsed) => panic!("{url:?} was accepted as {parsed}"),
                Err(error) => error,
            };
            assert_eq!(error.field(), Some("shared_cache"), "{url:?}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("canary"), "{text}");
            assert!(text.contains("shared_cache"), "{text}");
        }
    }
}
