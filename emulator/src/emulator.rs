//! [`Emulator`]: handle of a running emulator.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::environment::Environment;
use crate::error::EmulatorError;
use crate::fault::definition::Fault;
use crate::fault::queue::FaultStatus;
use crate::server::addresses::Addresses;
use crate::state::clock::millis;
use crate::state::connections::ConnectionAction;
use crate::state::counters::Counters;
use crate::state::issued::IssuedToken;
use crate::state::log::{LogEntry, MAX_ENTRIES};
use crate::state::settings::{ProxyCredentials, whole_millis, whole_seconds};
use crate::state::shared::State;
use crate::state::tokens::TokenKind;
use crate::thread::Thread;
use crate::tls::options::TlsTrouble;

/// A running emulator.
///
/// All methods take `&self` and can be called from any thread. Only
/// [`wait_until`](Self::wait_until) and `drop` block. Dropping stops the
/// emulator: when `drop` returns, its connections are closed and its ports are
/// free.
pub struct Emulator {
    state: Arc<State>,
    addresses: Addresses,
    thread: Thread,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Emulator")
            .field("url", &self.url())
            .field("control_url", &self.control_url())
            .finish_non_exhaustive()
    }
}

impl Emulator {
    pub(crate) const fn new(state: Arc<State>, addresses: Addresses, thread: Thread) -> Self {
        Self {
            state,
            addresses,
            thread,
        }
    }

