//! What the daemons say of themselves, at the target `wsfleetd::trace`.

/// One thing that happened in a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalEvent {
    /// The reader took a message out of its inbox, and so many connections took it from there.
    Deliver {
        /// Whose inbox.
        epoch: String,
        /// For whom.
        user: String,
        /// Which message.
        mid: String,
        /// Connections.
        taken: u64,
    },
    /// A connection of that instance lets a message go that it has not written: nobody has had it.
    HandOn {
        /// Whose connection.
        epoch: String,
        /// Which message.
        mid: String,
    },
    /// The instance of `old` found itself fenced, and is `new` from now on.
    Fence {
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
}

impl LocalEvent {
    /// Reads it out of a line of the log, whatever stands before it.
    pub fn parse(line: &str) -> Option<Self> {
        let (_, event) = line.split_once("trace: ")?;
        let mut words = event.split_whitespace();
        let kind = words.next()?;
        let mut value = |name: &str| {
            let (key, value) = words.next()?.split_once('=')?;
            (key == name).then(|| value.to_owned())
        };
        match kind {
            "deliver" => Some(Self::Deliver {
                epoch: value("epoch")?,
                user: value("user")?,
                mid: value("mid")?,
                taken: value("taken")?.parse().ok()?,
            }),
            "hand-on" => Some(Self::HandOn { epoch: value("epoch")?, mid: value("mid")? }),
            "fence" => Some(Self::Fence { old: value("old")?, new: value("new")? }),
            _ => None,
        }
    }
}
