//! Where a password comes from: never from the command line, which everybody can read in `ps`.

use std::io::{BufRead, Read};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};

use crate::ids::UserId;

/// Longest password in bytes: far beyond what anybody types, short enough to hash at once.
const MAX_BYTES: usize = 1024;

/// A script's or a person's.
pub enum Source<'a, R> {
    /// `--password-stdin`
    Stdin(&'a mut R),
    /// The controlling terminal, which shows nothing of it.
    Terminal,
}

impl<R: BufRead> Source<'_, R> {
    /// The password for `user`, not empty and within bounds.
    pub fn read(self, user: &UserId) -> anyhow::Result<SecretString> {
        match self {
            Self::Stdin(input) => first_line(input),
            Self::Terminal => asked_twice(user),
        }
    }
}

fn first_line(input: &mut impl BufRead) -> anyhow::Result<SecretString> {
    let mut line = String::new();
    // One byte more than allowed, and the line's end, tell a password that is too long.
    input
        .take(MAX_BYTES as u64 + 2)
        .read_line(&mut line)
        .context("the password cannot be read from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    match password.len() {
        0 => {
            bail!("--password-stdin: standard input is empty; write the password on its first line")
        }
        1..=MAX_BYTES => Ok(password.into()),
        _ => bail!("--password-stdin: the password is longer than {MAX_BYTES} bytes"),
    }
}

/// A mistyped password would only show at the next login.
fn asked_twice(user: &UserId) -> anyhow::Result<SecretString> {
    let password = asked(&format!("New password for {user}: "))?;
    match password.expose_secret().len() {
        0 => bail!("the password is empty; `--delete` takes a password away"),
        1..=MAX_BYTES => {}
        _ => bail!("the password is longer than {MAX_BYTES} bytes"),
    }
    if asked("The same again: ")?.expose_secret() != password.expose_secret() {
        bail!("the two passwords differ, and nothing was changed");
    }
    Ok(password)
}

fn asked(prompt: &str) -> anyhow::Result<SecretString> {
    let typed = rpassword::prompt_password(prompt).context(
        "there is no terminal to ask for the password on; give it on standard input with \
         --password-stdin",
    )?;
    Ok(typed.into())
}
