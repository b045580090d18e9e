//! `database.auth` as `check-config` judges it, before anything is started.

use std::process::Command;

use crate::support::instance::binary;

fn checked(url: &str) -> (Option<i32>, String) {
    let done = Command::new(binary())
        .args(["check-config", "--config", "/dev/null"])
        .env("WSFLEETD__DATABASE__AUTH", "rds-iam")
        .env("WSFLEETD__DATABASE__URL", url)
        .output()
        .expect("wsfleetd runs");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_build_without_aws_says_that_it_can_sign_no_token() {
    let (code, said) = checked("postgres://app@db.example.com/app");
    if cfg!(feature = "aws") {
        assert_eq!(code, Some(0), "{said}");
    } else {
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("database.auth") && said.contains("built without AWS"), "{said}");
        assert!(said.contains("build with `--features aws`"), "{said}");
    }
}

#[test]
fn a_token_that_would_go_in_clear_is_refused() {
    let (code, said) = checked("postgres://app:hunter2@db.example.com/app?sslmode=disable");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("sslmode=disable shows it"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
