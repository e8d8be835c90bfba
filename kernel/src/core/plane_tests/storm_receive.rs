//! The storm's receivers: rings and mail, in the order that events give, and what becomes of routes that end.

use std::collections::VecDeque;

use umach_abi::control::msg_flags;
use umach_abi::records::{event, undelivered};

use super::storm::*;
use super::*;

impl Storm {
    /// Takes everything out of a ring.
    pub(super) fn drain(&mut self, at: usize, link: u64, sender: u64) {
        let Some(memory) = self.memory.get_mut(&(link, sender)) else { return };
        let mut later = VecDeque::new();
        for (route, record) in memory.ring.drain(..) {
            match self.actors[at].ins.get_mut(&route) {
                Some(_) if self.closed.contains(&route) => {} // published after it was closed
                Some(way) => {
                    way.taken += 1;
                    way.inbox.push_back((way.taken, record));
                }
                None if self.closed.contains(&route) => {}
                None => later.push_back((route, record)), // not told of it yet
            }
        }
        memory.ring = later;
    }

    pub(super) fn deliver(&mut self, stamp: Stamp) {
        self.log(|| format!("deliver {stamp:?}"));
        assert!(self.seen.insert(stamp), "{stamp:?} came twice");
        let got = self.got.entry((stamp[0], stamp[1])).or_default();
        assert!(stamp[2] == *got + 1 || self.lossy.contains(&(stamp[0], stamp[1])), "{stamp:?} came after {got}");
        *got = stamp[2];
    }

    /// One message of a route, if it may be delivered.
    pub(super) fn deliver_from(&mut self, at: usize, route: u64) -> bool {
        let Some(way) = self.actors[at].ins.get_mut(&route).filter(|way| way.open) else { return false };
        let Some(&(_, record)) = way.inbox.front() else { return false };
        let name = way.name;
        self.deliver_record(at, route, name, record);
        let way = self.actors[at].ins.get_mut(&route).unwrap();
        way.inbox.pop_front();
        way.delivered += 1;
        self.delivered.insert(route, way.delivered);
        true
    }

    pub(super) fn deliver_record(&mut self, at: usize, route: u64, name: Name, record: Record) {
        match record {
            Record::Message(stamp) => self.deliver(stamp),
            Record::Ticket(number, stamp) => {
                let request = with_flags(msg(Options::RCV, name, &[]), msg_flags::BY_TICKET, route, number);
                let answer = self.world.call(self.actors[at].lane, request);
                assert_eq!(answer.status, Code::SUCCESS, "ticket {number}");
                assert_eq!(stamp_of(answer.message().unwrap()), stamp);
                self.deliver(stamp);
            }
        }
    }

    pub(super) fn receive(&mut self, at: usize) {
        let held: Vec<(u32, Name)> = self.actors[at].holds.iter().map(|(&port, &name)| (port, name)).collect();
        if held.is_empty() {
            return;
        }
        let (_, name) = held[self.rng.below(held.len())];
        // Sometimes the set, if the port is in it.
        let by_set = self.actors[at].members.contains(&name) && self.rng.one_in(2);
        let (from, ports) = match by_set {
            true => (self.actors[at].set, self.actors[at].members.iter().copied().collect()),
            false => (name, vec![name]),
        };
        let ways: Vec<(u64, u64, u64)> = {
            let ins = self.actors[at].ins.iter().filter(|(_, way)| ports.contains(&way.name));
            ins.map(|(&route, way)| (route, way.link, way.sender)).collect()
        };
        for &(_, link, sender) in &ways {
            self.drain(at, link, sender);
        }
        if self.rng.one_in(2) {
            for &(route, ..) in &ways {
                if self.deliver_from(at, route) {
                    self.finish_ends(at);
                    return;
                }
            }
        }
        let answer = self.world.poll(self.actors[at].lane, from);
        self.actors[at].news |= answer.has_events();
        let mail = self.world.words(self.actors[at].lane).1;
        match answer.status {
            Code::SUCCESS => {
                let stamp = stamp_of(answer.message().unwrap());
                if let Some(seen) = self.actors[at].put_off.remove(&from) {
                    assert_ne!(seen, mail, "mail came and nobody rang");
                }
                self.deliver(stamp);
            }
            Code::MACH_RCV_IN_PROGRESS => {
                self.actors[at].put_off.insert(from, mail);
            }
            Code::MACH_RCV_TIMED_OUT => {
                self.actors[at].put_off.remove(&from);
            }
            other => panic!("{other}"),
        }
        self.finish_ends(at);
    }

