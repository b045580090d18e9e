//! The configuration as an operator meets it: a corpus of files in `tests/config`, each with the
//! text that loading it must give.
//!
//! Beside `NAME.toml` stand `NAME.env` (variables, one to a line), if it needs any, and either
//! `NAME.err`, the report of its mistakes, or `NAME.print`, what is in effect and no default.
//! `UPDATE_GOLDEN=1` writes those two anew.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;

use super::{
    Loaded, Mistakes, Origin, Settings,
    keys::{KEYS, Reload},
    load,
    manual::manual_page,
    shipped_file,
};

const NO_VARIABLES: [(&str, &str); 0] = [];

#[test]
fn every_file_of_the_corpus_gives_the_text_beside_it() {
    let files = corpus();
    assert!(files.len() >= 35, "the corpus is missing: {files:?}");
    for file in files {
        let (extension, other, text) = match load(Some(&file), variables(&file)) {
            Ok(loaded) => ("print", "err", print(&loaded)),
            Err(mistakes) => ("err", "print", format!("{mistakes}\n")),
        };
        compare(&file.with_extension(extension), &text);
        let stale = file.with_extension(other);
        assert!(!stale.exists(), "{} is out of date", stale.display());
        assert!(!text.contains("hunter2"), "a secret is shown for {}:\n{text}", file.display());
    }
}

#[test]
fn the_shipped_file_is_the_table_in_print() {
    compare(Path::new("config/wsfleetd.toml"), &shipped_file());
}

#[test]
fn the_manual_page_is_the_table_in_print() {
    compare(Path::new("packaging/man/wsfleetd.toml.5"), &manual_page());
}

/// Read off the committed texts, as a person would, and not off what they are made by.
#[test]
fn file_settings_and_manual_agree_on_every_key_its_default_and_its_reload() {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        return; // Its neighbours are writing what it would read.
    }
    let file = fs::read_to_string("config/wsfleetd.toml").expect("the shipped file");
    let page = fs::read_to_string("packaging/man/wsfleetd.toml.5").expect("the manual page");
    let page = page.replace("\\-", "-").replace("\\[aq]", "'").replace("\\[dq]", "\"");
    let defaults = Settings::default();
    let entries = page.matches("\n.TP\n").count();
    assert_eq!(entries, KEYS.len(), "entries of the manual page");
    for key in KEYS {
        let (section, name) = key.split();
        let default = key.field.print(&defaults);
        let (_, settings) = file.split_once(&format!("\n[{section}]\n")).expect(section);
        let settings = settings.split("\n[").next().unwrap_or_default();
        let line = settings.lines().find(|line| line.starts_with(&format!("#{name} = ")));
        assert_eq!(line, Some(&*format!("#{name} = {default}")), "{} in the file", key.name);
        let described = settings.split(&format!("#{name} = ")).next().unwrap_or_default();
        let described = described.rsplit("\n\n").next().unwrap_or_default();

        let (_, subsection) = page.split_once(&format!("\n.SS [{section}]\n")).expect(section);
        let subsection = subsection.split("\n.SS ").next().unwrap_or_default();
        let subsection = format!("\n{subsection}");
        let heading = format!("\n.TP\n\\fB{name}\\fR = {default}\n");
        let (_, entry) = subsection.split_once(&heading).unwrap_or_else(|| {
            panic!("{} = {default} is not in the manual page", key.name);
        });
        let entry = entry.split("\n.TP\n").next().unwrap_or_default();
        let live = key.reload == Reload::Live;
        assert_eq!(entry.contains("\nLive. "), live, "{} in the manual page", key.name);
        assert_eq!(entry.contains("\nTakes a restart. "), !live, "{} in the manual", key.name);
        assert_eq!(described.contains("(Live.)"), live, "{} in the file", key.name);
        assert!(entry.contains(&key.variable()), "{} in the manual page", key.name);
    }
}

#[test]
fn the_shipped_file_changes_nothing() {
    let loaded = load_text(&shipped_file()).expect("loads");
    assert!(loaded.effective.iter().all(|one| one.origin == Origin::Default));
}

#[test]
fn the_shipped_file_with_every_line_uncommented_sets_every_key_to_its_default() {
    let uncommented: Vec<_> = shipped_file()
        .lines()
        .map(|line| {
            if line.starts_with("# ") { line } else { line.trim_start_matches('#') }.to_owned()
        })
        .collect();
    let loaded = load_text(&uncommented.join("\n")).expect("loads");
    assert_eq!(format!("{:?}", loaded.settings), format!("{:?}", Settings::default()));
    assert_eq!(loaded.effective.len(), KEYS.len());
    for one in &loaded.effective {
        assert!(matches!(one.origin, Origin::File { .. }), "{} is not in the file", one.key);
    }
}

