//! TLS to PostgreSQL: verified where it is used, required where the URL says so.

use std::path::PathBuf;

use tempfile::TempDir;
use wsfleetd::{
    config::settings::Database,
    users::{self, Directory, PostgresDirectory},
};

use super::{database, is_known, new_user};
use crate::support::postgres::{Postgres, foreign_ca};

fn over_tls(url: &str, ca_file: PathBuf) -> Database {
    Database { ca_file: Some(ca_file), ..database(url) }
}

#[tokio::test]
async fn a_server_of_our_ca_is_spoken_to_in_secret() {
    let postgres = Postgres::start_with_tls();
    for mode in ["require", "verify-full", "prefer"] {
        let url = postgres.url_with(&format!("sslmode={mode}&application_name={mode}"));
        let settings = over_tls(&url, postgres.ca_file());
        users::migrate(&settings).await.unwrap();
        let directory = PostgresDirectory::open(&settings).unwrap();
        directory.add(new_user(mode)).await.unwrap();
        assert!(is_known(&directory, mode).await);
        let encrypted = postgres.sql(&format!(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = '{mode}'"
        ));
        assert_eq!(encrypted, "t", "{mode}");
    }
}

#[tokio::test]
async fn a_server_of_a_foreign_ca_is_refused_in_every_mode() {
    let postgres = Postgres::start_with_tls();
    let folder = TempDir::new().unwrap();
    for mode in ["require", "prefer"] {
        let url = postgres.url_with(&format!("sslmode={mode}"));
        let settings = over_tls(&url, foreign_ca(folder.path()));
        let directory = PostgresDirectory::open(&settings).unwrap();
        let refused = directory.check().await.unwrap_err().to_string();
        assert!(refused.contains("invalid peer certificate"), "{mode}: {refused}");
        assert!(refused.contains("set database.ca_file"), "{mode}: {refused}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let postgres = Postgres::start_with_tls();
    let url = postgres.url_with("sslmode=require").replace("127.0.0.1", "localhost");
    let directory = PostgresDirectory::open(&over_tls(&url, postgres.ca_file())).unwrap();
    let refused = directory.check().await.unwrap_err().to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_required() {
    let postgres = Postgres::start();
    let folder = TempDir::new().unwrap();
    let ca = foreign_ca(folder.path());
    let required = over_tls(&postgres.url_with("sslmode=require"), ca.clone());
    let refused = PostgresDirectory::open(&required).unwrap().check().await.unwrap_err();
    assert!(refused.to_string().contains("server does not support TLS"), "{refused}");

    let preferred = over_tls(&postgres.url_with("sslmode=prefer"), ca);
    users::migrate(&preferred).await.unwrap();
    PostgresDirectory::open(&preferred).unwrap().check().await.unwrap();
}
