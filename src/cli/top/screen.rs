//! What is shown, on a terminal or printed.

use std::time::Duration;

use humantime::format_duration;
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table, Widget},
};

use super::look::{Look, Rates, SLOW};
use crate::{
    cli::table::printable,
    control::{PeerItem, State, Status, client::CallError},
};

/// What the members are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Name,
    Connections,
    Heartbeat,
}

impl Sort {
    /// The next column.
    pub fn next(self) -> Self {
        match self {
            Self::Name => Self::Connections,
            Self::Connections => Self::Heartbeat,
            Self::Heartbeat => Self::Name,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Connections => "connections",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// The last look and how it differs from the one before.
pub struct Screen {
    look: Look,
    rates: Rates,
    interval: Duration,
    /// Why the last look is old.
    trouble: Option<String>,
    pub sort: Sort,
}

/// Lines above the members.
const HEAD: u16 = 6;

impl Screen {
    /// Of a first look.
    pub fn new(look: Look, interval: Duration) -> Self {
        Self { look, rates: Rates::default(), interval, trouble: None, sort: Sort::Name }
    }

    /// Shows the next look; if there is none, the last one and why.
    pub fn take(&mut self, look: Result<Look, CallError>) {
        match look {
            Ok(look) => {
                self.rates = look.since(&self.look);
                (self.look, self.trouble) = (look, None);
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// Lines that all of it takes.
    pub fn height(&self) -> u16 {
        let rows = self.look.peers.len() + self.slow_rows();
        HEAD + u16::try_from(rows).unwrap_or(u16::MAX - HEAD - 4) + 1 + self.slow_title()
    }

    fn slow_rows(&self) -> usize {
        self.look.slow.len().min(SLOW)
    }

    /// A blank line and the header, where there is somebody.
    fn slow_title(&self) -> u16 {
        if self.look.slow.is_empty() { 0 } else { 2 }
    }

    fn head(&self) -> Vec<Line<'_>> {
        let (status, rates) = (&self.look.status, &self.rates);
        let (state, color) = match status.state {
            State::Serving => ("serving", Color::Green),
            State::Draining => ("draining", Color::Yellow),
        };
        let uptime = format_duration(Duration::from_secs(status.uptime_s));
        let name = format!("{}: wsfleetd {}, ", printable(&status.instance), status.version);
        let load = &status.connections;
        let percent = load.open * 100 / load.max.max(1);
        let cpu = rates.cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1} %"));
        let memory = self.look.usage.map_or_else(|| "-".to_owned(), |usage| mib(usage.memory));
        let messages = &status.messages;
        let lost = status.fleet.as_ref().map_or(0, |fleet| fleet.possible_loss);
        vec![
            Line::from(vec![
                Span::styled(name, Style::new().add_modifier(Modifier::BOLD)),
                Span::styled(state, Style::new().fg(color)),
                Span::raw(format!(", up {uptime}; every {}", format_duration(self.interval))),
            ]),
            line(
                "connections",
                format!(
                    "{} of {} ({percent} %)   CPU {cpu}   memory {memory}   tasks {}",
                    load.open, load.max, status.tasks
                ),
            ),
            line(
                "messages/s",
                format!(
                    "{:.1} here   {:.1} to peers   {:.1} from peers   {:.1} looked up",
                    rates.here, rates.to_peers, rates.from_peers, rates.looked_up
                ),
            ),
            line(
                "since start",
                format!(
                    "{} held   {} dropped   {lost} possibly lost",
                    messages.held, messages.dropped
                ),
            ),
            line("fleet", fleet(status)),
            self.health(),
        ]
    }

    fn health(&self) -> Line<'_> {
        let bad = |text: String| Line::styled(format!("NOT WELL     {text}"), Color::Red);
        if let Some(trouble) = &self.trouble {
            return bad(printable(trouble));
        }
        let failing = &self.look.status.failing;
        if failing.is_empty() {
            return line("health", "all is well".to_owned());
        }
        let all: Vec<_> = failing.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        bad(printable(&all.join("; ")))
    }

    fn members(&self) -> Table<'_> {
        let mut peers: Vec<_> = self.look.peers.iter().collect();
        // Those of whom it is not known come first: they are what one looks for.
        match self.sort {
            Sort::Name => {}
            Sort::Connections => peers.sort_by_key(|peer| {
                std::cmp::Reverse(peer.connections.map_or(u64::MAX, u64::from))
            }),
            Sort::Heartbeat => peers
                .sort_by_key(|peer| std::cmp::Reverse(peer.heartbeat_age_ms.unwrap_or(u64::MAX))),
        }
        let widths = [
            Constraint::Fill(2),
            Constraint::Length(12),
            Constraint::Length(12),
            Constraint::Length(10),
            Constraint::Length(7),
            Constraint::Fill(1),
            Constraint::Length(10),
        ];
        let title = ["MEMBER", "EPOCH", "CONNECTIONS", "HEARTBEAT", "LEASE", "ZONE", "VERSION"];
        Table::new(peers.into_iter().map(member), widths).header(header(title))
    }

    fn slow(&self) -> Table<'_> {
        let rows = self.look.slow.iter().take(SLOW).map(|one| {
            let waiting = format!("{} B", one.waiting_bytes);
            Row::new([
                printable(&one.user),
                one.client.to_string(),
                one.connected_at.clone(),
                waiting,
            ])
        });
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(40),
            Constraint::Length(26),
            Constraint::Length(12),
        ];
        Table::new(rows, widths).header(header(["SLOW CLIENT", "ADDRESS", "SINCE", "WAITING"]))
    }
}

