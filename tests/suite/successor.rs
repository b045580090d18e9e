//! One process after the other under systemd's FD store: the listeners go on, the clients come
//! again.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, task::JoinHandle, time::sleep};

use crate::support::{
    client::Client,
    instance::{Instance, write_above},
    systemd::Manager,
};

const NAMES: [&str; 3] = ["listen.admin", "listen.api", "listen.app"];

/// Clients that connect, talk to themselves and leave, one after the other, until told to end.
struct Hammer {
    over: Arc<AtomicBool>,
    strokes: Vec<JoinHandle<Result<u32, String>>>,
}

impl Hammer {
    fn on(address: SocketAddr, width: usize) -> Self {
        let over = Arc::<AtomicBool>::default();
        let strokes = (0..width).map(|_| tokio::spawn(strike(address, over.clone())));
        Self { strokes: strokes.collect(), over }
    }

    /// How often it went well; it must never have been refused.
    async fn end(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        let mut all = 0;
        for stroke in self.strokes {
            all += stroke.await.expect("it ends").expect("no connection is refused");
        }
        all
    }
}

/// Whoever is connected when the process stops is sent away, and comes again; only a connection
/// that is refused is a failure.
async fn strike(address: SocketAddr, over: Arc<AtomicBool>) -> Result<u32, String> {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        match TcpStream::connect(address).await {
            Ok(stream) => drop(stream),
            Err(error) => return Err(format!("after {count}: {error}")),
        }
        if let Ok(client) = Client::try_connect(address, "/Dev", "Sunil").await {
            client.close().await;
        }
        count += 1;
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_refuses_nobody() {
    let manager = Manager::new();
    let mut instance = Instance::start_managed(&manager, "");
    let addresses = [instance.app(), instance.api(), instance.admin()];
    assert_eq!(manager.kept(), NAMES);
    let hammer = Hammer::on(instance.app(), 4);
    for _ in 0..3 {
        let mut sid = instance.connect("Sid").await;
        instance.signal("USR2");
        assert_eq!(sid.expect_close().await, (1001, "Going away".into()));
        assert_eq!(instance.wait().code(), Some(0), "{}", instance.log());
        // Nobody accepts now, and yet nobody is turned away.
        sleep(Duration::from_millis(300)).await;
        instance = instance.succeed(&manager);
        assert_eq!([instance.app(), instance.api(), instance.admin()], addresses);
        assert!(instance.log().contains("took listen.app over"), "{}", instance.log());
    }
    let count = hammer.end().await;
    println!("{count} rounds");
    assert!(count > 20, "{count} rounds are no load");
    assert_eq!(manager.kept(), NAMES, "kept once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_whoever_waits_is_served_by_the_next_process() {
    let manager = Manager::new();
    let mut instance = Instance::start_managed(&manager, "");
    let app = instance.app();
    instance.kill();
    let waiting = tokio::spawn(async move { Client::connect(app, "/Dev", "Sid").await });
    sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "there is nobody who could have answered");
    let _next = instance.succeed(&manager);
    let mut sid = waiting.await.expect("served");
    sid.send("Sid", "1").await;
    sid.expect("1").await;
}

#[tokio::test]
async fn a_stop_refuses_at_once_though_systemd_holds_a_copy() {
    let manager = Manager::new();
    let mut instance = Instance::start_managed(&manager, "");
    let app = instance.app();
    // Deaf: it keeps the daemon draining.
    let _mute = crate::support::raw::Raw::connect(app, "Sid").await;
    instance.signal("TERM");
    manager.hears("FDSTOREREMOVE=1\nFDNAME=listen.app").await;
    manager.hears("STOPPING=1").await;
    let refused = TcpStream::connect(app).await.map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
    assert_eq!(instance.wait().code(), Some(0), "{}", instance.log());
    assert_eq!(manager.kept(), [""; 0], "nothing is left for a next process");
}

#[tokio::test]
async fn a_listener_that_is_not_wanted_any_more_is_replaced() {
    let manager = Manager::new();
    let mut instance = Instance::start_managed(&manager, "");
    let (app, api) = (instance.app(), instance.api());
    instance.signal("USR2");
    instance.wait();
    // What another version may have left, and addresses that change places.
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let strange = stranger.local_addr().expect("its address");
    manager.plant("listen.other", stranger.into());
    manager.plant(
        "connections",
        std::os::unix::net::UnixDatagram::unbound().expect("a socket").into(),
    );
    let swapped = format!("[listen]\napp = \"{api}\"\napi = \"{app}\"\n");
    write_above(instance.dir(), &swapped);
    let next = instance.succeed(&manager);
    assert_eq!((next.app(), next.api()), (api, app));
    next.connect("Sid").await.close().await;
    assert!(TcpStream::connect(strange).await.is_err(), "the stranger's is still open");
    assert_eq!(manager.kept(), NAMES);
}

#[tokio::test]
async fn descriptors_for_another_process_are_left_alone() {
    let manager = Manager::new();
    let variables = [("LISTEN_PID", "1"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "a:b:c")];
    let instance = Instance::start_in(&variables, "");
    instance.connect("Sid").await.close().await;
    assert_eq!(manager.heard(), [""; 0]);
}
