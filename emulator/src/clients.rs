//! The clients that may ask for tokens, and the Basic header that they send.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::EmulatorError;
use crate::sync::lock;

/// How the emulator reads the user and password of a Basic header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasicDecoding {
    /// As they are, which is what `curl -u` sends and Layer documents.
    #[default]
    Raw,
    /// Form-decoded first, as RFC 6749 section 2.3.1 says.
    Form,
}

/// One client's standing. Its secrets stay out of `Debug`.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) secret: String,
    /// A secret from before a rotation that is still let in.
    pub(crate) former: Option<String>,
    /// Whether it may use the client credentials grant.
    pub(crate) may_ask: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("may_ask", &self.may_ask)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Clients {
    at_start: HashMap<String, Client>,
    now: Mutex<HashMap<String, Client>>,
}

impl Clients {
    pub(crate) fn new(clients: HashMap<String, Client>) -> Self {
        Self {
            now: Mutex::new(clients.clone()),
            at_start: clients,
        }
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.at_start.keys().cloned().collect();
        ids.sort();
        ids
    }

    /// The client, if this id and secret are good.
    pub(crate) fn authenticate(&self, id: &str, secret: &str) -> Option<Client> {
        let clients = lock(&self.now);
        let client = clients.get(id)?;
        let known = client.secret == secret || client.former.as_deref() == Some(secret);
        known.then(|| client.clone())
    }

    pub(crate) fn rotate(&self, id: &str, secret: &str, keep: bool) -> Result<(), EmulatorError> {
        let mut clients = lock(&self.now);
        let client = clients.get_mut(id).ok_or(EmulatorError::UnknownClient)?;
        let former = std::mem::replace(&mut client.secret, secret.to_owned());
        client.former = keep.then_some(former);
        Ok(())
    }

    pub(crate) fn reset(&self) {
        lock(&self.now).clone_from(&self.at_start);
    }
}

/// The id and secret of a Basic header's value.
pub(crate) fn basic(authorization: &str, decoding: BasicDecoding) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some(match decoding {
        BasicDecoding::Raw => (id.to_owned(), secret.to_owned()),
        BasicDecoding::Form => (form_decode(id), form_decode(secret)),
    })
}

fn form_decode(text: &str) -> String {
    // As a form's only key: `=` and `&` cannot stand unescaped in an encoded
    // value, and where they do, what was sent was not form-encoded.
    form_urlencoded::parse(text.replace('=', "%3D").replace('&', "%26").as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn raw_and_form_part_ways_on_punctuation_only() {
        for (pair, raw, form) in [
            ("id:secret", ("id", "secret"), ("id", "secret")),
            ("id:a%2Bb+c", ("id", "a%2Bb+c"), ("id", "a+b c")),
            ("i%3Ad:s", ("i%3Ad", "s"), ("i:d", "s")),
            ("id:a:b=c&d", ("id", "a:b=c&d"), ("id", "a:b=c&d")),
            (":", ("", ""), ("", "")),
        ] {
            let owned = |(id, secret): (&str, &str)| Some((id.to_owned(), secret.to_owned()));
            assert_eq!(
                basic(&header(pair), BasicDecoding::Raw),
                owned(raw),
                "{pair}"
            );
            assert_eq!(
                basic(&header(pair), BasicDecoding::Form),
                owned(form),
                "{pair}"
            );
        }
    }

    #[test]
    fn other_headers_are_no_credentials() {
        for bad in [
            "",
            "Basic",
            "Basic !",
            "Bearer aWQ6cw==",
            &header("no colon"),
        ] {
            assert_eq!(basic(bad, BasicDecoding::Raw), None, "{bad}");
        }
        assert!(basic("bAsIc aWQ6cw==", BasicDecoding::Raw).is_some());
    }

    #[test]
    fn rotation_refuses_or_keeps_the_old_secret() {
        let client = Client {
            secret: "old".into(),
            former: None,
            may_ask: true,
        };
        let clients = Clients::new(HashMap::from([("id".to_owned(), client)]));
        clients.rotate("id", "new", false).unwrap();
        assert!(clients.authenticate("id", "old").is_none());
        assert!(clients.authenticate("id", "new").is_some());
        clients.rotate("id", "newer", true).unwrap();
        assert!(clients.authenticate("id", "new").is_some());
        assert!(clients.rotate("nobody", "x", false).is_err());
        clients.reset();
        assert!(clients.authenticate("id", "old").is_some());
        assert!(!format!("{clients:?}").contains("old"));
    }
}
