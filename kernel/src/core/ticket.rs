//! Messages of a route that the kernel has: tickets, and messages whose sender is in doubt about whether they arrived.

use std::collections::BTreeMap;

use umach_abi::{Code, Name, RightKind};

use super::Core;
use super::effect::TaskId;
use super::mail::{Mail, MailId, Right, Slot};
use super::port::PortId;
use super::route::{RouteId, State};
use super::send::parked_mail;
use super::task::unqueue;

impl Core {
    /// Its receiver died and its port did not: what comes of it is the sender's to say.
    pub(super) fn is_orphaned(&self, id: RouteId) -> bool {
        let route = &self.routes[id.0];
        matches!(route.state, State::Closed { dead: true, .. }) && self.living(route.from) && self.alive(route.port)
    }

    /// Tickets of an orphaned route become mail, up to this number.
    pub(super) fn release_tickets(&mut self, id: RouteId, before: Option<u32>) {
        let tickets = &mut self.routes[id.0].tickets;
        let rest = before.map_or_else(BTreeMap::new, |before| tickets.split_off(&before));
        let released = std::mem::replace(tickets, rest);
        self.tickets_fewer(id, released.len() as u32);
        let port = self.routes[id.0].port;
        for mail in released.into_values() {
            self.become_mail(mail);
            let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
            if self.alive(port) { self.enqueue(port, mail) } else { self.destroy_mail(mail) }
        }
    }

