//! Shares of a whole, such as `"90%"`, or `"off"`.

use super::Form;
use crate::config::given::{Given, Reading, refuse};

/// A whole number of hundredths from 1 to 100, or `"off"`.
pub struct PercentOrOff;

const OFF: &str = "off";

impl Form<Option<u8>> for PercentOrOff {
    fn read(&self, given: Given<'_>) -> Reading<Option<u8>> {
        let text = given.text()?.trim();
        if text == OFF {
            return Ok(None);
        }
        let Some(number) = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok())
        else {
            return refuse("is not a percentage");
        };
        match u8::try_from(number) {
            Ok(percent @ 1..=100) => Ok(Some(percent)),
            _ => refuse("is out of range"),
        }
    }

    fn print(&self, value: &Option<u8>) -> String {
        match value {
            Some(percent) => format!("\"{percent}%\""),
            None => format!("\"{OFF}\""),
        }
    }

    fn accepts(&self) -> String {
        format!("\"{OFF}\", or a percentage such as \"90%\", from 1% to 100%")
    }
}
