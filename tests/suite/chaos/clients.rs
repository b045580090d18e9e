//! Clients come, go and are in many places, and nothing else is wrong.

use futures_util::future::join_all;

use crate::support::{
    chaos::{Check, Life, Plan, Settings, Story},
    fleet::{PATIENCE, TestFleet, eventually},
    instance::USERS,
};

#[tokio::test]
async fn logins_on_two_instances_at_the_same_moment_both_hear_everything() {
    let fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(2, "Sunil").await;
    for round in 0..20 {
        let (left, right) = tokio::join!(fleet.connect(0, "Sid"), fleet.connect(1, "Sid"));
        let mut both = [left, right];
        for n in 0..5 {
            sunil.send("Sid", &format!("\"{round}.{n}\"")).await;
        }
        for sid in &mut both {
            for n in 0..5 {
                sid.expect(&format!("\"{round}.{n}\"")).await;
            }
        }
        assert_eq!((fleet.entries(), fleet.indexed()), (3, 3));
        join_all(both.map(|sid| sid.close())).await;
        eventually("both are gone", PATIENCE, async || {
            (fleet.entries(), fleet.indexed()) == (1, 1)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: some thousand messages"]
async fn devices_on_every_instance_hear_everything_once() {
    let mut story = Story::begin().await;
    for (n, user) in USERS[..3].iter().cycle().take(12).enumerate() {
        let at = Some((n / 3 + n) % 3);
        story.admit(Plan { user, at, life: Life::Stays, to: USERS[..3].to_vec(), gap: 200 });
    }
    story.are_there(12).await;
    story.passes(20.0).await;
    story.tell("one of the three dies: the others have had it all, once");
    story.kill(2);
    story.passes(10.0).await;
    story.replace(2).await;
    story.recovers().await;
    story.ends(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: some thousand connections"]
async fn coming_and_going_all_the_time_they_leave_nothing_and_miss_nothing() {
    let mut story = Story::with(Settings::of(3), 3).await;
    story.regulars().await;
    let coming = |user, rude| Plan {
        user,
        at: None,
        life: Life::Comes { stay: (0, 600), away: (0, 300), rude },
        to: vec!["Sunil", "Sid", "Smith", "Zoë"],
        gap: 150,
    };
    for n in 0..8 {
        story.admit(coming(["Sunil", "Elon", "Sid", "Ann"][n % 4], 4));
    }
    // These two have nobody else who is there when they are not, and always say goodbye: all that
    // is said to them meanwhile is owed to them.
    for user in ["Smith", "Zoë", "Smith", "Zoë"] {
        story.admit(coming(user, 0));
    }
    story.passes(40.0).await;
    story.ends(&[Check::Handover, Check::Outlives, Check::Welcome]).await;
}
