//! Everything that requests, the control API and the handle share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;
use uuid::Uuid;

use crate::clients::{BasicDecoding, Clients};
use crate::clock::Clock;
use crate::environment::Environment;
use crate::error::EmulatorError;
use crate::fault::Faults;
use crate::log::Fingerprints;
use crate::rate::RateLimiter;
use crate::sync::lock;
use crate::tls::{Authority, HttpVersions, TlsTrouble, TlsVersions};
use crate::tokens::{Grant, TokenKind, Tokens};
use crate::traffic::Traffic;

/// What the builder decided for good.
pub(crate) struct Fixed {
    pub(crate) environment: Environment,
    pub(crate) scope: String,
    pub(crate) basic_decoding: BasicDecoding,
    pub(crate) invalid_client_status: u16,
    /// `None`: every UUID is a business of the client's.
    pub(crate) businesses: Option<HashSet<Uuid>>,
    pub(crate) http_versions: HttpVersions,
    pub(crate) tls_versions: TlsVersions,
    pub(crate) settings: Settings,
    pub(crate) tls_trouble: Option<TlsTrouble>,
}

/// What can be changed while the emulator runs, and is restored by a reset.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) access_token_lifetime: u64,
    /// `None`: as long as the session duration asks.
    pub(crate) business_token_lifetime: Option<u64>,
    /// What answers claim in place of the lifetime.
    pub(crate) access_expires_in: Option<Value>,
    pub(crate) business_expires_in: Option<Value>,
    pub(crate) rate_limit: Option<u32>,
}

pub(crate) struct State {
    pub(crate) fixed: Fixed,
    pub(crate) clock: Clock,
    pub(crate) clients: Clients,
    pub(crate) tokens: Tokens,
    pub(crate) rate: RateLimiter,
    pub(crate) faults: Faults,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) fingerprints: Fingerprints,
    settings: Mutex<Settings>,
    tls: Option<Tls>,
    /// Counts releases; a held answer waits for the next one.
    releases: watch::Sender<u64>,
}

type Served = (Option<TlsTrouble>, Arc<ServerConfig>);

struct Tls {
    authority: Authority,
    at_start: Served,
    now: Mutex<Served>,
}

impl State {
    pub(crate) fn new(
        fixed: Fixed,
        clients: Clients,
        authority: Option<Authority>,
    ) -> Result<Self, EmulatorError> {
        let tls = if let Some(authority) = authority {
            let config = authority.server_config(
                fixed.tls_trouble,
                fixed.tls_versions,
                fixed.http_versions,
            )?;
            let at_start = (fixed.tls_trouble, config);
            Some(Tls {
                authority,
                now: Mutex::new(at_start.clone()),
                at_start,
            })
        } else {
            None
        };
        Ok(Self {
            clock: Clock::default(),
            clients,
            tokens: Tokens::new()?,
            rate: RateLimiter::new(fixed.settings.rate_limit),
            faults: Faults::default(),
            traffic: Traffic::new(),
            fingerprints: Fingerprints::new(),
            settings: Mutex::new(fixed.settings.clone()),
            tls,
            releases: watch::Sender::new(0),
            fixed,
        })
    }

    pub(crate) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = lock(&self.settings);
        let rate_limit = settings.rate_limit;
        change(&mut settings);
        if settings.rate_limit != rate_limit {
            self.rate.set(settings.rate_limit);
        }
    }

    /// Issues a token and counts it.
    pub(crate) fn issue(
        &self,
        client: &str,
        business: Option<Uuid>,
        seconds: u64,
    ) -> Option<String> {
        let grant = Grant {
            client_id: client,
            business_id: business,
            scope: &self.fixed.scope,
            lifetime_seconds: seconds,
        };
        let token = self.tokens.issue(&grant, self.clock.now())?;
        let kind = if business.is_some() {
            TokenKind::Business
        } else {
            TokenKind::Access
        };
        self.traffic.issued(kind);
        Some(token)
    }

    pub(crate) fn owns(&self, business: &Uuid) -> bool {
        self.fixed
            .businesses
            .as_ref()
            .is_none_or(|known| known.contains(business))
    }

    pub(crate) fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    pub(crate) fn releases(&self) -> u64 {
        *self.releases.borrow()
    }

    /// Resolves once there was a release after the one of that number.
    pub(crate) async fn release_after(&self, number: u64) {
        // The sender lives in the state, so this ends in a release only.
        let _ = self
            .releases
            .subscribe()
            .wait_for(|&count| count > number)
            .await;
    }

    pub(crate) fn ca_pem(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.authority.pem())
    }

    /// The trouble and the configuration for the next handshake.
    pub(crate) fn tls(&self) -> Option<Served> {
        self.tls.as_ref().map(|tls| lock(&tls.now).clone())
    }

    pub(crate) fn set_tls_trouble(&self, trouble: Option<TlsTrouble>) -> Result<(), EmulatorError> {
        let Some(tls) = &self.tls else {
            return Err(EmulatorError::Invalid(
                "this emulator speaks plain HTTP".to_owned(),
            ));
        };
        let (versions, http) = (self.fixed.tls_versions, self.fixed.http_versions);
        let config = tls.authority.server_config(trouble, versions, http)?;
        *lock(&tls.now) = (trouble, config);
        Ok(())
    }

    /// Back to how the emulator started. Tokens issued before stay good, and
    /// revoked ones revoked.
    pub(crate) fn reset(&self) {
        self.faults.clear();
        self.release();
        self.clock.reset();
        self.clients.reset();
        *lock(&self.settings) = self.fixed.settings.clone();
        self.rate.set(self.fixed.settings.rate_limit);
        if let Some(tls) = &self.tls {
            lock(&tls.now).clone_from(&tls.at_start);
        }
        self.traffic.clear();
    }
}

/// A lifetime in whole seconds, which is all that `expires_in` can say.
pub(crate) fn seconds(lifetime: Duration) -> u64 {
    lifetime.as_secs()
}
