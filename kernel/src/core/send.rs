//! Sending: from the caller's bytes to mail, and from mail to a queue.
//!
//! The order of the checks is the contract. Header errors come first and consume nothing. Then the header's rights are taken, then
//! the body's, one descriptor after the other; an error there ends everything taken so far, and rights behind the bad descriptor stay with
//! the sender.

use hashbrown::HashSet;
use umach_abi::limits::{ATTACH_MAX, MESSAGE_MAX, MESSAGE_PORTS_MAX, QUEUE_HARD_MAX};
use umach_abi::message::{self, BASE, BITS_USED, Descriptor, HEADER, Header, Options, Place};
use umach_abi::records::trace as record;
use umach_abi::{Code, Disposition, Name, RightKind, TypeBits};

use super::arena::Arena;
use super::effect::{LaneId, TaskId};
use super::mail::{Carried, Mail, MailId, NOTIFICATION, Right, Sender, price};
use super::port::{Kobject, PortId, Receiver};
use super::task::{Lane, Wait};
use super::{Core, destroy::Work};

/// Longest chain of receive rights in transit inside each other that a send is willing to follow.
const CHAIN_MAX: usize = 1024;

/// What became of a message.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // never kept, and a box would cost an allocation where none is needed
pub(super) enum Posted {
    /// It is queued, delivered, or destroyed as Mach destroys messages to dead ports.
    Sent,
    /// The queue is full.
    Full(Mail, PortId),
}

/// The mail of a lane blocked in a send.
pub(super) fn parked_mail(lanes: &Arena<Lane>, lane: LaneId) -> Option<MailId> {
    match lanes.get(lane.0)?.pending.as_ref()?.what {
        Wait::Send { mail, .. } => Some(mail),
        _ => None,
    }
}

/// The header's rights, checked.
struct Ends {
    remote: (Name, Disposition),
    local: Option<(Name, Disposition)>,
    /// The destination is a send-once right whose port died: the message is swallowed (XNU).
    swallow: bool,
}

impl Core {
    /// Makes mail of a message; `Ok(None)` if it was swallowed by a dead send-once right.
    pub(super) fn copy_in(&mut self, task: TaskId, bytes: &[u8], annex: &[u8], options: Options) -> Result<Option<Mail>, Code> {
        if bytes.len() < HEADER || !bytes.len().is_multiple_of(4) {
            return Err(Code::MACH_SEND_MSG_TOO_SMALL);
        }
        if bytes.len() > MESSAGE_MAX {
            return Err(Code::MACH_SEND_TOO_LARGE);
        }
        let mut header = Header::read(bytes).expect("long enough");
        header.bits &= BITS_USED;
        let ends = self.check_header(task, &header)?;
        let (rights, regions) = count_rights(bytes, &header);
        self.check_files(task, bytes, &header)?;
        if rights > MESSAGE_PORTS_MAX || regions > ATTACH_MAX {
            return Err(Code::MACH_SEND_TOO_LARGE);
        }
        let actor = self.tasks[task.0].account;
        let price = price(bytes.len(), annex.len(), rights);
        let dest = self.tasks[task.0].space.get(ends.remote.0).and_then(|entry| entry.port()).filter(|&port| self.alive(port));
        if let Some(port) = dest {
            self.check_room(port, &ends, actor, price)?;
            let waits = ends.remote.1.becomes() == RightKind::Send;
            if waits && options.contains(Options::SEND_NOTIFY) && self.ports[port.0].full() {
                self.arm_send_possible(task, ends.remote.0, port);
            }
        }

        // From here on the header's rights are taken, whatever happens.
        let (remote, local) = self.take_header(task, &ends);
        let owner = &self.tasks[task.0];
        let sender = Sender { uid: owner.peer.uid, gid: owner.peer.gid, pid: owner.peer.pid, task: task.to_raw() };
        let payer = remote.port().filter(|&port| self.alive(port)).and_then(|port| self.payer(port));
        let mut mail = Mail {
            dest: remote,
            reply: local,
            reply_kind: Disposition::from_raw(header.local_disposition()).map(Disposition::becomes),
            id: header.id,
            bytes: bytes.to_vec(),
            annex: annex.to_vec(),
            carried: Vec::new(),
            complex: header.is_complex(),
            origin: sender.task,
            sender,
            charge: payer.map(|payer| self.ledger.queue(payer, actor, price)),
            slot: None,
            seen: None,
        };
        if let Err(code) = self.copy_in_body(task, &header, bytes, annex, &mut mail.carried) {
            self.destroy_mail(mail);
            return Err(code);
        }
        if ends.swallow {
            self.destroy_mail(mail);
            return Ok(None);
        }
        Ok(Some(mail))
    }

