//! What the CSV file adds: an operator edits it, and it must survive that and a crash.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use tempfile::TempDir;
use wsfleetd::{
    config::settings::Users,
    users::{Directory, Edit, Error, FileDirectory},
};

use super::{is_known, name, names, new_user};

const HEADER: &str = "username,first_name,last_name,mobile,password_hash,disabled\n";

fn file_with(lines: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users.csv");
    fs::write(&path, format!("{HEADER}{lines}")).unwrap();
    (folder, path)
}

#[tokio::test]
async fn a_reload_sees_what_the_operator_wrote() {
    let (_folder, path) = file_with("Sid,,,,,\n");
    let directory = FileDirectory::open(&path).await.unwrap();
    let id = directory.find(&name("Sid")).await.unwrap().unwrap().id;

    fs::write(&path, format!("{HEADER}Elon,,,,,true\nSid,,,,,\n")).unwrap();
    assert!(!is_known(&directory, "Elon").await, "only when told");
    directory.reload().await.unwrap();
    assert!(directory.find(&name("Elon")).await.unwrap().unwrap().disabled);
    let moved = directory.find(&name("Sid")).await.unwrap().unwrap();
    assert_eq!(moved.id, id, "another line is not another user");
}

#[tokio::test]
async fn a_reload_of_a_broken_file_keeps_the_old_users() {
    let (_folder, path) = file_with("Sid,,,,,\n");
    let directory = FileDirectory::open(&path).await.unwrap();
    fs::write(&path, format!("{HEADER}Elon,,,,,\nSid,,,,,perhaps\n")).unwrap();
    let refused = directory.reload().await.unwrap_err().to_string();
    assert!(refused.contains("users.csv: line 3: disabled \"perhaps\""), "{refused}");
    assert!(is_known(&directory, "Sid").await && !is_known(&directory, "Elon").await);
}

#[tokio::test]
async fn adding_keeps_every_byte_the_operator_wrote_and_the_mode() {
    let (_folder, path) = file_with("\"Sid\",  spaced ,,,,\n\nElon,,,,,");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    let directory = FileDirectory::open(&path).await.unwrap();
    directory.add(new_user("Alok")).await.unwrap();

    let after = fs::read_to_string(&path).unwrap();
    assert_eq!(after, format!("{before}\nAlok,,,,,false\n"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o604);
    let reread = FileDirectory::open(&path).await.unwrap();
    assert_eq!(names(&reread.list(None, 10).await.unwrap()), ["Alok", "Elon", "Sid"]);
}

#[tokio::test]
async fn changing_a_line_keeps_every_other_byte_and_the_mode_and_the_owner() {
    let lines = "\"Sid\",  spaced ,,,,\r\n\n\"Elon\",\"a \"\"b\"\"\",,,,\r\n\nZoë,,,,,true";
    let (_folder, path) = file_with(lines);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    // Another owner can only be given by root, as which the suite runs where it is complete.
    let _ = std::os::unix::fs::chown(&path, Some(4711), Some(4712));
    let before = fs::metadata(&path).unwrap();
    let directory = FileDirectory::open(&path).await.unwrap();
    let text = || fs::read_to_string(&path).unwrap().strip_prefix(HEADER).unwrap().to_owned();

    directory.edit(&name("Elon"), &Edit::Disabled(true)).await.unwrap();
    let elon = "Elon,\"a \"\"b\"\"\",,,,true";
    assert_eq!(text(), format!("\"Sid\",  spaced ,,,,\r\n\n{elon}\r\n\nZoë,,,,,true"));
    directory.edit(&name("Zoë"), &Edit::Disabled(false)).await.unwrap();
    assert_eq!(text(), format!("\"Sid\",  spaced ,,,,\r\n\n{elon}\r\n\nZoë,,,,,false"));
    directory.remove(&name("Sid")).await.unwrap();
    assert_eq!(text(), format!("\n{elon}\r\n\nZoë,,,,,false"));
    directory.remove(&name("Zoë")).await.unwrap();
    assert_eq!(text(), format!("\n{elon}\r\n\n"));

    let after = fs::metadata(&path).unwrap();
    let marks = |meta: &fs::Metadata| (meta.permissions().mode(), meta.uid(), meta.gid());
    assert_eq!(marks(&after), marks(&before));
    let reread = FileDirectory::open(&path).await.unwrap();
    assert_eq!(names(&reread.list(None, 10).await.unwrap()), ["Elon"]);
}

#[tokio::test]
async fn several_processes_changing_at_once_lose_no_change() {
    let lines: String = (0..40).map(|n| format!("user{n},,,,,\n")).collect();
    let (folder, path) = file_with(&lines);
    let changing = (0..40).map(|n| {
        let path = path.clone();
        tokio::spawn(async move {
            let directory = FileDirectory::open(&path).await.unwrap();
            let who = name(&format!("user{n}"));
            match n % 2 {
                0 => drop(directory.edit(&who, &Edit::Disabled(true)).await.unwrap()),
                _ => directory.remove(&who).await.unwrap(),
            }
        })
    });
    for changed in changing.collect::<Vec<_>>() {
        changed.await.unwrap();
    }
    let left = FileDirectory::open(&path).await.unwrap().list(None, 100).await.unwrap();
    assert_eq!(left.len(), 20);
    assert!(left.iter().all(|user| user.disabled));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[tokio::test]
async fn a_file_with_a_mistake_is_not_changed() {
    let (_folder, path) = file_with("Sid,,,,,\n");
    let directory = FileDirectory::open(&path).await.unwrap();
    fs::write(&path, format!("{HEADER}Sid,,,,,\nElon,,,,,perhaps\n")).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = directory.edit(&name("Sid"), &Edit::Disabled(true)).await.unwrap_err();
    assert!(refused.to_string().contains("line 3: disabled \"perhaps\""), "{refused}");
    assert!(directory.remove(&name("Sid")).await.is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!directory.find(&name("Sid")).await.unwrap().unwrap().disabled);
}

#[tokio::test]
async fn a_lock_that_is_never_given_back_is_named() {
    let (folder, path) = file_with("Sid,,,,,\n");
    let directory = FileDirectory::open(&path).await.unwrap();
    let held = fs::File::open(folder.path()).unwrap();
    held.lock().unwrap();
    let refused = directory.edit(&name("Sid"), &Edit::Disabled(true)).await.unwrap_err();
    assert!(refused.to_string().contains("locked for 10 s: see `lslocks`"), "{refused}");
    drop(held);
    directory.edit(&name("Sid"), &Edit::Disabled(true)).await.unwrap();
}

#[tokio::test]
async fn adding_through_a_link_keeps_the_link() {
    let (folder, path) = file_with("");
    let link = folder.path().join("link.csv");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    FileDirectory::open(&link).await.unwrap().add(new_user("Sid")).await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&path).unwrap().contains("Sid"));
}

