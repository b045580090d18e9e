//! The original application's own transcript, by its own client, on the fleet that replaces it.
//!
//! `wscat` reaches two instances through a load balancer that routes by path, as the original's
//! users will; nothing of what they typed and saw may have changed.

use crate::support::{
    fleet::TestFleet,
    haproxy::{HaProxy, Target},
    wscat::Wscat,
};

const TO_SELF: &str = r#"{"action":"send", "to":"Sunil", "message":"Hey!!"}"#;
const TO_SID: &str = r#"{"action":"send", "to":"Sid", "message":"Hey!!"}"#;

#[tokio::test]
async fn the_transcript_works_unchanged_across_instances_behind_a_load_balancer() {
    let fleet = TestFleet::start(2).await;
    let balancer = HaProxy::start(&[fleet[0].target(), fleet[1].target()]);
    let url = format!("ws://{}/Dev", balancer.addr());
    let mut sunil = Wscat::connect(&url, "Sunil");
    let sid = Wscat::connect(&url, "Sid");
    assert_eq!(fleet.owners().len(), 2, "the load balancer gave each instance a user");

    sunil.types(TO_SELF);
    sunil.shows(r#"< "Hey!!""#);
    sunil.types(TO_SID);
    sid.shows(r#"< "Hey!!""#);

    let transcript =
        ["Connected (press CTRL+C to quit)", "> TO_SELF", r#"< "Hey!!""#, "> TO_SID", "> "];
    let transcript = transcript.map(|l| l.replace("TO_SELF", TO_SELF).replace("TO_SID", TO_SID));
    assert_eq!(sunil.screen(), transcript);
    assert_eq!(sid.screen(), ["Connected (press CTRL+C to quit)", r#"< "Hey!!""#, "> "]);
}

#[tokio::test]
async fn a_user_of_the_old_path_and_one_of_api_talk_across_target_groups() {
    let fleet = TestFleet::start(2).await;
    // One instance behind each rule: who is where proves which rule was taken.
    let balancer = HaProxy::start(&[Target { app: fleet[0].app(), api: fleet[1].api() }]);
    let mut sunil = Wscat::connect(&format!("ws://{}/Dev", balancer.addr()), "Sunil");
    let mut sid = Wscat::connect(&format!("ws://{}/api", balancer.addr()), "Sid");
    assert_eq!(fleet.owners().len(), 2, "/Dev leads to one target group and /api to the other");

    sunil.types(TO_SID);
    sid.shows(r#"< "Hey!!""#);
    sid.types(r#"{"action":"send", "to":"Sunil", "message":{"text":"grüß dich","n":[1,2.0]}}"#);
    sunil.shows(r#"< {"text": "gr\u00fc\u00df dich", "n": [1, 2.0]}"#);
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_socket_opens() {
    let fleet = TestFleet::start(1).await;
    let balancer = HaProxy::start(&[fleet[0].target()]);
    let url = format!("ws://{}/Dev", balancer.addr());
    let stranger = Wscat::start(&format!("wscat -c {url} -H \"username:Nobody\""));
    stranger.shows("error: Unexpected server response: 401");
    let nameless = Wscat::start(&format!("wscat -c {url}"));
    nameless.shows("error: Unexpected server response: 401");
    assert!(fleet.owners().is_empty());
}
