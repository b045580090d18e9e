//! `wsfleetd top`: this instance and the fleet, looked at again and again.
//!
//! Everything comes over the control socket and from the kernel's files about the daemon's process;
//! each look is bounded, and a daemon that goes away is waited for on the screen.

mod look;
mod process;
mod screen;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use ratatui::{DefaultTerminal, buffer::Buffer, layout::Rect, widgets::Widget};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use self::{
    look::Look,
    screen::{Screen, Sort},
};
use super::control::Daemon;

/// Closer looks show nothing more, and cost the daemon.
const SHORTEST: Duration = Duration::from_millis(200);

/// More is no watching.
const LONGEST: Duration = Duration::from_secs(60);

/// Columns of a frame that is printed.
const PRINTED_WIDTH: u16 = 120;

/// Between the two looks that a printed frame's rates come from, unless `--interval` is shorter.
const PRINTED_PAUSE: Duration = Duration::from_secs(1);

/// How it is watched.
#[derive(Debug, Args)]
pub struct Top {
    /// Between two looks, from 200ms to 1m
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pause)]
    interval: Duration,
    /// Print one frame and end
    #[arg(long)]
    once: bool,
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match (SHORTEST..=LONGEST).contains(&pause) {
        true => Ok(pause),
        false => Err("it must be from 200ms to 1m".to_owned()),
    }
}

impl Top {
    /// Watches until told otherwise, or prints one frame.
    pub(super) async fn run(self, daemon: &Daemon, out: &mut impl Write) -> anyhow::Result<()> {
        let first = Look::at(daemon).await?;
        if self.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return self.print(first, daemon, out).await;
        }
        let screen = Screen::new(first, self.interval);
        let mut terminal = Terminal::open()?;
        self.watch(screen, daemon, &mut terminal.0).await
    }

    async fn print(self, first: Look, daemon: &Daemon, out: &mut impl Write) -> anyhow::Result<()> {
        let mut screen = Screen::new(first, self.interval);
        sleep(PRINTED_PAUSE.min(self.interval)).await;
        screen.take(Look::at(daemon).await);
        let area = Rect::new(0, 0, PRINTED_WIDTH, screen.height());
        let mut buffer = Buffer::empty(area);
        (&screen).render(area, &mut buffer);
        for y in 0..area.height {
            let line: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Whichever way it ends, the terminal is given back by its owner.
    async fn watch(
        self,
        mut screen: Screen,
        daemon: &Daemon,
        terminal: &mut DefaultTerminal,
    ) -> anyhow::Result<()> {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keys = EventStream::new();
        let [mut term, mut hangup, mut interrupt] = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
        ];
        loop {
            terminal.draw(|frame| frame.render_widget(&screen, frame.area()))?;
            tokio::select! {
                _ = ticks.tick() => screen.take(Look::at(daemon).await),
                event = keys.next() => match event.transpose()?.as_ref().map(wish) {
                    // A terminal that is gone has nobody before it.
                    None | Some(Wish::Quit) => return Ok(()),
                    Some(Wish::Sort) => screen.sort = Sort::next(screen.sort),
                    Some(Wish::Look) => ticks.reset_immediately(),
                    Some(Wish::Nothing) => {}
                },
                _ = term.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    }
}

/// What a key asks for.
enum Wish {
    Quit,
    Sort,
    Look,
    Nothing,
}

fn wish(event: &Event) -> Wish {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return Wish::Nothing;
    };
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char('s') => Wish::Sort,
        KeyCode::Char('r') => Wish::Look,
        _ => Wish::Nothing,
    }
}

/// The terminal while it is ours; a panic gives it back, too.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // It may have come half the way.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_neither_too_close_nor_too_far_apart() {
        assert_eq!(pause("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(pause("1m"), Ok(LONGEST));
        for bad in ["0s", "199ms", "61s", "often"] {
            assert!(pause(bad).is_err(), "{bad}");
        }
    }
}
