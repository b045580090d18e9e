//! An instance that alone cannot reach Redis leaves the load balancer and sends its clients away;
//! an outage that all see closes nothing.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually, get},
    instance::Instance,
    proxy::{Line, Proxy},
};

/// Everything some six times as fast as the default.
const HASTY: &str = "[fleet]\nheartbeat = \"250ms\"\nsuspect_rounds = 4\nlease = \"800ms\"\n\
                     cut_off_after = \"2500ms\"\n";

/// How long the decision may take: `cut_off_after`, two rounds of questions, a busy machine.
const DECISION: Duration = Duration::from_secs(10);

/// A fleet of which some instances reach Redis over a line that can be cut.
struct Fleet {
    direct: TestFleet,
    lines: Vec<Proxy>,
    behind: Vec<Instance>,
}

impl Fleet {
    async fn start(direct: usize, behind: usize, drain: &str) -> Self {
        let more = format!("{HASTY}cut_off_drain = \"{drain}\"\n");
        let direct = TestFleet::with_settings(direct, &more).await;
        let lines: Vec<_> = (0..behind).map(|_| Proxy::to_port(direct.redis.port())).collect();
        let start = |line: &Proxy| {
            let quick = "connect_timeout = \"300ms\"\ncommand_timeout = \"300ms\"";
            Instance::start(&format!("[redis]\nurl = \"{}\"\n{quick}\n{more}", line.url()))
        };
        let behind: Vec<_> = lines.iter().map(start).collect();
        let fleet = Self { direct, lines, behind };
        for instance in &fleet.behind {
            eventually("the instance is ready", PATIENCE, async || {
                get(instance.admin(), "/readyz").await.0 == 200
            })
            .await;
        }
        // And knows who the others are.
        sleep(Duration::from_secs(1)).await;
        fleet
    }
}

/// Status and headers of `/api/healthz`.
async fn health(address: SocketAddr) -> (u16, String) {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = "GET /api/healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some((answer.split(' ').nth(1)?.parse().ok()?, answer.to_ascii_lowercase()))
    };
    timeout(PATIENCE, ask).await.ok().flatten().unwrap_or_default()
}

/// On both ports.
async fn is_red(instance: &Instance) -> bool {
    let api = health(instance.api()).await.0;
    api == 503 && get(instance.app(), "/healthz").await.0 == 503
}

#[tokio::test]
async fn an_instance_cut_off_alone_sends_its_clients_away_and_comes_back() {
    let fleet = Fleet::start(3, 1, "3s").await;
    let mut sunil = fleet.direct.connect(0, "Sunil").await;
    let mut sid = fleet.behind[0].connect("Sid").await;
    let (status, head) = health(fleet.behind[0].api()).await;
    assert!(status == 200 && head.contains("x-wsfleetd-redis: up\r\n"), "{head}");

    fleet.lines[0].set(Line::Blackhole);
    let took = eventually("it is red", DECISION, async || is_red(&fleet.behind[0]).await).await;
    println!("red after {took:?}");
    let (_, head) = health(fleet.behind[0].api()).await;
    assert!(head.contains("x-wsfleetd-redis: down\r\n"), "{head}");
    for at in 0..3 {
        let (status, head) = health(fleet.direct[at].api()).await;
        assert!(status == 200 && head.contains("x-wsfleetd-redis: up\r\n"), "{head}");
    }
    assert_eq!(sid.expect_close().await.0, 1001);
    fleet.behind[0].logs("cut off from Redis for").await;
    let mut sid = fleet.direct.connect(1, "Sid").await;
    sunil.send("Sid", "1").await;
    sid.expect("1").await;

    fleet.lines[0].set(Line::Open);
    eventually("it is back", DECISION, async || {
        fleet.direct.members() == 4 && !is_red(&fleet.behind[0]).await
    })
    .await;
    let mut ann = fleet.behind[0].connect("Ann").await;
    sunil.send("Ann", "2").await;
    ann.expect("2").await;
}

#[tokio::test]
async fn an_instance_that_drains_and_was_given_up_closes_what_is_left() {
    let fleet = Fleet::start(3, 1, "90s").await;
    let mut sid = fleet.behind[0].connect("Sid").await;
    fleet.lines[0].set(Line::Blackhole);
    eventually("it is red", DECISION, async || is_red(&fleet.behind[0]).await).await;
    sid.expect_silence().await;
    eventually("it is given up", DECISION, async || fleet.direct.entries() == 0).await;
    fleet.lines[0].set(Line::Open);
    // It would have been Sid's turn in half a minute at the earliest.
    assert_eq!(sid.expect_close().await.0, 1001);
    eventually("it is back", DECISION, async || fleet.direct.members() == 4).await;
    assert_eq!(fleet.direct.entries(), 0, "and nobody with it");
}

#[tokio::test]
async fn an_outage_that_all_see_closes_nothing() {
    let mut fleet = Fleet::start(3, 0, "1s").await;
    let mut clients: Vec<Client> = Vec::new();
    for at in 0..3 {
        clients.push(fleet.direct.connect(at, "Sid").await);
    }
    fleet.direct.redis.stop();
    sleep(Duration::from_secs(8)).await;
    for at in 0..3 {
        let (status, head) = health(fleet.direct[at].api()).await;
        assert!(status == 200 && head.contains("x-wsfleetd-redis: down\r\n"), "{head}");
        assert!(!fleet.direct[at].log().contains("cut off from Redis for"));
    }
    for client in &mut clients {
        client.expect_silence().await;
        client.send("Sid", "1").await;
        client.expect("1").await;
    }
    fleet.direct.redis.start_again();
    eventually("all are known again", PATIENCE, async || fleet.direct.entries() == 3).await;
}

#[tokio::test]
async fn more_than_a_third_never_drains_and_nobody_does_in_a_fleet_of_two() {
    for (direct, behind) in [(2, 2), (1, 1)] {
        let fleet = Fleet::start(direct, behind, "1s").await;
        let mut clients = Vec::new();
        for instance in &fleet.behind {
            clients.push(instance.connect("Sid").await);
        }
        fleet.lines.iter().for_each(|line| line.set(Line::Blackhole));
        sleep(Duration::from_secs(8)).await;
        for (instance, client) in fleet.behind.iter().zip(&mut clients) {
            assert!(!is_red(instance).await, "{behind} of {} are cut off", direct + behind);
            assert!(instance.log().contains("and so may be others"), "it has asked");
            client.expect_silence().await;
        }
    }
}
