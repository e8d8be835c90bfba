//! Events: what a task is to be told about its links and routes, and how it learns that there is something.
//!
//! Each task has a list of *notes*, in the order raised. A note only says which object to look at; what the event says is read off the
//! object when it is pulled. An object has each kind of note at most once in a list, so a task that never pulls costs no more than its
//! objects do.
//!
//! A task with notes learns of them in three ways, so that no thread has to ask in vain: the answer to whatever it asks says so, the word for
//! events in its attention page changes, and one of its threads that waits for a message is answered "in progress".

use umach_abi::control::{Call, EVENTS_WAIT, Events, EventsWait, answer, encode_answer};
use umach_abi::limits::ATTACH_MAX;
use umach_abi::records::{Event, event};
use umach_abi::{Code, Name};

use super::Core;
use super::effect::{Attach, Effect, LaneId, LinkId, TaskId};
use super::port::{PortId, Receiver};
use super::route::{RouteId, State};
use super::task::{Source, Wait};

/// Events in one answer.
const PAGE: usize = 512;

/// Something to be told.
#[derive(Debug)]
pub(super) enum Note {
    Attention,
    Link(LinkId),
    Down(LinkId),
    Rang(LinkId),
    Idle(LinkId),
    Short,
    Arena(LinkId, u32, u64),
    Out(RouteId),
    In(RouteId),
    Open(RouteId),
    Stop(RouteId),
    End(RouteId),
    Closed(RouteId),
    Room(RouteId),
    /// News about file lanes, or a full inbox.
    Files,
    /// The port, and the set's name.
    Member(PortId, Name),
    Moved {
        link: LinkId,
        slot: u32,
        generation: u32,
        name: Name,
    },
    /// Pulled before, in an answer that could not be sent.
    Again(Box<Pulled>),
}

/// An event, and what comes with it.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    pub(super) event: Event,
    pub(super) along: Option<Attach>,
}

impl Core {
    pub(super) fn living(&self, task: TaskId) -> bool {
        self.tasks.get(task.0).is_some_and(|task| !task.dying)
    }

    /// Puts a note on a task's list.
    pub(super) fn raise(&mut self, task: TaskId, note: Note) {
        if !self.living(task) {
            return;
        }
        let plane = &mut self.tasks[task.0].plane;
        if !plane.attention {
            plane.attention = true;
            plane.notes.push_back(Note::Attention);
        }
        plane.notes.push_back(note);
        self.ring_control(task);
    }

    /// The word for events changes.
    pub(super) fn ring_control(&mut self, task: TaskId) {
        let Some(plane) = self.tasks.get_mut(task.0).map(|task| &mut task.plane) else { return };
        if !plane.control_rung {
            plane.control_rung = true;
            plane.control = plane.control.wrapping_add(1);
        }
        self.list_rung(task);
    }

    /// The word for mail changes.
    pub(super) fn ring_mail(&mut self, task: TaskId) {
        let Some(plane) = self.tasks.get_mut(task.0).map(|task| &mut task.plane) else { return };
        if !plane.mail_rung {
            plane.mail_rung = true;
            plane.mail = plane.mail.wrapping_add(1);
        }
        self.list_rung(task);
    }

    fn list_rung(&mut self, task: TaskId) {
        let plane = &mut self.tasks[task.0].plane;
        if !plane.rung {
            plane.rung = true;
            self.rung.push(task);
        }
    }

    /// There is mail at a port on which, or on a set of which, a receive was answered "in progress": rings its receiver, once.
    pub(super) fn ring_watchers(&mut self, id: PortId) {
        let Core { ports, sets, tasks, .. } = self;
        let port = &mut ports[id.0];
        let Receiver::Space(receiver, _) = port.receiver else { return };
        let plane = &mut tasks[receiver.0].plane;
        plane.arrivals = plane.arrivals.wrapping_add(1);
        let polled = !plane.polling.is_empty();
        let mut ring = port.plane.as_mut().is_some_and(|plane| std::mem::take(&mut plane.watched));
        for set in &port.sets {
            ring |= sets.get_mut(set.0).is_some_and(|set| std::mem::take(&mut set.watched));
        }
        if ring {
            self.ring_mail(receiver);
        } else if polled {
            self.list_rung(receiver);
        }
    }

    /// Marks where a receive was answered "in progress".
    pub(super) fn mark_watched(&mut self, from: Source) {
        match from {
            Source::Port(port) => self.ports[port.0].plane().watched = true,
            Source::Set(set) => self.sets[set.0].watched = true,
        }
    }

