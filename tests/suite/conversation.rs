//! Users on different instances talk: the main job, end to end.

use crate::support::fleet::TestFleet;

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
