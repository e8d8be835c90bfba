//! Messages of a route that the kernel has: tickets, what is sent again since their receiver died, and messages whose sender is in doubt about
//! whether they arrived.

use std::collections::{BTreeMap, VecDeque};

use umach_abi::records::trace as record;
use umach_abi::{Code, Name, RightKind};

use super::Core;
use super::effect::{LaneId, TaskId};
use super::mail::{Mail, MailId, Right, Slot};
use super::port::PortId;
use super::route::{RouteId, State};
use super::send::{Posted, parked_mail};

impl Core {
    /// Its receiver died and its port did not: what comes of it is the sender's to say.
    pub(super) fn is_orphaned(&self, id: RouteId) -> bool {
        let route = &self.routes[id.0];
        matches!(route.state, State::Closed { dead: true, .. }) && self.living(route.from) && self.alive(route.port)
    }

    /// Takes the tickets below this number, or all: they are ordinary mail from here on.
    fn take_tickets(&mut self, id: RouteId, below: Option<u32>) -> impl Iterator<Item = MailId> + use<> {
        let tickets = &mut self.routes[id.0].tickets;
        let rest = below.map_or_else(BTreeMap::new, |below| tickets.split_off(&below));
        let taken = std::mem::replace(tickets, rest);
        self.tickets_fewer(id, taken.len() as u32);
        for &mail in taken.values() {
            self.become_mail(mail);
        }
        taken.into_values()
    }

    /// Tickets of an ended route that nobody has fetched go into the queue, up to this number.
    pub(super) fn return_tickets(&mut self, id: RouteId, below: Option<u32>) {
        let port = self.routes[id.0].port;
        for mail in self.take_tickets(id, below) {
            self.insert_returned(port, mail);
        }
    }

    /// Tickets of an orphaned route go to the end of the queue, up to this number.
    fn release_tickets(&mut self, id: RouteId, below: Option<u32>) {
        for mail in self.take_tickets(id, below) {
            self.release(self.routes[id.0].port, mail);
        }
    }

    fn release(&mut self, port: PortId, mail: MailId) {
        let mail = self.mails.remove(mail.0).expect("kept mail exists");
        if self.alive(port) { self.enqueue(port, mail) } else { self.destroy_mail(mail) }
    }

    /// The route becomes an orphan: mail that its sender sent after its end waits until the messages before it have been sent again.
    pub(super) fn set_aside(&mut self, id: RouteId) {
        let (port_id, from) = (self.routes[id.0].port, self.routes[id.0].from);
        let origin = from.to_raw();
        let port = &mut self.ports[port_id.0];
        let plane = port.plane.as_mut().expect("a port with an ended route has a plane");
        plane.orphans.insert(from, id);
        let (own, others): (VecDeque<MailId>, VecDeque<MailId>) =
            port.queue.split_off(plane.place).into_iter().partition(|mail| self.mails[mail.0].origin == origin);
        port.queue.extend(others);
        let bytes = |mail: &MailId| self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
        port.queued_bytes -= own.iter().map(bytes).sum::<u64>();
        let mut aside = Vec::from(own);
        let waiting: Vec<LaneId> = port.waiters.iter().flat_map(|waiters| &waiters.senders).copied().collect();
        for lane in waiting {
            if parked_mail(&self.lanes, lane).is_some_and(|mail| self.mails[mail.0].origin == origin) {
                self.stop_waiting_to_send(lane, port_id);
                aside.push(self.sent(lane));
            }
        }
        self.routes[id.0].aside = aside;
    }

    /// Whether its port counts it among its orphans.
    pub(super) fn is_held_orphan(&self, id: RouteId) -> bool {
        let route = &self.routes[id.0];
        let plane = self.ports.get(route.port.0).and_then(|port| port.plane.as_ref());
        plane.is_some_and(|plane| plane.orphans.get(&route.from) == Some(&id))
    }

