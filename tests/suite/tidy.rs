//! The house's invariants, most of them absences, looked for in the text of `src/`.
//!
//! Text, not types: a rule that reads in one line is worth more here than one that nothing slips
//! through. Comments and what stands below `#[cfg(test)]` are not looked at.

mod messages;

use std::{collections::BTreeSet, fs, path::Path};

use wsfleetd::telemetry::events::ALL;

/// Who may use whom: only what stands in a row further up. Nobody uses what stands nowhere here.
const LEVELS: &[&[&str]] = &[
    // Words.
    &["ids", "clock", "config::settings"],
    &["protocol"],
    // Services.
    &["telemetry"],
    &["redis", "lifecycle"],
    &["limit"],
    // State: never each other.
    &["hub", "store", "users"],
    // Transport, decision.
    &["relay"],
    &["router"],
    // Connections and the fleet.
    &["session"],
    &["upgrade", "fleet"],
    // The edge.
    &["listener", "web"],
    &["http"],
    &["control"],
];

/// These see all, and nobody sees them.
const ABOVE: &[&str] = &["config", "daemon", "doctor", "cli", "lib", "main"];

/// A library's name in the text, and the modules that may name it.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("redis", &["redis", "store", "relay"]),
    ("bb8_redis", &["redis"]),
    ("tokio_postgres", &["users"]),
    ("bb8_postgres", &["users"]),
    ("tokio_tungstenite", &["session", "upgrade"]),
    ("tungstenite", &["session", "upgrade"]),
    ("hyper", &["http", "upgrade", "control"]),
    ("aws_config", &["fleet", "users"]),
    ("aws_sdk_ec2", &["fleet"]),
    ("aws_credential_types", &["users"]),
    ("aws_sigv4", &["users"]),
    ("aws_smithy_types", &["fleet", "users"]),
    ("aws_smithy_runtime_api", &["fleet", "users"]),
    ("aws_smithy_http_client", &["fleet", "users"]),
];

/// A file that is longer has more than one noun in it.
const LONGEST: usize = 450;

#[test]
fn every_file_opens_with_its_job_and_is_short() {
    let mut faults = Vec::new();
    let house = House::read();
    for file in &house.files {
        if !file.text.starts_with("//! ") {
            faults.push(format!("{} does not open with `//!`", file.path));
        }
        let lines = file.text.lines().count();
        if lines > LONGEST {
            faults.push(format!("{} has {lines} lines", file.path));
        }
    }
    house.report(&faults);
}

#[test]
fn a_library_is_named_only_where_it_belongs() {
    let house = House::read();
    let (mut faults, mut named) = (Vec::new(), BTreeSet::new());
    for file in &house.files {
        for (library, homes) in LIBRARIES {
            let is_home = homes.iter().any(|home| file.belongs_to(home));
            // The crate's own module `redis` is told by what stands before its name.
            let names = file.paths().any(|(path, _)| path.first() == Some(library));
            if names && is_home {
                named.insert(*library);
            } else if names && !file.is_local(library) {
                faults.push(format!("{} names {library}", file.path));
            }
        }
        let aws = file.paths().find(|(path, _)| path[0].starts_with("aws_"));
        if let Some((path, _)) = aws
            && !LIBRARIES.iter().any(|(library, _)| path[0] == *library)
        {
            faults.push(format!("{} names {}, which this test does not know", file.path, path[0]));
        }
    }
    for library in ["redis", "tokio_postgres", "tokio_tungstenite", "aws_sdk_ec2"] {
        assert!(named.contains(library), "nobody names {library}: this test looks wrongly");
    }
    house.report(&faults);
}

#[test]
fn nobody_uses_a_module_of_a_higher_level() {
    let house = House::read();
    let (mut faults, mut uses) = (Vec::new(), 0);
    for file in house.files.iter().filter(|file| !ABOVE.contains(&file.module[0].as_str())) {
        let Some(own) = level(&file.module[0]) else {
            faults.push(format!("{} is a module of no level", file.path));
            continue;
        };
        for (path, line) in file.paths().filter(|(path, _)| path[0] == "crate") {
            uses += 1;
            let name = if path[1] == "config" { path[1..].join("::") } else { path[1].to_owned() };
            let name = name.strip_prefix("config::settings").map_or(&*name, |_| "config::settings");
            if name != file.module[0] && level(name).is_none_or(|level| level >= own) {
                faults.push(format!("{}: {} in `{}`", file.path, name, line.trim()));
            }
        }
    }
    println!("{uses} uses of other modules");
    assert!(uses > 50, "{uses} uses: this test looks wrongly");
    house.report(&faults);
}

