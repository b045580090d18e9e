//! `[delivery]` as the router and the store take it.

use std::sync::Arc;

use crate::{
    config::settings::{ClassicDelivery, Settings},
    router,
    store::HoldPolicy,
    users::Directory,
};

/// When the router may have a message held, and whom it asks who exists.
pub fn router(settings: &Settings, directory: &Arc<dyn Directory>) -> router::Config {
    let delivery = &settings.delivery;
    router::Config {
        hold: delivery.classic != ClassicDelivery::Drop,
        max_stored_message: delivery.max_stored_message,
        directory: keeps(settings).then(|| directory.clone()),
    }
}

/// How long and how much the store holds.
pub fn hold_policy(settings: &Settings) -> HoldPolicy {
    let delivery = &settings.delivery;
    let window = match delivery.classic {
        ClassicDelivery::Handover => Some(delivery.handover_window),
        ClassicDelivery::Drop => None,
        ClassicDelivery::Keep => Some(delivery.mailbox_ttl),
    };
    HoldPolicy {
        window,
        keeps: keeps(settings),
        ttl: delivery.mailbox_ttl,
        entries: delivery.mailbox_entries,
        bytes: delivery.mailbox_bytes,
    }
}

fn keeps(settings: &Settings) -> bool {
    settings.delivery.classic == ClassicDelivery::Keep
}