impl Widget for &Screen {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let slow = match self.slow_title() {
            0 => 0,
            title => title + self.slow_rows() as u16,
        };
        let [head, members, below] = Layout::vertical([
            Constraint::Length(HEAD),
            Constraint::Fill(1),
            Constraint::Length(slow),
        ])
        .areas(area);
        Paragraph::new(self.head()).render(head, buffer);
        if !self.look.peers.is_empty() {
            self.members().render(members, buffer);
            let hint = format!("q quit  s sort ({})  r now ", self.sort.name());
            let width = hint.len() as u16;
            if area.width > width + 60 && area.height > self.height() {
                buffer.set_string(area.right() - width, area.bottom() - 1, hint, Color::DarkGray);
            }
        }
        if slow > 0 {
            let rows = Rect { y: below.y + 1, height: below.height.saturating_sub(1), ..below };
            self.slow().render(rows, buffer);
        }
    }
}

fn line(name: &str, value: String) -> Line<'static> {
    Line::from(format!("{name:<13}{value}"))
}

fn header<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::REVERSED))
}

fn fleet(status: &Status) -> String {
    let Some(fleet) = &status.fleet else { return "alone, without Redis".to_owned() };
    let lease = if fleet.lease { "holds its lease" } else { "has NO lease" };
    format!("one of {}, {lease}, epoch {}", fleet.members, fleet.epoch)
}

fn member(peer: &PeerItem) -> Row<'static> {
    let unknown = || "-".to_owned();
    let age = peer.heartbeat_age_ms.map(|age| format!("{:.1} s", age as f64 / 1e3));
    let lease = match peer.lease {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "-",
    };
    let mark = if peer.own { " (here)" } else { "" };
    Row::new([
        format!("{}{mark}", printable(&peer.instance)),
        peer.epoch.clone(),
        peer.connections.map_or_else(unknown, |count| count.to_string()),
        age.unwrap_or_else(unknown),
        lease.to_owned(),
        peer.zone.as_deref().map_or_else(unknown, printable),
        printable(&peer.version),
    ])
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cli::top::look::tests::look;

    fn shown(screen: &Screen) -> Vec<String> {
        let area = Rect::new(0, 0, 120, screen.height());
        let mut buffer = Buffer::empty(area);
        screen.render(area, &mut buffer);
        let row = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..area.height).map(row).collect()
    }

    fn members(screen: &Screen) -> Vec<String> {
        let names = shown(screen).into_iter().skip(usize::from(HEAD) + 1);
        names.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_frame_says_how_the_instance_is_and_who_is_in_the_fleet() {
        let start = Instant::now();
        let mut screen = Screen::new(look(start, 0, 0), Duration::from_secs(2));
        screen.take(Ok(look(start, 2, 25)));
        let text = shown(&screen).join("\n");
        assert!(text.contains("i-1: wsfleetd 0.1.0, serving, up 1m 42s"), "{text}");
        assert!(text.contains("12.5 here   0.0 to peers   10.0 from peers"), "{text}");
        assert!(text.contains("all is well"), "{text}");
        assert!(text.contains("i-1 (here)") && text.contains("9.0 s"), "{text}");
        screen.take(Err(CallError::Silent));
        let text = shown(&screen).join("\n");
        assert!(text.contains("NOT WELL     the daemon does not answer"), "{text}");
    }

    #[test]
    fn members_are_sorted_and_the_unknown_come_first() {
        let mut screen = Screen::new(look(Instant::now(), 0, 0), Duration::from_secs(2));
        assert_eq!(members(&screen), ["i-1", "i-2", "i-3"]);
        screen.sort = screen.sort.next();
        assert_eq!(members(&screen), ["i-2", "i-3", "i-1"]);
        screen.sort = screen.sort.next();
        assert_eq!(members(&screen), ["i-2", "i-1", "i-3"]);
        assert_eq!(screen.sort.next(), Sort::Name);
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        let screen = Screen::new(look(Instant::now(), 0, 0), Duration::from_secs(2));
        for (width, height) in [(1, 1), (20, 3), (200, 4), (0, 0)] {
            let area = Rect::new(0, 0, width, height);
            (&screen).render(area, &mut Buffer::empty(area));
        }
    }
}