#[test]
fn what_is_printed_can_be_fed_back() {
    let file = Path::new("tests/config/environment-overrides.toml");
    let first = load(Some(file), variables(file)).expect("loads");
    let shown = first.effective.iter().filter(|one| one.key != "database.url");
    let text: Vec<_> = shown.map(ToString::to_string).collect();
    let again = load_text(&text.join("\n")).expect("loads");
    for (one, other) in first.effective.iter().zip(&again.effective) {
        assert!(one.key == "database.url" || one.value_text == other.value_text, "{one:?}");
    }
}

#[test]
fn text_from_the_environment_stays_text() {
    let loaded = load(
        None,
        [
            ("WSFLEETD__REDIS__USERNAME", "0123"),
            ("WSFLEETD__REDIS__PREFIX", "1e3"),
            ("WSFLEETD__DATABASE__URL", "postgres://chat:0123@127.0.0.1/chat"),
        ],
    )
    .expect("loads");
    assert_eq!(loaded.settings.redis.username, "0123");
    assert_eq!(loaded.settings.redis.prefix, "1e3");
    let url = loaded.settings.database.url.expect("set");
    assert_eq!(url.expose_secret(), "postgres://chat:0123@127.0.0.1/chat");
}

#[test]
fn with_neither_file_nor_variables_the_defaults_hold() {
    let loaded = load(None, NO_VARIABLES).expect("loads");
    assert_eq!(format!("{:?}", loaded.settings), format!("{:?}", Settings::default()));
}

#[test]
fn a_file_that_was_named_must_exist() {
    let mistakes = load(Some(Path::new("/nonexistent/wsfleetd.toml")), NO_VARIABLES).unwrap_err();
    let text = mistakes.to_string();
    assert!(text.starts_with("/nonexistent/wsfleetd.toml\n  problem: cannot be read: "), "{text}");
    assert_eq!(mistakes.iter().count(), 1);
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let text = load(Some(Path::new("/dev/zero")), NO_VARIABLES).unwrap_err().to_string();
    assert!(text.contains("longer than 1MiB"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_named_without_its_value() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let value = OsString::from_vec(b"redis://:hunter2\xff@host".to_vec());
    let text = load(None, [("WSFLEETD__REDIS__URL", value)]).unwrap_err().to_string();
    assert!(text.contains("environment variable WSFLEETD__REDIS__URL"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn no_secret_is_printed_by_any_route() {
    let secret = "redis://:hunter2@127.0.0.1";
    let key = "tests/config/credentials/given/wsfleetd.auth-secret";
    let loaded =
        load(None, [("WSFLEETD__REDIS__URL", secret), ("WSFLEETD__AUTH__TOKEN__KEY_FILE", key)])
            .expect("loads");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(print(&loaded).contains("redis.url = (hidden)"));
}

#[test]
fn names_in_the_table_are_unique_and_sections_stand_together() {
    let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len());
    let sections = super::suggest::sections();
    assert_eq!(sections.iter().collect::<BTreeSet<_>>().len(), sections.len());
}

/// A setting that no key can reach would be a promise the file cannot keep.
#[test]
fn every_field_of_the_settings_has_a_key() {
    let fields = format!("{:#?}", Settings::default())
        .lines()
        .filter(|line| line.starts_with("        ") && !line.starts_with("         "))
        .filter(|line| line.contains(": "))
        .count();
    assert_eq!(fields, KEYS.len());
}

fn load_text(text: &str) -> Result<Loaded, Mistakes> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("wsfleetd.toml");
    fs::write(&file, text).expect("written");
    load(Some(&file), NO_VARIABLES)
}

/// What is no default, as `check-config --print` would have it.
fn print(loaded: &Loaded) -> String {
    let set = loaded.effective.iter().filter(|one| one.origin != Origin::Default);
    set.map(|one| format!("{one}\n")).collect()
}

/// Relative to the package, where tests run, so that the texts hold on every machine.
fn corpus() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from("tests/config")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("the corpus").map(|entry| entry.expect("read"))
        {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("conf.d") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn variables(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file.with_extension("env")).unwrap_or_default();
    text.lines()
        .map(|line| line.split_once('=').expect("NAME=value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn compare(golden: &Path, text: &str) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, text).expect("written");
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs (UPDATE_GOLDEN=1 writes it anew); it should be:\n{text}",
        golden.display()
    );
}
