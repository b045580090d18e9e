//! The manual page and the shells' completions, from the definition of the command line.
//!
//! Written for tests only: `packaging/man/wsfleetd.8` and `packaging/completions/*` are committed,
//! and tests compare. What no command says of itself stands in `manual/sections.roff`.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

use super::Cli;

/// What the daemon is.
const DESCRIPTION: &str = include_str!("manual/description.roff");

/// Behind the subcommands: what concerns the daemon rather than a command.
const SECTIONS: &str = include_str!("manual/sections.roff");

/// Every command takes them; the page says so once.
const EVERYWHERE: [&str; 2] = ["config", "help"];

/// The text of `packaging/man/wsfleetd.8`.
pub fn manual_page() -> String {
    let root = command();
    let mut head = Roff::new();
    let version = concat!("wsfleetd ", env!("CARGO_PKG_VERSION"));
    head.control("TH", ["WSFLEETD", "8", "2026-11-30", version, "System Administration"]);
    // Neither options nor names of files may be cut where they are looked for.
    head.control("nh", []);
    head.control("ad", ["l"]);
    head.control("SH", ["NAME"]);
    head.text([roman("wsfleetd - WebSocket gateway of an EC2 Auto Scaling group")]);
    head.control("SH", ["SYNOPSIS"]);
    let note =
        ".\\\" From the definitions in src/cli: UPDATE_GOLDEN=1 cargo test --lib cli::manual\n";
    let mut page = format!("{note}{}", head.render());
    page += &part(&root, Man::render_synopsis_section);
    page += DESCRIPTION;
    let mut title = Roff::new();
    title.control("SH", ["SUBCOMMANDS"]);
    page += &title.to_roff();
    for leaf in leaves(&root) {
        page += &subcommand(leaf);
    }
    page += SECTIONS;
    page
}

/// The file of completions for a shell.
pub fn completions(shell: Shell) -> String {
    let mut file = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wsfleetd", &mut file);
    String::from_utf8(file).unwrap_or_default()
}

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

/// The commands that do something, in the order of `--help`.
fn leaves(command: &Command) -> Vec<&Command> {
    if !command.has_subcommands() {
        return vec![command];
    }
    command.get_subcommands().filter(|one| !one.is_hide_set()).flat_map(leaves).collect()
}

fn subcommand(command: &Command) -> String {
    let own = command.clone().mut_args(|arg| {
        if EVERYWHERE.contains(&arg.get_id().as_str()) { arg.hide(true) } else { arg }
    });
    let mut title = Roff::new();
    title.control("SS", [own.get_bin_name().unwrap_or_default()]);
    let parts = [
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ];
    let [synopsis, description, options] = parts.map(|render| part(&own, render));
    format!("{}{synopsis}.PP\n{description}{options}", title.to_roff())
}

/// What clap_mangen writes below a section's title.
fn part(command: &Command, render: impl Fn(&Man, &mut dyn Write) -> io::Result<()>) -> String {
    let mut text = Vec::new();
    let done = render(&Man::new(command.clone()), &mut text);
    done.unwrap_or_else(|error| panic!("{}: {error}", command.get_name()));
    let text = String::from_utf8_lossy(&text);
    let below = text.split_once(".SH ").and_then(|(_, section)| section.split_once('\n'));
    below.map(|(_, below)| below.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path, process};

    use super::*;

    fn compare(golden: &str, text: &str) {
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(golden, text).expect("written");
        }
        let expected = fs::read_to_string(golden).unwrap_or_default();
        assert!(expected == text, "{golden} differs: UPDATE_GOLDEN=1 writes it anew");
    }

    #[test]
    fn the_manual_page_is_the_command_line_in_print() {
        compare("packaging/man/wsfleetd.8", &manual_page());
    }

    #[test]
    fn the_completions_are_the_command_lines() {
        for (shell, file) in [
            (Shell::Bash, "wsfleetd.bash"),
            (Shell::Zsh, "_wsfleetd"),
            (Shell::Fish, "wsfleetd.fish"),
        ] {
            compare(&format!("packaging/completions/{file}"), &completions(shell));
        }
    }

    #[test]
    fn every_subcommand_and_option_is_in_the_page() {
        let page = manual_page().replace("\\-", "-");
        let root = command();
        let leaves = leaves(&root);
        assert!(leaves.len() > 15, "{}", leaves.len());
        for leaf in leaves {
            let name = leaf.get_bin_name().expect("a built command has its whole name");
            let section = page.split_once(&format!("\n.SS \"{name}\"\n")).expect(name).1;
            let section = section.split("\n.S").next().unwrap_or_default();
            for arg in
                leaf.get_arguments().filter(|arg| !EVERYWHERE.contains(&arg.get_id().as_str()))
            {
                let word = match arg.get_long() {
                    Some(long) => format!("--{long}"),
                    None => arg.get_value_names().expect("a name")[0].to_string(),
                };
                assert!(section.contains(&word), "{name}: {word} in {section}");
            }
        }
    }

    /// What bash offers for the last of `words`, with the file that is committed.
    fn offered(words: &[&str]) -> Vec<String> {
        let file = Path::new("packaging/completions/wsfleetd.bash");
        let script = r#"source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _wsfleetd "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let output =
            process::Command::new("bash").args(["-c", script]).arg(file).args(words).output();
        let output = output.expect("bash is everywhere");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_subcommands_and_options() {
        if env::var_os("UPDATE_GOLDEN").is_some() {
            return; // Its neighbour is writing what it would read.
        }
        assert_eq!(offered(&["wsfleetd", "sta"]), ["status"]);
        let users = offered(&["wsfleetd", "users", ""]);
        assert!(users.contains(&"passwd".into()) && !users.contains(&"run".into()), "{users:?}");
        assert_eq!(offered(&["wsfleetd", "users", "add", "Sid", "--mo"]), ["--mobile"]);
        assert_eq!(offered(&["wsfleetd", "fleet", "purge", "--f"]), ["--force"]);
        assert_eq!(offered(&["wsfleetd", "nothing-of-ours", "x"]), [""]);
    }
}
