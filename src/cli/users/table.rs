//! Users as people and as scripts read them.
//!
//! Neither form shows a password hash, only whether there is one.

use std::{
    io::{self, Write},
    sync::Arc,
};

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use crate::users::User;

const HEADER: [&str; 7] =
    ["ID", "USERNAME", "FIRST NAME", "LAST NAME", "MOBILE", "PASSWORD", "STATE"];

/// Prints page after page; columns widen where a page needs it and never shrink.
#[derive(Debug, Default)]
pub struct Table {
    widths: [usize; HEADER.len()],
    begun: bool,
}

impl Table {
    /// One line a user, under a header on the first page.
    pub fn print(&mut self, page: &[Arc<User>], out: &mut impl Write) -> io::Result<()> {
        let mut rows = Vec::with_capacity(page.len() + 1);
        if !std::mem::replace(&mut self.begun, true) {
            rows.push(HEADER.map(String::from));
        }
        rows.extend(page.iter().map(|user| cells(user)));
        for (column, width) in self.widths.iter_mut().enumerate() {
            let widest = rows.iter().map(|row| row[column].chars().count()).max();
            *width = widest.unwrap_or(0).max(*width);
        }
        rows.iter().try_for_each(|row| self.print_row(row, out))
    }

    fn print_row(&self, row: &[String], out: &mut impl Write) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(self.widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// One user for a script.
pub fn json(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username.as_str(),
        "first_name": user.first_name,
        "last_name": user.last_name,
        "mobile": user.mobile,
        "has_password": user.password_hash.is_some(),
        "disabled": user.disabled,
        "created_at": format_rfc3339_seconds(user.created).to_string(),
        "updated_at": format_rfc3339_seconds(user.updated).to_string(),
    })
}

/// One user for a person: a line for each column of the table.
pub fn card(user: &User, out: &mut impl Write) -> io::Result<()> {
    let width = HEADER.iter().map(|name| name.len()).max().unwrap_or(0);
    let lines = HEADER.into_iter().zip(cells(user));
    lines.into_iter().try_for_each(|(name, cell)| writeln!(out, "{name:<width$}  {cell}"))?;
    for (name, time) in [("CREATED", user.created), ("UPDATED", user.updated)] {
        writeln!(out, "{name:<width$}  {}", format_rfc3339_seconds(time))?;
    }
    Ok(())
}

fn cells(user: &User) -> [String; HEADER.len()] {
    [
        user.id.to_string(),
        user.username.to_string(),
        printable(&user.first_name),
        printable(&user.last_name),
        printable(user.mobile.as_deref().unwrap_or("-")),
        if user.password_hash.is_some() { "yes" } else { "no" }.into(),
        if user.disabled { "disabled" } else { "active" }.into(),
    ]
}

/// Rows written by others may hold what would move the terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
