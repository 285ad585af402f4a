//! HTTP with limits. The only file that names reqwest.
//!
//! No redirects, a cap on bodies, a deadline on everything, TLS verified
//! always, one pool of connections per runtime and process generation.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::environment;
use crate::error::{Details, Error, ErrorKind, Result, clipped, showable};
use crate::fork::Generational;
use crate::proxy::ProxyConfig;
use crate::retry::parse_retry_after;
use crate::secret::{Secret, SecretBuffer};
use crate::tls;

/// The largest body of an answer that this library reads for itself. Layer's
/// have 2 KiB at most.
pub(crate) const BODY_CAP: usize = 64 * 1024;

/// How requests leave this machine.
#[derive(Clone)]
pub(crate) struct HttpConfig {
    pub(crate) extra_roots: Vec<CertificateDer<'static>>,
    pub(crate) proxy: ProxyConfig,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) user_agent: String,
}

/// One request, ready to be sent as often as it takes.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The most that is read of the answer's body.
    pub(crate) body_cap: usize,
    /// What its `Authorization` vouches with: an answer may repeat it, and
    /// what is shown of an answer must not.
    pub(crate) secret: Secret,
}

/// One answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Wiped when dropped: it may hold a token.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// What the request vouched with: the secret or token, and the header
    /// value that it was in.
    pub(crate) secret: Secret,
    pub(crate) authorization: Option<HeaderValue>,
}

impl Answer {
    /// What every error made from this answer tells.
    pub(crate) fn details(&self) -> Details {
        Details {
            http_status: Some(self.status.as_u16()),
            request_id: self.request_id(),
            retry_after: retry_after(&self.headers),
            ..Details::default()
        }
    }

    /// A word of this answer's, if it is fit to be shown.
    pub(crate) fn showable(&self, word: &str) -> Option<String> {
        self.shown(word, 64)
    }

    fn request_id(&self) -> Option<String> {
        REQUEST_IDS
            .into_iter()
            .find_map(|name| text(&self.headers, &HeaderName::from_static(name)))
            .and_then(|id| self.shown(id, 128))
    }

    /// A word that repeats part of what the request vouched with is not shown:
    /// servers and gateways say what they were sent. (Less than eight letters
    /// are no secret, and part of too many words.)
    fn shown(&self, word: &str, longest: usize) -> Option<String> {
        const PART: usize = 8;
        let value = self.authorization.as_ref().map(HeaderValue::as_bytes);
        let value = std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default();
        let credential = value
            .split_once(' ')
            .map_or(value, |(_, credential)| credential);
        let repeats = |secret: &str| {
            let mut parts = secret.as_bytes().windows(PART);
            parts.any(|part| word.as_bytes().windows(PART).any(|other| other == part))
        };
        if repeats(self.secret.expose()) || repeats(credential) {
            return None;
        }
        showable(word, longest)
    }
}

/// The names under which servers and gateways send a request's id.
const REQUEST_IDS: [&str; 4] = [
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-amz-cf-id",
];

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // The server's own clock, where it tells it: its date is in its terms.
    let now = text(headers, &header::DATE)
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(SystemTime::now);
    parse_retry_after(text(headers, &header::RETRY_AFTER)?, now)
}

/// Sends requests from whatever runtime the caller is in.
pub(crate) struct Http {
    config: HttpConfig,
    pools: ArcSwap<Vec<Arc<Pool>>>,
}

/// Connections belong to the runtime that drives them and to the process that
/// opened them, so each pair has a pool of its own.
struct Pool {
    runtime: tokio::runtime::Id,
    made_at: Instant,
    client: Generational<reqwest::Client>,
}

