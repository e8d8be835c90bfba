//! Tables for people.

use super::{Report, Section};

/// A number as people read it: three digits that count, thousands apart.
pub(super) fn figure(number: f64) -> String {
    let size = number.abs();
    if number.fract() == 0.0 && size < 1000.0 {
        return format!("{number:.0}");
    }
    match size {
        _ if size < 10.0 => format!("{number:.2}"),
        _ if size < 100.0 => format!("{number:.1}"),
        _ => thousands(number),
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = String::from(if number < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many times something: more digits when it is small.
pub(super) fn times(ratio: f64) -> String {
    match ratio {
        _ if ratio < 0.1 => format!("{ratio:.4}"),
        _ if ratio < 100.0 => format!("{ratio:.2}"),
        _ => thousands(ratio),
    }
}

pub(super) fn report(report: &Report) -> String {
    let mut out: String = report.sections.iter().map(|each| section(each) + "\n").collect();
    for note in &report.notes {
        out += &format!("* {note}\n");
    }
    let goals: Vec<_> = report.sections.iter().flat_map(Section::verdicts).filter_map(|verdict| verdict.met).collect();
    if !goals.is_empty() {
        out += &format!("* {} of {} goals met\n", goals.iter().filter(|met| **met).count(), goals.len());
    }
    out
}

fn section(section: &Section) -> String {
    let heads = ["", section.unit.name(), "p99", "to floor"].map(str::to_owned);
    let rows = section.figures.iter().map(|each| {
        let mark = if Some(each.name) == section.floor { " (floor)" } else { "" };
        let ratio = section.ratio(each).map_or(String::new(), times);
        [format!("  {}{mark}", each.label), figure(each.value), each.worst.map_or(String::new(), figure), ratio]
    });
    let lines: Vec<[String; 4]> = std::iter::once(heads).chain(rows).collect();
    let widths: Vec<usize> = (0..4).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = format!("{} [{}/{}, {}]\n", section.title, section.part, section.work, section.place);
    for line in &lines {
        let mut text = format!("{:<width$}", line[0], width = widths[0]);
        for column in 1..4 {
            text += &format!("  {:>width$}", line[column], width = widths[column]);
        }
        out += text.trim_end();
        out += "\n";
    }
    for verdict in section.verdicts() {
        let met = match (verdict.met, verdict.reached) {
            (Some(true), Some(reached)) => format!("{}: met", times(reached)),
            (Some(false), Some(reached)) => format!("{}: MISSED", times(reached)),
            _ => "not measured in this run".into(),
        };
        out += &format!("  goal {}: {met}\n", verdict.goal);
    }
    if let Some(note) = &section.note {
        out += &format!("  {note}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        let numbers = [0.0, 0.135, 12.345, 999.0, 60_000.0, 1_234_567.8, -1500.0];
        assert_eq!(numbers.map(figure), ["0", "0.14", "12.3", "999", "60,000", "1,234,568", "-1,500"]);
        assert_eq!([0.0034, 1.5, 123.0].map(times), ["0.0034", "1.50", "123"]);
    }

    #[test]
    fn table_names_the_floor_and_says_which_goals_are_met() {
        let text = report(&Report { sections: vec![super::super::tests::section()], notes: vec!["a note".into()] });
        for part in
            ["shared memory, futex (floor)", "1.50: MISSED", "0.60: met", "not measured in this run", "* a note", "* 2 of 3 goals met"]
        {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}
