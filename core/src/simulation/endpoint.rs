//! Simulated token endpoint, and the API to which the tokens are shown.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep};
use url::Url;

use super::scenario::{ATTEMPT_TIMEOUT, Scenario};
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::protocol::message::Response;
use crate::sys::sync::{Mutex, lock};
use crate::token::AccessToken;

/// Token endpoint, and the API to which the tokens are shown.
pub(super) struct Endpoint {
    start: Instant,
    lifetime: Duration,
    latency: (Duration, Duration),
    rate_limit: Option<u32>,
    pub(super) state: Mutex<EndpointState>,
    pub(super) url: Url,
    pub(super) credentials: Credentials,
}

pub(super) struct EndpointState {
    rng: Rng,
    pub(super) behaviour: Behaviour,
    /// Whether the sender of the next request is killed.
    pub(super) kills: bool,
    pub(super) requests: u64,
    pub(super) peak: u64,
    /// Requests of the last second, and those of them that got a token.
    second: (u64, u64, u32),
    /// When each token expires, by its number.
    pub(super) expiries: Vec<Instant>,
    /// Tokens before this number are revoked.
    pub(super) revoked: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behaviour {
    Normal,
    Fails,
    Silent,
}

/// Whether the API accepts a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Validity {
    Valid,
    Revoked,
    Expired,
}

impl Endpoint {
    /// Answers a request, unless none of its packets arrives. `None` if the sender is
    /// killed.
    pub(super) async fn answer(&self, arrives: bool) -> Option<Result<Response>> {
        let (latency, is_killed) = {
            let mut state = lock(&self.state);
            let second = self.start.elapsed().as_secs();
            if state.second.0 != second {
                state.second = (second, 0, 0);
            }
            state.requests += 1;
            state.second.1 += 1;
            state.peak = state.peak.max(state.second.1);
            let (least, most) = self.latency;
            let latency = least + (most - least).mul_f64(state.rng.f64());
            (latency, std::mem::take(&mut state.kills))
        };
        if is_killed {
            return None;
        }
        // Half of it is the way there.
        sleep(latency / 2).await;
        let response = if arrives { self.respond() } else { None };
        let Some(response) = response else {
            sleep(ATTEMPT_TIMEOUT.saturating_sub(latency / 2)).await;
            return Some(Err(Error::attempt_timeout("no answer within 10 s")));
        };
        sleep(latency / 2).await;
        Some(Ok(response))
    }

    /// `None` for no answer.
    fn respond(&self) -> Option<Response> {
        let mut state = lock(&self.state);
        match state.behaviour {
            Behaviour::Normal => {}
            Behaviour::Fails => return Some(self.response(503, "{}".to_owned(), None)),
            Behaviour::Silent => return None,
        }
        let second = self.start.elapsed().as_secs();
        if state.second.0 != second {
            state.second = (second, 0, 0);
        }
        state.second.2 += 1;
        if self.rate_limit.is_some_and(|limit| state.second.2 > limit) {
            return Some(self.response(429, "{}".to_owned(), Some("1")));
        }
        let number = state.expiries.len();
        state.expiries.push(Instant::now() + self.lifetime);
        let seconds = self.lifetime.as_secs();
        let body = format!(
            r#"{{"access_token":"simulated.{number}","expires_in":{seconds},"token_type":"Bearer"}}"#
        );
        Some(self.response(200, body, None))
    }

    fn response(&self, status: u16, body: String, retry_after: Option<&'static str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        Response {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers,
            body: Bytes::from(body),
            secret: self.credentials.client_secret().clone(),
            authorization: HeaderValue::from_static(""),
        }
    }

    /// Whether the API accepts a token now.
    pub(super) fn validity(&self, token: &AccessToken) -> Validity {
        let state = lock(&self.state);
        let number = token.secret().rsplit('.').next();
        let number = number.and_then(|number| number.parse::<usize>().ok());
        let number = number.unwrap_or(usize::MAX);
        match state.expiries.get(number) {
            Some(expiry) if Instant::now() < *expiry => match number < state.revoked {
                true => Validity::Revoked,
                false => Validity::Valid,
            },
            _ => Validity::Expired,
        }
    }
}

impl Endpoint {
    pub(super) fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let url = "https://auth.simulated/oauth2/token";
        let Ok(url) = Url::parse(url) else {
            unreachable!("{url} is not a URL");
        };
        Self {
            start: Instant::now(),
            lifetime: scenario.lifetime,
            latency: scenario.latency,
            rate_limit: scenario.rate_limit,
            state: Mutex::new(EndpointState {
                rng: rng.fork(),
                behaviour: Behaviour::Normal,
                kills: false,
                requests: 0,
                peak: 0,
                second: (0, 0, 0),
                expiries: Vec::new(),
                revoked: 0,
            }),
            url,
            credentials: Credentials::new("simulated-client", "simulated-secret"),
        }
    }
}
