//! What EC2 says of the instance, and what its role may ask.

use super::{Machine, Opinion};
use crate::{
    support::{imds::Imds, moto::Moto},
    users::iam::Rds,
};

/// A machine whose metadata and EC2 are these; the environment of the tests plays no part.
fn examine(identity: &str, metadata: &str, ec2: &str, keys: (&str, &str)) -> Opinion {
    let settings = format!("[fleet]\nidentity = \"{identity}\"\n");
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata),
        ("AWS_ENDPOINT_URL", ec2),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_ACCESS_KEY_ID", keys.0),
        ("AWS_SECRET_ACCESS_KEY", keys.1),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let machine = Machine::new(&settings);
    let machine =
        variables.iter().fold(machine, |machine, (name, value)| machine.with(name, value));
    machine.examine()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_the_role_lacks_is_named() {
    let moto = Moto::start();
    let id = moto.lone_instance();
    let metadata = [
        ("instance-id", id.as_str()),
        ("placement/availability-zone", "eu-west-1b"),
        ("placement/region", "eu-west-1"),
    ];
    let imds = Imds::start(&metadata).await;
    let opinion = examine("imds", &imds.endpoint(), &moto.endpoint(), ("AKIATEST", "secret"));
    opinion.is_well(&["ec2.metadata", "ec2.permissions"]);
    assert_eq!(opinion.of("ec2.metadata").1, format!("{id} in eu-west-1b"));
    let (_, found, _) = opinion.of("ec2.permissions");
    assert!(found.contains("running, in no Auto Scaling group"), "{found}");

    let (key, secret) = moto.powerless_user();
    let opinion = examine("imds", &imds.endpoint(), &moto.endpoint(), (&key, &secret));
    let (verdict, found, remedy) = opinion.of("ec2.permissions");
    assert_eq!(verdict, "warning", "{found}");
    assert!(found.starts_with("ec2:DescribeInstances is refused"), "{found}");
    assert!(remedy.contains("allow ec2:DescribeInstances in the instance's role"), "{remedy}");
    assert_eq!(statement(remedy)["Action"], "ec2:DescribeInstances");
    assert!(!found.contains(&secret) && !remedy.contains(&secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_postgresql_refuses_is_told_the_line_its_policy_lacks() {
    let rds = Rds::start().await;
    let settings = format!(
        "[database]\nurl = \"postgres://app@127.0.0.1:{}/app\"\nauth = \"rds-iam\"\nca_file = \"{}\"\n",
        rds.port(),
        rds.ca().display()
    );
    let refusing = tokio::spawn(async move {
        loop {
            let _ = rds.password().await;
        }
    });
    let variables = [("AWS_REGION", "eu-west-1"), ("AWS_CONFIG_FILE", "/dev/null")];
    let keys = [("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "s+cr/et")];
    let machine = [variables, keys]
        .concat()
        .iter()
        .fold(Machine::new(&settings), |machine, (name, value)| machine.with(name, value));
    let opinion = machine.examine();
    refusing.abort();
    opinion.begins_with("database", "refused by the test");
    let (_, found, remedy) = opinion.of("database");
    assert_eq!(statement(remedy)["Action"], "rds-db:connect");
    assert!(!found.contains("X-Amz-Signature") && !remedy.contains("s+cr/et"), "{found} {remedy}");
}

/// The line of a policy in a remedy, which must be one.
fn statement(remedy: &str) -> serde_json::Value {
    let text = remedy.find('{').zip(remedy.find('}')).map(|(begin, end)| &remedy[begin..=end]);
    let line = serde_json::from_str(text.expect("a line")).expect("JSON");
    let line: serde_json::Value = line;
    assert_eq!(line["Effect"], "Allow");
    assert!(line["Resource"].is_string(), "{line}");
    line
}

#[test]
fn metadata_that_is_insisted_on_and_missing_comes_first() {
    let nobody = "http://127.0.0.1:9";
    let opinion = examine("imds", nobody, nobody, ("AKIATEST", "secret"));
    opinion.begins_with("ec2.metadata", "fleet.identity = \"imds\" insists on one");
    opinion.skips(&["ec2.permissions"], "no instance that EC2 could be asked about");
    let opinion = examine("auto", nobody, nobody, ("AKIATEST", "secret"));
    opinion.is_well(&["ec2.metadata"]);
}
