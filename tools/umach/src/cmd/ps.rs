//! `umach ps`: the tasks.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::ids::TaskNumber;
use crate::system::At;
use crate::text::{self, Table};
use crate::view::{Labelled, View};

/// Lists the tasks.
#[derive(Args)]
#[command(after_help = "\
STATE: run, stopped (suspended), send (waits for room in a queue), receive (waits for a message), new (no process yet).
JSON: an array of {task, label, pid, uid, gid, parent, state, suspended, names, ports, regions, lanes, queued_bytes,
region_bytes, sent, received, blocked_sends, blocked_receives, names_limit, ports_limit, queued_bytes_limit}.

Examples:
  umach ps
  umach ps --json | jq '.[] | {task, label, queued_bytes}'")]
pub(crate) struct Ps {
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// A task as JSON has it.
#[derive(Serialize)]
struct Row<'a> {
    task: u64,
    label: &'a str,
    pid: u32,
    uid: u32,
    gid: u32,
    parent: Option<u64>,
    state: &'static str,
    suspended: u32,
    names: u32,
    ports: u32,
    regions: u32,
    lanes: u32,
    queued_bytes: u64,
    region_bytes: u64,
    sent: u64,
    received: u64,
    blocked_sends: u32,
    blocked_receives: u32,
    names_limit: u32,
    ports_limit: u32,
    queued_bytes_limit: u64,
}

impl<'a> Row<'a> {
    fn new(task: &'a Labelled) -> Row<'a> {
        let row = task.row;
        let state = match () {
            () if row.suspended > 0 => "stopped",
            () if row.pid == 0 => "new",
            () if row.blocked_sends > 0 => "send",
            () if row.blocked_receives > 0 => "receive",
            () => "run",
        };
        Row {
            task: row.task,
            label: &task.label,
            pid: row.pid,
            uid: row.uid,
            gid: row.gid,
            parent: (row.parent != 0).then_some(row.parent),
            state,
            suspended: row.suspended,
            names: row.names,
            ports: row.ports,
            regions: row.regions,
            lanes: row.lanes,
            queued_bytes: row.queued_bytes,
            region_bytes: row.region_bytes,
            sent: row.sent,
            received: row.received,
            blocked_sends: row.blocked_sends,
            blocked_receives: row.blocked_receives,
            names_limit: row.names_limit,
            ports_limit: row.ports_limit,
            queued_bytes_limit: row.queued_bytes_limit,
        }
    }
}

impl Ps {
    pub(crate) fn run(self) -> Result<Exit> {
        let view = View::open(&self.at)?;
        let rows: Vec<Row<'_>> = view.others().map(Row::new).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table =
            Table::new(&["TASK", "PID", "UID", "PARENT", "STATE", "NAMES", "PORTS", "REGIONS", "QUEUED", "SENT", "RECEIVED", "LABEL"]);
        for row in rows {
            table.row(vec![
                TaskNumber(row.task).to_string(),
                row.pid.to_string(),
                row.uid.to_string(),
                TaskNumber(row.parent.unwrap_or(0)).to_string(),
                row.state.to_owned(),
                row.names.to_string(),
                row.ports.to_string(),
                row.regions.to_string(),
                text::bytes(row.queued_bytes),
                row.sent.to_string(),
                row.received.to_string(),
                row.label.to_owned(),
            ]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }
}
