//! Rights between spaces and transit: taking one out of a space (Mach's copyin), putting one in (copyout), and ending one.
//!
//! Counting rule, on which no-senders and the checker rest: `port.srights` counts one for every name with a send right (whatever its user
//! references), and one for every [`Right::Send`] in transit, special port and registered port. `port.sorights` counts names, rights in
//! transit and requests that hold a send-once right.

use umach_abi::limits::UREFS_MAX;
use umach_abi::{Code, Disposition, Name, RightKind, TypeBits};

use super::effect::TaskId;
use super::mail::{NOTIFICATION, Right};
use super::port::{Kobject, PortId, Receiver};
use super::quota::Kind;
use super::space::{Entry, Object, Taken};
use super::{Core, notify::Notice};

const PEGGED: u16 = UREFS_MAX as u16;

impl Core {
    pub(super) fn alive(&self, port: PortId) -> bool {
        self.ports.get(port.0).is_some()
    }

    /// Looks at a name, and turns it into a dead name first if its port has died.
    pub(super) fn refresh(&mut self, task: TaskId, name: Name) -> Option<Entry> {
        let entry = *self.tasks[task.0].space.get(name)?;
        let Some(port) = entry.port() else { return Some(entry) };
        if self.alive(port) {
            return Some(entry);
        }
        let space = &mut self.tasks[task.0].space;
        space.forget(name, &entry);
        // The notification that was registered has fired meanwhile; it holds one reference of the dead name.
        let urefs = entry.urefs.saturating_add(entry.requested as u16);
        let dead = Entry { object: Object::None, bits: TypeBits::DEAD_NAME, urefs, requested: false };
        *space.get_mut(name).expect("just seen") = dead;
        Some(dead)
    }

    /// Whether `name` could be taken as `disposition`. Nothing changes.
    pub(super) fn check_take(&mut self, task: TaskId, name: Name, disposition: Disposition, dead_ok: bool) -> Result<(), Code> {
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        let needs = match disposition {
            Disposition::MakeSend | Disposition::MakeSendOnce | Disposition::MoveReceive => TypeBits::RECEIVE,
            Disposition::CopySend | Disposition::MoveSend => TypeBits::SEND,
            Disposition::MoveSendOnce => TypeBits::SEND_ONCE,
        };
        if !entry.has(needs) {
            let movable = needs != TypeBits::RECEIVE;
            return if movable && dead_ok && entry.has(TypeBits::DEAD_NAME) { Ok(()) } else { Err(Code::KERN_INVALID_RIGHT) };
        }
        let port = entry.port().expect("a right has a port");
        match disposition {
            Disposition::MoveReceive if self.ports[port.0].immovable => Err(Code::KERN_INVALID_CAPABILITY),
            Disposition::MoveReceive if self.ports[port.0].guarded && self.ports[port.0].strict => Err(Code::KERN_INVALID_RIGHT),
            Disposition::MakeSendOnce if !self.may_make_send_once(port) => Err(Code::KERN_RESOURCE_SHORTAGE),
            _ => Ok(()),
        }
    }

    fn may_make_send_once(&self, port: PortId) -> bool {
        let payer = self.payer(port).expect("a receive right in a space is paid for");
        self.ledger.may_queue(payer, payer, NOTIFICATION)
    }

    /// The account that pays for what is queued at `port`.
    pub(super) fn payer(&self, port: PortId) -> Option<super::quota::AccountId> {
        self.ports[port.0].charge.as_ref().map(|charge| charge.account())
    }