    /// The base URL of the API, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.addresses.api_url()
    }

    /// The URL of the token endpoint.
    #[must_use]
    pub fn token_url(&self) -> String {
        self.addresses.token_url()
    }

    /// The base URL of the control API, without a slash at its end.
    #[must_use]
    pub fn control_url(&self) -> String {
        self.addresses.control_url()
    }

    /// The URL of the console, a page for a browser; `None` without a console.
    #[must_use]
    pub fn console_url(&self) -> Option<String> {
        let on = self.state.config.console;
        on.then(|| format!("{}/", self.control_url()))
    }

    /// The URL of the proxy, without credentials; `None` without a proxy.
    #[must_use]
    pub fn proxy_url(&self) -> Option<String> {
        self.addresses.proxy_url()
    }

    /// The address of the token endpoint and the API.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.addresses.api
    }

    /// The address of the control API.
    #[must_use]
    pub const fn control_address(&self) -> SocketAddr {
        self.addresses.control
    }

    /// The address of the proxy; `None` without a proxy.
    #[must_use]
    pub const fn proxy_address(&self) -> Option<SocketAddr> {
        self.addresses.proxy
    }

    /// The Layer environment that it imitates.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.state.config.environment
    }

    /// The scope that the token endpoint accepts.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.state.config.scope
    }

    /// The ids of all clients, sorted.
    #[must_use]
    pub fn client_ids(&self) -> Vec<String> {
        self.state.clients.ids()
    }

    /// The current secret of a client, also after a rotation over the control API.
    /// `None` if the client is unknown.
    #[must_use]
    pub fn client_secret(&self, client_id: &str) -> Option<String> {
        self.state.clients.secret(client_id)
    }

    /// The certificate of the authority in PEM; `None` without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        self.state.ca_pem()
    }

    /// Writes [`ca_pem`](Self::ca_pem) to a file.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`] without TLS; [`EmulatorError::Write`] if the
    /// file cannot be written.
    pub fn write_ca_pem(&self, path: impl AsRef<Path>) -> Result<(), EmulatorError> {
        let pem = self.ca_pem().ok_or_else(|| {
            EmulatorError::Invalid(
                "the emulator runs over plain HTTP and has no certificate; start it with TLS"
                    .to_owned(),
            )
        })?;
        std::fs::write(path, pem).map_err(EmulatorError::Write)
    }

    /// Sets a TLS defect for the next handshakes; `None` removes it.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`] without TLS.
    pub fn set_tls_trouble(&self, trouble: Option<TlsTrouble>) -> Result<(), EmulatorError> {
        self.state.set_tls_trouble(trouble)
    }

    /// Replaces the certificate authority by a new one, and the certificate by one that
    /// it signs, for the next handshakes. Returns [`ca_pem`](Self::ca_pem).
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`] without TLS.
    pub fn rotate_authority(&self) -> Result<String, EmulatorError> {
        self.state.rotate_authority()
    }

    /// Adds a fault for one endpoint and returns its number.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`] with the field's name, if the fault is not
    /// valid.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) -> Result<u64, EmulatorError> {
        self.state.faults.add(fault.on(endpoint))
    }

    /// Adds a fault for the endpoint that it contains, or for all endpoints, and
    /// returns its number.
    ///
    /// # Errors
    ///
    /// Same as [`fault`](Self::fault).
    pub fn add_fault(&self, fault: Fault) -> Result<u64, EmulatorError> {
        self.state.faults.add(fault)
    }

    /// The active faults, in the order in which requests are matched.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.state.faults.list()
    }

    /// Removes one fault. Returns false if it is not active.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.state.faults.remove(id)
    }

    /// Removes all faults. Responses that are held or delayed stay so.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Releases all responses that are held, and all connections that are frozen, now.
    pub fn release(&self) {
        self.state.releases.release();
    }

    /// The time of the emulator's clock since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.state.clock.now()).unwrap_or(0))
    }

    /// The time of the emulator's clock.
    #[must_use]
    pub fn system_time(&self) -> std::time::SystemTime {
        UNIX_EPOCH + self.now()
    }

    /// Sets the clock forward: tokens age, and the rate limiter refills.
    pub fn advance(&self, by: Duration) {
        self.state.clock.shift(millis(by));
    }

    /// Sets the clock back.
    pub fn set_back(&self, by: Duration) {
        self.state.clock.shift(-millis(by));
    }

    /// Stops the clock. [`advance`](Self::advance) and
    /// [`set_back`](Self::set_back) still move it.
    pub fn stop_clock(&self) {
        self.state.clock.stop();
    }

    /// Runs a stopped clock from its current time.
    pub fn run_clock(&self) {
        self.state.clock.run();
    }

    /// Sets the lifetime of access tokens that are issued from now on.
    pub fn set_access_token_lifetime(&self, lifetime: Duration) {
        self.state
            .change_settings(|settings| settings.access_token_lifetime = whole_seconds(lifetime));
    }

    /// Sets the lifetime of business tokens that are issued from now on; `None`:
    /// the session duration of the request.
    pub fn set_business_token_lifetime(&self, lifetime: Option<Duration>) {
        self.state.change_settings(|settings| {
            settings.business_token_lifetime = lifetime.map(whole_seconds)
        });
    }

    /// Sets the `expires_in` of responses from now on; `None`: the real lifetime.
    pub fn set_expires_in(&self, kind: TokenKind, value: Option<Value>) {
        self.state.change_settings(|settings| match kind {
            TokenKind::Access => settings.access_expires_in = value,
            TokenKind::Business => settings.business_expires_in = value,
        });
    }

    /// Sets whether the resources of a business contain demo data from now on.
    pub fn set_demo_data(&self, demo_data: bool) {
        self.state
            .change_settings(|settings| settings.demo_data = demo_data);
    }

    /// Sets the API requests per second that one client may make; `None`: no
    /// limit. A change gives every client a new bucket.
    pub fn set_rate_limit(&self, per_second: Option<u32>) {
        self.state
            .change_settings(|settings| settings.rate_limit = per_second);
    }

    /// Closes, resets, finishes or freezes connections to the API and the proxy: one by
    /// its number in the log, or all that are open now. With `only_idle`, only those
    /// without a request in flight. Returns the number of connections.
    pub fn connections(
        &self,
        action: ConnectionAction,
        number: Option<u64>,
        only_idle: bool,
    ) -> usize {
        self.state.connections.order(action, number, only_idle)
    }

    /// Closes connections from now on that were idle for this time; `None`: they stay
    /// open. Applies to connections that are made later.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.state
            .change_settings(|settings| settings.idle_timeout_ms = timeout.map(whole_millis));
    }

    /// Ends connections that are made later after this many requests; `None`: there is
    /// no limit.
    pub fn set_requests_per_connection(&self, requests: Option<u32>) {
        self.state
            .change_settings(|settings| settings.requests_per_connection = requests);
    }

    /// Sets the user and the password that the proxy requires from now on; `None`:
    /// it accepts every client.
    pub fn set_proxy_credentials(&self, credentials: Option<(&str, &str)>) {
        self.state.change_settings(|settings| {
            settings.proxy_credentials = credentials.map(|(user, password)| ProxyCredentials {
                user: user.to_owned(),
                password: password.to_owned(),
            });
        });
    }

    /// Issues a valid access token without a request to the token endpoint, and
    /// counts it as issued. `None` if the client is unknown.
    #[must_use]
    pub fn issue_access_token(&self, client_id: &str) -> Option<String> {
        self.state.issue_access_token(client_id)
    }

    /// The last 1,000 tokens that were issued, oldest first, without the tokens
    /// themselves.
    #[must_use]
    pub fn issued_tokens(&self) -> Vec<IssuedToken> {
        self.state.issued_tokens()
    }

    /// Revokes one access or business token. Returns false if this emulator did
    /// not issue it.
    pub fn revoke(&self, token: &str) -> bool {
        self.state.tokens.revoke(token)
    }

    /// Revokes the token with this number, of [`issued_tokens`](Self::issued_tokens).
    /// Returns false if there is none.
    pub fn revoke_number(&self, number: u64) -> bool {
        self.state.tokens.revoke_number(number)
    }

    /// Revokes all tokens of a kind that were issued until now.
    pub fn revoke_all(&self, kind: TokenKind) {
        self.state.tokens.revoke_all(kind);
    }

    /// Sets a new secret of a client. The old secret is refused at once; issued
    /// tokens stay valid.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::UnknownClient`].
    pub fn rotate(&self, client_id: &str, secret: &str) -> Result<(), EmulatorError> {
        self.state.clients.rotate(client_id, secret, false)
    }

    /// Sets a new secret of a client. The old secret is also accepted until the
    /// next rotation.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::UnknownClient`].
    pub fn rotate_keeping_old(&self, client_id: &str, secret: &str) -> Result<(), EmulatorError> {
        self.state.clients.rotate(client_id, secret, true)
    }

    /// All counters at one moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.traffic.counters()
    }

    /// The number of requests to one endpoint.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> u64 {
        self.counters().endpoint(endpoint).total
    }

    /// Blocks until the counters satisfy a condition. Returns false after the
    /// timeout. In async code, call it from a blocking task. The condition must
    /// not call the emulator, which would deadlock.
    pub fn wait_until(&self, enough: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        self.state.traffic.wait_until(enough, timeout)
    }

    /// The request log, oldest first, at most the last 16,384 requests.
    #[must_use]
    pub fn log(&self) -> Vec<LogEntry> {
        self.log_after(0)
    }

    /// The entries of the log with a number above `number`.
    #[must_use]
    pub fn log_after(&self, number: u64) -> Vec<LogEntry> {
        self.state.traffic.log(number, MAX_ENTRIES)
    }

    /// The fingerprint of credentials in the log: of a token, or of the base64
    /// part of a Basic header.
    #[must_use]
    pub fn fingerprint(&self, credentials: &str) -> String {
        self.state.fingerprints.hash(credentials)
    }

    /// Empties the log and the counters.
    pub fn clear_log(&self) {
        self.state.traffic.clear();
    }

    /// Restores the state at start: log, counters, faults, held responses,
    /// clock, rate limit, lifetimes, secrets, TLS. Issued tokens stay valid, and
    /// revoked ones stay revoked.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Requests a stop without waiting for it.
    pub fn stop(&self) {
        self.thread.stop();
    }

    /// Resolves when a stop is requested, by [`stop`](Self::stop) or over the
    /// control API. Works on any runtime.
    pub async fn stopped(&self) {
        self.thread.stopped().await;
    }
}