    /// Room for the message at its receiver, and for the notifications of the send-once rights that the header makes, at the sender.
    fn check_room(&self, id: PortId, ends: &Ends, actor: super::quota::AccountId, price: u64) -> Result<(), Code> {
        let port = &self.ports[id.0];
        if ends.remote.1.becomes() == RightKind::SendOnce && port.queue.len() >= QUEUE_HARD_MAX as usize {
            return Err(Code::MACH_SEND_NO_BUFFER);
        }
        let made = [Some(ends.remote), ends.local].into_iter().flatten();
        let made = made.filter(|(name, how)| *how == Disposition::MakeSendOnce && name.is_valid()).count() as u64 * NOTIFICATION;
        let payer = self.payer(id);
        let own = made + if payer == Some(actor) { price } else { 0 };
        let room = payer.is_none_or(|payer| self.ledger.may_queue(payer, actor, price));
        if room && self.ledger.may_queue(actor, actor, own) { Ok(()) } else { Err(Code::MACH_SEND_NO_BUFFER) }
    }

    fn check_header(&mut self, task: TaskId, header: &Header) -> Result<Ends, Code> {
        let sendable = |raw| Disposition::from_raw(raw).filter(|d| d.can_send()).ok_or(Code::MACH_SEND_INVALID_HEADER);
        let remote = (header.remote, sendable(header.remote_disposition())?);
        let local = match header.local_disposition() {
            0 if header.local == Name::NULL => None,
            0 => return Err(Code::MACH_SEND_INVALID_HEADER),
            raw => Some((header.local, sendable(raw)?)),
        };
        match header.voucher_disposition() {
            0 => {}
            raw if raw == Disposition::MoveSend as u8 || raw == Disposition::CopySend as u8 => {
                if header.voucher != Name::NULL {
                    return Err(Code::MACH_SEND_INVALID_VOUCHER);
                }
            }
            _ => return Err(Code::MACH_SEND_INVALID_HEADER),
        }
        if !remote.0.is_valid() {
            return Err(Code::MACH_SEND_INVALID_DEST);
        }
        let mut swallow = self.dead_send_once(task, remote);
        let local = match local {
            Some((name, _)) if name == remote.0 => {
                swallow = false;
                let both = [remote.1, local.expect("some").1];
                self.check_pair(task, name, both)?;
                local
            }
            other => {
                if !swallow {
                    self.check_take(task, remote.0, remote.1, false).map_err(dest_error)?;
                }
                if let Some((name, disposition)) = other
                    && name.is_valid()
                {
                    self.check_take(task, name, disposition, false).map_err(|code| match code {
                        Code::KERN_RESOURCE_SHORTAGE => Code::MACH_SEND_NO_BUFFER,
                        _ => Code::MACH_SEND_INVALID_REPLY,
                    })?;
                }
                other
            }
        };
        Ok(Ends { remote, local, swallow })
    }

    /// A send-once right moved to, whose port died without a request on the name.
    fn dead_send_once(&self, task: TaskId, (name, disposition): (Name, Disposition)) -> bool {
        disposition == Disposition::MoveSendOnce
            && self.tasks[task.0].space.get(name).is_some_and(|entry| {
                entry.has(TypeBits::SEND_ONCE) && !entry.requested && entry.port().is_some_and(|port| !self.alive(port))
            })
    }

    /// Destination and reply are the same name.
    fn check_pair(&mut self, task: TaskId, name: Name, both: [Disposition; 2]) -> Result<(), Code> {
        for disposition in both {
            self.check_take(task, name, disposition, false).map_err(dest_error)?;
        }
        let urefs = self.tasks[task.0].space.get(name).expect("just checked").urefs;
        let moves = both.iter().filter(|&&d| d == Disposition::MoveSend).count();
        if both.contains(&Disposition::MoveSendOnce) || (moves == 2 && urefs < 2) {
            return Err(Code::MACH_SEND_INVALID_DEST);
        }
        Ok(())
    }