    /// Takes a right out of a space.
    pub(super) fn take(&mut self, task: TaskId, name: Name, disposition: Disposition, dead_ok: bool) -> Result<Right, Code> {
        self.check_take(task, name, disposition, dead_ok)?;
        let entry = *self.tasks[task.0].space.get(name).expect("just checked");
        let Some(port) = entry.port() else {
            if disposition != Disposition::CopySend {
                self.drop_dead_reference(task, name, entry.urefs);
            }
            return Ok(Right::Dead);
        };
        Ok(match disposition {
            Disposition::MakeSend => {
                self.ports[port.0].mscount = self.ports[port.0].mscount.wrapping_add(1);
                self.ports[port.0].srights += 1;
                Right::Send(port)
            }
            Disposition::MakeSendOnce => {
                let reserved = self.reserve_send_once(port);
                debug_assert!(reserved, "room was checked");
                Right::SendOnce(port)
            }
            Disposition::CopySend => {
                self.ports[port.0].srights += 1;
                Right::Send(port)
            }
            Disposition::MoveSend => {
                if entry.urefs == 1 {
                    self.remove_send_bit(task, name);
                } else {
                    if entry.urefs != PEGGED {
                        self.entry_mut(task, name).urefs -= 1;
                    }
                    self.ports[port.0].srights += 1;
                }
                Right::Send(port)
            }
            Disposition::MoveSendOnce => {
                self.free_name(task, name);
                Right::SendOnce(port)
            }
            Disposition::MoveReceive => {
                let told = if entry.has(TypeBits::SEND) {
                    self.entry_mut(task, name).bits = TypeBits::SEND;
                    None
                } else {
                    self.remove_name(task, name)
                };
                self.clear_receiver(port);
                self.tell_deleted(told, name);
                Right::Receive(port)
            }
        })
    }

    /// One more send-once right of `port`, with the price of its notification set aside.
    pub(super) fn reserve_send_once(&mut self, port: PortId) -> bool {
        let Core { ports, ledger, .. } = self;
        let port = &mut ports[port.0];
        let room = match (&mut port.reserve, &port.charge) {
            (Some(reserve), _) => ledger.grow(reserve, NOTIFICATION),
            (None, Some(charge)) => {
                port.reserve = ledger.charge(charge.account(), Kind::QueuedBytes, NOTIFICATION);
                port.reserve.is_some()
            }
            (None, None) => true,
        };
        port.sorights += u32::from(room);
        room
    }

    /// A send-once right was used: its message is there, no notification will be needed.
    pub(super) fn use_send_once(&mut self, port: PortId) {
        let Core { ports, ledger, .. } = self;
        let Some(port) = ports.get_mut(port.0) else { return };
        port.sorights -= 1;
        if let Some(reserve) = &mut port.reserve {
            ledger.shrink(reserve, NOTIFICATION);
        }
    }

    /// The receive right leaves its space: out of all sets, counts back to zero, guard off, waiting threads told.
    pub(super) fn clear_receiver(&mut self, id: PortId) {
        self.port_leaves(id);
        self.leave_all_sets(id);
        let port = &mut self.ports[id.0];
        port.receiver = Receiver::Transit(None);
        (port.mscount, port.seqno, port.context) = (0, 0, 0);
        (port.guarded, port.strict, port.immovable) = (false, false, false);
        let waiting = port.waiters.as_mut().map(|waiters| std::mem::take(&mut waiters.receivers)).unwrap_or_default();
        port.tidy();
        for lane in waiting {
            self.finish_receive(lane, Code::MACH_RCV_PORT_CHANGED);
        }
    }

    /// Puts a right into a space; gives it back if the task has no room for a name (or a port).
    pub(super) fn deliver(&mut self, task: TaskId, right: Right) -> Result<Name, Right> {
        let Some(port) = right.port() else {
            return Ok(if right == Right::Null { Name::NULL } else { Name::DEAD });
        };
        if !self.alive(port) {
            return Ok(Name::DEAD);
        }
        let held = if matches!(right, Right::SendOnce(_)) { None } else { self.tasks[task.0].space.name_of(port) };
        if let Right::Receive(_) = right
            && !self.may_receive_on(task, port)
        {
            return Err(right);
        }
        let name = match held {
            Some(name) => name,
            None => {
                let Some(name) = self.new_name(task, blank(&right, port)) else { return Err(right) };
                name
            }
        };
        self.join(task, name, right, held.is_some());
        Ok(name)
    }