#[test]
fn what_is_pure_does_not_wait_and_nothing_is_unsafe() {
    let house = House::read();
    let (mut faults, mut pure) = (Vec::new(), 0);
    for file in &house.files {
        let is_pure = file.belongs_to("protocol") || file.belongs_to("session::state");
        pure += usize::from(is_pure);
        for word in file.words().filter(|word| is_pure && ["async", "await"].contains(word)) {
            faults.push(format!("{} waits: {word}", file.path));
        }
        // The word alone also stands in a Content-Security-Policy.
        for dangerous in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"] {
            if file.code.contains(dangerous) {
                faults.push(format!("{}: {dangerous}", file.path));
            }
        }
    }
    assert!(pure >= 4, "only {pure} pure files: this test looks wrongly");
    house.report(&faults);
}

#[test]
fn every_event_of_the_catalog_is_told_by_somebody() {
    let house = House::read();
    let told =
        |name: &str| house.files.iter().any(|file| file.code.contains(&format!("events::{name}")));
    let silent =
        ALL.iter().filter(|(name, _)| !told(name)).map(|(name, _)| format!("nobody tells {name}"));
    house.report(&silent.collect::<Vec<_>>());
}

struct House {
    files: Vec<File>,
}

struct File {
    /// Below `src/`.
    path: String,
    /// `["session", "wire"]`
    module: Vec<String>,
    text: String,
    /// Without comments, string literals' lines included, and without tests.
    code: String,
}

impl House {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        collect(&root, &root, &mut files);
        Self { files }
    }

    /// Says what was looked at, and what is wrong with it.
    fn report(&self, faults: &[String]) {
        let lines: usize = self.files.iter().map(|file| file.text.lines().count()).sum();
        println!("checked {} files with {lines} lines", self.files.len());
        assert!(self.files.len() > 50 && lines > 5000, "most of the house was not seen");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let tested = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = tested.lines().map(|line| line.split("//").next().unwrap_or_default());
        let code = lines.collect::<Vec<_>>().join("\n");
        Self { path, module, text, code }
    }

    fn belongs_to(&self, module: &str) -> bool {
        let own = self.module.join("::");
        own == module || own.starts_with(&format!("{module}::"))
    }

    /// Whether it brings a module of this crate into scope under this name.
    fn is_local(&self, name: &str) -> bool {
        self.paths().any(|(path, _)| {
            path[0] == "crate"
                && path.get(1) == Some(&name)
                && path.get(2).is_none_or(|next| *next == "self")
        })
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.code.split(|c: char| !c.is_alphanumeric() && c != '_')
    }

    /// Every path with two parts or more, those within `use a::{b, c::d}` spelled out; and the
    /// line it stands in, or begins in.
    fn paths(&self) -> impl Iterator<Item = (Vec<&str>, &str)> {
        let mut paths = Vec::new();
        for statement in self.code.split(';') {
            let statement = statement.trim_start();
            let tree = statement.rsplit_once("use ").filter(|(before, _)| is_visibility(before));
            match tree {
                Some((_, tree)) => spell(tree, &[], &mut paths, statement),
                None => inline(statement, &mut paths),
            }
        }
        paths.into_iter()
    }
}

/// What may stand between the end of a statement and `use`: attributes, braces, `pub`.
fn is_visibility(before: &str) -> bool {
    before.lines().last().is_none_or(|last| {
        let last = last.trim();
        last.is_empty() || last.starts_with("pub")
    })
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn spell<'a>(
    tree: &'a str,
    before: &[&'a str],
    paths: &mut Vec<(Vec<&'a str>, &'a str)>,
    statement: &'a str,
) {
    let (head, group) = match tree.find('{') {
        Some(at) => (&tree[..at], Some(tree[at + 1..].trim_end().trim_end_matches('}'))),
        None => (tree, None),
    };
    let parts = head.split("::").map(|part| part.split(" as ").next().unwrap_or_default().trim());
    let mut path = before.to_vec();
    path.extend(parts.filter(|part| !part.is_empty()));
    match group {
        None if path.len() > 1 => paths.push((path, first_line(statement))),
        None => {}
        Some(group) => {
            for branch in branches(group) {
                spell(branch, &path, paths, statement);
            }
        }
    }
}

/// The parts of a group between the commas that are its own.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&group[start..]);
    found.into_iter().map(str::trim).filter(|branch| !branch.is_empty()).collect()
}

/// `crate::a::b` and `redis::cmd` where they are used, not imported.
fn inline<'a>(statement: &'a str, paths: &mut Vec<(Vec<&'a str>, &'a str)>) {
    for line in statement.lines() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for text in line.split(|c| !is_word(c)).filter(|text| text.contains("::")) {
            let path: Vec<_> = text.split("::").filter(|part| !part.is_empty()).collect();
            if path.len() > 1 {
                paths.push((path, line));
            }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let below = path.strip_prefix(root).expect("below src").display().to_string();
            files.push(File::new(below, text));
        }
    }
}
