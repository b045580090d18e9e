//! The seam to AWS: the metadata service on the real wire, EC2 as moto plays it.
//!
//! What is asked for comes from the environment, as on an instance, so the asking is done by a
//! child process with an environment of its own.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use wsfleetd::{
    config::settings::{Fleet, IdentitySource, Instance, Telemetry},
    fleet::{
        ec2::{Ec2, aws::AwsEc2, report_own},
        identity::identify,
    },
    telemetry,
};

use crate::support::{child::Role, imds::Imds, moto::Moto};

const INSTANCE: [(&str, &str); 4] = [
    ("instance-id", "i-0123456789abcdef0"),
    ("placement/availability-zone", "eu-west-1b"),
    ("placement/region", "eu-west-1"),
    ("local-ipv4", "10.1.2.3"),
];

/// A process on some machine, asking about itself or about others; its answers end up in files.
struct Asker {
    role: Role,
    dir: TempDir,
}

impl Asker {
    fn start(question: &str, vars: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let answer = dir.path().join("answer");
        // Neither the machine's own AWS configuration nor its proxy settings may play a part.
        let mut all = vec![
            ("QUESTION", question),
            ("ANSWER", answer.to_str().expect("a plain path")),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_ACCESS_KEY_ID", "AKIATEST"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("NO_PROXY", "127.0.0.1"),
        ];
        all.extend_from_slice(vars);
        let log = dir.path().join("log");
        Self { role: Role::start_logging("aws::asker", &all, &log), dir }
    }

    /// Waits for the end; gives the answer and the log.
    async fn answer(mut self) -> (String, String) {
        let dir = self.dir;
        let waited = tokio::task::spawn_blocking(move || self.role.wait()).await;
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let (answer, log) = (read("answer"), read("log"));
        assert!(waited.expect("waiting works").success(), "{log}");
        (answer, log)
    }
}

async fn who_am_i(identity: &str, id: &str, endpoint: &str) -> (String, String) {
    let vars =
        [("IDENTITY", identity), ("ID", id), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)];
    Asker::start("who am I", &vars).answer().await
}

#[tokio::test]
async fn an_instance_learns_from_its_metadata_who_and_where_it_is() {
    let imds = Imds::start(&INSTANCE).await;
    for identity in ["auto", "imds"] {
        let (answer, _) = who_am_i(identity, "", &imds.endpoint()).await;
        let expected = "i-0123456789abcdef0 from Imds in eu-west-1b of eu-west-1 at 10.1.2.3";
        assert_eq!(answer, expected, "{identity}");
    }
    let log = imds.log();
    assert_eq!(log.iter().filter(|line| line.starts_with("PUT")).count(), 2, "one token each");
    assert!(log.iter().all(|line| line.ends_with(" 200")), "{log:?}");
}

#[tokio::test]
async fn what_the_metadata_lacks_stays_unknown() {
    let imds = Imds::start(&INSTANCE[..1]).await;
    let (answer, _) = who_am_i("imds", "", &imds.endpoint()).await;
    assert_eq!(answer, "i-0123456789abcdef0 from Imds in - of - at -");
}

#[tokio::test]
async fn a_label_of_the_operators_wins_but_the_place_is_still_learnt() {
    let imds = Imds::start(&INSTANCE).await;
    let (answer, _) = who_am_i("auto", "blue-1", &imds.endpoint()).await;
    assert_eq!(answer, "blue-1 from Settings in eu-west-1b of eu-west-1 at 10.1.2.3");
}

