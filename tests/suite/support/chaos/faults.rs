//! The verbs that break things, and those that mend them. Each notes in the timeline what it does.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use wsfleetd_model::trace::Loss;

use super::{Fleet, timeline::Place};
use crate::support::{
    fleet::{PATIENCE, eventually, get},
    proxy::Line,
    redis::RedisServer,
};

/// How long an instance may take to find out that it alone is cut off: `fleet.cut_off_after`, and a
/// round of questions more.
const FINDING_OUT: Duration = Duration::from_secs(22);

/// From red to the last close, and the close itself.
const DRAIN: Duration = Duration::from_secs(9);
const LAST_WORD: Duration = Duration::from_secs(2);

/// With this an instance that is cut off takes no longer than a story waits.
pub const QUICK_DRAIN: &str = "[fleet]\ncut_off_drain = \"9s\"\n";

/// Everything that can be broken for a while by one word, for stories that draw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9; a new instance in its place at the end.
    Kill,
    /// SIGTERM; a new instance in its place at the end.
    Terminate,
    /// SIGSTOP and SIGCONT.
    StandStill,
    /// Its line to Redis is in this state.
    Line(Line),
    /// Its line swallows everything for so long that it leaves the load balancer and sends its
    /// clients away, unless it has reason to think that others are cut off too.
    CutOff,
    /// Redis is stopped, and comes back empty.
    RestartEmpty,
    /// Redis is stopped, and comes back with what it had written.
    RestartWithData,
    /// Redis stands still.
    Freeze,
    /// FLUSHALL.
    Flush,
    /// A replica takes over that has missed the last writes.
    FailOver,
    /// Each command to Redis takes 100 ms longer, for everybody.
    Slow,
}

impl Fault {
    /// Whether it happens to one instance.
    pub fn is_of_one(self) -> bool {
        use Fault::{CutOff, Kill, Line, StandStill, Terminate};
        matches!(self, Kill | Terminate | StandStill | Line(_) | CutOff)
    }
}

impl Fleet {
    /// Breaks something; `at` is of no matter where it is Redis.
    pub async fn inflict(&mut self, fault: Fault, at: usize) {
        self.bound_recording();
        match fault {
            Fault::Kill => self.kill(at),
            Fault::Terminate => self.terminate(at),
            Fault::StandStill => self.stand_still(at),
            Fault::Line(line) => self.set_line(at, line),
            Fault::CutOff => drop(self.cut_off(at).await),
            Fault::RestartEmpty => self.stop_redis(true),
            Fault::RestartWithData => self.stop_redis(false),
            Fault::Freeze => self.freeze_redis(),
            Fault::Flush => self.flush_redis(),
            Fault::FailOver => self.fail_over(Duration::from_millis(1500)).await,
            Fault::Slow => self.slow_down(Duration::from_millis(100)),
        }
    }

    /// Mends what [`Fleet::inflict`] broke.
    pub async fn mend(&mut self, fault: Fault, at: usize) {
        match fault {
            Fault::Kill | Fault::Terminate => self.replace(at).await,
            Fault::StandStill => self.go_on(at),
            Fault::Line(_) => self.heal(at),
            Fault::CutOff => self.reconnect(at).await,
            Fault::RestartEmpty | Fault::RestartWithData => self.start_redis(),
            Fault::Freeze => self.thaw_redis(),
            Fault::Flush | Fault::FailOver => {}
            Fault::Slow => self.slow_down(Duration::ZERO),
        }
    }

    /// kill -9.
    pub fn kill(&mut self, at: usize) {
        self.seats.set_open(at, false);
        self.timeline.die(self.nodes[at].number);
        self.nodes[at].instance.kill();
        self.keep_last_log(at);
    }

    /// SIGTERM, and its end.
    pub fn terminate(&mut self, at: usize) {
        self.seats.set_open(at, false);
        self.timeline.die(self.nodes[at].number);
        let (status, took) = self.nodes[at].instance.stop();
        assert!(status.success(), "{status} after {took:?}\n{}", self.instance(at).log());
        self.keep_last_log(at);
    }

    /// A new instance in the place of a dead one.
    pub async fn replace(&mut self, at: usize) {
        let node = self.launch();
        self.nodes[at] = node;
        self.settle(at).await;
        self.offer(at);
    }

