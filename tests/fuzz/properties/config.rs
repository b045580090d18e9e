//! A configuration file: it is good, or every mistake in it is named and can be acted on.

use std::{cell::RefCell, fs, path::PathBuf};

use tempfile::TempDir;
use wsfleetd::config;

thread_local! {
    static DIR: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Panics where a property does not hold.
pub fn check(data: &[u8]) {
    let path = file(data);
    let nothing: [(&str, &str); 0] = [];
    match config::load(Some(&path), nothing) {
        Ok(loaded) => {
            let shown: Vec<_> = loaded.effective.iter().map(ToString::to_string).collect();
            assert!(shown.len() > 50, "every key is shown");
            // What is shown of all but the secrets can be written back, and means the same.
            let nothing: [(&str, &str); 0] = [];
            let again = config::load(Some(&path), nothing).expect("the same file is as good again");
            let again: Vec<_> = again.effective.iter().map(ToString::to_string).collect();
            assert_eq!(shown, again);
        }
        Err(mistakes) => {
            let text = mistakes.to_string();
            let named = mistakes.iter().count();
            assert!(named > 0);
            assert_eq!(text.matches("\n  problem: ").count(), named, "{text}");
            for mistake in mistakes.iter() {
                assert!(!mistake.problem.is_empty() && !mistake.remedy.is_empty(), "{mistake}");
            }
        }
    }
}

/// A file with this content, the same in each call of a thread.
fn file(data: &[u8]) -> PathBuf {
    DIR.with_borrow_mut(|dir| {
        let dir = dir.get_or_insert_with(|| TempDir::new().expect("a temporary directory"));
        let path = dir.path().join("wsfleetd.toml");
        fs::write(&path, data).expect("the file is written");
        path
    })
}
