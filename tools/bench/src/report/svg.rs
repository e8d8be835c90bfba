//! A picture: for each work a row of panels, one for each place, with a bar for each contestant on a logarithmic scale.
//!
//! Bars of one work share one scale, so that places can be compared too. Colours: umach, floors, the others.

use std::fmt::Write;

use super::text::figure;
use super::{Figure, Report, Section};
use crate::peers::Kind;

const PANEL: f64 = 450.0;
const LABELS: f64 = 192.0;
const VALUES: f64 = 75.0;
const BAR: f64 = 15.0;
const GAP: f64 = 5.0;
const HEAD: f64 = 52.0;
const MARGIN: f64 = 18.0;
const TOP: f64 = 64.0;

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Umach => "#d1495b",
        Kind::Floor => "#8d99ae",
        Kind::Peer => "#30638e",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The powers of ten around all figures of a work.
fn scale<'s>(figures: impl Iterator<Item = &'s Figure>) -> Option<(i32, i32)> {
    let logs: Vec<f64> = figures.filter(|figure| figure.value > 0.0).map(|figure| figure.value.log10()).collect();
    let least = logs.iter().copied().reduce(f64::min)?.floor() as i32;
    let most = logs.iter().copied().reduce(f64::max)?.ceil() as i32;
    Some((least, most.max(least + 1)))
}

/// Sections of the same work, in the order in which the works came.
fn works(report: &Report) -> Vec<Vec<&Section>> {
    let mut works: Vec<Vec<&Section>> = Vec::new();
    for section in &report.sections {
        match works.iter_mut().find(|sections| sections[0].part == section.part && sections[0].work == section.work) {
            Some(sections) => sections.push(section),
            None => works.push(vec![section]),
        }
    }
    works.retain(|sections| scale(sections.iter().flat_map(|section| &section.figures)).is_some());
    works
}

pub(super) fn report(report: &Report) -> String {
    let works = works(report);
    let columns = works.iter().map(Vec::len).max().unwrap_or(1);
    let height = |sections: &[&Section]| {
        let bars = sections.iter().map(|section| section.figures.len()).max().unwrap_or(0);
        HEAD + bars as f64 * (BAR + GAP) + 2.0 * MARGIN
    };
    let (width, total) = (MARGIN + columns as f64 * (PANEL + MARGIN), TOP + works.iter().map(|sections| height(sections)).sum::<f64>());
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{total}\" viewBox=\"0 0 {width} {total}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"26\" font-size=\"17\" font-weight=\"bold\">umach bench ipc</text>"
    );
    let mut x = MARGIN;
    for (kind, label) in [(Kind::Umach, "umach"), (Kind::Floor, "the least that it could cost"), (Kind::Peer, "others")] {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"38\" width=\"11\" height=\"11\" fill=\"{}\"/><text x=\"{}\" y=\"48\">{label}</text>",
            colour(kind),
            x + 16.0
        );
        x += 36.0 + 6.5 * label.len() as f64;
    }
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"48\" fill=\"#555\">medians; logarithmic scales; shorter bars are better for times, longer ones for rates</text>"
    );
    let mut y = TOP;
    for sections in &works {
        let first = sections[0];
        let better = if first.unit.more_is_better() { "more is better" } else { "less is better" };
        let _ = writeln!(
            out,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ccc\"/>\
             <text x=\"{MARGIN}\" y=\"{}\" font-size=\"13\" font-weight=\"bold\">{} ({}, {better})</text>",
            width - MARGIN,
            y + 20.0,
            escape(&first.title),
            first.unit.name()
        );
        let range = scale(sections.iter().flat_map(|section| &section.figures)).unwrap_or((0, 1));
        for (column, section) in sections.iter().enumerate() {
            panel(&mut out, section, MARGIN + column as f64 * (PANEL + MARGIN), y, range);
        }
        y += height(sections);
    }
    out + "</svg>\n"
}

fn panel(out: &mut String, section: &Section, left: f64, top: f64, (least, most): (i32, i32)) {
    let (start, room) = (left + LABELS, PANEL - LABELS - VALUES);
    let bottom = top + HEAD + section.figures.len() as f64 * (BAR + GAP);
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{}\" fill=\"#555\">{}</text>", top + 38.0, section.place);
    for power in least..=most {
        let x = start + room * f64::from(power - least) / f64::from(most - least);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{x:.1}\" y=\"{}\" fill=\"#888\" font-size=\"9\" text-anchor=\"middle\">{}</text>",
            top + HEAD - 3.0,
            bottom + 10.0,
            axis(power)
        );
    }
    let mut figures: Vec<&Figure> = section.figures.iter().collect();
    figures.sort_by(|a, b| if section.unit.more_is_better() { b.value.total_cmp(&a.value) } else { a.value.total_cmp(&b.value) });
    for (i, each) in figures.into_iter().enumerate() {
        let y = top + HEAD + i as f64 * (BAR + GAP);
        // Nothing has no place on a logarithmic scale: a bar of no length.
        let part = if each.value > 0.0 { (each.value.log10() - f64::from(least)) / f64::from(most - least) } else { 0.0 };
        let length = (room * part).max(1.0);
        let weight = if each.kind == Kind::Umach { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\"{weight}>{}</text>\
             <rect x=\"{start}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\"{weight}>{}</text>",
            start - 6.0,
            y + 11.5,
            escape(each.label),
            colour(each.kind),
            start + length + 5.0,
            y + 11.5,
            figure(each.value)
        );
    }
}

fn axis(power: i32) -> String {
    match power {
        0..3 => format!("{}", 10_i32.pow(power as u32)),
        3..6 => format!("{}k", 10_i32.pow(power as u32 - 3)),
        6..9 => format!("{}M", 10_i32.pow(power as u32 - 6)),
        -3..0 => format!("{}", 10_f64.powi(power)),
        _ => format!("1e{power}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_has_a_bar_for_each_figure_and_longer_ones_for_more() {
        let section = super::super::tests::section();
        let svg = report(&Report { sections: vec![section], notes: Vec::new() });
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("text-anchor=\"end\""))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 3);
        assert!(widths[0] < widths[1] && widths[1] < widths[2], "{widths:?}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("shared memory, futex"));
    }
}
