//! The certificate of the public listeners.

use std::time::Duration;

use super::finding::Finding;
use crate::{clock, config::Settings, listener::tls::Certificate};

const CHECK: &str = "certificate";

/// From here on the daemon warns, too.
const NEAR: Duration = Duration::from_secs(14 * DAY);

const DAY: u64 = 24 * 3600;

pub fn examine(settings: &Settings) -> Finding {
    let listen = &settings.listen;
    let (Some(chain), Some(key)) = (&listen.tls_certificate, &listen.tls_key) else {
        return Finding::skipped(
            CHECK,
            "the load balancer ends TLS: listen.tls_certificate is not set",
        );
    };
    let certificate = match Certificate::load(chain, key) {
        Ok(certificate) => certificate,
        Err(fault) => {
            let remedy = "put a chain and its key in PEM there; then reload";
            return Finding::error(CHECK, format!("{}: {fault}", chain.display()), remedy);
        }
    };
    let until = humantime::format_rfc3339_seconds(certificate.expires());
    let remedy = "put another in its place and reload";
    match certificate.expires().duration_since(clock::now()) {
        Err(_) => Finding::error(CHECK, format!("expired at {until}: clients refuse it"), remedy),
        Ok(left) if left < NEAR => {
            let found = format!("expires in {} days, at {until}", left.as_secs() / DAY);
            Finding::warning(CHECK, found, remedy)
        }
        Ok(_) => Finding::ok(CHECK, format!("good until {until}")),
    }
}
