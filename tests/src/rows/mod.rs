//! Every row of Mach's semantics, and what became of it here: the table behind docs/conformance.md.
//!
//! Sections and rows follow sections 1.1 to 1.10 of the facts that docs/semantics.md is made from. A row that is held names its tests, functions
//! of the `conformance` test binary, each of which runs once per mode; that binary checks that table and functions agree. A row that
//! is not held says why.
//!
//! The dialects: 3 is CMU Mach 3.0, G GNU Mach, O OSF MK, X XNU. Where they differ, umach follows X.

mod calls;
pub mod in_c;
mod kernel_ports;
mod messages;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Held by the row's tests.
    Held,
    /// Deliberately different; the tests, if there are any, hold what is done instead.
    Different(&'static str),
    /// Another dialect's rule; what holds instead.
    OtherDialect(&'static str),
    /// Serves Darwin only.
    DarwinOnly(&'static str),
    /// Held, by tests outside of the conformance suite.
    Elsewhere(&'static str),
}

/// One fact.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The fact, in short.
    pub text: &'static str,
    /// What became of it.
    pub status: Status,
    /// The functions that hold it.
    pub tests: &'static [&'static str],
}

/// A section's rows.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its number.
    pub number: (u32, u32),
    /// Its title.
    pub title: &'static str,
    /// Its rows.
    pub rows: &'static [Row],
}

/// The whole table.
pub const SECTIONS: &[Section] = &[
    messages::RIGHTS,
    messages::DISPOSITIONS,
    messages::QUEUES,
    messages::OPTIONS,
    messages::RECEIVING,
    calls::NOTIFICATIONS,
    calls::SETS,
    calls::CALLS,
    calls::MEMORY,
    calls::TASKS,
    kernel_ports::KERNEL_PORTS,
    kernel_ports::SEMAPHORES,
];

const fn held(text: &'static str, tests: &'static [&'static str]) -> Row {
    Row { text, status: Status::Held, tests }
}

const fn different(text: &'static str, why: &'static str, tests: &'static [&'static str]) -> Row {
    Row { text, status: Status::Different(why), tests }
}

const fn dialect(text: &'static str, instead: &'static str) -> Row {
    Row { text, status: Status::OtherDialect(instead), tests: &[] }
}

const fn darwin(text: &'static str, here: &'static str, tests: &'static [&'static str]) -> Row {
    Row { text, status: Status::DarwinOnly(here), tests }
}

const fn elsewhere(text: &'static str, tests: &'static str) -> Row {
    Row { text, status: Status::Elsewhere(tests), tests: &[] }
}

/// All rows with their section's number.
pub fn rows() -> impl Iterator<Item = ((u32, u32), &'static Row)> {
    SECTIONS.iter().flat_map(|section| section.rows.iter().map(|row| (section.number, row)))
}

/// docs/conformance.md.
pub fn conformance_table() -> String {
    let count = |wanted: fn(&Status) -> bool| rows().filter(|(_, row)| wanted(&row.status)).count();
    let mut out = format!(
        "# Conformance\n\nWhat Mach promises and the test that holds it here. Tests are functions of the `conformance` test binary of `umach-tests`; each runs \
         once per mode ({modes}). Dialects: 3 CMU Mach 3.0, G GNU Mach, O OSF MK, X XNU; where they differ, umach follows X.\n\n\
         {all} rows: {held} held, {elsewhere} held by tests of another package, {different} deliberately different, {dialect} another dialect's, \
         {darwin} of use on Darwin only.\n",
        modes = crate::Mode::ALL.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", "),
        all = rows().count(),
        held = count(|status| matches!(status, Status::Held)),
        elsewhere = count(|status| matches!(status, Status::Elsewhere(_))),
        different = count(|status| matches!(status, Status::Different(_))),
        dialect = count(|status| matches!(status, Status::OtherDialect(_))),
        darwin = count(|status| matches!(status, Status::DarwinOnly(_))),
    );
    for Section { number: (major, minor), title, rows } in SECTIONS {
        out.push_str(&format!("\n## {major}.{minor} {title}\n\n| fact | here | tests |\n|---|---|---|\n"));
        for row in *rows {
            let here = match row.status {
                Status::Held => "held".to_owned(),
                Status::Different(why) => format!("different: {why}"),
                Status::OtherDialect(instead) => format!("another dialect: {instead}"),
                Status::DarwinOnly(here) => format!("Darwin only: {here}"),
                Status::Elsewhere(place) => format!("held by {place}"),
            };
            let tests = row.tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ");
            out.push_str(&format!("| {} | {} | {tests} |\n", row.text.replace('|', "\\|"), here.replace('|', "\\|")));
        }
    }
    out
}
