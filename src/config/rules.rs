//! What holds between settings that are each right by themselves.

use std::net::SocketAddr;

use humantime::format_duration;
use secrecy::ExposeSecret;
use url::Url;

use super::{
    keys,
    mistakes::Mistake,
    origin::Origin,
    settings::{AuthMode, DatabaseAuth, Settings},
    walk::Walk,
};
use crate::listener::tls;

/// A condition on several keys.
struct Rule {
    /// The most important first.
    keys: &'static [&'static str],
    check: fn(&Settings) -> Result<(), Broken>,
}

/// Why a rule does not hold.
struct Broken {
    problem: String,
    remedy: String,
}

const RULES: &[Rule] = &[
    Rule { keys: &["websocket.max_frame", "websocket.max_message"], check: frame_fits_message },
    Rule { keys: &["limits.outbox_bytes", "websocket.max_message"], check: message_fits_outbox },
    Rule {
        keys: &["delivery.mailbox_bytes", "delivery.max_stored_message"],
        check: message_fits_mailbox,
    },
    Rule { keys: &["redis.url", "redis.cluster"], check: cluster_has_one_database },
    Rule { keys: &["fleet.lease", "fleet.heartbeat"], check: lease_outlasts_heartbeats },
    Rule {
        keys: &["fleet.lease", "fleet.heartbeat", "fleet.suspect_rounds"],
        check: lease_ends_before_suspicion,
    },
    Rule { keys: &["fleet.cut_off_after", "fleet.lease"], check: lease_ends_before_doubt },
    Rule {
        keys: &["listen.api", "listen.app"],
        check: |s| apart("api", s.listen.api, s.listen.app),
    },
    Rule {
        keys: &["listen.admin", "listen.app"],
        check: |s| apart("admin", s.listen.admin, s.listen.app),
    },
    Rule {
        keys: &["listen.admin", "listen.api"],
        check: |s| apart("admin", s.listen.admin, s.listen.api),
    },
    Rule {
        keys: &["auth.modes", "auth.header.trusted_proxies", "listen.app", "listen.api"],
        check: header_is_not_for_everybody,
    },
    Rule {
        keys: &["auth.token.key_file", "auth.token.jwks_file", "auth.modes", "redis.url"],
        check: fleet_shares_a_key,
    },
    Rule { keys: &["auth.alb.signer", "auth.modes"], check: load_balancer_is_known },
    Rule { keys: &["database.auth"], check: tokens_can_be_made },
    Rule {
        keys: &["database.auth", "database.url", "database.replica_url"],
        check: tokens_go_over_tls,
    },
    Rule { keys: &["listen.tls_certificate", "listen.tls_key"], check: certificate_has_a_key },
    Rule { keys: &["listen.tls_certificate"], check: certificate_is_one },
    Rule { keys: &["listen.tls_key", "listen.tls_certificate"], check: key_is_the_certificates },
    Rule { keys: &["compat.legacy_key_mirror", "redis.url"], check: mirror_has_a_redis },
];

/// The keys of every rule that these settings break.
pub fn broken(settings: &Settings) -> impl Iterator<Item = &'static [&'static str]> {
    RULES.iter().filter(|rule| (rule.check)(settings).is_err()).map(|rule| rule.keys)
}

/// Checks every rule all of whose keys were read.
pub fn check(walk: &mut Walk) {
    for rule in RULES {
        if rule.keys.iter().any(|key| walk.refused.contains(key)) {
            continue;
        }
        if let Err(broken) = (rule.check)(&walk.settings) {
            let mistake = rule.mistake(walk, broken);
            walk.mistakes.push(mistake);
        }
    }
}

impl Rule {
    /// Told of the first of its keys that somebody set: nobody can look for a default.
    fn mistake(&self, walk: &Walk, broken: Broken) -> Mistake {
        let set = |key: &&&str| walk.origin(key) != Origin::Default;
        let name = self.keys.iter().find(set).or(self.keys.first()).copied().unwrap_or_default();
        Mistake {
            origin: walk.origin(name),
            key: Some(name.into()),
            value: keys::find(name).map(|key| key.show(&walk.settings)),
            problem: broken.problem,
            remedy: broken.remedy,
        }
    }
}

