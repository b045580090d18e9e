//! Re-prints JSON text as Python's `json.dumps(json.loads(text))` would, byte for byte.
//!
//! The original application's Lambda did exactly that to every message, so its clients compare
//! against those bytes: ASCII only, `", "` and `": "` between parts, Python's own floats, a
//! repeated key in its first place with its last value. The text is walked once and printed as
//! it is read; nothing is built in between.

mod float;

use std::collections::HashMap;

/// Nesting beyond this makes CPython raise `RecursionError`; ours stops a little earlier, for
/// the sake of a small stack.
pub const MAX_DEPTH: usize = 512;

/// CPython refuses to read a longer integer (`sys.get_int_max_str_digits`).
pub const MAX_INT_DIGITS: usize = 4300;

/// Bytes looked at together.
const LANE: usize = 16;

/// Objects with more keys than this look repeated ones up in a map instead of in a row.
const LINEAR_KEYS: usize = 8;

/// Why a text cannot be printed; in the original each of these was a failed Lambda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// An integer of more than [`MAX_INT_DIGITS`] digits.
    #[error("an integer of more than {MAX_INT_DIGITS} digits")]
    IntTooLong,
    /// Not JSON at all: the caller should have validated it.
    #[error("not JSON")]
    Malformed,
}

/// Prints `json`, which must be one valid JSON value, onto the end of `out`.
pub fn reprint(json: &str, out: &mut Vec<u8>) -> Result<(), PrintError> {
    let mut printer = Printer { text: json.as_bytes(), at: 0, out };
    printer.value(0)?;
    printer.skip_space();
    if printer.at == printer.text.len() { Ok(()) } else { Err(PrintError::Malformed) }
}

struct Printer<'a> {
    text: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
}

