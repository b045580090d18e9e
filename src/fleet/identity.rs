//! Who this instance is: asked of EC2's metadata service, or told by the operator.
//!
//! The name is only a label, for people and for the EC2 API; what proves ownership in the fleet is
//! the epoch. So a machine without a metadata service is no error unless the operator says that
//! there must be one.

#[cfg(feature = "aws")]
mod imds;

use std::net::IpAddr;

use tracing::info;

use crate::{
    config::settings::{Fleet, IdentitySource, Instance},
    ids::InstanceId,
};

/// What is known about this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The label: `instance.id` if it is set, else EC2's id, else the host's name.
    pub instance_id: InstanceId,
    /// EC2's own id, for calls to EC2; `None` outside EC2.
    pub ec2_id: Option<String>,
    /// Availability zone.
    pub zone: Option<String>,
    pub region: Option<String>,
    pub private_ip: Option<IpAddr>,
    /// Where the label comes from.
    pub source: Source,
}

/// Where an instance's label comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Imds,
    /// `instance.id`
    Settings,
    Hostname,
}

/// Why this instance has no name.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "fleet.identity = \"imds\", but the instance metadata service gave no instance id within \
         {waited_s} s: {reason}; check that the machine is an EC2 instance with metadata \
         enabled, or set fleet.identity to \"auto\" or \"static\""
    )]
    NoMetadata { waited_s: u64, reason: String },
    #[error(
        "fleet.identity = \"imds\", but this build has no AWS support; install the package, build \
         with --features aws, or set fleet.identity to \"static\""
    )]
    NotBuilt,
}

/// Finds out who this instance is, as `fleet.identity` says.
///
/// `auto` asks the metadata service once and goes on without it after two seconds a question at most;
/// `imds` asks for up to 60 s, because a booting instance may be faster than its metadata.
pub async fn identify(fleet: &Fleet, instance: &Instance) -> Result<Identity, IdentityError> {
    let metadata = match fleet.identity {
        IdentitySource::Static => None,
        IdentitySource::Auto => ask_once().await,
        IdentitySource::Imds => Some(insist().await?),
    };
    Ok(named(metadata.unwrap_or_default(), &instance.id))
}

/// What the metadata service knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Metadata {
    instance_id: Option<String>,
    zone: Option<String>,
    region: Option<String>,
    private_ip: Option<IpAddr>,
}

#[cfg(feature = "aws")]
async fn ask_once() -> Option<Metadata> {
    if imds::disabled() {
        return None;
    }
    match imds::Imds::from_env().fetch().await {
        Ok(metadata) => Some(metadata),
        Err(reason) => {
            info!(error = %reason, "no instance metadata, so this is taken for no EC2 instance: {reason}");
            None
        }
    }
}

#[cfg(feature = "aws")]
async fn insist() -> Result<Metadata, IdentityError> {
    let imds = imds::Imds::from_env();
    imds::persist(imds::PATIENCE, || imds.fetch()).await.map_err(|reason| {
        IdentityError::NoMetadata { waited_s: imds::PATIENCE.as_secs(), reason: reason.to_string() }
    })
}

#[cfg(not(feature = "aws"))]
async fn ask_once() -> Option<Metadata> {
    info!("built without AWS support: the instance metadata service is not asked");
    None
}

#[cfg(not(feature = "aws"))]
async fn insist() -> Result<Metadata, IdentityError> {
    Err(IdentityError::NotBuilt)
}

/// Puts the label on: the operator's word first, then EC2's, then the host's.
fn named(metadata: Metadata, configured: &str) -> Identity {
    let (label, source) = match &metadata.instance_id {
        _ if !configured.is_empty() => (configured.to_owned(), Source::Settings),
        Some(id) => (id.clone(), Source::Imds),
        None => (hostname(), Source::Hostname),
    };
    Identity {
        instance_id: InstanceId::new(&label),
        ec2_id: metadata.instance_id,
        zone: metadata.zone,
        region: metadata.region,
        private_ip: metadata.private_ip,
        source,
    }
}

/// By `uname`, because the unit's sandbox hides `/proc/sys/kernel/hostname`.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(identity: IdentitySource, id: &str) -> (Fleet, Instance) {
        let fleet = Fleet { identity, ..Fleet::default() };
        (fleet, Instance { id: id.to_owned(), ..Instance::default() })
    }

    #[tokio::test]
    async fn a_static_instance_is_called_what_the_operator_says() {
        let (fleet, instance) = settings(IdentitySource::Static, "blue-1");
        let identity = identify(&fleet, &instance).await.expect("nothing is asked");
        assert_eq!(identity.instance_id.as_str(), "blue-1");
        assert_eq!((identity.source, identity.ec2_id), (Source::Settings, None));
    }

    #[tokio::test]
    async fn a_static_instance_without_a_name_takes_the_hosts() {
        let (fleet, instance) = settings(IdentitySource::Static, "");
        let identity = identify(&fleet, &instance).await.expect("nothing is asked");
        assert!(!identity.instance_id.as_str().is_empty());
        assert_eq!(identity.source, Source::Hostname);
    }

    #[test]
    fn a_configured_label_does_not_hide_what_ec2_calls_the_instance() {
        let metadata = Metadata { instance_id: Some("i-0abc".into()), ..Metadata::default() };
        let identity = named(metadata.clone(), "blue-1");
        assert_eq!(identity.instance_id.as_str(), "blue-1");
        assert_eq!(identity.ec2_id.as_deref(), Some("i-0abc"));
        assert_eq!(named(metadata, "").instance_id.as_str(), "i-0abc");
    }

    #[cfg(not(feature = "aws"))]
    #[tokio::test]
    async fn a_build_without_aws_says_so_when_metadata_is_demanded() {
        let (fleet, instance) = settings(IdentitySource::Imds, "");
        let error = identify(&fleet, &instance).await.expect_err("it cannot").to_string();
        assert!(error.contains("fleet.identity = \"imds\"") && error.contains("--features aws"));
    }
}
