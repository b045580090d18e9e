//! What `/readyz` says: the whole truth, dependency by dependency.
//!
//! `/healthz` asks nobody: a load balancer that is told of a Redis outage would have the whole
//! fleet replaced, and every socket on it cut (FLEET, decisions). It knows one thing more than that
//! the process lives: whether this instance alone is cut off (see [`crate::fleet::isolation`]).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use tokio::time::timeout;

use crate::fleet::isolation::Standing;

/// A dependency that answers later than this is not up.
const CHECK_WAIT: Duration = Duration::from_secs(3);

/// Something this instance needs.
#[async_trait]
pub trait Check: Send + Sync {
    /// As an operator calls it.
    fn name(&self) -> &'static str;

    /// Fine, or what is wrong.
    async fn check(&self) -> Result<(), String>;
}

/// All checks; cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<[Box<dyn Check>]>,
    standing: Option<Standing>,
}

/// One look at everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether all is well.
    pub ready: bool,
    /// What is not, by name, with the reason.
    pub failing: serde_json::Map<String, serde_json::Value>,
}

impl Health {
    /// Over these; without a `standing` this instance is alone.
    pub fn new(checks: Vec<Box<dyn Check>>, standing: Option<Standing>) -> Self {
        Self { checks: checks.into(), standing }
    }

    /// Whether this instance alone is cut off, and what its peers may know.
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Asks everyone, each within a bound.
    pub async fn report(&self) -> Report {
        let mut failing = serde_json::Map::new();
        for check in self.checks.iter() {
            let answer = timeout(CHECK_WAIT, check.check()).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
            if let Err(reason) = answer {
                failing.insert(check.name().to_owned(), reason.into());
            }
        }
        Report { ready: failing.is_empty(), failing }
    }
}
