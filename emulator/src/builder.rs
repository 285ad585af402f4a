//! What an emulator can be told before it starts.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;

use crate::clients::{BasicDecoding, Client, Clients};
use crate::emulator::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator};
use crate::environment::Environment;
use crate::error::EmulatorError;
use crate::random::parse_uuid;
use crate::server;
use crate::state::{Fixed, Settings, State, seconds};
use crate::thread;
use crate::tls::{Authority, HttpVersions, TlsTrouble, TlsVersions};
use crate::tokens::TokenKind;

/// Builds an [`Emulator`]. Every setting has a default; see each method.
#[derive(Clone)]
#[must_use]
pub struct EmulatorBuilder {
    address: IpAddr,
    api_address: Option<IpAddr>,
    port: u16,
    control_port: u16,
    environment: Environment,
    scope: Option<String>,
    clients: Vec<(String, String, bool)>,
    businesses: Option<Vec<String>>,
    basic_decoding: BasicDecoding,
    invalid_client_status: u16,
    access_token_lifetime: Duration,
    business_token_lifetime: Option<Duration>,
    access_expires_in: Option<Value>,
    business_expires_in: Option<Value>,
    /// The outer `None`: as the environment has it.
    rate_limit: Option<Option<u32>>,
    tls: bool,
    authority_key: Option<String>,
    tls_trouble: Option<TlsTrouble>,
    tls_versions: TlsVersions,
    http_versions: HttpVersions,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            api_address: None,
            port: 0,
            control_port: 0,
            environment: Environment::default(),
            scope: None,
            clients: Vec::new(),
            businesses: None,
            basic_decoding: BasicDecoding::default(),
            invalid_client_status: 400,
            access_token_lifetime: Duration::from_secs(3_600),
            business_token_lifetime: None,
            access_expires_in: None,
            business_expires_in: None,
            rate_limit: None,
            tls: false,
            authority_key: None,
            tls_trouble: None,
            tls_versions: TlsVersions::default(),
            http_versions: HttpVersions::default(),
        }
    }
}

