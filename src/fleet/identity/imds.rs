//! The instance metadata service, version 2 (tokens), through the AWS client.
//!
//! The client's own waits are made for a service that answers; here an instance may just as well
//! be somebody's laptop, so the waits are short and whoever needs an answer asks again.

use std::{env, fmt, net::IpAddr, time::Duration};

use aws_config::{
    imds::client::{Client, error::ImdsError},
    provider_config::ProviderConfig,
};
use backon::{ConstantBuilder, Retryable};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Metadata;
use crate::{fleet::ec2::aws, telemetry::causes};

/// How long `fleet.identity = "imds"` waits for an answer: far longer than metadata lags behind
/// a boot, and shorter than `TimeoutStartSec=` would allow with the rest of the start.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions while waiting.
const PAUSE: Duration = Duration::from_secs(1);

/// The service is on the host's own link: a healthy one answers within milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
const READ_TIMEOUT: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 2;

/// A question to the metadata service, waits and second attempt included, takes this long at most.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the service at its well-known address, or where `AWS_EC2_METADATA_SERVICE_ENDPOINT` says.
pub(super) struct Imds(Client);

impl Imds {
    /// Connects to nothing yet.
    pub(super) fn from_env() -> Self {
        let config = ProviderConfig::without_region().with_http_client(aws::http_client());
        let client = Client::builder()
            .configure(&config)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .operation_timeout(FETCH_TIMEOUT)
            .max_attempts(ATTEMPTS)
            .build();
        Self(client)
    }

    /// The instance's id, without which there is no answer, and what else is known.
    pub(super) async fn fetch(&self) -> Result<Metadata, NoMetadata> {
        let instance_id = self.get("instance-id").await?;
        let instance_id = instance_id.ok_or(NoMetadata("it knows no instance-id".to_owned()))?;
        let private_ip: Option<String> = self.get("local-ipv4").await?;
        Ok(Metadata {
            instance_id: Some(instance_id),
            zone: self.get("placement/availability-zone").await?,
            region: self.get("placement/region").await?,
            private_ip: private_ip.and_then(|ip| ip.parse::<IpAddr>().ok()),
        })
    }

    /// One value; `None` when the service does not have it.
    async fn get(&self, path: &str) -> Result<Option<String>, NoMetadata> {
        match self.0.get(format!("/latest/meta-data/{path}")).await {
            Ok(value) => Ok(Some(String::from(value).trim().to_owned())),
            Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => {
                Ok(None)
            }
            Err(ImdsError::ErrorResponse(answer)) => {
                Err(NoMetadata(format!("{path}: status {}", answer.response().status().as_u16())))
            }
            Err(error) => Err(NoMetadata(format!("{path}: {}", causes(&error)))),
        }
    }
}

/// Why the service gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoMetadata(String);

impl fmt::Display for NoMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Asks again every second until there is an answer or `patience` is over.
pub(super) async fn persist<F, Answer>(patience: Duration, fetch: F) -> Result<Metadata, NoMetadata>
where
    F: FnMut() -> Answer,
    Answer: Future<Output = Result<Metadata, NoMetadata>>,
{
    let deadline = Instant::now() + patience;
    let mut told = false;
    fetch
        .retry(ConstantBuilder::default().with_delay(PAUSE).without_max_times())
        .sleep(sleep)
        .when(|_| Instant::now() + PAUSE < deadline)
        .notify(|reason, _| {
            if !std::mem::replace(&mut told, true) {
                warn!(error = %reason, "waiting for the instance metadata service: {reason}");
            }
        })
        .await
}

/// The switch all AWS tools know. The client itself does not look at it.
pub(super) fn disabled() -> bool {
    env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_is_waited_for() {
        let asked = Cell::new(0);
        let answer = persist(PATIENCE, || {
            asked.set(asked.get() + 1);
            let late = asked.get() < 30;
            async move { if late { Err(NoMetadata("booting".into())) } else { Ok(Metadata::default()) } }
        });
        assert_eq!(answer.await, Ok(Metadata::default()));
        assert_eq!(asked.get(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_the_last_reason() {
        let start = Instant::now();
        let never = persist(PATIENCE, || async { Err(NoMetadata("connection refused".into())) });
        assert_eq!(never.await, Err(NoMetadata("connection refused".into())));
        assert!((PATIENCE - 2 * PAUSE..=PATIENCE).contains(&start.elapsed()));
    }
}
