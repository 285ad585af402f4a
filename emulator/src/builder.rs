//! [`EmulatorBuilder`]: settings and start of an emulator.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::defaults::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET};
use crate::emulator::Emulator;
use crate::environment::Environment;
use crate::error::EmulatorError;
use crate::ids::parse_uuid;
use crate::server::listener;
use crate::state::basic_auth::BasicDecoding;
use crate::state::clients::{Client, Clients};
use crate::state::settings::{Config, ProxyCredentials, Settings, whole_millis, whole_seconds};
use crate::state::shared::State;
use crate::state::tls::Tls;
use crate::state::tokens::TokenKind;
use crate::thread::{self, Listeners};
use crate::tls::authority::Authority;
use crate::tls::authority_file;
use crate::tls::options::{HttpVersions, TlsTrouble, TlsVersions};

/// Builds an [`Emulator`]. Every setting has a default, described at its method.
#[derive(Clone)]
#[must_use]
pub struct EmulatorBuilder {
    address: IpAddr,
    api_address: Option<IpAddr>,
    port: u16,
    control_port: u16,
    /// `None`: no proxy.
    proxy_port: Option<u16>,
    proxy_tls: bool,
    proxy_credentials: Option<ProxyCredentials>,
    names: Vec<String>,
    environment: Environment,
    scope: Option<String>,
    clients: Vec<(String, Client)>,
    businesses: Option<Vec<String>>,
    basic_decoding: BasicDecoding,
    invalid_client_status: u16,
    access_token_lifetime: Duration,
    business_token_lifetime: Option<Duration>,
    access_expires_in: Option<Value>,
    business_expires_in: Option<Value>,
    /// The outer `None`: the limit of the environment.
    rate_limit: Option<Option<u32>>,
    demo_data: bool,
    console: bool,
    idle_timeout: Option<Duration>,
    requests_per_connection: Option<u32>,
    tls: bool,
    authority_key: Option<String>,
    authority_file: Option<PathBuf>,
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
            proxy_port: None,
            proxy_tls: false,
            proxy_credentials: None,
            names: Vec::new(),
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
            demo_data: false,
            console: true,
            idle_timeout: None,
            requests_per_connection: None,
            tls: false,
            authority_key: None,
            authority_file: None,
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

impl Emulator {
    /// A builder with default settings.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }
}

impl EmulatorBuilder {
    /// The address of all listeners; `127.0.0.1` by default. The start fails if
    /// it is not a loopback address. See also
    /// [`api_address`](Self::api_address).
    pub const fn bind_address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// The address of the token endpoint and the API only. It does not have to
    /// be loopback, so clients can run in another network namespace, container
    /// or machine. The control API keeps its address.
    ///
    /// If the address is not loopback, the start fails without
    /// [`tls`](Self::tls) and a [`client`](Self::client), because the default
    /// secret is public. The certificate is valid for this address.
    pub const fn api_address(mut self, address: IpAddr) -> Self {
        self.api_address = Some(address);
        self
    }

    /// The port of the token endpoint and the API; by default 0, any free port.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The port of the control API; by default 0, any free port.
    pub const fn control_port(mut self, port: u16) -> Self {
        self.control_port = port;
        self
    }

    /// Starts an HTTP forward proxy on any free port;
    /// [`Emulator::proxy_url`] is its URL. No proxy by default.
    ///
    /// Every `CONNECT` leads to the emulator, whatever its host and port are, so a
    /// client can use host names that do not resolve. With [`tls`](Self::tls), set
    /// these names with [`name`](Self::name). Requests with an absolute `http://`
    /// URL are answered by the emulator if it runs over plain HTTP.
    pub const fn proxy(self) -> Self {
        self.proxy_port(0)
    }

    /// Starts the [`proxy`](Self::proxy) on this port.
    pub const fn proxy_port(mut self, port: u16) -> Self {
        self.proxy_port = Some(port);
        self
    }

    /// The user and the password that the [`proxy`](Self::proxy) requires, as Basic
    /// credentials. Without them it answers 407. By default it requires none.
    pub fn proxy_credentials(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.proxy_port.get_or_insert(0);
        self.proxy_credentials = Some(ProxyCredentials {
            user: user.into(),
            password: password.into(),
        });
        self
    }

    /// Lets clients reach the [`proxy`](Self::proxy) over TLS, with the emulator's
    /// certificate. Its URL begins with `https://`. Turns [`tls`](Self::tls) on.
    pub fn proxy_tls(mut self) -> Self {
        self.proxy_port.get_or_insert(0);
        self.proxy_tls = true;
        self.tls = true;
        self
    }