    /// Takes destination and reply, copies before moves so that a move cannot spoil a copy of the same name.
    fn take_header(&mut self, task: TaskId, ends: &Ends) -> (Right, Right) {
        let take = |core: &mut Core, (name, disposition): (Name, Disposition)| match name {
            Name::NULL => Right::Null,
            Name::DEAD => Right::Dead,
            _ => core.take(task, name, disposition, true).unwrap_or_else(|code| {
                debug_assert!(false, "the header was checked, and yet: {code}");
                Right::Dead
            }),
        };
        let Some(local) = ends.local else { return (take(self, ends.remote), Right::Null) };
        if ends.remote.1 == Disposition::MoveSend {
            let reply = take(self, local);
            (take(self, ends.remote), reply)
        } else {
            let remote = take(self, ends.remote);
            (remote, take(self, local))
        }
    }

    fn copy_in_body(&mut self, task: TaskId, header: &Header, bytes: &[u8], annex: &[u8], carried: &mut Vec<Carried>) -> Result<(), Code> {
        if !header.is_complex() {
            return Ok(());
        }
        if bytes.len() < BASE {
            return Err(Code::MACH_SEND_MSG_TOO_SMALL);
        }
        for (_, descriptor) in message::descriptors(bytes) {
            let descriptor =
                descriptor.map_err(|short| if short { Code::MACH_SEND_MSG_TOO_SMALL } else { Code::MACH_SEND_INVALID_TYPE })?;
            carried.push(self.copy_in_descriptor(task, descriptor, annex)?);
        }
        Ok(())
    }

