//! HTTP client with limits: no redirects, a cap on bodies, a deadline on each
//! exchange, TLS always verified. The only module that names reqwest.

mod error;
mod no_proxy;
pub(crate) mod proxy;
pub(crate) mod tls;
pub(crate) mod tls_error;
pub(crate) mod tunnel;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::header;
use zeroize::Zeroizing;

use crate::config::{HttpConfig, ProxyServer};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::message::{Request, Response};
use crate::secret::SecretBuffer;
use crate::sys::fork::PerProcess;
use crate::trust::Roots;
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
    roots: Arc<Roots>,
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
                Err(error) if error::is_bad_certificate(&error) && self.reload_trust()? => {
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
    fn reload_trust(&self) -> Result<bool> {
        let used = self.pool()?.load_full();
        let changed = self.config.trust.reload(&used.roots);
        if changed {
            self.replace(|pool| Arc::ptr_eq(&pool.roots, &used.roots))?;
        }
        Ok(changed)
    }

    fn replace(&self, is_old: impl Fn(&Pool) -> bool) -> Result<()> {
        let pool = self.pool()?;
        let before = pool.load_full();
        if is_old(&before) {
            let fresh = Arc::new(self.build()?);
            drop(pool.compare_and_swap(&before, fresh));
        }
        Ok(())
    }

    fn pool(&self) -> Result<&ArcSwap<Pool>> {
        self.pool
            .get_or_try_init(|| self.build().map(ArcSwap::from_pointee))
    }

    async fn exchange(&self, request: &Request, host: &str) -> Result<Response> {
        let pool = self.pool()?.load_full();
        let proxy = self.config.proxies.of(&request.url).map(AsRef::as_ref);
        let explain = |error| error::explain(error, &request.url, proxy, &pool.roots, &self.config);
        if let Some(error) = proxy.and_then(|proxy| tunnel::locked_out(proxy, host)) {
            return Err(error);
        }
        let sent = pool
            .client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send()
            .await;
        let mut incoming = match sent {
            Ok(incoming) => incoming,
            Err(error) => {
                let answer = self.proxy_answer(&error, proxy, request, host).await?;
                return Err(answer.unwrap_or_else(|| explain(error)));
            }
        };
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

    /// The error for a proxy that opened no tunnel.
    async fn proxy_answer(
        &self,
        error: &reqwest::Error,
        proxy: Option<&ProxyServer>,
        request: &Request,
        host: &str,
    ) -> Result<Option<Error>> {
        let (Some(proxy), Some(failure)) = (proxy, tunnel::failure(error)) else {
            return Ok(None);
        };
        let tls = tls::client_config(&self.config.trust.roots())?;
        Ok(tunnel::ask(failure, proxy, &request.url, host, tls).await)
    }

    fn build(&self) -> Result<Pool> {
        let config = &self.config;
        let roots = config.trust.roots();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&roots)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Cargo unifies features: an application that enables these for its own
            // reqwest must not change this client.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_hickory_dns()
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .user_agent(&config.user_agent)
            .no_proxy();
        if let Some(proxy) = proxy::reqwest_proxy(&config.proxies) {
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
            roots,
            made_at: Instant::now(),
        })
    }
}
