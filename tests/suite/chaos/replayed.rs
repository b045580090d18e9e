//! A recording goes on over failovers and restarts, and its replay finds what is wrong behind them.

use std::time::Duration;

use wsfleetd_model::trace::{Loss, Refused, Replay, Step};

use crate::support::{
    chaos::{Settings, Story, TRACED},
    recorder::Recording,
};

/// How long a part is that has a bit of everything.
const A_WHILE: f64 = 8.0;

/// A replica takes over that has missed the last second, Redis is killed and comes back with what it
/// had written, and then with nothing; clients come, talk and go all the time.
async fn story() -> (Story, Recording) {
    let variables = vec![(TRACED.0.to_owned(), TRACED.1.to_owned())];
    let kind = Settings { is_durable: true, has_replica: true, ..Settings::hasty(3) };
    let mut story = Story::with(Settings { variables, is_replayed: true, ..kind }, 0).await;
    story.regulars().await;
    story.passers_by(6);
    story.passes(A_WHILE).await;
    story.fail_over(Duration::from_secs(1)).await;
    story.passes(A_WHILE).await;
    for forgets in [false, true] {
        story.stop_redis(forgets);
        story.passes(1.0).await;
        story.start_redis();
        story.passes(A_WHILE).await;
    }
    story.recovers().await;
    let recording = story.recording();
    (story, recording)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a failover and two restarts"]
async fn behind_a_failover_and_two_restarts_each_step_is_the_models_and_a_wrong_one_is_not() {
    let (story, recording) = story().await;
    let counts = story.replays(&recording);
    assert_eq!(counts.of("switch"), 3);
    assert!(counts.of("lost") > 0, "the replica had missed nothing: {counts}");
    for (what, corrupted, from) in corruptions(&recording) {
        let refused = refusal(&corrupted).unwrap_or_else(|| panic!("{what}: not caught"));
        assert!(refused.number > from, "{what}: refused before it was done: {refused}");
        println!("{what}: step {} is not enabled: {}", refused.number, refused.why);
    }
    story.ends(&[]).await;
}

fn refusal(recording: &Recording) -> Option<Box<Refused>> {
    Replay::run(&recording.steps, &recording.locals, &recording.snapshot).err()
}

/// Recordings that tell of something that did not happen, and behind which step.
fn corruptions(recording: &Recording) -> Vec<(&'static str, Recording, usize)> {
    let switch = |loss: Loss| place(recording, 0, |step| step.loss == Some(loss));
    let (failover, restart) = (switch(Loss::TheLatest), switch(Loss::Nothing));
    let emptied = switch(Loss::Everything);
    let mut all = Vec::new();
    let mut corrupt = |what, at: usize, change: fn(&mut Step)| {
        let mut corrupted = recording.clone();
        change(&mut corrupted.steps[at]);
        // Steps are counted from one: it is refused there or behind it.
        all.push((what, corrupted, at));
    };
    let release = place(recording, failover, |step| does(step, "disconnect", "HDEL"));
    corrupt("a release has a wrong tag", release, |step| change_digit(&mut step.args[2]));
    let claim = place(recording, failover, |step| does(step, "connect", "HSET"));
    corrupt("a claim is dropped", claim, |step| *step = Step { inner: Vec::new(), ..step.clone() });
    let beat =
        place(recording, failover, |step| step.args.first().is_some_and(|arg| arg == "beat"));
    corrupt("a member is fenced without a reason", beat, |step| {
        step.inner.retain(|words| words[0] != "HINCRBY");
    });
    corrupt("the replica holds an entry that never was", failover, |step| {
        let entry = step.args.iter_mut().find(|line| line.contains("}:u:")).expect("an entry");
        change_digit(entry);
    });
    corrupt("the replica holds late what it missed early", failover, |step| {
        let entry = step.args.iter().position(|line| line.contains("}:u:")).expect("an entry");
        step.args.remove(entry);
    });
    corrupt("a server that keeps everything has lost something", restart, |step| {
        drop(step.args.pop());
    });
    corrupt("an emptied server holds something", emptied, |step| {
        step.args.push("wsfleetd:{m}:hb AAAAAAAAAAA 1".to_owned());
    });
    all
}

fn place(recording: &Recording, from: usize, is_meant: impl Fn(&Step) -> bool) -> usize {
    let found = recording.steps[from..].iter().position(is_meant);
    from + found.expect("the recording has one")
}

fn does(step: &Step, script: &str, command: &str) -> bool {
    let did = |words: &Vec<String>| words[0] == command && words[1].contains("}:u:");
    step.name == script && step.inner.iter().any(did)
}

fn change_digit(text: &mut String) {
    let last = text.pop().expect("something");
    text.push(if last == '0' { '1' } else { '0' });
}
