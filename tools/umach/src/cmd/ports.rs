//! `umach ports`: the ports, who receives on them, and what waits there.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use umach_abi::records::{PortRow, kobject};

use crate::exit::Exit;
use crate::ids::{PortNumber, TaskNumber, Who};
use crate::system::At;
use crate::text::{self, Table};
use crate::view::View;

/// Lists the ports, who receives on them, and what waits there.
#[derive(Args)]
#[command(after_help = "\
NAME is the receiver's own name for the port. QUEUE is messages queued and the limit. WAITING counts threads that wait to
send (s) or to receive (r). ARMED: n no-senders, d port-destroyed, g guarded.
JSON: an array of {port, kind, receiver, receiver_label, name, send_rights, send_once_rights, queued, queue_limit,
queued_bytes, blocked_senders, waiting_receivers, received, make_send_count, sets, no_senders_armed,
port_destroyed_armed, guarded}; receiver is null for a port in transit and for the kernel's own.

Examples:
  umach ports
  umach ports T3
  umach ports --all --json | jq 'map(select(.queued > 0))'")]
pub(crate) struct Ports {
    /// Only ports on which this task (or each task of this process) receives.
    #[arg(value_name = "TASK|PID")]
    who: Option<Who>,
    /// Also the kernel's own: tasks, regions, the host.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// A port as JSON has it.
#[derive(Serialize)]
struct Row {
    port: u64,
    kind: &'static str,
    receiver: Option<u64>,
    receiver_label: String,
    name: u32,
    send_rights: u32,
    send_once_rights: u32,
    queued: u32,
    queue_limit: u32,
    queued_bytes: u64,
    blocked_senders: u32,
    waiting_receivers: u32,
    received: u32,
    make_send_count: u32,
    sets: u32,
    no_senders_armed: bool,
    port_destroyed_armed: bool,
    guarded: bool,
}

impl Row {
    fn new(view: &View, row: &PortRow) -> Row {
        let label = view.tasks.iter().find(|task| task.row.task == row.receiver).map(|task| task.label.clone());
        Row {
            port: row.object,
            kind: kobject::name(row.kobject),
            receiver: (row.receiver != 0).then_some(row.receiver),
            receiver_label: label.unwrap_or_default(),
            name: row.name.0,
            send_rights: row.send_rights,
            send_once_rights: row.send_once_rights,
            queued: row.queued,
            queue_limit: row.qlimit,
            queued_bytes: row.queued_bytes,
            blocked_senders: row.blocked_senders,
            waiting_receivers: row.waiting_receivers,
            received: row.seqno,
            make_send_count: row.mscount,
            sets: row.sets,
            no_senders_armed: row.flags & 1 != 0,
            port_destroyed_armed: row.flags & 2 != 0,
            guarded: row.flags & 4 != 0,
        }
    }
    fn armed(&self) -> String {
        [(self.no_senders_armed, 'n'), (self.port_destroyed_armed, 'd'), (self.guarded, 'g')]
            .into_iter()
            .filter_map(|(armed, letter)| armed.then_some(letter))
            .collect()
    }
    fn waiting(&self) -> String {
        let part = |count: u32, letter: char| if count > 0 { format!("{count}{letter}") } else { String::new() };
        part(self.blocked_senders, 's') + &part(self.waiting_receivers, 'r')
    }
}

impl Ports {
    pub(crate) fn run(self) -> Result<Exit> {
        let view = View::open(&self.at)?;
        let receivers: Option<Vec<u64>> = match self.who {
            Some(who) => Some(view.find(who)?.iter().map(|task| task.row.task).collect()),
            None => None,
        };
        let wanted = |row: &&PortRow| match &receivers {
            Some(receivers) => receivers.contains(&row.receiver),
            None => self.all || row.kobject == kobject::NONE,
        };
        let ports = view.ports()?;
        let rows: Vec<Row> = ports.iter().filter(wanted).map(|row| Row::new(&view, row)).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table =
            Table::new(&["PORT", "KIND", "NAME", "SEND", "ONCE", "QUEUE", "BYTES", "WAITING", "RECEIVED", "SETS", "ARMED", "RECEIVER"]);
        for row in &rows {
            let name = if row.name == 0 { "-".to_owned() } else { format!("{:#x}", row.name) };
            let receiver = TaskNumber(row.receiver.unwrap_or(0));
            table.row(vec![
                PortNumber(row.port).to_string(),
                row.kind.to_owned(),
                name,
                row.send_rights.to_string(),
                row.send_once_rights.to_string(),
                format!("{}/{}", row.queued, row.queue_limit),
                text::bytes(row.queued_bytes),
                row.waiting(),
                row.received.to_string(),
                row.sets.to_string(),
                row.armed(),
                format!("{receiver} {}", row.receiver_label).trim_end().to_owned(),
            ]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }
}