impl std::fmt::Debug for EmulatorBuilder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("EmulatorBuilder")
            .field("port", &self.port)
            .field("environment", &self.environment)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl EmulatorBuilder {
    /// The address of both listeners; `127.0.0.1` by default. Anything but a
    /// loopback address is refused at start; see
    /// [`api_address`](Self::api_address).
    pub const fn bind_address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// The address of the token endpoint and the API alone, which may be
    /// another than loopback: for clients in a network namespace, a container
    /// or a machine of their own. The control API stays where it is.
    ///
    /// What others can reach must not open with a public secret, nor carry one
    /// in clear: without a [`client`](Self::client) of your own and
    /// [`tls`](Self::tls) it is refused at start. The certificate names it.
    pub const fn api_address(mut self, address: IpAddr) -> Self {
        self.api_address = Some(address);
        self
    }

    /// The port of the token endpoint and the API; 0, any free one, by default.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The port of the control API; 0, any free one, by default.
    pub const fn control_port(mut self, port: u16) -> Self {
        self.control_port = port;
        self
    }

    /// Which Layer to play; the sandbox by default. Sets scope and rate limit.
    pub const fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The scope that the token endpoint accepts, if not the environment's.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// A client that may ask for tokens. May be called for several. Without
    /// any there is one, [`DEFAULT_CLIENT_ID`] with [`DEFAULT_CLIENT_SECRET`].
    pub fn client(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.clients.push((id.into(), secret.into(), true));
        self
    }

    /// A client whose credentials are good, but which may not use the client
    /// credentials grant: it gets `unauthorized_client`.
    pub fn unauthorized_client(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.clients.push((id.into(), secret.into(), false));
        self
    }

    /// A business of the clients'. May be called for several. Without any,
    /// every UUID is a business of theirs; with some, all others are 404.
    pub fn business(mut self, id: impl Into<String>) -> Self {
        self.businesses.get_or_insert_default().push(id.into());
        self
    }

    /// How Basic headers are read; raw by default, as Layer does.
    pub const fn basic_decoding(mut self, decoding: BasicDecoding) -> Self {
        self.basic_decoding = decoding;
        self
    }

    /// The status of `invalid_client`: 400, as Cognito answers, by default; 401
    /// is what RFC 6749 asks for and other servers send.
    pub const fn invalid_client_status(mut self, status: u16) -> Self {
        self.invalid_client_status = status;
        self
    }

    /// How long access tokens live; an hour by default. Whole seconds count.
    pub const fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = lifetime;
        self
    }

    /// How long business tokens live, whatever session duration is asked for;
    /// by default as long as that. Whole seconds count.
    pub const fn business_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.business_token_lifetime = Some(lifetime);
        self
    }

    /// What answers say in `expires_in`, in place of the true lifetime.
    pub fn expires_in(mut self, kind: TokenKind, claim: impl Into<Value>) -> Self {
        match kind {
            TokenKind::Access => self.access_expires_in = Some(claim.into()),
            TokenKind::Business => self.business_expires_in = Some(claim.into()),
        }
        self
    }

    /// Requests a second that one client may make of the API, if not as many
    /// as the environment's; `None` is no limit.
    pub const fn rate_limit(mut self, per_second: Option<u32>) -> Self {
        self.rate_limit = Some(per_second);
        self
    }

    /// Speaks HTTPS, under a certificate authority made at start:
    /// [`Emulator::ca_pem`] gives its certificate. Plain HTTP by default.
    pub const fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Speaks HTTPS, under an authority with this private key, PKCS#8 in PEM:
    /// an emulator that is started again with it is trusted by whoever trusted
    /// the one before.
    pub fn authority_key(mut self, pem: impl Into<String>) -> Self {
        self.tls = true;
        self.authority_key = Some(pem.into());
        self
    }

    /// Speaks HTTPS, and does something about it wrong.
    pub const fn tls_trouble(mut self, trouble: TlsTrouble) -> Self {
        self.tls = true;
        self.tls_trouble = Some(trouble);
        self
    }

    /// Which versions of TLS to offer; 1.2 and 1.3 by default.
    pub const fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.tls_versions = versions;
        self
    }

    /// Which versions of HTTP to speak; 1.1 and 2 by default.
    pub const fn http_versions(mut self, versions: HttpVersions) -> Self {
        self.http_versions = versions;
        self
    }

    /// Starts the emulator on a thread and a runtime of its own, so that it
    /// answers whatever the caller's does.
    ///
    /// When it returns, both ports accept connections. It is `async` for
    /// callers' comfort and never waits on their runtime.
    ///
    /// # Errors
    ///
    /// [`EmulatorError`], if a setting makes no sense, the address is not
    /// loopback, or a port, key or thread cannot be had.
    #[allow(
        clippy::unused_async,
        reason = "so that waiting inside it later is no change of API"
    )]
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        self.start_blocking()
    }

    /// [`start`](Self::start), for callers that are not `async`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_blocking(self) -> Result<Emulator, EmulatorError> {
        let fixed = self.fixed()?;
        let clients = self.clients()?;
        let api = match self.api_address {
            Some(address) if !address.is_loopback() => {
                if self.clients.is_empty() || !self.tls {
                    return Err(EmulatorError::NotLoopback(address));
                }
                server::bind_anywhere(address, self.port)?
            }
            address => server::bind(address.unwrap_or(self.address), self.port)?,
        };
        let control = server::bind(self.address, self.control_port)?;
        let authority = if self.tls {
            let key = self.authority_key.as_deref();
            Some(Authority::new(key, self.api_address)?)
        } else {
            None
        };
        let state = State::new(fixed, clients, authority)?;
        thread::start(state, api, control)
    }

    fn fixed(&self) -> Result<Fixed, EmulatorError> {
        if !matches!(self.invalid_client_status, 400 | 401) {
            let text = "invalid_client_status is 400 or 401".to_owned();
            return Err(EmulatorError::Invalid(text));
        }
        let mut businesses = None;
        for id in self.businesses.iter().flatten() {
            let business = parse_uuid(id)
                .ok_or_else(|| EmulatorError::Invalid(format!("business {id:?} is not a UUID")))?;
            businesses.get_or_insert_with(HashSet::new).insert(business);
        }
        let environment = self.environment;
        let rate_limit = self
            .rate_limit
            .unwrap_or(Some(environment.requests_per_second()));
        Ok(Fixed {
            environment,
            scope: self
                .scope
                .clone()
                .unwrap_or_else(|| environment.scope().to_owned()),
            basic_decoding: self.basic_decoding,
            invalid_client_status: self.invalid_client_status,
            businesses,
            http_versions: self.http_versions,
            tls_versions: self.tls_versions,
            tls_trouble: self.tls_trouble,
            settings: Settings {
                access_token_lifetime: seconds(self.access_token_lifetime),
                business_token_lifetime: self.business_token_lifetime.map(seconds),
                access_expires_in: self.access_expires_in.clone(),
                business_expires_in: self.business_expires_in.clone(),
                rate_limit,
            },
        })
    }

    fn clients(&self) -> Result<Clients, EmulatorError> {
        let default = [(
            DEFAULT_CLIENT_ID.to_owned(),
            DEFAULT_CLIENT_SECRET.to_owned(),
            true,
        )];
        let given = if self.clients.is_empty() {
            &default[..]
        } else {
            &self.clients
        };
        let mut clients = HashMap::new();
        for (id, secret, may_ask) in given {
            if id.is_empty() {
                return Err(EmulatorError::Invalid("a client id is empty".to_owned()));
            }
            let client = Client {
                secret: secret.clone(),
                former: None,
                may_ask: *may_ask,
            };
            if clients.insert(id.clone(), client).is_some() {
                return Err(EmulatorError::Invalid(format!(
                    "client {id:?} is given twice"
                )));
            }
        }
        Ok(Clients::new(clients))
    }
}
