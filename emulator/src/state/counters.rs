//! Counters of connections, requests and tokens.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::endpoint::Endpoint;

/// Counters since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Accepted connections, including failed TLS handshakes and connections to
    /// the proxy. A tunnel and the connection in it count once.
    pub connections: u64,
    /// Connections that are open now.
    pub open_connections: u64,
    /// Failed TLS handshakes, usually because the client refused the certificate.
    pub tls_failures: u64,
    /// Tunnels that the proxy opened: accepted `CONNECT` requests.
    pub tunnels: u64,
    /// Issued access tokens, including those in scripted bodies.
    pub access_tokens: u64,
    /// Issued business tokens, including those in scripted bodies.
    pub business_tokens: u64,
    /// Requests that the rate limiter refused; a scripted 429 is not counted.
    pub rate_limited: u64,
    /// Requests to all endpoints.
    pub total: u64,
    /// Counters by endpoint; every endpoint has an entry.
    pub endpoints: BTreeMap<Endpoint, EndpointCounters>,
}

/// Counters of one endpoint.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct EndpointCounters {
    /// Received requests, counted when their head arrives.
    pub total: u64,
    /// Responses by status, counted when their head is sent.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests that ended without a response head, because the client
    /// disconnected or a fault ended the connection.
    pub unanswered: u64,
    /// Requests that wait for the head of their response now.
    pub in_flight: u64,
    /// The highest value of `in_flight`.
    pub max_in_flight: u64,
}

impl Counters {
    /// Counters at zero, with an entry for every endpoint.
    pub(crate) fn new() -> Self {
        let endpoints = Endpoint::ALL
            .iter()
            .map(|&at| (at, EndpointCounters::default()));
        Self {
            endpoints: endpoints.collect(),
            ..Self::default()
        }
    }

    /// The counters of one endpoint.
    #[must_use]
    pub fn endpoint(&self, endpoint: Endpoint) -> EndpointCounters {
        self.endpoints.get(&endpoint).cloned().unwrap_or_default()
    }

    /// Responses with this status, over all endpoints.
    #[must_use]
    pub fn status(&self, status: u16) -> u64 {
        self.endpoints
            .values()
            .filter_map(|counts| counts.by_status.get(&status))
            .sum()
    }
}
