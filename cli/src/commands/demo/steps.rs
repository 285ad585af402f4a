//! The steps. Each asks the emulator what it saw and holds the engine to it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{HeaderValue, StatusCode};
use layerfi_auth::{BusinessId, BusinessToken, Client};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID, Emulator, Endpoint, Fault, TokenKind};
use tokio::net::TcpStream;

use super::page::Page;
use crate::failure::Failure;
use crate::net::place::Place;
use crate::net::{request, tls};

const CALLERS: usize = 1_000;
const MORE_CALLS: u32 = 100_000;
/// Few enough for the sandbox's rate limit, twice over.
const REFUSED_CALLERS: usize = 20;
/// A life so short that its end can be waited for.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const WATCHED: Duration = Duration::from_secs(3);

pub(super) struct Stage<'a> {
    pub(super) emulator: &'a Emulator,
    pub(super) client: Client,
}

/// Fails the demonstration where a promise is not kept.
fn hold(kept: bool, promise: &str) -> Result<(), Failure> {
    if kept {
        return Ok(());
    }
    Err(Failure::internal(format!(
        "the demonstration did not show what it should: {promise}"
    )))
}

impl Stage<'_> {
    fn token_requests(&self) -> u64 {
        self.emulator.count(Endpoint::Token)
    }

    pub(super) async fn access_token(&self, page: &mut Page<'_>) -> Result<(), Failure> {
        let start = Instant::now();
        let token = self.client.token().await?;
        let took = start.elapsed();
        hold(self.token_requests() == 1, "one token request")?;
        let life = token.remaining().as_secs();
        page.step(
            "An access token for client credentials",
            took,
            vec![format!("token requests: 1; the token has {life} s to live")],
        )
    }

    pub(super) async fn whoami(&self, page: &mut Page<'_>) -> Result<(), Failure> {
        let start = Instant::now();
        let me = self.client.whoami().await?;
        let took = start.elapsed();
        hold(self.token_requests() == 1, "the token is used again")?;
        page.step(
            "Whose credentials are these? GET /whoami",
            took,
            vec![
                format!("{} ({})", me.client_name, me.client_id),
                "token requests: still 1".to_owned(),
            ],
        )
    }

    pub(super) async fn business_token(
        &self,
        page: &mut Page<'_>,
    ) -> Result<BusinessToken, Failure> {
        let business: BusinessId = DEMO_BUSINESS_ID.parse()?;
        let start = Instant::now();
        let token = self.client.business_token(&business).await?;
        let took = start.elapsed();
        let own = self
            .status(token.business_id().as_str(), token.authorization())
            .await?;
        let other = "00000000-0000-4000-8000-000000000000";
        let foreign = self.status(other, token.authorization()).await?;
        self.client.business_token(&business).await?;
        let mints = self.emulator.count(Endpoint::AuthToken);
        hold(own == StatusCode::OK, "a business token opens its business")?;
        hold(
            foreign == StatusCode::FORBIDDEN,
            "a business token opens no other business",
        )?;
        hold(mints == 1, "a business token is minted once")?;
        page.step(
            "A token for one business, to be handed to a browser",
            took,
            vec![
                format!("GET /v1/businesses/{business}  -> {}", own.as_u16()),
                format!("GET /v1/businesses/{other}  -> {}", foreign.as_u16()),
                format!("asked for once more: from the cache; mints: {mints}"),
            ],
        )?;
        Ok(token)
    }

    /// What the API says to a bare request with a token of ours.
    async fn status(
        &self,
        business: &str,
        authorization: &HeaderValue,
    ) -> Result<StatusCode, Failure> {
        let failed = |why: String| Failure::internal(format!("the emulator did not answer: {why}"));
        let place = Place::of(&self.emulator.url())?;
        let stream = TcpStream::connect(self.emulator.address())
            .await
            .map_err(|error| failed(error.to_string()))?;
        let ca = self.emulator.ca_pem().unwrap_or_default();
        let secure = tls::handshake(stream, &place, tls::roots(ca.as_bytes()))
            .await
            .map_err(|refused| failed(refused.what))?;
        let path = format!("/v1/businesses/{business}");
        let head = request::get(secure.stream, &place, &path, Some(authorization))
            .await
            .map_err(failed)?;
        Ok(head.status)
    }

    pub(super) async fn herd(&self, page: &mut Page<'_>) -> Result<(), Failure> {
        let before = self.token_requests();
        let client = super::client(self.emulator)?;
        let start = Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.token().await })
        });
        let mut tokens = Vec::with_capacity(CALLERS);
        for result in join_all(callers).await {
            let token = result.map_err(|_| Failure::internal("a caller panicked"))??;
            tokens.push(token);
        }
        let took = start.elapsed();
        let requests = self.token_requests() - before;
        let same = tokens.windows(2).all(|pair| match pair {
            [one, other] => one.secret() == other.secret(),
            _ => true,
        });
        hold(requests == 1, "a cold herd costs one request")?;
        hold(same, "a cold herd shares one token")?;
        page.step(
            "1,000 callers at once, and no token at hand",
            took,
            vec![format!(
                "token requests: {requests}; all 1,000 got the same token"
            )],
        )?;

        let start = Instant::now();
        for _ in 0..MORE_CALLS {
            client.token().await?;
        }
        let took = start.elapsed();
        let more = self.token_requests() - before - requests;
        hold(more == 0, "a token at hand costs no request")?;
        page.step(
            "100,000 more calls",
            took,
            vec![format!(
                "token requests: {more}; {} ns per call{}",
                (took / MORE_CALLS).as_nanos(),
                if cfg!(debug_assertions) {
                    ", in a build for debugging"
                } else {
                    ""
                }
            )],
        )
    }

    pub(super) async fn revoked(&self, page: &mut Page<'_>) -> Result<(), Failure> {
        let before = self.token_requests();
        let refused_before = self.emulator.counters().status(401);
        self.emulator.revoke_all(TokenKind::Access);
        // All refusals are held back until all calls are there, so that none
        // is made late enough to have the new token from the start.
        self.emulator.fault(
            Endpoint::Business,
            Fault::hold().times(REFUSED_CALLERS as u32),
        )?;
        let path = format!("/v1/businesses/{DEMO_BUSINESS_ID}");
        let start = Instant::now();
        let calls = join_all((0..REFUSED_CALLERS).map(|_| self.client.get(&path)));
        let (answers, ()) = tokio::join!(calls, self.release_when_all_are_there());
        let took = start.elapsed();
        for answer in answers {
            hold(
                answer?.status() == StatusCode::OK,
                "a refused call is made again",
            )?;
        }
        let requests = self.token_requests() - before;
        let refused = self.emulator.counters().status(401) - refused_before;
        hold(
            requests == 1,
            "any number of refusals cost one token request",
        )?;
        page.step(
            "The server revokes the token under 20 calls at once",
            took,
            vec![format!(
                "token requests: {requests}; refused with 401: {refused}; answered with 200: all 20"
            )],
        )
    }

    async fn release_when_all_are_there(&self) {
        let all_are_there = || {
            let business = self.emulator.counters().endpoint(Endpoint::Business);
            business.in_flight == REFUSED_CALLERS as u64
        };
        let start = Instant::now();
        while !all_are_there() && start.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.emulator.clear_faults();
        self.emulator.release();
    }

    pub(super) async fn refresh_ahead(&self, page: &mut Page<'_>) -> Result<(), Failure> {
        self.emulator.set_access_token_lifetime(SHORT_LIFE);
        let client = super::client(self.emulator)?;
        client.token().await?;
        let before = self.token_requests();
        let waited_before = client.stats().waits;
        page.meanwhile("reading a token that lives 2 s, for 3 s ...")?;
        let start = Instant::now();
        let mut reads = 0u32;
        let mut slowest = Duration::ZERO;
        while start.elapsed() < WATCHED {
            let read = Instant::now();
            client.token().await?;
            slowest = slowest.max(read.elapsed());
            reads += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = start.elapsed();
        let requests = self.token_requests() - before;
        let waited = client.stats().waits - waited_before;
        hold(requests >= 1, "a token is refreshed before it expires")?;
        page.step(
            "A token that lives 2 s, read for 3 s",
            took,
            vec![format!(
                "refreshed in the background: {requests}; of {reads} reads waited: {waited}; slowest: {}",
                crate::when::short(slowest)
            )],
        )
    }
}