    /// Adds a host name for which the certificate is valid, such as
    /// `auth.layerfi.test`. It is always valid for `localhost`, `127.0.0.1` and
    /// `::1`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// The Layer environment to imitate; sandbox by default. Sets the scope and
    /// the rate limit.
    pub const fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The scope that the token endpoint accepts; by default the environment's.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Adds a client that may request tokens. Without any client there is one,
    /// [`DEFAULT_CLIENT_ID`] with [`DEFAULT_CLIENT_SECRET`].
    pub fn client(self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.add_client(id.into(), secret.into(), true)
    }

    /// Adds a client with valid credentials that may not use the client
    /// credentials grant: it gets `unauthorized_client`.
    pub fn unauthorized_client(self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.add_client(id.into(), secret.into(), false)
    }

    fn add_client(mut self, id: String, secret: String, may_use_grant: bool) -> Self {
        self.clients.push((id, Client::new(secret, may_use_grant)));
        self
    }

    /// Adds a business. By default every UUID is a business of all clients; if
    /// businesses are added, all others give 404.
    pub fn business(mut self, id: impl Into<String>) -> Self {
        self.businesses.get_or_insert_default().push(id.into());
        self
    }

    /// Decoding of Basic headers; by default none, as Layer documents.
    pub const fn basic_decoding(mut self, decoding: BasicDecoding) -> Self {
        self.basic_decoding = decoding;
        self
    }

    /// The status of `invalid_client`: by default 400, as Cognito sends, or 401
    /// as RFC 6749 requires.
    pub const fn invalid_client_status(mut self, status: u16) -> Self {
        self.invalid_client_status = status;
        self
    }

    /// The lifetime of access tokens in whole seconds; one hour by default.
    pub const fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = lifetime;
        self
    }

