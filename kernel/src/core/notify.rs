//! Notifications: requests for them, and the messages.
//!
//! Each is sent with a send-once right that the requester made. The price of the message was set aside when that right was made
//! (`Port::reserve`), so a notification always goes out, to a full queue as well.

use umach_abi::message::{BASE, COMPLEX, Descriptor, Header};
use umach_abi::{Code, Name, TypeBits, notify as ids, rights::received};

use super::Core;
use super::destroy::Work;
use super::effect::TaskId;
use super::mail::{Carried, Mail, Right, Sender};
use super::port::{PortId, Request, Watch};
use super::quota::Kind;
use super::space::Object;

/// Send-possible requests that one receive fires itself.
const FIRED_AT_ONCE: usize = 16;

/// What a notification says.
#[derive(Debug)]
pub(super) enum Notice {
    PortDeleted(Name),
    SendPossible(Name),
    /// The receive right itself.
    PortDestroyed(PortId),
    NoSenders(u32),
    SendOnce,
    DeadName(Name),
}

impl Core {
    /// Uses up the send-once right `to` for a notification.
    pub(super) fn notify(&mut self, to: PortId, notice: Notice) {
        if !self.alive(to) {
            if let Notice::PortDestroyed(port) = notice {
                self.destroy_port(port);
            }
            return;
        }
        let (id, word) = match notice {
            Notice::PortDeleted(name) => (ids::PORT_DELETED, Some(name.0)),
            Notice::SendPossible(name) => (ids::SEND_POSSIBLE, Some(name.0)),
            Notice::PortDestroyed(_) => (ids::PORT_DESTROYED, None),
            Notice::NoSenders(count) => (ids::NO_SENDERS, Some(count)),
            Notice::SendOnce => (ids::SEND_ONCE, None),
            Notice::DeadName(name) => (ids::DEAD_NAME, Some(name.0)),
        };
        let complex = matches!(notice, Notice::PortDestroyed(_));
        let mut bytes = Header { bits: if complex { COMPLEX } else { 0 }, id, ..Header::default() }.to_bytes().to_vec();
        if let Some(word) = word {
            ids::write_word(&mut bytes, word);
        }
        let mut carried = Vec::new();
        if let Notice::PortDestroyed(port) = notice {
            bytes.extend_from_slice(&1u32.to_le_bytes());
            debug_assert_eq!(bytes.len(), BASE);
            Descriptor::Port { name: Name::NULL, disposition: received::RECEIVE }.push(&mut bytes);
            carried.push(Carried::Port { right: Right::Receive(port), kind: umach_abi::RightKind::Receive });
        }
        let sender = Sender { uid: ids::KERNEL_ID, gid: ids::KERNEL_ID, pid: 0, task: 0 };
        let mail = Mail {
            dest: Right::SendOnce(to),
            reply: Right::Null,
            reply_kind: None,
            id,
            bytes,
            annex: Vec::new(),
            carried,
            complex,
            origin: 0,
            sender,
            charge: None, // paid by the port's reserve until it is received
            slot: None,
            seen: None,
        };
        self.post_from_kernel(mail);
    }

    /// Takes the request on a name back; gives its send-once right.
    pub(super) fn cancel_request(&mut self, task: TaskId, name: Name) -> Option<PortId> {
        let entry = self.entry_mut(task, name);
        entry.requested = false;
        let Object::Port(port) = entry.object else { return None };
        let port = self.ports.get_mut(port.0)?;
        let watches = port.watches.as_mut()?;
        let request = watches.requests.remove(&(task, name))?;
        watches.armed.remove(&(task, name));
        port.tidy();
        self.ledger.release(request.charge);
        Some(request.notify)
    }

    /// `mach_port_request_notification`: `notify` has been taken from the caller and is used up; `None` cancels. Gives the previous right.
    pub(super) fn request_notification(
        &mut self,
        task: TaskId,
        name: Name,
        id: i32,
        sync: u32,
        notify: Option<PortId>,
    ) -> Result<Option<PortId>, Code> {
        let result = self.register_notification(task, name, id, sync, notify);
        if let (Err(_), Some(notify)) = (&result, notify) {
            self.notify(notify, Notice::SendOnce);
        }
        result
    }