    /// Answers a receive, waiting or not, with "in progress".
    pub(super) fn put_off(&mut self, lane: LaneId, from: Source) {
        self.mark_watched(from);
        self.finish_receive(lane, Code::MACH_RCV_IN_PROGRESS);
    }

    /// Puts all threads off that wait at a port or at its sets.
    pub(super) fn put_off_all(&mut self, id: PortId) {
        let port = &mut self.ports[id.0];
        let waiting = port.waiters.as_mut().map(|waiters| std::mem::take(&mut waiters.receivers)).unwrap_or_default();
        port.tidy();
        for lane in waiting {
            self.put_off(lane, Source::Port(id));
        }
        for at in 0..self.ports[id.0].sets.len() {
            let set = self.ports[id.0].sets[at];
            while let Some(lane) = self.sets.get_mut(set.0).and_then(|set| set.receivers.pop_front()) {
                self.put_off(lane, Source::Set(set));
            }
        }
    }

    /// `EventsWait`, and `Events` if `mail` is not given.
    pub(super) fn events(&mut self, lane: LaneId, task: TaskId, mail: Option<u32>) {
        let plane = &mut self.tasks[task.0].plane;
        match mail {
            Some(mail) if plane.notes.is_empty() && plane.mail == mail => {
                plane.waiting.push(lane);
                self.wait(lane, Wait::Events { mail });
            }
            _ => self.pull(lane, task),
        }
    }

    /// `Poll`.
    pub(super) fn poll(&mut self, lane: LaneId, task: TaskId, seen: u32) {
        self.wait(lane, Wait::Poll { seen });
        self.tasks[task.0].plane.polling.push(lane);
        self.answer_polling(task);
    }

    /// Answers those that poll and have something to do.
    fn answer_polling(&mut self, task: TaskId) {
        let mut at = 0;
        while let Some(plane) = self.tasks.get(task.0).map(|task| &task.plane)
            && let Some(&lane) = plane.polling.get(at)
        {
            let Some(Wait::Poll { seen }) = self.lanes[lane.0].pending.as_ref().map(|pending| &pending.what) else {
                unreachable!("a polling lane waits");
            };
            if plane.notes.is_empty() && plane.arrivals == *seen {
                at += 1;
                continue;
            }
            self.end_poll(lane);
        }
    }

    /// Answers a lane that polls.
    pub(super) fn end_poll(&mut self, lane: LaneId) {
        let plane = &mut self.tasks[self.lanes[lane.0].task.0].plane;
        plane.polling.retain(|&other| other != lane);
        let seen = plane.arrivals;
        self.reply(lane, Ok(answer::Poll { seen }));
    }

    /// At the end of a transition: who waited is answered, words change, and answers say whether there is more.
    pub(super) fn settle_events(&mut self) {
        let mut rung = Vec::new();
        while let Some(task) = self.rung.pop() {
            let Some(plane) = self.tasks.get_mut(task.0).map(|task| &mut task.plane) else { continue };
            plane.rung = false;
            rung.push(task);
            self.answer_waiting(task);
        }
        for task in rung {
            let Some(plane) = self.tasks.get_mut(task.0).map(|task| &mut task.plane) else { continue };
            let changed = std::mem::take(&mut plane.control_rung) | std::mem::take(&mut plane.mail_rung);
            if changed && plane.page {
                self.effects.push(Effect::Attention { task, control: plane.control, mail: plane.mail });
            }
            // Not before the words have changed: whoever is woken looks at them.
            self.answer_polling(task);
        }
        let Core { effects, lanes, tasks, .. } = self;
        for effect in effects {
            if let Effect::Answer { lane, packet, .. } = effect
                && let Some(lane) = lanes.get(lane.0)
                && !tasks[lane.task.0].plane.notes.is_empty()
            {
                packet[1] |= (EVENTS_WAIT >> 8) as u8;
            }
        }
    }

    fn answer_waiting(&mut self, task: TaskId) {
        let mut at = 0;
        while let Some(&lane) = self.tasks[task.0].plane.waiting.get(at) {
            let Some(Wait::Events { mail }) = self.lanes[lane.0].pending.as_ref().map(|pending| &pending.what) else {
                unreachable!("a waiting lane waits");
            };
            let (mail, plane) = (*mail, &mut self.tasks[task.0].plane);
            if plane.notes.is_empty() && plane.mail == mail {
                at += 1;
                continue;
            }
            plane.waiting.remove(at);
            self.pull(lane, task);
        }
        let task = &self.tasks[task.0];
        if task.plane.notes.is_empty() {
            return;
        }
        let waits = task.lanes.iter().find_map(|&lane| match self.lanes[lane.0].pending.as_ref()?.what {
            Wait::Receive { from, .. } => Some((lane, from)),
            _ => None,
        });
        if let Some((lane, from)) = waits {
            self.stop_waiting_to_receive(lane, from);
            self.put_off(lane, from);
        }
    }

