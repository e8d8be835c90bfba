//! Messages that come back from a receiver: of ended routes, and of ports that are to move. Nobody vouches for who sent them. They carry memory at
//! most: what came with rights is with the kernel as a ticket.

use umach_abi::control;
use umach_abi::limits::{ANNEX_MAX, MESSAGE_MAX};
use umach_abi::link;
use umach_abi::message::Header;
use umach_abi::records::Frame;
use umach_abi::{Code, Name, RightKind};

use super::Core;
use super::effect::{TaskId, Violation};
use super::mail::{Carried, Mail, MailId, Right, Sender, price};
use super::port::PortId;
use super::quota::Charge;
use super::route::{ANYBODY, RouteId, State};

impl Core {
    /// Messages come back from the ring of an ended route.
    pub(super) fn route_return(
        &mut self,
        task: TaskId,
        request: &control::RouteReturn<'_>,
    ) -> Result<Result<(u32, Code), Code>, Violation> {
        let id = match self.incoming(task, request.route) {
            Ok(id) if matches!(self.routes[id.0].state, State::Ended(_)) => id,
            _ => return Ok(Err(Code::KERN_INVALID_ARGUMENT)),
        };
        let mut rest = request.tail;
        let wrong = |rest: &[u8]| Violation::Sizes { claimed: request.count as u64, have: rest.len() };
        let (mut taken, mut status) = (0, Code::SUCCESS);
        while taken < request.count && status.is_ok() {
            let row = Frame::read(rest).ok_or_else(|| wrong(rest))?;
            rest = &rest[Frame::SIZE..];
            let (size, annex) = (row.size as usize, row.annex as usize);
            if size.checked_add(annex).is_none_or(|both| both > rest.len()) {
                return Err(wrong(rest));
            }
            let (bytes, tail) = rest.split_at(size);
            let (annex, tail) = tail.split_at(annex);
            rest = tail;
            let result = if size == 0 { self.return_ticket(id, row.options) } else { self.return_message(id, task, bytes, annex, &row) };
            match result {
                Ok(()) => taken += 1,
                Err(code) => status = code,
            }
        }
        Ok(Ok((taken, status)))
    }

    /// Messages that a receiver took from a ring and did not look at go back to the front of the queue.
    pub(super) fn port_unreceive(
        &mut self,
        task: TaskId,
        request: &control::PortUnreceive<'_>,
    ) -> Result<Result<(u32, Code), Code>, Violation> {
        let port = match self.receive_right(task, request.name) {
            Ok(port) => port,
            Err(code) => return Ok(Err(code)),
        };
        let mut rest = request.tail;
        let wrong = |rest: &[u8]| Violation::Sizes { claimed: request.count as u64, have: rest.len() };
        let (mut taken, mut status) = (0, Code::SUCCESS);
        while taken < request.count && status.is_ok() {
            let row = Frame::read(rest).ok_or_else(|| wrong(rest))?;
            rest = &rest[Frame::SIZE..];
            let (bytes, tail) = rest.split_at_checked(row.size as usize).ok_or_else(|| wrong(rest))?;
            let (annex, tail) = tail.split_at_checked(row.annex as usize).ok_or_else(|| wrong(rest))?;
            rest = tail;
            let mail = match row.size {
                0 => self.unreceived_ticket(task, port, &row),
                _ => self.unreceived_message(task, port, bytes, annex),
            };
            match mail {
                Ok(mail) => {
                    let bytes = self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
                    let entry = &mut self.ports[port.0];
                    entry.queue.insert(taken as usize, mail);
                    entry.queued_bytes += bytes;
                    if entry.barred() {
                        entry.plane().place += 1;
                    }
                    taken += 1;
                }
                Err(code) => status = code,
            }
        }
        if taken > 0 && !self.ports[port.0].barred() {
            self.mark_ready(port);
            self.pump(port);
        }
        Ok(Ok((taken, status)))
    }