    /// The sender has sent again what its dead receiver did not receive; that was everything after the first `accepted`.
    pub(super) fn bury_route(&mut self, id: RouteId, accepted: u32) -> Result<(), Code> {
        if !matches!(self.routes[id.0].state, State::Closed { dead: true, .. }) {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let later = accepted.checked_add(1).map_or_else(BTreeMap::new, |next| self.routes[id.0].tickets.split_off(&next));
        let received = std::mem::replace(&mut self.routes[id.0].tickets, later);
        self.tickets_fewer(id, received.len() as u32);
        for mail in received.into_values() {
            let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
            self.destroy_mail(mail);
        }
        self.release_tickets(id, None);
        self.detach(id);
        Ok(())
    }

    /// May the sender of an orphaned route put its `number`-th message into the queue, full or not?
    pub(super) fn may_send_again(&mut self, id: RouteId, number: u32) -> bool {
        let route = &mut self.routes[id.0];
        let (last, count) = route.again;
        if number <= last || count >= route.credit {
            return false;
        }
        route.again = (number, count + 1);
        self.release_tickets(id, Some(number));
        true
    }

    /// A ticket is mail like any other from here on: its reply needs a right.
    pub(super) fn become_mail(&mut self, id: MailId) {
        let Some(slot) = self.mails[id.0].slot.take() else { return };
        let reply = self.explicit(slot.link, slot.caller, slot.slot, slot.generation).unwrap_or(Right::Dead);
        let mail = &mut self.mails[id.0];
        (mail.reply, mail.reply_kind) = (reply, Some(RightKind::SendOnce));
    }

    /// A ticket ends unreceived: whoever waits for its reply is told.
    pub(super) fn leave_slot(&mut self, mail: &mut Mail) {
        if let Some(slot) = mail.slot.take()
            && let Ok(reply) = self.explicit(slot.link, slot.caller, slot.slot, slot.generation)
        {
            (mail.reply, mail.reply_kind) = (reply, Some(RightKind::SendOnce));
        }
    }

    /// Mail that repeats a message which did arrive: gone without a word to anybody.
    pub(super) fn drop_doubt(&mut self, id: PortId, mail: MailId) {
        if self.mails.get(mail.0).is_none() {
            return;
        }
        let Some(port) = self.ports.get_mut(id.0) else { return };
        if let Some(at) = port.queue.iter().position(|&other| other == mail) {
            port.queue.remove(at);
            port.queued_bytes -= self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
            let plane = port.plane.as_mut().expect("a port with an ended route has a plane");
            plane.place -= usize::from(at < plane.place);
        } else {
            let waiting = port.waiters.as_ref().map(|waiters| waiters.senders.clone()).unwrap_or_default();
            let Some(&lane) = waiting.iter().find(|&&lane| parked_mail(&self.lanes, lane) == Some(mail)) else { return };
            unqueue(&mut port.waiters().senders, lane);
            port.tidy();
            self.sent(lane);
        }
        let mut mail = self.mails.remove(mail.0).expect("just seen");
        let dest = std::mem::replace(&mut mail.dest, Right::Null);
        let reply = std::mem::replace(&mut mail.reply, Right::Null);
        self.destroy_mail(mail);
        self.consume_destination(reply);
        self.consume_destination(dest);
    }

    /// Whether a ticket can be sent now: its route is live and leads where the message says.
    pub(super) fn check_ticket(&self, task: TaskId, route: u64, number: u32, remote: Name) -> Result<RouteId, Code> {
        let live = self.outgoing(task, route).filter(|id| self.routes[id.0].state == State::Live);
        let id = live.ok_or(Code::MACH_SEND_IN_PROGRESS)?;
        let route = &self.routes[id.0];
        if route.name != remote {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if number <= route.last_ticket { Err(Code::KERN_INVALID_VALUE) } else { Ok(id) }
    }

    /// Keeps a message for its number's turn. Gives it back if the route has meanwhile closed.
    pub(super) fn keep_ticket(&mut self, id: RouteId, number: u32, mut mail: Mail, slot: Option<(u32, u32)>) -> Option<Mail> {
        let Some(route) = self.routes.get(id.0).filter(|route| route.open()) else { return Some(mail) };
        mail.slot = slot.map(|(slot, generation)| Box::new(Slot { link: route.link, caller: route.side, slot, generation }));
        let (port, link) = (route.port, route.link);
        if mail.dest.port() != Some(port) || !self.alive(port) || !self.settle_in(&mail, port) {
            self.destroy_mail(mail);
            return None;
        }
        let mail = MailId(self.mails.insert(mail));
        let route = &mut self.routes[id.0];
        route.tickets.insert(number, mail);
        route.last_ticket = number;
        self.links[link.0].tickets += 1;
        None
    }

    /// The port of a ticket that the caller may fetch by its name.
    pub(super) fn find_ticket(&self, task: TaskId, port: PortId, id: RouteId, number: u32) -> Option<MailId> {
        let route = self.routes.get(id.0).filter(|route| route.to == task && route.port == port)?;
        route.tickets.get(&number).copied()
    }

    /// Takes a ticket's mail, and the port's next sequence number.
    pub(super) fn take_ticket(&mut self, id: RouteId, number: u32) -> (Mail, u32) {
        let mail = self.routes[id.0].tickets.remove(&number).expect("just found");
        self.tickets_fewer(id, 1);
        let route = &self.routes[id.0];
        let port = &mut self.ports[route.port.0];
        let seqno = port.seqno;
        port.seqno = seqno.wrapping_add(1);
        if !route.attached && route.tickets.is_empty() {
            self.forget_route(id);
        }
        let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
        // The receiver answers in the slot, which the record in the ring names.
        (Mail { slot: None, ..mail }, seqno)
    }

    /// What becomes of a message that is sent again: `Err` if nothing is to be sent.
    pub(super) fn check_doubt(&self, task: TaskId, route: u64, number: u32, remote: Name) -> Result<Option<RouteId>, Code> {
        let id = self.outgoing(task, route).ok_or(Code::MACH_SEND_IN_PROGRESS)?;
        let route = &self.routes[id.0];
        if route.name != remote {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        match route.state {
            State::Closed { dead: true, .. } => Ok(Some(id)),
            State::Closed { accepted, .. } if number <= accepted => Err(Code::SUCCESS),
            State::Closed { .. } => Ok(None),
            _ => Ok(Some(id)),
        }
    }

    /// Remembers that mail repeats a message.
    pub(super) fn note_doubt(&mut self, id: RouteId, number: u32, mail: MailId) {
        if let Some(route) = self.routes.get_mut(id.0).filter(|route| route.open()) {
            route.doubts.push((number, mail));
        }
    }
}