    /// Whether a task must pull its events before it may send to a port: what it had sent before is to be sent again.
    pub(super) fn is_behind(&self, task: TaskId, port: PortId) -> bool {
        self.ports.get(port.0).and_then(|port| port.plane.as_ref()).is_some_and(|plane| plane.orphans.contains_key(&task))
    }

    /// All that the kernel has of an orphaned route is mail.
    pub(super) fn release_orphan(&mut self, id: RouteId) {
        self.release_tickets(id, None);
        let route = &mut self.routes[id.0];
        let port = route.port;
        for mail in std::mem::take(&mut route.aside) {
            self.release(port, mail);
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
        self.release_orphan(id);
        self.drop_route(id);
        Ok(())
    }

    /// Sends the `number`-th message of an orphaned route again: it goes into the queue, full or not. Its sender's own right may be gone.
    pub(super) fn send_again(&mut self, task: TaskId, raw: u64, number: u32, message: (&[u8], &[u8])) -> Result<(), Code> {
        let id = self.outgoing(task, raw).filter(|&id| self.is_held_orphan(id)).ok_or(Code::MACH_SEND_INVALID_DEST)?;
        let route = &self.routes[id.0];
        let port = route.port;
        if number <= route.back || route.again >= route.credit {
            return Err(Code::KERN_INVALID_VALUE);
        }
        let mail = self.mail_of(port, task, task, message, |_| (Right::Null, None))?;
        let route = &mut self.routes[id.0];
        (route.back, route.again) = (number, route.again + 1);
        self.release_tickets(id, Some(number));
        self.release(port, mail);
        Ok(())
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
        let Some(at) = port.queue.iter().position(|&other| other == mail) else { return };
        port.queue.remove(at);
        port.queued_bytes -= self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
        let plane = port.plane.as_mut().expect("a port with an ended route has a plane");
        plane.place -= usize::from(at < plane.place);
        let mut mail = self.mails.remove(mail.0).expect("just seen");
        self.trace_gone(record::ARRIVED, &mut mail);
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
        self.trace_sent(&mut mail, true);
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
        let port = &mut self.ports[self.routes[id.0].port.0];
        let seqno = port.seqno;
        port.seqno = seqno.wrapping_add(1);
        let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
        // The receiver answers in the slot, which the record in the ring names.
        (Mail { slot: None, ..mail }, seqno)
    }

    /// What becomes of a message in doubt: `Err` if nothing is to be sent.
    pub(super) fn check_doubt(&self, task: TaskId, route: u64, number: u32, remote: Name) -> Result<Option<RouteId>, Code> {
        let id = self.outgoing(task, route).ok_or(Code::MACH_SEND_IN_PROGRESS)?;
        let route = &self.routes[id.0];
        if route.name != remote {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        match route.state {
            // Whoever applies the end of the route sends it again.
            State::Closed { dead: true, .. } => Err(Code::MACH_SEND_IN_PROGRESS),
            State::Closed { accepted, .. } if number <= accepted => Err(Code::SUCCESS),
            State::Closed { .. } => Ok(None),
            _ => Ok(Some(id)),
        }
    }

    /// Mail that may repeat a message of a route that is not closed. It goes into the queue, full or not: its sender cannot be told that it was not
    /// sent, for perhaps it was.
    pub(super) fn post_doubt(&mut self, id: RouteId, number: u32, mut mail: Mail) -> Posted {
        let port = mail.dest.port().filter(|&port| self.ports.get(port.0).is_some_and(|port| port.barred()));
        let waits = self.routes.get(id.0).filter(|route| route.open() && (route.doubts.len() as u32) < route.credit);
        let (Some(port), Some(_)) = (port, waits) else { return self.post(mail) };
        if !self.settle_in(&mail, port) {
            self.destroy_mail(mail);
            return Posted::Sent;
        }
        self.trace_sent(&mut mail, false);
        self.enqueue(port, mail);
        let mail = *self.ports[port.0].queue.back().expect("just queued, behind a barrier");
        self.routes[id.0].doubts.push((number, mail));
        Posted::Sent
    }
}
