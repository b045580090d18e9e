//! The manual page of the configuration file, from the table of keys.
//!
//! Written for tests only: `packaging/man/wsfleetd.toml.5` is committed, and a test compares.

use roff::{Inline, Roff, bold, italic, roman};

use super::{
    keys::{HIDDEN, KEYS, Key, Reload, Trust},
    settings::Settings,
};

/// The text of `packaging/man/wsfleetd.toml.5`.
pub fn manual_page() -> String {
    let mut page = Roff::new();
    let version = concat!("wsfleetd ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["WSFLEETD.TOML", "5", "2026-11-30", version, "File Formats"]);
    // The names of variables must not be cut where they could be taken for another.
    page.control("nh", []);
    page.control("ad", ["l"]);
    section(&mut page, "NAME", &["wsfleetd.toml - configuration of the WebSocket fleet daemon"]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([
        italic("/etc/wsfleetd/wsfleetd.toml"),
        roman(", "),
        italic("/etc/wsfleetd/conf.d/*.toml"),
    ]);
    section(&mut page, "DESCRIPTION", &DESCRIPTION);
    section(&mut page, "VALUES", &VALUES);
    section(&mut page, "RELOADING", &RELOADING);
    settings(&mut page);
    page.control("SH", ["SEE ALSO"]);
    let see = [bold("wsfleetd"), roman("(8), "), bold("systemd.exec"), roman("(5)")];
    page.text(see);
    let note = ".\\\" From the table of keys in src/config/keys.rs: UPDATE_GOLDEN=1 cargo test --lib config\n";
    format!("{note}{}", page.to_roff())
}

const DESCRIPTION: [&str; 3] = [
    "wsfleetd reads this file, then conf.d/*.toml beside it in the order of their names, then the \
     environment: WSFLEETD__SECTION__KEY sets key of [section]. The later wins. Leave the file to \
     the package and put settings of your own into conf.d.",
    "A name that does not exist and a value that is not allowed are refused, all of them at once, \
     each with its place and what to write instead. \"wsfleetd check-config\" tells them without \
     starting anything; with --print it shows what is in effect and where each value came from.",
    "Secrets stand in files of their own. Where a key names none, the service takes the systemd \
     credential that the key's description names.",
];

const VALUES: [&str; 2] = [
    "The file is TOML. Durations are text such as \"25s\", \"1.5s\" or \"1h 30m\"; sizes are text \
     such as \"64KiB\", or a number of bytes; lists stand in brackets.",
    "In the environment everything is text without quotes, and commas part the entries of a list.",
];

const RELOADING: [&str; 1] =
    ["On SIGHUP (systemctl reload wsfleetd) everything is read again. A configuration with a \
     mistake in it changes nothing. Of a good one, the keys marked Live below take effect at once, \
     and no connection is closed for it; the log names the others that have changed, which take a \
     restart. The users' file and the certificate are read again each time."];

fn section(page: &mut Roff, title: &str, paragraphs: &[&str]) {
    page.control("SH", [title]);
    for (nth, paragraph) in paragraphs.iter().enumerate() {
        if nth > 0 {
            page.control("PP", []);
        }
        page.text([roman(*paragraph)]);
    }
}

fn settings(page: &mut Roff) {
    page.control("SH", ["SETTINGS"]);
    let defaults = Settings::default();
    let mut open = "";
    for key in KEYS {
        let (section, _) = key.split();
        if section != open {
            page.control("SS", [format!("[{section}]").as_str()]);
            open = section;
        }
        page.control("TP", []);
        page.text(heading(key, &defaults));
        page.text([roman(key.doc)]);
        page.control("RS", []);
        page.control("PP", []);
        page.text([roman(facts(key))]);
        page.control("RE", []);
    }
}

/// `key = default`
fn heading(key: &Key, defaults: &Settings) -> Vec<Inline> {
    vec![bold(key.split().1), roman(" = "), roman(key.field.print(defaults))]
}

fn facts(key: &Key) -> String {
    let reload = match key.reload {
        Reload::Live => "Live",
        Reload::Restart => "Takes a restart",
    };
    let shown = match key.trust {
        Trust::Public => String::new(),
        Trust::Secret => format!(" Shown as {HIDDEN}."),
    };
    let accepts = key.field.accepts();
    format!("{reload}. Write {accepts}. Environment: {}.{shown}", key.variable())
}