#[tokio::test]
async fn several_processes_adding_at_once_lose_nobody() {
    let (folder, path) = file_with("");
    let adding = (0..40).map(|n| {
        let path = path.clone();
        // A directory of its own each, as processes have.
        tokio::spawn(async move {
            let directory = FileDirectory::open(&path).await.unwrap();
            directory.add(new_user(&format!("user{n}"))).await.unwrap();
        })
    });
    for added in adding.collect::<Vec<_>>() {
        added.await.unwrap();
    }
    let directory = FileDirectory::open(&path).await.unwrap();
    assert_eq!(directory.list(None, 100).await.unwrap().len(), 40);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[tokio::test]
async fn a_file_somebody_else_extended_is_not_overwritten() {
    let (_folder, path) = file_with("");
    let directory = FileDirectory::open(&path).await.unwrap();
    fs::write(&path, format!("{HEADER}Elon,,,,,\n")).unwrap();
    assert!(matches!(directory.add(new_user("Elon")).await, Err(Error::Exists(_))));
    directory.add(new_user("Sid")).await.unwrap();
    assert!(is_known(&directory, "Elon").await && is_known(&directory, "Sid").await);
}

#[tokio::test]
async fn a_missing_file_is_an_error_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let missing = FileDirectory::open(&folder.path().join("none.csv")).await.unwrap_err();
    let text = missing.to_string();
    assert!(text.contains("none.csv") && text.contains("wsfleetd users add"), "{text}");
}

#[tokio::test]
async fn a_file_in_another_place_is_read_when_told_so() {
    let (_folder, path) = file_with("Sid,,,,,\n");
    let (_other_folder, other) = file_with("Elon,,,,,\n");
    let directory = FileDirectory::open(&path).await.unwrap();
    directory.follow(&Users { file: other, ..Users::default() });
    assert!(is_known(&directory, "Sid").await, "only with the next reload");
    directory.reload().await.unwrap();
    assert!(is_known(&directory, "Elon").await && !is_known(&directory, "Sid").await);
}
