//! The layers of a configuration, laid over one another by the crate `config`.
//!
//! From low to high: the file, `conf.d/*.toml` beside it in the order of their names, the
//! environment. The defaults below them are `Settings::default`.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use config::{Config, Environment, Value};

use super::{
    document::Document,
    keys::{self, VARIABLE_PREFIX},
    mistakes::Mistake,
    names,
    origin::Origin,
    suggest,
};

/// The environment, as a map.
pub type Variables = BTreeMap<OsString, OsString>;

/// What was written, all layers merged.
#[derive(Debug, Default)]
pub struct Layers {
    pub tree: Option<Value>,
    pub mistakes: Vec<Mistake>,
    /// A file could not be read: what it says is unknown, and so is what it would have overridden.
    pub incomplete: bool,
}

impl Layers {
    /// Reads and merges all layers.
    pub fn gather(file: Option<&Path>, variables: &Variables) -> Self {
        let mut layers = Self::default();
        let mut builder = Config::builder();
        for path in layers.files(file) {
            let Some(document) = layers.document(&path) else { continue };
            layers.mistakes.extend(names::check(&document));
            builder = builder.add_source(document);
        }
        // Its `try_parsing` stays off: it would turn the password 0123 into the number 123.
        let environment = Environment::with_prefix(VARIABLE_PREFIX)
            .prefix_separator("__")
            .separator("__")
            .source(Some(layers.environment(variables)));
        match builder.add_source(environment).build() {
            Ok(merged) => layers.tree = Some(merged.cache),
            Err(error) => layers.mistakes.push(unmergeable(&error)),
        }
        layers
    }

    fn document(&mut self, path: &Path) -> Option<Document> {
        let document = Document::read(path, &mut self.mistakes);
        self.incomplete |= document.is_none();
        document
    }

    /// The file and those of its `conf.d`, from low to high.
    fn files(&mut self, file: Option<&Path>) -> Vec<PathBuf> {
        let Some(file) = file else { return Vec::new() };
        let directory = file.with_file_name("conf.d");
        let mut files = vec![file.to_path_buf()];
        match list(&directory) {
            Ok(found) => files.extend(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.incomplete = true;
                self.mistakes.push(unlistable(directory, &error));
            }
        }
        files
    }

    /// Those of the variables that set a key, the others reported.
    fn environment(&mut self, variables: &Variables) -> HashMap<String, String> {
        let mut known = HashMap::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with(&format!("{VARIABLE_PREFIX}__")) {
                continue;
            }
            match (keys::KEYS.iter().any(|key| key.variable() == name), value.to_str()) {
                (false, _) => self.mistakes.push(suggest::unknown_variable(&name)),
                (true, None) => self.mistakes.push(not_unicode(&name)),
                (true, Some(value)) => {
                    known.insert(name.into_owned(), value.to_owned());
                }
            }
        }
        known
    }
}

/// `*.toml`, sorted by name; hidden files are editors' and package managers' leftovers.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".toml") && !text.starts_with('.') {
            found.push(directory.join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn unlistable(directory: PathBuf, error: &io::Error) -> Mistake {
    Mistake {
        origin: Origin::Path(directory),
        key: None,
        value: None,
        problem: format!("cannot be listed: {error}"),
        remedy: "make it a directory that the daemon's user may read, or remove it".into(),
    }
}

fn not_unicode(name: &str) -> Mistake {
    Mistake {
        origin: Origin::Variable(name.into()),
        key: None,
        value: None,
        problem: "is not valid UTF-8".into(),
        remedy: "write it in UTF-8".into(),
    }
}

/// Only what `config` itself cannot merge; our own layers give it no cause.
fn unmergeable(error: &config::ConfigError) -> Mistake {
    Mistake {
        origin: Origin::Default,
        key: None,
        value: None,
        problem: format!("the layers cannot be merged: {error}"),
        remedy: "write each section once, as a section".into(),
    }
}
