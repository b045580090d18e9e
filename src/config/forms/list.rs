//! Lists of anything else; every bad entry is reported, not the first.

use super::Form;
use crate::config::given::{Given, Reading, Refusal, refuse};

/// Entries of one form. An empty list is refused where `least` says so.
pub struct List<F> {
    pub least: usize,
    pub each: F,
}

impl<T, F: Form<T>> Form<Vec<T>> for List<F> {
    fn read(&self, given: Given<'_>) -> Reading<Vec<T>> {
        let (mut read, mut refusals) = (Vec::new(), Vec::new());
        for entry in given.entries()? {
            match self.each.read(Given(&entry)) {
                Ok(value) => read.push(value),
                Err(reasons) => {
                    refusals.extend(reasons.into_iter().map(|reason| Refusal {
                        problem: reason.problem,
                        entry: Some(entry.clone()),
                    }))
                }
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        if read.len() < self.least {
            return refuse("is empty");
        }
        Ok(read)
    }

    fn print(&self, value: &Vec<T>) -> String {
        let entries: Vec<_> = value.iter().map(|entry| self.each.print(entry)).collect();
        format!("[{}]", entries.join(", "))
    }

    fn accepts(&self) -> String {
        let least = if self.least == 0 { "" } else { " that is not empty" };
        format!("a list{least}, each entry {}", self.each.accepts())
    }
}
