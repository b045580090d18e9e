//! The process and its keeper: signals in, messages to systemd out.

use std::{os::unix::net::UnixDatagram, process, time::Duration};

use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval, sleep};
use wsfleetd::lifecycle::{Exit, Hearts, Signals, Stop, Tasks, notify, watchdog};

use crate::support::child::{PATIENCE, Role};

/// Where systemd listens: a real datagram socket.
struct Systemd {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Systemd {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, dir }
    }

    /// Starts a daemon that behaves as `behaviour` says, under this systemd.
    fn start(&self, behaviour: &str, watchdog: Duration) -> Role {
        let path = self.dir.path().join("notify");
        let vars = [
            ("NOTIFY_SOCKET", path.to_str().expect("a plain path")),
            ("WATCHDOG_USEC", &watchdog.as_micros().to_string()),
            ("BEHAVIOUR", behaviour),
        ];
        Role::start("lifecycle::daemon", &vars)
    }

    /// The next message, without its last newline.
    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    }

    /// The next message that is no sign of life.
    fn hears_news(&self) -> String {
        std::iter::repeat_with(|| self.hears()).find(|text| text != "WATCHDOG=1").expect("endless")
    }

    /// How many signs of life come within `span`.
    fn pings_within(&self, span: Duration) -> usize {
        std::thread::sleep(span);
        self.socket.set_nonblocking(true).expect("non-blocking");
        let mut buffer = [0; 4096];
        let pings = std::iter::from_fn(|| self.socket.recv(&mut buffer).ok()).count();
        self.socket.set_nonblocking(false).expect("blocking");
        pings
    }
}

const NO_WATCHDOG: Duration = Duration::ZERO;

#[test]
fn a_daemon_is_ready_is_reloaded_drains_and_leaves() {
    let systemd = Systemd::new();
    let mut daemon = systemd.start("drain", NO_WATCHDOG);
    assert_eq!(systemd.hears(), "READY=1\nSTATUS=serving 0 connections");
    for times in ["1", "2"] {
        daemon.signal("HUP");
        assert_eq!(systemd.hears(), format!("STATUS=reloaded {times} times"));
    }
    daemon.signal("TERM");
    assert_eq!(systemd.hears(), "STOPPING=1\nSTATUS=draining");
    assert_eq!(systemd.hears(), "EXTEND_TIMEOUT_USEC=1500000");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn an_interrupt_and_a_hand_over_stop_politely_too() {
    for signal in ["INT", "USR2"] {
        let systemd = Systemd::new();
        let mut daemon = systemd.start("drain", NO_WATCHDOG);
        assert!(systemd.hears().starts_with("READY=1"));
        daemon.signal(signal);
        assert!(systemd.hears().starts_with("STOPPING=1"), "{signal}");
        assert_eq!(daemon.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_ends_a_drain_that_lasts() {
    let systemd = Systemd::new();
    let mut daemon = systemd.start("linger", NO_WATCHDOG);
    assert!(systemd.hears().starts_with("READY=1"));
    daemon.signal("TERM");
    assert!(systemd.hears().starts_with("STOPPING=1"));
    daemon.signal("INT");
    assert_eq!(daemon.wait().code(), Some(1));
}

#[test]
fn a_daemon_deaf_to_the_hard_stop_is_ended_all_the_same() {
    let systemd = Systemd::new();
    let mut daemon = systemd.start("deaf", NO_WATCHDOG);
    assert!(systemd.hears().starts_with("READY=1"));
    daemon.signal("TERM");
    assert!(systemd.hears().starts_with("STOPPING=1"));
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(1));
}

#[test]
fn the_watchdog_is_fed_while_the_daemon_works_also_during_the_drain() {
    let systemd = Systemd::new();
    let daemon = systemd.start("linger", Duration::from_millis(300));
    assert!(systemd.hears_news().starts_with("READY=1"));
    assert!(systemd.pings_within(Duration::from_secs(1)) >= 4);
    daemon.signal("TERM");
    assert!(systemd.hears_news().starts_with("STOPPING=1"));
    assert!(systemd.pings_within(Duration::from_secs(1)) >= 4);
}

#[test]
fn the_watchdog_starves_when_the_work_stops_though_its_own_task_runs_on() {
    let systemd = Systemd::new();
    let _daemon = systemd.start("stall", Duration::from_millis(300));
    assert!(systemd.hears_news().starts_with("READY=1"));
    // The heart's limit is 200 ms: after that, silence.
    std::thread::sleep(Duration::from_secs(1));
    systemd.pings_within(Duration::ZERO);
    assert_eq!(systemd.pings_within(Duration::from_secs(1)), 0);
}

#[test]
fn without_systemd_nothing_is_sent_and_nothing_fails() {
    let mut daemon = Role::start("lifecycle::daemon", &[("BEHAVIOUR", "leave")]);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// Not a test but the daemon of the stories above.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as the child of the tests in this file"]
async fn daemon() {
    let Ok(behaviour) = std::env::var("BEHAVIOUR") else { return };
    let (stop, tasks, hearts) = (Stop::new(), Tasks::new(), Hearts::new());
    let signals = Signals::install().expect("signals");
    let mut reloads = signals.reloads();
    tasks.spawn("signals", signals.obey(stop.clone()));
    tasks.spawn("watchdog", watchdog(hearts.clone(), stop.clone()));
    tasks.spawn("work", work(hearts, behaviour == "stall", stop.clone()));
    notify::ready("serving 0 connections");
    if behaviour == "leave" {
        stop.begin();
    }

    let mut times = 0;
    while !stop.soft().is_cancelled() {
        tokio::select! {
            () = stop.soft().cancelled() => {}
            Ok(()) = reloads.changed() => {
                times += 1;
                notify::status(&format!("reloaded {times} times"));
            }
        }
    }
    notify::stopping("draining");
    notify::extend_timeout(Duration::from_millis(1500));
    match behaviour.as_str() {
        "linger" | "stall" => stop.hard().cancelled().await,
        "deaf" => sleep(PATIENCE).await,
        _ => process::exit(Exit::Ok as i32),
    }
    process::exit(Exit::Failure as i32);
}

/// A part of the daemon that does a round of work every 20 ms, unless it hangs.
async fn work(hearts: Hearts, hangs: bool, stop: Stop) {
    let heart = hearts.register("work", Duration::from_millis(200));
    let mut rounds = interval(Duration::from_millis(20));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.hard().is_cancelled() {
        if hangs {
            stop.hard().cancelled().await;
        }
        rounds.tick().await;
        heart.beat();
    }
}
