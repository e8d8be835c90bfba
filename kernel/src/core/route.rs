//! Routes: the kernel's permission for one task to send to one port over a link, without the kernel.
//!
//! A route goes through four states.
//!
//! * *Offered*: the sender has not pulled the event yet, so nobody knows of it; it may vanish without a word.
//! * *Live*: both know. If mail of that sender's was still queued when it learnt of the route, the route opens when that mail has been received.
//! * *Ended*: the sender is to stop; messages are on their way. Until the receiver has *closed* it the port stands behind a barrier: no mail is
//!   delivered, and the route holds a send right, so that neither an order nor a no-senders notification can overtake what is in the ring.
//! * *Closed*: what the receiver took is known. Goes when the sender has been told and no ticket is left. If the receiver died while the
//!   port lives on (it moved), the sender knows from the link what was received; it sends the rest again under its numbers, tickets find
//!   their places between, and the sender's acknowledgement ends the route. If the sender dies first, the tickets are mail like any other.
//!
//! A *ticket* is a message of a route that carries rights: the kernel keeps it, the ring has its number. What came after the last message
//! that the receiver took goes into the port's queue, at the place where the queue ended when the first route of the barrier did.

use std::collections::BTreeMap;
use std::ops::Bound;

use umach_abi::control::{self, answer};
use umach_abi::link;
use umach_abi::message::Header;
use umach_abi::records::{Frame, undelivered};
use umach_abi::{Code, Name, RightKind};

use super::Core;
use super::arena::Id;
use super::effect::{LinkId, TaskId, Violation};
use super::event::Note;
use super::notify::Notice;
use super::mail::{Mail, MailId, Right, Sender, Slot, price};
use super::port::{PortId, Receiver};
use super::quota::Charge;
use super::send::parked_mail;
use super::task::unqueue;

/// [`Mail::origin`] of a message of which only its receiver knows the sender: no sender's next message may overtake it.
const ANYBODY: u64 = u64::MAX;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RouteId(pub(super) Id);

/// How far a route has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Offered,
    Live,
    /// What to do with messages not delivered (`records::undelivered`).
    Ended(u32),
    Closed {
        /// The receiver took so many.
        accepted: u32,
        /// It died before it said.
        dead: bool,
    },
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) link: LinkId,
    /// Which half of the link sends.
    pub(super) side: usize,
    pub(super) from: TaskId,
    pub(super) to: TaskId,
    /// Number in its direction of the link.
    pub(super) index: u32,
    pub(super) port: PortId,
    /// The sender's name for the port, and the receiver's when it was told.
    pub(super) name: Name,
    pub(super) local: Name,
    /// The port's queue limit and context when the receiver was told.
    pub(super) credit: u32,
    pub(super) context: u64,
    pub(super) state: State,
    /// Mail of the sender's that comes first.
    pub(super) opens_at: Option<MailId>,
    /// The receiver has pulled its event.
    pub(super) in_pulled: bool,
    /// An event of its end waits to be pulled by the receiver.
    pub(super) end_noted: bool,
    /// Part of its link: has an index, and the sender knows of it or will.
    pub(super) attached: bool,
    /// Messages with rights, by their number on the route.
    pub(super) tickets: BTreeMap<u32, MailId>,
    pub(super) last_ticket: u32,
    /// Messages of the sender that were queued when it learnt of the route: they take credit until they have been received.
    pub(super) before: u32,
    /// The receiver is to be asked for room, and has not been told yet.
    pub(super) room_noted: bool,
    /// Messages of a dead receiver's that were sent again: the last one's number, and how many.
    pub(super) again: (u32, u32),
    /// Mail that repeats a message of the route: not to be delivered if the receiver took that.
    pub(super) doubts: Vec<(u32, MailId)>,
}

impl Route {
    fn open(&self) -> bool {
        matches!(self.state, State::Offered | State::Live | State::Ended(_))
    }
}

