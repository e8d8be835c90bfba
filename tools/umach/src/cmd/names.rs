//! `umach names`: what the name server knows.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::system::At;
use crate::text::{self, Table};

/// Lists the names that a look-up would find.
#[derive(Args)]
#[command(after_help = "\
STATE: registered (a task published it), on demand (starts with its first message), starting, active, backing off.
JSON: an array of {name, state, pid, uid, depth, detail}; pid and uid are null if nobody serves it now; depth counts the name \
spaces up to the one that has it.

Examples:
  umach names
  umach names --json | jq -r '.[].name'")]
pub(crate) struct NamesCommand {
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
}

impl NamesCommand {
    pub(crate) fn run(self) -> Result<Exit> {
        let entries = self.at.names()?.list()?;
        let rows = entries.into_iter().map(|entry| Row {
            state: entry.kind.as_str(),
            pid: (entry.pid != 0).then_some(entry.pid),
            uid: (entry.pid != 0).then_some(entry.uid),
            name: entry.name,
            depth: entry.depth,
            detail: entry.detail,
        });
        let rows: Vec<Row> = rows.collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table = Table::new(&["NAME", "STATE", "PID", "UID", "DETAIL"]);
        for row in rows {
            let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            table.row(vec![row.name, row.state.to_owned(), number(row.pid), number(row.uid), row.detail]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }
}