    /// The same; what is not used up on an error is for the caller to end.
    fn register_notification(
        &mut self,
        task: TaskId,
        name: Name,
        id: i32,
        sync: u32,
        notify: Option<PortId>,
    ) -> Result<Option<PortId>, Code> {
        if !matches!(id, ids::PORT_DESTROYED | ids::NO_SENDERS | ids::SEND_POSSIBLE | ids::DEAD_NAME) {
            return Err(Code::KERN_INVALID_VALUE);
        }
        if !name.is_valid() {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        match id {
            ids::PORT_DESTROYED => self.request_port_destroyed(task, name, sync, notify),
            ids::NO_SENDERS => self.request_no_senders(task, name, sync, notify),
            _ => self.request_on_name(task, name, id == ids::SEND_POSSIBLE, sync != 0, notify),
        }
    }

    fn request_port_destroyed(&mut self, task: TaskId, name: Name, sync: u32, notify: Option<PortId>) -> Result<Option<PortId>, Code> {
        if sync != 0 {
            return Err(Code::KERN_INVALID_VALUE);
        }
        let port = self.receive_right(task, name)?;
        if notify.is_some() && self.ports[port.0].watches().destroyed.is_some() {
            return Err(Code::KERN_FAILURE);
        }
        let watch = self.watch(task, notify)?;
        let previous = std::mem::replace(&mut self.ports[port.0].watches().destroyed, watch);
        Ok(self.unwatch(port, previous))
    }

    fn request_no_senders(&mut self, task: TaskId, name: Name, sync: u32, notify: Option<PortId>) -> Result<Option<PortId>, Code> {
        let id = self.receive_right(task, name)?;
        let port = &self.ports[id.0];
        let mscount = port.mscount;
        if let (Some(notify), true) = (notify, port.srights == 0 && sync <= mscount) {
            let previous = self.ports[id.0].watches().no_senders.take();
            let previous = self.unwatch(id, previous);
            self.notify(notify, Notice::NoSenders(mscount));
            return Ok(previous);
        }
        let watch = self.watch(task, notify)?;
        let previous = std::mem::replace(&mut self.ports[id.0].watches().no_senders, watch);
        Ok(self.unwatch(id, previous))
    }

    fn watch(&mut self, task: TaskId, notify: Option<PortId>) -> Result<Option<Watch>, Code> {
        let Some(notify) = notify else { return Ok(None) };
        Ok(Some(Watch { notify, charge: self.charge_notification(task)? }))
    }

    fn unwatch(&mut self, port: PortId, watch: Option<Watch>) -> Option<PortId> {
        self.ports[port.0].tidy();
        let Watch { notify, charge } = watch?;
        self.ledger.release(charge);
        Some(notify)
    }

    fn charge_notification(&mut self, task: TaskId) -> Result<super::quota::Charge, Code> {
        self.ledger.charge(self.tasks[task.0].account, Kind::Notifications, 1).ok_or(Code::KERN_RESOURCE_SHORTAGE)
    }

    /// Dead-name and send-possible requests: one per name.
    fn request_on_name(
        &mut self,
        task: TaskId,
        name: Name,
        possible: bool,
        immediate: bool,
        notify: Option<PortId>,
    ) -> Result<Option<PortId>, Code> {
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        let Object::Port(id) = entry.object else {
            // XNU fires at once for send-possible only; a dead-name request comes too late.
            if let (Object::None, true, Some(notify)) = (entry.object, possible, notify) {
                let entry = self.entry_mut(task, name);
                entry.urefs = entry.urefs.saturating_add(1);
                self.notify(notify, Notice::DeadName(name));
                return Ok(None);
            }
            let dead = matches!(entry.object, Object::None);
            return Err(if dead { Code::KERN_INVALID_ARGUMENT } else { Code::KERN_INVALID_RIGHT });
        };
        let Some(notify) = notify else { return Ok(if entry.requested { self.cancel_request(task, name) } else { None }) };
        let port = &self.ports[id.0];
        let full = port.full() && port.kobject().is_none() && !entry.has(TypeBits::SEND_ONCE);
        // Messages go over a link: the receiver knows whether there is room.
        let full = full || (possible && immediate && self.ask_for_room(task, id));
        if possible && immediate && !full {
            let previous = if entry.requested { self.cancel_request(task, name) } else { None };
            self.notify(notify, Notice::SendPossible(name));
            return Ok(previous);
        }
        let charge = self.charge_notification(task)?;
        let previous = if entry.requested { self.cancel_request(task, name) } else { None };
        let watches = self.ports[id.0].watches();
        watches.requests.insert((task, name), Request { notify, possible, charge });
        if possible && immediate {
            watches.armed.insert((task, name));
        }
        self.entry_mut(task, name).requested = true;
        Ok(previous)
    }

    /// A send found the queue full and asked to be told (`MACH_SEND_NOTIFY`).
    pub(super) fn arm_send_possible(&mut self, task: TaskId, name: Name, port: PortId) {
        if let Some(watches) = &mut self.ports[port.0].watches
            && watches.requests.get(&(task, name)).is_some_and(|request| request.possible)
        {
            watches.armed.insert((task, name));
        }
    }

    /// The queue has room again: armed requests fire, once. Many of them do so as work.
    pub(super) fn fire_send_possible(&mut self, id: PortId) {
        for _ in 0..FIRED_AT_ONCE {
            let Some(port) = self.ports.get_mut(id.0) else { return };
            if port.full() {
                return;
            }
            let Some((task, name)) = port.watches.as_mut().and_then(|watches| watches.armed.pop_first()) else { return };
            if let Some(notify) = self.cancel_request(task, name) {
                self.notify(notify, Notice::SendPossible(name));
            }
        }
        if self.ports.get(id.0).is_some_and(|port| port.has_armed()) {
            self.work.push_back(Work::Possible(id));
        }
    }
}
