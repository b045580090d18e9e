//! The fuzzer's corpus, held against the same properties in every run of the suite.
//!
//! What a fuzzer once found stays here as a file; the properties are in `tests/fuzz/properties`.

#[path = "../fuzz/properties/classic.rs"]
mod classic;
#[path = "../fuzz/properties/config.rs"]
mod config;
#[path = "../fuzz/properties/envelope.rs"]
mod envelope;
#[path = "../fuzz/properties/frames.rs"]
mod frames;
#[path = "../fuzz/properties/id.rs"]
mod id;

use std::{fs, path::Path};

/// Fewer were committed for no target.
const AT_LEAST: usize = 10;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        check(&fs::read(&path).expect("a file of the corpus"));
        files += 1;
    }
    assert!(files >= AT_LEAST, "only {files} files in {}", folder.display());
}

#[test]
fn frames_are_read_as_the_rfc_says() {
    replay("frames", frames::check);
}

#[test]
fn classic_frames_are_read_and_printed_faithfully() {
    replay("classic", classic::check);
}

#[test]
fn envelopes_are_read_and_printed_faithfully() {
    replay("envelope", envelope::check);
}

#[test]
fn ids_are_read_and_printed_faithfully() {
    replay("id", id::check);
}

#[test]
fn configuration_files_are_good_or_every_mistake_is_named() {
    replay("config", config::check);
}
