//! The steps of `demo`. Each compares the emulator's counters with the expected
//! values.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{HeaderValue, StatusCode};
use layerfi_auth::diagnosis::Trusted;
use layerfi_auth::{BusinessId, BusinessToken, Client};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID, Emulator, Endpoint, Fault, TokenKind};
use tokio::net::TcpStream;

use crate::commands::demo::client::new_client;
use crate::commands::demo::report::Report;
use crate::failure::Failure;
use crate::net::{endpoint, request, tls};
use crate::time_format::short;

const CALLERS: usize = 1_000;
const MORE_CALLS: u32 = 100_000;
/// Each makes two requests; all fit in the sandbox's rate limit.
const REFUSED_CALLERS: usize = 20;
const SHORT_LIFETIME: Duration = Duration::from_secs(2);
/// Longer than `SHORT_LIFETIME`: the first token expires meanwhile.
const READ_FOR: Duration = Duration::from_secs(3);

pub(super) struct Demo<'a> {
    pub(super) emulator: &'a Emulator,
    pub(super) client: Client,
}

/// Fails if a result differs from what the engine guarantees.
fn ensure(correct: bool, guarantee: &str) -> Result<(), Failure> {
    if correct {
        return Ok(());
    }
    Err(Failure::internal(format!(
        "the demonstration failed: expected that {guarantee}"
    )))
}

impl Demo<'_> {
    fn token_requests(&self) -> u64 {
        self.emulator.count(Endpoint::Token)
    }

    pub(super) async fn access_token(&self, report: &mut Report<'_>) -> Result<(), Failure> {
        let start = Instant::now();
        let token = self.client.token().await?;
        let took = start.elapsed();
        ensure(
            self.token_requests() == 1,
            "the first call makes one token request",
        )?;
        let lifetime = token.remaining().as_secs();
        report.step(
            "An access token for client credentials",
            took,
            vec![format!(
                "token requests: 1; the token expires in {lifetime} s"
            )],
        )
    }

    pub(super) async fn whoami(&self, report: &mut Report<'_>) -> Result<(), Failure> {
        let start = Instant::now();
        let me = self.client.whoami().await?;
        let took = start.elapsed();
        ensure(self.token_requests() == 1, "whoami uses the same token")?;
        report.step(
            "The client of these credentials: GET /whoami",
            took,
            vec![
                format!("{} ({})", me.client_name, me.client_id),
                "token requests: still 1".to_owned(),
            ],
        )
    }

    pub(super) async fn business_token(
        &self,
        report: &mut Report<'_>,
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
        ensure(
            own == StatusCode::OK,
            "a business token gives access to its business",
        )?;
        ensure(
            foreign == StatusCode::FORBIDDEN,
            "a business token gives access to no other business",
        )?;
        ensure(
            mints == 1,
            "the second call returns the cached business token",
        )?;
        report.step(
            "A token for one business, for use in a browser",
            took,
            vec![
                format!("GET /v1/businesses/{business}  -> {}", own.as_u16()),
                format!("GET /v1/businesses/{other}  -> {}", foreign.as_u16()),
                format!("second call: served from the cache; tokens minted: {mints}"),
            ],
        )?;
        Ok(token)
    }

    /// Sends a request without the engine and returns its status.
    async fn status(
        &self,
        business: &str,
        authorization: &HeaderValue,
    ) -> Result<StatusCode, Failure> {
        let failed =
            |error: String| Failure::internal(format!("the emulator did not respond: {error}"));
        let api = endpoint::Endpoint::of(&self.emulator.url())?;
        let stream = TcpStream::connect(self.emulator.address())
            .await
            .map_err(|error| failed(error.to_string()))?;
        let secure = tls::handshake(stream, &api, &Trusted::of(&self.client))
            .await
            .map_err(|problem| failed(problem.message))?;
        let path = format!("/v1/businesses/{business}");
        let head = request::get(secure.stream, &api, &path, Some(authorization))
            .await
            .map_err(failed)?;
        Ok(head.status)
    }

    pub(super) async fn concurrent_callers(&self, report: &mut Report<'_>) -> Result<(), Failure> {
        let before = self.token_requests();
        let client = new_client(self.emulator)?;
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
        ensure(
            requests == 1,
            "1,000 concurrent callers make one token request",
        )?;
        ensure(same, "1,000 concurrent callers get the same token")?;
        report.step(
            "1,000 concurrent callers with an empty cache",
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
        ensure(more == 0, "calls with a cached token make no token request")?;
        report.step(
            "100,000 calls with a cached token",
            took,
            vec![format!(
                "token requests: {more}; {} ns per call{}",
                (took / MORE_CALLS).as_nanos(),
                if cfg!(debug_assertions) {
                    " (debug build)"
                } else {
                    ""
                }
            )],
        )
    }

    pub(super) async fn revoked_token(&self, report: &mut Report<'_>) -> Result<(), Failure> {
        let before = self.token_requests();
        let refused_before = self.emulator.counters().status(401);
        self.emulator.revoke_all(TokenKind::Access);
        // Holds all responses until all requests have arrived. Otherwise a late
        // request could be sent with the new token.
        self.emulator.fault(
            Endpoint::Business,
            Fault::hold().times(REFUSED_CALLERS as u32),
        )?;
        let path = format!("/v1/businesses/{DEMO_BUSINESS_ID}");
        let start = Instant::now();
        let calls = join_all((0..REFUSED_CALLERS).map(|_| self.client.get(&path)));
        let (responses, ()) = tokio::join!(calls, self.release_when_all_have_arrived());
        let took = start.elapsed();
        for response in responses {
            ensure(
                response?.status() == StatusCode::OK,
                "a refused call is sent again with a new token",
            )?;
        }
        let requests = self.token_requests() - before;
        let refused = self.emulator.counters().status(401) - refused_before;
        ensure(requests == 1, "20 refused calls make one token request")?;
        report.step(
            "The server revokes the token during 20 concurrent calls",
            took,
            vec![format!(
                "token requests: {requests}; HTTP 401: {refused}; HTTP 200 after the retry: all 20"
            )],
        )
    }

    async fn release_when_all_have_arrived(&self) {
        let all_have_arrived = || {
            let business = self.emulator.counters().endpoint(Endpoint::Business);
            business.in_flight == REFUSED_CALLERS as u64
        };
        let start = Instant::now();
        while !all_have_arrived() && start.elapsed() < Duration::from_secs(8) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.emulator.clear_faults();
        self.emulator.release();
    }

    pub(super) async fn background_refresh(&self, report: &mut Report<'_>) -> Result<(), Failure> {
        self.emulator.set_access_token_lifetime(SHORT_LIFETIME);
        let client = new_client(self.emulator)?;
        client.token().await?;
        let before = self.token_requests();
        let waited_before = client.stats().waits;
        report.status("reading a token with a lifetime of 2 s, for 3 s ...")?;
        let start = Instant::now();
        let mut reads = 0u32;
        let mut slowest = Duration::ZERO;
        while start.elapsed() < READ_FOR {
            let read = Instant::now();
            client.token().await?;
            slowest = slowest.max(read.elapsed());
            reads += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = start.elapsed();
        let requests = self.token_requests() - before;
        let waited = client.stats().waits - waited_before;
        ensure(requests >= 1, "a token is refreshed before it expires")?;
        report.step(
            "A token with a lifetime of 2 s, read for 3 s",
            took,
            vec![format!(
                "background refreshes: {requests}; reads: {reads}, {waited} of them waited; slowest: {}",
                short(slowest)
            )],
        )
    }
}
