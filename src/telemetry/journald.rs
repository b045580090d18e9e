//! Records into journald, without ever waiting for it.
//!
//! `tracing_journald` sends each event over a blocking socket: with journald stopped, a daemon that
//! used it directly would stand still after a few hundred records. So [`Journal`] only notes the
//! event down and queues the note; a thread feeds it to a `tracing_journald` layer of its own, and
//! that thread may wait as long as it must.

use std::{array, collections::HashMap, io, sync::Arc, time::Instant};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::{Callsite, Identifier},
    field::{Field, FieldSet, Value},
    metadata::Kind,
    span,
    subscriber::Interest,
};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use super::{
    events,
    pace::Pace,
    queue::{Queue, Sink},
    record::{FIELDS, Record, Values},
};

/// Records that may wait for journald: some seconds of a busy start, 32 MiB at their longest.
const BOUND: usize = 2048;

/// Events that find room when those have none: more than the daemon has to say while journald is
/// restarted.
const RESERVE: usize = 256;

/// What `journalctl -t` selects.
const IDENTIFIER: &str = "wsfleetd";

/// The layer the daemon logs to: notes events down and queues the notes.
pub(super) struct Journal {
    queue: Arc<Queue<Record>>,
}

impl Journal {
    pub(super) fn new(queue: Arc<Queue<Record>>) -> Self {
        Self { queue }
    }
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().replace(Values::of_span(attributes));
        }
    }

    fn on_record(&self, id: &span::Id, added: &span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(values) = span.extensions_mut().get_mut::<Values>() {
            added.record(values);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let record = Record::capture(event, &ctx);
        if record.is_event() {
            self.queue.push_important(record);
        } else {
            self.queue.push(record);
        }
    }
}

/// A subscriber of our own that writes to journald; fails when its socket is not there.
pub(super) fn connect() -> io::Result<impl Subscriber + Send> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer()?
        .with_field_prefix(None)
        .with_priority_mappings(priorities)
        .with_syslog_identifier(IDENTIFIER.to_owned());
    Ok(Registry::default().with(layer))
}

/// The queue whose thread replays records to `writer`.
pub(super) fn queue(writer: impl Subscriber + Send) -> io::Result<Arc<Queue<Record>>> {
    let replay = Replay { writer, pace: Pace::default(), places: HashMap::new() };
    Queue::start(BOUND, RESERVE, replay)
}

/// Turns records back into events.
///
/// The writer is never installed as a `Dispatch`: it would take part in deciding which call sites
/// are enabled, and every disabled `debug!` of the hot path would be evaluated for its sake.
struct Replay<W> {
    writer: W,
    pace: Pace,
    places: HashMap<Identifier, &'static Place>,
}

impl<W: Subscriber + Send> Sink<Record> for Replay<W> {
    fn write(&mut self, record: Record) -> bool {
        if !record.is_event() && !self.pace.allows(*record.origin.level(), Instant::now()) {
            return false;
        }
        let place = *self
            .places
            .entry(record.origin.callsite())
            .or_insert_with(|| Box::leak(Box::new(Place::of(record.origin))));
        place.replay(&record, &self.writer);
        true
    }

    fn report_loss(&mut self, count: u64) {
        let text = super::text::loss(count);
        self.write(Record::of_log(
            &LOSS,
            &[
                ("message", text),
                ("message_id", events::RECORDS_DROPPED.to_owned()),
                ("count", count.to_string()),
            ],
        ));
    }
}

/// A log statement of the program as the journal shall see it: its own level, target and line,
/// but [`FIELDS`] for its fields.
///
/// `tracing` wants the description of an event to live for ever. There is one for each log
/// statement, made when it first speaks, so what is leaked is bounded by the program's source.
struct Place {
    metadata: Metadata<'static>,
    fields: [Field; FIELDS.len()],
}

