//! Rows, goals, and the two ways to print them.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// What a row should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    RatioAtMost(f64),
    ValueAtMost(f64),
    ValueAtLeast(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::RatioAtMost(most) => write!(f, "ratio <= {most}"),
            Goal::ValueAtMost(most) => write!(f, "value <= {most}"),
            Goal::ValueAtLeast(least) => write!(f, "value >= {least}"),
        }
    }
}

/// One figure.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(crate) struct Row {
    work: String,
    value: f64,
    unit: &'static str,
    /// The floor's figure, or the normal case's, in the same unit.
    floor: Option<f64>,
    /// Value to floor.
    ratio: Option<f64>,
    goal: Option<String>,
    met: Option<bool>,
}

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Table {
    work: &'static str,
    part: &'static str,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(work: &'static str) -> Table {
        Table { work, part: "", rows: Vec::new(), notes: Vec::new() }
    }
    /// Rows and notes from here on belong to this part.
    pub(crate) fn begin(&mut self, part: &'static str) {
        self.part = part;
    }
    /// Adds a row, named `work/part/name`.
    pub(crate) fn row(&mut self, name: &str, value: f64, unit: &'static str, floor: Option<f64>, goal: Option<Goal>) {
        let ratio = floor.filter(|&floor| floor > 0.0).map(|floor| value / floor);
        let met = goal.map(|goal| match goal {
            Goal::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Goal::ValueAtMost(most) => value <= most,
            Goal::ValueAtLeast(least) => value >= least,
        });
        let work = format!("{}/{}/{name}", self.work, self.part);
        self.rows.push(Row { work, value, unit, floor, ratio, goal: goal.map(|goal| goal.to_string()), met });
    }
    /// Adds a remark, printed under the table.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(if self.part.is_empty() { text } else { format!("{}: {text}", self.part) });
    }
    /// How many goals were missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.met == Some(false)).count()
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.rows)? + "\n")
    }

    pub(crate) fn text(&self) -> String {
        let heads = ["work", "value", "unit", "floor", "ratio", "goal", "met"].map(str::to_owned);
        let lines: Vec<[String; 7]> = std::iter::once(heads).chain(self.rows.iter().map(Row::cells)).collect();
        let widths: Vec<usize> = (0..7).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
        let mut out = String::new();
        for line in &lines {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                let number = matches!(column, 1 | 3 | 4);
                text += &if number { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
            }
            out += text.trim_end();
            out += "\n";
        }
        for note in &self.notes {
            out += &format!("\n* {note}");
        }
        if !self.notes.is_empty() {
            out += "\n";
        }
        out
    }
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let optional = |number: Option<f64>| number.map_or("-".into(), figure);
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        let ratio = self.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let goal = self.goal.clone().unwrap_or("-".into());
        [self.work.clone(), figure(self.value), self.unit.into(), optional(self.floor), ratio, goal, met.into()]
    }
}

/// A number as people read it: thousands apart when large, decimals when small.
fn figure(number: f64) -> String {
    if number.abs() < 1000.0 && number.fract() != 0.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{:.0}", number.abs());
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0.0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_what_they_name() {
        let mut table = Table::new("w");
        table.begin("p");
        table.row("a", 30.0, "us", Some(20.0), Some(Goal::RatioAtMost(1.6)));
        table.row("b", 33.0, "us", Some(20.0), Some(Goal::RatioAtMost(1.6)));
        table.row("c", 0.0, "us", None, Some(Goal::ValueAtMost(0.0)));
        table.row("d", 59_999.0, "/s", None, Some(Goal::ValueAtLeast(60_000.0)));
        table.row("e", 1.0, "us", None, Some(Goal::RatioAtMost(2.0)));
        let met: Vec<_> = table.rows.iter().map(|row| row.met).collect();
        assert_eq!(met, [Some(true), Some(false), Some(true), Some(false), Some(false)]);
        assert_eq!((table.missed(), table.rows[1].ratio), (3, Some(1.65)));
    }

    #[test]
    fn json_has_exactly_the_promised_fields() {
        let mut table = Table::new("w");
        table.begin("p");
        table.row("a", 1.5, "us", None, None);
        let json: serde_json::Value = serde_json::from_str(&table.json().unwrap()).unwrap();
        let expected =
            serde_json::json!([{"work": "w/p/a", "value": 1.5, "unit": "us", "floor": null, "ratio": null, "goal": null, "met": null}]);
        assert_eq!(json, expected);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(
            [0.0, 12.345, 999.0, 60_000.0, 1_234_567.8, -1500.0].map(figure),
            ["0", "12.35", "999", "60,000", "1,234,568", "-1,500"]
        );
    }
}
