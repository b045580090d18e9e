//! Columns on a terminal, page after page, in bounded memory.

use std::io::{self, Write};

/// Prints rows under a header; columns widen where a page needs it and never shrink.
#[derive(Debug)]
pub struct Table<const COLUMNS: usize> {
    header: Option<[&'static str; COLUMNS]>,
    widths: [usize; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// With this header above the first page.
    pub fn new(header: [&'static str; COLUMNS]) -> Self {
        Self { header: Some(header), widths: [0; COLUMNS] }
    }

    /// One line a row.
    pub fn print(
        &mut self,
        page: impl Iterator<Item = [String; COLUMNS]>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let header = self.header.take().map(|header| header.map(String::from));
        let rows: Vec<_> = header.into_iter().chain(page).collect();
        for (column, width) in self.widths.iter_mut().enumerate() {
            let widest = rows.iter().map(|row| row[column].chars().count()).max();
            *width = widest.unwrap_or(0).max(*width);
        }
        for row in rows {
            let cells = row.iter().zip(self.widths);
            let line: String = cells.map(|(cell, width)| format!("{cell:<width$}  ")).collect();
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What others wrote may hold what would move the terminal's cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_comes_once_and_columns_only_widen() {
        let (mut table, mut out) = (Table::new(["A", "B"]), Vec::new());
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        table.print([row("long", "1")].into_iter(), &mut out).unwrap();
        table.print([row("x", "2"), row("longer", "3")].into_iter(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "A     B\nlong  1\nx       2\nlonger  3\n");
    }
}
