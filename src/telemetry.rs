//! What the daemon says of itself: one log, in journald under systemd and as text elsewhere.
//!
//! Whatever the target, a record goes through a bounded queue to a thread of its own, because a
//! log that stands still (journald stopped, a full pipe) must never make the daemon stand still.
//! What does not fit is counted, and the count is reported when the log takes records again.
//! Facts stand in the message text, which is all that plain `journalctl` shows, and again in
//! dotted fields for machines.

pub mod events;
mod journald;
mod pace;
mod panics;
mod queue;
mod record;
mod text;

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, IsTerminal},
    iter,
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, layer::Layered, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

use crate::config::settings::{LogTarget, Telemetry};
use queue::Flush;

/// How long the last records may take on their way out when the daemon ends.
const FLUSH_AT_EXIT: Duration = Duration::from_secs(1);

/// Why the log cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "telemetry.level = {value:?} is no filter: {mistake}; write error, warn, info, debug or \
         trace, or a list such as info,wsfleetd::relay=debug"
    )]
    Level { value: String, mistake: String },
    #[error(
        "telemetry.log = \"journald\", but journald cannot be reached at \
         /run/systemd/journal/socket: {0}; start it, or set telemetry.log to \"text\" or \"json\""
    )]
    Journald(#[source] io::Error),
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[source] io::Error),
    #[error("a log is already set up in this process")]
    Twice,
    #[error("the log is gone: {0}")]
    Gone(#[from] reload::Error),
}

/// Keeps the log alive; the last records are written, within a second, when it is dropped.
#[must_use = "the log is flushed when the guard is dropped"]
pub struct Guard {
    levels: Levels,
    flush: Arc<dyn Flush>,
}

impl Guard {
    /// What changes the level filter while the daemon runs.
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }
}

/// The level filter of a running process; clones share it.
#[derive(Clone)]
pub struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    /// As it was written; a std lock, held to read or replace it.
    written: Arc<Mutex<String>>,
}

impl Levels {
    /// The filter in effect, as it was written.
    pub fn get(&self) -> String {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter, as a reload does; a bad one changes nothing.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        let filter = parse_level(level)?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter)?;
        level.clone_into(&mut written);
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush.flush(FLUSH_AT_EXIT);
    }
}

/// Whether `level` would be accepted, for those who only check a configuration.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    parse_level(level).map(drop)
}

/// Sets up the process's one log and the panic hook. Call it once, before anything is logged.
pub fn init(settings: &Telemetry) -> Result<Guard, TelemetryError> {
    let (filter, handle) = reload::Layer::new(parse_level(&settings.level)?);
    let output = Output::open(settings.log)?;
    let subscriber = tracing_subscriber::registry().with(filter).with(output.layer);
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    panics::install(output.flush.clone(), is_under_journald());
    let written = Arc::new(Mutex::new(settings.level.clone()));
    Ok(Guard { levels: Levels { filter: handle, written }, flush: output.flush })
}

/// An error and its causes on one line, for types whose own text leaves the causes out.
pub fn causes(error: &dyn Error) -> String {
    let chain = iter::successors(Some(error), |&error| error.source());
    let mut text = String::new();
    for cause in chain.map(ToString::to_string) {
        // Some repeat their cause in their own text.
        if !text.ends_with(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{colon}{cause}");
        }
    }
    text
}

/// The registry below the layer that writes.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// A layer that writes records, and the way to wait for them.
struct Output {
    layer: Box<dyn Layer<Filtered> + Send + Sync>,
    flush: Arc<dyn Flush>,
}

impl Output {
    fn open(target: LogTarget) -> Result<Self, TelemetryError> {
        match target {
            LogTarget::Journald => Self::journald(),
            LogTarget::Json => Self::json(),
            LogTarget::Text => Self::text(),
            // Without its socket the journal still gets standard error.
            LogTarget::Auto if is_under_journald() => Self::journald().or_else(|e| match e {
                TelemetryError::Journald(_) => Self::text(),
                other => Err(other),
            }),
            LogTarget::Auto => Self::text(),
        }
    }

    fn journald() -> Result<Self, TelemetryError> {
        let writer = journald::connect().map_err(TelemetryError::Journald)?;
        let queue = journald::queue(writer).map_err(TelemetryError::Thread)?;
        Ok(Self { layer: Box::new(journald::Journal::new(queue.clone())), flush: queue })
    }

    fn text() -> Result<Self, TelemetryError> {
        let queue = text::queue(io::stderr(), text::readable_loss);
        let queue = queue.map_err(TelemetryError::Thread)?;
        Ok(Self { layer: Box::new(text::readable(queue.clone(), colours())), flush: queue })
    }

    fn json() -> Result<Self, TelemetryError> {
        let queue = text::queue(io::stderr(), text::json_loss).map_err(TelemetryError::Thread)?;
        Ok(Self { layer: Box::new(text::json(queue.clone())), flush: queue })
    }
}

fn parse_level(level: &str) -> Result<EnvFilter, TelemetryError> {
    let refuse = |mistake| TelemetryError::Level { value: level.to_owned(), mistake };
    match misspelt_level(level) {
        Some(word) => Err(refuse(format!("{word:?} is no level"))),
        None => EnvFilter::builder().parse(level).map_err(|e| refuse(e.to_string())),
    }
}

/// A word that stands alone must be a level: `EnvFilter` would take `inof` for a module's name,
/// log that module alone, and so log nothing.
fn misspelt_level(filter: &str) -> Option<&str> {
    filter
        .split(',')
        .map(str::trim)
        .filter(|part| !part.contains(['=', '[']))
        .find(|word| word.is_empty() || word.parse::<LevelFilter>().is_err())
}

/// Colours are for people's eyes: a terminal, and nobody who asked for none (no-color.org).
fn colours() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard error is the stream systemd connected to the journal.
pub fn is_under_journald() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    stderr_identity().is_ok_and(|identity| identity == stream)
}

/// Standard error's device and inode, as `JOURNAL_STREAM` spells them.
fn stderr_identity() -> io::Result<String> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_level_is_refused_with_its_key_value_and_remedy() {
        for bad in ["inof", "", "info,", "info,wsfleetd::relay=loud", "wsfleetd"] {
            let error = parse_level(bad).expect_err("no such level").to_string();
            assert!(
                error.starts_with(&format!("telemetry.level = {bad:?} is no filter")),
                "{error}"
            );
            assert!(error.contains("write error, warn, info, debug or trace"), "{error}");
        }
    }

    #[test]
    fn causes_are_told_once_each_from_the_outside_in() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Silent(#[source] Repeating);
        #[derive(Debug, thiserror::Error)]
        #[error("socket: {0}")]
        struct Repeating(#[source] io::Error);

        let error = Silent(Repeating(io::Error::other("refused")));
        assert_eq!(causes(&error), "cannot connect: socket: refused");
    }

    #[test]
    fn levels_and_filters_are_understood() {
        for level in ["error", "warn", "info", "debug", "trace", "info,wsfleetd::relay=debug"] {
            assert!(parse_level(level).is_ok(), "{level}");
        }
    }
}
