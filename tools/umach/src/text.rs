//! What is printed: tables, sizes, colours, JSON. Everything goes through here to standard output, so that a closed pipe is an error that
//! [`crate::exit::Exit::report`] knows, not a panic.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use anyhow::Result;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::foreign;

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes one JSON document and a line end.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&json(value)?)
}

/// A JSON document for people and programs, and a line end.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    Ok(foreign::json(format!("{}\n", serde_json::to_string_pretty(value)?)))
}

/// Writes one JSON document on a line of its own.
pub(crate) fn print_json_line(value: &impl Serialize) -> Result<()> {
    print(&json_line(value)?)
}

/// A JSON document as a line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String> {
    Ok(foreign::json(format!("{}\n", serde_json::to_string(value)?)))
}

/// Writes text that others chose, and a line end: exactly, unless a terminal would obey it.
pub(crate) fn print_of_others(text: &str) -> Result<()> {
    let text = if std::io::stdout().is_terminal() { foreign::lines(text) } else { text.into() };
    print(&format!("{text}\n"))
}

/// Rows of cells under a heading; columns as wide as they need to be. Numbers stand to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles.
    pub(crate) fn new(titles: &[&str]) -> Table {
        Table { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }
    /// Adds a row with a cell for each title. What others wrote stays in its cell.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| foreign::line(cell).into_owned()).collect());
    }
    /// The table as text, one line a row.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let columns = self.rows[0].len();
        let widest = |column: usize| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        // A column of numbers, empty cells aside, is set to the right, title included.
        let numeric = |column: usize| {
            let mut cells = self.rows.iter().skip(1).map(|row| row[column].as_str()).filter(|cell| !matches!(*cell, "" | "-")).peekable();
            cells.peek().is_some() && cells.all(|cell| cell.starts_with(|first: char| first.is_ascii_digit()))
        };
        let right: Vec<bool> = (0..columns).map(numeric).collect();
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - width(cell));
                let (before, after) = if right[column] { (pad, String::new()) } else { (String::new(), pad) };
                let _ = write!(line, "{before}{cell}{after}  ");
            }
            let line = line.trim_end();
            let _ = writeln!(out, "{}", if number == 0 { paint.bold(line) } else { line.to_owned() });
        }
        out
    }
    /// Prints it.
    pub(crate) fn print(&self) -> Result<()> {
        print(&self.render(Paint::stdout()))
    }
}

/// Colours, or none: only on a terminal, and not if `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// None.
    pub(crate) fn none() -> Paint {
        Paint { on: false }
    }
    /// For standard output.
    pub(crate) fn stdout() -> Paint {
        Paint { on: Paint::wanted() && std::io::stdout().is_terminal() }
    }
    fn wanted() -> bool {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        allowed && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }
    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    /// For standard error.
    pub(crate) fn stderr() -> Paint {
        Paint { on: Paint::wanted() && std::io::stderr().is_terminal() }
    }
    /// As it is.
    pub(crate) fn plain(self, text: &str) -> String {
        text.to_owned()
    }
    /// Headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }
    /// Good.
    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }
    /// Worth a look.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }
    /// Bad.
    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }
    /// Asides.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
    /// Names.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }
}

/// Columns of a terminal that a text takes.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Text in so many columns: filled up with spaces, or cut, which `…` tells.
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    let own = width(text);
    if own <= columns {
        return format!("{text}{}", " ".repeat(columns - own));
    }
    let (mut out, mut left) = (String::new(), columns.saturating_sub(1));
    for letter in text.chars() {
        let wide = letter.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(letter);
    }
    out.push('…');
    out + &" ".repeat(left)
}

/// Text broken at spaces into lines of so many columns at most, the later ones indented.
pub(crate) fn wrapped(text: &str, columns: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split(' ') {
        let length = width(word);
        if column > indent && column + 1 + length > columns {
            let _ = write!(out, "\n{}", " ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `12,345,678`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `12,345 files`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(count)) }
}

/// `3.1 ms`: two or three digits that mean something.
pub(crate) fn duration(time: std::time::Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        m if m < 1_000.0 => format!("{m:.0} µs"),
        m if m < 1_000_000.0 => format!("{:.1} ms", m / 1e3),
        m => format!("{:.1} s", m / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 9, 2), "one two\n  three");
        assert_eq!(wrapped("unbreakable", 4, 2), "unbreakable");
    }

    #[test]
    fn table_columns_line_up() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(vec!["a".into(), "7".into()]);
        table.row(vec!["long name".into(), "1234".into()]);
        assert_eq!(table.render(Paint { on: false }), "NAME       SIZE\na             7\nlong name  1234\n");
    }

    #[test]
    fn wide_letters_take_two_columns_and_what_steers_stays_in_its_cell() {
        let mut table = Table::new(&["NAME", "KIND"]);
        table.row(vec!["漢字".into(), "a".into()]);
        table.row(vec!["x\n\x1b[2J".into(), "b".into()]);
        let lines = table.render(Paint { on: false });
        assert_eq!(lines, "NAME          KIND\n漢字          a\nx\\n\\u{1b}[2J  b\n");
        assert_eq!([fitted("漢字", 5), fitted("漢字", 4), fitted("漢字x", 4), fitted("abc", 2)], ["漢字 ", "漢字", "漢… ", "a…"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (bytes(1023), bytes(1536), grouped(1234567), grouped(12)),
            ("1023 B".into(), "1.5 KiB".into(), "1,234,567".into(), "12".into())
        );
        assert_eq!(duration(std::time::Duration::from_micros(3100)), "3.1 ms");
    }
}