/// As many runtimes as keep a pool. A program has one or two; tests, that make
/// one each, must not pile them up.
const MOST_POOLS: usize = 4;

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Self {
        Self {
            config,
            pools: ArcSwap::default(),
        }
    }

    /// Sends once. The whole exchange, body included, ends by `deadline` or
    /// within the attempt's own time, whichever is sooner.
    pub(crate) async fn send(&self, request: &Request, deadline: Instant) -> Result<Answer> {
        let host = environment::host(&request.url);
        let began = Instant::now();
        let ends = deadline.min(began + self.config.attempt_timeout);
        match tokio::time::timeout_at(ends, self.exchange(request, &host)).await {
            Ok(result) => result,
            Err(_) => {
                if ends - began >= self.config.attempt_timeout.min(self.config.connect_timeout) {
                    self.leave_connections(began);
                }
                Err(Error::timeout(format!(
                    "no complete answer from {host} in time"
                )))
            }
        }
    }

    /// No answer for as long as a new connection may take: the one that was
    /// used may be dead without anybody having said so (a cut cable, a gateway
    /// that forgot it). HTTP/2 would send the next attempt over it as well, for
    /// half a minute or more; so the next one gets a new pool. What is under
    /// way in the old one ends there. Of many that fail at once only the first
    /// does this: the pool that it makes is younger than what the others began.
    fn leave_connections(&self, began: Instant) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.pools.rcu(|pools| {
            let stays = |pool: &&Arc<Pool>| pool.runtime != runtime.id() || pool.made_at > began;
            pools.iter().filter(stays).cloned().collect::<Vec<_>>()
        });
    }

    async fn exchange(&self, request: &Request, host: &str) -> Result<Answer> {
        let client = self.client()?;
        let mut response = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| self.explain(error, host))?;
        let mut answer = Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: Zeroizing::default(),
            secret: request.secret.clone(),
            authorization: request.headers.get(header::AUTHORIZATION).cloned(),
        };
        let too_large = |answer: &Answer| {
            Error::protocol(
                format!(
                    "the answer of {host} is larger than {} KiB",
                    request.body_cap / 1024
                ),
                answer.details(),
            )
        };
        if response
            .content_length()
            .is_some_and(|length| length > request.body_cap as u64)
        {
            return Err(too_large(&answer));
        }
        let expected = response.content_length().unwrap_or(2 * 1024) as usize;
        let mut body = SecretBuffer::with_capacity(expected.min(request.body_cap));
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.explain(error, host))?
        {
            if body.len() + chunk.len() > request.body_cap {
                return Err(too_large(&answer));
            }
            body.push(&chunk);
        }
        answer.body = body.into_bytes();
        // Compression was not offered; an answer that has it all the same
        // could be a bomb, and is nothing this library would understand.
        match answer.headers.get(header::CONTENT_ENCODING) {
            Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
                Err(Error::protocol(
                    format!("{host} compressed its answer although that was not offered"),
                    answer.details(),
                ))
            }
            _ => Ok(answer),
        }
    }

    /// The pool of the runtime at hand, made if it is not there yet.
    fn client(&self) -> Result<reqwest::Client> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| {
                Error::config(
                    "runtime",
                    "there is no Tokio runtime here",
                    "call from within one, or use the blocking client",
                )
            })?
            .id();
        let of_this_runtime = |pools: &Vec<Arc<Pool>>| {
            pools
                .iter()
                .find(|pool| pool.runtime == runtime)
                .and_then(|pool| pool.client.get().cloned())
        };
        if let Some(client) = of_this_runtime(&self.pools.load()) {
            return Ok(client);
        }
        let client = self.build()?;
        let pool = Arc::new(Pool {
            runtime,
            made_at: Instant::now(),
            client: Generational::new(client.clone()),
        });
        // Nobody waits here: of two that build at once, the second's is kept,
        // and the first's serves its one request and is gone.
        self.pools.rcu(|pools| {
            let mut next: Vec<_> = pools
                .iter()
                .filter(|other| other.runtime != runtime && other.client.is_current())
                .cloned()
                .collect();
            if next.len() >= MOST_POOLS {
                next.remove(0);
            }
            next.push(Arc::clone(&pool));
            next
        });
        Ok(client)
    }

    fn build(&self) -> Result<reqwest::Client> {
        let config = &self.config;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&config.extra_roots)?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            // Layer's load balancers close idle connections after a minute;
            // ours go first, so that no request meets a closing one.
            .pool_idle_timeout(Duration::from_secs(50))
            .user_agent(&config.user_agent)
            .no_proxy();
        let no_proxy = format!("{},localhost,127.0.0.0/8,::1", config.proxy.no_proxy);
        let proxies = [
            config.proxy.http.as_deref().map(reqwest::Proxy::http),
            config.proxy.https.as_deref().map(reqwest::Proxy::https),
        ];
        for proxy in proxies.into_iter().flatten() {
            // Its URL was checked when the client was built, and is not shown:
            // it may hold a password.
            let proxy = proxy.map_err(|_| {
                Error::config(
                    "proxy",
                    "the proxy's URL is not valid",
                    "give http://host:port",
                )
            })?;
            builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&no_proxy)));
        }
        builder.build().map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("the HTTP client cannot be made ({})", root_cause(&error)),
                "this is a fault of the library or of its build",
            )
        })
    }

    /// What went wrong on the way, in our terms.
    fn explain(&self, error: reqwest::Error, host: &str) -> Error {
        // Its text would show the URL.
        let error = error.without_url();
        let proxied = match (&self.config.proxy.http, &self.config.proxy.https) {
            (None, None) => "",
            _ => " (a proxy is configured)",
        };
        if error.is_timeout() {
            let what = if error.is_connect() {
                "connecting to"
            } else {
                "the answer of"
            };
            return Error::timeout(format!("{what} {host} took too long{proxied}"));
        }
        if let Some(cause) = tls::cause(&error) {
            return Error::new(
                ErrorKind::Tls,
                format!("no trusted connection to {host}: {cause}"),
                "check the host name and the system's certificates; an own authority goes into \
                 ca_file or LAYER_CA_FILE",
            );
        }
        let cause = root_cause(&error);
        if is_malformed_http(&error) {
            return Error::protocol(
                format!("{host} does not speak HTTP: {cause}"),
                Details::default(),
            );
        }
        let what = if error.is_connect() {
            format!("cannot connect to {host}{proxied}: {cause}")
        } else {
            format!("the connection to {host} broke: {cause}")
        };
        Error::new(
            ErrorKind::Transport,
            what,
            "check the network; a retry may help",
        )
    }
}

