//! `umach rights`: what each task holds, name by name.

mod held;

use anyhow::Result;
use clap::Args;
use serde::{Serialize, Serializer};
use umach_abi::TypeBits;
use umach_abi::records::{RouteRow, SpaceRow, kobject};

use crate::exit::Exit;
use crate::ids::{PortNumber, SetNumber, TaskNumber, Who};
use crate::plane::{Plane, state_of_route, written};
use crate::system::At;
use crate::text::{self, Paint, Table};
use crate::view::{Labelled, View};

/// Lists the rights that tasks hold, name by name, or those that are in no space.
#[derive(Args)]
#[command(after_help = "\
RIGHTS are send, receive, once, set, dead; +dead-notice and +room-notice say that the holder asked to be told.
PORT is a port (P) or a set (S). RECEIVER is the task at the other end: -, if the port is the kernel's or its receive right is \
in transit. ROUTE is how a send right's messages go over a link: R and its number; without one they go through the kernel \
process. A route is behind-mail until older mail has been received.
JSON: an array of {task, label, name, rights: [..], references, kind, port, set, receiver, route: {route, link, state}}; port or \
set or both are null, and so may the route be.

With --held: rights that are in no space. PLACE is where they are instead: bootstrap and registered (kept for the task), exception (a handler), \
trace (where its records go), reply and body (in a message to the port in HOLDER, sent by FROM).
JSON: an array of {holder, holder_label, queue, place, right, kind, port, receiver, from}; a right in a message has no holder but a queue, \
the host's own has neither.

Examples:
  umach rights
  umach rights T3
  umach rights 1234 --json
  umach rights --held")]
pub(crate) struct Rights {
    /// Only this task, or each task of this process.
    #[arg(value_name = "TASK|PID")]
    who: Option<Who>,
    /// Lists the rights that are in no space: in messages, or kept by the kernel process.
    #[arg(long)]
    held: bool,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// A right as JSON has it.
#[derive(Serialize)]
struct Row<'a> {
    task: u64,
    label: &'a str,
    name: u32,
    rights: Vec<&'static str>,
    references: u32,
    kind: &'static str,
    port: Option<u64>,
    set: Option<u64>,
    receiver: Option<u64>,
    #[serde(serialize_with = "serialize_route")]
    route: Option<RouteRow>,
}

fn serialize_route<S: Serializer>(route: &Option<RouteRow>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Route {
        route: u64,
        link: u64,
        state: &'static str,
    }
    route.as_ref().map(|row| Route { route: row.route, link: row.link, state: state_of_route(row) }).serialize(to)
}

/// The words for the rights and requests under a name.
fn words(kind: u32) -> Vec<&'static str> {
    let bits = TypeBits::from_bits_retain(kind);
    [
        (TypeBits::RECEIVE, "receive"),
        (TypeBits::SEND, "send"),
        (TypeBits::SEND_ONCE, "once"),
        (TypeBits::PORT_SET, "set"),
        (TypeBits::DEAD_NAME, "dead"),
        (TypeBits::DNREQUEST, "+dead-notice"),
        (TypeBits::SPREQUEST, "+room-notice"),
    ]
    .into_iter()
    .filter_map(|(bit, word)| bits.contains(bit).then_some(word))
    .collect()
}

impl<'a> Row<'a> {
    fn new(task: &'a Labelled, plane: &Plane, row: &SpaceRow) -> Row<'a> {
        let object = (row.object != 0).then_some(row.object);
        let is_set = TypeBits::from_bits_retain(row.kind).contains(TypeBits::PORT_SET);
        Row {
            task: task.row.task,
            label: &task.label,
            name: row.name.0,
            rights: words(row.kind),
            references: row.urefs,
            kind: if is_set { "set" } else { kobject::name(row.kobject) },
            port: object.filter(|_| !is_set),
            set: object.filter(|_| is_set),
            receiver: (row.receiver != 0).then_some(row.receiver),
            route: plane.route_of(task.row.task, row.name.0, row.object).copied(),
        }
    }
}

impl Rights {
    pub(crate) fn run(self) -> Result<Exit> {
        let view = View::open(&self.at)?;
        let tasks: Vec<&Labelled> = match self.who {
            Some(who) => view.find(who)?,
            None => view.others().collect(),
        };
        if self.held {
            return held::list(&view, self.who.map(|_| &tasks[..]), self.json);
        }
        let rows = rows(&view, &tasks, self.who.is_some())?;
        if self.json {
            text::print_json(&rows)?;
            return Ok(Exit::DONE);
        }
        table(&view, &rows, true).print()?;
        Ok(Exit::DONE)
    }
}

/// The rights of these tasks, as a table without the tasks.
pub(super) fn listing(view: &View, tasks: &[&Labelled]) -> Result<String> {
    Ok(table(view, &rows(view, tasks, true)?, false).render(Paint::none()))
}

fn rows<'a>(view: &View, tasks: &[&'a Labelled], asked_for: bool) -> Result<Vec<Row<'a>>> {
    let plane = view.plane()?;
    let mut rows = Vec::new();
    for task in tasks {
        // Gone since the list was made, unless it was asked for by name.
        match view.control(task).and_then(|control| Ok(control.space()?)) {
            Ok(space) => rows.extend(space.iter().map(|row| Row::new(task, &plane, row))),
            Err(error) if asked_for => return Err(error),
            Err(_) => {}
        }
    }
    Ok(rows)
}

fn table(view: &View, rows: &[Row<'_>], with_tasks: bool) -> Table {
    let skip = usize::from(!with_tasks);
    let mut table = Table::new(&["TASK", "NAME", "RIGHTS", "REFS", "KIND", "PORT", "ROUTE", "RECEIVER"][skip..]);
    for row in rows {
        let cells = vec![
            view.name(row.task),
            format!("{:#x}", row.name),
            row.rights.join(" "),
            row.references.to_string(),
            row.kind.to_owned(),
            row.set.map_or_else(|| PortNumber(row.port.unwrap_or(0)).to_string(), |set| SetNumber(set).to_string()),
            row.route.as_ref().map(written).unwrap_or_default(),
            row.receiver.map_or_else(|| TaskNumber(0).to_string(), |receiver| view.name(receiver)),
        ];
        table.row(cells.into_iter().skip(skip).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_rights_and_requests() {
        let bits = TypeBits::SEND_RECEIVE | TypeBits::DNREQUEST;
        assert_eq!(words(bits.bits()), ["receive", "send", "+dead-notice"]);
        assert!(words(0).is_empty());
    }
}
