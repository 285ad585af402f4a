//! [`State`]: all parts of the state, and the operations that need several.

use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::data::book::{Book, Choices};
use crate::data::calendar::day_of;
use crate::data::entries::Line;
use crate::error::EmulatorError;
use crate::fault::held::Releases;
use crate::fault::queue::Faults;
use crate::lock::lock;
use crate::state::clients::Clients;
use crate::state::clock::Clock;
use crate::state::connections::Connections;
use crate::state::fingerprints::Fingerprints;
use crate::state::issued::{Issued, IssuedToken};
use crate::state::rate_limiter::RateLimiter;
use crate::state::settings::{Config, Settings};
use crate::state::tls::{ServedTls, Tls};
use crate::state::tokens::{Grant, TokenKind, Tokens, expiry};
use crate::state::traffic::Traffic;
use crate::tls::options::TlsTrouble;

/// Limit of categories that users chose.
const MAX_CHOICES: usize = 10_000;

pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) clients: Clients,
    pub(crate) tokens: Tokens,
    issued: Issued,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) faults: Faults,
    pub(crate) releases: Releases,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) fingerprints: Fingerprints,
    settings: Mutex<Settings>,
    /// Categories that users chose for bank transactions.
    choices: Mutex<Choices>,
    /// `None` without TLS.
    tls: Option<Tls>,
}

impl State {
    pub(crate) fn new(
        config: Config,
        clients: Clients,
        tls: Option<Tls>,
    ) -> Result<Self, EmulatorError> {
        Ok(Self {
            clock: Clock::default(),
            clients,
            tokens: Tokens::new()?,
            issued: Issued::default(),
            rate_limiter: RateLimiter::new(config.settings.rate_limit),
            faults: Faults::default(),
            releases: Releases::new(),
            traffic: Traffic::new(),
            connections: Arc::default(),
            fingerprints: Fingerprints::new(),
            settings: Mutex::new(config.settings.clone()),
            choices: Mutex::default(),
            tls,
            config,
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
            self.rate_limiter.set(settings.rate_limit);
        }
    }

    /// Issues a token and counts it. `None` if it cannot be signed.
    pub(crate) fn issue(
        &self,
        client: &str,
        business: Option<Uuid>,
        seconds: u64,
    ) -> Option<String> {
        let grant = Grant {
            client_id: client,
            business_id: business,
            scope: &self.config.scope,
            lifetime_seconds: seconds,
        };
        let now = self.clock.now();
        let (token, number) = self.tokens.issue(&grant, now)?;
        let kind = TokenKind::of(business);
        self.issued.add(IssuedToken {
            number,
            kind,
            client_id: client.to_owned(),
            business_id: business,
            issued_at_ms: now,
            expires_at_ms: expiry(now, seconds),
            fingerprint: self.fingerprints.hash(&token),
            revoked: false,
        });
        self.traffic.issued(kind);
        Some(token)
    }

    /// The last tokens that were issued, oldest first.
    pub(crate) fn issued_tokens(&self) -> Vec<IssuedToken> {
        let mut tokens = self.issued.list();
        for token in &mut tokens {
            token.revoked = self.tokens.is_revoked(token.number, token.kind);
        }
        tokens
    }

    /// Issues an access token without a request to the token endpoint. `None`
    /// if the client is unknown.
    pub(crate) fn issue_access_token(&self, client: &str) -> Option<String> {
        if !self.clients.contains(client) {
            return None;
        }
        self.issue(client, None, self.settings().access_token_lifetime)
    }

    /// The certificate of the authority in PEM; `None` without TLS.
    pub(crate) fn ca_pem(&self) -> Option<String> {
        self.tls.as_ref().map(Tls::ca_pem)
    }

    /// The TLS configuration for the next handshake; `None` without TLS.
    pub(crate) fn tls(&self) -> Option<ServedTls> {
        self.tls.as_ref().map(Tls::current)
    }

    pub(crate) fn set_tls_trouble(&self, trouble: Option<TlsTrouble>) -> Result<(), EmulatorError> {
        match &self.tls {
            Some(tls) => tls.set_trouble(trouble),
            None => Err(EmulatorError::Invalid(
                "tls_trouble: the emulator runs over plain HTTP; start it with TLS".to_owned(),
            )),
        }
    }

    /// Makes a new authority and certificate. Returns the authority's certificate.
    pub(crate) fn rotate_authority(&self) -> Result<String, EmulatorError> {
        let tls = self.tls.as_ref().ok_or_else(|| {
            EmulatorError::Invalid(
                "the emulator runs over plain HTTP and has no certificate; start it with TLS"
                    .to_owned(),
            )
        })?;
        tls.rotate()?;
        Ok(tls.ca_pem())
    }

    /// The books of a business today, and the categories that users chose.
    pub(crate) fn book(&self, business: Uuid) -> (Book, Choices) {
        let has_demo_data = lock(&self.settings).demo_data;
        let choices = lock(&self.choices).clone();
        let today = day_of(self.clock.now());
        (Book::new(business, today, has_demo_data, &choices), choices)
    }

    /// Sets the category of a bank transaction. Above the limit, all earlier
    /// choices are dropped.
    pub(crate) fn categorize(&self, transaction: Uuid, lines: Vec<Line>) {
        let mut choices = lock(&self.choices);
        if choices.len() >= MAX_CHOICES {
            choices.clear();
        }
        choices.insert(transaction, lines);
    }

    /// Restores the state at start. Keeps issued and revoked tokens as they are.
    pub(crate) fn reset(&self) {
        self.faults.clear();
        self.releases.release();
        self.clock.reset();
        self.clients.reset();
        *lock(&self.settings) = self.config.settings.clone();
        self.rate_limiter.set(self.config.settings.rate_limit);
        if let Some(tls) = &self.tls {
            tls.reset();
        }
        lock(&self.choices).clear();
        self.traffic.clear();
    }
}