/// The end of the chain of causes, which says the most. What lies beneath
/// hyper is looked at only where the system says it: HTTP/2's own errors quote
/// the server.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        if cause.is::<hyper::Error>() && !next.is::<std::io::Error>() {
            break;
        }
        cause = next;
    }
    clipped(&cause.to_string())
}

fn is_malformed_http(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(next) = cause {
        if next
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return true;
        }
        cause = next.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_what_a_request_vouched_with_is_not_shown_when_an_answer_repeats_it() {
        const BASIC: &str = "YWxpY2U6b3BlbnNlc2FtZW9wZW5zZXNhbWU";
        for (id, is_shown) in [
            ("1-67891233-abcdef012345678912345678", true),
            ("sesame", true),
            ("opensesameopensesame", false),
            ("x-opensesameopensesame-x", false),
            ("sameopens", false),
            (BASIC, false),
            ("YWxpY2U6b3Bl", false),
            ("x-YWxpY2U6b3Bl-x", false),
            ("req-YWxpY2U6b3BlbnNlc2FtZW9wZW5zZXNhbWU", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_static(id));
            let answer = Answer {
                status: StatusCode::UNAUTHORIZED,
                headers,
                body: Zeroizing::default(),
                secret: Secret::new("opensesameopensesame"),
                authorization: HeaderValue::from_str(&format!("Basic {BASIC}")).ok(),
            };
            let shown = answer.details().request_id;
            assert_eq!(shown.is_some(), is_shown, "{id}");
            assert_eq!(answer.showable(id).is_some(), is_shown, "{id}");
        }
    }
}
