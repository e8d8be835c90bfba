//! What those who hold the host's control right see beside spaces and ports: rights that are in no space, and who waits for what.

use umach_abi::TypeBits;
use umach_abi::records::{HeldRow, WaitRow, held, kobject, wait};

use super::Core;
use super::effect::TaskId;
use super::mail::{Mail, Right};
use super::port::PortId;
use super::send::rights_of;
use super::task::{Source, Wait};
use super::tasks::kobject_of;

/// Rows in one page. A message may carry more rights than that, so a page can end within one.
const PAGE: usize = 256;

impl Core {
    /// A page of the rights in messages on their way. A position is the message's slot, and in the upper half the number of the right in it.
    pub(super) fn host_in_transit(&self, start: u64) -> (u64, Vec<u8>) {
        let (slot, mut skip) = (start as u32, (start >> 32) as usize);
        let mut page = Page::default();
        for (id, mail) in self.mails.iter_from(slot) {
            // A message that has taken the slot since is told from its beginning.
            let skipped = if id.index() == slot { std::mem::take(&mut skip) } else { 0 };
            let holder = mail.dest.port().map_or(0, |port| port.0.to_raw());
            for (number, (place, right)) in rights_in(mail).enumerate().skip(skipped) {
                if page.count == PAGE {
                    return (u64::from(id.index()) | (number as u64) << 32, page.rows);
                }
                page.push(self.held(place, holder, mail.sender.task, right));
            }
        }
        (0, page.rows)
    }

    /// A page of the send rights that the kernel keeps for tasks: special ports, registered ones, exception handlers, ports of traces. The
    /// host's own come first.
    pub(super) fn host_kept(&self, start: u64) -> (u64, Vec<u8>) {
        let mut page = Page::default();
        if start == 0 {
            page.extend(self.bootstrap.map(|port| self.held_send(held::BOOTSTRAP, 0, port)));
        }
        for (id, task) in self.tasks.iter_from(start as u32) {
            if page.count >= PAGE {
                return (u64::from(id.index()), page.rows);
            }
            if task.dying {
                continue;
            }
            let holder = id.to_raw();
            let handlers = task.exceptions.iter().flat_map(|handlers| handlers.iter().filter_map(|handler| handler.port));
            page.extend(task.bootstrap.map(|port| self.held_send(held::BOOTSTRAP, holder, port)));
            page.extend(task.registered.iter().flatten().map(|port| self.held_send(held::REGISTERED, holder, *port)));
            page.extend(handlers.map(|port| self.held_send(held::EXCEPTION, holder, port)));
            page.extend(self.traces.ports_of(TaskId(id)).map(|port| self.held_send(held::TRACE, holder, port)));
        }
        (0, page.rows)
    }

    fn held_send(&self, place: u32, holder: u64, port: PortId) -> HeldRow {
        self.held(place, holder, 0, &Right::Send(port))
    }
    fn held(&self, place: u32, holder: u64, sender: u64, right: &Right) -> HeldRow {
        let kind = match right {
            Right::Null | Right::Dead => TypeBits::empty(),
            Right::Send(_) => TypeBits::SEND,
            Right::SendOnce(_) => TypeBits::SEND_ONCE,
            Right::Receive(_) => TypeBits::RECEIVE,
        };
        // A right to a port that died meanwhile is a dead one, which nobody has looked at yet.
        let port = right.port().and_then(|port| Some((port, self.ports.get(port.0)?)));
        HeldRow {
            place,
            kind: if port.is_some() { kind.bits() } else { TypeBits::DEAD_NAME.bits() },
            holder,
            object: port.map_or(0, |(id, _)| id.0.to_raw()),
            sender,
            kobject: port.map_or(kobject::NONE, |(_, port)| kobject_of(port)),
        }
    }

    /// A page of the threads that wait in the kernel, lane by lane.
    pub(super) fn host_waits(&self, start: u32) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let mut lanes = self.lanes.iter_from(start);
        for (_, lane) in lanes.by_ref().take(PAGE) {
            let Some(pending) = &lane.pending else { continue };
            let (what, object) = match &pending.what {
                Wait::Send { port, .. } => (wait::SEND, port.0.to_raw()),
                Wait::Receive { from: Source::Port(port), .. } => (wait::RECEIVE, port.0.to_raw()),
                Wait::Receive { from: Source::Set(set), .. } => (wait::RECEIVE_SET, set.0.to_raw()),
                Wait::Semaphore(..) => (wait::SEMAPHORE, 0),
                Wait::Events { .. } | Wait::Poll { .. } => (wait::EVENTS, 0),
                Wait::Outside => continue,
            };
            WaitRow { task: lane.task.to_raw(), what, object }.write(&mut rows);
        }
        (lanes.next().map_or(0, |(id, _)| id.index()), rows)
    }
}

/// What a message holds beside its destination, with where in it.
fn rights_in(mail: &Mail) -> impl Iterator<Item = (u32, &Right)> {
    let reply = std::iter::once((held::REPLY, &mail.reply));
    let body = mail.carried.iter().flat_map(rights_of).map(|right| (held::BODY, right));
    reply.chain(body).filter(|(_, right)| !matches!(right, Right::Null))
}

#[derive(Default)]
struct Page {
    rows: Vec<u8>,
    count: usize,
}

impl Page {
    fn push(&mut self, row: HeldRow) {
        row.write(&mut self.rows);
        self.count += 1;
    }
    fn extend(&mut self, rows: impl IntoIterator<Item = HeldRow>) {
        rows.into_iter().for_each(|row| self.push(row));
    }
}
