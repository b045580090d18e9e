//! Redis's spelling of commands: arrays of bulk strings, which is all a client library sends.

use super::Command;

/// The first command in `bytes` and how many it takes; `None` while it is not all there.
///
/// # Panics
///
/// At anything else than an array of bulk strings: a test that rewrites must understand.
pub fn command(bytes: &[u8]) -> Option<(Command, usize)> {
    let (count, mut at) = header(bytes, b'*')?;
    let mut command = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, start) = header(bytes.get(at..)?, b'$')?;
        at += start;
        command.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((command, at))
}

/// Spells a command onto the end of `out`.
pub fn print(command: &Command, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for argument in command {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// `<kind><number>\r\n`: the number, and where what follows starts.
fn header(bytes: &[u8], kind: u8) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    assert_eq!(first, kind, "no command that a proxy can rewrite");
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let number = std::str::from_utf8(&bytes[1..end]).ok().and_then(|text| text.parse().ok());
    Some((number.expect("a length"), end + 2))
}

#[test]
fn commands_are_read_in_any_pieces_and_spelled_as_they_were() {
    let wire = b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n*1\r\n$4\r\nPING\r\n";
    let (first, length) = command(wire).expect("a whole command");
    assert_eq!(first, [b"GET".to_vec(), b"a\r\n".to_vec()]);
    let (second, rest) = command(&wire[length..]).expect("another");
    assert_eq!((second.len(), length + rest), (1, wire.len()));
    for cut in 0..length {
        assert!(command(&wire[..cut]).is_none(), "{cut} bytes are no command");
    }
    let mut out = Vec::new();
    print(&first, &mut out);
    print(&second, &mut out);
    assert_eq!(out, wire);
}
