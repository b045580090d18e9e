//! [`Ec2`] over the AWS SDK.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_ec2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::describe_instances::DescribeInstancesError,
    types::{Filter, Instance, InstanceStateName},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{Described, Ec2, Ec2Error, State};
use crate::telemetry::causes;

/// The one call made, by the name it has in a role's policy.
const DESCRIBE: &str = "ec2:DescribeInstances";

/// The tag by which Auto Scaling marks its own.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// EC2 takes 200 values a filter.
const IDS_PER_CALL: usize = 200;

/// EC2 is a region away at most, and nothing in the daemon waits for it but its own start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;

/// Codes by which EC2 and IAM say "you may not".
const DENIALS: [&str; 4] =
    ["UnauthorizedOperation", "AuthFailure", "AccessDenied", "AccessDeniedException"];

/// EC2 with the credentials of the environment, in the end the instance's role.
#[derive(Clone, Debug)]
pub struct AwsEc2(Client);

impl AwsEc2 {
    /// Makes a client for `region`, or the environment's if there is none; calls nothing yet but
    /// the metadata service. `AWS_ENDPOINT_URL` is honoured.
    pub async fn new(region: Option<&str>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        Self(Client::new(&loader.load().await))
    }

    /// By filter, because by id one unknown instance would spoil the answer about all others.
    async fn find(&self, ids: &[String]) -> Result<Vec<Instance>, Ec2Error> {
        let filter = Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
        let mut pages = self.0.describe_instances().filters(filter).into_paginator().send();
        let mut found = Vec::with_capacity(ids.len());
        while let Some(page) = pages.next().await {
            let reservations = page.map_err(refused)?.reservations.unwrap_or_default();
            found.extend(reservations.into_iter().flat_map(|r| r.instances.unwrap_or_default()));
        }
        Ok(found)
    }
}

#[async_trait]
impl Ec2 for AwsEc2 {
    async fn describe(&self, id: &str) -> Result<Option<Described>, Ec2Error> {
        let found = self.find(&[id.to_owned()]).await?;
        Ok(found.first().map(|own| Described { state: state(own), group: group(own) }))
    }

    async fn states(&self, ids: &[String]) -> Result<HashMap<String, State>, Ec2Error> {
        let mut states = HashMap::with_capacity(ids.len());
        for some in ids.chunks(IDS_PER_CALL) {
            for found in self.find(some).await? {
                let state = state(&found);
                states.extend(found.instance_id.map(|id| (id, state)));
            }
        }
        Ok(states)
    }
}

/// The one HTTP client for AWS: rustls with ring, like all other TLS of the daemon.
pub(crate) fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn state(instance: &Instance) -> State {
    match instance.state().and_then(|state| state.name()) {
        Some(InstanceStateName::Pending) => State::Pending,
        Some(InstanceStateName::Running) => State::Running,
        Some(InstanceStateName::ShuttingDown) => State::ShuttingDown,
        Some(InstanceStateName::Terminated) => State::Terminated,
        Some(InstanceStateName::Stopping) => State::Stopping,
        Some(InstanceStateName::Stopped) => State::Stopped,
        _ => State::Unknown,
    }
}

fn group(instance: &Instance) -> Option<String> {
    let mark = instance.tags().iter().find(|tag| tag.key() == Some(GROUP_TAG))?;
    mark.value().map(ToOwned::to_owned)
}

fn refused(error: SdkError<DescribeInstancesError>) -> Ec2Error {
    let Some(code) = error.code().map(ToOwned::to_owned) else {
        return Ec2Error::Failed { action: DESCRIBE, reason: causes(&error) };
    };
    let reason = format!("{code}: {}", error.message().unwrap_or("no reason given"));
    if DENIALS.contains(&code.as_str()) {
        Ec2Error::Denied { action: DESCRIBE, reason }
    } else {
        Ec2Error::Failed { action: DESCRIBE, reason }
    }
}