    /// Puts a right into a space under a chosen name.
    pub(super) fn deliver_at(&mut self, task: TaskId, name: Name, right: Right) -> Result<(), (Code, Right)> {
        let Some(port) = right.port().filter(|&port| self.alive(port)) else {
            return Err((Code::KERN_INVALID_CAPABILITY, right));
        };
        if let Right::Receive(_) = right
            && !self.may_receive_on(task, port)
        {
            return Err((Code::KERN_RESOURCE_SHORTAGE, right));
        }
        let held = if matches!(right, Right::SendOnce(_)) { None } else { self.tasks[task.0].space.name_of(port) };
        match held {
            Some(held) if held == name => self.join(task, name, right, true),
            Some(_) => return Err((Code::KERN_RIGHT_EXISTS, right)),
            None => {
                if let Err(code) = self.new_name_at(task, name, blank(&right, port)) {
                    return Err((code, right));
                }
                self.join(task, name, right, false);
            }
        }
        Ok(())
    }

    fn may_receive_on(&self, task: TaskId, port: PortId) -> bool {
        let account = self.tasks[task.0].account;
        self.payer(port) == Some(account) || self.ledger.used(account, Kind::Ports) < self.ledger.limit(Kind::Ports)
    }

    /// The right becomes part of the entry `name`, which refers to its port already.
    fn join(&mut self, task: TaskId, name: Name, right: Right, held: bool) {
        let entry = self.tasks[task.0].space.get_mut(name).expect("entry is there");
        match right {
            Right::Send(port) if held && entry.has(TypeBits::SEND) => {
                entry.urefs = entry.urefs.saturating_add(1);
                self.ports[port.0].srights -= 1; // the entry counts as one, whatever its references
            }
            Right::Send(_) => {
                entry.bits |= TypeBits::SEND;
                entry.urefs = 1;
            }
            Right::SendOnce(_) => {}
            Right::Receive(port) => {
                entry.bits |= TypeBits::RECEIVE;
                self.ports[port.0].receiver = Receiver::Space(task, name);
                self.recharge(port, self.tasks[task.0].account);
            }
            Right::Null | Right::Dead => unreachable!("has no port"),
        }
    }

    /// A new receiver pays for the port and for what is queued there.
    fn recharge(&mut self, port: PortId, account: super::quota::AccountId) {
        let Core { ports, ledger, mails, routes, .. } = self;
        let port = &mut ports[port.0];
        if port.charge.as_ref().is_none_or(|charge| charge.account() == account) {
            return;
        }
        for charge in [&mut port.charge, &mut port.reserve].into_iter().flatten() {
            ledger.transfer(charge, account);
        }
        let parked = port.waiters.iter().flat_map(|waiters| waiters.senders.iter());
        let parked: Vec<_> = parked.filter_map(|&lane| super::send::parked_mail(&self.lanes, lane)).collect();
        let tickets = port.plane.iter().flat_map(|plane| &plane.routes).flat_map(|route| routes[route.0].tickets.values().copied());
        let tickets: Vec<_> = tickets.collect();
        for mail in port.queue.iter().copied().chain(parked).chain(tickets) {
            if let Some(charge) = &mut mails[mail.0].charge {
                ledger.transfer(charge, account);
            }
        }
    }

    /// Ends a right in transit.
    pub(super) fn discard(&mut self, right: Right) {
        match right {
            Right::Null | Right::Dead => {}
            Right::Send(port) => self.release_send(port),
            Right::SendOnce(port) => self.notify(port, Notice::SendOnce),
            Right::Receive(port) => self.destroy_port(port),
        }
    }

    /// One send right less.
    pub(super) fn release_send(&mut self, id: PortId) {
        let Some(port) = self.ports.get_mut(id.0) else { return };
        port.srights -= 1;
        if port.srights > 0 {
            return;
        }
        if let Some(Kobject::Region(region)) = port.kobject() {
            return self.drop_region(region);
        }
        if let Some(Kobject::Semaphore(semaphore)) = port.kobject() {
            return self.drop_semaphore(semaphore);
        }
        let mscount = port.mscount;
        if let Some(watch) = port.watches.as_mut().and_then(|watches| watches.no_senders.take()) {
            port.tidy();
            self.ledger.release(watch.charge);
            self.notify(watch.notify, Notice::NoSenders(mscount));
        }
    }

    pub(super) fn entry_mut(&mut self, task: TaskId, name: Name) -> &mut Entry {
        self.tasks[task.0].space.get_mut(name).expect("name was looked up")
    }

