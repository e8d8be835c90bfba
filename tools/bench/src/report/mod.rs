//! What was measured, and the ways to show it: tables for people, rows for programs, a picture.
//!
//! A [`Section`] is one piece of work in one place: every contestant's figure, what each is beside the floor's, and the goals. All figures of a section
//! come from the same run, in which the contestants took turns.

mod svg;
mod text;

use anyhow::Result;
use serde::Serialize;

use crate::peers::Kind;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Microseconds,
    /// A rate: more is better.
    PerSecond,
    /// A rate: more is better.
    MebibytesPerSecond,
    Kibibytes,
    /// Something that happens, per second; less is better.
    Times,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Microseconds => "us",
            Unit::PerSecond => "/s",
            Unit::MebibytesPerSecond => "MiB/s",
            Unit::Kibibytes => "KiB",
            Unit::Times => "times/s",
        }
    }
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Unit::PerSecond | Unit::MebibytesPerSecond)
    }
}

/// One contestant's figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    /// The median.
    pub(crate) value: f64,
    /// What one in a hundred was worse than: times that were longer, rates that were lower.
    pub(crate) worst: Option<f64>,
}

/// What umach's figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At most so many times the figure of the contestant with this name.
    TimesAtMost(f64, &'static str),
    /// At least so many times.
    TimesAtLeast(f64, &'static str),
    AtMost(f64),
    AtLeast(f64),
}

/// How a goal was reached.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    /// umach's figure, or how many times the other's it is; `None` if the other was not measured.
    pub(crate) reached: Option<f64>,
    pub(crate) met: Option<bool>,
}

/// One piece of work in one place.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) part: &'static str,
    pub(crate) work: String,
    /// What is done, for people.
    pub(crate) title: String,
    pub(crate) place: &'static str,
    pub(crate) unit: Unit,
    /// The contestant that the others are compared with.
    pub(crate) floor: Option<&'static str>,
    /// The contestant that the goals are for.
    pub(crate) ours: &'static str,
    pub(crate) goals: Vec<Goal>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) note: Option<String>,
}

/// A figure as programs get it.
#[derive(Serialize)]
struct Row<'s> {
    work: String,
    placement: &'s str,
    contestant: &'s str,
    kind: &'s str,
    value: f64,
    p99: Option<f64>,
    unit: &'s str,
    floor: Option<f64>,
    ratio: Option<f64>,
    goals: Vec<Verdict>,
}

impl Section {
    pub(crate) fn of(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
    /// The floor's figure.
    pub(crate) fn floor(&self) -> Option<f64> {
        self.of(self.floor?).map(|figure| figure.value).filter(|&floor| floor > 0.0)
    }
    pub(crate) fn ratio(&self, figure: &Figure) -> Option<f64> {
        self.floor().map(|floor| figure.value / floor)
    }
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.goals.iter().filter_map(|goal| self.verdict(*goal)).collect()
    }
    fn verdict(&self, goal: Goal) -> Option<Verdict> {
        let ours = self.of(self.ours)?;
        let known = |name| crate::peers::Contestant::all().find(|other| other.name == name).map(|other| other.label);
        let label = |name| self.of(name).map(|figure| figure.label).or_else(|| known(name)).unwrap_or(name);
        let times = |name| self.of(name).map(|other| ours.value / other.value);
        let unit = self.unit.name();
        let at_most = matches!(goal, Goal::TimesAtMost(..) | Goal::AtMost(_));
        let sign = if at_most { "<=" } else { ">=" };
        let (bound, text, reached) = match goal {
            Goal::TimesAtMost(bound, name) | Goal::TimesAtLeast(bound, name) => {
                (bound, format!("{sign} {bound} x {}", label(name)), times(name))
            }
            Goal::AtMost(bound) | Goal::AtLeast(bound) => (bound, format!("{sign} {} {unit}", text::figure(bound)), Some(ours.value)),
        };
        let met = reached.map(|reached| if at_most { reached <= bound } else { reached >= bound });
        Some(Verdict { goal: text, reached, met })
    }
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.figures.iter().map(|figure| Row {
            work: format!("ipc/{}/{}", self.part, self.work),
            placement: self.place,
            contestant: figure.name,
            kind: figure.kind.name(),
            value: figure.value,
            p99: figure.worst,
            unit: self.unit.name(),
            floor: self.floor(),
            ratio: self.ratio(figure),
            goals: if figure.name == self.ours { self.verdicts() } else { Vec::new() },
        })
    }
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sections: Vec<Section>,
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn json(&self) -> Result<String> {
        let rows: Vec<_> = self.sections.iter().flat_map(Section::rows).collect();
        Ok(serde_json::to_string_pretty(&rows)? + "\n")
    }
    pub(crate) fn text(&self) -> String {
        text::report(self)
    }
    pub(crate) fn svg(&self) -> String {
        svg::report(self)
    }
    /// How many goals were missed.
    pub(crate) fn missed(&self) -> usize {
        self.sections.iter().flat_map(Section::verdicts).filter(|verdict| verdict.met == Some(false)).count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn section() -> Section {
        let figure = |name, label, kind, value| Figure { name, label, kind, value, worst: Some(value * 3.0) };
        Section {
            part: "latency",
            work: "call-32".into(),
            title: "call, 32 bytes".into(),
            place: "one-core",
            unit: Unit::Microseconds,
            floor: Some("shm-futex"),
            ours: "umach",
            goals: vec![
                Goal::TimesAtMost(1.3, "shm-futex"),
                Goal::TimesAtMost(0.7, "pipe"),
                Goal::TimesAtMost(0.1, "zbus"),
                Goal::AtMost(7.0),
            ],
            figures: vec![
                figure("umach", "umach", Kind::Umach, 6.0),
                figure("shm-futex", "shared memory, futex", Kind::Floor, 4.0),
                figure("pipe", "pipe", Kind::Peer, 10.0),
            ],
            note: None,
        }
    }

    #[test]
    fn verdicts_say_what_was_reached_and_nothing_of_what_was_not_measured() {
        let verdicts: Vec<_> = section().verdicts().into_iter().map(|verdict| (verdict.reached, verdict.met)).collect();
        assert_eq!(verdicts, [(Some(1.5), Some(false)), (Some(0.6), Some(true)), (None, None), (Some(6.0), Some(true))]);
        assert_eq!(Report { sections: vec![section()], notes: Vec::new() }.missed(), 1);
    }

    #[test]
    fn json_has_a_row_for_each_figure_and_the_goals_at_ours() {
        let json = Report { sections: vec![section()], notes: Vec::new() }.json().unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!((&rows[0]["work"], &rows[0]["ratio"], &rows[0]["unit"]), (&"ipc/latency/call-32".into(), &1.5.into(), &"us".into()));
        assert_eq!((rows[0]["goals"].as_array().unwrap().len(), rows[1]["goals"].as_array().unwrap().len()), (4, 0));
    }
}
