//! TLS to PostgreSQL: whom to trust.
//!
//! Where it is used it is always verified, name and chain: `sslmode=prefer` may go without where
//! the server has none, but never with a certificate nobody knows.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect::setting;
use crate::{config::settings::Database, users::Error};

/// The CAs believed, ready for any number of connections.
#[derive(Clone)]
pub struct Tls(MakeRustlsConnect);

impl Tls {
    /// Trusts `database.ca_file`, else what the system trusts.
    pub fn new(database: &Database, config: &Config) -> Result<Self, Error> {
        let roots = match may_be_used(config) {
            true => roots(database, config)?,
            false => RootCertStore::empty(),
        };
        Ok(Self(MakeRustlsConnect::new(client_config(roots)?)))
    }

    /// What the driver wants for one connection.
    pub fn connect(&self) -> MakeRustlsConnect {
        self.0.clone()
    }
}

/// The driver's type has none.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn may_be_used(config: &Config) -> bool {
    let over_tcp = |host: &Host| matches!(host, Host::Tcp(_));
    config.get_ssl_mode() != SslMode::Disable
        && (config.get_hosts().is_empty() || config.get_hosts().iter().any(over_tcp))
}

fn roots(database: &Database, config: &Config) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &database.ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() && config.get_ssl_mode() == SslMode::Require {
            let remedy = "not set, and the system has no CA certificates: install ca-certificates";
            return Err(setting("database.ca_file", remedy));
        }
        return Ok(roots);
    };
    let refuse = |problem: &dyn fmt::Display| {
        setting("database.ca_file", &format!("{}: {problem}", path.display()))
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| refuse(&e))? {
        roots.add(certificate.map_err(|e| refuse(&e))?).map_err(|e| refuse(&e))?;
    }
    if roots.is_empty() {
        return Err(refuse(&"it holds no certificate in PEM"));
    }
    Ok(roots)
}

/// The provider is named, so that nothing depends on which one the process installed.
fn client_config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| setting("database.url", &format!("TLS cannot be set up: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_must_hold_certificates() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for (path, problem) in
            [(empty.path(), "holds no certificate"), ("/nowhere/ca.pem".as_ref(), "No such file")]
        {
            let database = Database { ca_file: Some(path.into()), ..Database::default() };
            let config: Config = "postgres://db/app?sslmode=require".parse().unwrap();
            let refusal = Tls::new(&database, &config).unwrap_err().to_string();
            assert!(refusal.starts_with("database.ca_file: "), "{refusal}");
            assert!(refusal.contains(problem), "{refusal}");
        }
    }

    #[test]
    fn sockets_and_plain_connections_need_no_roots() {
        for url in ["postgres://%2Frun%2Fpostgresql/app", "postgres://db/app?sslmode=disable"] {
            assert!(!may_be_used(&url.parse().unwrap()), "{url}");
        }
        assert!(may_be_used(&"postgres://db/app".parse().unwrap()));
    }
}
