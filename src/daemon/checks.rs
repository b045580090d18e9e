//! What `/readyz` asks: the lease, Redis, the directory.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{fleet::lease::Lease, http::Check, redis::Redis, users::Directory};

/// Whether Redis can be reached.
pub struct RedisCheck(pub Redis);

#[async_trait]
impl Check for RedisCheck {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn check(&self) -> Result<(), String> {
        if self.0.is_up() { Ok(()) } else { Err("not connected".to_owned()) }
    }
}

/// Whether the fleet takes this instance for alive.
pub struct LeaseCheck(pub Lease);

#[async_trait]
impl Check for LeaseCheck {
    fn name(&self) -> &'static str {
        "lease"
    }

    async fn check(&self) -> Result<(), String> {
        if self.0.is_held() { Ok(()) } else { Err("not held".to_owned()) }
    }
}

/// Whether the directory answers.
pub struct DirectoryCheck(pub Arc<dyn Directory>);

#[async_trait]
impl Check for DirectoryCheck {
    fn name(&self) -> &'static str {
        "users"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.check().await.map_err(|error| error.to_string())
    }
}