impl Core {
    /// The sender has learnt of the route, so its receiver is told. False if the route is no more.
    pub(super) fn announce(&mut self, id: RouteId) -> bool {
        let Some(route) = self.routes.get(id.0).filter(|route| route.state == State::Offered) else { return false };
        let (port_id, from, to, link) = (route.port, route.from, route.to, route.link);
        let Some(port) = self.ports.get(port_id.0) else { return false };
        let local = match port.receiver {
            Receiver::Space(task, name) if task == to && !port.barred() && self.living(to) && self.links[link.0].down.is_none() => name,
            _ => {
                self.end_route(id, undelivered::KEEP);
                return false;
            }
        };
        let opens_at = self.last_mail(port_id, from);
        let before = self.queued_of(port_id, from);
        let route = &mut self.routes[id.0];
        route.before = before;
        (route.state, route.local, route.opens_at) = (State::Live, local, opens_at);
        (route.credit, route.context) = (port.qlimit, port.context);
        let side = route.side;
        self.links[link.0].live[side] += 1;
        self.tell_link(link, 1 - side);
        self.change_routed(port_id, |plane| {
            plane.announced += 1;
            plane.held.extend(opens_at.map(|mail| (mail, id)));
        });
        self.raise(to, Note::In(id));
        for at in 0..self.ports[port_id.0].sets.len() {
            let set = self.ports[port_id.0].sets[at];
            if let Some(name) = self.sets.get(set.0).map(|set| set.owner.1) {
                self.raise_member(to, port_id, name);
            }
        }
        self.put_off_all(port_id);
        true
    }

    /// The last mail of a task's at a port, be it queued or parked.
    fn last_mail(&self, port: PortId, from: TaskId) -> Option<MailId> {
        let port = &self.ports[port.0];
        let parked = port.waiters.iter().flat_map(|waiters| waiters.senders.iter().rev());
        let parked = parked.filter_map(|&lane| parked_mail(&self.lanes, lane));
        let origin = from.to_raw();
        parked.chain(port.queue.iter().rev().copied()).find(|mail| matches!(self.mails[mail.0].origin, from if from == origin || from == ANYBODY))
    }

    /// How many messages of a task are queued at a port, or wait to be.
    pub(super) fn queued_of(&self, port: PortId, from: TaskId) -> u32 {
        let Some(port) = self.ports.get(port.0) else { return 0 };
        let parked = port.waiters.iter().flat_map(|waiters| &waiters.senders).filter_map(|&lane| parked_mail(&self.lanes, lane));
        let origin = from.to_raw();
        parked.chain(port.queue.iter().copied()).filter(|mail| self.mails[mail.0].origin == origin).count() as u32
    }

    /// 1 + the slot of the route that waits until this mail, among others, has been received; 0 if none does.
    pub(super) fn held_route(&self, port: PortId, mail: MailId) -> u32 {
        let Some(plane) = &self.ports[port.0].plane else { return 0 };
        let origin = self.mails[mail.0].origin;
        let held = plane.held.iter().find(|(_, route)| self.routes[route.0].from.to_raw() == origin);
        held.map_or(0, |(_, route)| route.0.index() + 1)
    }

    /// Mail is no longer at a port: it was received, or its sender gave up. Routes that waited for it are open, or wait for what is now the
    /// last before them.
    pub(super) fn mail_gone(&mut self, id: PortId, mail: MailId) {
        let Some(plane) = self.ports.get(id.0).and_then(|port| port.plane.as_ref()) else { return };
        let Some(&(_, route)) = plane.held.iter().find(|(first, _)| *first == mail) else { return };
        let next = self.last_mail(id, self.routes[route.0].from);
        let plane = self.ports[id.0].plane();
        plane.held.retain(|&(_, other)| other != route);
        plane.held.extend(next.map(|mail| (mail, route)));
        let entry = &mut self.routes[route.0];
        entry.opens_at = next;
        if next.is_none() && entry.in_pulled {
            let to = entry.to;
            self.raise(to, Note::Open(route));
        }
    }

