//! The handle to a running emulator.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::addresses::Addresses;
use crate::builder::EmulatorBuilder;
use crate::clock::millis;
use crate::endpoint::Endpoint;
use crate::environment::Environment;
use crate::error::EmulatorError;
use crate::fault::{Fault, FaultStatus};
use crate::log::{LOG_CAP, LogEntry};
use crate::state::{State, seconds};
use crate::thread::Thread;
use crate::tls::TlsTrouble;
use crate::tokens::TokenKind;
use crate::traffic::Counters;

/// The client that exists where the builder was given none.
pub const DEFAULT_CLIENT_ID: &str = "emulator-client-id";
/// The secret of [`DEFAULT_CLIENT_ID`]: public, and good for nothing else.
pub const DEFAULT_CLIENT_SECRET: &str = "emulator-client-secret-not-a-secret";
/// A business id for examples. It is one of the client's unless
/// [`EmulatorBuilder::business`] named others.
pub const DEMO_BUSINESS_ID: &str = "5ad00f4c-2e3b-4d5c-9f7a-0c1d2e3f4a5b";

/// A running emulator.
///
/// Every method is quick, takes `&self` and may be called from any thread;
/// only [`wait_until`](Self::wait_until) and dropping block. Dropping stops
/// the emulator: when `drop` returns, its connections are closed and its ports
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

    /// A builder with every setting at its default.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// The base URL of the API, with no slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.addresses.api_url()
    }

    /// The URL of the token endpoint.
    #[must_use]
    pub fn token_url(&self) -> String {
        self.addresses.token_url()
    }

    /// The base URL of the control API, with no slash at its end.
    #[must_use]
    pub fn control_url(&self) -> String {
        self.addresses.control_url()
    }

    /// The address that the token endpoint and the API listen on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.addresses.api
    }

    /// The address that the control API listens on.
    #[must_use]
    pub const fn control_address(&self) -> SocketAddr {
        self.addresses.control
    }

    /// Which Layer it plays.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.state.fixed.environment
    }

    /// The scope that the token endpoint accepts.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.state.fixed.scope
    }

    /// The ids of its clients, sorted.
    #[must_use]
    pub fn client_ids(&self) -> Vec<String> {
        self.state.clients.ids()
    }

    /// The certificate of its authority, in PEM; `None` without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        self.state.ca_pem()
    }

    /// Writes [`ca_pem`](Self::ca_pem) to a file.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`] without TLS, [`EmulatorError::Write`] if the
    /// file cannot be written.
    pub fn write_ca_pem(&self, path: impl AsRef<Path>) -> Result<(), EmulatorError> {
        let pem = self
            .ca_pem()
            .ok_or_else(|| EmulatorError::Invalid("plain HTTP has no certificates".to_owned()))?;
        std::fs::write(path, pem).map_err(EmulatorError::Write)
    }

    /// What is wrong with its TLS from the next handshake on; `None` is nothing.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`] without TLS.
    pub fn set_tls_trouble(&self, trouble: Option<TlsTrouble>) -> Result<(), EmulatorError> {
        self.state.set_tls_trouble(trouble)
    }

    /// Adds a fault for one endpoint and answers its number.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Invalid`], which names the field, if the fault cannot
    /// do what it says.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) -> Result<u64, EmulatorError> {
        self.state.faults.add(fault.on(endpoint))
    }

    /// Adds a fault for whatever endpoint it names itself, or for all.
    ///
    /// # Errors
    ///
    /// As [`fault`](Self::fault).
    pub fn add_fault(&self, fault: Fault) -> Result<u64, EmulatorError> {
        self.state.faults.add(fault)
    }

    /// The faults in force, the first to be tried first.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.state.faults.list()
    }

    /// Removes one fault; false if it is spent or was never there.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.state.faults.remove(id)
    }

    /// Removes all faults. Answers that are held or delayed stay so.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Lets go all answers that are held now.
    pub fn release(&self) {
        self.state.release();
    }

    /// The emulator's clock, as the time since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.state.clock.now()).unwrap_or(0))
    }

    /// The emulator's clock, as a system time.
    #[must_use]
    pub fn system_time(&self) -> std::time::SystemTime {
        UNIX_EPOCH + self.now()
    }

    /// Sets the clock forward: tokens age, the rate limit refills.
    pub fn advance(&self, by: Duration) {
        self.state.clock.shift(millis(by));
    }

    /// Sets the clock back.
    pub fn set_back(&self, by: Duration) {
        self.state.clock.shift(-millis(by));
    }

    /// Stops the clock, so that only [`advance`](Self::advance) and
    /// [`set_back`](Self::set_back) move it.
    pub fn stop_clock(&self) {
        self.state.clock.stop();
    }

    /// Lets a stopped clock run on from where it stands.
    pub fn run_clock(&self) {
        self.state.clock.run();
    }

    /// How long access tokens live that are issued from now on.
    pub fn set_access_token_lifetime(&self, lifetime: Duration) {
        self.state
            .change_settings(|all| all.access_token_lifetime = seconds(lifetime));
    }

    /// How long business tokens live that are issued from now on; `None`: as
    /// long as the session duration asks.
    pub fn set_business_token_lifetime(&self, lifetime: Option<Duration>) {
        self.state
            .change_settings(|all| all.business_token_lifetime = lifetime.map(seconds));
    }

    /// What answers say in `expires_in` from now on; `None`: the truth.
    pub fn set_expires_in(&self, kind: TokenKind, claim: Option<Value>) {
        self.state.change_settings(|all| match kind {
            TokenKind::Access => all.access_expires_in = claim,
            TokenKind::Business => all.business_expires_in = claim,
        });
    }

    /// Requests a second that one client may make; `None` is no limit. A change
    /// starts every client's bucket afresh.
    pub fn set_rate_limit(&self, per_second: Option<u32>) {
        self.state
            .change_settings(|all| all.rate_limit = per_second);
    }

    /// A working access token for a client, without the token endpoint; it is
    /// counted as issued. `None` if there is no such client.
    #[must_use]
    pub fn issue_access_token(&self, client_id: &str) -> Option<String> {
        let known = self.state.clients.ids().iter().any(|id| id == client_id);
        let lifetime = self.state.settings().access_token_lifetime;
        if known {
            self.state.issue(client_id, None, lifetime)
        } else {
            None
        }
    }

    /// Revokes one token, access or business; false if it is not one of this
    /// emulator's.
    pub fn revoke(&self, token: &str) -> bool {
        self.state.tokens.revoke(token)
    }

    /// Revokes all tokens of a kind that were issued until now.
    pub fn revoke_all(&self, kind: TokenKind) {
        self.state.tokens.revoke_all(kind);
    }

    /// Gives a client a new secret; the old one is refused at once. Tokens
    /// issued before stay good.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::UnknownClient`].
    pub fn rotate(&self, client_id: &str, secret: &str) -> Result<(), EmulatorError> {
        self.state.clients.rotate(client_id, secret, false)
    }

    /// Gives a client a new secret and lets the old one in as well, until the
    /// next rotation.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::UnknownClient`].
    pub fn rotate_keeping_old(&self, client_id: &str, secret: &str) -> Result<(), EmulatorError> {
        self.state.clients.rotate(client_id, secret, true)
    }

    /// All counters, at one moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.traffic.counters()
    }

    /// How many requests one endpoint has got.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> u64 {
        self.counters().endpoint(endpoint).total
    }

    /// Blocks until the counters satisfy a condition; false if they do not in
    /// time. In `async` code, call it from a blocking task. The condition must
    /// not call the emulator, which waits for it.
    pub fn wait_until(&self, enough: impl Fn(&Counters) -> bool, timeout: Duration) -> bool {
        self.state.traffic.wait_until(enough, timeout)
    }

    /// The request log, oldest first; at most the last 16,384 requests.
    #[must_use]
    pub fn log(&self) -> Vec<LogEntry> {
        self.log_after(0)
    }

    /// The log's entries with a number above `number`.
    #[must_use]
    pub fn log_after(&self, number: u64) -> Vec<LogEntry> {
        self.state.traffic.log(number, LOG_CAP)
    }

    /// The fingerprint under which the log has this token, or this base64 of a
    /// Basic header.
    #[must_use]
    pub fn fingerprint(&self, credentials: &str) -> String {
        self.state.fingerprints.hash(credentials)
    }

    /// Empties the log and the counters, and nothing else.
    pub fn clear_log(&self) {
        self.state.traffic.clear();
    }

    /// Back to how it started: log, counters, faults, held answers, clock,
    /// rate limit, lifetimes, secrets, TLS. Tokens issued before stay good,
    /// and revoked ones revoked.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Tells it to stop, without waiting.
    pub fn stop(&self) {
        self.thread.stop();
    }

    /// Resolves once it was told to stop, be it by [`stop`](Self::stop) or over
    /// the control API. Works on any runtime.
    pub async fn stopped(&self) {
        self.thread.stopped().await;
    }
}
