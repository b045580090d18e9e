//! One TOML file as a layer of the configuration, every value knowing its line.
//!
//! `config` reads TOML itself, but remembers only the file's name; an operator wants the line. So
//! this is a `config::Source` of our own, over the same parser, whose origins are `file:line`.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use config::{ConfigError, Source, Value, ValueKind};
use toml::{
    Spanned,
    de::{DeInteger, DeString, DeTable, DeValue},
};

use super::{mistakes::Mistake, origin::Origin};

/// A configuration is some kilobytes; a log file or a disk named by mistake is not read to its end.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Document {
    root: HashMap<String, Value>,
}

impl Document {
    /// Reads and parses the file. Mistakes in single entries leave a document without them; if the
    /// file cannot be read, or is no TOML, there is none.
    pub fn read(path: &Path, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        match read_bounded(path).map(String::from_utf8) {
            Ok(Ok(text)) => Self::parse(path, &text, mistakes),
            Ok(Err(error)) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                mistakes.push(not_utf8(path, valid));
                None
            }
            Err(error) => {
                mistakes.push(unreadable(path, &error));
                None
            }
        }
    }

    /// What stands in the file.
    pub fn root(&self) -> &HashMap<String, Value> {
        &self.root
    }

    fn parse(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let mut reader = Reader::new(path, text, mistakes);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.syntax(error.span().unwrap_or(0..0), error.message());
        }
        errors.is_empty().then(|| Self { root: reader.root(table.get_ref()) })
    }
}

impl Source for Document {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, ConfigError> {
        Ok(self.root.clone())
    }
}

/// The file and line that [`Document`] wrote into a value's origin.
pub fn origin_of(value: &Value) -> Option<Origin> {
    let (path, line) = value.origin()?.rsplit_once(':')?;
    Some(Origin::line(path, line.parse().ok()?))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("longer than 1MiB, which no configuration is"));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Mistake {
    Mistake {
        origin: Origin::Path(path.into()),
        key: None,
        value: None,
        problem: format!("cannot be read: {error}"),
        remedy: "name a TOML file that the daemon's user may read".into(),
    }
}

/// `valid` is what stands before the fault.
fn not_utf8(path: &Path, valid: &[u8]) -> Mistake {
    let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
    Mistake {
        origin: Origin::line(path, line),
        key: None,
        value: None,
        problem: "is not UTF-8".into(),
        remedy: "save the file in UTF-8".into(),
    }
}

/// Turns the parser's tree into the layer's, and collects what cannot be turned.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    line_starts: Vec<usize>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, text: &'a str, mistakes: &'a mut Vec<Mistake>) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, line_starts, mistakes }
    }

    /// `config` takes a name at the top for a path, and `"a[4000000000]"` for a list of that
    /// length; no section of ours is called so.
    fn root(&mut self, table: &DeTable<'_>) -> HashMap<String, Value> {
        let (bare, odd): (Vec<_>, Vec<_>) =
            table.iter().partition(|(name, _)| is_bare(name.get_ref()));
        for (name, _) in odd {
            self.mistake(
                name.span(),
                "no section has such a name",
                "remove it, or write the section's name without quotes",
            );
        }
        self.table(bare.into_iter())
    }

    fn table<'t>(
        &mut self,
        entries: impl Iterator<Item = (&'t Spanned<DeString<'t>>, &'t Spanned<DeValue<'t>>)>,
    ) -> HashMap<String, Value> {
        entries
            .filter_map(|(name, value)| {
                let value = self.value(value, name.span())?;
                Some((name.get_ref().to_string(), value))
            })
            .collect()
    }

    /// The value, told to stand at `place`; `None` if it cannot be one.
    fn value(&mut self, value: &Spanned<DeValue<'_>>, place: Range<usize>) -> Option<Value> {
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Integer(number) => ValueKind::I64(self.integer(number, value.span())?),
            // No setting is one: all that counts is that it is neither text nor a whole number.
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(_) => {
                self.mistake(value.span(), "no setting is a date", "write text in double quotes");
                return None;
            }
            DeValue::Table(table) => ValueKind::Table(self.table(table.iter())),
            DeValue::Array(entries) => ValueKind::Array(
                entries.iter().filter_map(|entry| self.value(entry, entry.span())).collect(),
            ),
        };
        let origin = format!("{}:{}", self.path.display(), self.line(place));
        Some(Value::new(Some(&origin), kind))
    }

    fn integer(&mut self, number: &DeInteger<'_>, span: Range<usize>) -> Option<i64> {
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if parsed.is_none() {
            self.mistake(span, "the number is larger than any setting", "write a smaller number");
        }
        parsed
    }

    fn syntax(&mut self, span: Range<usize>, problem: &str) {
        // The parser's own report quotes the line, which may hold a secret: only its message.
        let problem = format!("not valid TOML: {}", problem.replace('\n', "; "));
        self.mistake(
            span,
            &problem,
            "correct the line: key = value, text in double quotes, each key once in a file",
        );
    }

    fn mistake(&mut self, span: Range<usize>, problem: &str, remedy: &str) {
        let line = self.line(span.clone());
        let column = Some(self.column(line, span.start));
        self.mistakes.push(Mistake {
            origin: Origin::File { path: self.path.into(), line, column },
            key: None,
            value: None,
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    fn line(&self, span: Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start)
    }

    fn column(&self, line: usize, at: usize) -> usize {
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        self.text.get(start..at).map_or(1, |before| before.chars().count() + 1)
    }
}

fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
