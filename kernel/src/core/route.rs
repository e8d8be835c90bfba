//! Routes: the kernel's permission for one task to send to one port over a link, without the kernel.
//!
//! A route goes through four states.
//!
//! * *Offered*: the sender has not pulled the event yet, so nobody knows of it; it may vanish without a word.
//! * *Live*: both know. If mail of that sender's was still queued when it learnt of the route, the route opens when that mail has been received.
//! * *Ended*: the sender is to stop; messages are on their way. Until the receiver has *closed* it the port stands behind a barrier: no mail is
//!   delivered, and the route holds a send right, so that neither an order nor a no-senders notification can overtake what is in the ring.
//! * *Closed*: nothing of the route is in the receiver's hands any more. Each message that it took from the ring has been received by its program,
//!   or is back in the port's queue. Goes when the sender has been told.
//!
//! A route whose receiver died closes at once. If the port lives on (it moved, or somebody asked for it), the route is *orphaned*: the sender knows
//! from the link what was received; it sends the rest again under its numbers, with the send right that the route still holds, and its
//! acknowledgement ends the route. What it had sent through the
//! kernel after the route's end is set aside until then, and its new messages to the port are refused ("in progress: pull your events"), so
//! that it keeps nobody waiting but itself. If the sender dies first, what the kernel has of the route is mail like any other.
//!
//! A *ticket* is a message of a route that carries rights: the kernel keeps it, the ring has its number. Tickets find their places by themselves:
//! in front of whatever comes back, or is sent again, with a higher number. What comes back goes into the port's queue at the place where the
//! queue ended when the first route of the barrier did.

use std::collections::BTreeMap;
use std::ops::Bound;

use umach_abi::control::answer;
use umach_abi::link;
use umach_abi::records::undelivered;
use umach_abi::{Code, Name};

use super::Core;
use super::arena::Id;
use super::effect::{LaneId, LinkId, TaskId};
use super::event::Note;
use super::mail::MailId;
use super::notify::Notice;
use super::port::{PortId, Receiver};
use super::send::parked_mail;

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
    /// Messages with rights, by their number on the route.
    pub(super) tickets: BTreeMap<u32, MailId>,
    pub(super) last_ticket: u32,
    /// Messages of the sender that were queued when it learnt of the route: they take credit until they have been received.
    pub(super) before: u32,
    /// The receiver is to be asked for room, and has not been told yet.
    pub(super) room_noted: bool,
    /// Number of the last message that came back from the receiver, or was sent again since that died.
    pub(super) back: u32,
    /// Mail of the sender's that comes after the messages of an orphaned route.
    pub(super) aside: Vec<MailId>,
    /// Messages that were sent again.
    pub(super) again: u32,
    /// Mail that repeats a message of the route: not to be delivered if the receiver took that.
    pub(super) doubts: Vec<(u32, MailId)>,
}

