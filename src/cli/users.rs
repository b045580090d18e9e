//! `wsfleetd users …`: the directory from a terminal, in PostgreSQL or in the CSV file.
//!
//! Takes its input and output as arguments, so that tests read what an operator would.

mod export;
mod password;
mod table;

use std::{
    io::{self, BufRead, Write},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use self::password::Source;
use crate::{
    config::settings::Settings,
    ids::UserId,
    lifecycle::Exit,
    users::{self, Directory, Edit, Error, NewUser, Unavailable, User},
};

/// Users asked for at a time: a table of any size is listed in bounded memory.
const PAGE: usize = 500;

/// What `wsfleetd users` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or update the tables in PostgreSQL; safe to repeat
    Migrate,
    /// Register a user
    Add(Add),
    /// Keep a user registered, but let them in no more and close their connections
    ///
    /// On every instance, with code 1008. In PostgreSQL it is felt within a second; a file is read
    /// again when the service is reloaded.
    Disable {
        /// The exact name
        username: String,
    },
    /// Let a disabled user in again
    Enable {
        /// The exact name
        username: String,
    },
    /// Strike a user from the directory and close their connections
    ///
    /// With the same consequences as `users disable`.
    Remove {
        /// The exact name
        username: String,
    },
    /// Give a user a new password, asked for on the terminal
    ///
    /// It can also be read from standard input, or be taken away.
    Passwd(Passwd),
    /// Print one user
    Show {
        /// The exact name
        username: String,
        /// A JSON object, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print the users, in the order of their names
    List {
        /// One JSON object per line, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print the users as the CSV that users.file reads
    Export {
        /// With the hashes of their passwords, which let anybody guess at leisure
        #[arg(long)]
        password_hashes: bool,
    },
}

/// Whose password, and from where.
#[derive(Debug, Args)]
pub struct Passwd {
    /// The exact name
    username: String,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Take the password away: no more login by password
    #[arg(long, conflicts_with = "password_stdin")]
    delete: bool,
}

/// Who is to be registered.
#[derive(Debug, Args)]
pub struct Add {
    /// The exact name, upper and lower case as others will write it
    username: String,
    /// Empty if it is not given
    #[arg(long, value_name = "F", default_value = "", hide_default_value = true)]
    first_name: String,
    /// Empty if it is not given
    #[arg(long, value_name = "L", default_value = "", hide_default_value = true)]
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
        Command::Disable { username } => {
            edit(&username, Edit::Disabled(true), "disabled", settings, out).await
        }
        Command::Enable { username } => {
            edit(&username, Edit::Disabled(false), "enabled", settings, out).await
        }
        Command::Remove { username } => remove(&username, settings, out).await,
        Command::Passwd(passwd) => change_password(passwd, settings, input, out).await,
        Command::Show { username, json } => show(&username, json, settings, out).await,
        Command::List { json } => list(json, settings, out).await,
        Command::Export { password_hashes } => {
            export::run(password_hashes, &*open(settings).await?, out).await
        }
    }
}

/// What a script learns from a failure: whether the name, the configuration or the moment is
/// wrong.
pub fn exit(error: &anyhow::Error) -> Exit {
    if error.is::<Unavailable>() {
        return Exit::Unavailable;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Unknown(_)) => Exit::NoUser,
        Some(Error::Unavailable(_)) => Exit::Unavailable,
        Some(Error::Setting { .. } | Error::File { .. }) => Exit::Config,
        _ => Exit::Failure,
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
    let (name, place) = (&added.username, place(settings));
    writeln!(out, "added {name} to {place} with id {}{}", added.id, felt(settings))?;
    Ok(())
}

fn new_user(add: Add, input: &mut impl BufRead) -> anyhow::Result<NewUser> {
    let username = parse(&add.username)?;
    let password_hash = match add.password_stdin {
        true => Some(users::hash_password(&Source::Stdin(input).read(&username)?)?),
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

async fn edit(
    username: &str,
    edit: Edit,
    done: &str,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let name = parse(username)?;
    open(settings).await?.edit(&name, &edit).await?;
    writeln!(out, "{done} {name} in {}{}", place(settings), felt(settings))?;
    Ok(())
}

async fn remove(username: &str, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let name = parse(username)?;
    open(settings).await?.remove(&name).await?;
    writeln!(out, "removed {name} from {}{}", place(settings), felt(settings))?;
    Ok(())
}

/// Asks for the password only when there is somebody to give it to.
async fn change_password(
    passwd: Passwd,
    settings: &Settings,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let name = parse(&passwd.username)?;
    let directory = open(settings).await?;
    find(&*directory, &name).await?;
    let source = match passwd.password_stdin {
        true => Source::Stdin(input),
        false => Source::Terminal,
    };
    let hash = match passwd.delete {
        true => None,
        false => Some(users::hash_password(&source.read(&name)?)?),
    };
    let done = if hash.is_some() { "changed" } else { "deleted" };
    directory.edit(&name, &Edit::Password(hash)).await?;
    let (place, felt) = (place(settings), felt(settings));
    writeln!(out, "{done} the password of {name} in {place}{felt}")?;
    Ok(())
}

async fn show(
    username: &str,
    json: bool,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let user = find(&*open(settings).await?, &parse(username)?).await?;
    match json {
        true => writeln!(out, "{}", table::json(&user))?,
        false => table::card(&user, out)?,
    }
    Ok(())
}

async fn list(json: bool, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = table::users();
    let mut print = |page: &[Arc<User>]| match json {
        true => page.iter().try_for_each(|user| writeln!(out, "{}", table::json(user))),
        false => table.print(page.iter().map(|user| table::cells(user)), out),
    };
    each_page(&*open(settings).await?, |page| Ok(print(page)?)).await
}

/// Shows all users, a page at a time.
async fn each_page(
    directory: &dyn Directory,
    mut show: impl FnMut(&[Arc<User>]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after: Option<UserId> = None;
    loop {
        let page = directory.list(after.as_ref(), PAGE).await?;
        show(&page)?;
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.username.clone()),
            _ => return Ok(()),
        }
    }
}

async fn find(directory: &dyn Directory, name: &UserId) -> Result<Arc<User>, Error> {
    directory.find(name).await?.ok_or_else(|| Error::Unknown(name.clone()))
}

/// For whoever needs users that are there: a missing file is a mistake.
async fn open(settings: &Settings) -> Result<Box<dyn Directory>, Error> {
    users::open_existing(&settings.database, &settings.users).await
}

fn parse(username: &str) -> anyhow::Result<UserId> {
    UserId::parse(username).with_context(|| {
        format!("USERNAME {username:?}: must be 1 to 256 bytes without control characters")
    })
}

/// Where the change stands.
fn place(settings: &Settings) -> String {
    match settings.database.url {
        Some(_) => "PostgreSQL".into(),
        None => settings.users.file.display().to_string(),
    }
}

/// PostgreSQL tells the daemons itself; of a file they must be told.
fn felt(settings: &Settings) -> &'static str {
    match settings.database.url {
        Some(_) => "",
        None => "; a daemon that runs learns it by `systemctl reload wsfleetd`",
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
