//! One log record that owns all it says, so that it can wait in a queue.
//!
//! The journal's field names are a promise to the operator, so they are a list: [`FIELDS`]. What
//! an event or its spans carry under one of these names becomes a field of the record; anything
//! else, such as the details of a library's own events, is appended to the text.

use std::fmt::{self, Write};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{layer::Context, registry::LookupSpan};

/// The fields the journal may see, by the names call sites use: `conn.id` appears as `CONN_ID`.
/// Names without a dot are the journal's own or a plain figure.
pub(super) const FIELDS: [&str; 25] = [
    MESSAGE,
    MESSAGE_ID,
    "conn.id",
    "user.name",
    "instance.id",
    "instance.zone",
    "asg.name",
    "peer.id",
    "peer.ip",
    "peer.port",
    "listen.addr",
    "epoch",
    "partition",
    "message.id",
    "request.id",
    "http.status",
    "close.code",
    "config.key",
    "task.name",
    "error",
    "count",
    "limit",
    "bytes",
    "duration_ms",
    "code.func",
];

const MESSAGE: &str = "message";
const MESSAGE_ID: &str = "message_id";

/// Longest text of a record, in bytes: with the queue's bound it bounds the log's memory.
const MAX_TEXT: usize = 16 * 1024;

/// An event, ready to travel.
#[derive(Debug)]
pub(super) struct Record {
    /// Level, target and place in the source.
    pub(super) origin: &'static Metadata<'static>,
    values: Values,
}

impl Record {
    /// Takes down `event` and the fields of the spans it happened in; inner ones win.
    pub(super) fn capture<S>(event: &Event<'_>, spans: &Context<'_, S>) -> Self
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut values = Values::default();
        for span in spans.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<Values>() {
                values.overlay(outer);
            }
        }
        event.record(&mut values);
        Self { origin: event.metadata(), values: values.finished() }
    }

    /// A record the log itself makes, without an event.
    pub(super) fn of_log(origin: &'static Metadata<'static>, fields: &[(&str, String)]) -> Self {
        let mut values = Values::default();
        fields.iter().for_each(|(name, value)| values.put(name, value.clone()));
        Self { origin, values: values.finished() }
    }

    /// Whether an operator acts on it: it has a MESSAGE_ID.
    pub(super) fn is_event(&self) -> bool {
        let id = FIELDS.iter().position(|name| *name == MESSAGE_ID);
        id.and_then(|index| self.value(index)).is_some_and(|id| !id.is_empty())
    }

    /// What stands under `FIELDS[index]`.
    pub(super) fn value(&self, index: usize) -> Option<&String> {
        self.values.known.iter().find(|(at, _)| *at == index).map(|(_, value)| value)
    }
}

/// Values under known names, and the text of all others.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    known: Vec<(usize, String)>,
    others: String,
}

impl Values {
    /// The fields of a span as it opens.
    pub(super) fn of_span(attributes: &span::Attributes<'_>) -> Self {
        let mut values = Self::default();
        attributes.record(&mut values);
        values
    }

    fn put(&mut self, name: &str, value: String) {
        match FIELDS.iter().position(|field| *field == name) {
            Some(index) => self.set(index, value),
            // Writing to a string does not fail.
            None => drop(write!(self.others, " {name}={value}")),
        }
    }

    fn set(&mut self, index: usize, value: String) {
        match self.known.iter_mut().find(|(at, _)| *at == index) {
            Some((_, old)) => *old = value,
            None => self.known.push((index, value)),
        }
    }

    fn overlay(&mut self, inner: &Self) {
        inner.known.iter().for_each(|(index, value)| self.set(*index, value.clone()));
        self.others.push_str(&inner.others);
    }

    /// With the unnamed facts in the text and the text within its bound.
    fn finished(mut self) -> Self {
        if self.known.iter().all(|(index, _)| FIELDS[*index] != MESSAGE) {
            self.put(MESSAGE, String::new());
        }
        for (index, value) in &mut self.known {
            if FIELDS[*index] == MESSAGE {
                value.push_str(&self.others);
            }
            shorten(value);
        }
        self.others = String::new();
        self
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}

fn shorten(value: &mut String) {
    if value.len() > MAX_TEXT {
        value.truncate(value.floor_char_boundary(MAX_TEXT));
        value.push('…');
    }
}
