//! What a session does with what its client says: an input in, an action out.
//!
//! No socket and nothing to wait for, so that every row of the protocol's tables can be tested
//! as a value.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    ids::{ConnectionId, request_id},
    protocol::{
        classic::{self, Fault, Inbound},
        close::Close,
    },
};

/// What came from the client.
#[derive(Debug)]
pub enum Input<'a> {
    /// A text message.
    Text(&'a str),
    /// A message, of whatever kind, that came too fast.
    TooMany,
    /// A binary message.
    Binary,
    /// A ping or pong: answered below this level.
    Control,
}

/// What to do about it.
#[derive(Debug, PartialEq)]
pub enum Action<'a> {
    /// Nothing.
    Ignore,
    /// Deliver `text` to `to`.
    Deliver {
        /// The recipient's name.
        to: Cow<'a, str>,
        /// The frame.
        text: Bytes,
    },
    /// Say this to the client itself.
    Reply(String),
    /// Close the connection.
    Close(Close),
}

/// The classic protocol's session.
#[derive(Debug)]
pub struct Classic {
    connection: ConnectionId,
}

impl Classic {
    /// For the connection whose id stands in error frames.
    pub fn new(connection: ConnectionId) -> Self {
        Self { connection }
    }

    /// Decides.
    pub fn on<'a>(&self, input: Input<'a>) -> Action<'a> {
        match input {
            Input::Text(text) => match classic::parse(text) {
                Inbound::Send { to, text } => Action::Deliver { to, text },
                Inbound::Forbidden => self.fault(Fault::Forbidden),
                Inbound::Failed => self.fault(Fault::Internal),
            },
            Input::TooMany => self.fault(Fault::TooMany),
            Input::Binary => Action::Close(Close::Binary),
            Input::Control => Action::Ignore,
        }
    }

    fn fault(&self, fault: Fault) -> Action<'static> {
        Action::Reply(classic::error_frame(fault.text(), self.connection, request_id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{IdSource, Origin};

    #[test]
    fn each_input_has_its_action() {
        let (_, id) = IdSource::new(Origin::random()).issue();
        let session = Classic::new(id);
        assert_eq!(session.on(Input::Binary), Action::Close(Close::Binary));
        assert_eq!(session.on(Input::Control), Action::Ignore);
        let send = session.on(Input::Text(r#"{"action":"send","to":"Sid","message":"Hey!!"}"#));
        let text = Bytes::from_static(br#""Hey!!""#);
        assert_eq!(send, Action::Deliver { to: "Sid".into(), text });
        let Action::Reply(frame) = session.on(Input::Text("hello")) else { panic!("no reply") };
        assert!(frame.starts_with(&format!(r#"{{"message": "Forbidden", "connectionId":"{id}""#)));
        let Action::Reply(frame) = session.on(Input::Text(r#"{"action":"send"}"#)) else {
            panic!("no reply")
        };
        assert!(frame.starts_with(r#"{"message": "Internal server error", "#), "{frame}");
        let Action::Reply(frame) = session.on(Input::TooMany) else { panic!("no reply") };
        let ids = format!(r#""connectionId":"{id}", "requestId":""#);
        assert!(frame.starts_with(&format!(r#"{{"message": "Too Many Requests", {ids}"#)));
    }
}
