//! Delivered JSON is what Python's `json.dumps` prints, to the byte: asked of Python itself.
//!
//! One `python3` prints what is expected for a whole corpus: cases that are known to be awkward,
//! and thousands made from a seed. A failure names the seed; `WSFLEETD_SEED=…` repeats it.

mod corpus;

use std::{fs, process::Command};

use tempfile::NamedTempFile;
use wsfleetd::protocol::python_json::{MAX_DEPTH, MAX_INT_DIGITS, PrintError, reprint};

use crate::support::fleet::TestFleet;

/// Prints for each line, which holds a text as a JSON string, what the original sent for it.
const ORIGINAL: &str = r#"
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    try:
        print(json.dumps(json.loads(json.loads(line))))
    except (RecursionError, ValueError) as error:
        print("!", type(error).__name__, error)
"#;

/// As many random values as go through the daemon, after all fixed ones.
const THROUGH_THE_DAEMON: usize = 400;

/// A frame may have 32 KiB; the rest of it needs some.
const FITS_A_FRAME: usize = 30 * 1024;

#[test]
fn everything_is_printed_as_python_prints_it() {
    let seed = corpus::seed();
    let texts: Vec<_> = corpus::fixed().into_iter().chain(corpus::random(seed)).collect();
    assert!(texts.len() > 10_000, "a corpus of {}", texts.len());
    for (text, expected) in texts.iter().zip(&python(&texts)) {
        let printed = printed(text).unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"));
        assert_eq!(printed, *expected, "seed {seed}: {text}");
    }
}

#[tokio::test]
async fn the_daemon_delivers_what_python_prints() {
    let seed = corpus::seed();
    let random = corpus::random(seed);
    let every = random.len() / THROUGH_THE_DAEMON;
    let texts: Vec<_> = corpus::fixed()
        .into_iter()
        .chain(random.into_iter().step_by(every))
        .filter(|text| text.len() < FITS_A_FRAME)
        .collect();
    let expected = python(&texts);
    let fleet = TestFleet::start(2).await;
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    for (text, expected) in texts.iter().zip(&expected) {
        sunil.send("Sid", text).await;
        assert_eq!(sid.hear().await, *expected, "seed {seed}: {text}");
    }
}

#[test]
fn what_python_refuses_is_refused() {
    let digits = "7".repeat(MAX_INT_DIGITS);
    let texts = [format!("{digits}7"), format!("-{digits}7"), format!("[{{\"a\":{digits}7}}]")];
    for (text, python) in texts.iter().zip(python(&texts)) {
        assert!(python.starts_with("! ValueError Exceeds the limit (4300 digits)"), "{python}");
        assert_eq!(printed(text), Err(PrintError::IntTooLong));
    }
}

#[tokio::test]
async fn nesting_ends_earlier_than_pythons_and_the_sender_is_told() {
    let deeper = corpus::nested(MAX_DEPTH + 1);
    assert_eq!(printed(&deeper), Err(PrintError::TooDeep));
    assert!(!python(std::slice::from_ref(&deeper))[0].starts_with('!'), "Python goes further");
    let fleet = TestFleet::start(1).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    sunil.send("Sunil", &deeper).await;
    let told = sunil.hear().await;
    assert!(told.starts_with(r#"{"message": "Internal server error", "connectionId":"#), "{told}");
    sunil.send("Sunil", "\"still here\"").await;
    sunil.expect("\"still here\"").await;
}

fn printed(text: &str) -> Result<String, PrintError> {
    let mut out = Vec::new();
    reprint(text, &mut out)?;
    Ok(String::from_utf8(out).expect("ASCII"))
}

/// What the original would have sent for each.
fn python(texts: &[String]) -> Vec<String> {
    let file = NamedTempFile::new().expect("a temporary file");
    let line = |text: &String| serde_json::to_string(text).expect("a JSON string") + "\n";
    fs::write(file.path(), texts.iter().map(line).collect::<String>()).expect("write the corpus");
    let output = Command::new("python3").args(["-c", ORIGINAL]).arg(file.path()).output();
    let output = output.expect("python3 is installed (tests/run does that)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("ASCII");
    let printed: Vec<_> = printed.lines().map(str::to_owned).collect();
    assert_eq!(printed.len(), texts.len());
    printed
}
