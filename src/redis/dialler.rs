//! How a server is reached: address, login, certificates, timeouts.
//!
//! One of these serves for all servers of a cluster, which differ in their addresses only.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates,
    io::tcp::TcpSettings,
};
use secrecy::ExposeSecret;
use tokio::sync::watch;

use super::Config;

/// Host and port.
pub(super) type Address = (String, u16);

/// Makes clients.
#[derive(Clone)]
pub(super) struct Dialler {
    info: ConnectionInfo,
    ca_pem: Option<Vec<u8>>,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
    pub pool_size: u32,
    pub in_cluster: bool,
    /// Grows whenever another server, or another start of one, stands where one stood: what was
    /// written last may be lost with that one.
    pub replaced: Arc<watch::Sender<u64>>,
}

impl Dialler {
    pub fn new(config: &Config) -> RedisResult<Self> {
        let info = connection_info(config)?;
        let client = client(info, config.ca_pem.clone())?;
        Ok(Self {
            info: client.get_connection_info().clone(),
            ca_pem: config.ca_pem.clone(),
            connect_timeout: config.connect_timeout,
            command_timeout: config.command_timeout,
            pool_size: config.pool_size,
            in_cluster: config.cluster,
            replaced: Arc::default(),
        })
    }

    /// What `redis.url` says.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The same for another server.
    pub fn info_of(&self, (host, port): &Address) -> ConnectionInfo {
        let mut address = self.info.addr().clone();
        match &mut address {
            ConnectionAddr::TcpTls { host: name, port: number, .. }
            | ConnectionAddr::Tcp(name, number) => {
                host.clone_into(name);
                *number = *port;
            }
            // A socket in the file system, or what a later redis-rs knows: there is only one.
            _ => {}
        }
        self.info.clone().set_addr(address)
    }

    pub fn ca_pem(&self) -> Option<&[u8]> {
        self.ca_pem.as_deref()
    }
}

/// The host a server is reached at; empty for a socket in the file system.
pub(super) fn host_of(info: &ConnectionInfo) -> &str {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
}

fn client(info: ConnectionInfo, ca_pem: Option<Vec<u8>>) -> RedisResult<Client> {
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if !tls || ca_pem.is_none() {
        return Client::open(info);
    }
    let settings = info.tcp_settings().clone();
    let client =
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: ca_pem })?;
    let info = client.get_connection_info().clone().set_tcp_settings(settings);
    Client::open(info)
}

fn connection_info(config: &Config) -> RedisResult<ConnectionInfo> {
    let info = config.url.expose_secret().into_connection_info()?;
    let mut login =
        info.redis_settings().clone().set_lib_name("wsfleetd", env!("CARGO_PKG_VERSION"));
    if !config.username.is_empty() {
        login = login.set_username(&config.username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password.expose_secret());
    }
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp_settings(config.command_timeout)))
}

/// redis-rs leaves Nagle on in 1.x; and only the kernel can tell a blackholed socket early.
fn tcp_settings(command_timeout: Duration) -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(3));
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(command_timeout * 5)
}
