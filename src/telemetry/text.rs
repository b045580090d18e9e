//! The log as lines on standard error: readable for people, or JSON for machines.
//!
//! A readable line is time, level, module, text, then the fields the text does not already say.
//! `message_id` is left out of it: 32 hex digits help nobody at a terminal.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use serde_json::json;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{FieldFn, Writer, debug_fn},
        time::FormatTime,
    },
    registry::LookupSpan,
};

use super::{
    events,
    queue::{Queue, Sink},
};
use crate::clock;

/// Lines that may wait for whoever reads standard error.
const BOUND: usize = 2048;

/// Longest line, in bytes: with [`BOUND`] it bounds the log's memory.
const MAX_LINE: usize = 16 * 1024;

/// A layer of readable lines.
pub(super) fn readable<S>(queue: Arc<Queue<Vec<u8>>>, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .fmt_fields(span_fields())
        .event_format(Readable { time: WallTime })
        .with_writer(Lines(queue))
}

/// A layer of one JSON object a line.
pub(super) fn json<S>(queue: Arc<Queue<Vec<u8>>>) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_timer(WallTime)
        .with_writer(Lines(queue))
}

/// The queue whose thread writes lines to `out`; `loss` words what was dropped.
pub(super) fn queue(
    out: impl Write + Send + 'static,
    loss: fn(u64) -> String,
) -> io::Result<Arc<Queue<Vec<u8>>>> {
    Queue::start(BOUND, 0, Output { out, loss })
}

/// The sentence about dropped records, for every target.
pub(super) fn loss(count: u64) -> String {
    format!("{count} log records were dropped: the log did not take them as fast as they came")
}

/// [`loss`] as a readable line.
pub(super) fn readable_loss(count: u64) -> String {
    format!("{} {} telemetry: {}\n", clock::rfc3339(clock::now()), level(Level::WARN), loss(count))
}

/// [`loss`] as a JSON line.
pub(super) fn json_loss(count: u64) -> String {
    let line = json!({
        "timestamp": clock::rfc3339(clock::now()).to_string(),
        "level": "WARN",
        "message": loss(count),
        "message_id": events::RECORDS_DROPPED,
        "count": count,
        "target": module_path!(),
    });
    format!("{line}\n")
}

struct Output<W> {
    out: W,
    loss: fn(u64) -> String,
}

/// Standard error that is closed or full has nobody left to tell.
impl<W: Write + Send + 'static> Sink<Vec<u8>> for Output<W> {
    fn write(&mut self, line: Vec<u8>) -> bool {
        let _ = self.out.write_all(&line);
        true
    }

    fn report_loss(&mut self, count: u64) {
        let _ = self.out.write_all((self.loss)(count).as_bytes());
    }
}

/// Hands each line, which the layer writes in one piece, to the queue.
struct Lines(Arc<Queue<Vec<u8>>>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Queue<Vec<u8>>);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(shortened(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shortened(line: &[u8]) -> Vec<u8> {
    if line.len() <= MAX_LINE {
        return line.to_vec();
    }
    let mut kept = String::from_utf8_lossy(&line[..MAX_LINE]).into_owned();
    kept.push_str("…\n");
    kept.into_bytes()
}

struct WallTime;

impl FormatTime for WallTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{}", clock::rfc3339(clock::now()))
    }
}

/// Time, level, module, text and fields, then the fields of the spans from the inside out.
struct Readable<T> {
    time: T,
}

impl<S, N, T> FormatEvent<S, N> for Readable<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let origin = event.metadata();
        self.time.format_time(&mut out)?;
        let mut said = Said::default();
        event.record(&mut said);
        let level = paint(&out, *origin.level());
        write!(out, " {level} {}: {}{}", module(origin.target()), said.text, said.rest())?;
        for span in ctx.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(out, "{fields}")?;
            }
        }
        writeln!(out)
    }
}

