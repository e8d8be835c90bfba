//! From a running system to a [`Model`].
//!
//! Page by page, while the system goes on: what is asked for last is younger than what was asked for first, and a right on its way meanwhile may be
//! seen twice or not at all. Our own task is left out.

use std::collections::BTreeMap;

use anyhow::Result;
use libtask::Task;
use umach_abi::TypeBits;
use umach_abi::records::{HeldRow, held, kobject};
use umach_name_api::Names;

use super::model::{Holder, Kind, Link, Model, Place, Port, Right, Task as Node};
use crate::view::View;

/// Looks at everything.
pub(super) fn collect(view: &View) -> Result<Model> {
    let plane = view.plane()?;
    let mut model = Model::default();
    for row in view.ports()? {
        let (queued, queue_limit) = (row.queued, row.qlimit);
        let port = Port { kind: kobject::name(row.kobject), controls: None, names: Vec::new(), queued, queue_limit };
        model.ports.insert(row.object, port);
    }
    let mut controls = Vec::new();
    for task in view.others() {
        // Gone since the list was made.
        let Ok(control) = view.control(task) else { continue };
        let Ok(space) = control.space() else { continue };
        model.tasks.insert(task.row.task, Node { label: task.label.clone(), pid: task.row.pid });
        for row in space {
            let bits = TypeBits::from_bits_retain(row.kind);
            for (bit, kind) in [(TypeBits::RECEIVE, Kind::Receive), (TypeBits::SEND, Kind::Send), (TypeBits::SEND_ONCE, Kind::Once)] {
                if bits.contains(bit) {
                    let route = plane.route_of(task.row.task, row.name.0, row.object).filter(|_| kind == Kind::Send);
                    model.rights.push(Right {
                        holder: Holder::Task(task.row.task),
                        place: Place::Space,
                        kind,
                        port: row.object,
                        name: row.name.0,
                        references: row.urefs,
                        link: route.map(|route| route.link),
                    });
                }
            }
        }
        controls.push((task.row.task, control));
    }
    let own = own_names(view.own_task())?;
    for (task, control) in &controls {
        if let Some(port) = own.get(&control.right().name().0).and_then(|port| model.ports.get_mut(port)) {
            port.controls = Some(*task);
        }
    }
    let rows = view.held()?;
    model.rights.extend(rows.iter().filter_map(right_of).filter(|right| match right.holder {
        Holder::Task(task) => model.tasks.contains_key(&task),
        Holder::Queue(_) => true,
    }));
    model.links = plane.links.iter().map(|link| Link { link: link.row.link, tasks: link.tasks() }).collect();
    model.links.retain(|link| link.tasks.iter().all(|task| model.tasks.contains_key(task)));
    name_ports(view.own_task(), &mut model);
    Ok(model)
}

/// What our own names stand for.
fn own_names(task: &Task) -> Result<BTreeMap<u32, u64>> {
    Ok(task.control()?.space()?.into_iter().map(|row| (row.name.0, row.object)).collect())
}

fn right_of(row: &HeldRow) -> Option<Right> {
    let bits = TypeBits::from_bits_retain(row.kind);
    let kind = match () {
        () if bits.contains(TypeBits::RECEIVE) => Kind::Receive,
        () if bits.contains(TypeBits::SEND) => Kind::Send,
        () if bits.contains(TypeBits::SEND_ONCE) => Kind::Once,
        () => return None,
    };
    let place = match row.place {
        held::REPLY => Place::Reply,
        held::BODY => Place::Body,
        held::BOOTSTRAP => Place::Bootstrap,
        held::REGISTERED => Place::Registered,
        held::EXCEPTION => Place::Exception,
        held::TRACE => Place::Trace,
        _ => return None,
    };
    let holder = if matches!(place, Place::Reply | Place::Body) { Holder::Queue(row.holder) } else { Holder::Task(row.holder) };
    Some(Right { holder, place, kind, port: row.object, name: 0, references: 1, link: None })
}

/// Asks the name server for every name that it lists, to see which port it stands for. Without one, ports have no names.
fn name_ports(task: &Task, model: &mut Model) {
    let Ok(names) = crate::system::name_server(task).map(Names::at) else { return };
    let mut add = |name: &str, right: libtask::Name| {
        let port = own_names(task).ok().and_then(|own| own.get(&right.0).copied());
        if let Some(port) = port.and_then(|port| model.ports.get_mut(&port)) {
            port.names.push(name.to_owned());
        }
    };
    add("(name server)", names.right().name());
    for entry in names.list().unwrap_or_default() {
        // It may have vanished, or be kept from us.
        if let Ok(right) = names.look_up(&entry.name) {
            add(&entry.name, right.name());
        }
    }
}
