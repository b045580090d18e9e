//! MONITOR's lines as steps: a command, or a script with the commands it ran.

use std::collections::HashMap;

use super::Snapshot;

/// One step of Redis.
#[derive(Clone, Debug)]
pub struct Step {
    /// Microseconds of Redis's clock.
    pub at: u64,
    /// The command's name, or the script's.
    pub name: String,
    /// A script's keys.
    pub keys: Vec<String>,
    /// The arguments.
    pub args: Vec<String>,
    /// Whether it was a script.
    pub is_script: bool,
    /// What a script did.
    pub inner: Vec<Vec<String>>,
    /// Set where another server stands from now on, or the same with another memory: what it may
    /// have lost. The arguments are what it holds.
    pub loss: Option<Loss>,
}

/// What a server may have lost when it takes over or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: it had written all of it to disk.
    Nothing,
    /// What was done last, as far as it goes: nothing that was done before anything it holds.
    TheLatest,
    /// Everything.
    Everything,
}

impl Step {
    /// From here on another server is recorded, which holds this.
    pub fn switch(at: u64, loss: Loss, holds: Snapshot) -> Self {
        let (name, keys, inner) = ("switch".to_owned(), Vec::new(), Vec::new());
        Self { at, name, keys, args: holds, is_script: false, inner, loss: Some(loss) }
    }

    /// Whether the fleet has done it, and not whoever looks on.
    pub(super) fn is_judged(&self) -> bool {
        self.is_script && self.name != "?" || is_publish(&self.name)
    }

    /// The messages that a step published, each a step of its own: all that a replica does for
    /// whoever takes it for the primary still.
    pub fn publishes(&self) -> Vec<Self> {
        let own = std::iter::once(&self.name).chain(&self.args).cloned().collect();
        let all = if self.is_script { self.inner.clone() } else { vec![own] };
        let published = all.into_iter().filter(|words| is_publish(&words[0]));
        published.filter_map(|words| step(self.at, words, &HashMap::new())).collect()
    }
}

fn is_publish(command: &str) -> bool {
    matches!(command.to_uppercase().as_str(), "PUBLISH" | "SPUBLISH")
}

/// Groups the lines of MONITOR; `digests` names the scripts.
///
/// A script that did nothing was not executed: Redis did not know its digest, and was sent its
/// source next.
pub fn steps(lines: &[String], digests: &HashMap<String, String>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, is_inner, words) in lines.iter().filter_map(|line| parse(line)) {
        match steps.last_mut() {
            Some(step) if is_inner => step.inner.push(words),
            _ => steps.extend(step(at, words, digests)),
        }
    }
    steps.retain(|step| !step.is_script || !step.inner.is_empty());
    steps
}

/// The source of the script that a line of MONITOR sends in full, if it does.
pub fn source(line: &str) -> Option<String> {
    let (_, is_inner, words) = parse(line)?;
    let is_full = !is_inner && words.first().is_some_and(|name| name.eq_ignore_ascii_case("EVAL"));
    words.into_iter().nth(1).filter(|_| is_full)
}

/// The name that a script's source gives itself: `-- name: what it does`.
pub fn script_name(source: &str) -> Option<&str> {
    let mut names = source.lines().filter_map(|line| line.strip_prefix("-- ")?.split_once(": "));
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase());
    names.find(|(name, _)| is_name(name)).map(|(name, _)| name)
}

fn step(at: u64, mut words: Vec<String>, digests: &HashMap<String, String>) -> Option<Step> {
    if words.is_empty() {
        return None;
    }
    let command = words.remove(0).to_uppercase();
    if !matches!(command.as_str(), "EVAL" | "EVALSHA") || words.len() < 2 {
        let (keys, inner) = (Vec::new(), Vec::new());
        let is_script = false;
        return Some(Step { at, name: command, keys, args: words, is_script, inner, loss: None });
    }
    let script = words.remove(0);
    let name = match command.as_str() {
        "EVAL" => script_name(&script).unwrap_or("?").to_owned(),
        _ => digests.get(&script).cloned().unwrap_or_else(|| "?".to_owned()),
    };
    let count = words.remove(0).parse::<usize>().ok()?.min(words.len());
    let args = words.split_off(count);
    let inner = Vec::new();
    Some(Step { at, name, keys: words, args, is_script: true, inner, loss: None })
}

/// `+1795621500.417359 [0 127.0.0.1:51650] "EVAL" "…"`: when, whether a script did it, what.
fn parse(line: &str) -> Option<(u64, bool, Vec<String>)> {
    let (at, rest) = line.trim_start_matches('+').split_once(" [")?;
    let (seconds, micros) = at.split_once('.')?;
    let at = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    let (client, rest) = rest.split_once("] ")?;
    Some((at, client.ends_with("lua"), words(rest)))
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte == b'"' {
            words.push(word(&mut bytes));
        }
    }
    words
}

/// Up to the closing quote; `\n` and the like, `\xNN`, and anything else behind a backslash.
fn word(bytes: &mut std::str::Bytes<'_>) -> String {
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => match bytes.next() {
                Some(b'n') => word.push(b'\n'),
                Some(b'r') => word.push(b'\r'),
                Some(b't') => word.push(b'\t'),
                Some(b'x') => {
                    let digit = |b: Option<u8>| (b? as char).to_digit(16);
                    let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                    word.extend(high.zip(low).map(|(high, low)| (high * 16 + low) as u8));
                }
                other => word.extend(other),
            },
            other => word.push(other),
        }
    }
    String::from_utf8_lossy(&word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_takes_the_commands_it_ran() {
        let lines = [
            r#"OK"#,
            r#"+10.000007 [0 127.0.0.1:1] "EVALSHA" "aa" "1" "k" "a\"b" "\x41\n""#,
            r#"+10.000008 [0 127.0.0.1:1] "EVAL" "-- connect: x" "1" "k" "v""#,
            r#"+10.000009 [0 lua] "HSET" "k" "f" "v""#,
            r#"+10.000010 [0 127.0.0.1:2] "PUBLISH" "c" "1P1:x""#,
        ];
        let lines = lines.map(str::to_owned);
        let steps = steps(&lines, &HashMap::new());
        assert_eq!(steps.len(), 2, "what did nothing was not executed: {steps:?}");
        assert_eq!((steps[0].name.as_str(), steps[0].at), ("connect", 10_000_008));
        assert_eq!(steps[0].inner, [["HSET", "k", "f", "v"].map(str::to_owned)]);
        assert_eq!(steps[1].args, ["c", "1P1:x"]);
        assert_eq!(words(r#""a\"b" "\x41\n\\""#), ["a\"b", "A\n\\"]);
    }
}
