//! Hosts that are reached without a proxy: the list in `NO_PROXY`. There is no
//! standard for it, so all forms that curl, Go or Python take are taken.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether a list exempts a host. `host` is a name or an address, as in a URL.
///
/// Entries are separated by commas, semicolons or blanks. Upper and lower case, and
/// a dot at the end of a name, make no difference. An entry is `*`, a name (with all
/// names below it), `.name`, `*.name`, an address, a network such as `10.0.0.0/8` or
/// `10.*`, and each may end with `:port`.
pub(super) fn exempts(list: &str, host: &str, port: u16) -> bool {
    let host = without_brackets(host)
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let address = host
        .parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical());
    list.split([',', ';'])
        .flat_map(str::split_whitespace)
        .any(|entry| {
            let (pattern, of_port) = split_port(entry);
            of_port.is_none_or(|of_port| of_port == port)
                && match address {
                    Some(address) => matches_address(pattern, address),
                    None => matches_name(pattern, &host),
                }
        })
}

/// Splits `name:port`, `address:port` and `[v6]:port`.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let (pattern, port) = match entry.rsplit_once(':') {
        // The colons of an IPv6 address without brackets.
        Some((before, _)) if before.contains(':') && !before.ends_with(']') => (entry, None),
        Some((before, port)) => match port.parse() {
            Ok(port) => (before, Some(port)),
            Err(_) => (entry, None),
        },
        None => (entry, None),
    };
    (without_brackets(pattern), port)
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

fn matches_address(pattern: &str, address: IpAddr) -> bool {
    if pattern == "*" {
        return true;
    }
    if let Ok(network) = pattern.parse::<IpNet>() {
        return network.contains(&address);
    }
    if let Ok(own) = pattern.parse::<IpAddr>() {
        return own.to_canonical() == address;
    }
    // `10.*` and `10.*.*.*`.
    let start = pattern.trim_end_matches(".*");
    start.len() < pattern.len()
        && address
            .to_string()
            .strip_prefix(start)
            .is_some_and(|rest| rest.starts_with('.'))
}

fn matches_name(pattern: &str, name: &str) -> bool {
    let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
    if let Some(end) = pattern.strip_prefix('*')
        && name.ends_with(end)
    {
        return true;
    }
    let domain = pattern.trim_start_matches(['*', '.']);
    name.strip_suffix(domain)
        .is_some_and(|rest| !domain.is_empty() && (rest.is_empty() || rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b28_no_proxy_takes_the_forms_of_curl_go_and_python() {
        const API: (&str, u16) = ("api.layerfi.com", 443);
        for (list, (host, port), exempt) in [
            ("", API, false),
            (" , ;", API, false),
            ("*", API, true),
            ("layerfi.com", API, true),
            ("api.layerfi.com", API, true),
            ("API.Layerfi.COM", API, true),
            (".layerfi.com", API, true),
            (".api.layerfi.com", API, true),
            ("*.layerfi.com", API, true),
            ("*.api.layerfi.com", API, true),
            ("*layerfi.com", API, true),
            ("layerfi.com.", API, true),
            ("layerfi.com", ("api.layerfi.com.", 443), true),
            ("com", API, true),
            ("fi.com", API, false),
            ("i.layerfi.com", API, false),
            ("x.api.layerfi.com", API, false),
            ("api.layerfi.co", API, false),
            (".", API, false),
            // A port.
            ("api.layerfi.com:443", API, true),
            (".layerfi.com:443", API, true),
            ("*:443", API, true),
            ("api.layerfi.com:8443", API, false),
            ("api.layerfi.com:x", API, false),
            ("api.layerfi.com:99999", API, false),
            // Separators.
            ("a,b,layerfi.com", API, true),
            ("a, b, layerfi.com", API, true),
            ("a b layerfi.com", API, true),
            ("a;b;layerfi.com", API, true),
            ("a\t;\n layerfi.com ,", API, true),
            ("a b c", API, false),
            // Addresses and networks.
            ("10.1.2.3", ("10.1.2.3", 443), true),
            ("10.1.2.3:443", ("10.1.2.3", 443), true),
            ("10.1.2.3:80", ("10.1.2.3", 443), false),
            ("10.1.2.30", ("10.1.2.3", 443), false),
            ("10.0.0.0/8", ("10.1.2.3", 443), true),
            ("10.9.9.9/8", ("10.1.2.3", 443), true),
            ("10.0.0.0/8:443", ("10.1.2.3", 443), true),
            ("11.0.0.0/8", ("10.1.2.3", 443), false),
            ("10.0.0.0/33", ("10.1.2.3", 443), false),
            ("10.*", ("10.1.2.3", 443), true),
            ("10.1.*", ("10.1.2.3", 443), true),
            ("10.*.*.*", ("10.1.2.3", 443), true),
            ("10.1.*:443", ("10.1.2.3", 443), true),
            ("1.*", ("10.1.2.3", 443), false),
            ("10.2.*", ("10.1.2.3", 443), false),
            ("*", ("10.1.2.3", 443), true),
            ("3", ("10.1.2.3", 443), false),
            ("10.0.0.0/8", ("10.layerfi.com", 443), false),
            ("fd00::1", ("[fd00::1]", 443), true),
            ("[fd00::1]", ("[fd00::1]", 443), true),
            ("[fd00::1]:443", ("[fd00::1]", 443), true),
            ("[fd00::1]:80", ("[fd00::1]", 443), false),
            ("FD00:0::1", ("[fd00::1]", 443), true),
            ("fd00::/8", ("[fd00::1]", 443), true),
            ("fe00::/8", ("[fd00::1]", 443), false),
            ("::ffff:10.1.2.3", ("10.1.2.3", 443), true),
            ("10.0.0.0/8", ("[::ffff:10.1.2.3]", 443), true),
        ] {
            assert_eq!(
                exempts(list, host, port),
                exempt,
                "NO_PROXY={list:?} for {host} port {port}"
            );
        }
    }
}
