//! Clocks that are wrong: libfaketime around a daemon or Redis, never the machine's own.
//!
//! No lease, key or order may hang on an instance's clock; and of Redis's only that it mostly goes
//! forward. What measures intervals is left alone, as it is by a real step.

use crate::support::{
    chaos::{Check, Settings, Story},
    faketime::Clocks,
};

const HOUR: &str = "3600";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: needs faketime"]
async fn hours_apart_instances_agree() {
    let clocks = Clocks::new();
    for (name, offset) in [("0", "+0"), ("1", "+3600"), ("2", "-3600")] {
        clocks.set(name, offset);
    }
    let variables = clocks.variables("{n}");
    let mut story = Story::with(Settings { variables, ..Settings::of(3) }, 0).await;
    story.regulars().await;
    story.passers_by(6);
    story.passes(15.0).await;
    story.tell("the clocks are stepped");
    for (name, sign) in [("0", "-"), ("1", "-"), ("2", "+")] {
        clocks.set(name, &format!("{sign}{HOUR}"));
    }
    story.passes(25.0).await;
    let logged = story.instance(1).log();
    let (first, last) = (logged.lines().next(), logged.lines().last());
    let hour = |line: Option<&str>| line.and_then(|line| line.get(11..13)).map(str::to_owned);
    assert_ne!(hour(first), hour(last), "its clock was another's");
    story.ends(&[Check::Handover, Check::Outlives]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: needs faketime"]
async fn a_redis_whose_clock_goes_back_loses_nothing() {
    let clocks = Clocks::new();
    clocks.set("redis", "+0");
    let redis_variables = clocks.variables("redis");
    let mut story = Story::with(Settings { redis_variables, ..Settings::of(3) }, 0).await;
    story.regulars().await;
    story.passers_by(6);
    let second = || story.redis().ask(&["TIME"]).lines().next().and_then(|s| s.parse::<i64>().ok());
    story.passes(12.0).await;
    let before = second().expect("a time");
    clocks.set("redis", &format!("-{HOUR}"));
    assert!(second().expect("a time") < before - 3000, "its clock went back");
    story.passes(30.0).await;
    story.ends(&[Check::Handover, Check::Outlives]).await;
}
