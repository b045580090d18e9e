//! Certificates for the listeners, and clients that look at them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::client::{PATIENCE, request};

/// A self-signed certificate for `localhost` and its key, each in a file of its own.
pub struct Issued {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Issued {
    /// Good for a year, in `dir` under the name `name`.
    pub fn new(dir: &Path, name: &str) -> Self {
        Self::expiring(dir, name, SystemTime::now() + Duration::from_secs(365 * 24 * 3600))
    }

    /// Good until `end`.
    pub fn expiring(dir: &Path, name: &str, end: SystemTime) -> Self {
        let issued = Self { chain: dir.join(format!("{name}.pem")), key: dir.join(name) };
        let key = KeyPair::generate().expect("a key");
        fs::write(&issued.key, key.serialize_pem()).expect("write the key");
        issued.sign(&key, end);
        issued
    }

    /// Another certificate for the same key, in another file.
    pub fn again(&self, chain: &Path) -> Self {
        let issued = Self { chain: chain.to_owned(), key: self.key.clone() };
        let key = fs::read_to_string(&self.key).expect("the key");
        let key = KeyPair::from_pem(&key).expect("a key");
        issued.sign(&key, SystemTime::now() + Duration::from_secs(100 * 24 * 3600));
        issued
    }

    fn sign(&self, key: &KeyPair, end: SystemTime) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = end.into();
        let certificate = params.self_signed(key).expect("a certificate");
        fs::write(&self.chain, certificate.pem()).expect("write the certificate");
    }

    /// As it goes over the wire.
    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.chain).expect("a certificate")
    }

    /// The two keys of `[listen]`.
    pub fn settings(&self) -> String {
        let (chain, key) = (self.chain.display(), self.key.display());
        format!("listen.tls_certificate = \"{chain}\"\nlisten.tls_key = \"{key}\"\n")
    }

    /// Shakes hands with a listener, believing this certificate only and offering `protocols`.
    pub async fn connect(
        &self,
        address: SocketAddr,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let dial = TlsConnector::from(Arc::new(config)).connect(name, stream);
        timeout(PATIENCE, dial).await.expect("the handshake ends")
    }

    /// Opens a WebSocket as `user`.
    pub async fn socket(
        &self,
        address: SocketAddr,
        user: &str,
    ) -> WebSocketStream<TlsStream<TcpStream>> {
        let stream = self.connect(address, &["http/1.1"]).await.expect("TLS");
        let request = request(address, "/Dev", &[("username", user)]);
        client_async(request, stream).await.expect("a WebSocket").0
    }
}
