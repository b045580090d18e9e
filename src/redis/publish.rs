//! Publishes a batch: one round trip to each server that has a part in it.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::{FromRedisValue, Pipeline, RedisError, Value};
use tracing::debug;

use super::{
    Fault, Redis,
    cluster::Lane,
    node::{Node, Order},
};
use crate::ids::Epoch;

/// What goes to one inbox.
pub struct Parcel {
    /// Whose inbox.
    pub to: Epoch,
    /// Which of them: see [`Redis::stripe`].
    pub stripe: u16,
    /// What is published.
    pub payload: Vec<u8>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Published {
    /// For each parcel how many heard it; `None` where that is not known.
    pub heard: Vec<Option<i64>>,
    /// The first reason for not knowing.
    pub fault: Option<Fault>,
}

/// The part of a batch that goes to one server.
struct Group {
    node: Arc<Node>,
    members: Vec<usize>,
    pipeline: Pipeline,
}

impl Group {
    async fn send(&mut self) -> Result<Vec<Value>, Fault> {
        self.node.link.pipeline(&mut self.pipeline).await
    }
}

impl Redis {
    /// Publishes each parcel in the order given; parcels to different servers may overtake each
    /// other.
    pub async fn publish(&self, batch: &[Parcel]) -> Published {
        let mut published = Published { heard: vec![None; batch.len()], fault: None };
        let all: Vec<usize> = (0..batch.len()).collect();
        let misled = self.publish_some(batch, &all, &mut published).await;
        // The map is right now, and what a server refuses for its slot it has not published.
        if !misled.is_empty() {
            let lost = self.publish_some(batch, &misled, &mut published).await;
            debug!("{} payloads met a slot on its way twice", lost.len());
        }
        if published.heard.iter().all(Option::is_some) {
            published.fault = None;
        }
        published
    }

    /// Publishes some of a batch; answers those whose slot has moved.
    async fn publish_some(
        &self,
        batch: &[Parcel],
        some: &[usize],
        published: &mut Published,
    ) -> Vec<usize> {
        let mut groups: Vec<Group> = Vec::new();
        for at in some {
            let channel = self.keys.inbox(batch[*at].stripe, batch[*at].to);
            let Some(node) = self.home(&channel) else {
                published.fault.get_or_insert(Fault::Down);
                continue;
            };
            let known = groups.iter().position(|group| Arc::ptr_eq(&group.node, &node));
            let known = known.unwrap_or_else(|| {
                let pipeline = Pipeline::with_capacity(some.len());
                groups.push(Group { node, members: Vec::new(), pipeline });
                groups.len() - 1
            });
            let group = &mut groups[known];
            group.members.push(*at);
            group.pipeline.cmd(self.publish_verb()).arg(channel).arg(&batch[*at].payload);
        }
        let answers = join_all(groups.iter_mut().map(Group::send)).await;
        let mut misled = Vec::new();
        for (Group { node, members, .. }, answers) in groups.into_iter().zip(answers) {
            match answers {
                Ok(answers) => {
                    for (at, answer) in members.into_iter().zip(answers) {
                        if let Err(error) = note(at, answer, published) {
                            if self.has_moved(&error, &node) {
                                misled.push(at);
                            }
                            published.fault.get_or_insert(error.into());
                        }
                    }
                }
                Err(fault) => {
                    self.doubt();
                    published.fault.get_or_insert(fault);
                }
            }
        }
        misled
    }

    /// Says something to one inbox by its channel's name; how many heard it.
    pub(super) async fn say(&self, channel: &str, payload: &[u8]) -> Result<i64, Fault> {
        let mut command = redis::cmd(self.publish_verb());
        command.arg(channel).arg(payload);
        let order = Order::Plain { command: &command, key: channel };
        let answer = self.run_order(&order, Lane::Hot).await?;
        i64::from_redis_value(answer).map_err(|error| Fault::Answer(error.to_string()))
    }

    /// What subscribes.
    pub(super) fn subscribe_verb(&self) -> &'static str {
        if self.keys.are_sharded() { "SSUBSCRIBE" } else { "SUBSCRIBE" }
    }

    fn publish_verb(&self) -> &'static str {
        if self.keys.are_sharded() { "SPUBLISH" } else { "PUBLISH" }
    }
}

fn note(at: usize, answer: Value, published: &mut Published) -> Result<(), RedisError> {
    published.heard[at] = Some(i64::from_redis_value(answer.extract_error()?)?);
    Ok(())
}
