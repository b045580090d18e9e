//! Settings that take one of a few words, or true and false.

use super::Form;
use crate::config::given::{Given, Reading, quoted, refuse};

/// One of these words.
pub struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

/// `true` or `false`.
pub struct Flag;

impl<T: Copy + PartialEq + Sync> Form<T> for Choice<T> {
    fn read(&self, given: Given<'_>) -> Reading<T> {
        let text = given.text()?;
        match self.0.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => refuse("is not one of the words allowed here"),
        }
    }

    fn print(&self, value: &T) -> String {
        quoted(self.0.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word))
    }

    fn accepts(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| quoted(word)).collect();
        format!("one of {}", words.join(", "))
    }
}

impl Form<bool> for Flag {
    fn read(&self, given: Given<'_>) -> Reading<bool> {
        given.flag()
    }

    fn print(&self, value: &bool) -> String {
        value.to_string()
    }

    fn accepts(&self) -> String {
        "true or false".into()
    }
}