    /// A task sends through the kernel although it has a route: a thread of it did not know. The route ends, so that what the thread sends next
    /// cannot overtake this.
    pub(super) fn bypassed(&mut self, task: TaskId, name: Name) {
        let Some(port) = self.tasks[task.0].space.get(name).and_then(|entry| entry.port()) else { return };
        let plane = self.ports.get(port.0).and_then(|port| port.plane.as_ref());
        if let Some(&route) = plane.and_then(|plane| plane.live.get(&task))
            && self.routes[route.0].state == State::Live
        {
            self.end_route(route, undelivered::KEEP);
        }
    }

    /// The port's membership in a set is to be told.
    pub(super) fn raise_member(&mut self, task: TaskId, port: PortId, set: Name) {
        if self.living(task) && self.tasks[task.0].plane.members.insert((port, set)) {
            self.raise(task, Note::Member(port, set));
        }
    }

    /// Changes what a port has to do with routes, and tells its sets whether it has any and whether its mail can be had.
    pub(super) fn change_routed(&mut self, id: PortId, change: impl FnOnce(&mut super::port::PortPlane)) {
        let Core { ports, sets, .. } = self;
        let Some(port) = ports.get_mut(id.0) else { return };
        let (was, was_ready) = (port.routed(), port.ready());
        change(port.plane());
        let (is, is_ready) = (port.routed(), port.ready());
        for set in &port.sets {
            let Some(set) = sets.get_mut(set.0) else { continue };
            match (was, is) {
                (false, true) => set.routed += 1,
                (true, false) => set.routed -= 1,
                _ => {}
            }
            match (was_ready, is_ready) {
                (false, true) => set.mark_ready(id),
                (true, false) => set.unmark(id),
                _ => {}
            }
        }
    }

    /// A route ends: the sender's right is gone, the port is dead or leaves, or somebody wants it so. An end that asks for more than an earlier one
    /// takes its place.
    pub(super) fn end_route(&mut self, id: RouteId, what: u32) {
        let Some(route) = self.routes.get(id.0) else { return };
        let (port, from, to) = (route.port, route.from, route.to);
        match route.state {
            State::Offered => {
                if let Some(plane) = self.ports.get_mut(port.0).and_then(|port| port.plane.as_mut()) {
                    plane.live.remove(&from);
                }
                return self.drop_route(id);
            }
            State::Live => {
                // Mail that comes first is in the queue; what comes after it must go there too.
                let route = &mut self.routes[id.0];
                let held = route.opens_at.take();
                let what = if held.is_some() { what.max(undelivered::RETURN) } else { what };
                route.state = State::Ended(what);
                let side = route.side;
                self.links[route.link.0].live[side] -= 1;
                let end = self.ports.get(port.0).map_or(0, |port| port.queue.len());
                self.change_routed(port, |plane| {
                    plane.live.remove(&from);
                    plane.held.retain(|&(_, route)| route != id);
                    plane.announced -= 1;
                    if plane.barrier == 0 {
                        plane.place = end;
                    }
                    plane.barrier += 1;
                });
                if let Some(port) = self.ports.get_mut(port.0) {
                    port.srights += 1;
                }
                self.raise(from, Note::Stop(id));
            }
            State::Ended(before) if what > before => self.routes[id.0].state = State::Ended(what),
            State::Ended(_) if self.living(to) => return,
            State::Ended(_) => {}
            State::Closed { .. } => return,
        }
        if !self.living(to) {
            return self.close_route(id, None);
        }
        let route = &mut self.routes[id.0];
        if !route.end_noted {
            route.end_noted = true;
            self.raise(to, Note::End(id));
        }
    }

