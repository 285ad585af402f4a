//! The floors: the same exchanges by the shortest code that can make them, without retries,
//! checks, limits or a cache.

use std::hint::black_box;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Where and as whom to ask for a token.
#[derive(Clone, Debug)]
pub struct Target {
    pub api_url: String,
    pub token_url: String,
    pub client_id: String,
    pub client_secret: String,
    pub scope: String,
    /// The certificate authority in PEM, if the server uses TLS.
    pub ca_pem: Option<String>,
}

impl Target {
    /// From the variables that `Client::from_env` reads.
    pub fn from_env() -> Self {
        let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        Self {
            api_url: var("LAYER_API_URL"),
            token_url: var("LAYER_AUTH_URL"),
            client_id: var("LAYER_CLIENT_ID"),
            client_secret: var("LAYER_CLIENT_SECRET"),
            scope: var("LAYER_SCOPE"),
            ca_pem: std::env::var("LAYER_CA_FILE")
                .ok()
                .map(|path| std::fs::read_to_string(path).unwrap()),
        }
    }

    pub fn is_tls(&self) -> bool {
        self.ca_pem.is_some()
    }

    /// The host and the port.
    fn authority(&self) -> &str {
        let (_, rest) = self.token_url.split_once("://").unwrap();
        rest.split_once('/').unwrap().0
    }

    fn form(&self) -> String {
        let scope = self.scope.replace(':', "%3A").replace('/', "%2F");
        let id = &self.client_id;
        format!("grant_type=client_credentials&scope={scope}&client_id={id}")
    }

    /// The bytes of a token request in HTTP/1.1.
    pub fn request(&self) -> String {
        let body = self.form();
        let (_, path) = self.token_url.split_once(self.authority()).unwrap();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\
             accept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.authority(),
            base64(&format!("{}:{}", self.client_id, self.client_secret)),
            body.len(),
        )
    }
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes()
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk
                .iter()
                .fold(0_u32, |bits, b| bits << 8 | u32::from(*b))
                << (8 * (3 - chunk.len()));
            let count = chunk.len();
            (0..4).map(move |at| match at <= count {
                true => LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char,
                false => '=',
            })
        })
        .collect()
}

/// Settings of rustls that trust only the server's own authority.
pub fn tls(target: &Target) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let pem = target.ca_pem.as_deref().unwrap_or_default();
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// reqwest without this library.
#[derive(Clone)]
pub struct Bare {
    pub client: reqwest::Client,
    target: Target,
    body: String,
}

impl Bare {
    pub fn new(target: &Target) -> Self {
        Self::speaking(target, &[])
    }

    pub fn speaking(target: &Target, alpn: &[&[u8]]) -> Self {
        let mut tls = tls(target);
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            client,
            body: target.form(),
            target: target.clone(),
        }
    }

    async fn finish(request: reqwest::RequestBuilder) {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        black_box(answer.bytes().await.unwrap());
    }

    pub async fn token(&self) {
        let target = &self.target;
        let request = self
            .client
            .post(&target.token_url)
            .basic_auth(&target.client_id, Some(&target.client_secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(self.body.clone());
        Self::finish(request).await;
    }

    pub async fn mint(&self, business: &str, authorization: &reqwest::header::HeaderValue) {
        let api = &self.target.api_url;
        let request = self
            .client
            .post(format!("{api}/v1/businesses/{business}/auth-token"))
            .header("authorization", authorization)
            .header("content-type", "application/json")
            .body(r#"{"session_duration":3600}"#);
        Self::finish(request).await;
    }
}

/// A new program's exchange: with a whole handshake, because it has no TLS session to resume.
pub async fn new_client(target: &Target) {
    let tls = target.is_tls().then(|| {
        let mut tls = tls(target);
        tls.resumption = rustls::client::Resumption::disabled();
        Arc::new(tls)
    });
    raw_token(target, tls.as_ref()).await;
}

/// Connection, handshake (with TLS settings) and one POST, without an HTTP library.
pub async fn raw_token(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) {
    let (host, port) = target.authority().rsplit_once(':').unwrap();
    // The server is on this machine: no name is looked up.
    let address = (std::net::Ipv4Addr::LOCALHOST, port.parse().unwrap());
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let request = target.request();
    match tls {
        None => exchange(tcp, request.as_bytes()).await,
        Some(tls) => {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
            let name = rustls_pki_types::ServerName::try_from(host.to_owned()).unwrap();
            let stream = connector.connect(name, tcp).await.unwrap();
            exchange(stream, request.as_bytes()).await;
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::with_capacity(4_096);
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}
