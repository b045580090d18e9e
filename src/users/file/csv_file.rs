//! The CSV itself: read and checked whole, and printed a line at a time.
//!
//! Where each user's line stands is remembered, so that a change of one line leaves the rest as
//! the operator wrote it, byte for byte.

use std::{collections::HashMap, fs, io, ops::Range, path::Path, time::SystemTime};

use csv::StringRecord;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    ids::UserId,
    users::{Error, NewUser},
};

/// The first line.
pub const HEADER: &str = "username,first_name,last_name,mobile,password_hash,disabled";

/// Fields of a line.
const FIELDS: usize = 6;

/// Beyond this PostgreSQL is the right place; some 300,000 users.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Mistakes named in one refusal; a file in the wrong format would have one on every line.
const MAX_PROBLEMS: usize = 20;

/// One user and where the line stands.
#[derive(Debug)]
pub struct Row {
    pub user: NewUser,
    /// In bytes of the text, its line end excluded.
    pub span: Range<usize>,
}

/// All users of the file and when it was last written.
pub fn read(path: &Path) -> Result<(Vec<NewUser>, SystemTime), Error> {
    let (text, modified) = read_text(path)?;
    Ok((parse(path, &text)?.into_iter().map(|row| row.user).collect(), modified))
}

/// The text as it stands, and when it was last written.
pub fn read_text(path: &Path) -> Result<(String, SystemTime), Error> {
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

/// Every user of `text`, or everything that is wrong with it; `path` is for the message.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Row>, Error> {
    let plain = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = text.len() - plain.len();
    let mut lines = csv::ReaderBuilder::new().flexible(true).from_reader(plain.as_bytes());
    let header = lines.headers().map_err(|error| refusal(path, &error.to_string()))?;
    if !header.iter().eq(HEADER.split(',')) {
        return Err(refusal(path, &format!("line 1: the first line must be `{HEADER}`")));
    }
    let (mut rows, mut first_seen, mut problems) = (Vec::new(), HashMap::new(), Vec::new());
    let mut record = StringRecord::new();
    while lines.read_record(&mut record).map_err(|error| refusal(path, &error.to_string()))? {
        let (line, start) = record.position().map_or((0, 0), |at| (at.line(), at.byte() as usize));
        match user_of(&record) {
            Ok(user) => match first_seen.insert(user.username.clone(), line) {
                None => {
                    let end = lines.position().byte() as usize;
                    rows.push(Row { user, span: span_of(text, mark + start..mark + end) });
                }
                Some(first) => problems.push(format!(
                    "line {line}: username {:?} stands on line {first} already",
                    user.username
                )),
            },
            Err(problem) => problems.push(format!("line {line}: {problem}")),
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(refusal(path, &shortened(problems))) }
}

/// Without the blank lines before it and the line end behind it, which the reader counts in. A
/// line end within a field stands between quotes and is not met here.
fn span_of(text: &str, raw: Range<usize>) -> Range<usize> {
    let raw_text = text.get(raw.clone()).unwrap_or_default();
    let start = raw.start + raw_text.len() - raw_text.trim_start_matches(['\r', '\n']).len();
    start..raw.start + raw_text.trim_end_matches(['\r', '\n']).len()
}

fn user_of(row: &StringRecord) -> Result<NewUser, String> {
    if row.len() != FIELDS {
        return Err(format!("it has {} fields instead of {FIELDS}", row.len()));
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

/// The user's line, its end included.
pub fn line_of(user: &NewUser) -> io::Result<String> {
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

fn shortened(mut problems: Vec<String>) -> String {
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    problems.join("; ")
}

/// An [`Error::File`].
pub fn refusal(path: &Path, problems: &str) -> Error {
    Error::File { path: path.display().to_string(), problems: problems.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(body: &str) -> String {
        let text = format!("{HEADER}\n{body}");
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
        let text = format!("\u{feff}{HEADER}\n{}", line_of(&odd).unwrap());
        let rows = parse(Path::new("users.csv"), &text).unwrap();
        let users: Vec<_> = rows.into_iter().map(|row| row.user).collect();
        assert_eq!(users.len(), 1);
        assert_eq!(users[0].username, odd.username);
        assert_eq!(users[0].first_name, odd.first_name);
        assert_eq!(users[0].mobile, odd.mobile);
        assert!(users[0].disabled);
    }

    #[test]
    fn where_a_line_stands_is_known_whatever_stands_around_it() {
        for (before, line, after) in [
            ("", "Sid,,,,,", ""),
            ("", "Sid,,,,,", "\n"),
            ("\n\n", "\"Sid\",  spaced ,,,,", "\n\nElon,,,,,\n"),
            ("Elon,,,,,\r\n\r\n", "Sid,\"a \"\"b\"\"\",,,,", "\r\nZoë,,,,,"),
            ("Zoë,Zoë,,,,\n", "Sid,,,,,true", "\r\n\r\n"),
        ] {
            for mark in ["", "\u{feff}"] {
                let text = format!("{mark}{HEADER}\n{before}{line}{after}");
                let rows = parse(Path::new("users.csv"), &text).unwrap();
                let sid = rows.iter().find(|row| row.user.username.as_str() == "Sid").unwrap();
                assert_eq!(&text[sid.span.clone()], line, "{text:?}");
            }
        }
    }
}