impl Place {
    fn of(origin: &'static Metadata<'static>) -> Self {
        let metadata = Metadata::new(
            origin.name(),
            origin.target(),
            *origin.level(),
            origin.file(),
            origin.line(),
            origin.module_path(),
            FieldSet::new(&FIELDS, Identifier(&REPLAYED)),
            Kind::EVENT,
        );
        let mut fields = metadata.fields().iter();
        #[expect(clippy::expect_used, reason = "the set was made from FIELDS, one line above")]
        let fields = array::from_fn(|_| fields.next().expect("as many fields as FIELDS"));
        Self { metadata, fields }
    }

    /// `value_set` is left out of the documentation of `tracing`, but it is how `tracing-log`
    /// replays the records of `log`, and `tracing`'s own macros expand to it.
    fn replay(&'static self, record: &Record, writer: &impl Subscriber) {
        let values: [(&Field, Option<&dyn Value>); FIELDS.len()] = array::from_fn(|index| {
            (&self.fields[index], record.value(index).map(|value| value as &dyn Value))
        });
        let values = self.metadata.fields().value_set(&values);
        writer.event(&Event::new(&self.metadata, &values));
    }
}

/// The call site all replayed events share; nobody asks it anything.
struct Replayed;

static REPLAYED: Replayed = Replayed;

impl Callsite for Replayed {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &LOSS
    }
}