    /// SIGSTOP.
    pub fn stand_still(&self, at: usize) {
        self.seats.set_open(at, false);
        self.timeline.begin(Place::Instance(self.nodes[at].number));
        self.nodes[at].instance.signal("STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self, at: usize) {
        self.nodes[at].instance.signal("CONT");
        self.end_trouble_of(at);
        self.seats.set_open(at, true);
    }

    /// The line between one instance and Redis is broken in this way.
    pub fn set_line(&self, at: usize, line: Line) {
        self.timeline.begin(Place::Instance(self.nodes[at].number));
        self.nodes[at].line.set(line);
    }

    /// The line is open again.
    pub fn heal(&self, at: usize) {
        self.nodes[at].line.set(Line::Open);
        self.end_trouble_of(at);
    }

    /// Redis is out of reach of one instance, until it has sent its clients away or has had the time
    /// to; whether it has. Its seat is taken away as soon as a load balancer would.
    pub async fn cut_off(&self, at: usize) -> bool {
        self.set_line(at, Line::Blackhole);
        // From now on: it may also find out later, when it no longer counts those who died before.
        self.timeline.send_away(self.nodes[at].number);
        let began = Instant::now();
        while !self.is_red(at).await {
            if began.elapsed() > FINDING_OUT {
                return false;
            }
            sleep(Duration::from_millis(200)).await;
        }
        self.seats.set_open(at, false);
        sleep(DRAIN + LAST_WORD).await;
        true
    }

    /// Redis can be reached again, and clients may come.
    pub async fn reconnect(&self, at: usize) {
        self.heal(at);
        eventually("it takes clients again", PATIENCE, async || !self.is_red(at).await).await;
        self.timeline.keep(self.nodes[at].number);
        self.seats.set_open(at, true);
    }

    async fn is_red(&self, at: usize) -> bool {
        get(self.instance(at).app(), "/healthz").await.0 == 503
    }

    /// Each command takes this much longer, for everybody; zero ends it.
    pub fn slow_down(&self, delay: Duration) {
        if delay.is_zero() {
            self.timeline.end(|place| place == Place::Pace);
        } else {
            self.timeline.begin(Place::Pace);
        }
        self.nodes.iter().for_each(|node| node.line.slow_down(delay));
    }

    /// Redis dies; whether it loses what it knew.
    pub fn stop_redis(&mut self, forgets: bool) {
        let forgets = forgets || !self.settings.is_durable;
        self.timeline.begin(Place::Redis { forgets });
        let loss = if forgets { Loss::Everything } else { Loss::Nothing };
        self.recorded.pause(&self.servers[self.primary], loss);
        self.servers[self.primary].stop();
        if forgets {
            self.servers[self.primary].forget();
        }
    }

    /// Redis is back.
    pub fn start_redis(&mut self) {
        self.resume();
        self.monitor(self.primary);
        self.end_trouble_of_redis();
    }

    /// Redis stands still.
    pub fn freeze_redis(&self) {
        self.timeline.begin(Place::Redis { forgets: false });
        self.redis().freeze();
    }

    /// Redis goes on.
    pub fn thaw_redis(&self) {
        self.redis().thaw();
        self.end_trouble_of_redis();
    }

    /// FLUSHALL.
    pub fn flush_redis(&self) {
        self.timeline.begin(Place::Redis { forgets: true });
        self.redis().ask(&["FLUSHALL"]);
        self.end_trouble_of_redis();
    }

    /// Redis has no memory left for anything new.
    pub fn fill_redis(&self) {
        self.timeline.begin(Place::Redis { forgets: false });
        self.redis().ask(&["CONFIG", "SET", "maxmemory", "1"]);
    }

    /// Redis has room again.
    pub fn drain_redis(&self) {
        self.redis().ask(&["CONFIG", "SET", "maxmemory", "0"]);
        self.end_trouble_of_redis();
    }

    /// The replica becomes the primary and has missed what was written for so long before; the old
    /// one becomes its replica and answers READONLY to who has stayed.
    pub async fn fail_over(&mut self, missed: Duration) {
        let (old, new) = (self.primary, 1 - self.primary);
        eventually("the replica follows", PATIENCE, async || {
            self.servers[new].ask(&["INFO", "replication"]).contains("master_link_status:up")
        })
        .await;
        self.promote(new);
        sleep(missed).await;
        self.timeline.begin(Place::Redis { forgets: true });
        let port = self.servers[new].port();
        self.demote(old, new);
        self.nodes.iter().for_each(|node| node.line.lead_to(port));
        self.primary = new;
        self.port.send_replace(port);
        self.end_trouble_of_redis();
    }

    /// Who followed at first, or the primary of old.
    pub fn replica(&self) -> &RedisServer {
        &self.servers[1 - self.primary]
    }

    fn end_trouble_of(&self, at: usize) {
        let number = self.nodes[at].number;
        self.timeline.end(|place| place == Place::Instance(number));
    }

    fn end_trouble_of_redis(&self) {
        self.timeline.end(|place| matches!(place, Place::Redis { .. }));
    }
}
