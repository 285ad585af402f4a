//! Certificates of all kinds, and a TLS server with them in front of an emulator.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use layerfi_auth_test_support::accept;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A certificate authority of a test. All have the same name, as an authority whose
/// key was renewed.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "layerfi-auth test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate, as PEM text.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's TLS settings with a certificate for these names.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_with(names, |_| {})
    }

    /// The same with changes to the certificate.
    pub fn server_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        server_config(certificate.der().clone(), key.serialize_der())
    }

    /// A server's TLS settings with the authority's own certificate.
    pub fn as_server(&self) -> Arc<ServerConfig> {
        server_config(self.0.der().clone(), self.0.key().serialize_der())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn server_config(
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: Vec<u8>,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

/// TLS handshakes that a server completed. Clones count together.
#[derive(Clone, Default)]
pub struct Handshakes(Arc<Mutex<(usize, usize)>>);

impl Handshakes {
    pub fn count(&self, connection: &ServerConnection) {
        let (full, resumed) = &mut *self.0.lock().unwrap();
        match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => *resumed += 1,
            _ => *full += 1,
        }
    }

    /// With the server's certificate.
    pub fn full(&self) -> usize {
        self.0.lock().unwrap().0
    }

    /// With a ticket of an earlier connection.
    pub fn resumed(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

/// TLS server that passes decrypted bytes to another address.
pub struct TlsFront {
    address: SocketAddr,
    handshakes: Handshakes,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    cut: watch::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

impl TlsFront {
    pub fn start(behind: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let config = Arc::new(Mutex::new(config));
        let used = Arc::clone(&config);
        let cut = watch::Sender::new(());
        let sender = cut.clone();
        let handshakes = Handshakes::default();
        let counted = handshakes.clone();
        let (address, runtime) = accept(move |stream| {
            let acceptor = TlsAcceptor::from(Arc::clone(&used.lock().unwrap()));
            let mut cut = sender.subscribe();
            let counted = counted.clone();
            async move {
                let Ok(mut client) = acceptor.accept(stream).await else {
                    return;
                };
                counted.count(client.get_ref().1);
                let mut server = TcpStream::connect(behind).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = cut.changed() => {}
                }
            }
        });
        Self {
            address,
            handshakes,
            config,
            cut,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// The base URL with the address of this server.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Uses another certificate, and closes all connections.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config;
        self.close_all();
    }

    /// Closes all connections.
    pub fn close_all(&self) {
        self.cut.send_replace(());
    }
}
