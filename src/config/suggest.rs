//! What somebody probably meant who named a key that does not exist.
//!
//! The values of unknown keys are never shown: they may be a secret's, its key misspelt.

use strsim::damerau_levenshtein;

use super::{
    keys::{self, KEYS, Key},
    mistakes::Mistake,
    origin::Origin,
};

/// A key or section of a file that does not exist.
pub fn unknown_name(name: &str, is_section: bool, origin: Origin) -> Mistake {
    let remedy = match (is_section, nearest_section(name), nearest_key(name)) {
        (true, Some(section), _) => format!("did you mean [{section}]?"),
        (true, None, _) => format!("remove it; the sections are {}", sections().join(", ")),
        (false, _, Some(key)) => format!("did you mean {}?", key.name),
        (false, _, None) => format!("remove it; {}", siblings(name)),
    };
    let problem = if is_section { "there is no such section" } else { "there is no such key" };
    Mistake {
        origin,
        key: Some(if is_section { format!("[{name}]") } else { name.into() }),
        value: None,
        problem: problem.into(),
        remedy,
    }
}

/// A variable with our prefix that sets no key.
pub fn unknown_variable(variable: &str) -> Mistake {
    let name = variable.split("__").skip(1).collect::<Vec<_>>().join(".").to_ascii_lowercase();
    let remedy = match nearest_key(&name) {
        Some(key) => format!("did you mean {}?", key.variable()),
        None => format!("unset it; {}", siblings(&name)),
    };
    Mistake {
        origin: Origin::Variable(variable.into()),
        key: None,
        value: None,
        problem: "sets no key that exists".into(),
        remedy,
    }
}

/// The key spelt most alike; else the one of the same name in another section.
fn nearest_key(name: &str) -> Option<&'static Key> {
    let alike = KEYS
        .iter()
        .map(|key| (damerau_levenshtein(name, key.name), key))
        .filter(|(distance, key)| *distance <= tolerance(key.name))
        .min_by_key(|(distance, _)| *distance);
    let namesake = || {
        let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
        KEYS.iter().find(|key| key.split().1 == last)
    };
    alike.map(|(_, key)| key).or_else(namesake)
}

fn nearest_section(name: &str) -> Option<&'static str> {
    sections()
        .into_iter()
        .map(|section| (damerau_levenshtein(name, section), section))
        .filter(|(distance, section)| *distance <= tolerance(section))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, section)| section)
}

/// A fifth of the letters may be wrong, two in short names.
fn tolerance(name: &str) -> usize {
    (name.len() / 5).max(2)
}

/// What stands in the section named, or else which sections there are.
fn siblings(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((section, _)) if keys::is_section(section) => {
            format!("the keys of [{section}] are {}", members(section).join(", "))
        }
        _ => format!("the sections are {}", sections().join(", ")),
    }
}

/// The keys of a section, without its name.
pub fn members(section: &str) -> Vec<&'static str> {
    let below = |key: &Key| key.name.strip_prefix(section)?.strip_prefix('.');
    KEYS.iter().filter_map(below).collect()
}

/// Every section, in the table's order.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.split().0).collect();
    sections.dedup();
    sections
}
