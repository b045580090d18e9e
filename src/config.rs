//! What the operator wrote, checked whole before anything is bound.
//!
//! One table ([`keys`]) says what may be written. The layers are merged first and then held
//! against that table, key by key: deserializing into structs would stop at the first mistake, and
//! forget where a value came from.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path, time::Duration};

pub mod changes;
pub mod document;
pub mod forms;
pub mod given;
pub mod keys;
pub mod layers;
#[cfg(test)]
mod manual;
pub mod mistakes;
pub mod names;
pub mod origin;
pub mod rules;
pub mod settings;
pub mod shipped;
pub mod source;
pub mod suggest;
pub mod systemd;
pub mod walk;

use self::{layers::Layers, settings::CompatMode, walk::Walk};
pub use self::{
    mistakes::{Mistake, Mistakes},
    origin::Origin,
    settings::Settings,
    shipped::shipped_file,
    source::Source,
};

/// Exit code of a daemon whose configuration is refused, as in sysexits.h; the unit does not
/// restart after it.
pub const EX_CONFIG: u8 = 78;

/// A configuration that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Every key, in the table's order.
    pub effective: Vec<Effective>,
}

/// One key as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    pub key: &'static str,
    /// As TOML writes it; a secret is hidden.
    pub value_text: String,
    pub origin: Origin,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} # {}", self.key, self.value_text, self.origin)
    }
}

/// Reads the file, its `conf.d` and the environment (`std::env::vars_os()`). Without a file only
/// the environment is read.
///
/// # Errors
/// Every mistake in them, not the first.
pub fn load<K, V>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Loaded, Mistakes>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let variables: BTreeMap<OsString, OsString> =
        environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut layers = Layers::gather(file, &variables);
    let mut walk = Walk::through(&layers);
    walk.mistakes.append(&mut layers.mistakes);
    systemd::apply(&variables, &mut walk);
    imitate(&mut walk);
    // What a missing file would have said may be what makes a rule hold.
    if !layers.incomplete {
        rules::check(&mut walk);
    }
    match Mistakes::of(walk.mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(Loaded {
            effective: effective(&walk.settings, &walk.origins),
            settings: walk.settings,
        }),
    }
}

/// What `compat.mode` implies for keys that nobody set.
fn imitate(walk: &mut Walk) {
    const IDLE: Duration = Duration::from_secs(10 * 60);
    const LIFETIME: Duration = Duration::from_secs(2 * 3600);
    if walk.settings.compat.mode != CompatMode::ApiGateway {
        return;
    }
    let websocket = &mut walk.settings.websocket;
    for (key, field, value) in [
        ("websocket.idle_timeout", &mut websocket.idle_timeout, IDLE),
        ("websocket.max_lifetime", &mut websocket.max_lifetime, LIFETIME),
    ] {
        walk.origins.entry(key).or_insert_with(|| {
            *field = Some(value);
            Origin::Implied("compat.mode")
        });
    }
}

fn effective(settings: &Settings, origins: &BTreeMap<&'static str, Origin>) -> Vec<Effective> {
    let show = |key: &keys::Key| Effective {
        key: key.name,
        value_text: key.show(settings),
        origin: origins.get(key.name).cloned().unwrap_or(Origin::Default),
    };
    keys::KEYS.iter().map(show).collect()
}

#[cfg(test)]
mod tests;
