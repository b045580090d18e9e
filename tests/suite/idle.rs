//! Connections that a load balancer keeps open and says nothing on.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::instance::Instance;

#[tokio::test]
async fn an_idle_http_connection_does_not_delay_a_stop() {
    let mut instance = Instance::start("");
    let mut asked = TcpStream::connect(instance.app()).await.unwrap();
    asked.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    let length = asked.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    let _silent = TcpStream::connect(instance.api()).await.unwrap();
    let (status, took) = instance.stop();
    assert!(status.success(), "{status}: {}", instance.log());
    assert!(took < Duration::from_secs(8), "{took:?}");
    let end = timeout(Duration::from_secs(5), asked.read(&mut answer)).await.expect("it is closed");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
