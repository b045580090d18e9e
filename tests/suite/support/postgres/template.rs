//! The data of a fresh server, made once per version and machine, copied for every test.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{PASSWORD, USER, as_server, give_to_server, is_root, succeeded};

/// A fresh database of this version, made once; a lock keeps two tests from making it at once.
pub fn of(binaries: &Path) -> PathBuf {
    let version = Command::new(binaries.join("postgres")).arg("--version").output().unwrap();
    let key: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    // Whoever made it must be able to read it.
    let owner = if is_root() { "root" } else { "own" };
    let base =
        std::env::temp_dir().join(format!("wsfleetd-template-{}-{owner}", key.trim_matches('-')));
    fs::create_dir_all(&base).unwrap();
    let lock = File::create(base.join("lock")).unwrap();
    lock.lock().unwrap();
    let ready = base.join("template");
    if !ready.exists() {
        init(binaries, &base, &ready);
    }
    ready
}

fn init(binaries: &Path, base: &Path, ready: &Path) {
    let unfinished = base.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let password = base.join("password");
    fs::write(&password, PASSWORD).unwrap();
    give_to_server(base);
    let mut initdb = as_server(binaries.join("initdb"));
    initdb.args(["--no-sync", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "-U", USER]);
    initdb
        .arg("--wal-segsize=1")
        .arg("--pwfile")
        .arg(&password)
        .arg("-D")
        .arg(&unfinished)
        .current_dir(base);
    succeeded("initdb", &initdb.output().expect("initdb stands beside postgres"));
    drop_templates(binaries, base, &unfinished);
    fs::rename(unfinished, ready).unwrap();
}

/// Nobody here creates a database, and two thirds of a fresh server's files serve only that:
/// copying and removing them is what a test's start and end would mostly be.
fn drop_templates(binaries: &Path, base: &Path, data: &Path) {
    let mut single = as_server(binaries.join("postgres"));
    single.args(["--single", "-D"]).arg(data).arg("postgres").current_dir(base);
    single.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut single = single.spawn().expect("postgres can be run");
    let statements = "UPDATE pg_database SET datistemplate = false\n\
                      DROP DATABASE template0\nDROP DATABASE template1\n";
    single.stdin.take().expect("it is piped").write_all(statements.as_bytes()).unwrap();
    succeeded("postgres --single", &single.wait_with_output().unwrap());
    let databases = fs::read_dir(data.join("base")).unwrap().count();
    assert_eq!(databases, 1, "the templates are still there");
}
