//! Floats as Python's `repr` spells them.

/// Prints as Python's `repr(float)` does: the shortest digits that read back the same, plain from
/// 1e-4 up to 1e16, with a signed exponent of at least two digits outside.
pub(super) fn print(number: f64, out: &mut Vec<u8>) {
    if number.is_infinite() {
        let word: &[u8] = if number > 0.0 { b"Infinity" } else { b"-Infinity" };
        return out.extend_from_slice(word);
    }
    let shortest = shortest(number);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        print_plain(mantissa, exponent, out);
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{mantissa}e{sign}{:02}", exponent.abs()).as_bytes());
    }
}

/// The shortest digits that read back the same, as `1.5e-7`. Of two that are equally near Python
/// takes the even one, Rust the larger.
fn shortest(number: f64) -> String {
    let shortest = format!("{number:e}");
    let digits = shortest.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    let even = format!("{number:.*e}", digits.saturating_sub(1));
    if even.parse() == Ok(number) { even } else { shortest }
}

/// Without an exponent, and never without a point.
fn print_plain(mantissa: &str, exponent: i32, out: &mut Vec<u8>) {
    let unsigned = mantissa.trim_start_matches('-');
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let digits = unsigned.bytes().filter(u8::is_ascii_digit);
    let zeros = exponent.min(0).unsigned_abs() as usize;
    let mut digits: Vec<_> = std::iter::repeat_n(b'0', zeros).chain(digits).collect();
    // How many stand before the point.
    let whole = exponent.max(0) as usize + 1;
    if digits.len() <= whole {
        digits.resize(whole + 1, b'0');
    }
    digits.insert(whole, b'.');
    out.extend_from_slice(&digits);
}
