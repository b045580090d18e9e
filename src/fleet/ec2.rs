//! What the daemon wants to know from EC2, as the smallest trait that serves it.
//!
//! Two questions: what am I (for the log: group and state), and what has become of these peers (for
//! the reaper: dead, or only cut off?). An instance's role may allow neither; the daemon then runs
//! on leases alone.

#[cfg(feature = "aws")]
pub mod aws;

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tracing::{info, warn};

use super::{identity::Identity, obituary::Obituary};
use crate::telemetry::events;

/// The questions to EC2. Its answers are eventually consistent and its rate is limited for the
/// whole account: ask seldom, and from one instance for all.
#[async_trait]
pub trait Ec2: Send + Sync {
    /// The instance called `id`; `None` when EC2 does not know it.
    async fn describe(&self, id: &str) -> Result<Option<Described>, Ec2Error>;

    /// The states of those of `ids` that EC2 knows. One that is missing has been gone for an hour
    /// or more, or never was.
    async fn states(&self, ids: &[String]) -> Result<HashMap<String, State>, Ec2Error>;
}

/// An instance as EC2 sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub state: State,
    /// Its Auto Scaling group, if it is in one.
    pub group: Option<String>,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
    /// A state this build does not know.
    Unknown,
}

impl State {
    /// Whether nothing runs there any more, nor will without a new boot.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated | Self::Stopping | Self::Stopped)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Unknown => "in an unknown state",
        })
    }
}

/// Why EC2 gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Ec2Error {
    #[error("EC2 refuses {action}: {reason}; allow {action} in the instance's role")]
    Denied { action: &'static str, reason: String },
    #[error("EC2 did not answer {action}: {reason}")]
    Failed { action: &'static str, reason: String },
}

/// Asks EC2 about silent peers.
pub struct Obituaries {
    region: Option<String>,
    /// Made when it is first needed: that alone takes a call to the metadata service.
    ec2: OnceCell<aws::AwsEc2>,
}

impl Obituaries {
    /// In this region, or the environment's.
    pub fn new(region: Option<String>) -> Self {
        Self { region, ec2: OnceCell::new() }
    }
}

#[async_trait]
impl Obituary for Obituaries {
    /// Only *terminated* is an end: a machine that is stopping still runs what it runs.
    async fn terminated(&self, ids: &[String]) -> Vec<String> {
        let ec2 = self.ec2.get_or_init(|| aws::AwsEc2::new(self.region.as_deref())).await;
        match ec2.states(ids).await {
            Ok(states) => {
                let ended = states.into_iter().filter(|(_, state)| *state == State::Terminated);
                ended.map(|(id, _)| id).collect()
            }
            Err(error @ Ec2Error::Denied { .. }) => {
                warn!(message_id = events::AWS_DENIED, %error, "{error}");
                Vec::new()
            }
            Err(error) => {
                warn!(%error, "{error}");
                Vec::new()
            }
        }
    }
}

/// Logs the instance's Auto Scaling group and state. That EC2 does not say is a warning only: the
/// daemon serves all the same.
pub async fn report_own(ec2: &dyn Ec2, identity: &Identity) {
    let Some(id) = identity.ec2_id.as_deref() else { return };
    match ec2.describe(id).await {
        Ok(Some(Described { state, group: Some(group) })) => info!(
            instance.id = id,
            asg.name = group,
            "instance {id} is {state} in the Auto Scaling group {group}"
        ),
        Ok(Some(Described { state, group: None })) => {
            info!(instance.id = id, "instance {id} is {state} and in no Auto Scaling group");
        }
        Ok(None) => warn!(
            instance.id = id,
            "EC2 does not know instance {id}: is the region right, or is it a moment old?"
        ),
        Err(error @ Ec2Error::Denied { .. }) => {
            warn!(message_id = events::AWS_DENIED, instance.id = id, %error, "{error}; asked about {id}");
        }
        Err(error) => warn!(instance.id = id, %error, "{error}; asked about {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_on_its_way_out_is_gone_and_one_on_its_way_in_is_not() {
        for state in [State::ShuttingDown, State::Terminated, State::Stopping, State::Stopped] {
            assert!(state.is_gone(), "{state}");
        }
        for state in [State::Pending, State::Running, State::Unknown] {
            assert!(!state.is_gone(), "{state}");
        }
    }
}
