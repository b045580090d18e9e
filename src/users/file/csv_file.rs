//! The CSV file itself: read and checked whole, extended without ever being half written.
//!
//! A new user is one more line in a new file that then takes the old one's name: a reader sees
//! either version, and a crash leaves the old. What the operator wrote stays byte for byte.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::SystemTime,
};

use csv::StringRecord;
use secrecy::{ExposeSecret, SecretString};
use tempfile::NamedTempFile;

use crate::{
    clock,
    ids::UserId,
    users::{Error, NewUser},
};

/// The first line, in this order.
const HEADER: [&str; 6] =
    ["username", "first_name", "last_name", "mobile", "password_hash", "disabled"];

/// Beyond this PostgreSQL is the right place; some 300,000 users.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Mistakes named in one refusal; a file in the wrong format would have one on every line.
const MAX_PROBLEMS: usize = 20;

/// A file made by `users add`: hashes are nobody else's business.
const NEW_FILE_MODE: u32 = 0o640;

/// All users of the file and when it was last written.
pub fn read(path: &Path) -> Result<(Vec<NewUser>, SystemTime), Error> {
    let (text, modified) = read_text(path)?;
    Ok((parse(path, &text)?, modified))
}

/// Adds one line, creating the file if need be, and returns what [`read`] would.
///
/// The directory is locked meanwhile, so that two processes adding at once lose neither; the
/// file cannot carry the lock, because it is replaced.
pub fn append(path: &Path, new: NewUser) -> Result<(Vec<NewUser>, SystemTime), Error> {
    let path = &resolve(path);
    let refuse = |error: io::Error| refusal(path, &error.to_string());
    let folder = File::open(folder_of(path)).map_err(refuse)?;
    folder.lock().map_err(refuse)?;
    let mut text = if path.exists() { read_text(path)?.0 } else { HEADER.join(",") };
    let mut users = parse(path, &text)?;
    if users.iter().any(|user| user.username == new.username) {
        return Err(Error::Exists(new.username));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&line_of(&new).map_err(refuse)?);
    replace(path, text.as_bytes()).map_err(refuse)?;
    folder.sync_all().map_err(refuse)?;
    users.push(new);
    Ok((users, clock::now()))
}

fn read_text(path: &Path) -> Result<(String, SystemTime), Error> {
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            let remedy = "make it with `wsfleetd users add`, or set users.file or database.url";
            refusal(path, &format!("there is no such file; {remedy}"))
        }
        _ => refusal(path, &error.to_string()),
    };
    let meta = fs::metadata(path).map_err(refuse)?;
    if meta.len() > MAX_FILE_BYTES {
        return Err(refusal(path, "it is larger than 64 MiB; keep so many users in PostgreSQL"));
    }
    let bytes = fs::read(path).map_err(refuse)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n');
        refusal(path, &format!("line {}: it is not UTF-8", line.count()))
    })?;
    Ok((text, meta.modified().map_err(refuse)?))
}

fn parse(path: &Path, text: &str) -> Result<Vec<NewUser>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = rows.headers().map_err(|error| refusal(path, &error.to_string()))?;
    if header != HEADER[..] {
        let expected = HEADER.join(",");
        return Err(refusal(path, &format!("line 1: the first line must be `{expected}`")));
    }
    let mut users = Vec::new();
    let mut first_seen = HashMap::new();
    let mut problems = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|error| refusal(path, &error.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        match user_of(&row) {
            Ok(user) => match first_seen.insert(user.username.clone(), line) {
                None => users.push(user),
                Some(first) => problems.push(format!(
                    "line {line}: username {:?} stands on line {first} already",
                    user.username
                )),
            },
            Err(problem) => problems.push(format!("line {line}: {problem}")),
        }
    }
    if problems.is_empty() { Ok(users) } else { Err(refusal(path, &shortened(problems))) }
}

