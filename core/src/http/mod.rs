//! HTTP client with limits: no redirects, a cap on bodies, a deadline on each
//! exchange, TLS always verified. The only module that names reqwest.

mod error;
pub(crate) mod proxy;
pub(crate) mod resolve;
pub(crate) mod tls;

use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::header;
use zeroize::Zeroizing;

use crate::config::HttpConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::message::{Request, Response};
use crate::secret::SecretBuffer;
use crate::sys::fork::PerProcess;
use crate::url::host;

/// How long an HTTP/2 connection with open requests may be silent before a ping
/// checks it, and how long to wait for the reply. Without a reply the
/// connection is closed: it may have broken without an error (an unplugged
/// cable, a gateway that dropped it).
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Idle time after which a connection is closed. Layer's load balancers close
/// idle connections after a minute. Closing first avoids sending a request on a
/// connection that is about to close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How often the trusted certificates are read again after a failed verification.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Sends requests. Runs in the engine's background runtime only, so that a
/// process has one pool of connections per client.
pub(crate) struct Http {
    config: HttpConfig,
    /// Per process, because a forked child must not use its parent's
    /// connections.
    pool: PerProcess<ArcSwap<Pool>>,
}

/// Pool of connections. It is replaced when one of them may be broken, or when
/// the trusted certificates are read again.
struct Pool {
    client: reqwest::Client,
    made_at: Instant,
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Self {
        Self {
            config,
            pool: PerProcess::new(),
        }
    }

    /// Sends a request once. The whole exchange, body included, ends at the
    /// deadline or after the attempt timeout.
    pub(crate) async fn send(&self, request: &Request, deadline: &Deadline) -> Result<Response> {
        let host = host(&request.url);
        deadline.progress().waits_for(&host);
        let began = Instant::now();
        let mut ends = deadline.at();
        if request.bounded_attempt {
            ends = ends.min(began + self.config.attempt_timeout);
        }
        let sent = async {
            match self.exchange(request, &host).await {
                // The certificates may have been mounted or rotated since they were read.
                Err(error) if error::is_unknown_issuer(&error) && self.reload_trust(began)? => {
                    self.exchange(request, &host).await
                }
                result => result,
            }
        };
        match tokio::time::timeout_at(ends.into(), sent).await {
            Ok(result) => result,
            Err(_) => {
                self.leave_connections(began)?;
                let waited = began.elapsed().as_secs_f64();
                Err(Error::attempt_timeout(format!(
                    "no complete response from {host} within {waited:.1} s"
                )))
            }
        }
    }

    /// Replaces the pool after an attempt without a response, because its
    /// connection may be broken. Exchanges in progress end in the old pool. Of
    /// many attempts that fail together, the first replaces the pool.
    fn leave_connections(&self, began: Instant) -> Result<()> {
        self.replace(|pool| pool.made_at <= began)?;
        Ok(())
    }

    /// Reads the trusted certificates again, unless that was done recently.
    /// Returns whether another attempt can help.
    fn reload_trust(&self, began: Instant) -> Result<bool> {
        if tls::forget_roots(RELOAD_INTERVAL) {
            self.replace(|_| true)?;
            return Ok(true);
        }
        // Another request may have done it in the meantime.
        Ok(self.pool()?.load().made_at > began)
    }

    fn replace(&self, is_old: impl Fn(&Pool) -> bool) -> Result<()> {
        let pool = self.pool()?;
        let before = pool.load_full();
        if is_old(&before) {
            let fresh = std::sync::Arc::new(self.build()?);
            drop(pool.compare_and_swap(&before, fresh));
        }
        Ok(())
    }

    fn pool(&self) -> Result<&ArcSwap<Pool>> {
        self.pool
            .get_or_try_init(|| self.build().map(ArcSwap::from_pointee))
    }

    async fn exchange(&self, request: &Request, host: &str) -> Result<Response> {
        let client = self.pool()?.load().client.clone();
        let explain = |error| error::explain(error, host, &self.config);
        let mut incoming = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send()
            .await
            .map_err(explain)?;
        let mut response = Response {
            status: incoming.status(),
            headers: std::mem::take(incoming.headers_mut()),
            body: Zeroizing::default(),
            secret: request.secret.clone(),
            authorization: request.headers.get(header::AUTHORIZATION).cloned(),
        };
        let too_large = |response: &Response| {
            let limit = request.max_body / 1024;
            let what = format!("the response of {host} is larger than {limit} KiB");
            Error::protocol(what, response.details())
        };
        let length = incoming.content_length();
        if length.is_some_and(|length| length > request.max_body as u64) {
            return Err(too_large(&response));
        }
        let expected = length.unwrap_or(2 * 1024) as usize;
        let mut body = SecretBuffer::with_capacity(expected.min(request.max_body));
        while let Some(chunk) = incoming.chunk().await.map_err(explain)? {
            if body.len() + chunk.len() > request.max_body {
                return Err(too_large(&response));
            }
            body.push(&chunk);
        }
        response.body = body.into_bytes();
        // The client offers no compression, because a compressed response could
        // be a decompression bomb.
        match response.headers.get(header::CONTENT_ENCODING) {
            Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
                let what =
                    format!("{host} sent a compressed response, which this client does not accept");
                Err(Error::protocol(what, response.details()))
            }
            _ => Ok(response),
        }
    }

    fn build(&self) -> Result<Pool> {
        let config = &self.config;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&config.extra_roots)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Cargo unifies features: an application that enables these for its own
            // reqwest must not change this client.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_hickory_dns()
            .dns_resolver(resolve::Resolver)
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .user_agent(&config.user_agent)
            .no_proxy();
        for proxy in proxy::reqwest_proxies(&config.proxies)? {
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| {
            let cause = error::root_cause(&error);
            Error::new(
                ErrorKind::Internal,
                format!("cannot create the HTTP client ({cause})"),
                "report this",
            )
        })?;
        Ok(Pool {
            client,
            made_at: Instant::now(),
        })
    }
}