    /// The memory of a message that may carry nothing else; the sender's rights are as before if it does.
    pub(super) fn copy_in_memory(&mut self, task: TaskId, header: &Header, bytes: &[u8], annex: &[u8]) -> Result<Vec<Carried>, Code> {
        let mut carried = Vec::new();
        if !header.is_complex() {
            return Ok(carried);
        }
        let (_, regions) = count_rights(bytes, header);
        let only_memory = message::descriptors(bytes).all(|(_, descriptor)| matches!(descriptor, Ok(Descriptor::Memory { .. })));
        if !only_memory || regions > ATTACH_MAX {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        match self.copy_in_body(task, header, bytes, annex, &mut carried) {
            Ok(()) => Ok(carried),
            Err(code) => {
                for one in carried {
                    if let Carried::Region(right, _) = one {
                        self.discard(right);
                    }
                }
                Err(code)
            }
        }
    }

    fn copy_in_descriptor(&mut self, task: TaskId, descriptor: Descriptor, annex: &[u8]) -> Result<Carried, Code> {
        match descriptor {
            Descriptor::Port { name, disposition } => {
                let (right, kind) = self.take_carried(task, name, disposition)?;
                Ok(Carried::Port { right, kind })
            }
            Descriptor::File { lane, number, .. } => Ok(Carried::File(self.take_file(task, lane, number))),
            Descriptor::Guarded { context, flags, disposition, name } => self.take_guarded(task, name, disposition, context, flags),
            Descriptor::Memory { address, deallocate, copy, size, .. } => {
                if copy > message::copy::VIRTUAL {
                    return Err(Code::MACH_SEND_INVALID_TYPE);
                }
                match Place::from_raw(address) {
                    _ if size == 0 => Ok(Carried::Bytes),
                    Some(Place::Annex(at)) if in_annex(annex, at, size as usize) => Ok(Carried::Bytes),
                    Some(Place::Region(name)) => self.take_region(task, name, size, deallocate),
                    _ => Err(Code::MACH_SEND_INVALID_MEMORY),
                }
            }
            Descriptor::Ports { address, copy, disposition, count, .. } => {
                if copy > message::copy::VIRTUAL {
                    return Err(Code::MACH_SEND_INVALID_TYPE);
                }
                let at = match Place::from_raw(address) {
                    _ if count == 0 => 0,
                    Some(Place::Annex(at)) if in_annex(annex, at, 4 * count as usize) => at,
                    _ => return Err(Code::MACH_SEND_INVALID_MEMORY),
                };
                self.take_array(task, &annex[at as usize..][..4 * count as usize], disposition, at)
            }
        }
    }

    fn take_carried(&mut self, task: TaskId, name: Name, disposition: u8) -> Result<(Right, RightKind), Code> {
        let disposition = Disposition::from_raw(disposition).ok_or(Code::MACH_SEND_INVALID_RIGHT)?;
        let right = match name {
            Name::NULL => Right::Null,
            Name::DEAD => Right::Dead,
            _ => self.take(task, name, disposition, true).map_err(body_error)?,
        };
        Ok((right, disposition.becomes()))
    }

    fn take_array(&mut self, task: TaskId, names: &[u8], disposition: u8, at: u32) -> Result<Carried, Code> {
        let kind = Disposition::from_raw(disposition).ok_or(Code::MACH_SEND_INVALID_TYPE)?.becomes();
        let mut rights = Vec::with_capacity(names.len() / 4);
        for name in names.chunks_exact(4) {
            let name = Name(message::u32_at(name, 0).expect("four bytes"));
            match self.take_carried(task, name, disposition) {
                Ok((right, _)) => rights.push(right),
                Err(code) => {
                    rights.into_iter().for_each(|right| self.discard(right));
                    return Err(code);
                }
            }
        }
        Ok(Carried::Ports { rights, kind, at })
    }

    /// A guarded descriptor: only a receive right, whose guard the sender knows.
    fn take_guarded(&mut self, task: TaskId, name: Name, disposition: u8, context: u64, flags: u16) -> Result<Carried, Code> {
        use message::guard_flags::{IMMOVABLE_RECEIVE, UNGUARDED_ON_SEND};
        let bad_flags = flags & !(IMMOVABLE_RECEIVE | UNGUARDED_ON_SEND) != 0;
        if disposition != Disposition::MoveReceive as u8 || bad_flags || (flags & UNGUARDED_ON_SEND != 0 && context != 0) {
            return Err(Code::MACH_SEND_INVALID_TYPE);
        }
        if name.is_valid() {
            let port = self.receive_right(task, name).map_err(body_error)?;
            let port = &mut self.ports[port.0];
            if port.guarded && (flags & UNGUARDED_ON_SEND != 0 || port.context != context) {
                return Err(Code::MACH_SEND_INVALID_RIGHT);
            }
            port.strict = false; // the guard was shown; the move itself clears the rest
        }
        let (right, _) = self.take_carried(task, name, disposition)?;
        Ok(Carried::Guarded { right, immovable: flags & IMMOVABLE_RECEIVE != 0 })
    }

    fn take_region(&mut self, task: TaskId, name: Name, size: u32, deallocate: bool) -> Result<Carried, Code> {
        let entry = self.refresh(task, name).ok_or(Code::MACH_SEND_INVALID_MEMORY)?;
        let region = entry.port().and_then(|port| self.ports[port.0].kobject());
        let Some(Kobject::Region(region)) = region else { return Err(Code::MACH_SEND_INVALID_MEMORY) };
        let memory = &self.regions[region.0];
        if memory.shared || (size as u64) > memory.size {
            return Err(Code::MACH_SEND_INVALID_MEMORY);
        }
        let disposition = if deallocate { Disposition::MoveSend } else { Disposition::CopySend };
        let right = self.take(task, name, disposition, false).map_err(|_| Code::MACH_SEND_INVALID_MEMORY)?;
        Ok(Carried::Region(right, region))
    }

    /// Puts mail where it is to go, if there is room.
    pub(super) fn post(&mut self, mut mail: Mail) -> Posted {
        self.trace_sent(&mut mail, false);
        let dest = mail.dest.port().filter(|&port| self.alive(port));
        let Some(id) = dest else {
            self.destroy_mail(mail);
            return Posted::Sent;
        };
        if !self.settle_in(&mail, id) {
            self.destroy_mail(mail);
            return Posted::Sent;
        }
        if let Some(kobject) = self.ports[id.0].kobject() {
            mail.seen = None;
            self.serve_kobject(kobject, mail);
            return Posted::Sent;
        }
        if matches!(mail.dest, Right::Send(_)) && self.ports[id.0].full() {
            return Posted::Full(mail, id);
        }
        self.enqueue(id, mail);
        Posted::Sent
    }

    /// Receive rights in mail for `id` are in transit to it. False if they would end up in their own queue.
    pub(super) fn settle_in(&mut self, mail: &Mail, id: PortId) -> bool {
        if self.is_circular(mail, id) {
            return false;
        }
        for right in mail.carried.iter().flat_map(rights_of) {
            if let Right::Receive(carried) = right
                && let Some(carried) = self.ports.get_mut(carried.0)
            {
                carried.receiver = Receiver::Transit(Some(id));
            }
        }
        true
    }

    /// Mail of the kernel's own never finds a queue full.
    pub(super) fn post_from_kernel(&mut self, mail: Mail) {
        match self.post(mail) {
            Posted::Sent => {}
            Posted::Full(mail, port) => self.enqueue(port, mail),
        }
    }

    /// Whether a receive right in the mail would end up, directly or through others in transit, in its own queue.
    fn is_circular(&self, mail: &Mail, dest: PortId) -> bool {
        let moved = |right: &Right| matches!(right, Right::Receive(_));
        let mut receives = mail.carried.iter().flat_map(rights_of).filter(|right| moved(right)).filter_map(Right::port).peekable();
        if receives.peek().is_none() {
            return false;
        }
        let mut chain = HashSet::new();
        let mut at = Some(dest);
        while let Some(port) = at {
            if chain.len() == CHAIN_MAX {
                return true;
            }
            chain.insert(port);
            at = match self.ports.get(port.0).map(|port| port.receiver) {
                Some(Receiver::Transit(next)) => next,
                _ => None,
            };
        }
        receives.any(|port| chain.contains(&port))
    }

    /// Queues mail and hands it to whoever waits.
    pub(super) fn enqueue(&mut self, id: PortId, mail: Mail) {
        let bytes = mail.charge.as_ref().map_or(0, |charge| charge.amount());
        let mail = MailId(self.mails.insert(mail));
        let port = &mut self.ports[id.0];
        port.queue.push_back(mail);
        port.queued_bytes += bytes;
        if !port.barred() {
            self.mark_ready(id);
            self.pump(id);
        }
    }

    /// Ends a message: its rights go one by one, as outstanding work.
    pub(super) fn destroy_mail(&mut self, mut mail: Mail) {
        self.trace_gone(record::DESTROYED, &mut mail);
        self.leave_slot(&mut mail);
        if mail.carried.is_empty() {
            // The common case needs no detour.
            let Mail { dest, reply, charge, .. } = mail;
            if let Some(charge) = charge {
                self.ledger.release(charge);
            }
            self.discard(dest);
            self.discard(reply);
            return;
        }
        self.work.push_front(Work::Mail(Box::new(mail)));
    }
}

/// The rights that a descriptor carries.
pub(super) fn rights_of(carried: &Carried) -> &[Right] {
    match carried {
        Carried::Port { right, .. } | Carried::Guarded { right, .. } | Carried::Region(right, _) => std::slice::from_ref(right),
        Carried::Ports { rights, .. } => rights,
        Carried::Bytes | Carried::File(_) => &[],
    }
}

fn in_annex(annex: &[u8], at: u32, size: usize) -> bool {
    (at as usize).checked_add(size).is_some_and(|end| end <= annex.len())
}

/// Rights and regions that a message claims to carry.
fn count_rights(bytes: &[u8], header: &Header) -> (usize, usize) {
    let (mut rights, mut regions) = (0usize, 0);
    if header.is_complex() {
        for (_, descriptor) in message::descriptors(bytes) {
            match descriptor {
                Ok(Descriptor::Port { .. } | Descriptor::Guarded { .. }) => rights += 1,
                Ok(Descriptor::Ports { count, .. }) => rights = rights.saturating_add(count as usize),
                Ok(Descriptor::Memory { address, .. }) => {
                    regions += usize::from(matches!(Place::from_raw(address), Some(Place::Region(_))));
                }
                Ok(Descriptor::File { .. }) | Err(_) => {}
            }
        }
    }
    (rights, regions)
}

fn dest_error(code: Code) -> Code {
    match code {
        Code::KERN_RESOURCE_SHORTAGE => Code::MACH_SEND_NO_BUFFER,
        _ => Code::MACH_SEND_INVALID_DEST,
    }
}

fn body_error(code: Code) -> Code {
    match code {
        Code::KERN_RESOURCE_SHORTAGE => Code::MACH_SEND_NO_BUFFER,
        _ => Code::MACH_SEND_INVALID_RIGHT,
    }
}