    /// Answers with as many events as fit.
    fn pull(&mut self, lane: LaneId, task: TaskId) {
        let (mut rows, mut attach, mut pulled) = (Vec::new(), Vec::new(), Vec::new());
        while pulled.len() < PAGE && attach.len() < ATTACH_MAX {
            let Some(note) = self.tasks[task.0].plane.notes.pop_front() else { break };
            if let Some(one) = self.tell(task, note) {
                one.event.write(&mut rows);
                attach.extend(one.along);
                pulled.push(one);
            }
        }
        let more = u32::from(!self.tasks[task.0].plane.notes.is_empty());
        let pending = self.lanes[lane.0].pending.take().expect("a request is being answered");
        let mut packet = Vec::with_capacity(64 + rows.len());
        let attached = attach.len() as u16;
        if pending.op == Events::OP {
            let fields = answer::Events { more, events: &rows };
            encode_answer(pending.op, pending.seq, Code::SUCCESS, attached, Some(&fields), &mut packet);
        } else {
            let fields = answer::EventsWait { more, events: &rows };
            encode_answer(pending.op, pending.seq, Code::SUCCESS, attached, Some(&fields), &mut packet);
        }
        self.effects.push(Effect::Answer { lane, packet, attach });
        if attached > 0 {
            self.pulled.push((lane, pulled));
        }
    }

    /// What the outside could not attach to an answer with events: all but that are to be pulled again, and the link goes without. True if it
    /// was such an answer.
    pub(super) fn events_failed(&mut self, lane: LaneId, failed: Attach) -> bool {
        let events = self.lanes.get(lane.0).is_some_and(|lane| matches!(lane.last.0, Events::OP | EventsWait::OP));
        let Some(at) = self.pulled.iter().position(|(other, _)| *other == lane).filter(|_| events) else { return false };
        let (_, pulled) = self.pulled.swap_remove(at);
        let Some(task) = self.task_of(lane).filter(|&task| self.living(task)) else { return true };
        let plane = &mut self.tasks[task.0].plane;
        for one in pulled.into_iter().rev().filter(|one| one.along != Some(failed)) {
            plane.notes.push_front(Note::Again(Box::new(one)));
        }
        match failed {
            Attach::Attention { .. } => {
                (plane.attention, plane.page) = (false, false);
                let links: Vec<LinkId> = plane.links.values().copied().collect();
                for link in links {
                    self.end_link(link, [umach_abi::records::down::IDLE; 2]);
                }
            }
            // Without its memory a link is of no use; without an arena its maker would be taken for a liar.
            Attach::Link(link) | Attach::Arena { link, .. } => self.end_link(link, [umach_abi::records::down::IDLE; 2]),
            _ => {}
        }
        true
    }

