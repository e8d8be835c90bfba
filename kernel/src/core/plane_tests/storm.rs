//! A storm: honest tasks that send to each other's ports by whatever way is open, and do with routes what a task's library does, on rings that are
//! plain queues. Ports move, rights come and go, tasks die, routes end. For each sender and port: nothing is lost, nothing comes twice, all comes
//! in the order sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::message::u32_at;

use super::traces::Watcher;

use super::*;

pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Sender, port, and number of the message between them.
pub(super) type Stamp = [u32; 3];

pub(super) fn bytes_of(stamp: Stamp) -> Vec<u8> {
    stamp.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn stamp_of(message: &[u8]) -> Stamp {
    let at = message.len() - 12;
    [0, 4, 8].map(|n| u32_at(message, at + n).unwrap())
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    Message(Stamp),
    Ticket(u32, Stamp),
}

/// What is in the memory of a link, by the sender's half: the ring, and which incoming routes are closed.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) ring: VecDeque<(u64, Record)>,
}

pub(super) struct Out {
    pub(super) link: u64,
    pub(super) name: Name,
    pub(super) credit: u32,
    pub(super) published: u32,
    pub(super) stopped: bool,
    /// What was published as which number; tickets are with the kernel.
    pub(super) log: Vec<(u32, Stamp)>,
}

pub(super) struct In {
    pub(super) sender: u64,
    pub(super) link: u64,
    pub(super) name: Name,
    pub(super) open: bool,
    pub(super) taken: u32,
    pub(super) delivered: u32,
    /// With their numbers on the route.
    pub(super) inbox: VecDeque<(u32, Record)>,
    pub(super) end: Option<u32>,
}

/// What a sender was in the middle of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Middle {
    /// It published this as that number and has not looked whether the route was closed.
    Published(u64, u32, Name, Stamp),
    /// The kernel has the ticket, the ring does not.
    Ticketed(u64, u32, Stamp),
    /// A repeated or ordinary message is blocked in the kernel.
    Blocked,
}

pub(super) struct Actor {
    pub(super) number: u32,
    pub(super) task: TaskId,
    pub(super) lane: LaneId,
    pub(super) sends: LaneId,
    /// Receive rights: name and port.
    pub(super) holds: BTreeMap<u32, Name>,
    /// Send rights.
    pub(super) knows: BTreeMap<u32, Name>,
    pub(super) outs: BTreeMap<u64, Out>,
    pub(super) ins: BTreeMap<u64, In>,
    /// Routes that are closed, as it was told.
    pub(super) accepted: BTreeMap<u64, (u32, bool)>,
    /// Routes whose receiver died: what is to be sent again, and how much of it had come back.
    pub(super) orphans: VecDeque<(u64, Out, u32)>,
    pub(super) middle: Option<Middle>,
    pub(super) news: bool,
    /// The word for mail when a receive on a port was put off.
    pub(super) put_off: BTreeMap<Name, u32>,
    /// A set, and who is in it.
    pub(super) set: Name,
    pub(super) members: BTreeSet<Name>,
    /// A port whose send right it names in messages with rights.
    pub(super) token: Name,
}

pub(super) struct Storm {
    pub(super) world: World,
    pub(super) rng: Rng,
    pub(super) actors: Vec<Actor>,
    pub(super) memory: BTreeMap<(u64, u64), Memory>,
    pub(super) closed: BTreeSet<u64>,
    pub(super) delivered: BTreeMap<u64, u32>,
    pub(super) sent: BTreeMap<(u32, u32), u32>,
    pub(super) got: BTreeMap<(u32, u32), u32>,
    pub(super) seen: BTreeSet<Stamp>,
    /// Sender and port, where sender and receiver of a route died before its messages were received.
    pub(super) lossy: BTreeSet<(u32, u32)>,
    pub(super) next: u32,
    pub(super) deaths: bool,
    /// Gets the ports of those who die, and its port for that.
    pub(super) guardian: (LaneId, Name),
    /// Looks on, now and then, and its traces.
    pub(super) watcher: (Watcher, Vec<u64>),
    /// The guardian's names for ports.
    pub(super) wards: BTreeMap<Name, u32>,
    pub(super) steps: u64,
}

