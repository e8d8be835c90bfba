//! `umach names`: what the name server knows, once or as it changes.

use std::collections::BTreeSet;
use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use umach_name_api::{Declarer, Entry, Event, Names};

use crate::exit::Exit;
use crate::foreign::line;
use crate::system::At;
use crate::text::{self, Paint, Table};

/// Lists the names that a look-up would find, or tells how they appear and vanish.
#[derive(Args)]
#[command(after_help = "\
STATE: registered (a task published it), on demand (starts with its first message), starting, active, backing off.
JSON: an array of {name, state, pid, uid, depth, detail, declared_by}; pid and uid are null if nobody serves it now; depth counts the \
name spaces up to the one that has it; declared_by is {pid, uid} of the task that declared its server at run time, else null.
With --watch: a line for each name that is there, then one for each that appears or vanishes, at once, until interrupted. \
JSON: one object a line, {event: \"there\"|\"appeared\"|\"vanished\", time, name, state, pid, uid, depth, detail, declared_by}; time is in seconds since \
1970; the rest is null for a name that has vanished. Exit code 1 if the name server ends.

Examples:
  umach names
  umach names --json | jq -r '.[].name'
  umach names --watch
  umach names --watch --count 1 --json   # waits for the next change")]
pub(crate) struct NamesCommand {
    /// Tells of names that appear and vanish, as it happens.
    #[arg(long)]
    watch: bool,
    /// With --watch: ends after so many changes.
    #[arg(long, value_name = "N", requires = "watch")]
    count: Option<u64>,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    pid: Option<u32>,
    uid: Option<u32>,
    depth: u32,
    detail: String,
    declared_by: Option<By>,
}

/// The task that declared a service's server.
#[derive(Clone, Copy, Serialize)]
struct By {
    pid: u32,
    uid: u32,
}

impl Row {
    fn new(entry: Entry) -> Row {
        Row {
            state: entry.kind.as_str(),
            pid: (entry.pid != 0).then_some(entry.pid),
            uid: (entry.pid != 0).then_some(entry.uid),
            name: entry.name,
            depth: entry.depth,
            detail: entry.detail,
            declared_by: entry.declared_by.map(|Declarer { pid, uid }| By { pid, uid }),
        }
    }
    /// The detail for people.
    fn told(&self) -> String {
        let by = self.declared_by.map(|by| format!("declared by process {}, uid {}", by.pid, by.uid));
        by.into_iter().chain((!self.detail.is_empty()).then(|| self.detail.clone())).collect::<Vec<_>>().join("; ")
    }
}

/// A line of `--watch --json`.
#[derive(Serialize)]
struct Change<'a> {
    event: &'static str,
    time: f64,
    name: &'a str,
    state: Option<&'static str>,
    pid: Option<u32>,
    uid: Option<u32>,
    depth: Option<u32>,
    detail: Option<&'a str>,
    declared_by: Option<By>,
}

impl NamesCommand {
    fn watch(&self, names: &Names) -> Result<Exit> {
        // Watched first and listed then: what changes in between is told of twice, and the second time it is known already.
        let mut watch = names.watch()?;
        let mut known = BTreeSet::new();
        for row in names.list()?.into_iter().map(Row::new) {
            self.tell("there", &row.name, Some(&row))?;
            known.insert(row.name);
        }
        let mut left = self.count;
        while left != Some(0) {
            let told = match watch.wait()? {
                Event::Appeared(name) if known.insert(name.clone()) => {
                    // It may be gone again.
                    let row = names.list()?.into_iter().find(|entry| entry.name == name).map(Row::new);
                    self.tell("appeared", &name, row.as_ref())?;
                    true
                }
                Event::Vanished(name) if known.remove(&name) => {
                    self.tell("vanished", &name, None)?;
                    true
                }
                _ => false,
            };
            left = left.map(|left| left - u64::from(told));
        }
        Ok(Exit::DONE)
    }

    fn tell(&self, event: &'static str, name: &str, row: Option<&Row>) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.json {
            let change = Change {
                event,
                time: now.as_secs_f64(),
                name,
                state: row.map(|row| row.state),
                pid: row.and_then(|row| row.pid),
                uid: row.and_then(|row| row.uid),
                depth: row.map(|row| row.depth),
                detail: row.map(|row| row.detail.as_str()),
                declared_by: row.and_then(|row| row.declared_by),
            };
            return text::print_json_line(&change);
        }
        let paint = Paint::stdout();
        let word = match event {
            "appeared" => paint.green("appeared"),
            "vanished" => paint.red("vanished"),
            other => paint.dim(&format!("{other:<8}")),
        };
        let server = row.map_or(String::new(), |row| {
            let pid = row.pid.map_or(String::new(), |pid| format!(", process {pid}"));
            format!("  {}{pid} {}", row.state, row.told())
        });
        text::print(&format!("{word}  {}{}\n", line(name), line(server.trim_end())))
    }

    pub(crate) fn run(self) -> Result<Exit> {
        let names = self.at.names()?;
        if self.watch {
            return self.watch(&names);
        }
        let rows: Vec<Row> = names.list()?.into_iter().map(Row::new).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table = Table::new(&["NAME", "STATE", "PID", "UID", "DETAIL"]);
        for row in rows {
            let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let told = row.told();
            table.row(vec![row.name, row.state.to_owned(), number(row.pid), number(row.uid), told]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }
}
