//! What can be wrong with PostgreSQL.

use std::time::Instant;

use super::{Machine, Opinion};
use crate::support::{fleet::PATIENCE, instance::Instance, postgres::Postgres};

fn machine(url: &str) -> Machine {
    Machine::new(&format!("[database]\nurl = \"{url}\"\n[auth]\nmodes = [\"header\"]\n"))
}

fn examine(postgres: &Postgres) -> Opinion {
    let opinion = machine(&postgres.url()).examine();
    assert!(!opinion.text.contains(postgres.password()), "a secret: {}", opinion.text);
    opinion
}

fn migrate(postgres: &Postgres) {
    let dir = tempfile::TempDir::new().expect("a directory");
    let config = dir.path().join("wsfleetd.toml");
    let text = format!("[database]\nurl = \"{}\"\n", postgres.url());
    std::fs::write(&config, text).expect("write wsfleetd.toml");
    let asked = Instance::ask(&config, &["users", "migrate"]);
    assert_eq!(asked.code, Some(0), "{}", asked.err);
}

#[test]
fn the_schema_is_missing_then_right_and_a_standby_may_be_read_from_only() {
    let mut postgres = Postgres::start();
    let opinion = examine(&postgres);
    opinion.begins_with("database.schema", "the table of users is missing");
    assert_eq!(opinion.of("database.schema").2, "run `wsfleetd users migrate`");
    opinion.is_well(&["database", "database.role", "database.clock"]);

    migrate(&postgres);
    let opinion = examine(&postgres);
    assert_eq!(opinion.code, Some(0), "{}", opinion.text);
    opinion.is_well(&["database", "database.role", "database.schema", "database.clock"]);
    opinion.skips(&["database.replica"], "database.replica_url is not set");
    assert!(opinion.of("database").1.starts_with("PostgreSQL 1"), "{}", opinion.text);

    let standby = postgres.start_standby();
    let opinion = examine(&standby);
    opinion.begins_with("database.role", "it is a standby and takes no writes");
    opinion.is_well(&["database.schema"]);
    let both = machine(&postgres.url()).with("WSFLEETD__DATABASE__REPLICA_URL", &standby.url());
    let opinion = both.examine();
    opinion.is_well(&["database.role", "database.replica"]);
    assert!(opinion.of("database.replica").1.ends_with("a standby"), "{}", opinion.text);

    postgres.sql("DELETE FROM schema_migrations WHERE version > 1");
    examine(&postgres).begins_with("database.schema", "version 1, and this wsfleetd has ");
    postgres.sql("CREATE ROLE poor LOGIN PASSWORD 'swordfish'");
    let poor = postgres.url().replace("wsfleetd:only%20for%20tests@", "poor:swordfish@");
    machine(&poor).examine().begins_with("database.schema", "poor may not read the table of users");

    postgres.sql("INSERT INTO schema_migrations (version, name) VALUES (2, '0002_changes')");
    let start = Instant::now();
    // The doctor is asked twice, for people and for scripts, and both must be told the same.
    while !standby.sql("SELECT max(version) FROM schema_migrations").contains('2') {
        assert!(start.elapsed() < PATIENCE, "the standby does not hear of it");
    }
    assert_eq!(both.examine().of("database.replica").0, "ok");
    postgres.stop();
    let opinion = both.examine();
    opinion.begins_with("database", "refused");
    opinion.skips(
        &["database.role", "database.schema", "database.clock"],
        "PostgreSQL cannot be asked",
    );
    opinion.is_well(&["database.replica"]);
    drop(standby);
    assert_eq!(both.examine().of("database.replica").0, "warning", "the primary can be asked");
}

#[test]
fn a_wrong_password_and_a_server_that_hangs_are_told() {
    let postgres = Postgres::start();
    let wrong = postgres.url().replace("only%20for%20tests", "swordfish");
    machine(&wrong).examine().begins_with("database", "password authentication failed");
    postgres.freeze();
    let opinion = examine(&postgres);
    postgres.thaw();
    opinion.begins_with("database", "within");
}
