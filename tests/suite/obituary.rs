//! A peer that is silent and whose machine EC2 calls terminated is not waited for; any other is,
//! and EC2 is asked seldom.
//!
//! Daemons with the metadata of machines that moto runs; the detector is made slow, so that what
//! EC2 has said shows. The metadata is served by the test's own runtime, which must not stand still
//! while a daemon starts: hence its second thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::sleep,
};

use crate::support::{
    fleet::{PATIENCE, eventually, get},
    imds::Imds,
    instance::Instance,
    moto::Moto,
    redis::RedisServer,
};

/// A peer is given up after 40 heartbeats.
const SLOW: &str = "[fleet]\nheartbeat = \"500ms\"\nsuspect_rounds = 40\nlease = \"2s\"\n";

/// Heartbeats come up to a tenth early.
const GIVEN_UP: Duration = Duration::from_secs(18);

/// Two heartbeats until it is asked, at most one period (5 s) until it is asked again, and the call.
const AT_ONCE: Duration = Duration::from_secs(9);

/// `ASK_PERIOD` and the attempts of the SDK; each daemon also asks about itself when it starts.
const PERIOD: Duration = Duration::from_secs(5);
const ATTEMPTS: u64 = 2;

/// Two daemons on machines of EC2's.
struct Machines {
    redis: RedisServer,
    stays: Instance,
    dies: Instance,
    _metadata: [Imds; 2],
}

impl Machines {
    async fn start(ids: [&str; 2], ec2: &str) -> Self {
        let redis = RedisServer::start();
        let settings = format!("[redis]\nurl = \"{}\"\n{SLOW}", redis.url());
        let place = ("placement/region", "eu-west-1");
        let metadata = [
            Imds::start(&[("instance-id", ids[0]), place]).await,
            Imds::start(&[("instance-id", ids[1]), place]).await,
        ];
        let start = |metadata: &Imds| {
            let endpoint = metadata.endpoint();
            let variables = [
                ("AWS_EC2_METADATA_DISABLED", "false"),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
                ("AWS_ENDPOINT_URL", ec2),
                ("AWS_CONFIG_FILE", "/dev/null"),
                ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
                ("AWS_ACCESS_KEY_ID", "AKIATEST"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("NO_PROXY", "127.0.0.1"),
            ];
            Instance::start_in(&variables, &settings)
        };
        let (stays, dies) = (start(&metadata[0]), start(&metadata[1]));
        for instance in [&stays, &dies] {
            eventually("it is ready", PATIENCE, async || {
                get(instance.admin(), "/readyz").await.0 == 200
            })
            .await;
        }
        let machines = Self { redis, stays, dies, _metadata: metadata };
        machines.dies.connect("Sid").await;
        assert_eq!(machines.members(), 2);
        assert!(!machines.stays.log().contains("taken for no EC2 instance"));
        // Each has read who the other is.
        sleep(Duration::from_secs(2)).await;
        machines
    }

    fn members(&self) -> usize {
        self.redis.ask(&["HLEN", "wsfleetd:{m}:hb"]).parse().expect("a count")
    }

    /// How long it takes from now until only one is a member.
    async fn until_given_up(&self) -> Duration {
        eventually("it is given up", GIVEN_UP * 2, async || self.members() == 1).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_machine_is_terminated_is_not_waited_for() {
    let moto = Moto::start();
    let (here, there) = (moto.lone_instance(), moto.lone_instance());
    let mut machines = Machines::start([&here, &there], &moto.endpoint()).await;
    machines.dies.kill();
    moto.terminate(&there);
    let took = machines.until_given_up().await;
    println!("given up {took:.1?} after its machine was terminated");
    assert!(took < AT_ONCE, "{took:?}");
    machines.stays.logs(&format!("EC2 says that {there} is terminated")).await;
    // And what it held is freed, for nobody waits for anything any more.
    eventually("its entry is gone", PATIENCE, async || {
        machines.redis.ask(&["--scan", "--pattern", "wsfleetd:*:u:*"]).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_machine_runs_or_is_stopped_is_waited_for() {
    let moto = Moto::start();
    let (here, there) = (moto.lone_instance(), moto.lone_instance());
    let mut machines = Machines::start([&here, &there], &moto.endpoint()).await;
    machines.dies.kill();
    let start = Instant::now();
    sleep(AT_ONCE / 2).await;
    // One that is stopped may be started again, with what was frozen in it.
    moto.stop(&there);
    while start.elapsed() < GIVEN_UP - Duration::from_secs(2) {
        assert_eq!(machines.members(), 2, "given up after {:?}", start.elapsed());
        sleep(Duration::from_millis(200)).await;
    }
    machines.until_given_up().await;
    println!("given up after {:.1?}, as without EC2", start.elapsed());
    assert!(!machines.stays.log().contains("EC2 says"), "{}", machines.stays.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ec2_that_refuses_is_asked_seldom_and_holds_nothing_up() {
    is_asked_seldom(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ec2_that_does_not_answer_is_asked_seldom_and_holds_nothing_up() {
    is_asked_seldom(false).await;
}

async fn is_asked_seldom(answers: bool) {
    let ec2 = Throttled::start(answers).await;
    let mut machines = Machines::start(["i-0aaaa", "i-0bbbb"], &ec2.endpoint).await;
    // What each asks about itself has come to nothing.
    sleep(PERIOD + Duration::from_secs(6)).await;
    let before = ec2.calls();
    machines.dies.kill();
    let start = Instant::now();
    machines.until_given_up().await;
    let (took, calls) = (start.elapsed(), ec2.calls() - before);
    println!("answers: {answers}: given up after {took:.1?}, {calls} calls meanwhile");
    assert!(took > GIVEN_UP - Duration::from_secs(2), "{took:?}");
    assert!(calls > 0, "it is asked");
    let most = (took.as_secs() / PERIOD.as_secs() + 1) * ATTEMPTS;
    assert!(calls <= most, "{calls} calls in {took:?}");
    let log = machines.stays.log();
    assert!(!log.contains("lost the lease"), "the lease waits for nobody: {log}");
    assert!(log.contains("EC2 did not answer ec2:DescribeInstances"), "{log}");
}

/// An EC2 that says that it is asked too often, or nothing at all.
struct Throttled {
    endpoint: String,
    calls: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

impl Throttled {
    async fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let calls = Arc::new(AtomicU64::new(0));
        let (mut server, count) = (JoinSet::new(), calls.clone());
        server.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                open.spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    if answers {
                        let _ = stream.write_all(refusal().as_bytes()).await;
                    } else {
                        sleep(Duration::from_secs(60)).await;
                    }
                });
            }
        });
        Self { endpoint, calls, _server: server }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// As EC2's documentation of its errors has it.
fn refusal() -> String {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
                <Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message>\
                </Error></Errors><RequestID>0</RequestID></Response>";
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}
