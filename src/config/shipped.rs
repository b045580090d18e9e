//! The file the package installs for reference: every key with its default, as comments, from the
//! table of keys.

use super::{
    keys::{KEYS, Key, Reload},
    settings::Settings,
};

const HEADER: &str = "\
# Configuration of wsfleetd.
#
# Every setting stands here with its default. The package puts this file into /usr/share/wsfleetd for
# reference; the daemon does not read it there. Copy what you want to change into a file in
# /etc/wsfleetd/conf.d, without the # before the key. These are read in the order of their names, and
# last the environment: WSFLEETD__REDIS__URL sets url in [redis], commas part the entries of a list.
#
# `systemctl reload wsfleetd` puts changed keys marked (Live.) into effect; others take a restart.
#
# `wsfleetd check-config --config FILE` reports every mistake; with --print it shows what is in
# effect and where each value came from.
";

const WIDTH: usize = 98;

/// The text of `config/wsfleetd.toml`. Comments are `# text`, settings are `#key = value`.
pub fn shipped_file() -> String {
    let defaults = Settings::default();
    let mut text = HEADER.to_owned();
    let mut open = "";
    for key in KEYS {
        let (section, _) = key.split();
        if section != open {
            text += &format!("\n[{section}]\n");
            open = section;
        }
        text += &entry(key, &defaults);
    }
    text
}

fn entry(key: &Key, defaults: &Settings) -> String {
    let options = textwrap::Options::new(WIDTH)
        .initial_indent("# ")
        .subsequent_indent("# ")
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let live = if key.reload == Reload::Live { " (Live.)" } else { "" };
    let doc = textwrap::fill(&format!("{}{live}", key.doc), options);
    format!("\n{doc}\n#{} = {}\n", key.split().1, key.field.print(defaults))
}
