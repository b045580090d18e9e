//! PostgreSQL: the server that takes writes, and the replica that is read from.

use std::time::{Duration, Instant};

use super::{PATIENCE, clocks, ec2, finding::Finding};
use crate::{
    config::{Settings, settings::DatabaseAuth},
    users::inspection::{Inspected, Server, inspect},
};

/// What hangs on the first of all checks.
const DEPENDENT: [&str; 3] = ["database.role", "database.schema", "database.clock"];

/// What is not looked at without a database.
pub const SKIPPED: [&str; 5] =
    ["database", "database.role", "database.schema", "database.clock", "database.replica"];

/// A replica further behind is of little use after a change.
const LAG: Duration = Duration::from_secs(10);

const UNREACHABLE: &str = "look whether PostgreSQL runs there, whether database.url names it, whether \
     the security group or firewall lets this machine through";

pub async fn examine(settings: &Settings) -> Vec<Finding> {
    let (mut findings, replica) = tokio::join!(primary(settings), replica(settings));
    findings.push(replica);
    findings
}

async fn primary(settings: &Settings) -> Vec<Finding> {
    let start = Instant::now();
    match inspect(&settings.database, Server::Primary, PATIENCE).await {
        Ok(Some(server)) => {
            let found = format!("PostgreSQL {}, as {}", server.version, server.login);
            vec![
                Finding::ok("database", found).in_time(server.round_trip),
                role(&server),
                schema("database.schema", &server),
                clocks::judge("database.clock", "PostgreSQL's", server.clock_offset, settings),
            ]
        }
        Ok(None) => Vec::new(),
        Err(error) => {
            let first = Finding::error("database", error.reason.to_string(), remedy(settings));
            let mut findings = vec![first.in_time(start.elapsed())];
            let skipped = |check| Finding::skipped(check, "PostgreSQL cannot be asked");
            findings.extend(DEPENDENT.map(skipped));
            findings
        }
    }
}

/// The server says the same of a wrong password and of a role that may not connect: nothing to judge by.
fn remedy(settings: &Settings) -> String {
    let login = match settings.database.auth {
        DatabaseAuth::Password => {
            "at the password, or the credential wsfleetd.database-password (which only root can read)"
                .to_owned()
        }
        DatabaseAuth::RdsIam => format!(
            "at the instance's role, which needs {}; and the user in PostgreSQL GRANT rds_iam",
            ec2::statement("rds-db:connect", "arn:aws:rds-db:*:*:dbuser:*/*")
        ),
    };
    format!("{UNREACHABLE}, and {login}")
}

fn role(server: &Inspected) -> Finding {
    match server.is_standby {
        false => Finding::ok("database.role", "takes writes"),
        true => Finding::error(
            "database.role",
            "it is a standby and takes no writes: nobody can be added or changed, and changes are not heard",
            "name the primary in database.url, or all hosts, of which the one that takes writes is used; \
             the standby goes to database.replica_url",
        ),
    }
}

fn schema(check: &'static str, server: &Inspected) -> Finding {
    let migrate = "run `wsfleetd users migrate`";
    if !server.has_users {
        return Finding::error(check, "the table of users is missing", migrate);
    }
    if !server.may_read {
        let found = format!("{} may not read the table of users", server.login);
        return Finding::error(check, found, "GRANT SELECT, INSERT, UPDATE, DELETE ON users to it");
    }
    match server.schema {
        None => Finding::ok(check, "the table of users can be read; the schema's version cannot"),
        Some(version) if version < server.newest => {
            let found = format!("version {version}, and this wsfleetd has {}", server.newest);
            Finding::error(check, found, migrate)
        }
        Some(version) if version > server.newest => Finding::ok(
            check,
            format!("version {version}, made by a newer wsfleetd than this ({})", server.newest),
        ),
        Some(version) => Finding::ok(check, format!("version {version}")),
    }
}

async fn replica(settings: &Settings) -> Finding {
    const CHECK: &str = "database.replica";
    let start = Instant::now();
    let server = match inspect(&settings.database, Server::Replica, PATIENCE).await {
        Ok(Some(server)) => server,
        Ok(None) => return Finding::skipped(CHECK, "database.replica_url is not set"),
        Err(error) => {
            let found = format!("{}; users are looked up at database.url meanwhile", error.reason);
            let remedy = "look whether it runs, or unset database.replica_url";
            return Finding::warning(CHECK, found, remedy).in_time(start.elapsed());
        }
    };
    let schema = schema(CHECK, &server);
    let finding = if schema.remedy.is_some() {
        schema
    } else if server.lag > LAG {
        let found = format!("it is {} s behind", server.lag.as_secs());
        Finding::warning(CHECK, found, "look at its log, its disk, and what keeps it busy")
    } else {
        let kind = if server.is_standby { "a standby" } else { "a server that takes writes" };
        Finding::ok(CHECK, format!("PostgreSQL {}, {kind}", server.version))
    };
    finding.in_time(server.round_trip)
}
