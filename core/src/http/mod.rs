//! HTTP client with limits: no redirects, a cap on bodies, a deadline on each
//! exchange, TLS always verified. The only module that names reqwest.

mod crypto;
mod error;
mod no_proxy;
mod pool;
pub(crate) mod proxy;
pub(crate) mod resolve;
pub(crate) mod tls;
pub(crate) mod tls_error;
pub(crate) mod tunnel;

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use rustls::AlertDescription;

use self::pool::{Entered, IDLE_TIMEOUT, Place, Pool, Pools, SharedConfig, pools};
use crate::config::{HttpConfig, ProxyServer};
use crate::deadline::{Deadline, within};
use crate::error::{Error, ErrorKind, Result, seconds};
use crate::protocol::message::{Request, Response};
use crate::secret::SecretBuffer;
use crate::sys::descriptors;
use crate::trust::Roots;
use crate::url::{Peer, Protocol};

/// How long an HTTP/2 connection with open requests may be silent before a ping
/// checks it, and how long to wait for the reply. Without a reply the
/// connection is closed: it may have broken without an error (an unplugged
/// cable, a gateway that dropped it).
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request that is cancelled may have waited without its connection
/// being suspected.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long the descriptors of closed connections may take to become free.
const CLOSE_TIME: Duration = Duration::from_millis(50);

/// Sends requests. Runs in the engine's background runtime only, so that
/// connections do not end with a runtime of the program.
pub(crate) struct Http {
    config: Arc<SharedConfig>,
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Self {
        Self {
            config: pools().join(config),
        }
    }

    /// Sends a request once. The whole exchange, body included, ends at the
    /// deadline or after the attempt timeout.
    pub(crate) async fn send(&self, request: &Request, deadline: &Deadline) -> Result<Response> {
        let mut is_first = true;
        loop {
            let result = self.attempt(request, deadline).await;
            // Idle connections may hold the descriptors.
            match result {
                Err(error) if is_first && is_out_of_descriptors(&error) => {}
                result => return result,
            }
            is_first = false;
            pools().leave(|_| true);
            tokio::time::sleep(CLOSE_TIME.min(deadline.left())).await;
        }
    }

    async fn attempt(&self, request: &Request, deadline: &Deadline) -> Result<Response> {
        let host = &request.peer.host;
        deadline.progress().waits_for(host);
        let mut turn = self.enter(request, deadline).await?;
        after_woken_tasks().await;
        let began = Instant::now();
        let mut ends = deadline.at();
        if request.bounded_attempt {
            ends = ends.min(began + self.config.attempt_timeout);
        }
        let mut silence = Silence {
            config: &self.config,
            peer: &request.peer,
            began,
            ends,
            is_over: false,
        };
        let sent = std::pin::pin!(self.connected_exchange(request, &mut turn));
        let result = within(ends, sent).await;
        silence.is_over = result.is_some();
        result.unwrap_or_else(|| {
            let tenths = (began.elapsed().as_millis() as u64 + 50) / 100;
            let waited = seconds(Duration::from_millis(100 * tenths));
            Err(Error::attempt_timeout(format!(
                "no complete response from {host} within {waited}"
            )))
        })
    }

    /// Waits until an exchange with the server may begin.
    async fn enter(&self, request: &Request, deadline: &Deadline) -> Result<Turn> {
        // Once: each look for them asks the system whether the process has forked.
        let pools = pools();
        let peer = &request.peer;
        let mut pool = self.pool(pools, peer)?;
        // Only such a server may speak HTTP/2.
        let entered = match pool.protocol {
            Protocol::Https => Some(pool.enter().await),
            Protocol::Http | Protocol::Https1 => None,
        };
        if pool.speaks_http2() {
            return Ok(Turn {
                pool,
                entered,
                place: None,
            });
        }
        let mut permit = pools.try_permit();
        if permit.is_none() {
            let (host, size) = (&peer.host, pools.size());
            let waits_for = format!("a connection to {host}, because all {size} are in use");
            deadline.progress().waits_for(&waits_for.into());
            permit = within(deadline.at(), std::pin::pin!(pools.permit()))
                .await
                .ok_or_else(|| deadline.expired())?;
            deadline.progress().waits_for(host);
            // It may have been replaced meanwhile.
            pool = self.pool(pools, peer)?;
        }
        let place = permit.map(|permit| pools.place(Arc::clone(&pool), permit));
        Ok(Turn {
            pool,
            entered,
            place,
        })
    }

    /// An exchange, repeated if its handshake failed and a second one can succeed.
    async fn connected_exchange(&self, request: &Request, turn: &mut Turn) -> Result<Response> {
        let mut is_first = true;
        loop {
            let result = self.exchange(request, turn).await;
            match result {
                Err(error) if is_first && self.may_connect_now(&error, turn) => {}
                result => return result,
            }
            is_first = false;
            turn.pool = self.pool(pools(), &request.peer)?;
        }
    }

