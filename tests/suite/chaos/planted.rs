//! Bugs that are planted, and must be found: a checker that lets one live checks nothing.
//!
//! The instances run as they are; what they say to Redis is changed on the way (`proxy::bugs`).
//! Each tale says how its bug is provoked. The same tales without a bug find nothing.

mod foreigner;
mod tales;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::tales::Tale;
use crate::support::proxy::{
    Meddler,
    bugs::{BrokenScript, Mute},
};

/// Where a bug is put.
enum Plant {
    /// This line of a script is that.
    Script(&'static str, &'static str),
    /// Envelopes of this kind never leave.
    Mute(u8),
}

/// Tells the tale with the bug; it must be found, and must have been there.
async fn must_be_caught(name: &str, plant: Plant, tale: Tale) {
    let (meddler, times): (Arc<dyn Meddler>, Box<dyn Fn() -> u64>) = match plant {
        Plant::Script(line, instead) => {
            let bug = BrokenScript::new(line, instead);
            (bug.clone(), Box::new(move || bug.runs()))
        }
        Plant::Mute(kind) => {
            let bug = Mute::new(kind);
            (bug.clone(), Box::new(move || bug.swallowed()))
        }
    };
    let began = Instant::now();
    let caught = tale.tell(Some(meddler)).await;
    let (took, times) = (began.elapsed(), times());
    assert!(times > 0, "{name}: it was never there; has its line in src/store changed?");
    match caught {
        Some(by) => println!("planted: {name}: {times} times, caught after {took:.1?} by {by}"),
        None => panic!("planted: {name}: {times} times, and NOT caught in {took:.1?}"),
    }
}

macro_rules! planted {
    ($($name:ident: $plant:expr, $tale:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "long: a bug is given time to be found"]
        async fn $name() {
            must_be_caught(stringify!($name), $plant, $tale).await;
        })*
    };
}

planted! {
    release_without_compare: Plant::Script(
        "if call('HGET', KEYS[1], ARGV[2]) == ARGV[3] then removed",
        "if true then removed",
    ), Tale::Displaced;
    no_displacement: Plant::Script(
        "tell(a.channel, epoch_of(old), 'D', a.user .. ' ' .. a.device .. ' ' .. old)",
        "",
    ), Tale::Displaced;
    assert_over_a_younger: Plant::Script(
        "if #theirs == #since and theirs > since or #theirs > #since then",
        "if false then",
    ), Tale::LateAssert;
    kill_without_compare: Plant::Script(
        "if call('HGET', KEYS[1], epoch) ~= ARGV[3] then return { 'ALIVE' } end",
        "",
    ), Tale::LateKill;
    connect_behind_the_tombstone: Plant::Script(
        "if call('HGET', KEYS[4], '!') == 'x' then return { 'FENCED' } end",
        "",
    ), Tale::Zombie;
    reap_leaves_fields: Plant::Script(
        "removed = removed + call('HDEL', key, all[j])",
        "removed = removed + 1",
    ), Tale::Crowd;
    reap_leaves_the_index: Plant::Script("call('HDEL', KEYS[1], user)", ""), Tale::Crowd;
    beat_without_fence: Plant::Script(
        "if call('HEXISTS', KEYS[1], epoch) == 0 then return { 'FENCED' } end",
        "",
    ), Tale::Crowd;
    no_retry_dedup: Plant::Script("if known[mid] then return 'dup' end", ""), Tale::Leavers;
    connect_without_reading: Plant::Script("call('GETDEL', KEYS[3])", "nil"), Tale::Crowd;
    no_marker_at_the_last_goodbye: Plant::Script(
        "if removed == 1 then mark(k, ARGV[6]) end",
        "",
    ), Tale::Crowd;
    index_kept_at_goodbye: Plant::Script("if not mine and call('HDEL', KEYS[4], ARGV[1]) == 1 then", "if false then"),
        Tale::Crowd;
    told_to_the_first_owner_only: Plant::Script(
        "else heard = heard + tell(",
        "elseif heard == 0 then heard = heard + tell(",
    ), Tale::Crowd;
    no_word_of_a_new_sibling: Plant::Script(
        "tell(a.channel, e, 'O', a.user .. ' ' .. a.epoch)",
        "",
    ), Tale::Crowd;
    never_not_mine: Plant::Mute(b'N'), Tale::Crowd;
    never_also_owned: Plant::Mute(b'R'), Tale::Crowd;
}

/// What finds nothing where nothing is.
macro_rules! clean {
    ($($name:ident: $tale:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "long: the whole tale"]
        async fn $name() {
            assert_eq!($tale.tell(None).await, None);
        })*
    };
}

clean! {
    a_younger_owner_displaces_the_old_one_who_takes_nothing_along: Tale::Displaced;
    an_instance_that_was_cut_off_takes_nothing_from_a_younger_owner: Tale::LateAssert;
    who_moves_before_the_kill_arrives_lives_on: Tale::LateKill;
    a_zombie_writes_nothing_behind_its_tombstone: Tale::Zombie;
    who_leaves_with_two_devices_hears_nothing_twice: Tale::Leavers;
    a_crowd_that_comes_and_goes_misses_nothing: Tale::Crowd;
}

/// What a tale may take.
const BOUND: Duration = Duration::from_secs(75);
