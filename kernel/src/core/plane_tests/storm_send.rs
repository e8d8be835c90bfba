//! The storm's senders: by a route if there is one, else through the kernel, and again what may not have arrived.

use umach_abi::control::msg_flags;

use super::storm::*;
use super::*;

impl Storm {
    /// The port's number behind a name of the actor's right to it; dead ones are weeded out.
    pub(super) fn stamp(&mut self, at: usize, port: u32) -> Stamp {
        let key = (self.actors[at].number, port);
        let sent = self.sent.entry(key).or_default();
        *sent += 1;
        [key.0, port, *sent]
    }

    pub(super) fn send(&mut self, at: usize) {
        match self.actors[at].middle {
            Some(Middle::Blocked) => return,
            Some(Middle::Ticketed(route, number, stamp)) => {
                self.publish(at, route, Record::Ticket(number, stamp));
                self.actors[at].middle = None;
                return;
            }
            Some(Middle::Published(route, number, name, stamp)) => {
                self.actors[at].middle = None;
                if self.closed.contains(&route) {
                    self.resend(at, route, number, name, stamp);
                }
                return;
            }
            None => {}
        }
        if let Some((route, out, back)) = self.actors[at].orphans.pop_front() {
            return self.bury(at, route, &out, back);
        }
        let known: Vec<(u32, Name)> = self.actors[at].knows.iter().map(|(&port, &name)| (port, name)).collect();
        if known.is_empty() {
            return;
        }
        let (port, name) = known[self.rng.below(known.len())];
        let rights = self.rng.one_in(5);
        let route = self.actors[at].outs.iter().find(|(_, out)| out.name == name && !out.stopped);
        if let Some((&route, out)) = route {
            if out.published - self.delivered.get(&route).copied().unwrap_or(0) >= out.credit {
                return;
            }
            if self.closed.contains(&route) {
                // Closed is seen before publishing: it is over.
                self.actors[at].outs.get_mut(&route).unwrap().stopped = true;
                return;
            }
            let number = out.published + 1;
            let stamp = self.stamp(at, port);
            if rights {
                let bytes = carrying(name, self.actors[at].token, 19, &bytes_of(stamp));
                let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::TICKET, route, number);
                let answer = self.world.call(self.actors[at].sends, request);
                self.actors[at].news |= answer.has_events();
                match answer.status {
                    Code::SUCCESS => self.actors[at].middle = Some(Middle::Ticketed(route, number, stamp)),
                    Code::MACH_SEND_IN_PROGRESS => {
                        self.actors[at].outs.get_mut(&route).unwrap().stopped = true;
                        self.send_through_kernel(at, name, stamp, 0, 0, 0);
                    }
                    Code::MACH_SEND_INVALID_DEST => self.unsend(at, port),
                    other => panic!("{other}"),
                }
            } else {
                self.publish(at, route, Record::Message(stamp));
                self.actors[at].middle = Some(Middle::Published(route, number, name, stamp));
            }
            return;
        }
        let stamp = self.stamp(at, port);
        self.send_through_kernel(at, name, stamp, 0, 0, 0);
    }

    /// The receiver died: what it had not delivered is sent again.
    pub(super) fn bury(&mut self, at: usize, route: u64, out: &Out, back: u32) {
        let delivered = self.delivered.get(&route).copied().unwrap_or(0).max(back);
        for &(number, stamp) in out.log.iter().filter(|(number, _)| *number > delivered) {
            let lane = self.actors[at].sends;
            let bytes = simple(out.name, &bytes_of(stamp));
            let answer = self.world.call(lane, with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::AGAIN, route, number));
            // Or the port died too.
            assert!(matches!(answer.status, Code::SUCCESS | Code::MACH_SEND_INVALID_DEST), "{}", answer.status);
        }
        let ack = Request::RouteAck(control::RouteAck { route, accepted: delivered });
        self.world.call(self.actors[at].sends, ack);
    }

    pub(super) fn unsend(&mut self, at: usize, port: u32) {
        *self.sent.get_mut(&(self.actors[at].number, port)).unwrap() -= 1;
        self.actors[at].knows.remove(&port);
    }

    pub(super) fn publish(&mut self, at: usize, route: u64, record: Record) {
        self.log(|| format!("{} publish {record:?} on {route:x}", self.actors[at].number));
        let me = self.actors[at].task.to_raw();
        // If the route is closed and gone, the record would go where nobody looks.
        let Some(out) = self.actors[at].outs.get_mut(&route) else { return };
        out.published += 1;
        if let Record::Message(stamp) = record {
            out.log.push((out.published, stamp));
        }
        self.memory.entry((out.link, me)).or_default().ring.push_back((route, record));
    }

    pub(super) fn send_through_kernel(&mut self, at: usize, name: Name, stamp: Stamp, flags: u32, route: u64, number: u32) {
        self.log(|| format!("kernel {stamp:?} flags {flags} {route:x} {number}"));
        let bytes = simple(name, &bytes_of(stamp));
        let lane = self.actors[at].sends;
        self.world.start(lane, with_flags(msg(Options::SEND, Name::NULL, &bytes), flags, route, number));
        match self.world.answer(lane) {
            None => self.actors[at].middle = Some(Middle::Blocked),
            Some(answer) => {
                self.actors[at].news |= answer.has_events();
                match answer.status {
                    Code::SUCCESS => {}
                    Code::MACH_SEND_INVALID_DEST => self.unsend(at, stamp[1]),
                    // Its receiver died. A message in doubt is sent again with the others; one that is new must wait.
                    Code::MACH_SEND_IN_PROGRESS if flags != 0 => {}
                    Code::MACH_SEND_IN_PROGRESS => *self.sent.get_mut(&(self.actors[at].number, stamp[1])).unwrap() -= 1,
                    other => panic!("{other}"),
                }
            }
        }
    }

    /// A message may or may not have been taken before the route was closed.
    pub(super) fn resend(&mut self, at: usize, route: u64, number: u32, name: Name, stamp: Stamp) {
        if let Some(out) = self.actors[at].outs.get_mut(&route) {
            out.stopped = true;
        }
        match self.actors[at].accepted.get(&route) {
            Some(&(accepted, dead)) if dead || number <= accepted => {}
            Some(_) => self.send_through_kernel(at, name, stamp, 0, 0, 0),
            None => self.send_through_kernel(at, name, stamp, msg_flags::DOUBT, route, number),
        }
    }
}
