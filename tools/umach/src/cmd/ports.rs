//! `umach ports`: the ports, who receives on them, what waits there, and which tasks reach them directly.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use umach_abi::records::{PortRow, RouteRow, kobject};

use crate::exit::Exit;
use crate::ids::{LinkNumber, PortNumber, RouteNumber, TaskNumber, Who};
use crate::plane::{Plane, state_of_route};
use crate::system::At;
use crate::text::{self, Table};
use crate::view::View;

/// Lists the ports, who receives on them, and what waits there.
#[derive(Args)]
#[command(after_help = "\
NAME is the receiver's own name for the port. QUEUE is messages queued in the kernel process and the limit. ROUTES are tasks \
that send to it over a link; AHEAD counts messages of theirs that are sent and not received, beside those in QUEUE. WAITING \
counts threads that wait in the kernel process to send (s) or to receive (r). ARMED: n no-senders, d port-destroyed, g guarded.
JSON: an array of {port, kind, receiver, receiver_label, name, send_rights, send_once_rights, queued, queue_limit, \
queued_bytes, blocked_senders, waiting_receivers, received, make_send_count, sets, no_senders_armed, \
port_destroyed_armed, guarded, routes: [{route, link, sender, sender_label, name, state, ahead, in_ring, tickets, waits}, ..]}; \
receiver is null for a port in transit and for the kernel's own.
With --routes: a line for each route. NAME is the sender's. STATE is live, behind-mail (older mail comes first), ended (what is \
on its way is still delivered) or closed (its sender has not noticed yet). AHEAD are messages sent and not received, RING those \
of them that the receiver has not taken out of the ring yet. TICKETS are messages with rights, which wait in the kernel \
process for their turn. WAITS: the sender waits for credit (it is as far ahead of the receiver as it may be) or for space in the ring. JSON: as above.

Examples:
  umach ports
  umach ports T3
  umach ports --routes
  umach ports --all --json | jq 'map(select(.queued > 0))'")]
pub(crate) struct Ports {
    /// Only ports on which this task (or each task of this process) receives.
    #[arg(value_name = "TASK|PID")]
    who: Option<Who>,
    /// Also the kernel's own: tasks, regions, the host.
    #[arg(long)]
    all: bool,
    /// Lists the routes to the ports instead.
    #[arg(long)]
    routes: bool,
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
    routes: Vec<Route>,
}

/// A route to a port as JSON has it.
#[derive(Serialize)]
struct Route {
    route: u64,
    link: u64,
    sender: u64,
    sender_label: String,
    name: u32,
    state: &'static str,
    ahead: Option<u32>,
    in_ring: Option<u32>,
    tickets: u32,
    waits: Option<&'static str>,
}

impl Route {
    fn new(view: &View, plane: &Plane, row: &RouteRow) -> Route {
        Route {
            route: row.route,
            link: row.link,
            sender: row.sender,
            sender_label: view.label(row.sender).to_owned(),
            name: row.name.0,
            state: state_of_route(row),
            ahead: plane.ahead(row),
            in_ring: plane.in_ring(row),
            tickets: row.tickets,
            waits: plane.waits(row),
        }
    }
}

impl Row {
    fn new(view: &View, plane: &Plane, row: &PortRow) -> Row {
        Row {
            port: row.object,
            kind: kobject::name(row.kobject),
            receiver: (row.receiver != 0).then_some(row.receiver),
            receiver_label: view.label(row.receiver).to_owned(),
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
            routes: plane.routes_to(row.object).map(|route| Route::new(view, plane, route)).collect(),
        }
    }
    fn armed(&self) -> String {
        [(self.no_senders_armed, 'n'), (self.port_destroyed_armed, 'd'), (self.guarded, 'g')]
            .into_iter()
            .filter_map(|(armed, letter)| armed.then_some(letter))
            .collect()
    }
    /// Messages on their way over links; none if there is no way.
    fn ahead(&self) -> Option<u32> {
        self.routes.iter().filter_map(|route| route.ahead).reduce(u32::saturating_add)
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
        let (ports, plane) = (view.ports()?, view.plane_inside()?);
        let rows: Vec<Row> = ports.iter().filter(wanted).map(|row| Row::new(&view, &plane, row)).collect();
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        if self.routes {
            return print_routes(&view, &rows);
        }
        let mut table = Table::new(&[
            "PORT", "KIND", "NAME", "SEND", "ONCE", "QUEUE", "BYTES", "ROUTES", "AHEAD", "WAITING", "RECEIVED", "SETS", "ARMED", "RECEIVER",
        ]);
        for row in &rows {
            let receiver = TaskNumber(row.receiver.unwrap_or(0));
            table.row(vec![
                PortNumber(row.port).to_string(),
                row.kind.to_owned(),
                name(row.name),
                row.send_rights.to_string(),
                row.send_once_rights.to_string(),
                format!("{}/{}", row.queued, row.queue_limit),
                text::bytes(row.queued_bytes),
                row.routes.len().to_string(),
                row.ahead().map_or("-".to_owned(), |messages| messages.to_string()),
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

fn name(name: u32) -> String {
    if name == 0 { "-".to_owned() } else { format!("{name:#x}") }
}

fn print_routes(view: &View, ports: &[Row]) -> Result<Exit> {
    let mut table = Table::new(&["ROUTE", "LINK", "PORT", "RECEIVER", "SENDER", "NAME", "STATE", "AHEAD", "RING", "TICKETS", "WAITS"]);
    for port in ports {
        for route in &port.routes {
            table.row(vec![
                RouteNumber(route.route).to_string(),
                LinkNumber(route.link).to_string(),
                PortNumber(port.port).to_string(),
                view.name(port.receiver.unwrap_or(0)),
                view.name(route.sender),
                name(route.name),
                route.state.to_owned(),
                route.ahead.map_or("-".to_owned(), |messages| messages.to_string()),
                route.in_ring.map_or("-".to_owned(), |records| records.to_string()),
                route.tickets.to_string(),
                route.waits.unwrap_or("").to_owned(),
            ]);
        }
    }
    table.print()?;
    Ok(Exit::DONE)
}