impl Storm {
    fn new(seed: u64, direct: Direct, deaths: bool) -> Storm {
        let mut world = World::new(direct);
        let guardian = world.task();
        let notify = world.port(guardian);
        let watcher = Watcher::new(&mut world);
        let mut storm = Storm {
            world,
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
            guardian: (guardian, notify),
            watcher: (watcher, Vec::new()),
            wards: BTreeMap::new(),
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
        if self.deaths && self.rng.one_in(2) {
            let (guardian, _) = self.guardian;
            let ward = self.world.give(self.actors[at].lane, name, 20, guardian);
            self.wards.insert(ward, port);
            self.guard(self.actors[at].lane, name);
        }
    }

    /// The guardian is to get the port when its holder dies.
    fn guard(&mut self, lane: LaneId, name: Name) {
        let (guardian, notify) = self.guardian;
        let (notify, disposition) = if lane == guardian { (notify, 21) } else { (self.world.give(guardian, notify, 21, lane), 18) };
        let id = umach_abi::notify::PORT_DESTROYED as u32;
        let request = control::PortRequestNotification { task: Name::NULL, name, id, sync: 0, notify, disposition };
        self.world.ok(lane, Request::PortRequestNotification(request));
    }

    /// Hands on a port whose holder died.
    fn rescue(&mut self) {
        let (guardian, notify) = self.guardian;
        let answer = self.world.poll(guardian, notify);
        let Some(message) = answer.message() else { return };
        let Some((_, Ok(Descriptor::Port { name, .. }))) = umach_abi::message::descriptors(message).next() else { panic!("a port") };
        let port = self.wards[&name];
        let Some(to) = (0..self.actors.len()).find(|&to| !self.in_middle(to) && !self.actors[to].knows.contains_key(&port)) else {
            // Everybody sends to it: it has lived long enough.
            self.world.ok(guardian, Request::PortModRefs(control::PortModRefs { task: Name::NULL, name, right: 1, delta: -1 }));
            return;
        };
        self.guard(guardian, name);
        self.log(|| format!("{} gets {port}", self.actors[to].number));
        let there = self.world.give(guardian, name, 16, self.actors[to].lane);
        self.actors[to].holds.insert(port, there);
    }

    pub(super) fn log(&self, what: impl FnOnce() -> String) {
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
            35 if self.rng.one_in(3) => self.look_on(),
            36 if self.rng.one_in(4) && self.actors[at].holds.len() < 3 => self.add_port(at),
            37 if self.rng.one_in(6) => self.destroy(at),
            38 if self.deaths && self.rng.one_in(60) => self.die(at),
            39 if self.rng.one_in(40) => self.idle(at),
            39 if self.deaths => self.rescue(),
            _ => {
                self.world.core.work(2, &mut self.world.effects);
            }
        }
        self.take_answers();
        if self.steps.is_multiple_of(8) {
            self.world.check();
        }
    }

    /// Whether a blocked send is done.
    pub(super) fn take_answers(&mut self) {
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
        super::traces::clocks(&mut self.world);
        self.world.effects.retain(|effect| matches!(effect, Effect::Answer { .. }));
        for at in 0..self.actors.len() {
            let plane = &self.world.core.tasks[self.actors[at].task.0].plane;
            self.actors[at].news |= !plane.notes.is_empty();
        }
    }

    /// A trace of everything, or of one task, begins or ends, or is read.
    fn look_on(&mut self) {
        if self.rng.one_in(2) {
            self.watcher.0.read(&mut self.world);
        } else if self.watcher.1.is_empty() || self.rng.one_in(6) {
            let one = self.actors[self.rng.below(self.actors.len())].task.to_raw().to_le_bytes();
            let who = if self.rng.one_in(2) { &one[..] } else { &[] };
            let flags = if self.rng.one_in(2) { umach_abi::records::trace::FOLLOW } else { 0 };
            let begun = self.watcher.0.begin_with(&mut self.world, flags, (who.len() / 8) as u32, who);
            if begun.status == Code::SUCCESS {
                self.watcher.1.push(answer::HostTrace::take(&begun.fields).unwrap().trace);
            }
        } else {
            let trace = self.watcher.1.pop().expect("just seen");
            assert_eq!(self.watcher.0.end(&mut self.world, trace).status, Code::SUCCESS);
        }
    }

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

