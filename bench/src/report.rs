//! Rows of figures: an aligned table for people, or one JSON object a row for scripts.

use serde::Serialize;
use std::io::{self, Write};

/// A row of one bench. Its serde form is its JSON.
pub trait Row: Serialize {
    /// Heads of the columns.
    const COLUMNS: &'static [&'static str];

    /// What the table shows, a cell a column.
    fn cells(&self) -> Vec<String>;
}

/// Collects rows, or prints them at once when they are JSON.
pub struct Report<W> {
    out: W,
    json: bool,
    /// The heads, then the rows of the table.
    lines: Vec<Vec<String>>,
}

impl<W: Write> Report<W> {
    /// A report without rows that goes to `out`.
    pub fn new(out: W, json: bool) -> Self {
        Self { out, json, lines: Vec::new() }
    }

    /// Adds a row.
    pub fn row<R: Row>(&mut self, row: &R) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.out, row)?;
            return writeln!(self.out);
        }
        if self.lines.is_empty() {
            self.lines.push(R::COLUMNS.iter().map(|&head| head.to_owned()).collect());
        }
        self.lines.push(row.cells());
        Ok(())
    }

    /// Prints the table, when it is one.
    pub fn finish(mut self) -> io::Result<()> {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in &self.lines {
            let mut text = String::new();
            for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // The first column is a name, the others are numbers.
                let padded = if index == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
                text.push_str(&padded);
            }
            writeln!(self.out, "{}", text.trim_end())?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Speed {
        name: &'static str,
        rate_mb_s: u32,
    }

    impl Row for Speed {
        const COLUMNS: &'static [&'static str] = &["name", "MB/s"];

        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.rate_mb_s.to_string()]
        }
    }

    fn printed(json: bool) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json);
        for row in [Speed { name: "encode", rate_mb_s: 7 }, Speed { name: "go", rate_mb_s: 12_345 }] {
            report.row(&row).expect("a Vec takes all");
        }
        report.finish().expect("a Vec takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_table_is_aligned() {
        assert_eq!(printed(false), "name     MB/s\nencode      7\ngo      12345\n");
    }

    #[test]
    fn json_is_an_object_a_row() {
        assert_eq!(printed(true), "{\"name\":\"encode\",\"rate_mb_s\":7}\n{\"name\":\"go\",\"rate_mb_s\":12345}\n");
    }
}
