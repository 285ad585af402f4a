//! Identity of the credentials.

/// Identity of the credentials, as `GET /whoami` returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhoAmI {
    /// Name of the client, as Layer knows it.
    pub client_name: String,
    /// Id of the client, a UUID.
    pub client_id: String,
}

impl WhoAmI {
    /// Creates an identity from its parts, for bindings and tests.
    pub fn new(client_name: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            client_name: client_name.into(),
            client_id: client_id.into(),
        }
    }
}
