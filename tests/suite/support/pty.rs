//! A terminal of the test's own, with a program before it.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

/// How long a program may take to show or to do something.
const PATIENCE: Duration = Duration::from_secs(20);

/// 120 columns, 40 lines.
pub struct Pty {
    /// The terminal's own side.
    keyboard: File,
    /// The program's side, kept open: it is looked at when the program is gone.
    line: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<String>>,
    program: Child,
}

impl Pty {
    /// Runs `command` before it.
    pub fn run(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let own = openpt(flags).expect("a terminal");
        grantpt(&own).expect("its other side");
        unlockpt(&own).expect("its other side");
        let name = ptsname(&own, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = open(&name, flags, Mode::empty()).expect("its other side");
        tcsetwinsize(&line, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("its size");
        let before = tcgetattr(&line).expect("its state");
        let side = || File::from(line.try_clone().expect("another descriptor"));
        command.stdin(side()).stdout(side()).stderr(side()).env("TERM", "xterm");
        let program = command.spawn().expect("the program runs");
        let (shown, keyboard) = (Arc::new(Mutex::default()), File::from(own));
        listen(keyboard.try_clone().expect("another descriptor"), Arc::clone(&shown));
        Self { keyboard, line, before, shown, program }
    }

    /// Presses keys.
    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("keys are taken");
    }

    /// Waits until the program has written `words`; blanks do not count, for a program may move
    /// the cursor instead.
    pub fn shows(&self, words: &str) {
        self.shows_beyond(0, words);
    }

    /// The same behind the first `bytes` of what it has written.
    pub fn shows_beyond(&self, bytes: usize, words: &str) {
        let (start, words) = (Instant::now(), plain(words));
        while !plain(&self.shown()[bytes..]).contains(&words) {
            assert!(start.elapsed() < PATIENCE, "no {words:?} in {:?}", plain(&self.shown()));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether keys are taken one by one and not shown.
    pub fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.line).expect("its state");
        now.local_modes != self.before.local_modes
    }

    /// Everything as it was written.
    pub fn shown(&self) -> String {
        self.shown.lock().expect("what is shown").clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.id()
    }

    /// Waits for the end of the program, which must leave the terminal as it was.
    pub fn ends(&mut self) -> ExitStatus {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.program.try_wait().expect("a child's state") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        };
        let now = tcgetattr(&self.line).expect("its state");
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
        status
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn listen(mut own: File, shown: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // An error: nobody has the other side open any more.
        while let Ok(count @ 1..) = own.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            shown.lock().expect("what is shown").push_str(&text);
        }
    });
}

/// Without blanks and escape sequences: ESC [ … letter.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let mut shown = parts.fold(first, |mut plain, part| {
        let rest = part.find(|c: char| c.is_ascii_alphabetic()).map(|end| &part[end + 1..]);
        plain.push_str(rest.unwrap_or_default());
        plain
    });
    shown.retain(|c| !c.is_whitespace());
    shown
}
