//! `umach ps`: the tasks, the links between them, and the lanes that open files take.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use umach_abi::records::FileLaneRow;

use crate::exit::Exit;
use crate::ids::{FileLaneNumber, LinkNumber, TaskNumber};
use crate::plane::{Counts, Link, Plane, state_of_side};
use crate::system::At;
use crate::text::{self, Table};
use crate::view::{Labelled, View};

/// Lists the tasks, the links between them, or their file lanes.
#[derive(Args)]
#[command(after_help = "\
STATE: run, stopped (suspended), send (waits for room in a queue), receive (waits for a message), new (no process yet).
JSON: an array of {task, label, pid, uid, gid, parent, state, suspended, names, ports, regions, lanes, queued_bytes, \
region_bytes, sent, received, blocked_sends, blocked_receives, names_limit, ports_limit, queued_bytes_limit, links}.
SENT and RECEIVED count messages through the kernel process; those over links are counted by each side of a link itself.

With --links: a line for each side of each link. ROUTES are this side's to the other. RING counts messages that the other side \
has not taken out of the ring yet; what it has taken out and not received is in its own memory, and not shown. FILES are open \
files on their way to the other side (see --files). ARENAS is memory that this side lends from, LENT how many parts of it are out \
and not known to be back. MESSAGES and \
BYTES were sent, replies included; TICKETS of them carried rights, and went through the kernel process in their \
turn. BELLS: the other side had to be woken. SLEEPS, SPINS: waits that ended in sleep, or before it. NO-CREDIT, NO-SPACE: sends \
that waited for the receiver, or for room in the ring. KERNEL: plain messages that went through the kernel process all the \
same. DOES: awake, sleeps, away (told by the kernel process), idle (it would let the link go), ends (the link). - is what cannot be seen.
JSON: an array of {link, ending, tickets_waiting, sides: [{task, label, routes, in_ring, files, arenas, arena_bytes, does, idle, wants_space, \
messages, bytes, by_ticket, bells, sleeps, spins, no_credit, no_space, kernel_plane, leases, lent_bytes, leases_back}, ..]}; leases and \
lent_bytes count all that were ever lent, leases_back those that came back.

With --files: the lanes on which open files go from one task to another. QUEUED are in messages that were not received yet; VOID \
belonged to messages that are gone, and the receiver has not noticed yet. STATE: open, or ends (nothing more is sent).
JSON: an array of {lane, sender, sender_label, receiver, receiver_label, queued, void, ending}.

Examples:
  umach ps
  umach ps --links
  umach ps --files --json
  umach ps --json | jq '.[] | {task, label, queued_bytes}'")]
pub(crate) struct Ps {
    /// Lists the links between tasks and what went over them, instead of the tasks.
    #[arg(long)]
    links: bool,
    /// Lists the lanes of open files, instead of the tasks.
    #[arg(long, conflicts_with = "links")]
    files: bool,
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
    links: usize,
}

/// A link as JSON has it.
#[derive(Serialize)]
struct LinkRow<'a> {
    link: u64,
    ending: bool,
    tickets_waiting: u32,
    sides: [SideRow<'a>; 2],
}

/// A file lane as JSON has it.
#[derive(Serialize)]
struct FileRow {
    lane: u64,
    sender: u64,
    sender_label: String,
    receiver: u64,
    receiver_label: String,
    queued: u32,
    void: u32,
    ending: bool,
}

/// One side of it. What only its memory tells is null if there is none any more.
#[derive(Serialize)]
struct SideRow<'a> {
    task: u64,
    label: &'a str,
    routes: u32,
    in_ring: Option<u32>,
    files: Option<u32>,
    arenas: u32,
    arena_bytes: u64,
    does: Option<&'static str>,
    idle: bool,
    wants_space: Option<bool>,
    #[serde(flatten)]
    counts: Option<Counts>,
}