    /// The receiver took the first `accepted` messages of an ended route; or it died and nobody knows.
    fn close_route(&mut self, id: RouteId, accepted: Option<u32>) {
        let route = &mut self.routes[id.0];
        let (port, from, to, dead) = (route.port, route.from, route.to, accepted.is_none());
        let accepted = accepted.unwrap_or(u32::MAX);
        route.state = State::Closed { accepted, dead };
        let link = route.link;
        self.links[link.0].unclosed -= 1;
        // Tickets that were taken are fetched later, by whoever took them. If that can no longer be, they are mail like any other.
        let keeps = !dead && matches!(self.ports.get(port.0).map(|port| port.receiver), Some(Receiver::Space(task, _)) if task == to)
            || self.is_orphaned(id);
        let tickets = &mut self.routes[id.0].tickets;
        let later = match (keeps, accepted.checked_add(1)) {
            (true, Some(next)) => tickets.split_off(&next),
            (true, None) => BTreeMap::new(),
            (false, _) => std::mem::take(tickets),
        };
        self.tickets_fewer(id, later.len() as u32);
        for mail in later.into_values() {
            self.become_mail(mail);
            self.insert_returned(port, mail);
        }
        for (number, mail) in std::mem::take(&mut self.routes[id.0].doubts) {
            if number <= accepted {
                self.drop_doubt(port, mail);
            }
        }
        self.change_routed(port, |plane| plane.barrier -= 1);
        self.refill_if_alive(port);
        if self.living(from) {
            self.raise(from, Note::Closed(id));
            self.settle_link(link);
        } else {
            self.detach(id);
        }
        if self.ports.get(port.0).is_some_and(|port| !port.barred()) {
            self.pump(port);
        }
        self.release_send(port);
    }

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
    fn bury_route(&mut self, id: RouteId, accepted: u32) -> Result<(), Code> {
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

    fn refill_if_alive(&mut self, port: PortId) {
        if self.alive(port) {
            self.refill(port);
        }
    }

    /// Puts mail into a port's queue where the barrier is.
    fn insert_returned(&mut self, id: PortId, mail: MailId) {
        let Some(port) = self.ports.get_mut(id.0) else {
            let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
            return self.destroy_mail(mail);
        };
        let plane = port.plane.as_mut().expect("a port with an ended route has a plane");
        debug_assert!(plane.barrier > 0 && plane.place <= port.queue.len());
        port.queue.insert(plane.place, mail);
        plane.place += 1;
        port.queued_bytes += self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
    }

    /// A ticket is mail like any other from here on: its reply needs a right.
    fn become_mail(&mut self, id: MailId) {
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

    fn tickets_fewer(&mut self, id: RouteId, count: u32) {
        if let Some(link) = self.links.get_mut(self.routes[id.0].link.0).filter(|_| self.routes[id.0].attached) {
            link.tickets -= count;
        }
    }

    /// Mail that repeats a message which did arrive: gone without a word to anybody.
    fn drop_doubt(&mut self, id: PortId, mail: MailId) {
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

    /// The sender knows how the route ended, or is dead: its index is free again.
    pub(super) fn detach(&mut self, id: RouteId) {
        let route = &mut self.routes[id.0];
        if std::mem::take(&mut route.attached) {
            let (link, side, index, state, tickets) = (route.link, route.side, route.index, route.state, route.tickets.len() as u32);
            let entry = &mut self.links[link.0];
            entry.routes.remove(&id);
            entry.tickets -= tickets;
            entry.unclosed -= u32::from(!matches!(state, State::Closed { .. }));
            // What is left in the ring under the old number is not taken for messages of the next route in its place.
            entry.indices[side].free.push_back(index.wrapping_add(link::ROUTES as u32));
            self.settle_link(link);
        }
        let route = &self.routes[id.0];
        if matches!(route.state, State::Closed { .. }) && route.tickets.is_empty() {
            self.forget_route(id);
        }
    }

    /// A route that nobody was told of, or that everybody knows is over.
    fn drop_route(&mut self, id: RouteId) {
        self.detach(id);
        self.forget_route(id);
    }

    fn forget_route(&mut self, id: RouteId) {
        let Some(route) = self.routes.remove(id.0) else { return };
        debug_assert!(route.tickets.is_empty() && !route.attached);
        if let Some(port) = self.ports.get_mut(route.port.0)
            && let Some(plane) = port.plane.as_mut()
        {
            plane.routes.remove(&id);
            port.tidy();
        }
    }

    // What ends routes.

    /// The task has no send right to the port any more.
    pub(super) fn sender_gone(&mut self, task: TaskId, port: PortId) {
        let plane = self.ports.get(port.0).and_then(|port| port.plane.as_ref());
        if let Some(&route) = plane.and_then(|plane| plane.live.get(&task)) {
            self.end_route(route, undelivered::KEEP);
        }
    }

    /// All routes of a port end, and their messages are to come back; it gets none before its receiver receives again.
    pub(super) fn recall(&mut self, id: PortId) {
        let requests = self.requests;
        let port = &mut self.ports[id.0];
        port.pinned = false;
        if port.plane.is_none() && port.sets.is_empty() {
            return;
        }
        let plane = port.plane();
        plane.counts.clear();
        plane.recalled_at = requests;
        let routes: Vec<RouteId> = plane.routes.iter().copied().collect();
        for route in routes {
            self.end_route(route, undelivered::RETURN);
        }
    }

    /// Something that the receiver was told with a route changes by another hand than the direct plane's.
    pub(super) fn recall_if_routed(&mut self, id: PortId) {
        if self.ports[id.0].plane.as_ref().is_some_and(|plane| !plane.live.is_empty()) {
            self.recall(id);
        }
    }

    /// The receive right leaves its space: like a recall. Tickets that were taken and not fetched go to the front of the queue.
    pub(super) fn port_leaves(&mut self, id: PortId) {
        self.ports[id.0].pinned = false;
        if self.ports[id.0].plane.is_none() {
            return;
        }
        if let Receiver::Space(receiver, _) = self.ports[id.0].receiver
            && std::mem::take(&mut self.ports[id.0].plane().watched)
        {
            self.ring_mail(receiver);
        }
        self.recall(id);
        let routes: Vec<RouteId> = self.ports[id.0].plane().routes.iter().rev().copied().collect();
        for route in routes {
            let Some(entry) = self.routes.get(route.0) else { continue };
            if !matches!(entry.state, State::Closed { .. }) || self.is_orphaned(route) {
                continue;
            }
            let entry = &mut self.routes[route.0];
            let tickets = std::mem::take(&mut entry.tickets);
            let (count, attached) = (tickets.len(), entry.attached);
            if attached {
                self.links[entry.link.0].tickets -= count as u32;
            }
            for (_, mail) in tickets.into_iter().rev() {
                self.become_mail(mail);
                let bytes = self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
                let port = &mut self.ports[id.0];
                port.queue.push_front(mail);
                port.queued_bytes += bytes;
                port.plane().place += 1;
            }
            if !attached {
                self.forget_route(route);
            }
        }
    }

    /// One route of a dead port.
    pub(super) fn end_dead_route(&mut self, id: RouteId) {
        let Some(route) = self.routes.get_mut(id.0) else { return };
        let tickets = std::mem::take(&mut route.tickets);
        let (link, attached, closed) = (route.link, route.attached, matches!(route.state, State::Closed { .. }));
        if attached {
            self.links[link.0].tickets -= tickets.len() as u32;
        }
        for (_, mail) in tickets {
            let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
            self.destroy_mail(mail);
        }
        match closed {
            false => self.end_route(id, undelivered::DROP),
            true if !attached => self.forget_route(id),
            true => {}
        }
    }

    /// One route of a link that is over. The next one is after `id`.
    pub(super) fn fall_route(&mut self, id: RouteId) {
        let Some(route) = self.routes.get(id.0) else { return };
        match route.state {
            State::Offered | State::Live | State::Ended(_) => self.end_route(id, undelivered::KEEP),
            State::Closed { .. } => {}
        }
        // Whoever was to be told that it is closed may be dead by now.
        if let Some(route) = self.routes.get(id.0)
            && matches!(route.state, State::Closed { .. })
            && !self.living(route.from)
        {
            if matches!(route.state, State::Closed { dead: true, .. }) {
                self.release_tickets(id, None);
            }
            self.detach(id);
        }
    }

    pub(super) fn next_route(&self, link: LinkId, after: Option<RouteId>) -> Option<RouteId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.links.get(link.0)?.routes.range((from, Bound::Unbounded)).next().copied()
    }

    // What the two tasks say.

    /// The caller's outgoing route to the port that it names.
    pub(super) fn outgoing(&self, task: TaskId, raw: u64) -> Option<RouteId> {
        let id = RouteId(Id::from_raw(raw));
        self.routes.get(id.0).is_some_and(|route| route.from == task).then_some(id)
    }

    fn incoming(&self, task: TaskId, raw: u64) -> Result<RouteId, Code> {
        let id = RouteId(Id::from_raw(raw));
        let mine = self.routes.get(id.0).is_some_and(|route| route.to == task);
        if mine { Ok(id) } else { Err(Code::KERN_INVALID_ARGUMENT) }
    }

    pub(super) fn route_ack(&mut self, task: TaskId, raw: u64, accepted: u32) -> Result<answer::RouteAck, Code> {
        if let Some(id) = self.outgoing(task, raw) {
            return self.bury_route(id, accepted).map(|()| answer::RouteAck {});
        }
        let id = self.incoming(task, raw)?;
        let State::Ended(_) = self.routes[id.0].state else { return Err(Code::KERN_INVALID_ARGUMENT) };
        self.close_route(id, Some(accepted));
        Ok(answer::RouteAck {})
    }

    /// The sender has no credit, and a request to be told when it has.
    pub(super) fn route_want(&mut self, task: TaskId, raw: u64) -> Result<answer::RouteWant, Code> {
        let id = self.outgoing(task, raw).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let (name, port) = (self.routes[id.0].name, self.routes[id.0].port);
        if self.alive(port) {
            self.arm_send_possible(task, name, port);
            self.ask_for_room(task, port);
        }
        Ok(answer::RouteWant {})
    }

    /// An armed request waits for credit on a live route, which its receiver gives. False if there is none such.
    pub(super) fn ask_for_room(&mut self, task: TaskId, port: PortId) -> bool {
        let route = self.ports[port.0].plane.as_ref().and_then(|plane| plane.live.get(&task).copied());
        let Some(id) = route.filter(|id| self.routes[id.0].state == State::Live) else { return false };
        let route = &mut self.routes[id.0];
        let to = route.to;
        if !std::mem::replace(&mut route.room_noted, true) {
            self.raise(to, Note::Room(id));
        }
        true
    }

    /// The receiver has room on a route: its sender's request fires.
    pub(super) fn route_room(&mut self, task: TaskId, raw: u64) -> Result<answer::RouteRoom, Code> {
        let id = self.incoming(task, raw)?;
        let (from, name, port) = (self.routes[id.0].from, self.routes[id.0].name, self.routes[id.0].port);
        if self.ports.get_mut(port.0).is_some_and(|port| port.watches.as_mut().is_some_and(|watches| watches.armed.remove(&(from, name))))
            && let Some(notify) = self.cancel_request(from, name)
        {
            self.notify(notify, Notice::SendPossible(name));
        }
        Ok(answer::RouteRoom {})
    }

    pub(super) fn port_recall(&mut self, task: TaskId, name: Name, seqno: u32) -> Result<answer::PortRecall, Code> {
        let port = self.receive_right(task, name)?;
        self.ports[port.0].seqno = seqno;
        self.recall(port);
        Ok(answer::PortRecall {})
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
            rest = &tail[annex..];
            let result = if size == 0 { self.return_ticket(id, row.options) } else { self.return_message(id, task, bytes, &row) };
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
            rest = tail;
            let mail = match row.size {
                0 => self.unreceived_ticket(task, port, &row),
                _ => self.unreceived_message(task, port, bytes),
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

    fn unreceived_ticket(&mut self, task: TaskId, port: PortId, row: &Frame) -> Result<MailId, Code> {
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

    fn unreceived_message(&mut self, task: TaskId, port: PortId, bytes: &[u8]) -> Result<MailId, Code> {
        let header = Header::read(bytes).filter(|header| !header.is_complex() && bytes.len().is_multiple_of(4));
        let header = header.filter(|_| bytes.len() <= umach_abi::limits::MESSAGE_MAX).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let actor = self.tasks[task.0].account;
        let price = price(bytes.len(), 0, 0);
        let payer = self.payer(port);
        if payer.is_some_and(|payer| !self.ledger.may_queue(payer, actor, price)) {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let (reply, reply_kind) = match header.local {
            Name::NULL => (Right::Null, None),
            Name::DEAD => (Right::Dead, Some(RightKind::SendOnce)),
            name => (self.take(task, name, umach_abi::Disposition::MoveSendOnce, true)?, Some(RightKind::SendOnce)),
        };
        let charge = payer.map(|payer| self.ledger.queue(payer, actor, price));
        Ok(self.unknown_mail(port, ANYBODY, bytes, header.id, (reply, reply_kind), charge))
    }

    /// Mail whose sender nobody vouches for.
    fn unknown_mail(
        &mut self,
        port: PortId,
        origin: u64,
        bytes: &[u8],
        id: i32,
        reply: (Right, Option<RightKind>),
        charge: Option<Charge>,
    ) -> MailId {
        self.ports[port.0].srights += 1;
        MailId(self.mails.insert(Mail {
            dest: Right::Send(port),
            reply: reply.0,
            reply_kind: reply.1,
            id,
            bytes: bytes.to_vec(),
            annex: Vec::new(),
            carried: Vec::new(),
            complex: false,
            origin,
            sender: Sender { uid: u32::MAX, gid: u32::MAX, pid: 0, task: 0 },
            charge,
            slot: None,
        }))
    }

    fn return_ticket(&mut self, id: RouteId, number: u32) -> Result<(), Code> {
        let mail = self.routes[id.0].tickets.remove(&number).ok_or(Code::KERN_INVALID_VALUE)?;
        self.tickets_fewer(id, 1);
        self.become_mail(mail);
        self.insert_returned(self.routes[id.0].port, mail);
        Ok(())
    }

    fn return_message(&mut self, id: RouteId, task: TaskId, bytes: &[u8], row: &Frame) -> Result<(), Code> {
        let header = Header::read(bytes).filter(|header| !header.is_complex() && bytes.len().is_multiple_of(4));
        let header = header.ok_or(Code::KERN_INVALID_ARGUMENT)?;
        if bytes.len() > umach_abi::limits::MESSAGE_MAX || row.annex != 0 || row.attach as usize > link::SLOTS {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let route = &self.routes[id.0];
        let (port, link, side, origin) = (route.port, route.link, route.side, route.from.to_raw());
        let actor = self.tasks[task.0].account;
        let price = price(bytes.len(), 0, 0);
        let payer = self.ports.get(port.0).and(Some(port)).and_then(|port| self.payer(port));
        if payer.is_some_and(|payer| !self.ledger.may_queue(payer, actor, price)) {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let (reply, reply_kind) = match row.attach.checked_sub(1) {
            None => (Right::Null, None),
            // A caller that is gone, or has no room, is not told.
            Some(slot) => (self.explicit(link, side, slot, row.options).unwrap_or(Right::Dead), Some(RightKind::SendOnce)),
        };
        if !self.alive(port) {
            self.discard(reply);
            return Ok(());
        }
        let charge = payer.map(|payer| self.ledger.queue(payer, actor, price));
        let mail = self.unknown_mail(port, origin, bytes, header.id, (reply, reply_kind), charge);
        self.insert_returned(port, mail);
        Ok(())
    }
}