/// What an event says: its text, and its other fields by name.
#[derive(Default)]
struct Said {
    text: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    /// ` name=value` for each field whose value the text lacks.
    fn rest(&self) -> String {
        let untold = self.fields.iter().filter(|(_, value)| !self.text.contains(value.as_str()));
        untold.map(|(name, value)| format!(" {name}={value}")).collect()
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            "message_id" => {}
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// A span's fields, as ` name=value`.
fn span_fields() -> FieldFn<impl Fn(&mut Writer<'_>, &Field, &dyn fmt::Debug) -> fmt::Result + Clone>
{
    debug_fn(|out, field, value| write!(out, " {}={value:?}", field.name()))
}

/// `relay` for `wsfleetd::relay`; a library's target as it is.
fn module(target: &str) -> &str {
    target.strip_prefix("wsfleetd::").unwrap_or(target)
}

/// All levels are five characters wide, so that the texts stand in a column.
fn level(level: Level) -> String {
    format!("{level:<5}")
}

fn paint(out: &Writer<'_>, of: Level) -> String {
    let colour = match of {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    if out.has_ansi_escapes() {
        format!("\u{1b}[{colour}m{}\u{1b}[0m", level(of))
    } else {
        level(of)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Mutex,
        time::{Duration, SystemTime},
    };

    use tracing::{error, info, info_span};
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    use super::{super::queue::Flush, *};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    struct Noon;

    impl FormatTime for Noon {
        fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
            write!(out, "{}", clock::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_hours(12)))
        }
    }

    fn shown(colours: bool, story: impl FnOnce()) -> String {
        let screen = Screen::default();
        let queue = queue(screen.clone(), readable_loss).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(colours)
            .fmt_fields(span_fields())
            .event_format(Readable { time: Noon })
            .with_writer(Lines(queue.clone()));
        tracing::subscriber::with_default(Registry::default().with(layer), story);
        assert!(queue.flush(Duration::from_secs(5)));
        screen.text()
    }

    #[test]
    fn a_line_reads_time_level_module_text_fields() {
        let text = shown(false, || {
            let id = "WDGT8fY4joECJrQ=";
            let _connection = info_span!("connection", conn.id = %id).entered();
            info!(target: "wsfleetd::fleet", message_id = events::READY, count = 2, "a fleet of 2");
            error!(target: "tokio_postgres", code = "08006", "connection reset");
        });
        let expected = "\
1970-01-01T12:00:00.000Z INFO  fleet: a fleet of 2 conn.id=WDGT8fY4joECJrQ=
1970-01-01T12:00:00.000Z ERROR tokio_postgres: connection reset code=08006 conn.id=WDGT8fY4joECJrQ=
";
        assert_eq!(text, expected);
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let story = || info!(target: "wsfleetd::hub", "hello");
        assert!(!shown(false, story).contains('\u{1b}'));
        assert!(shown(true, story).contains("\u{1b}[32mINFO \u{1b}[0m hub: hello\n"));
    }

    #[test]
    fn a_json_line_has_its_facts_at_the_top_level() {
        let screen = Screen::default();
        let queue = queue(screen.clone(), json_loss).unwrap();
        let subscriber = Registry::default().with(json(queue.clone()));
        tracing::subscriber::with_default(subscriber, || {
            info!(message_id = events::READY, count = 2, "in a fleet of 2");
        });
        assert!(queue.flush(Duration::from_secs(5)));
        let line: serde_json::Value = serde_json::from_str(&screen.text()).unwrap();
        assert_eq!(line["message"], "in a fleet of 2");
        assert_eq!((&line["level"], &line["count"]), (&json!("INFO"), &json!(2)));
        assert_eq!(line["message_id"], events::READY);
    }

    #[test]
    fn a_loss_is_told_in_the_form_of_the_log() {
        assert!(readable_loss(7).contains(" WARN  telemetry: 7 log records were dropped"));
        let line: serde_json::Value = serde_json::from_str(&json_loss(7)).unwrap();
        assert_eq!((&line["count"], &line["level"]), (&json!(7), &json!("WARN")));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let text = shown(false, || info!("{}", "ü".repeat(100_000)));
        assert!(text.len() < MAX_LINE + 16 && text.ends_with("…\n"));
    }
}