/// Where the log speaks for itself.
static LOSS: Metadata<'static> = Metadata::new(
    "records dropped",
    module_path!(),
    Level::WARN,
    Some(file!()),
    Some(line!()),
    Some(module_path!()),
    FieldSet::new(&FIELDS, Identifier(&REPLAYED)),
    Kind::EVENT,
);

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fmt,
        sync::mpsc::{Receiver, SyncSender, sync_channel},
        time::Duration,
    };

    use tracing::{debug, field::Visit, info, info_span, warn};

    use super::{super::queue::Flush, *};

    /// What reached the journal's door.
    #[derive(Debug, Default)]
    struct Entry {
        level: String,
        target: String,
        line: Option<u32>,
        fields: BTreeMap<String, String>,
    }

    impl Entry {
        fn field(&self, name: &str) -> Option<&str> {
            self.fields.get(name).map(String::as_str)
        }
    }

    impl Visit for Entry {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.fields.insert(field.name().to_owned(), format!("{value:?}"));
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.fields.insert(field.name().to_owned(), value.to_owned());
        }
    }

    /// Stands where `tracing_journald` stands: sends on what it is given, and blocks when nobody
    /// takes it.
    struct Door(SyncSender<Entry>);

    impl<S: Subscriber> Layer<S> for Door {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let meta = event.metadata();
            let mut entry = Entry {
                level: meta.level().to_string(),
                target: meta.target().to_owned(),
                line: meta.line(),
                ..Entry::default()
            };
            event.record(&mut entry);
            let _ = self.0.send(entry);
        }
    }

    /// Runs `story` with our layer installed for this thread; gives what came out.
    fn logged(story: impl FnOnce()) -> Vec<Entry> {
        let (door, entries) = sync_channel(100);
        let queue = queue(Registry::default().with(Door(door))).unwrap();
        let journal = Registry::default().with(Journal::new(queue.clone()));
        tracing::subscriber::with_default(journal, story);
        assert!(queue.flush(Duration::from_secs(5)));
        entries.try_iter().collect()
    }

    #[test]
    fn facts_appear_in_the_text_and_in_fields() {
        let entries = logged(|| {
            warn!(
                message_id = events::LIMIT_REACHED,
                limit = 32,
                user.name = %"Sunil",
                "Sunil has 32 connections, as many as limits.connections_per_user allows"
            );
        });
        let entry = &entries[0];
        assert_eq!((entry.level.as_str(), entry.target.as_str()), ("WARN", module_path!()));
        assert_eq!(entry.field("message_id"), Some(events::LIMIT_REACHED));
        assert_eq!((entry.field("user.name"), entry.field("limit")), (Some("Sunil"), Some("32")));
        assert!(entry.field("message").is_some_and(|text| text.starts_with("Sunil has 32 conn")));
        assert_eq!(entry.field("conn.id"), None, "absent fields stay absent");
    }

    #[test]
    fn a_connections_span_marks_its_events_and_the_inner_value_wins() {
        let entries = logged(|| {
            let connection = info_span!("connection", conn.id = "one", user.name = "Sid");
            let _inside = connection.enter();
            connection.record("user.name", "Alok");
            info!(conn.id = "two", "hello");
        });
        assert_eq!(entries[0].field("conn.id"), Some("two"));
        assert_eq!(entries[0].field("user.name"), Some("Alok"));
    }

    #[test]
    fn details_under_other_names_end_up_in_the_text() {
        let entries = logged(|| info!(retries = 3, host = "redis-1", "connected"));
        assert_eq!(entries[0].field("message"), Some("connected retries=3 host=redis-1"));
    }

    #[test]
    fn each_statement_keeps_its_level_and_its_line() {
        let entries = logged(|| {
            for _ in 0..2 {
                info!("from one line");
                debug!("from another");
            }
        });
        let lines: Vec<_> = entries.iter().map(|e| (e.level.as_str(), e.line)).collect();
        assert_eq!(lines[0], lines[2]);
        assert_eq!(lines[1], lines[3]);
        assert_eq!((lines[0].0, lines[1].0), ("INFO", "DEBUG"));
        assert_ne!(lines[0].1, lines[1].1);
    }

    #[test]
    fn a_stopped_journal_stalls_nobody_and_its_losses_are_reported() {
        let (door, entries) = sync_channel(0);
        let queue = queue(Registry::default().with(Door(door))).unwrap();
        let journal = Registry::default().with(Journal::new(queue.clone()));
        let burst = BOUND as u64 + 500;
        let start = Instant::now();
        tracing::subscriber::with_default(journal, || (0..burst).for_each(|n| info!("record {n}")));
        assert!(start.elapsed() < Duration::from_secs(2), "logging waited for the journal");

        let (written, lost) = take_all(&entries, burst);
        assert_eq!(written + lost, burst, "each record is written or counted");
        assert!(lost >= 499, "the queue held more than its bound: {written}");
    }

    #[test]
    fn a_flood_hides_no_event() {
        let (door, entries) = sync_channel(0);
        let queue = queue(Registry::default().with(Door(door))).unwrap();
        let journal = Registry::default().with(Journal::new(queue.clone()));
        tracing::subscriber::with_default(journal, || {
            for number in 0..RESERVE {
                (0..100).for_each(|_| info!("one of many"));
                warn!(message_id = events::POSSIBLE_LOSS, count = number, "an event");
            }
        });
        let mut next = 0;
        while next < RESERVE {
            let entry = entries.recv_timeout(Duration::from_secs(5)).expect("more records");
            if entry.field("message_id") == Some(events::POSSIBLE_LOSS) {
                assert_eq!(entry.field("count"), Some(next.to_string().as_str()), "in order, each");
                next += 1;
            }
        }
    }

    /// Opens the door until `all` records are accounted for: how many came, how many were lost.
    fn take_all(entries: &Receiver<Entry>, all: u64) -> (u64, u64) {
        let (mut written, mut lost) = (0, 0);
        while written + lost < all {
            let entry = entries.recv_timeout(Duration::from_secs(5)).expect("more records");
            if entry.field("message_id") != Some(events::RECORDS_DROPPED) {
                written += 1;
                continue;
            }
            let count = entry.field("count").expect("the loss is counted");
            assert!(entry.field("message").is_some_and(|text| text.starts_with(count)));
            assert_eq!(entry.level, "WARN");
            lost += count.parse::<u64>().expect("a number");
        }
        (written, lost)
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let entries = logged(|| info!("{}", "ü".repeat(100_000)));
        assert_eq!(entries[0].field("message").map(str::len), Some(16 * 1024 + "…".len()));
    }
}