    /// The lifetime of business tokens in whole seconds; by default the session
    /// duration of the request.
    pub const fn business_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.business_token_lifetime = Some(lifetime);
        self
    }

    /// The `expires_in` of responses; by default the real lifetime.
    pub fn expires_in(mut self, kind: TokenKind, value: impl Into<Value>) -> Self {
        match kind {
            TokenKind::Access => self.access_expires_in = Some(value.into()),
            TokenKind::Business => self.business_expires_in = Some(value.into()),
        }
        self
    }

    /// The API requests per second that one client may make; `None`: no limit.
    /// By default the environment's limit.
    pub const fn rate_limit(mut self, per_second: Option<u32>) -> Self {
        self.rate_limit = Some(per_second);
        self
    }

    /// Whether the resources of a business contain demo data: twelve months of
    /// books, 40 bank transactions, two linked accounts. The data is made from
    /// the business id and the emulator's day. By default there is no data.
    pub const fn demo_data(mut self, demo_data: bool) -> Self {
        self.demo_data = demo_data;
        self
    }

    /// Whether the address of the control API shows the console, a page for a
    /// browser; by default it does.
    pub const fn console(mut self, console: bool) -> Self {
        self.console = console;
        self
    }

    /// Closes connections that were idle for this time, in whole milliseconds of real
    /// time. By default they stay open.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Ends each connection after this many requests, announced with
    /// `Connection: close` or `GOAWAY`; at least 1. By default there is no limit.
    pub const fn requests_per_connection(mut self, requests: u32) -> Self {
        self.requests_per_connection = Some(requests);
        self
    }

    /// Uses HTTPS with a certificate authority made at start, whose certificate
    /// [`Emulator::ca_pem`] returns. Plain HTTP by default.
    pub const fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Uses HTTPS with a certificate authority of this private key (PKCS#8 in
    /// PEM). A client that trusts the authority also trusts it after a restart
    /// with the same key.
    pub fn authority_key(mut self, pem: impl Into<String>) -> Self {
        self.tls = true;
        self.authority_key = Some(pem.into());
        self
    }

    /// Uses HTTPS with the certificate authority of this file, so that a browser has
    /// to trust it only once. If the file does not exist, the start makes it with
    /// a new key and its certificate, readable only by its owner.
    ///
    /// The certificate is valid for ten years, and only for the hosts of this
    /// emulator: `localhost`, `127.0.0.1`, `::1`, the [`name`](Self::name)s and the
    /// [`api_address`](Self::api_address). A later start with another name fails.
    pub fn authority_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls = true;
        self.authority_file = Some(path.into());
        self
    }

    /// Uses HTTPS with a defect.
    pub const fn tls_trouble(mut self, trouble: TlsTrouble) -> Self {
        self.tls = true;
        self.tls_trouble = Some(trouble);
        self
    }

    /// The TLS versions to offer; 1.2 and 1.3 by default.
    pub const fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.tls_versions = versions;
        self
    }

    /// The HTTP versions to support; 1.1 and 2 by default.
    pub const fn http_versions(mut self, versions: HttpVersions) -> Self {
        self.http_versions = versions;
        self
    }

    /// Starts the emulator on its own thread and runtime, so that it works while
    /// the caller's runtime is blocked.
    ///
    /// When it returns, all ports accept connections. It never waits for the
    /// caller's runtime.
    ///
    /// # Errors
    ///
    /// [`EmulatorError`], if a setting is not valid, the address is not
    /// loopback, the port is in use, or the key or thread cannot be made.
    #[allow(
        clippy::unused_async,
        reason = "a later version may wait without a change of the API"
    )]
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        self.start_blocking()
    }

    /// Same as [`start`](Self::start), for callers that are not async.
    ///
    /// # Errors
    ///
    /// Same as [`start`](Self::start).
    pub fn start_blocking(self) -> Result<Emulator, EmulatorError> {
        let config = self.config()?;
        let clients = self.clients()?;
        let api = match self.api_address {
            Some(address) if !address.is_loopback() => {
                if self.clients.is_empty() || !self.tls {
                    return Err(EmulatorError::NotLoopback(address));
                }
                listener::bind_any(address, self.port)?
            }
            address => listener::bind(address.unwrap_or(self.address), self.port)?,
        };
        let control = listener::bind(self.address, self.control_port)?;
        let proxy = self
            .proxy_port
            .map(|port| listener::bind(self.address, port))
            .transpose()?;
        let state = Arc::new(State::new(config, clients, self.tls_state()?)?);
        let listeners = Listeners {
            api,
            control,
            proxy,
        };
        let (addresses, thread) = thread::start(Arc::clone(&state), listeners)?;
        Ok(Emulator::new(state, addresses, thread))
    }

    fn tls_state(&self) -> Result<Option<Tls>, EmulatorError> {
        if !self.tls {
            return Ok(None);
        }
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        names.extend(self.api_address.map(|address| address.to_string()));
        names.extend_from_slice(&self.names);
        let authority = match (&self.authority_file, &self.authority_key) {
            (Some(_), Some(_)) => {
                return Err(EmulatorError::Invalid(
                    "authority_file and authority_key must not be set both".to_owned(),
                ));
            }
            (Some(path), None) => authority_file::load_or_create(path, names)?,
            (None, key) => Authority::new(key.as_deref(), names)?,
        };
        Tls::new(
            authority,
            self.tls_trouble,
            self.tls_versions,
            self.http_versions,
        )
        .map(Some)
    }

    fn config(&self) -> Result<Config, EmulatorError> {
        if !matches!(self.invalid_client_status, 400 | 401) {
            return Err(EmulatorError::Invalid(format!(
                "invalid_client_status must be 400 or 401, got {}",
                self.invalid_client_status
            )));
        }
        if self.requests_per_connection == Some(0) {
            return Err(EmulatorError::Invalid(
                "requests_per_connection must be at least 1, got 0".to_owned(),
            ));
        }
        let mut businesses = None;
        for id in self.businesses.iter().flatten() {
            let business = parse_uuid(id).ok_or_else(|| {
                EmulatorError::Invalid(format!("business must be a UUID, got {id:?}"))
            })?;
            businesses.get_or_insert_with(HashSet::new).insert(business);
        }
        let environment = self.environment;
        let rate_limit = self
            .rate_limit
            .unwrap_or(Some(environment.requests_per_second()));
        Ok(Config {
            environment,
            scope: self
                .scope
                .clone()
                .unwrap_or_else(|| environment.scope().to_owned()),
            basic_decoding: self.basic_decoding,
            invalid_client_status: self.invalid_client_status,
            businesses,
            http_versions: self.http_versions,
            console: self.console,
            proxy_tls: self.proxy_tls,
            settings: Settings {
                access_token_lifetime: whole_seconds(self.access_token_lifetime),
                business_token_lifetime: self.business_token_lifetime.map(whole_seconds),
                access_expires_in: self.access_expires_in.clone(),
                business_expires_in: self.business_expires_in.clone(),
                rate_limit,
                demo_data: self.demo_data,
                idle_timeout_ms: self.idle_timeout.map(whole_millis),
                requests_per_connection: self.requests_per_connection,
                proxy_credentials: self.proxy_credentials.clone(),
            },
        })
    }

    fn clients(&self) -> Result<Clients, EmulatorError> {
        let mut clients = HashMap::new();
        for (id, client) in &self.clients {
            if id.is_empty() {
                return Err(EmulatorError::Invalid(
                    "client id must not be empty".to_owned(),
                ));
            }
            if clients.insert(id.clone(), client.clone()).is_some() {
                return Err(EmulatorError::Invalid(format!(
                    "client id {id:?} is set twice"
                )));
            }
        }
        if clients.is_empty() {
            let client = Client::new(DEFAULT_CLIENT_SECRET.to_owned(), true);
            clients.insert(DEFAULT_CLIENT_ID.to_owned(), client);
        }
        Ok(Clients::new(clients))
    }
}