impl Route {
    pub(super) fn open(&self) -> bool {
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
        let entry = &mut self.links[link.0];
        entry.live[side] += 1;
        entry.idle = [false; 2];
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
    pub(super) fn last_mail(&self, port: PortId, from: TaskId) -> Option<MailId> {
        let port = &self.ports[port.0];
        let parked = port.waiters.iter().flat_map(|waiters| waiters.senders.iter().rev());
        let parked = parked.filter_map(|&lane| parked_mail(&self.lanes, lane));
        let origin = from.to_raw();
        parked.chain(port.queue.iter().rev().copied()).find(|mail| self.mails[mail.0].origin == origin)
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
        loop {
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
    }

    /// A task sends through the kernel although it has a route: a thread of it did not know. The route ends, so that what the thread sends next
    /// cannot overtake this. If the route is an orphan, this must not overtake what is to be sent again.
    pub(super) fn bypassed(&mut self, task: TaskId, name: Name) -> Result<(), Code> {
        let Some(port) = self.tasks[task.0].space.get(name).and_then(|entry| entry.port()) else { return Ok(()) };
        if self.is_behind(task, port) {
            return Err(Code::MACH_SEND_IN_PROGRESS);
        }
        let plane = self.ports.get(port.0).and_then(|port| port.plane.as_ref());
        if let Some(&route) = plane.and_then(|plane| plane.live.get(&task))
            && self.routes[route.0].state == State::Live
        {
            self.end_route(route, undelivered::KEEP);
        }
        Ok(())
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
                // Mail that comes first is in the queue, or goes there now; what comes after it must go there too.
                let held = self.routes[id.0].opens_at.take();
                if held.is_some() {
                    self.admit_all_of(port, from);
                }
                let what = if held.is_some() { what.max(undelivered::RETURN) } else { what };
                let route = &mut self.routes[id.0];
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

    /// The receiver took the first `accepted` messages of an ended route, and has none of them any more; or it died and nobody knows.
    pub(super) fn close_route(&mut self, id: RouteId, accepted: Option<u32>) {
        let route = &mut self.routes[id.0];
        let (port, from, dead) = (route.port, route.from, accepted.is_none());
        let accepted = accepted.unwrap_or(u32::MAX);
        route.state = State::Closed { accepted, dead };
        let link = route.link;
        self.links[link.0].unclosed -= 1;
        for (number, mail) in std::mem::take(&mut self.routes[id.0].doubts) {
            if number <= accepted {
                self.drop_doubt(port, mail);
            }
        }
        let orphaned = self.is_orphaned(id);
        match orphaned {
            true => self.set_aside(id),
            false => self.return_tickets(id, None),
        }
        self.change_routed(port, |plane| plane.barrier -= 1);
        self.refill_if_alive(port);
        if self.living(from) {
            self.raise(from, Note::Closed(id));
            self.settle_link(link);
        } else {
            self.drop_route(id);
        }
        if self.ports.get(port.0).is_some_and(|port| !port.barred()) {
            self.pump(port);
        }
        if !orphaned {
            self.release_send(port);
        }
    }

    pub(super) fn refill_if_alive(&mut self, port: PortId) {
        if self.alive(port) {
            self.refill(port);
        }
    }

    /// Puts mail into a port's queue where the barrier is.
    pub(super) fn insert_returned(&mut self, id: PortId, mail: MailId) {
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

    /// What a sender has waiting for room goes into the queue, in front of what comes back.
    fn admit_all_of(&mut self, id: PortId, from: TaskId) {
        let Some(port) = self.ports.get(id.0) else { return };
        let at_end = !port.barred();
        let lanes: Vec<LaneId> = port.waiters.iter().flat_map(|waiters| &waiters.senders).copied().collect();
        for lane in lanes {
            if parked_mail(&self.lanes, lane).is_some_and(|mail| self.mails[mail.0].origin == from.to_raw()) {
                self.stop_waiting_to_send(lane, id);
                let mail = self.sent(lane);
                if at_end {
                    let port = &mut self.ports[id.0];
                    port.queue.push_back(mail);
                    port.queued_bytes += self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
                    self.mark_ready(id);
                } else {
                    self.insert_returned(id, mail);
                }
            }
        }
    }

    pub(super) fn tickets_fewer(&mut self, id: RouteId, count: u32) {
        self.links[self.routes[id.0].link.0].tickets -= count;
    }

    /// Nobody was told of the route, or its sender knows how it ended, or is dead: its index is free again.
    pub(super) fn drop_route(&mut self, id: RouteId) {
        if self.routes.get(id.0).is_none() {
            return;
        }
        self.destroy_kept(id);
        let route = self.routes.remove(id.0).expect("just seen");
        let mut orphaned = false;
        if let Some(port) = self.ports.get_mut(route.port.0)
            && let Some(plane) = port.plane.as_mut()
        {
            plane.routes.remove(&id);
            orphaned = plane.orphans.get(&route.from) == Some(&id);
            if orphaned {
                plane.orphans.remove(&route.from);
            }
            port.tidy();
        }
        let link = &mut self.links[route.link.0];
        link.routes.remove(&id);
        link.unclosed -= u32::from(!matches!(route.state, State::Closed { .. }));
        // What is left in the ring under the old number is not taken for messages of the next route in its place.
        link.indices[route.side].free.push_back(route.index.wrapping_add(link::ROUTES as u32));
        self.settle_link(route.link);
        if orphaned {
            self.release_send(route.port);
        }
    }

    /// What the kernel has of a route to a dead port ends.
    fn destroy_kept(&mut self, id: RouteId) {
        let route = &mut self.routes[id.0];
        let (tickets, aside) = (std::mem::take(&mut route.tickets), std::mem::take(&mut route.aside));
        self.tickets_fewer(id, tickets.len() as u32);
        for mail in tickets.into_values().chain(aside) {
            let mail = self.mails.remove(mail.0).expect("a ticket's mail exists");
            self.destroy_mail(mail);
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

    /// The receive right leaves its space: like a recall.
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
    }

    /// One route of a dead port.
    pub(super) fn end_dead_route(&mut self, id: RouteId) {
        if self.routes.get(id.0).is_some() {
            self.destroy_kept(id);
            self.end_route(id, undelivered::DROP);
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
            self.release_orphan(id);
            self.drop_route(id);
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

    pub(super) fn incoming(&self, task: TaskId, raw: u64) -> Result<RouteId, Code> {
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
}
