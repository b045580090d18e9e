//! The hot connection to Redis, when it has to be made anew.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::Duration,
};

use crate::support::fleet::{PATIENCE, TestFleet, eventually, get};

/// More than the instances had connections: one of these gets the number that one of those had.
const BYSTANDERS: usize = 30;

/// A Redis that was restarted counts its clients from the beginning again.
#[tokio::test]
async fn an_instance_kills_its_own_late_connection_and_nobody_elses() {
    let mut fleet = TestFleet::start(2).await;
    fleet.redis.stop();
    see_redis(&fleet, false).await;
    let port = fleet.redis.port();
    // They knock all the time, the instances every half second: they come first.
    let knocking: Vec<_> = (0..BYSTANDERS).map(|_| thread::spawn(move || knock(port))).collect();
    fleet.redis.start_again();
    let bystanders: Vec<_> =
        knocking.into_iter().map(|one| one.join().expect("it is in")).collect();
    see_redis(&fleet, true).await;
    for mut bystander in bystanders {
        assert!(is_answered(&mut bystander), "somebody has killed a stranger's connection");
    }
}

/// Waits until both instances have a connection, or have noticed that they have none.
async fn see_redis(fleet: &TestFleet, up: bool) {
    for instance in [&fleet[0], &fleet[1]] {
        eventually("the instance sees Redis come or go", PATIENCE, async || {
            get(instance.admin(), "/readyz").await.1.contains("redis") != up
        })
        .await;
    }
}

/// A connection to a server that is just starting.
fn knock(port: u16) -> TcpStream {
    loop {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            if is_answered(&mut stream) {
                return stream;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG\r\n"
}
