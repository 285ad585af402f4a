//! Measures network operations: the first token, many callers, refreshes,
//! batches.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use layerfi_auth::{
    BatchOptions, BusinessId, Client, ClientBuilder, Environment, SessionDuration, TestClock,
};
use layerfi_auth_bench::{median, print, row};
use layerfi_auth_emulator::{
    DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEMO_BUSINESS_ID, Emulator, Endpoint, Fault,
};
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn builder(emulator: &Emulator) -> ClientBuilder {
    let builder = Client::builder()
        .environment(Environment::Custom)
        .api_url(emulator.url())
        .auth_url(emulator.token_url())
        .scope(emulator.scope())
        .credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        .allow_http_loopback(true);
    match emulator.ca_pem() {
        Some(pem) => builder.ca_pem(pem),
        None => builder,
    }
}

fn business(number: usize) -> BusinessId {
    format!("00000000-0000-4000-8000-{number:012}")
        .parse()
        .unwrap()
}

/// reqwest without this library.
struct Bare {
    client: reqwest::Client,
    token_url: String,
    body: String,
}

impl Bare {
    fn new(emulator: &Emulator) -> Self {
        Self::speaking(emulator, &[])
    }

    fn speaking(emulator: &Emulator, alpn: &[&[u8]]) -> Self {
        let mut tls = tls(emulator);
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            client,
            token_url: emulator.token_url(),
            body: form(emulator),
        }
    }

    async fn token(&self) {
        let answer = self
            .client
            .post(&self.token_url)
            .basic_auth(DEFAULT_CLIENT_ID, Some(DEFAULT_CLIENT_SECRET))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(self.body.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        black_box(answer.bytes().await.unwrap());
    }
}

fn form(emulator: &Emulator) -> String {
    let scope = emulator.scope().replace(':', "%3A").replace('/', "%2F");
    format!("grant_type=client_credentials&scope={scope}&client_id={DEFAULT_CLIENT_ID}")
}

fn tls(emulator: &Emulator) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(pem) = emulator.ca_pem() {
        for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connection, handshake and POST without an HTTP library: the lower limit.
async fn raw_tls_token(emulator: &Emulator, tls: &Arc<rustls::ClientConfig>, request: &[u8]) {
    let tcp = tokio::net::TcpStream::connect(emulator.address())
        .await
        .unwrap();
    tcp.set_nodelay(true).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, tcp).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::with_capacity(4_096);
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

fn basic() -> String {
    let mut request = http_basic(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET);
    request.insert_str(0, "Basic ");
    request
}

fn http_basic(id: &str, secret: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{id}:{secret}");
    text.as_bytes()
        .chunks(3)
        .map(|chunk| {
            let bits = chunk
                .iter()
                .fold(0_u32, |bits, b| bits << 8 | u32::from(*b))
                << (8 * (3 - chunk.len()));
            (0..4)
                .map(|at| match at <= chunk.len() {
                    true => LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char,
                    false => '=',
                })
                .collect::<String>()
        })
        .collect()
}

async fn micros<F: Future>(rounds: usize, mut call: impl FnMut() -> F) -> f64 {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        black_box(call().await);
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    median(times)
}

/// A token over an open connection, alternately with this library and with bare reqwest.
async fn warm() -> Vec<layerfi_auth_bench::Row> {
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let clock = TestClock::new();
    let client = builder(&emulator)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let bare = Bare::new(&emulator);
    let (mut with_library, mut with_reqwest) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        with_reqwest.push(micros(300, || bare.token()).await);
        with_library.push(
            micros(300, || {
                clock.advance(Duration::from_secs(4_000));
                client.token()
            })
            .await,
        );
    }
    let ratios = with_library
        .iter()
        .zip(&with_reqwest)
        .map(|(with_library, with_reqwest)| with_library / with_reqwest)
        .collect();
    let (with_reqwest, ratio) = (median(with_reqwest), median(ratios));
    vec![
        row("bare reqwest POST, warm connection", with_reqwest, "us"),
        row("token(), warm connection", with_reqwest * ratio, "us")
            .over("bare reqwest", with_reqwest)
            .target("<= 1.05 x"),
    ]
}

/// The first token of a new client over TLS 1.3.
async fn first() -> Vec<layerfi_auth_bench::Row> {
    let emulator = Emulator::builder()
        .rate_limit(None)
        .tls(true)
        .start_blocking()
        .unwrap();
    let raw_config = Arc::new(tls(&emulator));
    let body = form(&emulator);
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        basic(),
        body.len(),
    );
    let start = Instant::now();
    builder(&emulator).build().unwrap().token().await.unwrap();
    let very_first = start.elapsed().as_nanos() as f64 / 1e3;
    let (mut raw, mut bare, mut bare_h2, mut with_library) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        raw.push(
            micros(30, || {
                // A new program has no TLS session to resume.
                let mut config = (*raw_config).clone();
                config.resumption = rustls::client::Resumption::disabled();
                let config = Arc::new(config);
                let (emulator, request) = (&emulator, request.as_bytes());
                async move { raw_tls_token(emulator, &config, request).await }
            })
            .await,
        );
        bare.push(
            micros(30, || {
                let bare = Bare::new(&emulator);
                async move { bare.token().await }
            })
            .await,
        );
        bare_h2.push(
            micros(30, || {
                let bare = Bare::speaking(&emulator, &[b"h2", b"http/1.1"]);
                async move { bare.token().await }
            })
            .await,
        );
        with_library.push(
            micros(30, || {
                let client = builder(&emulator).build().unwrap();
                async move { client.token().await.unwrap() }
            })
            .await,
        );
    }
    let raw = median(raw);
    vec![
        row("raw TLS 1.3 connection and POST", raw, "us"),
        row("a new reqwest client's POST", median(bare), "us").over("raw", raw),
        row(
            "the same, offering HTTP/2 as this library does",
            median(bare_h2),
            "us",
        )
        .over("raw", raw),
        row("a new client's first token", median(with_library), "us")
            .over("raw", raw)
            .target("<= 1.3 x"),
        row(
            "the process's very first (reads the roots)",
            very_first,
            "us",
        )
        .over("raw", raw),
    ]
}

