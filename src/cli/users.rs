//! `wsfleetd users …`: the directory from a terminal, in PostgreSQL or in the CSV file.
//!
//! Takes its input and output as arguments, so that tests read what an operator would.

mod table;

use std::io::{self, BufRead, Read, Write};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use secrecy::SecretString;

use crate::{
    config::settings::Settings,
    ids::UserId,
    users::{self, NewUser},
};

/// Longest password in bytes: far beyond what anybody types, short enough to hash at once.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// Users asked for at a time: a table of any size is listed in bounded memory.
const PAGE: usize = 500;

/// What `wsfleetd users` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or update the tables in PostgreSQL; safe to repeat
    Migrate,
    /// Register a user
    Add(Add),
    /// Print the users, in the order of their names
    List {
        /// One JSON object per line, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// Who is to be registered.
#[derive(Debug, Args)]
pub struct Add {
    /// The exact name, upper and lower case as others will write it
    username: String,
    #[arg(long, value_name = "F", default_value = "")]
    first_name: String,
    #[arg(long, value_name = "L", default_value = "")]
    last_name: String,
    /// For example +49 171 5550123
    #[arg(long, value_name = "M")]
    mobile: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Does what `command` says, on the process's own standard input and output.
pub async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    match execute(command, settings, &mut io::stdin().lock(), &mut io::stdout()).await {
        // `users list | head` has read enough; that is no failure.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

/// The same on any input and output.
pub async fn execute(
    command: Command,
    settings: &Settings,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        Command::Migrate => migrate(settings, out).await,
        Command::Add(add) => register(add, settings, input, out).await,
        Command::List { json } => list(json, settings, out).await,
    }
}

async fn migrate(settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    if settings.database.url.is_none() {
        bail!(
            "database.url is not set, so there is nothing to migrate: users come from the file {}",
            settings.users.file.display()
        );
    }
    let done = users::migrate(&settings.database).await?;
    for name in &done.applied {
        writeln!(out, "applied {name}")?;
    }
    let verb = if done.applied.is_empty() { "is already" } else { "is now" };
    writeln!(out, "the schema {verb} at version {}", done.version)?;
    Ok(())
}

async fn register(
    add: Add,
    settings: &Settings,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let user = new_user(add, input)?;
    let directory = users::open_to_edit(&settings.database, &settings.users).await?;
    let added = directory.add(user).await?;
    let place = match settings.database.url {
        Some(_) => "PostgreSQL".into(),
        None => settings.users.file.display().to_string(),
    };
    writeln!(out, "added {} to {place} with id {}", added.username, added.id)?;
    Ok(())
}

fn new_user(add: Add, input: &mut impl BufRead) -> anyhow::Result<NewUser> {
    let username = UserId::parse(&add.username).with_context(|| {
        format!("USERNAME {:?}: must be 1 to 256 bytes without control characters", add.username)
    })?;
    let password_hash = match add.password_stdin {
        true => Some(users::hash_password(&read_password(input)?)?),
        false => None,
    };
    Ok(NewUser {
        first_name: add.first_name,
        last_name: add.last_name,
        mobile: add.mobile,
        password_hash,
        ..NewUser::named(username)
    })
}

fn read_password(input: &mut impl BufRead) -> anyhow::Result<SecretString> {
    let mut line = String::new();
    // One byte more than allowed, and the line's end, tell a password that is too long.
    input
        .take(MAX_PASSWORD_BYTES + 2)
        .read_line(&mut line)
        .context("the password cannot be read from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    match password.len() as u64 {
        0 => {
            bail!("--password-stdin: standard input is empty; write the password on its first line")
        }
        1..=MAX_PASSWORD_BYTES => Ok(password.into()),
        _ => bail!("--password-stdin: the password is longer than {MAX_PASSWORD_BYTES} bytes"),
    }
}

async fn list(json: bool, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let directory = users::open(&settings.database, &settings.users).await?;
    let mut table = table::Table::default();
    let mut after: Option<UserId> = None;
    loop {
        let page = directory.list(after.as_ref(), PAGE).await?;
        if json {
            page.iter().try_for_each(|user| writeln!(out, "{}", table::json(user)))?;
        } else {
            table.print(&page, out)?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.username.clone()),
            _ => return Ok(()),
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