    /// Turns a note into an event; nothing if it is out of date. What waited for the event to be pulled happens.
    fn tell(&mut self, task: TaskId, note: Note) -> Option<Pulled> {
        let blank = Event::default();
        let plain = |event| Some(Pulled { event, along: None });
        match note {
            Note::Attention => {
                let plane = &mut self.tasks[task.0].plane;
                plane.page = true;
                let along = Some(Attach::Attention { task, control: plane.control, mail: plane.mail });
                Some(Pulled { event: Event { kind: event::ATTENTION, ..blank }, along })
            }
            Note::Link(id) => {
                let link = self.links.get(id.0)?;
                let side = link.side_of(task)?;
                let (peer, who) = (link.tasks[1 - side], link.peers[1 - side]);
                let event = Event {
                    kind: event::LINK,
                    link: id.to_raw(),
                    index: side as u32,
                    pid: who.pid,
                    uid: who.uid,
                    gid: who.gid,
                    task: peer.to_raw(),
                    ..blank
                };
                Some(Pulled { event, along: Some(Attach::Link(id)) })
            }
            Note::Down(id) => {
                let link = self.links.get_mut(id.0)?;
                let side = link.side_of(task)?;
                let value = link.down?[side];
                link.done[side] = true;
                let charge = link.charges[side].take();
                charge.into_iter().for_each(|charge| self.ledger.release(charge));
                self.settle_link(id);
                plain(Event { kind: event::LINK_DOWN, link: id.to_raw(), value, ..blank })
            }
            Note::Rang(id) => {
                let link = self.links.get_mut(id.0)?;
                let side = link.side_of(task)?;
                link.rang[side] = false;
                plain(Event { kind: event::RANG, link: id.to_raw(), ..blank })
            }
            Note::Idle(id) => {
                let link = self.links.get_mut(id.0)?;
                let side = link.side_of(task)?;
                link.asked[side] = false;
                (link.down.is_none()).then_some(Pulled { event: Event { kind: event::LINK_IDLE, link: id.to_raw(), ..blank }, along: None })
            }
            Note::Short => {
                self.tasks[task.0].plane.short = false;
                plain(Event { kind: event::LINKS_SHORT, ..blank })
            }
            Note::Arena(id, number, size) => {
                let side = self.links.get(id.0)?.side_of(task)? as u8;
                let event = Event { kind: event::ARENA, link: id.to_raw(), index: number, context: size, ..blank };
                Some(Pulled { event, along: Some(Attach::Arena { link: id, side, number }) })
            }
            Note::Out(id) => {
                if !self.announce(id) {
                    return None;
                }
                let flags = self.routes[id.0].before << 8;
                plain(Event {
                    kind: event::ROUTE_OUT,
                    flags,
                    value: self.routes[id.0].credit,
                    name: self.routes[id.0].name,
                    ..self.about(id)?
                })
            }
            Note::In(id) => {
                let event = self.about(id)?;
                let route = &mut self.routes[id.0];
                route.in_pulled = true;
                let (held, uid, from, port) = (route.opens_at.is_some(), route.before, route.from, route.port);
                let flags = u32::from(held) | if held { self.queued_of(port, from) } else { 0 } << 8;
                let route = &self.routes[id.0];
                let pid = self.ports.get(route.port.0).map_or(0, |port| port.seqno);
                plain(Event {
                    kind: event::ROUTE_IN,
                    flags,
                    value: route.credit,
                    name: route.local,
                    context: route.context,
                    pid,
                    uid,
                    ..event
                })
            }
            Note::Open(id) => plain(Event { kind: event::ROUTE_OPEN, ..self.about(id)? }),
            Note::Room(id) => {
                self.routes.get_mut(id.0)?.room_noted = false;
                plain(Event { kind: event::ROOM_WANTED, ..self.about(id)? })
            }
            Note::Files => {
                self.tasks[task.0].files.noted = false;
                plain(Event { kind: event::FILES, ..blank })
            }
            Note::Stop(id) => plain(Event { kind: event::ROUTE_STOP, ..self.about(id)? }),
            Note::End(id) => {
                let event = self.about(id)?;
                let route = &mut self.routes[id.0];
                route.end_noted = false;
                let State::Ended(value) = route.state else { return None };
                plain(Event { kind: event::ROUTE_END, value, ..event })
            }
            Note::Closed(id) => {
                let event = self.about(id)?;
                let State::Closed { accepted, dead } = self.routes[id.0].state else { return None };
                let back = self.routes[id.0].back;
                if !self.is_orphaned(id) {
                    self.drop_route(id);
                }
                plain(Event { kind: event::ROUTE_CLOSED, flags: u32::from(dead), value: if dead { back } else { accepted }, ..event })
            }
            Note::Member(port, set) => {
                self.tasks[task.0].plane.members.remove(&(port, set));
                let entry = self.ports.get(port.0)?;
                let Receiver::Space(owner, name) = entry.receiver else { return None };
                if owner != task {
                    return None;
                }
                let inside = entry.sets.iter().any(|id| self.sets.get(id.0).is_some_and(|s| s.owner.1 == set));
                plain(Event { kind: event::MEMBER, flags: u32::from(inside), index: set.0, name, ..blank })
            }
            Note::Moved { link, slot, generation, name } => {
                if let Some(entry) = self.links.get_mut(link.0)
                    && let Some(side) = entry.side_of(task)
                {
                    entry.moved.remove(&(side, slot, generation));
                }
                plain(Event { kind: event::REPLY_MOVED, link: link.to_raw(), index: slot, value: generation, name, ..blank })
            }
            Note::Again(pulled) => Some(*pulled),
        }
    }

    /// The fields that all events of a route have.
    fn about(&self, id: RouteId) -> Option<Event> {
        let route = self.routes.get(id.0)?;
        Some(Event { link: route.link.to_raw(), route: id.0.to_raw(), index: route.index, ..Event::default() })
    }
}
