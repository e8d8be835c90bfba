//! A storm: honest tasks that send to each other's ports by whatever way is open, and do with routes what a task's library does, on rings that are
//! plain queues. Ports move, rights come and go, tasks die, routes end. For each sender and port: nothing is lost, nothing comes twice, all comes
//! in the order sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::control::msg_flags;
use umach_abi::message::u32_at;
use umach_abi::records::{event, undelivered};

use super::*;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Sender, port, and number of the message between them.
type Stamp = [u32; 3];

fn bytes_of(stamp: Stamp) -> Vec<u8> {
    stamp.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn stamp_of(message: &[u8]) -> Stamp {
    let at = message.len() - 12;
    [0, 4, 8].map(|n| u32_at(message, at + n).unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Record {
    Message(Stamp),
    Ticket(u32, Stamp),
}

/// What is in the memory of a link, by the sender's half: the ring, and which incoming routes are closed.
#[derive(Default)]
struct Memory {
    ring: VecDeque<(u64, Record)>,
}

struct Out {
    link: u64,
    name: Name,
    credit: u32,
    published: u32,
    stopped: bool,
    /// What was published as which number; tickets are with the kernel.
    log: Vec<(u32, Stamp)>,
}

struct In {
    sender: u64,
    link: u64,
    name: Name,
    open: bool,
    taken: u32,
    delivered: u32,
    inbox: VecDeque<Record>,
    end: Option<u32>,
}

/// What a sender was in the middle of.
#[derive(Clone, Copy, Debug)]
enum Middle {
    /// It published this as that number and has not looked whether the route was closed.
    Published(u64, u32, Name, Stamp),
    /// The kernel has the ticket, the ring does not.
    Ticketed(u64, u32, Stamp),
    /// A repeated or ordinary message is blocked in the kernel.
    Blocked,
}

struct Actor {
    number: u32,
    task: TaskId,
    lane: LaneId,
    sends: LaneId,
    /// Receive rights: name and port.
    holds: BTreeMap<u32, Name>,
    /// Send rights.
    knows: BTreeMap<u32, Name>,
    outs: BTreeMap<u64, Out>,
    ins: BTreeMap<u64, In>,
    /// Routes that are closed, as it was told.
    accepted: BTreeMap<u64, (u32, bool)>,
    /// Routes whose receiver died: what is to be sent again.
    orphans: VecDeque<(u64, Out)>,
    middle: Option<Middle>,
    news: bool,
    /// The word for mail when a receive on a port was put off.
    put_off: BTreeMap<Name, u32>,
    /// Messages of routes that it closed before it delivered them, by port.
    kept: BTreeMap<Name, VecDeque<(u64, Record)>>,
    /// A set, and who is in it.
    set: Name,
    members: BTreeSet<Name>,
    /// A port whose send right it names in messages with rights.
    token: Name,
}

struct Storm {
    world: World,
    rng: Rng,
    actors: Vec<Actor>,
    memory: BTreeMap<(u64, u64), Memory>,
    closed: BTreeSet<u64>,
    delivered: BTreeMap<u64, u32>,
    sent: BTreeMap<(u32, u32), u32>,
    got: BTreeMap<(u32, u32), u32>,
    seen: BTreeSet<Stamp>,
    /// Ports whose messages somebody had who died: they may come in another order.
    lossy: BTreeSet<u32>,
    next: u32,
    deaths: bool,
    /// Receivers close routes at once and deliver what is left later; else the other way round.
    early: bool,
    steps: u64,
}

impl Storm {
    fn new(seed: u64, direct: Direct, deaths: bool) -> Storm {
        let mut storm = Storm {
            world: World::new(direct),
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            actors: Vec::new(),
            memory: BTreeMap::new(),
            closed: BTreeSet::new(),
            delivered: BTreeMap::new(),
            sent: BTreeMap::new(),
            got: BTreeMap::new(),
            seen: BTreeSet::new(),
            lossy: BTreeSet::new(),
            next: 1,
            deaths,
            early: seed % 2 == 0,
            steps: 0,
        };
        for _ in 0..4 {
            storm.add_actor();
        }
        storm
    }

    fn add_actor(&mut self) {
        let lane = self.world.task();
        let sends = self.world.second_lane(lane);
        let token = self.world.port(lane);
        self.world.give(lane, token, 20, lane);
        let set = self.world.set(lane);
        self.actors.push(Actor {
            number: self.next,
            task: self.world.id(lane),
            lane,
            sends,
            holds: BTreeMap::new(),
            knows: BTreeMap::new(),
            outs: BTreeMap::new(),
            ins: BTreeMap::new(),
            accepted: BTreeMap::new(),
            orphans: VecDeque::new(),
            middle: None,
            news: false,
            put_off: BTreeMap::new(),
            kept: BTreeMap::new(),
            set,
            members: BTreeSet::new(),
            token,
        });
        self.next += 1;
        let me = self.actors.len() - 1;
        self.add_port(me);
    }

    fn add_port(&mut self, at: usize) {
        let name = self.world.port(self.actors[at].lane);
        let port = self.next;
        self.next += 1;
        self.actors[at].holds.insert(port, name);
    }

    fn log(&self, what: impl FnOnce() -> String) {
        if std::env::var_os("STORM_LOG").is_some() {
            eprintln!("{} {}", self.steps, what());
        }
    }
    fn step(&mut self) {
        self.steps += 1;
        let at = self.rng.below(self.actors.len());
        match self.rng.below(40) {
            0..=13 => self.send(at),
            14..=27 => self.receive(at),
            28..=31 => self.pull(at),
            32 if self.rng.one_in(2) => self.join(at),
            32 => self.share(at),
            33 if self.rng.one_in(3) => self.forget(at),
            34 if self.rng.one_in(3) => self.hand_on(at),
            35 if self.rng.one_in(4) => self.recall(at),
            36 if self.rng.one_in(4) && self.actors[at].holds.len() < 3 => self.add_port(at),
            37 if self.rng.one_in(6) => self.destroy(at),
            38 if self.deaths && self.rng.one_in(60) => self.die(at),
            39 if self.rng.one_in(40) => self.idle(at),
            _ => {
                self.world.core.work(2, &mut self.world.effects);
            }
        }
        self.take_answers();
        if self.steps % 8 == 0 {
            self.world.check();
        }
    }

    /// Whether a blocked send is done.
    fn take_answers(&mut self) {
        for at in 0..self.actors.len() {
            if matches!(self.actors[at].middle, Some(Middle::Blocked))
                && let Some(answer) = self.world.answer(self.actors[at].sends)
            {
                // The port may have died meanwhile.
                assert_eq!(answer.status, Code::SUCCESS);
                self.actors[at].middle = None;
                self.actors[at].news |= answer.has_events();
            }
        }
        self.world.effects.retain(|effect| matches!(effect, Effect::Answer { .. }));
        for at in 0..self.actors.len() {
            let plane = &self.world.core.tasks[self.actors[at].task.0].plane;
            self.actors[at].news |= !plane.notes.is_empty();
        }
    }

    /// The port's number behind a name of the actor's right to it; dead ones are weeded out.
    fn stamp(&mut self, at: usize, port: u32) -> Stamp {
        let key = (self.actors[at].number, port);
        let sent = self.sent.entry(key).or_default();
        *sent += 1;
        [key.0, port, *sent]
    }

    fn send(&mut self, at: usize) {
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
        if let Some((route, out)) = self.actors[at].orphans.pop_front() {
            return self.bury(at, route, &out);
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
    fn bury(&mut self, at: usize, route: u64, out: &Out) {
        let delivered = self.delivered.get(&route).copied().unwrap_or(0);
        for &(number, stamp) in out.log.iter().filter(|(number, _)| *number > delivered) {
            let lane = self.actors[at].sends;
            let bytes = simple(out.name, &bytes_of(stamp));
            let flags = msg_flags::DOUBT | msg_flags::TRY_SEND;
            let answer = self.world.call(lane, with_flags(msg(Options::SEND, Name::NULL, &bytes), flags, route, number));
            match answer.status {
                Code::SUCCESS => {}
                // The port died too, or the right is gone; then so are the messages.
                Code::MACH_SEND_INVALID_DEST | Code::MACH_SEND_IN_PROGRESS => drop(self.lossy.insert(stamp[1])),
                other => panic!("{other}"),
            }
        }
        let ack = Request::RouteAck(control::RouteAck { route, accepted: delivered });
        self.world.call(self.actors[at].sends, ack);
    }

    fn unsend(&mut self, at: usize, port: u32) {
        *self.sent.get_mut(&(self.actors[at].number, port)).unwrap() -= 1;
        self.actors[at].knows.remove(&port);
    }

    fn publish(&mut self, at: usize, route: u64, record: Record) {
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

    fn send_through_kernel(&mut self, at: usize, name: Name, stamp: Stamp, flags: u32, route: u64, number: u32) {
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
                    other => panic!("{other}"),
                }
            }
        }
    }

    /// A message may or may not have been taken before the route was closed.
    fn resend(&mut self, at: usize, route: u64, number: u32, name: Name, stamp: Stamp) {
        if let Some(out) = self.actors[at].outs.get_mut(&route) {
            out.stopped = true;
        }
        match self.actors[at].accepted.get(&route) {
            Some(&(accepted, dead)) if dead || number <= accepted => {}
            Some(_) => self.send_through_kernel(at, name, stamp, 0, 0, 0),
            None => self.send_through_kernel(at, name, stamp, msg_flags::DOUBT, route, number),
        }
    }

    // The receiving side.

    /// Takes everything out of a ring.
    fn drain(&mut self, at: usize, link: u64, sender: u64) {
        let Some(memory) = self.memory.get_mut(&(link, sender)) else { return };
        let mut later = VecDeque::new();
        for (route, record) in memory.ring.drain(..) {
            match self.actors[at].ins.get_mut(&route) {
                Some(_) if self.closed.contains(&route) => {} // published after it was closed
                Some(way) => {
                    way.taken += 1;
                    way.inbox.push_back(record);
                }
                None if self.closed.contains(&route) => {}
                None => later.push_back((route, record)), // not told of it yet
            }
        }
        memory.ring = later;
    }

    fn deliver(&mut self, stamp: Stamp) {
        self.log(|| format!("deliver {stamp:?}"));
        assert!(self.seen.insert(stamp), "{stamp:?} came twice");
        let got = self.got.entry((stamp[0], stamp[1])).or_default();
        assert!(stamp[2] == *got + 1 || self.lossy.contains(&stamp[1]), "{stamp:?} came after {got}");
        *got = stamp[2];
    }

    /// One message of a route, if it may be delivered.
    fn deliver_from(&mut self, at: usize, route: u64) -> bool {
        let Some(way) = self.actors[at].ins.get_mut(&route).filter(|way| way.open) else { return false };
        let Some(&record) = way.inbox.front() else { return false };
        let name = way.name;
        self.deliver_record(at, route, name, record);
        let way = self.actors[at].ins.get_mut(&route).unwrap();
        way.inbox.pop_front();
        way.delivered += 1;
        self.delivered.insert(route, way.delivered);
        true
    }

    fn deliver_record(&mut self, at: usize, route: u64, name: Name, record: Record) {
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

    fn receive(&mut self, at: usize) {
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
        for &port in &ports {
            if let Some((route, record)) = self.actors[at].kept.get_mut(&port).and_then(VecDeque::pop_front) {
                return self.deliver_record(at, route, port, record);
            }
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

    fn pull(&mut self, at: usize) {
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

    fn take_event(&mut self, at: usize, event: Event) {
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
                let open = event.flags == 0;
                let way = In { sender, link: event.link, name: event.name, open, taken: 0, delivered: 0, inbox: VecDeque::new(), end: None };
                actor.ins.insert(event.route, way);
            }
            event::ROUTE_OPEN => actor.ins.get_mut(&event.route).unwrap().open = true,
            event::ROUTE_STOP => actor.outs.get_mut(&event.route).unwrap().stopped = true,
            event::ROUTE_CLOSED => {
                let out = actor.outs.remove(&event.route);
                if event.flags == 1 {
                    actor.orphans.extend(out.map(|out| (event.route, out)));
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
            _ => {}
        }
    }

    /// Closes ended routes whose messages are where they should be.
    fn finish_ends(&mut self, at: usize) {
        let ended: Vec<(u64, u32)> = self.actors[at].ins.iter().filter_map(|(&route, way)| Some((route, way.end?))).collect();
        let lane = self.actors[at].lane;
        for (route, what) in ended {
            let way = self.actors[at].ins.get_mut(&route).unwrap();
            match what {
                undelivered::KEEP if self.early => {
                    let kept = std::mem::take(&mut way.inbox).into_iter().map(|record| (route, record));
                    let name = way.name;
                    self.actors[at].kept.entry(name).or_default().extend(kept);
                }
                undelivered::KEEP if !way.inbox.is_empty() => continue,
                undelivered::RETURN => {
                    let mut tail = Vec::new();
                    let count = way.inbox.len() as u32;
                    for record in way.inbox.drain(..) {
                        match record {
                            Record::Message(stamp) => tail.extend(frame(&simple(Name::NULL, &bytes_of(stamp)), 0, 0)),
                            Record::Ticket(number, _) => tail.extend(frame(&[], 0, number)),
                        }
                    }
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

    // What happens to rights.

    fn share(&mut self, at: usize) {
        let held: Vec<(u32, Name)> = self.actors[at].holds.iter().map(|(&port, &name)| (port, name)).collect();
        let to = self.rng.below(self.actors.len());
        if held.is_empty() || to == at {
            return;
        }
        let (port, name) = held[self.rng.below(held.len())];
        if self.actors[to].knows.contains_key(&port) || self.in_middle(to) {
            return;
        }
        let there = self.world.give(self.actors[at].lane, name, 20, self.actors[to].lane);
        self.actors[to].knows.insert(port, there);
    }

    fn in_middle(&self, at: usize) -> bool {
        self.actors[at].middle.is_some()
    }

    /// Gives a send right up.
    fn forget(&mut self, at: usize) {
        let known: Vec<(u32, Name)> = self.actors[at].knows.iter().map(|(&port, &name)| (port, name)).collect();
        if known.is_empty() || self.in_middle(at) {
            return;
        }
        let (port, name) = known[self.rng.below(known.len())];
        self.world.ok(self.actors[at].lane, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name }));
        self.actors[at].knows.remove(&port);
        for out in self.actors[at].outs.values_mut().filter(|out| out.name == name) {
            out.stopped = true;
        }
    }

    /// Moves a receive right to another task.
    fn hand_on(&mut self, at: usize) {
        let held: Vec<(u32, Name)> = self.actors[at].holds.iter().map(|(&port, &name)| (port, name)).collect();
        let to = self.rng.below(self.actors.len());
        if held.is_empty() || to == at || self.in_middle(to) || self.in_middle(at) {
            return;
        }
        let (port, name) = held[self.rng.below(held.len())];
        // Names are shared by send and receive rights; a task that sends to itself is not of interest here.
        if self.actors[to].knows.contains_key(&port) {
            return;
        }
        if self.early || self.rng.one_in(2) {
            self.recall_port(at, name);
        }
        self.log(|| format!("{} hands {port} to {}", self.actors[at].number, self.actors[to].number));
        let there = self.world.give(self.actors[at].lane, name, 16, self.actors[to].lane);
        self.actors[at].holds.remove(&port);
        self.gone(at, name);
        self.actors[to].holds.insert(port, there);
    }

    /// The name is no receive right any more.
    fn gone(&mut self, at: usize, name: Name) {
        self.actors[at].put_off.remove(&name);
        self.actors[at].members.remove(&name);
        self.actors[at].kept.remove(&name);
    }

    fn recall_port(&mut self, at: usize, name: Name) {
        self.world.ok(self.actors[at].lane, Request::PortRecall(control::PortRecall { name, seqno: 3 }));
        self.actors[at].news = true;
        if self.early {
            self.pull(at);
            self.unreceive(at, name);
        }
    }

    /// Puts messages of closed routes back at the front of the queue.
    fn unreceive(&mut self, at: usize, name: Name) {
        let mut tail = Vec::new();
        let kept = self.actors[at].kept.remove(&name).unwrap_or_default();
        let count = kept.len() as u32;
        for (route, record) in kept {
            match record {
                Record::Message(stamp) => tail.extend(frame(&simple(Name::NULL, &bytes_of(stamp)), 0, 0)),
                Record::Ticket(number, _) => {
                    let (status, trailer) = (route as u32, (route >> 32) as u32);
                    Frame { status, trailer, options: number, ..Frame::default() }.write(&mut tail);
                }
            }
        }
        let request = control::PortUnreceive { name, count, tail: &tail };
        let answer = self.world.ok(self.actors[at].lane, Request::PortUnreceive(request));
        assert_eq!(answer::PortUnreceive::take(&answer.fields).unwrap().taken, count);
    }

    /// Puts a port into the set, or takes it out.
    fn join(&mut self, at: usize) {
        let held: Vec<Name> = self.actors[at].holds.values().copied().collect();
        if held.is_empty() {
            return;
        }
        let member = held[self.rng.below(held.len())];
        let (lane, set) = (self.actors[at].lane, self.actors[at].set);
        if self.actors[at].members.remove(&member) {
            self.world.ok(lane, Request::PortExtractMember(control::PortExtractMember { task: Name::NULL, member, set }));
        } else {
            self.world.ok(lane, Request::PortInsertMember(control::PortInsertMember { task: Name::NULL, member, set }));
            self.actors[at].members.insert(member);
        }
    }

    fn recall(&mut self, at: usize) {
        if let Some(&name) = self.actors[at].holds.values().next() {
            self.recall_port(at, name);
        }
    }

    fn destroy(&mut self, at: usize) {
        let Some((&port, &name)) = self.actors[at].holds.iter().next() else { return };
        if self.actors[at].holds.len() > 1 {
            self.world.ok(self.actors[at].lane, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name }));
            self.actors[at].holds.remove(&port);
            self.gone(at, name);
        }
    }

    fn die(&mut self, at: usize) {
        let task = self.actors[at].task;
        for way in self.actors[at].ins.values() {
            // What it has not returned of a port that has moved is lost.
            self.lossy.extend(way.inbox.iter().map(|record| match record {
                Record::Message(stamp) | Record::Ticket(_, stamp) => stamp[1],
            }));
        }
        let raw = task.to_raw();
        let reads = |link: u64| self.world.core.links.get(Id::from_raw(link)).is_some_and(|link| link.side_of(task).is_some());
        for (_, memory) in self.memory.iter().filter(|((link, sender), _)| *sender != raw && reads(*link)) {
            self.lossy.extend(memory.ring.iter().map(|(_, record)| match record {
                Record::Message(stamp) | Record::Ticket(_, stamp) => stamp[1],
            }));
        }
        self.world.core.end_task(task, &mut self.world.effects);
        self.actors.swap_remove(at);
        self.add_actor();
    }

    /// Everybody says that a link is idle, or that the other cheats.
    fn idle(&mut self, at: usize) {
        let links: Vec<LinkId> = self.world.core.tasks[self.actors[at].task.0].plane.links.values().copied().collect();
        let Some(&link) = links.first() else { return };
        for actor in 0..self.actors.len() {
            let request = control::LinkEnd { link: link.to_raw(), why: 0, found: 0, expected: 0 };
            self.world.call(self.actors[actor].lane, Request::LinkEnd(request));
        }
    }

    /// Lets everything come to rest, and sees that nothing is missing.
    fn settle(&mut self) {
        for _ in 0..3000 {
            for at in 0..self.actors.len() {
                if self.in_middle(at) || !self.actors[at].orphans.is_empty() {
                    self.send(at);
                }
                self.take_answers();
                self.pull(at);
                self.receive(at);
                self.take_answers();
            }
            self.world.core.work(16, &mut self.world.effects);
        }
        self.world.check();
        for at in 0..self.actors.len() {
            assert!(!self.in_middle(at) && self.actors[at].orphans.is_empty(), "{:?}", self.actors[at].middle);
            let me = self.actors[at].number;
            let held: Vec<u32> = self.actors.iter().flat_map(|actor| actor.holds.keys().copied()).collect();
            for (&(from, port), &sent) in self.sent.iter().filter(|((from, _), _)| *from == me) {
                if held.contains(&port) && !self.lossy.contains(&port) {
                    assert_eq!(self.got.get(&(from, port)).copied().unwrap_or(0), sent, "messages of {from} to {port} arrived");
                }
            }
        }
    }
}

fn storm(seed: u64, direct: Direct, deaths: bool, steps: usize) -> (u64, u64) {
    let mut storm = Storm::new(seed, direct, deaths);
    let mut most = 0;
    for _ in 0..steps {
        storm.step();
        most = most.max(storm.world.core.routes.len() as u64);
    }
    storm.settle();
    (most, storm.got.values().map(|&n| n as u64).sum())
}

fn storms(direct: impl Fn(u64) -> Direct, deaths: bool) {
    let scale = std::env::var("UMACH_STORMS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in 1..=10 * scale {
        let (routes, got) = storm(seed, direct(seed), deaths, 4000);
        assert!(routes > 1 && got > 100, "seed {seed}: {routes} routes, {got} messages");
    }
}

#[test]
fn storm_of_honest_tasks_loses_nothing() {
    storms(|_| Direct::Always, false);
}

#[test]
fn storm_with_routes_that_end_by_chance_loses_nothing() {
    storms(|seed| Direct::Random { seed }, false);
}

#[test]
fn storm_with_deaths_keeps_order() {
    storms(|seed| if seed % 2 == 0 { Direct::Auto { after: 2 } } else { Direct::Random { seed } }, true);
}
