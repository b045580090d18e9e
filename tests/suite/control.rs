//! What an operator asks the daemon on this machine: `status`, `connections`, `kick`, `log-level`.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually},
    instance::{Asked, Instance},
    process::signal,
};

fn parse(asked: &Asked) -> Value {
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    serde_json::from_str(&asked.out).unwrap_or_else(|error| panic!("{error}: {}", asked.out))
}

fn lines(asked: &Asked) -> Vec<Value> {
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    asked.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn socket(instance: &Instance) -> PathBuf {
    instance.dir().join("control.sock")
}

/// One request as it stands; the status line and the body.
fn raw(instance: &Instance, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket(instance)).expect("the control socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().expect("a status line").to_owned(), body.to_owned())
}

#[tokio::test]
async fn status_tells_how_an_instance_is_and_what_it_has_done() {
    let mut fleet = TestFleet::start(2).await;
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(0, "Sid").await);
    let mut elon = fleet.connect(1, "Elon").await;
    sunil.send("Sid", "1").await;
    sid.expect("1").await;
    sunil.send("Elon", "2").await;
    elon.expect("2").await;

    let status = async || parse(&fleet[0].asks(&["status", "--json"]));
    eventually("both are in view", PATIENCE, async || status().await["fleet"]["members"] == 2)
        .await;
    let status = status().await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["state"], "serving");
    assert_eq!(status["connections"]["open"], 2);
    assert!(status["connections"]["max"].as_u64().unwrap() > 2);
    assert_eq!(status["fleet"]["lease"], true);
    assert_eq!(status["messages"]["local"], 1);
    assert_eq!(status["messages"]["slow"], 1, "the first to a peer is looked up");
    assert_eq!(status["failing"], json!({}));
    assert!(status["tasks"].as_u64().unwrap() > 2);

    let text = fleet[0].asks(&["status"]).out;
    assert!(text.contains("serving") && text.contains("2 of "), "{text}");
    assert!(text.contains("one of 2, holds its lease"), "{text}");
    assert!(text.contains("all is well"), "{text}");

    fleet.redis.stop();
    eventually("the loss of Redis is told", PATIENCE, async || {
        let status = parse(&fleet[0].asks(&["status", "--json"]));
        status["failing"].get("redis").is_some()
    })
    .await;
    assert!(fleet[0].asks(&["status"]).out.contains("NOT WELL     redis: not connected"));
}

#[tokio::test]
async fn connections_are_listed_with_who_from_where_and_since_when() {
    let fleet = TestFleet::start(2).await;
    let _clients = (
        fleet.connect(0, "Sunil").await,
        fleet.connect(0, "Zoë").await,
        fleet.connect(0, "Sunil").await,
        fleet.connect(1, "Sid").await,
    );
    let all = lines(&fleet[0].asks(&["connections", "--json"]));
    let users: Vec<_> = all.iter().map(|one| one["user"].as_str().unwrap()).collect();
    assert_eq!(users, ["Sunil", "Zoë", "Sunil"], "in the order in which they came");
    for one in &all {
        assert_eq!(one["id"].as_str().unwrap().len(), 16);
        assert_eq!(one["client"], "127.0.0.1");
        assert!(one["connected_at"].as_str().unwrap().starts_with("20"));
        assert_eq!((&one["registered"], &one["waiting_bytes"]), (&json!(true), &json!(0)));
    }
    let only = lines(&fleet[0].asks(&["connections", "--user", "Zoë", "--json"]));
    assert_eq!(only, [all[1].clone()]);
    assert!(lines(&fleet[0].asks(&["connections", "--user", "Nobody", "--json"])).is_empty());

    let text = fleet[0].asks(&["connections"]).out;
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0].join(" "), "ID USER CLIENT CONNECTED IN FLEET WAITING");
    assert_eq!((rows.len(), rows[2][1], rows[2][4]), (4, "Zoë", "yes"));
}