    /// A new name, charged.
    pub(super) fn new_name(&mut self, task: TaskId, entry: Entry) -> Option<Name> {
        let Core { tasks, ledger, .. } = self;
        let task = &mut tasks[task.0];
        if !ledger.grow(&mut task.names, 1) {
            return None;
        }
        let name = task.space.insert(entry);
        if name.is_none() {
            ledger.shrink(&mut task.names, 1);
        }
        name
    }

    /// A chosen name, charged.
    pub(super) fn new_name_at(&mut self, task: TaskId, name: Name, entry: Entry) -> Result<(), Code> {
        let Core { tasks, ledger, .. } = self;
        let task = &mut tasks[task.0];
        task.space.vacant(name).map_err(|taken| match taken {
            Taken::Same => Code::KERN_NAME_EXISTS,
            Taken::Other => Code::KERN_FAILURE,
        })?;
        if !ledger.grow(&mut task.names, 1) {
            return Err(Code::KERN_NO_SPACE);
        }
        task.space.insert_at(name, entry).expect("just seen vacant");
        Ok(())
    }

    /// Frees a name; a request registered on it is answered with port-deleted.
    pub(super) fn free_name(&mut self, task: TaskId, name: Name) {
        let told = self.remove_name(task, name);
        self.tell_deleted(told, name);
    }

    /// Frees a name whose receive right goes elsewhere too; gives who is to be told, once that is done: the port itself may be among them.
    pub(super) fn remove_name(&mut self, task: TaskId, name: Name) -> Option<PortId> {
        let entry = *self.tasks[task.0].space.get(name).expect("name was looked up");
        let told = if entry.requested { self.cancel_request(task, name) } else { None };
        let Core { tasks, ledger, .. } = self;
        tasks[task.0].space.remove(name);
        ledger.shrink(&mut tasks[task.0].names, 1);
        told
    }

    pub(super) fn tell_deleted(&mut self, told: Option<PortId>, name: Name) {
        if let Some(notify) = told {
            self.notify(notify, Notice::PortDeleted(name));
        }
    }

    /// The send part of an entry goes; the count stays for who took it.
    pub(super) fn remove_send_bit(&mut self, task: TaskId, name: Name) {
        if let Some(port) = self.entry_mut(task, name).port() {
            self.sender_gone(task, port);
        }
        let entry = self.entry_mut(task, name);
        if entry.has(TypeBits::RECEIVE) {
            entry.bits = TypeBits::RECEIVE;
            entry.urefs = 0;
        } else {
            self.free_name(task, name);
        }
    }

    /// One reference of a dead name less.
    pub(super) fn drop_dead_reference(&mut self, task: TaskId, name: Name, urefs: u16) {
        match urefs {
            1 => self.free_name(task, name),
            PEGGED => {}
            _ => self.entry_mut(task, name).urefs -= 1,
        }
    }

    /// Drops everything under a name (`mach_port_destroy`, and each name of a dying task).
    pub(super) fn destroy_entry(&mut self, task: TaskId, name: Name) {
        let Some(entry) = self.refresh(task, name) else { return };
        match entry.object {
            Object::None => self.free_name(task, name),
            Object::Set(set) => {
                self.free_name(task, name);
                self.destroy_set(set);
            }
            Object::Port(port) => {
                if entry.has(TypeBits::SEND) {
                    self.sender_gone(task, port);
                }
                let told = self.remove_name(task, name);
                if entry.has(TypeBits::SEND_ONCE) {
                    self.notify(port, Notice::SendOnce);
                }
                if entry.has(TypeBits::RECEIVE) {
                    if entry.has(TypeBits::SEND) {
                        self.release_send(port);
                    }
                    self.destroy_port(port);
                } else if entry.has(TypeBits::SEND) {
                    self.release_send(port);
                }
                self.tell_deleted(told, name);
            }
        }
    }
}

/// The entry for a right that has no name yet.
fn blank(right: &Right, port: PortId) -> Entry {
    let (bits, urefs) = match right {
        Right::SendOnce(_) => (RightKind::SendOnce.bit(), 1),
        Right::Receive(_) => (RightKind::Receive.bit(), 0),
        _ => (RightKind::Send.bit(), 0),
    };
    Entry { object: Object::Port(port), bits, urefs, requested: false }
}
