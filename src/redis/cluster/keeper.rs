//! Keeps the map of a cluster true, and a link to each of its primaries.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, Value, cmd};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Cluster, Member, Order, Slots};
use crate::{
    redis::{
        dialler::{Address, host_of},
        link::LinkState,
        node::Node,
    },
    telemetry::events,
};

/// The map is read this often although nothing speaks against it: `CLUSTER SLOTS` is cheap, and
/// an instance that is idle hears of no move.
const PERIOD: Duration = Duration::from_secs(15);

/// Between two readings, however much speaks against the map.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is said again that the cluster cannot be reached.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Primaries that may wait for their link to be started; they are taken at once.
const NEWCOMERS: usize = 16;

impl Cluster {
    /// Keeps map and links until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let (sender, mut newcomers) = mpsc::channel::<Arc<Member>>(NEWCOMERS);
        let look = self.look(sender);
        tokio::pin!(look);
        let mut links = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut look => return,
                Some(member) = newcomers.recv() => links.push(self.keep(member, stop.clone())),
                Some(()) = links.next(), if !links.is_empty() => {}
            }
        }
    }

    /// Keeps one primary's link, for as long as it is one.
    async fn keep(&self, member: Arc<Member>, stop: CancellationToken) {
        let mut state = member.node.link.watch();
        let watch = async {
            while state.changed().await.is_ok() {
                if *state.borrow_and_update() == LinkState::Down {
                    self.doubt();
                }
                self.count();
            }
        };
        tokio::select! {
            () = member.node.link.run(stop) => {}
            () = member.gone.cancelled() => {}
            () = watch => {}
        }
    }

    /// Reads the map, again and again.
    async fn look(&self, newcomers: mpsc::Sender<Arc<Member>>) {
        let mut complained: Option<Instant> = None;
        loop {
            match self.read().await {
                Ok(slots) => {
                    self.adopt(slots, &newcomers).await;
                    complained = None;
                }
                Err(error) if complained.is_none_or(|at| at.elapsed() >= COMPLAINTS) => {
                    complained = Some(Instant::now());
                    let host = self.shared.dialler.info().addr();
                    warn!(
                        message_id = events::REDIS_LOST,
                        error = %error,
                        "cannot learn the Redis Cluster's slots, at {host} or elsewhere: {error}; trying on"
                    );
                }
                Err(_) => {}
            }
            self.count();
            sleep(PAUSE).await;
            // Every doubt since the last reading counts as one.
            let _ = timeout(self.patience(), self.shared.doubt.notified()).await;
        }
    }

    /// Without a whole map, or with a primary that is down, it is looked for all the time.
    fn patience(&self) -> Duration {
        match *self.shared.state.borrow() {
            LinkState::Up(_) => PERIOD,
            LinkState::Down => PAUSE * 2,
        }
    }

    /// From a primary that is connected, else from whoever is at `redis.url`.
    async fn read(&self) -> RedisResult<Slots> {
        let map = self.shared.map.load_full();
        for member in map.nodes.iter().filter(|member| member.node.link.is_up()) {
            let command = slots_command();
            let order = Order::Plain { command: &command, key: "" };
            let answer = member.node.link.run_order(&order, false).await;
            if let Some(slots) = answer.ok().and_then(|one| Slots::parse(&one, &member.address.0)) {
                return Ok(slots);
            }
        }
        self.ask_seed().await
    }

    async fn ask_seed(&self) -> RedisResult<Slots> {
        let dialler = &self.shared.dialler;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(dialler.connect_timeout))
            .set_response_timeout(Some(dialler.command_timeout));
        let client = Client::open(dialler.info().clone())?;
        let mut seed = client.get_multiplexed_async_connection_with_config(&config).await?;
        let answer: Value = slots_command().query_async(&mut seed).await?;
        let none = || -> RedisError { (ErrorKind::Parse, "no slot has an owner yet").into() };
        Slots::parse(&answer, host_of(dialler.info())).ok_or_else(none)
    }

    /// Takes a map: links to who is new in it, none to who is in it no more.
    async fn adopt(&self, slots: Slots, newcomers: &mpsc::Sender<Arc<Member>>) {
        let known = self.shared.map.load_full();
        if known.slots == slots {
            return;
        }
        let mut nodes = Vec::with_capacity(slots.primaries.len());
        for address in &slots.primaries {
            let old = known.nodes.iter().find(|member| member.address == *address);
            match old
                .cloned()
                .map_or_else(|| self.meet(address).map(|new| (new, true)), |old| Ok((old, false)))
            {
                Ok((member, is_new)) => {
                    if is_new {
                        let _ = newcomers.send(member.clone()).await;
                    }
                    nodes.push(member);
                }
                // An address that is none: nothing of this map can be used.
                Err(error) => return warn!("a primary at {address:?} cannot be used: {error}"),
            }
        }
        let left = known.nodes.iter().filter(|old| !slots.primaries.contains(&old.address));
        for member in left {
            // Whoever took over from one that is gone may not have had all of it.
            if !member.node.link.is_up() {
                self.shared.dialler.replaced.send_modify(|count| *count += 1);
            }
            member.gone.cancel();
        }
        info!("the Redis Cluster has {} primaries", nodes.len());
        self.install(slots, nodes);
    }

    fn meet(&self, address: &Address) -> RedisResult<Arc<Member>> {
        let dialler = &self.shared.dialler;
        let node = Arc::new(Node::new(dialler, dialler.info_of(address))?);
        Ok(Arc::new(Member { address: address.clone(), node, gone: CancellationToken::new() }))
    }

    /// Finds out whether every slot can be reached now, and says so if that has changed.
    fn count(&self) {
        let map = self.shared.map.load();
        let is_whole = map.slots.are_covered() && map.nodes.iter().all(|one| one.node.link.is_up());
        self.shared.state.send_if_modified(|state| {
            let next = match (*state, is_whole) {
                (LinkState::Down, true) => LinkState::Up(*self.shared.layout.borrow()),
                (LinkState::Up(_), false) => LinkState::Down,
                _ => return false,
            };
            *state = next;
            true
        });
    }
}

fn slots_command() -> redis::Cmd {
    let mut command = cmd("CLUSTER");
    command.arg("SLOTS");
    command
}
