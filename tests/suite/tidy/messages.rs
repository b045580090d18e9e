//! Plain `journalctl` shows the message and no field: every warning and error carries its values in
//! the text, and what the catalog fills in stands in every record of its event.

use std::collections::BTreeMap;

use wsfleetd::telemetry::events::ALL;

use super::{File, House};

const CATALOG: &str = include_str!("../../../systemd/wsfleetd.catalog");

/// Events that are no call of a macro, so that this test sees none of their fields; and where their
/// catalog entry is looked at instead.
const WRITTEN_BY_HAND: &[(&str, &str)] = &[("RECORDS_DROPPED", "tests/package/journal.py")];

/// `warn!(message_id = events::X, peer.id = %name, "instance {name} is silent")`, taken apart.
struct Call<'a> {
    fields: Vec<&'a str>,
    text: &'a str,
    /// What stands behind the text.
    arguments: Vec<&'a str>,
}

#[test]
fn every_warning_and_error_carries_its_values_in_its_text() {
    let house = House::read();
    let (mut faults, mut seen) = (Vec::new(), 0);
    for file in &house.files {
        for call in calls(file, &["warn", "error"]) {
            seen += 1;
            if call.values().is_empty() && call.arguments.is_empty() {
                faults.push(format!("{}: no value in {}", file.path, call.text));
            }
            let silent = call.fields.iter().filter(|field| !call.tells(field));
            faults.extend(silent.map(|field| format!("{}: {field}: {}", file.path, call.text)));
        }
    }
    println!("{seen} warnings and errors");
    assert!(seen > 30, "{seen} warnings and errors: this test looks wrongly");
    house.report(&faults);
}

#[test]
fn what_the_catalog_fills_in_is_a_field_of_every_record_of_its_event() {
    let house = House::read();
    let levels = ["error", "warn", "info"];
    let calls: Vec<_> = house.files.iter().flat_map(|file| calls(file, &levels)).collect();
    let (mut faults, mut filled) = (Vec::new(), 0);
    for (name, id) in ALL {
        let wanted = placeholders(entries()[id]);
        filled += wanted.len();
        let event = format!("message_id = events::{name}");
        let told: Vec<_> = calls.iter().filter(|call| call.fields.contains(&&*event)).collect();
        if told.is_empty() && !WRITTEN_BY_HAND.iter().any(|(by_hand, _)| by_hand == name) {
            faults.push(format!("no call tells {name}"));
        }
        for call in told {
            let missing = wanted.iter().filter(|one| !call.has_journal_field(one));
            faults.extend(missing.map(|one| format!("{name}: @{one}@ is not in {}", call.text)));
        }
    }
    assert!(filled > 0, "the catalog fills nothing in: this test looks wrongly");
    house.report(&faults);
}

#[test]
fn a_value_that_only_a_field_holds_is_found() {
    let told = |code: &str| {
        let file = File::new("x.rs".into(), code.to_owned());
        let found = calls(&file, &["warn"]).pop().expect("a call");
        (!found.values().is_empty(), found.fields.iter().all(|field| found.tells(field)))
    };
    assert_eq!(told(r#"warn!("nothing, { said");"#), (false, true));
    assert_eq!(told(r#"warn!(%error, "{error:#} (a comma, too)");"#), (true, true));
    assert_eq!(told(r#"warn!(%error, peer.id = %name, "{name}");"#), (true, false));
    assert_eq!(
        told("warn!(message_id = events::A, n = self.len(), \"{a}\", self.len())"),
        (true, true)
    );
    assert_eq!(told("warn!(n = self.len(), \"{a} http://x\", self.rest())"), (true, false));
    assert_eq!(
        told("tracing::warn!(\n  n = b.c as u64, // why, \"really\"\n  \"{b}\")"),
        (true, true)
    );
}

impl<'a> Call<'a> {
    fn new(parts: Vec<&'a str>) -> Self {
        let at = parts.iter().position(|part| part.starts_with('"')).unwrap_or(parts.len());
        let text = parts.get(at).copied().unwrap_or_default();
        let arguments = parts.iter().skip(at + 1).copied().collect();
        Self { fields: parts[..at].to_vec(), text, arguments }
    }

    /// The names in braces.
    fn values(&self) -> Vec<&'a str> {
        let names = self.text.split('{').skip(1).filter_map(|rest| rest.split(['}', ':']).next());
        names.filter(|name| name.chars().all(is_of_name)).collect()
    }

    /// Whether the text has what the field has: the same variable, or the same expression.
    fn tells(&self, field: &str) -> bool {
        let (name, value) = field.split_once(" = ").unwrap_or((field, field));
        if name == "message_id" || field.starts_with("target: ") {
            return true;
        }
        let value = value.trim_start_matches(['%', '?', '&']);
        let root: String = value.chars().take_while(|c| is_of_name(*c)).collect();
        if root == "self" {
            return self.arguments.contains(&value);
        }
        let named = |text: &&str| text.split(|c| !is_of_name(c)).any(|word| word == root);
        self.values().contains(&&*root) || self.arguments.iter().any(named)
    }

    /// journald knows `peer.id` as `PEER_ID`.
    fn has_journal_field(&self, name: &str) -> bool {
        self.fields.iter().any(|field| {
            let own = field.split(" = ").next().unwrap_or_default();
            own.trim_start_matches(['%', '?']).replace('.', "_").to_uppercase() == name
        })
    }
}

/// All calls of these macros outside of tests and of comments that are lines of their own.
fn calls<'a>(file: &'a File, macros: &[&str]) -> Vec<Call<'a>> {
    let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for name in macros {
        let begin = format!("{name}!(");
        for (at, _) in text.match_indices(&begin) {
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            if !line.ends_with(is_of_name) && !line.trim_start().starts_with("//") {
                found.push(Call::new(parts(&text[at + begin.len()..])));
            }
        }
    }
    found
}

/// What stands between the commas up to the parenthesis that closes the call.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    let mut signs = text.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => skip_literal(&mut signs),
            '/' if text[at..].starts_with("//") => {
                let _ = signs.find(|(_, sign)| *sign == '\n');
                start = signs.offset();
            }
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                found.push(&text[start..at]);
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn skip_literal(signs: &mut impl Iterator<Item = (usize, char)>) {
    while let Some((_, sign)) = signs.next() {
        match sign {
            '\\' => drop(signs.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn is_of_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// Id to entry.
fn entries() -> BTreeMap<&'static str, &'static str> {
    let entries = CATALOG.split("\n\n-- ").skip(1);
    entries.map(|entry| entry.split_once('\n').expect("an entry has a body")).collect()
}

/// `PEER_ID` of `@PEER_ID@`.
fn placeholders(entry: &str) -> Vec<&str> {
    let is_name =
        |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_uppercase() || c == '_');
    entry.split('@').skip(1).step_by(2).filter(is_name).collect()
}