#[tokio::test]
async fn connections_come_in_pages_without_gap_or_repetition() {
    let instance = Instance::start("");
    let mut clients = Vec::new();
    for _ in 0..7 {
        clients.push(instance.connect("Sid").await);
    }
    let all = lines(&instance.asks(&["connections", "--json"]));
    let (mut paged, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let target = format!("/connections?user=Sid&limit=3{after}");
        let (status, body) = raw(&instance, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(status, "HTTP/1.1 200 OK");
        let page: Value = serde_json::from_str(&body).expect("JSON");
        paged.extend(page["items"].as_array().unwrap().clone());
        pages += 1;
        match page["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((paged, pages), (all, 3));
}

#[tokio::test]
async fn a_kicked_user_is_off_every_instance_and_may_come_back() {
    let fleet = TestFleet::start(2).await;
    let mut here = fleet.connect(0, "Sid").await;
    let mut there = fleet.connect(1, "Sid").await;
    let mut other = fleet.connect(1, "Sunil").await;
    let kicked = parse(&fleet[0].asks(&["kick", "Sid", "--json"]));
    assert_eq!(kicked, json!({"here": 1, "instances": 2, "silent": 0}));
    assert_eq!(here.expect_close().await.0, 1000);
    assert_eq!(there.expect_close().await.0, 1000);

    let gone = async || fleet[0].asks(&["kick", "Sid"]).out == "Sid is not connected\n";
    eventually("what was kicked is gone", PATIENCE, gone).await;
    let mut back = fleet.connect(1, "Sid").await;
    other.send("Sid", r#""back""#).await;
    back.expect(r#""back""#).await;

    let text = fleet[0].asks(&["kick", "Sid"]).out;
    assert_eq!(text, "Sid is kicked off 1 instances, 0 connections of this one\n");
    assert_eq!(back.expect_close().await.0, 1000);
    fleet[0].logs("kicked \"Sid\"").await;
}

#[tokio::test]
async fn a_kick_without_redis_closes_what_is_here_and_says_that_more_may_be_left() {
    let mut fleet = TestFleet::start(2).await;
    let mut here = fleet.connect(0, "Sid").await;
    let mut there = fleet.connect(1, "Sid").await;
    fleet.redis.stop();
    let kicked = fleet[0].asks(&["kick", "Sid"]);
    assert_eq!(kicked.code, Some(69), "{}", kicked.out);
    assert!(kicked.err.contains("connections of other instances may be left"), "{}", kicked.err);
    assert_eq!(here.expect_close().await.0, 1000);
    there.expect_silence().await;
}

#[tokio::test]
async fn the_log_level_is_shown_and_changed_while_the_daemon_runs() {
    let instance = Instance::start("");
    assert_eq!(instance.asks(&["log-level"]).out, "info,wsfleetd=debug\n");
    let refused = instance.asks(&["log-level", "wran"]);
    assert_eq!(refused.code, Some(69));
    assert!(refused.err.contains("\"wran\" is no level"), "{}", refused.err);
    assert_eq!(instance.asks(&["log-level"]).out, "info,wsfleetd=debug\n", "nothing has changed");

    assert_eq!(instance.asks(&["log-level", "warn"]).out, "warn\n");
    let before = instance.log().lines().count();
    instance.connect("Sid").await.close().await;
    let set = parse(&instance.asks(&["log-level", "info,wsfleetd=trace", "--json"]));
    assert_eq!(set, json!({"level": "info,wsfleetd=trace"}));
    instance.connect("Sid").await.close().await;
    instance.logs("ended after").await;
    let log = instance.log();
    let quiet = log.lines().skip(before).take_while(|line| !line.contains("set the log's level"));
    assert_eq!(quiet.count(), 0, "a level of warn says nothing of a connection:\n{log}");
}

#[tokio::test]
async fn who_finds_no_daemon_is_told_what_to_look_at() {
    let mut instance = Instance::start("");
    let path = socket(&instance);
    let file = fs::metadata(&path).expect("the socket");
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660, "for the daemon and its group");
    assert!(instance.stop().0.success());
    assert!(!path.exists(), "the socket goes with the daemon");
    let asked = instance.asks(&["status"]);
    assert_eq!(asked.code, Some(69));
    assert!(asked.err.contains("is it running? See: systemctl status wsfleetd"), "{}", asked.err);
}

#[tokio::test]
async fn the_socket_of_a_daemon_that_was_killed_is_no_obstacle_and_a_living_one_is_left_alone() {
    let mut instance = Instance::start("");
    instance.kill();
    assert!(socket(&instance).exists(), "kill -9 leaves it");
    let next = instance.another();
    assert_eq!(parse(&next.asks(&["status", "--json"]))["state"], "serving");

    let second = next.another();
    second.logs("another daemon answers at").await;
    assert_eq!(second.connect("Sid").await.close_hearing().await, Vec::<String>::new());
    drop(second);
    let status = parse(&next.asks(&["status", "--json"]));
    assert_eq!(status["state"], "serving", "the first still has its socket");
}

#[tokio::test]
async fn a_daemon_that_drains_says_so() {
    let fleet = Instance::start("[drain]\nstop_timeout = \"8s\"\n");
    let stubborn = fleet.connect("Sid").await.into_stream();
    fleet.signal("TERM");
    eventually("it drains", PATIENCE, async || {
        fleet.asks(&["status", "--json"]).out.contains(r#""state":"draining""#)
    })
    .await;
    drop(stubborn);
}

#[tokio::test]
async fn garbage_and_silence_on_the_socket_hurt_nobody() {
    let instance = Instance::start("");
    let post = |body: &str| {
        let length = body.len();
        format!("POST /kick HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    for (request, status, words) in [
        (
            "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "404",
            "does not know GET /nothing",
        ),
        ("DELETE /status HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404", "DELETE /status"),
        (
            "GET /connections?after=x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "400",
            r#"after = \"x\" is no number"#,
        ),
        (post(""), "400", "the request's body"),
        (post("[]"), "400", "the request's body"),
        (post(r#"{"user":""}"#), "400", "is no username"),
        (post(&format!(r#"{{"user":"{}"}}"#, "x".repeat(5000))), "400", "the request's body"),
    ] {
        let (line, body) = raw(&instance, &request);
        assert!(line.contains(status) && body.contains(words), "{request}: {line} {body}");
    }
    // More callers than are served at once, all of them silent; they are sent away in time.
    let silent: Vec<_> = (0..40)
        .map(|_| UnixStream::connect(socket(&instance)).expect("the kernel's queue"))
        .collect();
    let mut client = instance.connect("Sid").await;
    client.send("Sid", "1").await;
    client.expect("1").await;
    drop(silent);
    let within = Duration::from_secs(5);
    eventually("the next caller is answered", within, async || {
        instance.asks(&["log-level"]).code == Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_stands_still_is_given_up() {
    let instance = Instance::start("");
    instance.signal("STOP");
    let asked = instance.asks(&["status"]);
    signal(instance.pid(), "CONT");
    assert_eq!(asked.code, Some(69));
    assert!(asked.err.contains("does not answer within 15 s"), "{}", asked.err);
}

#[tokio::test]
async fn a_configuration_that_is_being_edited_keeps_nobody_from_the_daemon() {
    let instance = Instance::start("");
    let config = instance.dir().join("broken.toml");
    fs::write(&config, "[redis]\nurl = 3\n").expect("write broken.toml");
    let asked = Instance::ask(&config, &["status"]);
    assert!(asked.err.contains("redis.url"), "{}", asked.err);
    assert!(asked.err.contains("looking for the daemon in /run/wsfleetd"), "{}", asked.err);
    assert_eq!(asked.code, Some(69), "nobody is there");
}