impl<'a> LinkRow<'a> {
    fn new(view: &'a View, plane: &Plane, link: &Link) -> LinkRow<'a> {
        let sides = [0, 1].map(|half| {
            let (task, side) = (link.tasks()[half], link.side(half));
            SideRow {
                task,
                label: view.label(task),
                routes: link.routes_out()[half],
                in_ring: side.and_then(|side| side.in_ring.as_ref()).map(|ring| ring.values().sum()),
                files: plane.files_between(task, link.tasks()[1 - half]),
                arenas: link.arenas()[half].0,
                arena_bytes: link.arenas()[half].1,
                does: side.map(state_of_side),
                idle: link.row.flags & 2 << half != 0,
                wants_space: side.map(|side| side.wants_space),
                counts: side.map(Counts::new),
            }
        });
        LinkRow { link: link.row.link, ending: link.row.flags & 1 != 0, tickets_waiting: link.row.tickets, sides }
    }
}

impl<'a> Row<'a> {
    fn new(task: &'a Labelled, plane: &Plane) -> Row<'a> {
        let row = task.row;
        let state = match () {
            () if row.suspended > 0 => "stopped",
            () if row.pid == 0 => "new",
            () if row.blocked_sends > 0 => "send",
            () if row.blocked_receives > 0 || plane.sleeps(row.task) => "receive",
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
            links: plane.links_of(row.task),
        }
    }
}

impl Ps {
    pub(crate) fn run(self) -> Result<Exit> {
        let view = View::open(&self.at)?;
        if self.links {
            return self.list_links(&view);
        }
        if self.files {
            return self.list_files(&view);
        }
        let plane = view.plane_inside()?;
        let rows: Vec<Row<'_>> = view.others().map(|task| Row::new(task, &plane)).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table = Table::new(&[
            "TASK", "PID", "UID", "PARENT", "STATE", "NAMES", "PORTS", "REGIONS", "LINKS", "QUEUED", "SENT", "RECEIVED", "LABEL",
        ]);
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
                row.links.to_string(),
                text::bytes(row.queued_bytes),
                row.sent.to_string(),
                row.received.to_string(),
                row.label.to_owned(),
            ]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }

    fn list_files(&self, view: &View) -> Result<Exit> {
        let plane = view.plane()?;
        let row = |lane: &FileLaneRow| FileRow {
            lane: lane.lane,
            sender: lane.sender,
            sender_label: view.label(lane.sender).to_owned(),
            receiver: lane.receiver,
            receiver_label: view.label(lane.receiver).to_owned(),
            queued: lane.queued,
            void: lane.void,
            ending: lane.flags & 1 != 0,
        };
        let rows: Vec<FileRow> = plane.file_lanes.iter().map(row).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table = Table::new(&["LANE", "FROM", "TO", "QUEUED", "VOID", "STATE"]);
        for row in &rows {
            table.row(vec![
                FileLaneNumber(row.lane).to_string(),
                view.name(row.sender),
                view.name(row.receiver),
                row.queued.to_string(),
                row.void.to_string(),
                if row.ending { "ends" } else { "open" }.to_owned(),
            ]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }

    fn list_links(&self, view: &View) -> Result<Exit> {
        let plane = view.plane_inside()?;
        let rows: Vec<LinkRow<'_>> = plane.links.iter().map(|link| LinkRow::new(view, &plane, link)).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        let mut table = Table::new(&[
            "LINK",
            "FROM",
            "TO",
            "ROUTES",
            "RING",
            "FILES",
            "ARENAS",
            "LENT",
            "MESSAGES",
            "BYTES",
            "TICKETS",
            "BELLS",
            "SLEEPS",
            "SPINS",
            "NO-CREDIT",
            "NO-SPACE",
            "KERNEL",
            "DOES",
        ]);
        for row in &rows {
            for (half, side) in row.sides.iter().enumerate() {
                let count = |of: fn(&Counts) -> u64| side.counts.as_ref().map_or("-".to_owned(), |counts| of(counts).to_string());
                table.row(vec![
                    LinkNumber(row.link).to_string(),
                    view.name(side.task),
                    view.name(row.sides[1 - half].task),
                    side.routes.to_string(),
                    side.in_ring.map_or("-".to_owned(), |records| records.to_string()),
                    side.files.map_or("-".to_owned(), |files| files.to_string()),
                    text::bytes(side.arena_bytes),
                    count(|counts| counts.leases.saturating_sub(counts.leases_back)),
                    count(|counts| counts.messages),
                    side.counts.as_ref().map_or("-".to_owned(), |counts| text::bytes(counts.bytes)),
                    count(|counts| counts.by_ticket),
                    count(|counts| counts.bells),
                    count(|counts| counts.sleeps),
                    count(|counts| counts.spins),
                    count(|counts| counts.no_credit),
                    count(|counts| counts.no_space),
                    count(|counts| counts.kernel_plane),
                    match () {
                        () if row.ending => "ends",
                        () if side.idle => "idle",
                        () => side.does.unwrap_or("-"),
                    }
                    .to_owned(),
                ]);
            }
        }
        table.print()?;
        Ok(Exit::DONE)
    }
}
