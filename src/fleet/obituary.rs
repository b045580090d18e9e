//! What is known of a silent peer from elsewhere than Redis.
//!
//! The failure detector waits because silence is no proof. Who runs the machines may have one: then
//! there is nothing to wait for (COORDINATION, change 10).

use async_trait::async_trait;

/// Who may know that a machine is no more.
#[async_trait]
pub trait Obituary: Send + Sync {
    /// Those of the machines, by EC2's ids, that run no more and never will.
    async fn terminated(&self, ids: &[String]) -> Vec<String>;
}