    pub(super) fn in_middle(&self, at: usize) -> bool {
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
        if self.rng.one_in(2) {
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
    }

    fn recall_port(&mut self, at: usize, name: Name) {
        self.world.ok(self.actors[at].lane, Request::PortRecall(control::PortRecall { name, seqno: 3 }));
        self.actors[at].news = true;
        if self.rng.one_in(2) {
            self.pull(at);
        }
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
        let raw = task.to_raw();
        let stamp_of = |record: &Record| match record {
            Record::Message(stamp) | Record::Ticket(_, stamp) => *stamp,
        };
        // What it had not received comes again, unless the sender is dead as well.
        let reads = |link: u64| self.world.core.links.get(Id::from_raw(link)).is_some_and(|link| link.side_of(task).is_some());
        let rings = self.memory.iter().filter(|((link, sender), _)| *sender != raw && reads(*link));
        let ring = rings.flat_map(|(_, memory)| memory.ring.iter().map(|(_, record)| stamp_of(record)));
        let inbox = self.actors[at].ins.values().flat_map(|way| way.inbox.iter().map(|(_, record)| stamp_of(record)));
        let alive: BTreeSet<u32> = self.actors.iter().map(|actor| actor.number).collect();
        let lost: Vec<Stamp> = ring.chain(inbox).filter(|stamp| !alive.contains(&stamp[0])).collect();
        self.lossy.extend(lost.into_iter().map(|stamp| (stamp[0], stamp[1])));
        // What it had not sent again.
        let actor = &self.actors[at];
        let orphaned = actor.outs.iter().filter(|(route, _)| {
            let id = crate::core::route::RouteId(Id::from_raw(**route));
            self.world.core.routes.get(id.0).is_some() && self.world.core.is_held_orphan(id)
        });
        let outs = orphaned.map(|(_, out)| out).chain(actor.orphans.iter().map(|(_, out, _)| out));
        let lost: Vec<(u32, u32)> = outs.flat_map(|out| out.log.iter().map(|(_, stamp)| (stamp[0], stamp[1]))).collect();
        self.lossy.extend(lost);
        self.log(|| format!("{} dies", self.actors[at].number));
        self.world.core.end_task(task, &mut self.world.effects);
        self.actors.swap_remove(at);
        self.add_actor();
    }

    /// Offers to let a link go: nothing goes out over it from here on. The other, who is asked, does the same.
    fn idle(&mut self, at: usize) {
        let links: Vec<LinkId> = self.world.core.tasks[self.actors[at].task.0].plane.links.values().copied().collect();
        if let Some(link) = links.first() {
            self.pull(at);
            self.let_go(at, link.to_raw());
        }
    }

    pub(super) fn let_go(&mut self, at: usize, link: u64) {
        if self.in_middle(at) {
            return;
        }
        for out in self.actors[at].outs.values_mut().filter(|out| out.link == link) {
            out.stopped = true;
        }
        let request = control::LinkEnd { link, why: 0, found: 0, expected: 0 };
        self.world.call(self.actors[at].lane, Request::LinkEnd(request));
        self.actors[at].news = true;
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
            self.rescue();
        }
        self.world.check();
        for at in 0..self.actors.len() {
            assert!(!self.in_middle(at) && self.actors[at].orphans.is_empty(), "{:?}", self.actors[at].middle);
            let me = self.actors[at].number;
            let held: Vec<u32> = self.actors.iter().flat_map(|actor| actor.holds.keys().copied()).collect();
            for (&(from, port), &sent) in self.sent.iter().filter(|((from, _), _)| *from == me) {
                if held.contains(&port) && !self.lossy.contains(&(from, port)) {
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
    let (mut total, mut without) = (0, 0);
    for seed in 1..=10 * scale {
        let (routes, got) = storm(seed, direct(seed), deaths, 4000);
        assert!(got > 0, "seed {seed}: no messages");
        // Where all is traced for most of the time there are none.
        without += u64::from(routes < 2);
        total += got;
    }
    assert!(total > 2000 * scale && without <= scale, "{total} messages in {} storms, {without} of them without routes", 10 * scale);
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
    storms(|seed| if seed.is_multiple_of(2) { Direct::Auto { after: 2 } } else { Direct::Random { seed } }, true);
}
