//! What the audience sees: a line for each thing that happens, a tick or a cross for each check, the diagram and the summary at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::diagram::Diagram;
use crate::text::{self, Paint};

/// Something that had to hold.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    check: String,
    holds: bool,
    detail: String,
}

/// The stage.
pub(super) struct Stage {
    aloud: bool,
    paint: Paint,
    started: Instant,
    checks: Vec<Check>,
    pub(super) diagram: Diagram,
}

impl Stage {
    pub(super) fn new(aloud: bool) -> Stage {
        let diagram = Diagram::new(&["director", "kernel", "names", "client"]);
        Stage { aloud, paint: Paint::stdout(), started: Instant::now(), checks: Vec::new(), diagram }
    }
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }
    pub(super) fn all_hold(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    fn line(&self, text: &str) {
        if self.aloud {
            let time = format!("{:8.3} s", self.started.elapsed().as_secs_f64());
            // A reader that went away is noticed at the summary; the play goes on to its end and tidies up.
            let _ = text::print(&format!("{}  {text}\n", self.paint.dim(&time)));
        }
    }
    /// Somebody does or says something.
    pub(super) fn say(&self, who: &str, text: &str) {
        self.line(&format!("{} {text}", self.paint.cyan(&format!("{who:<9}"))));
    }
    /// The same, and a mark in the diagram.
    pub(super) fn note(&mut self, who: &str, mark: &str, text: &str) {
        self.diagram.note(who, mark);
        self.say(who, text);
    }
    /// Something was checked.
    pub(super) fn check(&mut self, what: &str, holds: bool, detail: &str) {
        let mark = if holds { self.paint.green("✔") } else { self.paint.red("✘") };
        self.line(&format!(
            "{mark}         {} {}",
            if holds { what.to_owned() } else { self.paint.red(what) },
            self.paint.dim(&format!("({detail})"))
        ));
        self.checks.push(Check { check: what.to_owned(), holds, detail: detail.to_owned() });
    }
    /// Diagram, summary and verdict.
    pub(super) fn summary(&self, facts: &[(&str, String)]) -> Result<()> {
        let paint = self.paint;
        let mut out = format!("\n{}\n\n{}\n", paint.bold("What happened"), self.diagram.to_text());
        out.push_str(&format!("{}\n\n{}\n", paint.bold("The same as Mermaid text"), self.diagram.to_mermaid()));
        out.push_str(&format!("{}\n\n", paint.bold("Summary")));
        for (label, value) in facts {
            out.push_str(&format!("  {label:<14} {value}\n"));
        }
        let held = self.checks.iter().filter(|check| check.holds).count();
        let verdict = format!("  {:<14} {held} of {} held", "checks", self.checks.len());
        out.push_str(&if self.all_hold() { paint.green(&verdict) } else { paint.red(&verdict) });
        text::print(&(out + "\n"))
    }
    /// Names what did not hold, where it is seen even if standard output goes elsewhere.
    pub(super) fn say_failed(&self) {
        for check in self.checks.iter().filter(|check| !check.holds) {
            eprintln!("umach: did not hold: {} ({})", check.check, check.detail);
        }
    }
}