    pub(super) fn unreceived_ticket(&mut self, task: TaskId, port: PortId, row: &Frame) -> Result<MailId, Code> {
        let id = self.incoming(task, row.status as u64 | (row.trailer as u64) << 32)?;
        if self.routes[id.0].port != port {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let mail = self.routes[id.0].tickets.remove(&row.options).ok_or(Code::KERN_INVALID_VALUE)?;
        self.tickets_fewer(id, 1);
        self.become_mail(mail);
        let route = &self.routes[id.0];
        if !route.attached && route.tickets.is_empty() {
            self.forget_route(id);
        }
        Ok(mail)
    }

    pub(super) fn unreceived_message(&mut self, task: TaskId, port: PortId, bytes: &[u8], annex: &[u8]) -> Result<MailId, Code> {
        let header = check_returned(bytes, annex)?;
        let actor = self.tasks[task.0].account;
        let price = price(bytes.len(), annex.len(), 0);
        let payer = self.payer(port);
        if payer.is_some_and(|payer| !self.ledger.may_queue(payer, actor, price)) {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let carried = self.copy_in_memory(task, &header, bytes, annex)?;
        let (reply, reply_kind) = match header.local {
            Name::NULL => (Right::Null, None),
            Name::DEAD => (Right::Dead, Some(RightKind::SendOnce)),
            name => match self.take(task, name, umach_abi::Disposition::MoveSendOnce, true) {
                Ok(right) => (right, Some(RightKind::SendOnce)),
                Err(code) => {
                    carried.into_iter().for_each(|carried| self.discard_carried(carried));
                    return Err(code);
                }
            },
        };
        let charge = payer.map(|payer| self.ledger.queue(payer, actor, price));
        Ok(self.unknown_mail(port, ANYBODY, Contents { bytes, annex, carried, id: header.id }, (reply, reply_kind), charge))
    }

    fn discard_carried(&mut self, carried: Carried) {
        if let Carried::Region(right, _) = carried {
            self.discard(right);
        }
    }

    /// Mail whose sender nobody vouches for.
    pub(super) fn unknown_mail(
        &mut self,
        port: PortId,
        origin: u64,
        contents: Contents<'_>,
        reply: (Right, Option<RightKind>),
        charge: Option<Charge>,
    ) -> MailId {
        let Contents { bytes, annex, carried, id } = contents;
        self.ports[port.0].srights += 1;
        MailId(self.mails.insert(Mail {
            dest: Right::Send(port),
            reply: reply.0,
            reply_kind: reply.1,
            id,
            bytes: bytes.to_vec(),
            annex: annex.to_vec(),
            complex: !carried.is_empty(),
            carried,
            origin,
            sender: Sender { uid: u32::MAX, gid: u32::MAX, pid: 0, task: 0 },
            charge,
            slot: None,
        }))
    }

    pub(super) fn return_ticket(&mut self, id: RouteId, number: u32) -> Result<(), Code> {
        let mail = self.routes[id.0].tickets.remove(&number).ok_or(Code::KERN_INVALID_VALUE)?;
        self.tickets_fewer(id, 1);
        self.become_mail(mail);
        self.insert_returned(self.routes[id.0].port, mail);
        Ok(())
    }

    pub(super) fn return_message(&mut self, id: RouteId, task: TaskId, bytes: &[u8], annex: &[u8], row: &Frame) -> Result<(), Code> {
        let header = check_returned(bytes, annex)?;
        if row.attach as usize > link::SLOTS {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let route = &self.routes[id.0];
        let (port, link, side, origin) = (route.port, route.link, route.side, route.from.to_raw());
        let actor = self.tasks[task.0].account;
        let price = price(bytes.len(), annex.len(), 0);
        let payer = self.ports.get(port.0).and(Some(port)).and_then(|port| self.payer(port));
        if payer.is_some_and(|payer| !self.ledger.may_queue(payer, actor, price)) {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let carried = self.copy_in_memory(task, &header, bytes, annex)?;
        let (reply, reply_kind) = match row.attach.checked_sub(1) {
            None => (Right::Null, None),
            // A caller that is gone, or has no room, is not told.
            Some(slot) => (self.explicit(link, side, slot, row.options).unwrap_or(Right::Dead), Some(RightKind::SendOnce)),
        };
        if !self.alive(port) {
            self.discard(reply);
            carried.into_iter().for_each(|carried| self.discard_carried(carried));
            return Ok(());
        }
        let charge = payer.map(|payer| self.ledger.queue(payer, actor, price));
        let mail = self.unknown_mail(port, origin, Contents { bytes, annex, carried, id: header.id }, (reply, reply_kind), charge);
        self.insert_returned(port, mail);
        Ok(())
    }
}

/// What a message holds.
pub(super) struct Contents<'m> {
    bytes: &'m [u8],
    annex: &'m [u8],
    carried: Vec<Carried>,
    id: i32,
}

/// The header of a message that comes back.
fn check_returned(bytes: &[u8], annex: &[u8]) -> Result<Header, Code> {
    let fits = bytes.len().is_multiple_of(4) && bytes.len() <= MESSAGE_MAX && annex.len() <= ANNEX_MAX;
    Header::read(bytes).filter(|_| fits).ok_or(Code::KERN_INVALID_ARGUMENT)
}
