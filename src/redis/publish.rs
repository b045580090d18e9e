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
        let mut groups: Vec<(Arc<Node>, Vec<usize>, Pipeline)> = Vec::new();
        for at in some {
            let channel = self.keys.inbox(batch[*at].stripe, batch[*at].to);
            let Some(node) = self.home(&channel) else {
                published.fault.get_or_insert(Fault::Down);
                continue;
            };
            let known = groups.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, &node));
            let (members, pipeline) = match known {
                Some((_, members, pipeline)) => (members, pipeline),
                None => {
                    groups.push((node, Vec::new(), Pipeline::with_capacity(some.len())));
                    let Some((_, members, pipeline)) = groups.last_mut() else { continue };
                    (members, pipeline)
                }
            };
            members.push(*at);
            pipeline.cmd(self.publish_verb()).arg(channel).arg(&batch[*at].payload);
        }
        let work = groups.into_iter().map(async |(node, members, mut pipeline)| {
            let answers = node.link.pipeline(&mut pipeline).await;
            (node, members, answers)
        });
        let mut misled = Vec::new();
        for (node, members, answers) in join_all(work).await {
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
