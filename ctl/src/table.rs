//! Answers on stdout: aligned tables for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// A table with a head.
pub struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that stand to the right: numbers.
    right: Vec<bool>,
}

impl Table {
    /// A table with these columns; names that begin with `>` are of numbers.
    pub fn new(columns: &[&str]) -> Table {
        let right = columns.iter().map(|c| c.starts_with('>')).collect();
        let head = columns.iter().map(|c| c.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![head], right }
    }

    /// Adds a row; an empty cell is shown as "-".
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|c| if c.is_empty() { "-".to_owned() } else { c }).collect());
    }

    /// Only the head.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let columns = self.right.len();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(widths.iter().zip(&self.right));
            let aligned = cells.map(
                |(cell, (&width, &right))| {
                    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            );
            text.push_str(aligned.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Prints text as it is.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Prints a value for programs.
pub fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::refused(format!("not printable: {e}")))?;
    print(&format!("{text}\n"))
}

/// Prints what a change led to.
pub fn print_applied(applied: &weir_proto::v1::Applied, json: bool, dry_run: bool) -> Result<(), Failure> {
    if json {
        return print_json(applied);
    }
    for warning in &applied.warnings {
        eprintln!("vswitchctl: warning: {warning}");
    }
    let mut text = String::new();
    for change in &applied.changes {
        text.push_str(&format!("{change}\n"));
    }
    let (revision, epoch) = (applied.revision, applied.epoch);
    text.push_str(&match (applied.changes.is_empty(), dry_run) {
        (true, _) => format!("nothing to change (revision {revision})\n"),
        (false, true) => "nothing was changed: this was a dry run\n".to_owned(),
        (false, false) => format!("applied: revision {revision}, epoch {epoch}\n"),
    });
    print(&text)
}

/// "12.3 MB" for 12300000; three digits are enough for people.
pub fn bytes(n: u64) -> String {
    scaled(n, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// "12.3 k" for 12300.
pub fn count(n: u64) -> String {
    scaled(n, &["", "k", "M", "G", "T", "P", "E"])
}

fn scaled(n: u64, units: &[&str]) -> String {
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("");
    let text = match unit {
        0 => format!("{n} {name}"),
        _ if value < 9.995 => format!("{value:.2} {name}"),
        _ if value < 99.95 => format!("{value:.1} {name}"),
        _ => format!("{value:.0} {name}"),
    };
    text.trim_end().to_owned()
}

/// "1d 2h", "3m 4s", "250 ms".
pub fn duration_ms(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..=59 => format!("{s}s"),
        60..=3599 => format!("{}m {}s", s / 60, s % 60),
        3600..=86_399 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Bytes as people dump them: offset, sixteen bytes, their letters.
pub fn hex_dump(bytes: &[u8], indent: &str) -> String {
    let line = |(number, line): (usize, &[u8])| {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters: String =
            line.iter().map(|&b| if (0x20..0x7f).contains(&b) { char::from(b) } else { '.' }).collect();
        format!("{indent}{:04x}  {:47}  {letters}\n", number * 16, digits.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", ">COUNT", "NOTE"]);
        table.row(vec!["a".into(), "1".into(), String::new()]);
        table.row(vec!["longer".into(), "1000".into(), "x".into()]);
        assert_eq!(table.text(), "NAME    COUNT  NOTE\na           1  -\nlonger   1000  x\n");
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (n, text) in
            [(0, "0"), (999, "999"), (1000, "1.00 k"), (12_345, "12.3 k"), (999_499, "999 k"), (999_999, "1.00 M")]
        {
            assert_eq!(count(n), text);
        }
        assert_eq!(bytes(u64::MAX), "18.4 EB");
        assert_eq!(bytes(5), "5 B");
    }

    #[test]
    fn times_have_two_units() {
        for (ms, text) in [(250, "250 ms"), (4000, "4s"), (184_000, "3m 4s"), (93_600_000, "1d 2h")] {
            assert_eq!(duration_ms(ms), text);
        }
    }

    #[test]
    fn a_dump_has_offset_bytes_and_letters() {
        let dump = hex_dump(b"0123456789abcdef\x00Z", "  ");
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(lines[0], "  0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef");
        assert!(lines[1].starts_with("  0010  00 5a ") && lines[1].ends_with("  .Z"), "{}", lines[1]);
    }
}
