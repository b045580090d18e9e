//! Users on different instances talk: the main job, end to end.

use std::{collections::HashSet, time::Duration};

use tokio::time::sleep;

use crate::support::{
    client::{Client, Ear, Mouth},
    fleet::{PATIENCE, TestFleet, eventually, get},
    instance::Instance,
    proxy::Proxy,
    redis::RedisServer,
};

/// Messages each way, where many are wanted.
const MANY: usize = 10_000;

/// Nobody types that fast; on an idle machine these clients do.
const ANY_RATE: &str = "[limits]\nmessage_rate = 0\n";

#[tokio::test]
async fn two_users_on_two_instances_talk_both_ways() {
    let fleet = TestFleet::start(2).await;
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    sunil.send("Sid", r#""Hey!!""#).await;
    sid.expect(r#""Hey!!""#).await;
    sid.send("Sunil", r#"{"a":1.0,"b":"é"}"#).await;
    sunil.expect(r#"{"a": 1.0, "b": "\u00e9"}"#).await;
    sunil.send("Sunil", r#""to myself""#).await;
    sunil.expect(r#""to myself""#).await;
    sunil.expect_silence().await;
    sid.expect_silence().await;
}

#[tokio::test]
async fn ten_thousand_messages_each_way_arrive_once_and_in_order_across_instances() {
    let fleet = TestFleet::with_settings(2, ANY_RATE).await;
    talk(fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await).await;
}

#[tokio::test]
async fn ten_thousand_messages_each_way_arrive_once_and_in_order_on_an_instance_alone() {
    let alone = Instance::start(ANY_RATE);
    talk(alone.connect("Sunil").await, alone.connect("Sid").await).await;
}

#[tokio::test]
async fn who_talks_on_one_instance_of_a_fleet_costs_redis_nothing() {
    let fleet = TestFleet::with_settings(1, ANY_RATE).await;
    let (sunil, sid) = (fleet.connect(0, "Sunil").await, fleet.connect(0, "Sid").await);
    let mut elon = fleet.connect(0, "Elon").await;
    // The script that looks for who is not here is known to Redis from now on.
    elon.send("Bob", "1").await;
    elon.send("Elon", "2").await;
    elon.expect("2").await;
    eventually("all are registered", PATIENCE, async || fleet.entries() == 3).await;
    let monitor = fleet.redis.monitor();
    let _stay = talk(sunil, sid).await;
    // What a message costs that is not local, to know that it would have been heard of.
    elon.send("Ann", "3").await;
    elon.send("Elon", "4").await;
    elon.expect("4").await;
    let mut said = monitor.stop(&fleet.redis);
    // The instance's own rounds: the heartbeat, the sweep over the partitions, and what is open
    // registered once more after it has joined.
    let rounds = [r#""beat""#, r#""sweep""#, "}:o:"];
    said.retain(|command| !rounds.iter().any(|round| command.contains(round)));
    assert_eq!(said.len(), 1, "one for Ann, none for {MANY} messages each way: {said:#?}");
}

#[tokio::test]
async fn every_device_hears_every_message_once_wherever_the_sender_is() {
    let fleet = TestFleet::start(3).await;
    let mut devices = vec![
        fleet.connect(0, "Sid").await,
        fleet.connect(1, "Sid").await,
        fleet.connect(1, "Sid").await,
    ];
    for (at, sender) in [(0, "Sunil"), (1, "Elon"), (2, "Alok")] {
        let mut sender = fleet.connect(at, sender).await;
        for n in 0..100 {
            sender.send("Sid", &format!("{}", at * 1000 + n)).await;
        }
        let expected: Vec<_> = (0..100).map(|n| (at * 1000 + n).to_string()).collect();
        for device in &mut devices {
            assert_eq!(hear(device, 100).await, expected, "from instance {at}");
        }
    }
    for device in &mut devices {
        device.expect_silence().await;
    }
}

#[tokio::test]
async fn a_device_that_joins_while_the_route_is_known_is_heard_at_once() {
    let fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut phone = fleet.connect(1, "Sid").await;
    for n in 0..10 {
        sunil.send("Sid", &n.to_string()).await;
        phone.expect(&n.to_string()).await;
    }
    // On a third instance, then on the sender's own.
    for (at, first) in [(2, 10), (0, 20)] {
        let mut laptop = fleet.connect(at, "Sid").await;
        for n in first..first + 10 {
            sunil.send("Sid", &n.to_string()).await;
            phone.expect(&n.to_string()).await;
            laptop.expect(&n.to_string()).await;
        }
        laptop.expect_silence().await;
        laptop.close().await;
        // What is sent while it leaves still reaches the phone once.
        for n in 100..110 {
            sunil.send("Sid", &n.to_string()).await;
            phone.expect(&n.to_string()).await;
        }
        phone.expect_silence().await;
    }
    eventually("only two connections are left", PATIENCE, async || fleet.entries() == 2).await;
}

#[tokio::test]
async fn the_device_that_stays_hears_everything_once_while_others_come_and_go() {
    let fleet = TestFleet::start(3).await;
    let (mouth, _ear) = fleet.connect(0, "Sunil").await.split();
    let (_, ear) = fleet.connect(1, "Sid").await.split();
    let speaking = tokio::spawn(speak_slowly(mouth, "Sid", 2000));
    let hearing = tokio::spawn(hear_numbers(ear, 2000));
    // On the sender's instance, on a third one, and on the phone's own.
    for at in [0, 2, 0, 1, 0, 2, 0, 0, 2, 1, 0, 0] {
        let laptop = fleet.connect(at, "Sid").await;
        sleep(Duration::from_millis(50)).await;
        let heard = laptop.close_hearing().await;
        let once: HashSet<_> = heard.iter().collect();
        assert_eq!(once.len(), heard.len(), "the laptop on {at} heard something twice");
    }
    speaking.await.expect("the speaker ends");
    let heard = hearing.await.expect("the phone hears");
    once_each(&heard, 2000);
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_a_user_moves_between_instances() {
    once_each(&hear_moving(&[0, 1, 2], 1500).await, 1500);
}

#[tokio::test]
async fn what_a_moving_user_is_sent_from_a_third_instance_stays_in_order() {
    let heard = hear_moving(&[2, 1], 1500).await;
    let late = heard.windows(2).filter(|pair| pair[0] > pair[1]).collect::<Vec<_>>();
    // What is told to the old owner once more may come a moment late; without waiting it is dozens.
    assert!(late.len() <= 3, "out of order: {late:?}");
    once_each(&heard, 1500);
}

#[tokio::test]
async fn what_is_sent_while_the_last_connection_is_being_let_go_is_not_lost() {
    let redis = RedisServer::start();
    let line = Proxy::to_port(redis.port());
    let url = format!("[redis]\nurl = \"{}\"\n[delivery]\nmailbox_entries = 2000\n", line.url());
    let instance = Instance::start(&url);
    eventually("the instance is ready", PATIENCE, async || {
        get(instance.admin(), "/readyz").await.0 == 200
    })
    .await;
    let (mouth, _ear) = instance.connect("Sunil").await.split();
    let mut sid = instance.connect("Sid").await;
    // As long as the pause between two messages: whenever one is handed on, the next is there.
    line.slow_down(Duration::from_millis(2));
    let speaking = tokio::spawn(speak_slowly(mouth, "Sid", 800));
    let mut heard = Vec::new();
    while !speaking.is_finished() {
        sleep(Duration::from_millis(100)).await;
        heard.append(&mut sid.close_hearing().await);
        sleep(Duration::from_millis(100)).await;
        sid = instance.connect("Sid").await;
    }
    speaking.await.expect("the speaker ends");
    heard.append(&mut sid.hear_until_silence().await);
    once_each(&numbers(&heard), 800);
}

#[tokio::test]
async fn who_goes_and_comes_back_at_once_hears_what_was_said_meanwhile() {
    let fleet = TestFleet::start(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    // To the sender's instance, to another, and from one to the other.
    for (from, to) in [(1, 1), (0, 0), (0, 1), (1, 0)] {
        let mut sid = fleet.connect(from, "Sid").await;
        sunil.send("Sid", "0").await;
        sid.expect("0").await;
        for n in 1..100 {
            sid.close().await;
            sunil.send("Sid", &n.to_string()).await;
            sid = fleet.connect(if n % 2 == 0 { from } else { to }, "Sid").await;
            assert_eq!(sid.hear().await, n.to_string(), "{n} from {from} to {to}");
        }
        sid.close().await;
        eventually("Sid is gone", PATIENCE, async || fleet.entries() == 1).await;
    }
}

#[tokio::test]
async fn without_handover_what_an_absent_user_is_sent_is_gone() {
    let fleet = TestFleet::with_settings(2, "[delivery]\nclassic = \"drop\"\n").await;
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    sunil.send("Sid", r#""here""#).await;
    sid.expect(r#""here""#).await;
    sid.close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.entries() == 1).await;
    for n in 0..10 {
        sunil.send("Sid", &n.to_string()).await;
    }
    // Time for what a route led astray to come back, and to be dealt with.
    sunil.expect_silence().await;
    assert_eq!((fleet.held(), fleet.keys("r:*")), (0, vec![]), "nothing is kept");
    for at in 0..2 {
        let mut sid = fleet.connect(at, "Sid").await;
        sid.expect_silence().await;
        sunil.send("Sid", r#""again""#).await;
        sid.expect(r#""again""#).await;
        sid.close().await;
    }
}

#[tokio::test]
async fn what_is_said_to_devices_on_four_instances_is_read_once_by_each_and_goes_round_no_further()
{
    let fleet = TestFleet::start(5).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut devices = vec![fleet.connect(1, "Sid").await, fleet.connect(2, "Sid").await];
    // The sender knows the way to some, and learns of who has come since from who has it already.
    for at in [3, 4, 0] {
        for n in 0..20 {
            let text = format!("\"{at} {n}\"");
            sunil.send("Sid", &text).await;
            for device in &mut devices {
                device.expect(&text).await;
            }
        }
        devices.push(fleet.connect(at, "Sid").await);
    }
    for device in &mut devices {
        device.expect_silence().await;
    }
    let before = published(&fleet);
    sleep(Duration::from_secs(1)).await;
    let after = published(&fleet) - before;
    assert!(after < 50, "{after} payloads while nobody says anything");
}

/// How often something was published.
fn published(fleet: &TestFleet) -> u64 {
    let stats = fleet.redis.ask(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
    let calls = line.and_then(|rest| rest.split(',').next()).expect("something was published");
    calls.parse().expect("a count")
}

/// Both say [`MANY`] things to each other at once, and hear all of them, in order. The connections
/// stay as long as what is answered.
async fn talk(sunil: Client, sid: Client) -> [(Mouth, Ear); 2] {
    let ((sunil_says, sunil_hears), (sid_says, sid_hears)) = (sunil.split(), sid.split());
    let said = [tokio::spawn(speak(sunil_says, "Sid")), tokio::spawn(speak(sid_says, "Sunil"))];
    let heard = [tokio::spawn(hear_in_order(sunil_hears)), tokio::spawn(hear_in_order(sid_hears))];
    let mut both = Vec::new();
    for (says, hears) in said.into_iter().zip(heard) {
        both.push((says.await.expect("all are said"), hears.await.expect("all are heard")));
    }
    both.try_into().unwrap_or_else(|_| unreachable!("two"))
}

async fn speak(mut mouth: Mouth, to: &'static str) -> Mouth {
    for n in 0..MANY {
        mouth.send(to, &n.to_string()).await;
    }
    mouth
}

async fn hear_in_order(mut ear: Ear) -> Ear {
    for n in 0..MANY {
        assert_eq!(ear.hear().await, n.to_string());
    }
    ear
}

/// What Sid hears who goes from one of these instances to the next, while somebody on the first of
/// three says `count` things.
async fn hear_moving(places: &[usize], count: usize) -> Vec<usize> {
    // A move may take a busy machine longer than 256 messages, the default, do.
    let fleet = TestFleet::with_settings(3, "[delivery]\nmailbox_entries = 2000\n").await;
    let (mouth, _ear) = fleet.connect(0, "Sunil").await.split();
    let mut sid = fleet.connect(1, "Sid").await;
    let speaking = tokio::spawn(speak_slowly(mouth, "Sid", count));
    let mut heard = Vec::new();
    let mut moves = 0;
    while !speaking.is_finished() {
        sleep(Duration::from_millis(40)).await;
        heard.append(&mut sid.close_hearing().await);
        sid = fleet.connect(places[moves % places.len()], "Sid").await;
        moves += 1;
    }
    speaking.await.expect("the speaker ends");
    while heard.len() < count {
        heard.push(sid.hear().await);
    }
    heard.append(&mut sid.hear_until_silence().await);
    assert!(moves >= 10, "only {moves} moves");
    numbers(&heard)
}

/// A message each two milliseconds or so.
async fn speak_slowly(mut mouth: Mouth, to: &'static str, count: usize) -> Mouth {
    for n in 0..count {
        mouth.send(to, &n.to_string()).await;
        sleep(Duration::from_millis(1)).await;
    }
    mouth
}

async fn hear_numbers(mut ear: Ear, count: usize) -> Vec<usize> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(ear.hear().await.parse().expect("a number"));
    }
    heard
}

async fn hear(client: &mut Client, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(client.hear().await);
    }
    heard
}

fn numbers(texts: &[String]) -> Vec<usize> {
    texts.iter().map(|text| text.parse().expect("a number")).collect()
}

/// Each of `0..count` was heard, and none twice.
fn once_each(heard: &[usize], count: usize) {
    let once: HashSet<_> = heard.iter().copied().collect();
    let missing: Vec<_> = (0..count).filter(|n| !once.contains(n)).collect();
    let mut seen = HashSet::new();
    let twice: Vec<_> = heard.iter().filter(|n| !seen.insert(**n)).collect();
    assert!(missing.is_empty() && twice.is_empty(), "missing {missing:?}, twice {twice:?}");
}