fn user_of(row: &StringRecord) -> Result<NewUser, String> {
    if row.len() != HEADER.len() {
        return Err(format!("it has {} fields instead of {}", row.len(), HEADER.len()));
    }
    let field = |at: usize| row.get(at).unwrap_or_default();
    let some = |at: usize| Some(field(at)).filter(|text| !text.is_empty());
    let username = UserId::parse(field(0)).ok_or_else(|| {
        format!("username {:?} must be 1 to 256 bytes without control characters", field(0))
    })?;
    let disabled = match field(5) {
        "true" => true,
        "false" | "" => false,
        other => return Err(format!("disabled {other:?} must be `true`, `false` or empty")),
    };
    let user = NewUser {
        username,
        first_name: field(1).into(),
        last_name: field(2).into(),
        mobile: some(3).map(String::from),
        password_hash: some(4).map(SecretString::from),
        disabled,
    };
    user.check().map_err(|error| error.to_string())?;
    Ok(user)
}

fn line_of(user: &NewUser) -> io::Result<String> {
    let mut line = csv::Writer::from_writer(Vec::new());
    line.write_record([
        user.username.as_str(),
        &user.first_name,
        &user.last_name,
        user.mobile.as_deref().unwrap_or_default(),
        user.password_hash.as_ref().map_or("", |hash| hash.expose_secret()),
        if user.disabled { "true" } else { "false" },
    ])?;
    let bytes = line.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Puts `content` where `path` stands, under the old file's owner and mode.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder_of(path))?;
    file.write_all(content)?;
    match fs::metadata(path) {
        Ok(old) => {
            fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            file.as_file().set_permissions(old.permissions())?;
        }
        Err(_) => {
            // The folder's group is the daemon's on an installed machine; elsewhere it need not
            // be ours to give, and the file is as good without.
            let group = fs::metadata(folder_of(path))?.gid();
            let _ = fchown(file.as_file(), None, Some(group));
            file.as_file().set_permissions(fs::Permissions::from_mode(NEW_FILE_MODE))?;
        }
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Follows a link, so that its target is replaced and not the link.
fn resolve(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn shortened(mut problems: Vec<String>) -> String {
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    problems.join("; ")
}

fn refusal(path: &Path, problems: &str) -> Error {
    Error::File { path: path.display().to_string(), problems: problems.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(body: &str) -> String {
        let text = format!("{}\n{body}", HEADER.join(","));
        parse(Path::new("users.csv"), &text).unwrap_err().to_string()
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let found = problems_of(
            "Sid,,,,,\n,Nobody,,,,\nElon,,,soon,,\nAlok,,,,,maybe\nSid,,,,,true\nSmith,short\n",
        );
        for expected in [
            "line 3: username \"\"",
            "line 4: mobile \"soon\"",
            "line 5: disabled \"maybe\"",
            "line 6: username \"Sid\" stands on line 2 already",
            "line 7: it has 2 fields instead of 6",
        ] {
            assert!(found.contains(expected), "{expected} in {found}");
        }
    }

    #[test]
    fn a_hopeless_file_is_refused_in_few_words() {
        let found = problems_of(&",,,,,\n".repeat(100));
        assert!(found.contains("line 21:") && !found.contains("line 22:"), "{found}");
        assert!(found.ends_with("and 80 more"), "{found}");
    }

    #[test]
    fn another_header_is_refused() {
        let refused = parse(Path::new("users.csv"), "name,phone\nSid,1\n").unwrap_err();
        assert!(refused.to_string().contains("line 1: the first line must be `username,"));
    }

    #[test]
    fn what_is_written_reads_back_whatever_it_holds() {
        let odd = NewUser {
            first_name: "Zoë, \"Z\"".into(),
            mobile: Some("+49 171 5550123".into()),
            disabled: true,
            ..NewUser::named(UserId::parse("# not a comment").unwrap())
        };
        let text = format!("\u{feff}{}\n{}", HEADER.join(","), line_of(&odd).unwrap());
        let users = parse(Path::new("users.csv"), &text).unwrap();
        assert_eq!(users.len(), 1);
        assert_eq!(users[0].username, odd.username);
        assert_eq!(users[0].first_name, odd.first_name);
        assert_eq!(users[0].mobile, odd.mobile);
        assert!(users[0].disabled);
    }
}
