//! `wsfleetd top`: printed, and on a terminal that it must give back whatever happens.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Command,
};

use serde_json::Value;

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually},
    instance::{Instance, binary},
    process::signal,
    pty::Pty,
};

/// Enters and leaves the screen that keeps what was there before.
const ENTERS: &str = "\u{1b}[?1049h";
const LEAVES: &str = "\u{1b}[?1049l";

fn on_a_terminal(instance: &Instance, options: &[&str]) -> Pty {
    let mut command = Command::new(binary());
    command.arg("top").args(options).arg("--config").arg(instance.dir().join("wsfleetd.toml"));
    Pty::run(command)
}

/// The JSON of a question to the control socket.
fn ask(instance: &Instance, target: &str) -> Value {
    let mut stream = UnixStream::connect(instance.dir().join("control.sock")).expect("the socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").expect("the question");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

#[tokio::test]
async fn one_frame_shows_the_instance_and_all_members_with_their_connections() {
    let fleet = TestFleet::start(2).await;
    let _clients = (
        fleet.connect(0, "Sunil").await,
        fleet.connect(1, "Sid").await,
        fleet.connect(1, "Elon").await,
        fleet.connect(1, "Ann").await,
    );
    // The members' connections are asked for every few seconds.
    let rows = async || {
        let asked = fleet[0].asks(&["top", "--once", "--interval", "200ms"]);
        assert_eq!(asked.code, Some(0), "{}", asked.err);
        asked.out
    };
    eventually("both members are shown", PATIENCE, async || {
        let text = rows().await;
        let members = text.lines().skip_while(|line| !line.starts_with("MEMBER")).skip(1);
        let mut counts: Vec<_> = members
            .filter_map(|line| line.replace(" (here)", "").split_whitespace().nth(2)?.parse().ok())
            .collect::<Vec<u32>>();
        counts.sort_unstable();
        counts == [1, 3]
    })
    .await;
    let text = rows().await;
    assert!(text.contains("serving") && text.contains("connections  1 of "), "{text}");
    assert!(text.contains("one of 2, holds its lease") && text.contains("all is well"), "{text}");
    assert!(text.contains("MiB") && text.matches(" (here)").count() == 1, "{text}");
    assert!(!text.contains('\u{1b}'), "plain text: {text:?}");
    for peer in ask(&fleet[0], "/peers")["peers"].as_array().expect("a list") {
        let age = peer["heartbeat_age_ms"].as_u64().expect("it was heard of");
        assert!(age < 10_000, "{peer}");
        assert_eq!(peer["lease"], true, "{peer}");
    }
    // Where there is no terminal, one frame is all that makes sense.
    let piped = fleet[0].asks(&["top"]);
    assert_eq!(piped.code, Some(0));
    assert!(piped.out.contains("MEMBER"), "{}", piped.out);
}

#[tokio::test]
async fn it_draws_on_a_terminal_and_gives_it_back_on_q() {
    let fleet = TestFleet::start(1).await;
    let mut top = on_a_terminal(&fleet[0], &["--interval", "200ms"]);
    top.shows("MEMBER");
    top.shows("sort (name)");
    assert!(top.is_raw());
    top.types("s");
    top.shows("sort (connections");
    top.types("q");
    assert!(top.ends().success());
    let shown = top.shown();
    assert!(shown.contains(ENTERS) && shown.contains(LEAVES), "{shown:?}");
}

#[tokio::test]
async fn it_gives_the_terminal_back_on_ctrl_c_and_when_it_is_told_to_end() {
    let instance = Instance::start("");
    for end in ["\u{3}", "TERM", "INT", "HUP"] {
        let mut top = on_a_terminal(&instance, &[]);
        top.shows("all is well");
        match end {
            "\u{3}" => top.types(end),
            name => signal(top.pid(), name),
        }
        assert!(top.ends().success(), "{end:?}");
        assert!(top.shown().contains(LEAVES), "{end:?}: {:?}", top.shown());
    }
}

#[tokio::test]
async fn a_daemon_that_goes_and_comes_is_waited_for_on_the_screen() {
    let mut instance = Instance::start("");
    let mut top = on_a_terminal(&instance, &["--interval", "200ms"]);
    top.shows("all is well");
    instance.kill();
    top.shows("NOT WELL");
    let before = top.shown().len();
    let _next = instance.another();
    top.shows_beyond(before, "health");
    top.types("q");
    assert!(top.ends().success());
}

#[tokio::test]
async fn without_a_daemon_it_says_so_and_leaves_the_terminal_alone() {
    let mut instance = Instance::start("");
    instance.stop();
    let asked = instance.asks(&["top", "--once"]);
    assert_eq!(asked.code, Some(69));
    assert!(asked.err.contains("is it running?"), "{}", asked.err);
    let mut top = on_a_terminal(&instance, &[]);
    assert_eq!(top.ends().code(), Some(69));
    top.shows("is it running?");
    assert!(!top.shown().contains(ENTERS));
    let refused = instance.asks(&["top", "--interval", "1ms"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("from 200ms to 1m"), "{}", refused.err);
}

#[tokio::test]
async fn clients_that_take_slowly_are_shown_the_slowest_first() {
    let instance = Instance::start("[limits]\noutbox_bytes = \"64MiB\"\n");
    // Neither reads: what the kernel does not take waits in their outboxes.
    let _deaf = (instance.connect("Sid").await, instance.connect("Ann").await);
    let mut sunil = instance.connect("Sunil").await;
    let long = format!("\"{}\"", "x".repeat(30_000));
    let mut waiting = Vec::new();
    // The kernel takes a few megabytes for each, and at first ever more.
    for round in 0..1000 {
        sunil.send("Sid", &long).await;
        if round % 2 == 0 {
            sunil.send("Ann", &long).await;
        }
        if round % 20 == 19 {
            waiting = ask(&instance, "/connections?waiting=1")["items"].as_array().unwrap().clone();
            if waiting.len() == 2 && waiting[1]["waiting_bytes"].as_u64() > Some(1 << 20) {
                break;
            }
        }
    }
    let users: Vec<_> = waiting.iter().map(|one| one["user"].as_str().expect("a name")).collect();
    assert_eq!(users, ["Sid", "Ann"]);
    let bytes = |at: usize| waiting[at]["waiting_bytes"].as_u64().expect("a number");
    assert!(bytes(0) > bytes(1) && bytes(1) > 0, "{waiting:?}");
    let first = ask(&instance, "/connections?waiting=1&limit=1");
    assert_eq!(first["items"].as_array().expect("a list").len(), 1);

    let text = instance.asks(&["top", "--once"]).out;
    let slow = text.split_once("SLOW CLIENT").unwrap_or_else(|| panic!("{text}")).1;
    let names: Vec<_> = slow.lines().skip(1).filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(names, ["Sid", "Ann"], "{text}");
}
