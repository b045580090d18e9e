//! Durations such as `"25s"`, each with its range, and `"off"` where there may be none.

use std::time::Duration;

use humantime::{format_duration, parse_duration};

use super::Form;
use crate::config::given::{Given, Reading, refuse};

/// A duration from the first to the second, both included.
pub struct Span(pub Duration, pub Duration);

/// A [`Span`], or `"off"`.
pub struct SpanOrOff(pub Span);

const OFF: &str = "off";

impl Form<Duration> for Span {
    fn read(&self, given: Given<'_>) -> Reading<Duration> {
        match parse_duration(given.text()?.trim()) {
            Ok(span) if (self.0..=self.1).contains(&span) => Ok(span),
            Ok(_) => refuse("is out of range"),
            Err(error) => refuse(format!("is not a duration: {error}")),
        }
    }

    fn print(&self, value: &Duration) -> String {
        format!("\"{}\"", format_duration(*value))
    }

    fn accepts(&self) -> String {
        format!(
            "a duration such as \"25s\", \"1.5s\" or \"1h 30m\", from {} to {}",
            format_duration(self.0),
            format_duration(self.1)
        )
    }
}

impl Form<Option<Duration>> for SpanOrOff {
    fn read(&self, given: Given<'_>) -> Reading<Option<Duration>> {
        if given.text()?.trim() == OFF {
            return Ok(None);
        }
        self.0.read(given).map(Some)
    }

    fn print(&self, value: &Option<Duration>) -> String {
        match value {
            Some(span) => self.0.print(span),
            None => format!("\"{OFF}\""),
        }
    }

    fn accepts(&self) -> String {
        format!("\"{OFF}\", or {}", self.0.accepts())
    }
}