fn frame_fits_message(settings: &Settings) -> Result<(), Broken> {
    let (frame, message) = (settings.websocket.max_frame, settings.websocket.max_message);
    unless(frame > message, || Broken {
        problem: format!("a frame of {frame} bytes is longer than any message, {message} bytes"),
        remedy: "make websocket.max_frame at most websocket.max_message".into(),
    })
}

fn message_fits_outbox(settings: &Settings) -> Result<(), Broken> {
    let (outbox, message) = (settings.limits.outbox_bytes, settings.websocket.max_message);
    unless(outbox < message, || Broken {
        problem: format!(
            "a message of {message} bytes would close the connection it is sent to, whose outbox \
             takes {outbox} bytes"
        ),
        remedy: "make limits.outbox_bytes at least websocket.max_message".into(),
    })
}

fn message_fits_mailbox(settings: &Settings) -> Result<(), Broken> {
    let stored = settings.delivery.max_stored_message;
    let mailbox = settings.delivery.mailbox_bytes;
    unless((mailbox as usize) < stored, || Broken {
        problem: format!("a mailbox of {mailbox} bytes cannot hold a message of {stored} bytes"),
        remedy: "make delivery.mailbox_bytes at least delivery.max_stored_message".into(),
    })
}

fn cluster_has_one_database(settings: &Settings) -> Result<(), Broken> {
    let redis = &settings.redis;
    let url = redis.url.as_ref().and_then(|url| Url::parse(url.expose_secret()).ok());
    let database = url.as_ref().map_or("", |url| url.path().trim_matches('/'));
    unless(redis.cluster && !["", "0"].contains(&database), || Broken {
        problem: format!("a Redis Cluster has the database 0 only, not {database}"),
        remedy: "leave the database's number out of redis.url, or unset redis.cluster".into(),
    })
}

fn lease_outlasts_heartbeats(settings: &Settings) -> Result<(), Broken> {
    let (lease, heartbeat) = (settings.fleet.lease, settings.fleet.heartbeat);
    unless(lease <= 2 * heartbeat, || Broken {
        problem: format!(
            "a lease of {} does not outlast two heartbeats of {}: one lost answer would end it",
            format_duration(lease),
            format_duration(heartbeat)
        ),
        remedy: "make fleet.lease longer than twice fleet.heartbeat".into(),
    })
}

/// An instance must know that it is cut off before others take over its users. Heartbeats come up
/// to a tenth early.
fn lease_ends_before_suspicion(settings: &Settings) -> Result<(), Broken> {
    let fleet = &settings.fleet;
    let suspicion = fleet.heartbeat * fleet.suspect_rounds * 9 / 10;
    unless(fleet.lease >= suspicion, || Broken {
        problem: format!(
            "the others give an instance up after {}, while it still believes its lease of {}",
            format_duration(suspicion),
            format_duration(fleet.lease)
        ),
        remedy: "make fleet.lease shorter than fleet.suspect_rounds × fleet.heartbeat × 0.9".into(),
    })
}

fn lease_ends_before_doubt(settings: &Settings) -> Result<(), Broken> {
    let (after, lease) = (settings.fleet.cut_off_after, settings.fleet.lease);
    unless(after <= lease, || Broken {
        problem: format!(
            "an instance would count as cut off after {} and still hold its lease of {}",
            format_duration(after),
            format_duration(lease)
        ),
        remedy: "make fleet.cut_off_after longer than fleet.lease; three times is right".into(),
    })
}

fn apart(name: &str, one: SocketAddr, other: SocketAddr) -> Result<(), Broken> {
    let overlap =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    unless(overlap && one.port() == other.port() && one.port() != 0, || Broken {
        problem: format!("{one} and {other} cannot both be listened on"),
        remedy: format!("give listen.{name} a port of its own"),
    })
}

fn header_is_not_for_everybody(settings: &Settings) -> Result<(), Broken> {
    let listen = &settings.listen;
    let open = [listen.app, listen.api].iter().any(|address| !address.ip().is_loopback());
    let header = settings.auth.modes.contains(&AuthMode::Header);
    unless(header && open && settings.auth.header_trusted_proxies.is_empty(), || Broken {
        problem: format!(
            "mode \"header\" believes whoever reaches {} or {} to be who they say they are",
            listen.app, listen.api
        ),
        remedy: "name in auth.header.trusted_proxies the proxies that check users and set the \
                 header, or listen on 127.0.0.1 only, or use mode \"token\""
            .into(),
    })
}

