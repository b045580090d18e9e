//! What happens to the word of a panic: it goes into the log like any error.
//!
//! A panic may be the last thing a process says, so the hook waits a moment for the log, and under
//! systemd says it once more on plain standard error, with the priority `<2>` (critical) that
//! `systemd` takes off such lines; that way needs neither our queue nor our thread.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::{self, PanicHookInfo},
    sync::Arc,
    time::Duration,
};

use tracing::error;

use super::{events, queue::Flush};

/// How long a panicking thread waits for its own record.
const FLUSH_AT_PANIC: Duration = Duration::from_millis(200);

/// Replaces the default hook, which would write several lines of no priority.
pub(super) fn install(log: Arc<dyn Flush>, stderr_is_the_journal: bool) {
    panic::set_hook(Box::new(move |panic| {
        let text = describe(panic);
        error!(message_id = events::PANICKED, "{text}{}", trace());
        if stderr_is_the_journal {
            let _ = writeln!(io::stderr(), "<2>{text}");
        }
        log.flush(FLUSH_AT_PANIC);
    }));
}

/// One line: where, in which thread, and what.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let what = panic.payload_as_str().unwrap_or("a value that is no text");
    format!("thread {thread} panicked at {place}: {}", what.replace('\n', " "))
}

/// The way there, if `RUST_BACKTRACE` asks for it.
fn trace() -> String {
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_panic_is_described_in_one_line() {
        static HEARD: Mutex<String> = Mutex::new(String::new());
        let before = panic::take_hook();
        panic::set_hook(Box::new(|panic| *HEARD.lock().unwrap() = describe(panic)));
        let panicked = std::thread::Builder::new()
            .name("worker".into())
            .spawn(|| panic!("left {}\nright {}", 1, 2))
            .unwrap()
            .join();
        panic::set_hook(before);
        assert!(panicked.is_err());
        let heard = HEARD.lock().unwrap();
        assert!(heard.starts_with("thread worker panicked at src/telemetry/panics.rs:"), "{heard}");
        assert!(heard.ends_with(": left 1 right 2"), "{heard}");
    }
}
