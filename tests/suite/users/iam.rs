//! Logging in to RDS by the instance's role: the token is what an implementation that is not ours
//! makes of the same moment, and it is what the server gets, over TLS only.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls};
use url::Url;
use wsfleetd::{
    config::settings::{Database, DatabaseAuth},
    users::{
        Directory, PostgresDirectory,
        iam::{Login, token},
    },
};

use super::database;
use crate::support::{child::Role, moto};

/// What botocore makes of host, port, user, region and a session's three secrets.
const BOTOCORE: &str = "
import sys, botocore.session
host, port, user, region, key, secret, session = sys.argv[1:]
botocore = botocore.session.get_session()
botocore.set_credentials(key, secret, session or None)
client = botocore.create_client('rds', region_name=region)
print(client.generate_db_auth_token(DBHostname=host, Port=int(port), DBUsername=user))
";

const HOST: &str = "fleet.cluster-abc.eu-west-1.rds.amazonaws.com";

fn pairs(token: &str) -> BTreeMap<String, String> {
    let url = Url::parse(&format!("https://{token}")).expect("a token is a URL without scheme");
    url.query_pairs().into_owned().collect()
}

/// When it was made, to the second.
fn date(token: &str) -> SystemTime {
    let text = &pairs(token)["X-Amz-Date"];
    let (y, m, d) = (&text[..4], &text[4..6], &text[6..8]);
    let (hour, minute, second) = (&text[9..11], &text[11..13], &text[13..15]);
    humantime::parse_rfc3339(&format!("{y}-{m}-{d}T{hour}:{minute}:{second}Z")).expect("a time")
}

fn made_by_us(login: &Login, secret: &str, session: Option<&str>, like: &str) -> String {
    let session = session.map(str::to_owned);
    let credentials = Credentials::new("AKIATEST", secret, session, None, "test");
    let made = token(login, "eu-west-1", credentials, date(like)).expect("a token");
    made.expose_secret().to_owned()
}

#[test]
fn the_token_is_the_one_botocore_makes() {
    for (user, session) in
        [("wsfleetd", None), ("app user", Some("IQoJ+b3/JpZ2lu==")), ("ünï~co*de'&=", None)]
    {
        let done = Command::new(format!("{}/python", moto::installed()))
            .args(["-c", BOTOCORE, HOST, "5432", user, "eu-west-1", "AKIATEST", "s+cr/et"])
            .arg(session.unwrap_or_default())
            .env("AWS_CONFIG_FILE", "/dev/null")
            .output()
            .expect("python runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let theirs = String::from_utf8(done.stdout).expect("text").trim().to_owned();
        let login = Login { host: HOST.into(), port: 5432, user: user.into() };
        let ours = made_by_us(&login, "s+cr/et", session, &theirs);
        assert_eq!(pairs(&ours), pairs(&theirs), "{user}");
        let head = format!("{HOST}:5432/?");
        assert!(ours.starts_with(&head) && theirs.starts_with(&head), "{ours}");
        assert_eq!(pairs(&ours)["X-Amz-Expires"], "900");
        assert!(!ours.contains('+'), "RDS wants %20: {ours}");
    }
}

/// A server that asks for a password in clear, as RDS does, and keeps what it is given.
pub struct Rds {
    folder: TempDir,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Rds {
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a directory");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let own = own.signed_by(&key, &ca).unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { folder, listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// Of the certificate it shows.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The password of the next connection, which is then refused.
    pub async fn password(&self) -> io::Result<String> {
        let (mut plain, _) = self.listener.accept().await?;
        let first = message(&mut plain).await?;
        assert_eq!(first, 80_877_103_u32.to_be_bytes(), "TLS is asked for before anything is said");
        plain.write_all(b"S").await?;
        let mut stream = self.acceptor.accept(plain).await?;
        message(&mut stream).await?;
        // AuthenticationCleartextPassword
        stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, b'p');
        let password = message(&mut stream).await?;
        let error = b"SFATAL\0VFATAL\0C28P01\0Mrefused by the test\0\0";
        stream.write_u8(b'E').await?;
        stream.write_u32(error.len() as u32 + 4).await?;
        stream.write_all(error).await?;
        stream.flush().await?;
        Ok(String::from_utf8_lossy(password.strip_suffix(b"\0").unwrap_or_default()).into_owned())
    }
}

/// The body of a message behind its length.
async fn message(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

#[tokio::test]
async fn the_server_gets_a_token_of_the_role_over_tls() {
    let rds = Rds::start().await;
    let log = rds.folder.path().join("log");
    let mut client = start_client(&rds, rds.port(), &log);
    let patience = Duration::from_secs(30);
    let first = tokio::time::timeout(patience, rds.password()).await.expect("in time").unwrap();
    let login = Login { host: "127.0.0.1".into(), port: rds.port(), user: "app".into() };
    assert_eq!(first, made_by_us(&login, "s+cr/et", None, &first));
    let age = SystemTime::now().duration_since(date(&first)).unwrap_or_default();
    assert!(age < patience, "made now: {age:?}");
    // Another connection: the token is still good.
    let second = tokio::time::timeout(patience, rds.password()).await.expect("in time").unwrap();
    assert_eq!(second, first);
    client.wait();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("refused by the test"), "{said}");
    assert!(!said.contains("X-Amz-Signature"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_gets_no_token() {
    let rds = Rds::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let log = rds.folder.path().join("log");
    let mut client = start_client(&rds, listener.local_addr().unwrap().port(), &log);
    for _ in 0..2 {
        let accepting = tokio::time::timeout(Duration::from_secs(30), listener.accept());
        let (mut stream, _): (TcpStream, _) = accepting.await.expect("in time").unwrap();
        message(&mut stream).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
    client.wait();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("does not support TLS"), "{said}");
}

/// A process on an instance with a role, which believes the CA of `rds` and connects to `port`.
fn start_client(rds: &Rds, port: u16, log: &Path) -> Role {
    let (port, ca) = (port.to_string(), rds.folder.path().join("ca.pem"));
    let vars = [
        ("RDS_PORT", port.as_str()),
        ("RDS_CA", ca.to_str().expect("a plain path")),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "s+cr/et"),
    ];
    Role::start_logging("users::iam::client", &vars, log)
}

/// Another process, so that the environment is its own.
#[tokio::test]
#[ignore = "runs as the child of the tests in this file"]
async fn client() {
    let Ok(port) = std::env::var("RDS_PORT") else { return };
    let ca = std::env::var("RDS_CA").expect("the CA's file");
    let settings = Database {
        auth: DatabaseAuth::RdsIam,
        ca_file: Some(ca.into()),
        ..database(&format!("postgres://app@127.0.0.1:{port}/app"))
    };
    let directory = PostgresDirectory::open(&settings).expect("settings that can work");
    eprintln!("{directory:?}");
    for _ in 0..2 {
        eprintln!("{}", directory.check().await.expect_err("nobody is let in"));
    }
}

#[tokio::test]
async fn settings_that_would_send_the_token_in_clear_or_to_several_are_refused() {
    for (url, problem) in [
        ("postgres://app@db/app?sslmode=disable", "sends no token without TLS"),
        ("postgres://app@one,two/app", "one host"),
        ("postgres://db/app", "names no user"),
        ("postgres://app@%2Frun%2Fpostgresql/app", "one host"),
    ] {
        let settings = Database { auth: DatabaseAuth::RdsIam, ..database(url) };
        let refused = PostgresDirectory::open(&settings).unwrap_err().to_string();
        assert!(refused.contains(problem), "{url}: {refused}");
        assert!(refused.starts_with("database.url: "), "{refused}");
    }
}
