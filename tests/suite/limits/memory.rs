//! `limits.memory_admission`: a control group that is nearly full lets nobody in.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::told_of;
use crate::{
    handshake::{SUNIL, assert_refused, assert_retry_after, faces},
    support::{
        fleet::{PATIENCE, eventually, get},
        instance::Instance,
        raw::ask,
    },
};

/// Becomes `$0` with its arguments, but where the kernel's account of memory is `$GROUPS`.
const OWN_ACCOUNT: &str = r#"mount --bind "$MEMORY" /sys/fs/cgroup; exec "$0" "$@""#;

/// What the kernel would say of this process's control group.
pub struct Account(TempDir);

impl Account {
    /// Of 1,000,000 bytes.
    pub fn new() -> Self {
        let account = Self(TempDir::with_prefix("wsfleetd-cgroup-").expect("a directory"));
        fs::create_dir_all(account.group()).expect("the group");
        account.write("memory.high", "max\n");
        account.write("memory.max", "1000000\n");
        account
    }

    /// The daemon stands in the same group as its test.
    fn group(&self) -> PathBuf {
        let own = fs::read_to_string("/proc/self/cgroup").expect("a kernel with control groups");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2");
        self.0.path().join(own)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.group().join(file), text).expect("a file of the group");
    }

    /// Bytes in use, and how many of them the kernel could drop.
    pub fn uses(&self, bytes: u32, cache: u32) {
        self.write("memory.current", &format!("{bytes}\n"));
        self.write("memory.stat", &format!("anon 1\nfile {cache}\nactive_file {cache}\n"));
    }

    /// A daemon that stands in it.
    pub fn start(&self, more: &str) -> Instance {
        let place = format!("MEMORY={}", self.0.path().display());
        let own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", OWN_ACCOUNT];
        Instance::start_wrapped(&[&["env", &place][..], &own].concat(), more)
    }
}

#[tokio::test]
async fn an_instance_short_of_memory_refuses_until_it_has_some_and_cuts_nobody() {
    let account = Account::new();
    account.uses(500_000, 0);
    let instance = account.start("");
    let mut sunil = instance.connect("Sunil").await;
    account.uses(950_000, 0);
    eventually("the shortage is seen", PATIENCE, async || {
        ask(instance.app(), "/Dev", &[SUNIL]).await.status == 503
    })
    .await;
    for face in faces(&instance) {
        // Before the credential is looked at.
        let answer = ask(face, "/Dev", &[]).await;
        assert_refused(&answer, 503, "Service Unavailable");
        assert_retry_after(&answer);
        assert_eq!(get(face, "/healthz").await.0, 200, "replacing the instance would cut everyone");
    }
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
    let told = told_of(&instance, "limits.memory_admission");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("uses 950000 of 1000000 bytes of memory"), "{told:#?}");
    // The same use, but the kernel could drop a tenth of it.
    account.uses(950_000, 100_000);
    eventually("there is room again", PATIENCE, async || {
        ask(instance.app(), "/Dev", &[SUNIL]).await.status == 101
    })
    .await;
}

#[tokio::test]
async fn it_can_be_turned_off_and_is_off_where_there_is_no_limit() {
    let account = Account::new();
    account.uses(999_999, 0);
    let off = account.start("[limits]\nmemory_admission = \"off\"\n");
    off.connect("Sunil").await.close().await;
    account.write("memory.max", "max\n");
    let unlimited = account.start("");
    unlimited.connect("Sunil").await.close().await;
}