fn fleet_shares_a_key(settings: &Settings) -> Result<(), Broken> {
    let token = settings.auth.modes.contains(&AuthMode::Token);
    let auth = &settings.auth;
    let keyless = auth.token_key_file.is_none() && auth.token_jwks_file.is_none();
    unless(token && keyless && settings.redis.url.is_some(), || Broken {
        problem: "the instances of a fleet must accept the same tokens, and there is no key".into(),
        remedy: "set auth.token.key_file, or store the key as the credential \
                 wsfleetd.auth-secret, the same on all instances"
            .into(),
    })
}

fn load_balancer_is_known(settings: &Settings) -> Result<(), Broken> {
    let auth = &settings.auth;
    let parts: Vec<_> = auth.alb_signer.split(':').collect();
    let is_arn =
        matches!(parts[..], ["arn", _, "elasticloadbalancing", region, _, _] if !region.is_empty());
    unless(auth.modes.contains(&AuthMode::Alb) && !is_arn, || Broken {
        problem: "the mode \"alb\" believes one load balancer, and this is no ARN of one".into(),
        remedy: "set auth.alb.signer to the load balancer's ARN, \
                 arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID"
            .into(),
    })
}

fn mirror_has_a_redis(settings: &Settings) -> Result<(), Broken> {
    unless(settings.compat.legacy_key_mirror && settings.redis.url.is_none(), || Broken {
        problem: "without Redis there is nothing that a back end could read".into(),
        remedy: "set redis.url to the Redis that the back ends read, or turn the mirror off".into(),
    })
}

fn tokens_can_be_made(settings: &Settings) -> Result<(), Broken> {
    let wanted = settings.database.auth == DatabaseAuth::RdsIam;
    unless(wanted && !cfg!(feature = "aws"), || Broken {
        problem: "this wsfleetd was built without AWS and can sign no token".into(),
        remedy: "install the package, which can, or build with `--features aws`, or log in with \
                 \"password\""
            .into(),
    })
}

fn tokens_go_over_tls(settings: &Settings) -> Result<(), Broken> {
    let database = &settings.database;
    let urls = [&database.url, &database.replica_url].into_iter().flatten();
    let mut plain = urls.filter(|url| url.expose_secret().contains("sslmode=disable"));
    let wanted = database.auth == DatabaseAuth::RdsIam;
    unless(wanted && plain.next().is_some(), || Broken {
        problem: "whoever sees the token can log in with it, and sslmode=disable shows it".into(),
        remedy: "write sslmode=verify-full, or leave it out".into(),
    })
}

fn certificate_has_a_key(settings: &Settings) -> Result<(), Broken> {
    let (certificate, key) = (&settings.listen.tls_certificate, &settings.listen.tls_key);
    let missing = match (certificate, key) {
        (Some(_), None) => "key",
        (None, Some(_)) => "certificate",
        _ => return Ok(()),
    };
    Err(Broken {
        problem: format!("TLS needs a certificate and its key, and there is no {missing}"),
        remedy: format!(
            "set listen.tls_{missing}, or store it as the credential wsfleetd.tls-{missing}; or \
             set neither"
        ),
    })
}

fn certificate_is_one(settings: &Settings) -> Result<(), Broken> {
    let Some(certificate) = &settings.listen.tls_certificate else { return Ok(()) };
    tls::check_chain(certificate).map_err(|fault| Broken {
        problem: fault.to_string(),
        remedy: "name a file of PEM certificates (-----BEGIN CERTIFICATE-----), the server's own \
                 first"
            .into(),
    })
}

fn key_is_the_certificates(settings: &Settings) -> Result<(), Broken> {
    let listen = &settings.listen;
    let (Some(certificate), Some(key)) = (&listen.tls_certificate, &listen.tls_key) else {
        return Ok(());
    };
    tls::check_pair(certificate, key).map_err(|fault| Broken {
        problem: fault.to_string(),
        remedy: "name the unencrypted PEM key (RSA, ECDSA or Ed25519) that the certificate was \
                 made for: \"openssl pkey -pubout -in KEY\" prints what \"openssl x509 -noout \
                 -pubkey -in CERTIFICATE\" prints"
            .into(),
    })
}

fn unless(broken: bool, why: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if broken { Err(why()) } else { Ok(()) }
}
