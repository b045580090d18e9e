//! A row of the report: every subject's figure, and how many times the floor's it is.

use std::fmt;

use super::subject::Subject;

/// What was measured of each subject, round by round and process by process.
pub struct Row {
    name: String,
    /// The floor is the last.
    subjects: Vec<Vec<Vec<f64>>>,
}

impl Row {
    /// With nothing measured yet.
    pub fn new(name: String, subjects: usize) -> Self {
        Self { name, subjects: vec![Vec::new(); subjects] }
    }

    /// The line above the rows.
    pub fn head(subjects: &[Subject]) -> String {
        let names = subjects.iter().map(|subject| format!("{subject:>18}")).collect::<String>();
        format!("{:<34}{names}   Redis + A + B", "")
    }

    /// A round's figure of each process.
    pub fn add(&mut self, subject: usize, parts: Vec<f64>) {
        self.subjects[subject].push(parts);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34}", self.name)?;
        let sums: Vec<_> = self.subjects.iter().map(|rounds| sums(rounds)).collect();
        let floor = sums.last().expect("the floor");
        for of_subject in &sums {
            let ratios = of_subject.iter().zip(floor).map(|(sum, floor)| sum / floor).collect();
            let shown = format!("{} ({:.2})", shown(median(of_subject.clone())), median(ratios));
            write!(f, "{shown:>18}")?;
        }
        let parts = self.subjects.iter().map(|rounds| parts(rounds));
        let parts: Vec<_> = parts.filter(|parts| !parts.is_empty()).collect();
        write!(f, "   {}", parts.join(" | "))
    }
}

fn sums(rounds: &[Vec<f64>]) -> Vec<f64> {
    rounds.iter().map(|parts| parts.iter().sum()).collect()
}

/// The median of each process; nothing if there is one.
fn parts(rounds: &[Vec<f64>]) -> String {
    let count = rounds.first().map_or(0, Vec::len);
    let part = |at: usize| shown(median(rounds.iter().map(|parts| parts[at]).collect()));
    if count < 2 { String::new() } else { (0..count).map(part).collect::<Vec<_>>().join(" + ") }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn shown(figure: f64) -> String {
    if figure < 1000.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}
