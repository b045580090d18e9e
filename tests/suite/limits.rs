//! The operator's limits, each reached: what the client is told, what the log says, and that all
//! others are served.

mod descriptors;
mod forwarded;
mod head;
pub mod memory;
mod messages;
mod rates;

use crate::support::instance::Instance;

/// The lines an operator's alarm would see of the limit `key`.
fn told_of(instance: &Instance, key: &str) -> Vec<String> {
    let start = format!("{key}: ");
    instance.log().lines().filter(|line| line.contains(&start)).map(str::to_owned).collect()
}
