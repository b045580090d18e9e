//! Who this instance is to EC2, and what its role may ask.

use std::time::Instant;

use tokio::time::timeout;

use super::{ANSWER, finding::Finding};
use crate::{
    config::{
        Settings,
        settings::{Fleet, IdentitySource},
    },
    fleet::identity::{Identity, identify},
};

const METADATA: &str = "ec2.metadata";
const ROLE: &str = "ec2.permissions";

pub async fn examine(settings: &Settings) -> Vec<Finding> {
    if settings.fleet.identity == IdentitySource::Static {
        let why = "fleet.identity = \"static\": EC2 is not asked";
        return vec![Finding::skipped(METADATA, why), Finding::skipped(ROLE, why)];
    }
    if !cfg!(feature = "aws") {
        let why = "this wsfleetd was built without AWS";
        let metadata = match settings.fleet.identity {
            IdentitySource::Imds => {
                Finding::error(METADATA, why, "install the package, or build with `--features aws`")
            }
            _ => Finding::skipped(METADATA, why),
        };
        return vec![metadata, Finding::skipped(ROLE, why)];
    }
    let start = Instant::now();
    // Once, as "auto" does, also where the daemon would go on asking for a minute.
    let once = Fleet { identity: IdentitySource::Auto, ..settings.fleet.clone() };
    let asked = timeout(ANSWER * 2, identify(&once, &settings.instance)).await;
    let identity = asked.ok().and_then(Result::ok).filter(|identity| identity.ec2_id.is_some());
    let took = start.elapsed();
    match identity {
        Some(identity) => {
            let name = identity.ec2_id.as_deref().unwrap_or_default();
            let zone = identity.zone.as_deref().unwrap_or("an unknown zone");
            let found = format!("{name} in {zone}");
            vec![Finding::ok(METADATA, found).in_time(took), role(&identity).await]
        }
        None => vec![
            absent(settings).in_time(took),
            Finding::skipped(ROLE, "no instance that EC2 could be asked about"),
        ],
    }
}

/// What a role's policy needs for `action`, to be pasted.
pub fn statement(action: &str, resource: &str) -> String {
    format!(r#"{{"Effect": "Allow", "Action": "{action}", "Resource": "{resource}"}}"#)
}

fn absent(settings: &Settings) -> Finding {
    let found = "the instance metadata service gives no instance id";
    match settings.fleet.identity {
        IdentitySource::Imds => Finding::error(
            METADATA,
            format!("{found}, and fleet.identity = \"imds\" insists on one"),
            "enable metadata (IMDSv2, hop limit 2 in a container), or set fleet.identity to \"auto\"",
        ),
        _ => Finding::ok(METADATA, format!("{found}: taken for no EC2 instance")),
    }
}

#[cfg(feature = "aws")]
async fn role(identity: &Identity) -> Finding {
    use crate::fleet::ec2::{Ec2, Ec2Error, aws::AwsEc2};

    let (id, start) = (identity.ec2_id.as_deref().unwrap_or_default(), Instant::now());
    let described = timeout(ANSWER * 2, async {
        AwsEc2::new(identity.region.as_deref()).await.describe(id).await
    });
    let finding = match described.await {
        Ok(Ok(Some(described))) => {
            let group = described.group.as_deref().unwrap_or("no Auto Scaling group");
            Finding::ok(
                ROLE,
                format!("ec2:DescribeInstances is allowed; {}, in {group}", described.state),
            )
        }
        Ok(Ok(None)) => {
            Finding::warning(ROLE, format!("EC2 does not know {id}"), "check the region")
        }
        // The daemon serves without: it then waits for leases to end instead of asking EC2.
        Ok(Err(Ec2Error::Denied { action, reason })) => Finding::warning(
            ROLE,
            format!("{action} is refused: {reason}"),
            format!(
                "allow {action} in the instance's role, so that a terminated peer is freed at once: {}",
                statement(action, "*")
            ),
        ),
        Ok(Err(error @ Ec2Error::Failed { .. })) => Finding::warning(
            ROLE,
            error.to_string(),
            "let the instance reach EC2's endpoint, by a NAT or a VPC endpoint",
        ),
        Err(_) => Finding::warning(
            ROLE,
            format!("EC2 does not answer within {} s", (ANSWER * 2).as_secs()),
            "let the instance reach EC2's endpoint, by a NAT or a VPC endpoint",
        ),
    };
    finding.in_time(start.elapsed())
}

#[cfg(not(feature = "aws"))]
async fn role(_: &Identity) -> Finding {
    Finding::skipped(ROLE, "this wsfleetd was built without AWS")
}
