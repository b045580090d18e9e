//! The users as the CSV that `users.file` reads, to move from one directory to another.
//!
//! A row that the file would refuse ends the export with its name: a file that looks whole and
//! is not would be found out by the users it lacks.

use std::io::Write;

use anyhow::Context;

use super::each_page;
use crate::users::{CSV_HEADER, Directory, NewUser, User, csv_line};

/// Prints all users; hashes only if asked for.
pub async fn run(
    password_hashes: bool,
    directory: &dyn Directory,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    writeln!(out, "{CSV_HEADER}")?;
    each_page(directory, |page| {
        page.iter().try_for_each(|user| {
            let name = &user.username;
            let line = line(user, password_hashes).with_context(|| {
                format!("the export ends before {name:?}, whom the file could not hold")
            })?;
            Ok(out.write_all(line.as_bytes())?)
        })
    })
    .await
}

fn line(user: &User, password_hashes: bool) -> anyhow::Result<String> {
    let mut row = NewUser::of(user);
    if !password_hashes {
        row.password_hash = None;
    }
    row.check()?;
    Ok(csv_line(&row)?)
}
