//! Messages that come back from a receiver whose port moves. Nobody vouches for who sent them. They carry memory at most: what came with rights is
//! with the kernel as a ticket.

use umach_abi::control;
use umach_abi::limits::{ANNEX_MAX, MESSAGE_MAX};
use umach_abi::link;
use umach_abi::message::Header;
use umach_abi::records::Frame;
use umach_abi::{Code, RightKind};

use super::Core;
use super::effect::{TaskId, Violation};
use super::mail::{Mail, MailId, Right, Sender, price};
use super::port::PortId;
use super::route::{RouteId, State};
use super::task::Task;

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
            match self.return_message(id, task, (bytes, annex), &row) {
                Ok(()) => taken += 1,
                Err(code) => status = code,
            }
        }
        Ok(Ok((taken, status)))
    }

    /// A message of a route that comes back.
    fn return_message(&mut self, id: RouteId, task: TaskId, message: (&[u8], &[u8]), row: &Frame) -> Result<(), Code> {
        let route = &self.routes[id.0];
        let (port, link, side, from, number) = (route.port, route.link, route.side, route.from, row.trailer);
        if number <= route.back {
            return Err(Code::KERN_INVALID_VALUE);
        }
        if row.attach as usize > link::SLOTS {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let reply = |core: &mut Core| match row.attach.checked_sub(1) {
            None => (Right::Null, None),
            // A caller that is gone, or has no room, is not told.
            Some(slot) => (core.explicit(link, side, slot, row.options).unwrap_or(Right::Dead), Some(RightKind::SendOnce)),
        };
        if !self.alive(port) {
            let (reply, _) = reply(self);
            self.discard(reply);
            return Ok(());
        }
        let mail = self.mail_of(port, from, task, message, reply)?;
        // Nobody vouches for who sent it.
        self.mails[mail.0].sender = Sender { uid: u32::MAX, gid: u32::MAX, pid: 0, task: 0 };
        self.routes[id.0].back = number;
        self.return_tickets(id, Some(number));
        self.insert_returned(port, mail);
        Ok(())
    }

    /// Mail of a message (and its annex) without rights that `from` sent over a route to a port that lives, and that `actor` puts into its queue.
    pub(super) fn mail_of(
        &mut self,
        port: PortId,
        from: TaskId,
        actor: TaskId,
        (bytes, annex): (&[u8], &[u8]),
        reply: impl FnOnce(&mut Core) -> (Right, Option<RightKind>),
    ) -> Result<MailId, Code> {
        let fits = bytes.len().is_multiple_of(4) && bytes.len() <= MESSAGE_MAX && annex.len() <= ANNEX_MAX;
        let header = Header::read(bytes).filter(|_| fits).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let Task { peer, account, .. } = &self.tasks[actor.0];
        let sender = Sender { uid: peer.uid, gid: peer.gid, pid: peer.pid, task: from.to_raw() };
        let account = *account;
        let price = price(bytes.len(), annex.len(), 0);
        let payer = self.payer(port);
        if payer.is_some_and(|payer| !self.ledger.may_queue(payer, account, price)) {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let carried = self.copy_in_memory(actor, &header, bytes, annex)?;
        let (reply, reply_kind) = reply(self);
        let charge = payer.map(|payer| self.ledger.queue(payer, account, price));
        self.ports[port.0].srights += 1;
        Ok(MailId(self.mails.insert(Mail {
            dest: Right::Send(port),
            reply,
            reply_kind,
            id: header.id,
            bytes: bytes.to_vec(),
            annex: annex.to_vec(),
            complex: !carried.is_empty(),
            carried,
            origin: from.to_raw(),
            sender,
            charge,
            slot: None,
            seen: None,
        })))
    }
}