fn herd() -> Vec<layerfi_auth_bench::Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    runtime.block_on(async {
        let client = builder(&emulator).build().unwrap();
        let start = Instant::now();
        let tasks = (0..10_000).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.token().await.unwrap() })
        });
        join_all(tasks).await;
        let took = start.elapsed().as_nanos() as f64 / 1e6;
        vec![
            row("10,000 tasks without a token: all served", took, "ms"),
            row("requests", emulator.count(Endpoint::Token) as f64, "").target("1"),
        ]
    })
}

/// The slowest read while a refresh takes 500 ms.
async fn refresh() -> Vec<layerfi_auth_bench::Row> {
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let clock = TestClock::new();
    let client = builder(&emulator)
        .test_clock(clock.clone())
        .build()
        .unwrap();
    let before = client.token().await.unwrap();
    let slow = Fault::delay(Duration::from_millis(500));
    emulator.fault(Endpoint::Token, slow.times(1)).unwrap();
    clock.advance(Duration::from_secs(3_100));
    let (start, mut slowest, mut reads) = (Instant::now(), Duration::ZERO, 0_u64);
    while client.stats().refreshes == 0 || client.token().await.unwrap().secret() == before.secret()
    {
        let read = Instant::now();
        black_box(client.token().await.unwrap());
        slowest = slowest.max(read.elapsed());
        reads += 1;
        tokio::task::yield_now().await;
        assert!(start.elapsed() < Duration::from_secs(20), "no refresh");
    }
    vec![
        row("reads while a refresh took 500 ms", reads as f64, ""),
        row("the slowest read", slowest.as_nanos() as f64 / 1e3, "us").target("< 1,000 us"),
    ]
}

/// Many mints, compared with bare reqwest at the same concurrency.
fn batch(mints: usize) -> Vec<layerfi_auth_bench::Row> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap();
    let (mut with_library, mut with_reqwest) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        runtime.block_on(async {
            let client = builder(&emulator).build().unwrap();
            let token = client.token().await.unwrap();
            let bare = Bare::new(&emulator);
            let start = Instant::now();
            futures_util::stream::iter(0..mints)
                .map(|number| {
                    let url = format!(
                        "{}/v1/businesses/{}/auth-token",
                        emulator.url(),
                        business(number)
                    );
                    let request = bare
                        .client
                        .post(url)
                        .header("authorization", token.authorization())
                        .header("content-type", "application/json")
                        .body(r#"{"session_duration":3600}"#);
                    async move {
                        let answer = request.send().await.unwrap();
                        assert_eq!(answer.status(), 200);
                        black_box(answer.bytes().await.unwrap());
                    }
                })
                .buffer_unordered(32)
                .collect::<Vec<_>>()
                .await;
            with_reqwest.push(mints as f64 / start.elapsed().as_secs_f64());
            let start = Instant::now();
            let tokens = client
                .business_tokens((0..mints).map(business))
                .collect::<Vec<_>>()
                .await;
            with_library.push(mints as f64 / start.elapsed().as_secs_f64());
            assert!(tokens.iter().all(Result::is_ok));
        });
    }
    let with_reqwest = median(with_reqwest);
    vec![
        row(
            format!("bare reqwest, 32 at once, {mints} mints"),
            with_reqwest,
            "/s",
        ),
        row("business_tokens(), no limit", median(with_library), "/s")
            .over("bare reqwest", with_reqwest)
            .target(">= 0.90 x"),
    ]
}

fn limited(limit: u32, seconds: u32) -> Vec<layerfi_auth_bench::Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let emulator = Emulator::builder()
        .rate_limit(Some(limit))
        .start_blocking()
        .unwrap();
    let mints = (limit * seconds) as usize;
    runtime.block_on(async {
        let client = builder(&emulator).build().unwrap();
        let start = Instant::now();
        let options = BatchOptions::default().session_duration(SessionDuration::default());
        let tokens = client.business_tokens_with((0..mints).map(business), options);
        let failed = tokens
            .filter(|result| std::future::ready(result.is_err()))
            .count()
            .await;
        let rate = mints as f64 / start.elapsed().as_secs_f64();
        assert_eq!(failed, 0);
        vec![
            row(format!("{mints} mints at a limit of {limit}/s"), rate, "/s")
                .over("the limit", f64::from(limit)),
            row("429 responses", emulator.counters().rate_limited as f64, "").target("0"),
        ]
    })
}

fn main() {
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Checks that the id in the raw request is valid.
    let _: BusinessId = DEMO_BUSINESS_ID.parse().unwrap();
    // The first client of the process must come first: it reads the root certificates.
    print("A new client over TLS 1.3", &one.block_on(first()));
    print("A token over an open connection", &one.block_on(warm()));
    print("Many callers without a token", &herd());
    print("Reads during a refresh", &one.block_on(refresh()));
    // LAYERFI_BENCH_FULL=1 runs 10,000 mints at each limit.
    let full = std::env::var_os("LAYERFI_BENCH_FULL").is_some();
    print("A batch without a rate limit", &batch(10_000));
    print("A batch at Layer's rate limits", &{
        let mut rows = limited(100, if full { 100 } else { 5 });
        rows.extend(limited(500, if full { 20 } else { 5 }));
        rows
    });
}
