//! A certificate chain and its key, read from two PEM files and checked before anyone is shown
//! them.

use std::{path::Path, sync::Arc, time::SystemTime};

use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use x509_cert::der::Decode;

/// All that is spoken over TLS.
const PROTOCOL: &[u8] = b"http/1.1";

/// What is wrong with a certificate or its key; never quotes what stands in the files.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file without what it should hold.
    #[error("names {path}, which {problem}")]
    File {
        /// Which.
        path: String,
        /// Read after "which".
        problem: String,
    },
    /// Each is in order, but they do not belong together.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// Something rustls would not serve with.
    #[error("cannot be used for TLS: {0}")]
    Unusable(rustls::Error),
}

/// A certificate that can be served with.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    config: Arc<ServerConfig>,
    expires: SystemTime,
}

impl Certificate {
    /// Reads the chain, the listener's own certificate first, and the key of that.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Fault> {
        let (chain, expires) = read_chain(chain)?;
        let key = read_key(key)?;
        let config = Arc::new(config(chain.clone(), key.clone_key())?);
        Ok(Self { chain, key, config, expires })
    }

    /// What a handshake needs.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// When the first certificate of the chain does.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }
}

/// The same if nobody could tell them apart.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

/// Whether the file holds a chain of certificates.
///
/// # Errors
/// Why not.
pub fn check_chain(chain: &Path) -> Result<(), Fault> {
    read_chain(chain).map(drop)
}

/// Whether the key is one, and that of the chain; `Ok` if the chain itself is not in order.
///
/// # Errors
/// Why not.
pub fn check_pair(chain: &Path, key: &Path) -> Result<(), Fault> {
    let key = read_key(key)?;
    match read_chain(chain) {
        Ok((chain, _)) => config(chain, key).map(drop),
        Err(_) => Ok(()),
    }
}

fn read_chain(path: &Path) -> Result<(Vec<CertificateDer<'static>>, SystemTime), Fault> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(path, &error, "certificate"))?;
    let mut ends = Vec::new();
    for certificate in &chain {
        let parsed = x509_cert::Certificate::from_der(certificate)
            .map_err(|error| refuse(path, format!("holds a certificate that is none: {error}")))?;
        ends.push(parsed.tbs_certificate.validity.not_after.to_system_time());
    }
    match ends.into_iter().min() {
        Some(expires) => Ok((chain, expires)),
        None => Err(refuse(path, "holds no certificate in PEM")),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| fault(path, &error, "private key"))
}

fn fault(path: &Path, error: &pem::Error, what: &str) -> Fault {
    match error {
        pem::Error::Io(error) => refuse(path, format!("cannot be read: {error}")),
        pem::Error::NoItemsFound => refuse(path, format!("holds no {what} in PEM")),
        // Its other words may quote the file.
        _ => refuse(path, "is not valid PEM"),
    }
}

fn refuse(path: &Path, problem: impl Into<String>) -> Fault {
    Fault::File { path: path.display().to_string(), problem: problem.into() }
}

/// The provider is named, so that nothing depends on which one the process installed. Sessions are
/// resumed by tickets: what a client brings along needs no memory here.
fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Fault> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Fault::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(Fault::Unusable)?;
    Ok(config)
}

fn unfit(error: rustls::Error) -> Fault {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Fault::Mismatch,
        other => Fault::Unusable(other),
    }
}
