//! A storm: honest tasks that send to each other's ports by whatever way is open, and do with routes what a task's library does, on rings that are
//! plain queues. Ports move, rights come and go, tasks die, routes end. For each sender and port: nothing is lost, nothing comes twice, all comes
//! in the order sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::message::u32_at;

use super::*;

pub(super) struct Rng(u64);

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
    pub(super) inbox: VecDeque<Record>,
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
    /// Routes whose receiver died: what is to be sent again.
    pub(super) orphans: VecDeque<(u64, Out)>,
    pub(super) middle: Option<Middle>,
    pub(super) news: bool,
    /// The word for mail when a receive on a port was put off.
    pub(super) put_off: BTreeMap<Name, u32>,
    /// Messages of routes that it closed before it delivered them, by port.
    pub(super) kept: BTreeMap<Name, VecDeque<(u64, Record)>>,
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
    /// Ports whose messages somebody had who died: they may come in another order.
    pub(super) lossy: BTreeSet<u32>,
    pub(super) next: u32,
    pub(super) deaths: bool,
    /// Receivers close routes at once and deliver what is left later; else the other way round.
    pub(super) early: bool,
    pub(super) steps: u64,
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
            early: seed.is_multiple_of(2),
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
            36 if self.rng.one_in(4) && self.actors[at].holds.len() < 3 => self.add_port(at),
            37 if self.rng.one_in(6) => self.destroy(at),
            38 if self.deaths && self.rng.one_in(60) => self.die(at),
            39 if self.rng.one_in(40) => self.idle(at),
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
        self.world.effects.retain(|effect| matches!(effect, Effect::Answer { .. }));
        for at in 0..self.actors.len() {
            let plane = &self.world.core.tasks[self.actors[at].task.0].plane;
            self.actors[at].news |= !plane.notes.is_empty();
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
    pub(super) fn unreceive(&mut self, at: usize, name: Name) {
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
    storms(|seed| if seed.is_multiple_of(2) { Direct::Auto { after: 2 } } else { Direct::Random { seed } }, true);
}