#[tokio::test]
async fn a_machine_without_metadata_is_named_by_its_operator_and_starts_at_once() {
    let nobody = unused_address().await;
    let start = Instant::now();
    let (answer, log) = who_am_i("auto", "laptop", &format!("http://{nobody}")).await;
    assert_eq!(answer, "laptop from Settings in - of - at -");
    assert!(log.contains("no instance metadata"), "{log}");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn metadata_that_does_not_answer_delays_an_automatic_start_for_moments_only() {
    let imds = Imds::start(&INSTANCE).await;
    imds.delay(Duration::from_secs(30));
    let start = Instant::now();
    let (answer, _) = who_am_i("auto", "laptop", &imds.endpoint()).await;
    assert_eq!(answer, "laptop from Settings in - of - at -");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn metadata_that_is_switched_off_is_not_asked() {
    let imds = Imds::start(&INSTANCE).await;
    let endpoint = imds.endpoint();
    let vars = [
        ("IDENTITY", "auto"),
        ("ID", "laptop"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let (answer, _) = Asker::start("who am I", &vars).answer().await;
    assert_eq!(answer, "laptop from Settings in - of - at -");
    assert_eq!(imds.log(), Vec::<String>::new());
}

#[tokio::test]
async fn an_instance_that_insists_waits_for_metadata_that_comes_late() {
    let address = unused_address().await;
    let vars = [
        ("IDENTITY", "imds"),
        ("ID", ""),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &format!("http://{address}")),
    ];
    let asker = Asker::start("who am I", &vars);
    sleep(Duration::from_secs(2)).await;
    let _imds = Imds::start_at(address, &INSTANCE).await;
    let (answer, log) = asker.answer().await;
    assert!(answer.starts_with("i-0123456789abcdef0 from Imds"), "{answer}");
    assert_eq!(log.matches("waiting for the instance metadata service").count(), 1, "{log}");
}

#[tokio::test]
async fn a_failing_metadata_service_is_asked_twice_and_named_in_the_log() {
    let imds = Imds::start(&INSTANCE).await;
    imds.fail(503);
    let (answer, log) = who_am_i("auto", "laptop", &imds.endpoint()).await;
    assert_eq!(answer, "laptop from Settings in - of - at -");
    assert!(log.contains("instance-id: status 503"), "{log}");
    let asked = imds.log().iter().filter(|line| line.starts_with("GET")).count();
    assert_eq!(asked, 2, "{:?}", imds.log());
}

#[tokio::test]
async fn an_instance_tells_its_group_and_ec2_tells_the_dead_from_the_living() {
    let moto = Moto::start();
    let ids = moto.group("chat", 2);
    let (lone, stopped) = (moto.lone_instance(), moto.lone_instance());
    moto.stop(&stopped);
    let terminated = moto.lone_instance();
    moto.terminate(&terminated);
    let imds = Imds::start(&[("instance-id", &ids[0]), ("placement/region", "eu-west-1")]).await;

    let unknown = "i-00000000000000000";
    let peers = [&ids[1], &lone, &stopped, &terminated, unknown].map(ToOwned::to_owned).join(" ");
    let (metadata, endpoint) = (imds.endpoint(), moto.endpoint());
    let vars = [
        ("IDENTITY", "imds"),
        ("ID", ""),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str()),
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("PEERS", peers.as_str()),
    ];
    let (answer, log) = Asker::start("ask EC2", &vars).answer().await;
    let own = format!("instance {} is running in the Auto Scaling group chat", ids[0]);
    assert!(log.contains(&own), "{log}");
    let expected = [(&ids[1], "running"), (&lone, "running"), (&stopped, "stopped")]
        .map(|(id, state)| format!("{id} {state}"));
    for line in expected.iter().chain([&format!("{terminated} terminated")]) {
        assert!(answer.contains(line), "{line} is not in\n{answer}");
    }
    assert!(!answer.contains(unknown), "{answer}");
}

#[tokio::test]
async fn a_role_without_the_permission_costs_a_warning_and_nothing_else() {
    let moto = Moto::start();
    let own = moto.lone_instance();
    let (key, secret) = moto.powerless_user();
    let imds = Imds::start(&[("instance-id", &own), ("placement/region", "eu-west-1")]).await;
    let (metadata, endpoint) = (imds.endpoint(), moto.endpoint());
    let vars = [
        ("IDENTITY", "imds"),
        ("ID", ""),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str()),
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
        ("PEERS", own.as_str()),
    ];
    let (answer, log) = Asker::start("ask EC2", &vars).answer().await;
    assert!(log.contains(" WARN  fleet::ec2: EC2 refuses ec2:DescribeInstances"), "{log}");
    assert!(log.contains("allow ec2:DescribeInstances in the instance's role"), "{log}");
    assert!(answer.starts_with("no answer: EC2 refuses ec2:DescribeInstances"), "{answer}");
}

/// Our stand-in for the metadata service, seen without the SDK: as AWS documents version 2.
#[tokio::test]
async fn the_stand_in_hands_out_values_for_tokens_only() {
    let imds = Imds::start(&INSTANCE).await;
    let token = "PUT /latest/api/token";
    let id = "GET /latest/meta-data/instance-id";
    let lifetime = "X-aws-ec2-metadata-token-ttl-seconds";
    assert_eq!(status(&imds, token, "").await, 400);
    for bad in ["0", "21601", "soon"] {
        assert_eq!(status(&imds, token, &format!("{lifetime}: {bad}\r\n")).await, 400, "{bad}");
    }
    let proxied = format!("{lifetime}: 60\r\nX-Forwarded-For: 10.0.0.1\r\n");
    assert_eq!(status(&imds, token, &proxied).await, 403);
    assert_eq!(status(&imds, id, "").await, 401);

    assert_eq!(status(&imds, token, &format!("{lifetime}: 1\r\n")).await, 200);
    let with_token = "X-aws-ec2-metadata-token: token-0\r\n";
    assert_eq!(status(&imds, id, with_token).await, 200);
    assert_eq!(status(&imds, "GET /latest/meta-data/spot", with_token).await, 404);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(status(&imds, id, with_token).await, 401, "the token has run out");
}

async fn status(imds: &Imds, line: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(imds.address).await.expect("it listens");
    let request = format!("{line} HTTP/1.1\r\nHost: imds\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it answers");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.strip_prefix("HTTP/1.1 ").and_then(|code| code.parse().ok()).expect("a status line")
}

/// An address where nobody listens.
async fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound socket")
}

