//! JSON texts to print: the awkward ones by hand, the rest from a seed.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use wsfleetd::protocol::python_json::{MAX_DEPTH, MAX_INT_DIGITS};

/// Deepest nesting of a random value; the bound itself is among the fixed ones.
const DEPTH: u32 = 5;

/// Values that are wrong in one implementation or another.
const AWKWARD: &[&str] = &[
    // Strings
    r#""""#,
    r#""Hey!!""#,
    "\"é ß Ω 你好 עברית\"",
    "\"😀\u{10ffff}\u{10000}\"",
    "\"\u{2028}\u{2029}\u{85}\u{a0}\u{feff}\u{7f}\u{80}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\"",
    r#""\u2028\u00e9\u0041\u0000\u001f\u007f\uFFFF""#,
    r#""\ud83d\ude00\uD83D\uDE00""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud800\ud800\udc00x\udfff""#,
    r#""\ud83d😀\ude00""#,
    r#""\"\\\/\b\f\n\r\t\u0008\u000c\u000a\u000d\u0009\u0022\u005c\u002f""#,
    "\"</script> & ' ` ~\"",
    // Numbers
    "0",
    "-0",
    "-0.0",
    "0.0",
    "0e0",
    "-0E-0",
    "1",
    "-1",
    "1.0",
    "1.10",
    "1e0",
    "1E+2",
    "1e-2",
    "100000000000000000000",
    "9007199254740993",
    "-9223372036854775808",
    "18446744073709551616",
    "9007199254740993.0",
    "9999999999999998.0",
    "9999999999999999.0",
    "1e15",
    "1e16",
    "123456789012345678.0",
    "1e21",
    "1e22",
    "1e23",
    "0.0001",
    "0.00012345",
    "0.00009999999999999999",
    "0.00001",
    "5e-324",
    "4.9406564584124654e-324",
    "2.4703282292062327e-324",
    "2.4703282292062328e-324",
    "2.2250738585072011e-308",
    "2.2250738585072014e-308",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "1e308",
    "1e309",
    "-1e309",
    "1e-400",
    "-1e-400",
    "1e99999999999999999999",
    "1e-99999999999999999999",
    "0e99999999999999999999",
    "0.1",
    "0.30000000000000004",
    "3.141592653589793115997963468544185161590576171875",
    // Containers
    "true",
    "false",
    "null",
    "[]",
    "{}",
    "[[],{},[[]],{\"a\":{}}]",
    "\t\n\r [ \t\n\r ] \t\n\r ",
    " { \"a\" : [ 1 , 2 ] , \"b\" : { } } ",
    "[1,[2,[3,[4]]],{\"a\":[true,false,null]}]",
    r#"{"":0," ":1,"\u0000":2}"#,
    r#"{"z":1,"a":2,"é":3,"😀":4}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"a":1,"b":2,"a":{"c":1,"c":2},"b":[]}"#,
    r#"{"a":1,"\u0061":2,"\u0041":3,"A":4}"#,
    r#"{"é":1,"\u00e9":2,"\u00E9":3,"😀":4,"\ud83d\ude00":5,"\uD83D\uDE00":6}"#,
    r#"{"/":1,"\/":2}"#,
    r#"{"a":{"x":1,"x":{"y":1,"y":2}},"a":{"x":{"y":3,"y":4},"x":5}}"#,
];

/// The awkward ones, and those at the bounds.
pub fn fixed() -> Vec<String> {
    let digits = "7".repeat(MAX_INT_DIGITS);
    let members = |count: u32, names: u32| {
        let members: Vec<_> = (0..count).map(|n| format!("\"k{}\":{n}", n % names)).collect();
        format!("{{{}}}", members.join(","))
    };
    let more = [
        digits.clone(),
        format!("-{digits}"),
        format!("{digits}.5"),
        format!("0.{}1", "0".repeat(5_000)),
        format!("{}e-5000", "7".repeat(5_000)),
        format!("[{}]", "[],".repeat(5_000) + "{}"),
        format!("\"{}\"", "é".repeat(10_000)),
        format!("\"{}\"", (0..=127u8).map(|byte| format!("\\u{byte:04x}")).collect::<String>()),
        // Around the number of keys at which repeated ones are found in another way.
        members(7, 7),
        members(8, 8),
        members(9, 9),
        members(10, 9),
        members(300, 8),
        members(300, 9),
        members(300, 250),
        nested(MAX_DEPTH),
        format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)),
        format!("{}1{}", "{\"a\":".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH)),
        format!("{}1{}", "{\"a\":2,\"a\":".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH)),
    ];
    AWKWARD.iter().map(|text| (*text).to_owned()).chain(more).chain(between()).collect()
}

/// Floats whose shortest digits are a choice: powers of two, whose neighbours are not equally
/// far, and those that lie exactly between two decimals.
fn between() -> impl Iterator<Item = String> {
    let powers = (-1074..1024).map(|exponent| 2f64.powi(exponent));
    let ties = (0..64).map(|n| 20_630_298_010_126.0 + f64::from(n) / 16.0);
    let halves = (0..64).map(|n| 9_007_199_254_740_000.0 / 4.0 + f64::from(n) / 4.0);
    powers.chain(ties).chain(halves).map(|float| format!("{float:.20e}"))
}

