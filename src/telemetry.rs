//! To be filled in.
/// Placeholder until the telemetry branch lands.
pub mod events {
    pub const REDIS_LOST: &str = "";
    pub const REDIS_BACK: &str = "";
    pub const POSSIBLE_LOSS: &str = "";
    pub const FENCED: &str = "";
}
