//! OAuth clients and their secrets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use crate::defaults::DEFAULT_CLIENT_SECRET;
use crate::error::EmulatorError;
use crate::lock::lock;

/// One client. `Debug` does not show its secrets.
#[derive(Clone)]
pub(crate) struct Client {
    secret: String,
    /// The secret before the last rotation, if it is still accepted.
    old_secret: Option<String>,
    /// Whether it may use the client credentials grant.
    pub(crate) may_use_grant: bool,
}

impl Client {
    pub(crate) const fn new(secret: String, may_use_grant: bool) -> Self {
        Self {
            secret,
            old_secret: None,
            may_use_grant,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("may_use_grant", &self.may_use_grant)
            .finish_non_exhaustive()
    }
}

/// All clients by id. The ids never change; the secrets can be rotated.
#[derive(Debug)]
pub(crate) struct Clients {
    initial: HashMap<String, Client>,
    current: Mutex<HashMap<String, Client>>,
}

impl Clients {
    pub(crate) fn new(clients: HashMap<String, Client>) -> Self {
        Self {
            current: Mutex::new(clients.clone()),
            initial: clients,
        }
    }

    /// All ids, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.initial.keys().cloned().collect();
        ids.sort();
        ids
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.initial.contains_key(id)
    }

    /// The client, if id and secret are correct.
    pub(crate) fn authenticate(&self, id: &str, secret: &str) -> Option<Client> {
        let clients = lock(&self.current);
        let client = clients.get(id)?;
        let correct = client.secret == secret || client.old_secret.as_deref() == Some(secret);
        correct.then(|| client.clone())
    }

    /// The current secret.
    pub(crate) fn secret(&self, id: &str) -> Option<String> {
        lock(&self.current)
            .get(id)
            .map(|client| client.secret.clone())
    }

    /// The current secret, if it is public or was set by a rotation: not one that
    /// the emulator was started with, which may be a real one.
    pub(crate) fn known_secret(&self, id: &str) -> Option<String> {
        let secret = self.secret(id)?;
        let given = self
            .initial
            .get(id)
            .is_some_and(|client| client.secret == secret);
        (!given || secret == DEFAULT_CLIENT_SECRET).then_some(secret)
    }

    /// Sets a new secret. The current one is still accepted if `keep_old`.
    pub(crate) fn rotate(
        &self,
        id: &str,
        secret: &str,
        keep_old: bool,
    ) -> Result<(), EmulatorError> {
        let mut clients = lock(&self.current);
        let client = clients.get_mut(id).ok_or(EmulatorError::UnknownClient)?;
        let old_secret = std::mem::replace(&mut client.secret, secret.to_owned());
        client.old_secret = keep_old.then_some(old_secret);
        Ok(())
    }

    pub(crate) fn reset(&self) {
        lock(&self.current).clone_from(&self.initial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_refuses_the_old_secret_unless_it_is_kept() {
        let client = Client::new("old".to_owned(), true);
        let clients = Clients::new(HashMap::from([("id".to_owned(), client)]));
        let accepted = |secret| clients.authenticate("id", secret).is_some();
        clients.rotate("id", "new", false).unwrap();
        assert!(!accepted("old"), "the old secret must be refused");
        assert!(accepted("new"), "the new secret must be accepted");
        clients.rotate("id", "newer", true).unwrap();
        assert!(accepted("new"), "the kept secret must be accepted");
        assert!(
            clients.rotate("unknown-client", "x", false).is_err(),
            "an unknown client must be an error"
        );
        clients.reset();
        assert!(accepted("old"), "a reset must restore the first secret");
        assert!(
            !format!("{clients:?}").contains("old"),
            "Debug must not show a secret"
        );
    }
}
