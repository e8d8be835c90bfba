//! A look at a running system at one moment, as plain data with running totals.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use umach_abi::TypeBits;
use umach_abi::records::{PortRow, held, kobject, wait};

use super::model::{How, Port, Sample, Task, Wait};
use crate::plane::{Counts, Plane};
use crate::view::{Labelled, View};

/// Spaces with more names than this are not searched for rights to reply with.
const SEARCHED: u32 = 4096;

/// Takes one.
pub(super) fn take(view: &View, seconds: f64) -> Result<Sample> {
    let (ports, plane, waits) = (view.ports()?, view.plane_inside()?, view.waits()?);
    let mut sample = Sample { seconds, ..Sample::default() };
    for task in view.others() {
        sample.tasks.insert(task.row.task, task_of(task, &plane));
    }
    for row in ports.iter().filter(|row| row.kobject == kobject::NONE) {
        sample.ports.insert(row.object, port_of(row, &plane));
    }
    let receiver = |port: u64| ports.iter().find(|row| row.object == port).map(|row| row.receiver).filter(|task| *task != 0);
    let mut answers = Vec::new();
    for row in &waits {
        match row.what {
            wait::SEND => sample.waits.extend(receiver(row.object).map(|on| Wait { task: row.task, on, port: row.object, how: How::Room })),
            wait::RECEIVE if ports.iter().any(|port| port.object == row.object && port.send_once_rights > 0) => {
                answers.push((row.task, row.object));
            }
            wait::RECEIVE | wait::RECEIVE_SET | wait::EVENTS => {
                sample.serving.insert(row.task);
            }
            _ => {}
        }
    }
    sample.waits.extend(answerers(view, &answers, &receiver, &mut sample.serving)?);
    for link in &plane.links {
        for half in [0, 1] {
            let (task, on) = (link.tasks()[half], link.tasks()[1 - half]);
            if link.side(half).is_some_and(|side| side.calls_waiting > 0) {
                sample.waits.push(Wait { task, on, port: 0, how: How::Answer });
            }
        }
    }
    for route in &plane.routes {
        if let (Some(_), Some(on)) = (plane.waits(route), receiver(route.port)) {
            sample.waits.push(Wait { task: route.sender, on, port: route.port, how: How::Room });
        }
    }
    sample.serving.extend(sample.tasks.keys().filter(|task| plane.sleeps(**task)));
    let known = &sample.tasks;
    sample.waits.retain(|wait| known.contains_key(&wait.task) && known.contains_key(&wait.on));
    sample.waits.sort();
    sample.waits.dedup();
    Ok(sample)
}

fn task_of(task: &Labelled, plane: &Plane) -> Task {
    let row = task.row;
    let mut own = Counts::default();
    for link in &plane.links {
        for side in [0, 1].into_iter().filter(|half| link.tasks()[*half] == row.task).filter_map(|half| link.side(half)) {
            let side = Counts::new(side);
            own.messages = own.messages.saturating_add(side.messages);
            own.bytes = own.bytes.saturating_add(side.bytes);
        }
    }
    Task {
        label: task.label.clone(),
        pid: row.pid,
        stopped: row.suspended > 0,
        names: row.names,
        ports: row.ports,
        links: plane.links_of(row.task) as u32,
        queued_bytes: row.queued_bytes,
        queued_limit: row.queued_bytes_limit,
        by_kernel: row.sent,
        received_from_kernel: row.received,
        by_links: own.messages,
        bytes_by_links: own.bytes,
    }
}

fn port_of(row: &PortRow, plane: &Plane) -> Port {
    let routes = plane.routes_to(row.object);
    Port {
        receiver: row.receiver,
        name: row.name.0,
        queued: row.queued,
        limit: row.qlimit,
        ahead: plane.routes_to(row.object).filter_map(|route| plane.ahead(route)).fold(0, u32::saturating_add),
        routes: plane.routes_to(row.object).count() as u32,
        blocked: row.blocked_senders,
        received: row.seqno,
        delivered: routes.filter_map(|route| Some((route.route, plane.delivered(route)?))).collect(),
    }
}

/// Who is to answer those that wait for a reply: who holds the send-once right, or receives from the queue in which it is. A port whose send-once rights
/// are with nobody is no reply port: they are for notices, and its receiver serves.
fn answerers(view: &View, waiting: &[(u64, u64)], receiver: &dyn Fn(u64) -> Option<u64>, serving: &mut BTreeSet<u64>) -> Result<Vec<Wait>> {
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let mut holders: BTreeMap<u64, u64> = BTreeMap::new();
    for row in view.held()? {
        if row.place == held::REPLY && row.kind & TypeBits::SEND_ONCE.bits() != 0 {
            holders.extend(receiver(row.holder).map(|task| (row.object, task)));
        }
    }
    let missing = |holders: &BTreeMap<u64, u64>| waiting.iter().any(|(_, port)| !holders.contains_key(port));
    for task in view.others().filter(|task| task.row.names <= SEARCHED) {
        if !missing(&holders) {
            break;
        }
        // It may have ended.
        let Ok(space) = view.control(task).and_then(|control| Ok(control.space()?)) else { continue };
        for row in space.iter().filter(|row| row.kind & TypeBits::SEND_ONCE.bits() != 0) {
            holders.entry(row.object).or_insert(task.row.task);
        }
    }
    let mut waits = Vec::new();
    for (task, port) in waiting {
        match holders.get(port) {
            Some(on) => waits.push(Wait { task: *task, on: *on, port: *port, how: How::Answer }),
            None => {
                serving.insert(*task);
            }
        }
    }
    Ok(waits)
}