    pub(super) fn pull(&mut self, at: usize) {
        if !self.actors[at].news {
            return;
        }
        self.actors[at].news = false;
        let lane = self.actors[at].lane;
        for event in self.world.events(lane) {
            self.take_event(at, event);
        }
        self.finish_ends(at);
    }

    pub(super) fn take_event(&mut self, at: usize, event: Event) {
        let me = self.actors[at].task.to_raw();
        self.log(|| format!("{} event {event:?}", self.actors[at].number));
        let actor = &mut self.actors[at];
        match event.kind {
            event::ROUTE_OUT => {
                let out = Out { link: event.link, name: event.name, credit: event.value, published: 0, stopped: false, log: Vec::new() };
                actor.outs.insert(event.route, out);
            }
            event::ROUTE_IN => {
                let link = &self.world.core.links[Id::from_raw(event.link)];
                let sender = link.tasks[1 - link.side_of(TaskId::from_raw(me)).unwrap()].to_raw();
                let open = event.flags & 1 == 0;
                let way =
                    In { sender, link: event.link, name: event.name, open, taken: 0, delivered: 0, inbox: VecDeque::new(), end: None };
                actor.ins.insert(event.route, way);
            }
            event::ROUTE_OPEN => actor.ins.get_mut(&event.route).unwrap().open = true,
            event::ROUTE_STOP => actor.outs.get_mut(&event.route).unwrap().stopped = true,
            event::ROUTE_CLOSED => {
                let out = actor.outs.remove(&event.route);
                if event.flags == 1 {
                    actor.orphans.extend(out.map(|out| (event.route, out, event.value)));
                }
                actor.accepted.insert(event.route, (event.value, event.flags == 1));
            }
            event::ROUTE_END => {
                let way = actor.ins.get_mut(&event.route).unwrap();
                let (link, sender) = (way.link, way.sender);
                way.end = Some(event.value);
                self.drain(at, link, sender);
                self.closed.insert(event.route);
            }
            event::LINK_DOWN => {
                assert!(!actor.ins.values().any(|way| way.link == event.link), "a link is down before its routes are closed");
            }
            event::LINK_IDLE => self.let_go(at, event.link),
            _ => {}
        }
    }

    /// Closes ended routes whose messages are where they should be.
    pub(super) fn finish_ends(&mut self, at: usize) {
        let ended: Vec<(u64, u32)> = self.actors[at].ins.iter().filter_map(|(&route, way)| Some((route, way.end?))).collect();
        let lane = self.actors[at].lane;
        for (route, what) in ended {
            let way = self.actors[at].ins.get_mut(&route).unwrap();
            match what {
                undelivered::KEEP if !way.inbox.is_empty() => continue,
                undelivered::RETURN => {
                    // Tickets find their places by themselves.
                    let plain = way.inbox.drain(..).filter_map(|(number, record)| match record {
                        Record::Message(stamp) => Some(frame(&simple(Name::NULL, &bytes_of(stamp)), number, 0, 0)),
                        Record::Ticket(..) => None,
                    });
                    let mut frames: Vec<Vec<u8>> = plain.collect();
                    if self.rng.one_in(8) {
                        // Not all at once.
                        let rest = frames.split_off(frames.len() / 2);
                        let (count, tail) = (frames.len() as u32, frames.concat());
                        self.world.ok(lane, Request::RouteReturn(control::RouteReturn { route, count, tail: &tail }));
                        frames = rest;
                    }
                    let (count, tail) = (frames.len() as u32, frames.concat());
                    let answer = self.world.ok(lane, Request::RouteReturn(control::RouteReturn { route, count, tail: &tail }));
                    assert_eq!(answer::RouteReturn::take(&answer.fields).unwrap().taken, count);
                }
                _ => {}
            }
            let taken = self.actors[at].ins.remove(&route).unwrap().taken;
            self.log(|| format!("{} acks {route:x} what {what} taken {taken}", self.actors[at].number));
            assert_eq!(self.world.ack(lane, route, taken), Code::SUCCESS);
        }
    }
}