impl Printer<'_> {
    fn value(&mut self, depth: usize) -> Result<(), PrintError> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), PrintError> {
        self.enter(depth)?;
        self.out.push(b'[');
        self.skip_space();
        if self.peek()? != b']' {
            loop {
                self.value(depth + 1)?;
                self.skip_space();
                if self.peek()? != b',' {
                    break;
                }
                self.at += 1;
                self.out.extend_from_slice(b", ");
            }
        }
        self.leave(b']')
    }

    fn object(&mut self, depth: usize) -> Result<(), PrintError> {
        self.enter(depth)?;
        self.out.push(b'{');
        let inside = self.out.len();
        let mut members = Members::default();
        self.skip_space();
        if self.peek()? != b'}' {
            loop {
                let member = self.member(depth)?;
                members.add(member, self.out);
                self.skip_space();
                if self.peek()? != b',' {
                    break;
                }
                self.at += 1;
                self.out.extend_from_slice(b", ");
            }
        }
        members.settle(inside, self.out);
        self.leave(b'}')
    }

    fn member(&mut self, depth: usize) -> Result<Member, PrintError> {
        self.skip_space();
        let start = self.out.len();
        self.string()?;
        let key_end = self.out.len();
        self.skip_space();
        if self.peek()? != b':' {
            return Err(PrintError::Malformed);
        }
        self.at += 1;
        self.out.extend_from_slice(b": ");
        self.value(depth + 1)?;
        Ok(Member { start, key_end, end: self.out.len() })
    }

    fn enter(&mut self, depth: usize) -> Result<(), PrintError> {
        self.at += 1;
        if depth < MAX_DEPTH { Ok(()) } else { Err(PrintError::TooDeep) }
    }

    fn leave(&mut self, bracket: u8) -> Result<(), PrintError> {
        if self.peek()? != bracket {
            return Err(PrintError::Malformed);
        }
        self.at += 1;
        self.out.push(bracket);
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), PrintError> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(PrintError::Malformed);
        }
        self.at += word.len();
        self.out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn number(&mut self) -> Result<(), PrintError> {
        let start = self.at;
        let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        self.at += self.text[start..].iter().take_while(|b| is_part(b)).count();
        let digits = &self.text[start..self.at];
        if digits.is_empty() {
            return Err(PrintError::Malformed);
        }
        if digits.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
            return self.float(digits);
        }
        if digits.len() - usize::from(digits[0] == b'-') > MAX_INT_DIGITS {
            return Err(PrintError::IntTooLong);
        }
        let printed = if digits == b"-0" { b"0" } else { digits };
        self.out.extend_from_slice(printed);
        Ok(())
    }

    fn float(&mut self, digits: &[u8]) -> Result<(), PrintError> {
        let text = std::str::from_utf8(digits).map_err(|_| PrintError::Malformed)?;
        let number: f64 = text.parse().map_err(|_| PrintError::Malformed)?;
        float::print(number, self.out);
        Ok(())
    }

    fn string(&mut self) -> Result<(), PrintError> {
        if self.peek()? != b'"' {
            return Err(PrintError::Malformed);
        }
        self.at += 1;
        self.out.push(b'"');
        loop {
            self.plain_run();
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => self.character()?,
            }
        }
        self.at += 1;
        self.out.push(b'"');
        Ok(())
    }

    /// Copies what stands for itself on both sides.
    fn plain_run(&mut self) {
        let rest = &self.text[self.at..];
        let run = plain_prefix(rest);
        self.out.extend_from_slice(&rest[..run]);
        self.at += run;
    }

    fn escape(&mut self) -> Result<(), PrintError> {
        let code = *self.text.get(self.at + 1).ok_or(PrintError::Malformed)?;
        self.at += 2;
        match code {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.out.extend_from_slice(&[b'\\', code]);
            }
            b'/' => self.out.push(b'/'),
            b'u' => {
                let unit = self.hex4()?;
                print_unit(unit, self.out);
            }
            _ => return Err(PrintError::Malformed),
        }
        Ok(())
    }

    /// One UTF-16 unit. A pair printed unit by unit is what Python prints for its character,
    /// and a lone half passes through Python as it passes through here.
    fn hex4(&mut self) -> Result<u16, PrintError> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(PrintError::Malformed)?;
        self.at += 4;
        let text = std::str::from_utf8(digits).map_err(|_| PrintError::Malformed)?;
        u16::from_str_radix(text, 16).map_err(|_| PrintError::Malformed)
    }

    fn character(&mut self) -> Result<(), PrintError> {
        let rest = &self.text[self.at..];
        let width = match rest[0] {
            0x00..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        let bytes = rest.get(..width).ok_or(PrintError::Malformed)?;
        let text = std::str::from_utf8(bytes).map_err(|_| PrintError::Malformed)?;
        self.at += width;
        let mut units = [0u16; 2];
        for unit in text.chars().flat_map(|c| c.encode_utf16(&mut units).to_vec()) {
            print_unit(unit, self.out);
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn peek(&self) -> Result<u8, PrintError> {
        self.text.get(self.at).copied().ok_or(PrintError::Malformed)
    }
}

/// How many bytes at the front stand for themselves.
fn plain_prefix(bytes: &[u8]) -> usize {
    // A whole lane at a time, without a branch in it: the compiler makes a few instructions of it.
    let lanes = bytes.chunks_exact(LANE);
    let plain =
        lanes.take_while(|lane| lane.iter().fold(true, |all, b| all & is_plain(*b))).count();
    let start = plain * LANE;
    start + bytes[start..].iter().take_while(|b| is_plain(**b)).count()
}

fn is_plain(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') <= b'~' - b' ') & (byte != b'"') & (byte != b'\\')
}

/// Where one member of an object stands in the output.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

/// The members of an object, to find repeated keys with.
#[derive(Default)]
struct Members {
    row: Vec<Member>,
    /// Filled once the row is longer than [`LINEAR_KEYS`].
    by_key: HashMap<Vec<u8>, usize>,
    /// Whether a member took an earlier one's place.
    repeated: bool,
}

impl Members {
    /// Notes a member; if its key was there before, the first place takes the new value.
    fn add(&mut self, member: Member, out: &[u8]) {
        match self.find(&out[member.start..member.key_end], out) {
            Some(first) => {
                self.row[first] = member;
                self.repeated = true;
            }
            None => self.push(member, out),
        }
    }

    fn find(&self, key: &[u8], out: &[u8]) -> Option<usize> {
        if self.row.len() > LINEAR_KEYS {
            return self.by_key.get(key).copied();
        }
        self.row.iter().position(|m| &out[m.start..m.key_end] == key)
    }

    fn push(&mut self, member: Member, out: &[u8]) {
        self.row.push(member);
        if self.row.len() == LINEAR_KEYS + 1 {
            let keys = self.row.iter().map(|m| out[m.start..m.key_end].to_vec());
            self.by_key = keys.zip(0..).collect();
        } else if self.row.len() > LINEAR_KEYS {
            let key = out[member.start..member.key_end].to_vec();
            self.by_key.insert(key, self.row.len() - 1);
        }
    }

    /// Rewrites the object's inside, which starts at `inside`, if a key was repeated.
    fn settle(self, inside: usize, out: &mut Vec<u8>) {
        if !self.repeated {
            return;
        }
        let parts: Vec<_> = self.row.iter().map(|m| &out[m.start..m.end]).collect();
        let settled = parts.join(&b", "[..]);
        out.truncate(inside);
        out.extend_from_slice(&settled);
    }
}

/// Python's `ensure_ascii`: printable ASCII stands for itself, the rest is escaped.
fn print_unit(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match unit {
        0x22 => out.extend_from_slice(b"\\\""),
        0x5c => out.extend_from_slice(b"\\\\"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x09 => out.extend_from_slice(b"\\t"),
        0x0a => out.extend_from_slice(b"\\n"),
        0x0c => out.extend_from_slice(b"\\f"),
        0x0d => out.extend_from_slice(b"\\r"),
        0x20..=0x7e => out.push(unit as u8),
        _ => {
            out.extend_from_slice(b"\\u");
            out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(unit >> shift & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: &str) -> String {
        let mut out = Vec::new();
        reprint(json, &mut out).unwrap_or_else(|error| panic!("{json}: {error}"));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_as_python_does() {
        for (json, python) in [
            (r#""Hey!!""#, r#""Hey!!""#),
            ("\"\u{e9}\"", r#""\u00e9""#),
            ("\"\u{1f600}\"", r#""\ud83d\ude00""#),
            (r#""\ud800""#, r#""\ud800""#),
            (r#""\/\u0041\u007f\u0022""#, r#""/A\u007f\"""#),
            ("\"\u{7f}\u{2028}\"", r#""\u007f\u2028""#),
            ("[1,2 , {\"a\":null}]", r#"[1, 2, {"a": null}]"#),
            ("[]", "[]"),
            ("{ }", "{}"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1.0", "1.0"),
            ("1e5", "100000.0"),
            ("1e16", "1e+16"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("120.0", "120.0"),
            ("-0.012", "-0.012"),
            // Halfway between ...062 and ...063.
            ("20630298010126.0625", "20630298010126.062"),
            ("2.98023223876953125e-8", "2.9802322387695312e-08"),
            // 2^-44: the even neighbour would not read back.
            ("5.684341886080801486968994140625e-14", "5.684341886080802e-14"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("5e-324", "5e-324"),
            ("12345678901234567890123456789", "12345678901234567890123456789"),
        ] {
            assert_eq!(printed(json), python, "{json}");
        }
    }

    #[test]
    fn a_text_is_printed_the_same_wherever_its_odd_character_stands() {
        for length in 0..3 * LANE {
            for at in 0..=length {
                let (before, after) = ("x".repeat(at), "y".repeat(length - at));
                for (odd, python) in [("\u{e9}", r"\u00e9"), (r"\n", r"\n"), ("\u{7f}", r"\u007f")]
                {
                    let printed = printed(&format!("\"{before}{odd}{after}\""));
                    assert_eq!(printed, format!("\"{before}{python}{after}\""));
                }
            }
        }
    }

    #[test]
    fn a_repeated_key_keeps_its_first_place_and_its_last_value() {
        assert_eq!(printed(r#"{"a":1,"b":2,"a":3}"#), r#"{"a": 3, "b": 2}"#);
        assert_eq!(printed(r#"{"a":1,"\u0061":{"x":1,"x":2}}"#), r#"{"a": {"x": 2}}"#);
        let many: Vec<_> = (0..40).map(|n| format!("\"k{}\":{n}", n % 20)).collect();
        let want: Vec<_> = (0..20).map(|n| format!("\"k{n}\": {}", n + 20)).collect();
        assert_eq!(printed(&format!("{{{}}}", many.join(","))), format!("{{{}}}", want.join(", ")));
    }

    #[test]
    fn what_breaks_python_is_refused() {
        let deep = format!("{}{}", "[".repeat(600), "]".repeat(600));
        assert_eq!(reprint(&deep, &mut Vec::new()), Err(PrintError::TooDeep));
        assert_eq!(reprint(&"9".repeat(4301), &mut Vec::new()), Err(PrintError::IntTooLong));
        assert!(reprint(&"9".repeat(4300), &mut Vec::new()).is_ok());
        for bad in ["", "[", "{\"a\"", "nul", "\"\\x\"", "1 2"] {
            assert_eq!(reprint(bad, &mut Vec::new()), Err(PrintError::Malformed), "{bad}");
        }
    }
}