    /// Whether a handshake can succeed after this error of the one before.
    fn may_connect_now(&self, error: &Error, turn: &Turn) -> bool {
        match tls::of(error) {
            // The certificates may have been mounted or rotated since they were read.
            Some(rustls::Error::InvalidCertificate(_)) => self.reload_trust(&turn.pool.roots),
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                self.config.offer_http2();
                turn.pool.protocol == Protocol::Https1
            }
            _ => false,
        }
    }

    /// Reads the trusted certificates again, unless that was done recently.
    /// Returns whether another attempt can help.
    fn reload_trust(&self, used: &Arc<Roots>) -> bool {
        let changed = self.config.trust.reload(used);
        if changed {
            pools().leave(|pool| Arc::ptr_eq(&pool.roots, used));
        }
        changed
    }

    fn pool(&self, pools: &Pools, peer: &Peer) -> Result<Arc<Pool>> {
        let protocol = self.config.protocol(peer);
        pools.get(&self.config, &peer.host, protocol, || self.build(protocol))
    }

    async fn exchange(&self, request: &Request, turn: &mut Turn) -> Result<Response> {
        let host = &*request.peer.host;
        let pool = &turn.pool;
        let proxy = self.config.proxies.of(&request.url).map(AsRef::as_ref);
        let explain = |error| error::explain(error, &request.url, proxy, &pool.roots, &self.config);
        if let Some(error) = proxy.and_then(|proxy| tunnel::locked_out(proxy, host)) {
            return Err(error);
        }
        let mut sent = reqwest::Request::new(request.method.clone(), request.url.clone());
        *sent.headers_mut() = request.headers();
        *sent.body_mut() = Some(request.body.clone().into());
        let mut incoming = match pool.client.execute(sent).await {
            Ok(incoming) => incoming,
            Err(error) => {
                // Boxed, because it is rare and large.
                let answer = Box::pin(self.proxy_answer(&error, proxy, request));
                return Err(answer.await?.unwrap_or_else(|| explain(error)));
            }
        };
        if let Some(entered) = turn.entered.take() {
            entered.answered(incoming.version());
        }
        if incoming.version() == http::Version::HTTP_2 {
            drop(turn.place.take());
        }
        let mut response = Response {
            status: incoming.status(),
            headers: std::mem::take(incoming.headers_mut()),
            body: Bytes::new(),
            secret: request.secret.clone(),
            authorization: request.authorization.clone(),
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
        // A small body comes in one piece, which is not copied.
        let (mut only, mut joined) = (Bytes::new(), SecretBuffer::default());
        while let Some(chunk) = incoming.chunk().await.map_err(explain)? {
            if only.len() + joined.len() + chunk.len() > request.max_body {
                return Err(too_large(&response));
            }
            if only.is_empty() && joined.is_empty() {
                only = chunk;
                continue;
            }
            joined.push(&std::mem::take(&mut only));
            joined.push(&chunk);
        }
        response.body = match joined.is_empty() {
            true => only,
            false => Bytes::from_owner(joined),
        };
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
    ) -> Result<Option<Error>> {
        let (Some(proxy), Some(failure)) = (proxy, tunnel::failure(error)) else {
            return Ok(None);
        };
        let (tls, _) = self.config.tls(Protocol::Https1)?;
        let host = &request.peer.host;
        Ok(tunnel::ask(failure, proxy, &request.url, host, tls).await)
    }

    fn build(&self, protocol: Protocol) -> Result<(reqwest::Client, Arc<Roots>)> {
        let config = &self.config;
        let (tls, roots) = config.tls(protocol)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
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
            .user_agent(config.user_agent.clone())
            .no_proxy();
        if protocol != Protocol::Https {
            // By default reqwest keeps a copy of each request, to send it again if a server
            // refuses it as HTTP/2 allows.
            let no_copies = reqwest::retry::never().max_retries_per_request(0);
            builder = builder.http1_only().retry(no_copies);
        }
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
        Ok((client, roots))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        pools().depart(&self.config);
    }
}

/// Turn of an exchange to begin.
struct Turn {
    pool: Arc<Pool>,
    /// Tells others which version of HTTP the server speaks.
    entered: Option<Entered>,
    /// Place of an exchange over HTTP/1.1.
    place: Option<Place>,
}

/// Attempt without a complete response. When it ends at its timeout, or is
/// cancelled after some time, its connection may be broken, and all others of the
/// pool too. So the pool is left. Of many such attempts, the first leaves it.
struct Silence<'a> {
    config: &'a Arc<SharedConfig>,
    peer: &'a Peer,
    began: Instant,
    ends: Instant,
    is_over: bool,
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let now = Instant::now();
        if now >= self.ends || now - self.began >= MAX_SILENCE {
            pools().leave(|pool| {
                pool.is_for(self.config, &self.peer.host) && pool.made_at <= self.began
            });
        }
    }
}

/// Runs the tasks that the last poll of the sockets has woken, so that a connection that
/// the server has closed is not used, and one that has become free is. Unlike
/// `yield_now` of Tokio it does not poll the sockets again, which is a system call.
async fn after_woken_tasks() {
    let mut is_last = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_last, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn is_out_of_descriptors(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(descriptors::is_at_limit)
}
