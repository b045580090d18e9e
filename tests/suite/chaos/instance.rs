//! An instance dies, stands still, or is cut off; the others go on as if nothing were.

use crate::support::{
    chaos::{Check, QUICK_DRAIN, Settings, Story},
    proxy::Line,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the detector's own figures"]
async fn killed_it_costs_the_others_nothing() {
    let mut story = Story::of_regulars().await;
    story.passes(6.0).await;
    story.tell("kill -9");
    story.kill(2);
    story.passes(14.0).await;
    story.replace(2).await;
    story.recovers().await;
    story.ends(&[Check::Outlives]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: it stands still for a minute"]
async fn after_a_minute_of_standing_still_it_is_a_new_member() {
    let story = Story::of_regulars().await;
    story.passes(6.0).await;
    let before = story.epochs();
    story.tell("SIGSTOP");
    story.stand_still(1);
    story.passes(60.0).await;
    assert_eq!(story.epochs().len(), 2);
    story.tell("SIGCONT");
    story.go_on(1);
    story.recovers().await;
    let after = story.epochs();
    assert_eq!(after.len(), 3);
    assert_eq!(after.iter().filter(|epoch| before.contains(epoch)).count(), 2);
    story.ends(&[Check::Outlives, Check::Tombstone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: longer than the lease, in four ways"]
async fn cut_off_alone_it_keeps_its_sockets() {
    let story = Story::of_regulars().await;
    story.passes(6.0).await;
    for line in [Line::Cut, Line::Blackhole, Line::Deaf, Line::Stalled] {
        story.tell(&format!("{line:?}"));
        story.set_line(1, line);
        story.passes(11.0).await;
        story.heal(1);
        story.passes(14.0).await;
    }
    story.recovers().await;
    story.ends(&[Check::Outlives, Check::Tombstone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the figures of change 18"]
async fn cut_off_alone_for_long_it_sends_its_clients_away_and_comes_back_without_them() {
    let settings = Settings { config: QUICK_DRAIN.to_owned(), ..Settings::of(3) };
    let mut story = Story::with(settings, 0).await;
    story.regulars().await;
    story.passes(4.0).await;
    assert!(story.cut_off(1).await, "it alone is cut off");
    assert_eq!(story.entries_of(1), 0);
    story.reconnect(1).await;
    story.recovers().await;
    assert!(story.entries_of(1) > 0, "its regulars are back");
    story.ends(&[Check::Leaves, Check::Outlives, Check::Tombstone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: many races"]
async fn returning_in_the_midst_of_its_own_reaping_it_leaves_no_trace() {
    let mut story = Story::with(Settings::hasty(3), 0).await;
    story.regulars().await;
    for tenth in 15..34 {
        let span = f64::from(tenth) / 10.0;
        story.tell(&format!("stands still for {span} s"));
        story.stand_still(1);
        story.passes(span).await;
        story.go_on(1);
        story.passes(1.5).await;
    }
    story.recovers().await;
    story.ends(&[Check::Outlives, Check::Tombstone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the fleet doubts itself for half a minute"]
async fn many_that_fall_silent_at_once_are_not_taken_for_dead_at_once() {
    let mut story = Story::with(Settings::of(4), 0).await;
    story.regulars().await;
    story.passes(4.0).await;
    let before = story.epochs();
    assert_eq!(before.len(), 4);
    [2, 3].into_iter().for_each(|at| story.stand_still(at));
    story.passes(24.0).await;
    assert_eq!(story.epochs(), before, "nobody was killed");
    [2, 3].into_iter().for_each(|at| story.go_on(at));
    story.passes(6.0).await;
    assert_eq!(story.epochs(), before, "nobody has to come back");
    [2, 3].into_iter().for_each(|at| story.stand_still(at));
    story.passes(45.0).await;
    assert_eq!(story.epochs().len(), 2, "in the end they are");
    [2, 3].into_iter().for_each(|at| story.go_on(at));
    story.recovers().await;
    assert_eq!(story.epochs().len(), 4);
    story.ends(&[Check::Outlives]).await;
}