/// Not a test but the process of the stories above.
#[tokio::test]
#[ignore = "runs as the child of the tests in this file"]
async fn asker() {
    let Ok(question) = env::var("QUESTION") else { return };
    let _log = telemetry::init(&Telemetry::default()).expect("a log");
    let answer = match question.as_str() {
        "who am I" => describe_self().await,
        "ask EC2" => ask_ec2().await,
        other => panic!("no such question: {other}"),
    };
    fs::write(PathBuf::from(var("ANSWER")), answer).expect("the answer is written");
}

async fn describe_self() -> String {
    let me = identify(&fleet(), &instance()).await.expect("an identity");
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    format!(
        "{} from {:?} in {} of {} at {}",
        me.instance_id,
        me.source,
        or_dash(me.zone),
        or_dash(me.region),
        or_dash(me.private_ip.map(|ip| ip.to_string()))
    )
}

async fn ask_ec2() -> String {
    let me = identify(&fleet(), &instance()).await.expect("an identity");
    let ec2 = AwsEc2::new(me.region.as_deref()).await;
    report_own(&ec2, &me).await;
    let peers: Vec<_> = var("PEERS").split(' ').map(ToOwned::to_owned).collect();
    match ec2.states(&peers).await {
        Ok(states) => states.iter().map(|(id, state)| format!("{id} {state}\n")).collect(),
        Err(error) => format!("no answer: {error}"),
    }
}

fn fleet() -> Fleet {
    let identity = match var("IDENTITY").as_str() {
        "imds" => IdentitySource::Imds,
        _ => IdentitySource::Auto,
    };
    Fleet { identity, ..Fleet::default() }
}

fn instance() -> Instance {
    Instance { id: var("ID"), ..Instance::default() }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is set for the child"))
}