/// Arrays and objects in turn, `depth` of them.
pub fn nested(depth: usize) -> String {
    let (open, close) = (["[", "{\"é\": "], ["]", "}"]);
    let opens: String = (0..depth).map(|at| open[at % 2]).collect();
    let closes: String = (0..depth).rev().map(|at| close[at % 2]).collect();
    format!("{opens}\"x\"{closes}")
}

/// `WSFLEETD_SEED`, else a new one.
pub fn seed() -> u64 {
    let seed = match std::env::var("WSFLEETD_SEED") {
        Ok(seed) => seed.parse().expect("WSFLEETD_SEED is a number"),
        Err(_) => rand::random(),
    };
    eprintln!("WSFLEETD_SEED={seed}");
    seed
}

/// Thousands of floats, integers and structured values.
pub fn random(seed: u64) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut texts = Vec::new();
    texts.extend((0..4_000).map(|_| bit_pattern(&mut rng)));
    texts.extend((0..4_000).map(|_| number(&mut rng)));
    texts.extend((0..3_000).map(|_| value(&mut rng, DEPTH)));
    texts
}

/// Any finite float, in one of the ways to write it.
fn bit_pattern(rng: &mut StdRng) -> String {
    let float = loop {
        let float = f64::from_bits(rng.next_u64());
        if float.is_finite() {
            break float;
        }
    };
    match rng.random_range(0..4) {
        0 => format!("{float:e}"),
        1 => format!("{float:.17E}"),
        // Hundreds of digits, never an exponent.
        2 => format!("{float:?}").replace('e', "E"),
        _ => format!("{float:.20e}"),
    }
}

/// Anything the grammar of numbers allows.
fn number(rng: &mut StdRng) -> String {
    let mut text = String::new();
    if rng.random_bool(0.3) {
        text.push('-');
    }
    match rng.random_bool(0.2) {
        true => text.push('0'),
        false => {
            text.push(char::from(rng.random_range(b'1'..=b'9')));
            digits(rng, 0..25, &mut text);
        }
    }
    if rng.random_bool(0.6) {
        text.push('.');
        digits(rng, 1..25, &mut text);
    }
    if rng.random_bool(0.5) {
        text.push(if rng.random() { 'e' } else { 'E' });
        text.push_str(["", "+", "-"].choose(rng).expect("not empty"));
        let most = *[5, 20, 330].choose(rng).expect("not empty");
        text.push_str(&rng.random_range(0..=most).to_string());
    }
    text
}

fn digits(rng: &mut StdRng, count: std::ops::Range<u32>, text: &mut String) {
    for _ in 0..rng.random_range(count) {
        text.push(char::from(rng.random_range(b'0'..=b'9')));
    }
}

fn value(rng: &mut StdRng, depth: u32) -> String {
    let kinds = if depth == 0 { 4 } else { 8 };
    match rng.random_range(0..kinds) {
        0 => ["true", "false", "null"].choose(rng).map(|word| (*word).to_owned()).expect("a word"),
        1 => number(rng),
        2 => bit_pattern(rng),
        3 => string(rng),
        4 | 5 => list(rng, '[', ']', |rng| value(rng, depth - 1)),
        _ => list(rng, '{', '}', |rng| {
            let (key, before, after) = (key(rng), space(rng), space(rng));
            format!("{key}{before}:{after}{}", value(rng, depth - 1))
        }),
    }
}

fn list(
    rng: &mut StdRng,
    open: char,
    close: char,
    mut part: impl FnMut(&mut StdRng) -> String,
) -> String {
    let mut text = String::from(open);
    text.push_str(&space(rng));
    for at in 0..rng.random_range(0..7) {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&space(rng));
        text.push_str(&part(rng));
        text.push_str(&space(rng));
    }
    text.push(close);
    text
}

/// From few names, so that they repeat, also spelled differently.
fn key(rng: &mut StdRng) -> String {
    const NAMES: [&str; 8] =
        ["\"a\"", "\"\\u0061\"", "\"b\"", "\"é\"", "\"\\u00e9\"", "\"\\u00E9\"", "\"\"", "\"😀\""];
    match rng.random_bool(0.5) {
        true => (*NAMES.choose(rng).expect("not empty")).to_owned(),
        false => string(rng),
    }
}

fn space(rng: &mut StdRng) -> String {
    let count = if rng.random_bool(0.7) { 0 } else { rng.random_range(1..4) };
    (0..count).map(|_| [' ', '\t', '\n', '\r'].choose(rng).expect("not empty")).collect()
}

fn string(rng: &mut StdRng) -> String {
    const SHORT: [&str; 8] = ["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"];
    let mut text = String::from("\"");
    for _ in 0..rng.random_range(0..20) {
        match rng.random_range(0..6) {
            0 => text.push_str(SHORT.choose(rng).expect("not empty")),
            // Any unit, lone surrogates included.
            1 => text.push_str(&format!("\\u{:04x}", rng.random::<u16>())),
            2 => text.push_str(&format!("\\u{:04X}", rng.random_range(0xd800..0xe000u16))),
            3 => text.push(character(rng)),
            _ => text.push(char::from(rng.random_range(b'a'..=b'z'))),
        }
    }
    text + "\""
}

/// Any character that may stand in a string as it is.
fn character(rng: &mut StdRng) -> char {
    loop {
        let character = rng.random::<char>();
        if character >= ' ' && !['"', '\\'].contains(&character) {
            return character;
        }
    }
}
