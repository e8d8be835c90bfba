//! `umach rights --held`: rights that no name stands for.

use anyhow::Result;
use serde::Serialize;
use umach_abi::records::{HeldRow, held, kobject};

use super::words;
use crate::exit::Exit;
use crate::ids::{PortNumber, TaskNumber};
use crate::text::{self, Table};
use crate::view::{Labelled, View};

/// Such a right as JSON has it.
#[derive(Serialize)]
struct Row<'a> {
    holder: Option<u64>,
    holder_label: &'a str,
    queue: Option<u64>,
    place: &'static str,
    right: &'static str,
    kind: &'static str,
    port: Option<u64>,
    receiver: Option<u64>,
    from: Option<u64>,
}

fn place(row: &HeldRow) -> &'static str {
    match row.place {
        held::REPLY => "reply",
        held::BODY => "body",
        held::BOOTSTRAP => "bootstrap",
        held::REGISTERED => "registered",
        held::EXCEPTION => "exception",
        held::TRACE => "trace",
        _ => "other",
    }
}

/// Prints them: all, or those of some tasks (as holder, sender, or as the receiver of the message that they are in).
pub(super) fn list(view: &View, only: Option<&[&Labelled]>, json: bool) -> Result<Exit> {
    let some = |id: u64| (id != 0).then_some(id);
    let ports = view.ports()?;
    let receiver = |port: u64| ports.iter().find(|row| row.object == port).and_then(|row| some(row.receiver));
    let row = |row: &HeldRow| {
        let in_message = matches!(row.place, held::REPLY | held::BODY);
        Row {
            holder: some(row.holder).filter(|_| !in_message),
            holder_label: if in_message { "" } else { view.label(row.holder) },
            queue: some(row.holder).filter(|_| in_message),
            place: place(row),
            right: words(row.kind).first().copied().unwrap_or("dead"),
            kind: kobject::name(row.kobject),
            port: some(row.object),
            receiver: receiver(row.object),
            from: some(row.sender),
        }
    };
    let of = |task: Option<u64>| only.is_none_or(|only| only.iter().any(|one| Some(one.row.task) == task));
    let mut rows: Vec<Row<'_>> = view.held()?.iter().map(row).collect();
    rows.retain(|row| of(row.holder) || of(row.from) || of(row.queue.and_then(receiver)));
    if json {
        text::print_json(&rows)?;
        return Ok(Exit::DONE);
    }
    let mut table = Table::new(&["HOLDER", "PLACE", "RIGHT", "KIND", "PORT", "RECEIVER", "FROM"]);
    let name = |task: Option<u64>| task.map_or_else(|| TaskNumber(0).to_string(), |task| view.name(task));
    for row in rows {
        let holder = match (row.holder, row.queue) {
            (_, Some(port)) => PortNumber(port).to_string(),
            (Some(task), _) => view.name(task),
            (None, None) => "host".to_owned(),
        };
        let port = PortNumber(row.port.unwrap_or(0)).to_string();
        table.row(vec![holder, row.place.into(), row.right.into(), row.kind.into(), port, name(row.receiver), name(row.from)]);
    }
    table.print()?;
    Ok(Exit::DONE)
}
