//! Users as people and as scripts read them.
//!
//! Neither form shows a password hash, only whether there is one.

use std::io::{self, Write};

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use crate::{
    cli::table::{Table, printable},
    users::User,
};

const HEADER: [&str; 7] =
    ["ID", "USERNAME", "FIRST NAME", "LAST NAME", "MOBILE", "PASSWORD", "STATE"];

/// The table of users.
pub fn users() -> Table<{ HEADER.len() }> {
    Table::new(HEADER)
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

/// A user's row in the table.
pub fn cells(user: &User) -> [String; HEADER.len()] {
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
