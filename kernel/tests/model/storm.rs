//! Random requests under small limits of every kind. There is no model here: that limits end in clear codes and never in a broken state
//! is checked by the core's own checker after each request, by the rows that the kernel shows, and by what is left at the end: nothing.

use std::collections::{BTreeSet, HashMap};

use umach_abi::control::{self, Head, Reply, Request as Call, answer, msg_flags, phase};
use umach_abi::message::{self, Descriptor, Header, Options};
use umach_abi::records::{Event, Frame, SpaceRow, TaskRow, event, kobject};
use umach_abi::{Code, Features, Name, RightKind, TypeBits, VERSION, notify};
use umach_kernel::core::{Attach, Config, Core, Direct, Effect, Effects, LaneId, Limits, Peer, TaskId};

use super::rng::Rng;

const LIMITS: Limits = Limits {
    task_ports: 10,
    task_names: 14,
    task_queued_bytes: 9000,
    task_regions: 2,
    task_region_bytes: 1 << 16,
    task_notifications: 6,
    task_lanes: 5,
    task_links: 8,
    task_lane_bytes: 1 << 20,
    user_tasks: 4,
    user_factor: 3,
};

struct Member {
    task: TaskId,
    /// For looking only.
    probe: LaneId,
    lanes: Vec<LaneId>,
    own: Name,
}

struct Storm {
    core: Core,
    rng: Rng,
    members: Vec<Member>,
    effects: Effects,
    seq: u32,
    /// Requests that were not answered yet.
    pending: HashMap<LaneId, u32>,
    /// How often each code was answered.
    /// Kinds of events, links and routes that anybody was told of.
    kinds: BTreeSet<u32>,
    links: Vec<u64>,
    routes: Vec<u64>,
    /// Begun so far.
    traces: u64,
    codes: HashMap<u32, u64>,
}

impl Storm {
    fn ask(&mut self, lane: LaneId, call: &Call<'_>) -> Option<(Code, Vec<u8>, Vec<Attach>)> {
        let mut packet = Vec::new();
        self.seq += 1;
        let seq = match call {
            Call::Cancel(cancel) => cancel.seq,
            _ => self.seq,
        };
        call.encode(seq, &mut packet);
        let (head, call) = Call::decode(&packet).expect("just encoded");
        if !matches!(call, Call::Cancel(_)) {
            self.pending.insert(lane, seq);
        }
        self.core.request(lane, head, &call, &mut self.effects).expect("no violation");
        self.collect(lane)
    }
    fn collect(&mut self, mine: LaneId) -> Option<(Code, Vec<u8>, Vec<Attach>)> {
        assert!(!self.core.work(usize::MAX, &mut self.effects), "work(MAX) leaves nothing to do");
        let mut got = None;
        let mut effects = std::mem::take(&mut self.effects);
        // What cannot be attached is answered anew.
        if self.rng.chance(10) {
            let failed = effects.iter().position(|effect| match effect {
                Effect::Answer { attach, .. } => attach.first().is_some_and(|attach| !matches!(attach, Attach::NewLane(_))),
                _ => false,
            });
            if let Some(Effect::Answer { lane, attach, .. }) = failed.map(|at| effects.remove(at)) {
                self.core.attach_failed(lane, attach[attach.len() - 1], &mut effects);
            }
        }
        for effect in effects {
            match effect {
                Effect::Answer { lane, packet, attach } => {
                    let (head, fields) = Head::read(&packet).expect("a readable answer");
                    assert_eq!(self.pending.remove(&lane), Some(head.seq), "an answer nobody waits for");
                    *self.codes.entry(head.status.plain().0).or_default() += 1;
                    if lane == mine {
                        got = Some((head.status, fields.to_vec(), attach));
                    }
                }
                Effect::CloseLane(lane) => {
                    self.pending.remove(&lane);
                }
                Effect::ReadProcess(_) => self.core.process_read(&Default::default(), &mut self.effects),
                Effect::ReadClocks => self.core.clocks_read(Default::default(), &mut self.effects),
                _ => {}
            }
        }
        if !self.effects.is_empty() {
            let more = self.collect(mine);
            return got.or(more);
        }
        got
    }
    fn join(&mut self) {
        let n = self.seq;
        let Ok(probe) = self.core.connect(Peer { pid: 1 + n, uid: n % 2, gid: 0 }, true) else {
            *self.codes.entry(Code::KERN_RESOURCE_SHORTAGE.0).or_default() += 1;
            return;
        };
        let features = Features::all().bits();
        let (_, fields, _) = self.ask(probe, &Call::Hello(control::Hello { version: VERSION, features })).expect("Hello is answered");
        let own = answer::Hello::take(&fields).expect("a Hello").task_self;
        let task = self.core.task_of(probe).expect("a task");
        let mut member = Member { task, probe, lanes: Vec::new(), own };
        while let Some((Code::SUCCESS, _, attach)) = self.ask(probe, &Call::LaneOpen(control::LaneOpen {})) {
            let [Attach::NewLane(lane)] = attach[..] else { panic!("LaneOpen brings a lane") };
            member.lanes.push(lane);
        }
        self.members.push(member);
    }
    fn rows(&mut self, at: usize) -> Vec<SpaceRow> {
        let (probe, own) = (self.members[at].probe, self.members[at].own);
        let (_, fields, _) = self.ask(probe, &Call::PortSpaceInfo(control::PortSpaceInfo { task: own, start: 0 })).expect("answered");
        let page = answer::PortSpaceInfo::take(&fields).expect("a page");
        assert_eq!(page.next, 0, "so few names fit on a page");
        SpaceRow::all(page.rows).collect()
    }
    /// A name of this kind, if there is one, and a disposition that would do.
    fn pick(&mut self, rows: &[SpaceRow], own: Name) -> (Name, u8) {
        let row = rows[self.rng.below(rows.len() as u32) as usize];
        let kind = TypeBits::from_bits_retain(row.kind);
        let fitting: &[u8] = match kind & TypeBits::ALL_RIGHTS {
            _ if row.name == own => &[19],
            bits if bits == TypeBits::SEND_RECEIVE => &[16, 17, 19, 20, 21],
            bits if bits == TypeBits::RECEIVE => &[16, 20, 21],
            bits if bits == TypeBits::SEND => &[17, 19],
            bits if bits == TypeBits::SEND_ONCE => &[18],
            _ => &[17, 19],
        };
        (row.name, fitting[self.rng.below(fitting.len() as u32) as usize])
    }
    fn message(&mut self, rows: &[SpaceRow], own: Name) -> Vec<u8> {
        let [dest, reply] = [(); 2].map(|()| self.pick(rows, own));
        let reply = if self.rng.chance(40) && reply.1 != 16 { reply } else { (Name::NULL, 0) };
        let count = self.rng.below(3);
        let header = Header {
            bits: Header::make_bits(if dest.1 == 16 { 20 } else { dest.1 }, reply.1, count > 0),
            remote: dest.0,
            local: reply.0,
            id: 500,
            ..Header::default()
        };
        let mut bytes = header.to_bytes().to_vec();
        if count > 0 {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        for _ in 0..count {
            let (name, disposition) = self.pick(rows, own);
            Descriptor::Port { name, disposition }.push(&mut bytes);
        }
        bytes.resize(bytes.len() + 4 * self.rng.below(300) as usize, 0);
        assert!(bytes.len() >= message::HEADER);
        bytes
    }
    fn step(&mut self) {
        if self.members.is_empty() || self.rng.below(300) == 0 {
            return self.join();
        }
        let at = self.rng.below(self.members.len() as u32) as usize;
        if self.members.len() > 1 && self.rng.below(500) == 0 {
            let member = self.members.swap_remove(at);
            self.core.end_task(member.task, &mut self.effects);
            self.collect(member.probe);
            return;
        }
        let rows = self.rows(at);
        let (task, lane) = {
            let member = &self.members[at];
            (member.own, member.lanes[self.rng.below(member.lanes.len() as u32) as usize])
        };
        let (mine, _) = self.pick(&rows, task);
        let (name, disposition) = self.pick(&rows, task);
        let name = if name == task { rows[rows.len() - 1].name } else { name };
        if let Some(&seq) = self.pending.get(&lane) {
            let cancel = control::Cancel { seq, phases: phase::SEND | phase::RECEIVE, interrupted: 0 };
            self.ask(lane, &Call::Cancel(cancel));
            return;
        }
        let tail = self.message(&rows, task);
        if self.rng.chance(8) {
            return self.share(at, &rows);
        }
        if self.rng.chance(2) {
            return self.look_on(lane, &rows);
        }
        if self.rng.chance(40) {
            return self.direct(lane, mine, name, &tail);
        }
        let kind = self.rng.below(100);
        let notifications = [notify::DEAD_NAME, notify::NO_SENDERS, notify::SEND_POSSIBLE, notify::PORT_DESTROYED];
        let call = match kind {
            0..35 => {
                let (options, send_size) = (Options::SEND.bits(), tail.len() as u32);
                let receive = Name::NULL;
                Call::Msg(control::Msg {
                    options,
                    flags: 0,
                    receive,
                    limit: 0,
                    route: 0,
                    number: 0,
                    count: 0,
                    send_size,
                    annex: 0,
                    tail: &tail,
                })
            }
            35..50 => {
                let (options, limit) = (Options::RCV.bits(), 1 << 16);
                Call::Msg(control::Msg {
                    options,
                    flags: 0,
                    receive: mine,
                    limit,
                    route: 0,
                    number: 0,
                    count: 2,
                    send_size: 0,
                    annex: 0,
                    tail: &[],
                })
            }
            50..62 => {
                let right = if kind < 57 { RightKind::Receive } else { RightKind::PortSet };
                Call::PortAllocate(control::PortAllocate { task, right: right as u32, name: Name::NULL })
            }
            62..74 => Call::PortRequestNotification(control::PortRequestNotification {
                task,
                name,
                id: notifications[(kind % 4) as usize] as u32,
                sync: 0,
                notify: mine,
                disposition: 21,
            }),
            74..82 if name != task => Call::PortExtractRight(control::PortExtractRight { task, name, disposition: disposition as u32 }),
            82..87 => Call::PortInsertMember(control::PortInsertMember { task, member: mine, set: name }),
            87..91 => Call::TaskGetSpecialPort(control::TaskGetSpecialPort { task, which: kind % 4 + 1 }),
            91..94 if name != task => Call::PortDestroy(control::PortDestroy { task, name }),
            _ if name != task => Call::PortDeallocate(control::PortDeallocate { task, name }),
            _ => return,
        };
        self.ask(lane, &call);
    }
    /// Gives a right to another task.
    fn share(&mut self, at: usize, rows: &[SpaceRow]) {
        let other = self.rng.below(self.members.len() as u32) as usize;
        let (probe, own, task) = (self.members[at].probe, self.members[at].own, self.members[other].task.to_raw());
        let (right, disposition) = self.pick(rows, own);
        let host = match self.ask(probe, &Call::HostControl(control::HostControl {})) {
            Some((Code::SUCCESS, fields, _)) => answer::HostControl::take(&fields).expect("a name").name,
            _ => return,
        };
        if let Some((Code::SUCCESS, fields, _)) = self.ask(probe, &Call::HostTask(control::HostTask { host, task })) {
            let control = answer::HostTask::take(&fields).expect("a name").control;
            let name = Name::new(100 + self.seq % 30, 3);
            let disposition = u32::from(if right == own { 19 } else { disposition });
            self.ask(probe, &Call::PortInsertRight(control::PortInsertRight { task: control, name, right, disposition }));
            self.ask(probe, &Call::PortDeallocate(control::PortDeallocate { task: own, name: control }));
        }
        self.ask(probe, &Call::PortDeallocate(control::PortDeallocate { task: own, name: host }));
    }
    /// A request about links and routes: of a task that was told of them, of one that was not, or about none that there is.
    fn direct(&mut self, lane: LaneId, mine: Name, name: Name, tail: &[u8]) {
        let pick = |rng: &mut Rng, ids: &[u64]| match ids.len() {
            0 => 1 << 32,
            n if rng.chance(80) => ids[n - 1 - rng.below(n.min(6) as u32) as usize],
            n => ids[rng.below(n as u32) as usize],
        };
        let (route, link) = (pick(&mut self.rng, &self.routes), pick(&mut self.rng, &self.links));
        let small = self.rng.below(4);
        let kind = self.rng.below(100);
        let numbered = |flags| control::Msg {
            options: if flags & msg_flags::BY_TICKET == 0 { Options::SEND } else { Options::RCV }.bits(),
            flags,
            receive: if flags & msg_flags::BY_TICKET == 0 { Name(kind % 5) } else { mine },
            limit: 1 << 16,
            route,
            number: small,
            count: 0,
            send_size: if flags & msg_flags::BY_TICKET == 0 { tail.len() as u32 } else { 0 },
            annex: 0,
            tail: if flags & msg_flags::BY_TICKET == 0 { tail } else { &[] },
        };
        let mut frames = Vec::new();
        let plain =
            [&Header { local: if kind.is_multiple_of(2) { name } else { Name::NULL }, ..Header::default() }.to_bytes()[..], &[7; 8]]
                .concat();
        for n in 0..small {
            let size = if n == 1 && kind.is_multiple_of(7) { 0 } else { plain.len() as u32 };
            let row = Frame { size, attach: kind % 3, options: n, trailer: 1 + n, ..Frame::default() };
            row.write(&mut frames);
            frames.extend_from_slice(&plain[..size as usize]);
        }
        let call = match kind {
            0..27 => Call::Events(control::Events {}),
            27..29 => Call::RouteWant(control::RouteWant { route }),
            29..31 => Call::RouteRoom(control::RouteRoom { route }),
            31..35 => Call::EventsWait(control::EventsWait { mail: small }),
            35..45 => Call::RouteAck(control::RouteAck { route, accepted: small }),
            45..52 => Call::RouteReturn(control::RouteReturn { route, count: small, tail: &frames }),
            52..56 => Call::PortRecall(control::PortRecall { name: mine, seqno: small }),
            56..62 => Call::ReplyExplicit(control::ReplyExplicit { link, slot: small * 25, generation: kind, wanted: mine }),
            62..66 => Call::LinkRing(control::LinkRing { link }),
            66..68 => Call::LinkEnd(control::LinkEnd { link, why: small % 2, found: 0, expected: 0 }),
            68..69 => Call::FileInbox(control::FileInbox {}),
            69..70 if small.is_multiple_of(2) => Call::Poll(control::Poll { seen: small }),
            69..70 => Call::FileLane(control::FileLane { name: mine, except: u64::from(small) }),
            70..71 => Call::FileNews(control::FileNews {}),
            71..73 => Call::LinkArena(control::LinkArena { link, size: u64::from(small) << 12 }),
            73..74 => Call::LinkArenaReady(control::LinkArenaReady { link, arena: small % 4 }),
            74..80 => Call::Msg(numbered(msg_flags::AGAIN)),
            80..88 => Call::Msg(numbered(msg_flags::TICKET)),
            88..94 => Call::Msg(numbered(msg_flags::DOUBT)),
            _ => Call::Msg(numbered(msg_flags::BY_TICKET)),
        };
        let listed = matches!(call, Call::Events(_));
        if let Some((Code::SUCCESS, fields, attach)) = self.ask(lane, &call)
            && listed
        {
            let told = answer::Events::take(&fields).expect("events").events;
            for event in Event::all(told) {
                self.kinds.insert(event.kind);
                self.links.extend((event.link != 0).then_some(event.link));
                self.routes.extend((event.route != 0).then_some(event.route));
            }
            assert_eq!(Event::all(told).filter(|event| event::attaches(event.kind)).count(), attach.len());
        }
    }
    /// Traces something, or ends a trace: its own or another's.
    fn look_on(&mut self, lane: LaneId, rows: &[SpaceRow]) {
        let sends = |row: &&SpaceRow| row.kobject == kobject::NONE && TypeBits::from_bits_retain(row.kind).contains(TypeBits::SEND);
        let Some(port) = rows.iter().find(sends).map(|row| row.name) else { return };
        let host = match self.ask(lane, &Call::HostControl(control::HostControl {})) {
            Some((Code::SUCCESS, fields, _)) => answer::HostControl::take(&fields).expect("a name").name,
            _ => return,
        };
        let who = self.members[self.rng.below(self.members.len() as u32) as usize].task.to_raw().to_le_bytes();
        let (tasks, flags, preview) = (self.rng.below(2), self.rng.below(4), self.rng.below(5000));
        let call = match self.rng.below(3) {
            0 => Call::HostTraceEnd(control::HostTraceEnd { host, trace: self.traces.saturating_sub(u64::from(flags & 1)) }),
            n => {
                let who = &who[..8 * (n as usize % 2)];
                let tasks = tasks.min(who.len() as u32 / 8);
                Call::HostTrace(control::HostTrace { host, port, flags, first: i32::MIN, last: i32::MAX, preview, tasks, who })
            }
        };
        let begun = matches!(call, Call::HostTrace(_));
        if let Some((Code::SUCCESS, ..)) = self.ask(lane, &call) {
            self.traces += u64::from(begun);
        }
        self.ask(lane, &Call::PortDeallocate(control::PortDeallocate { task: Name::NULL, name: host }));
    }
    fn check(&mut self) {
        self.core.check().expect("the core's own check");
        for at in 0..self.members.len() {
            let names = self.rows(at).len() as u64;
            let (probe, own) = (self.members[at].probe, self.members[at].own);
            let (_, fields, _) = self.ask(probe, &Call::TaskInfo(control::TaskInfo { task: own })).expect("answered");
            let row = TaskRow::read(&fields).expect("a task row");
            assert_eq!(u64::from(row.names), names, "names shown and names charged");
            assert!(names <= LIMITS.task_names && u64::from(row.lanes) <= LIMITS.task_lanes, "more than the limit: {row:?}");
        }
    }
}

/// Several kernels one after the other, for what a kernel comes to tell of depends on how its first tasks fare.
pub(crate) fn run(seed: u64, requests: u64) {
    const KERNELS: u64 = 8;
    let (mut codes, mut kinds) = (HashMap::new(), BTreeSet::new());
    let mut traces = 0;
    for at in 0..KERNELS {
        traces += one(seed.wrapping_add(at), requests / 4, &mut codes, &mut kinds);
    }
    assert!(traces > 10, "{traces} traces in all");
    for code in [Code::KERN_NO_SPACE, Code::KERN_RESOURCE_SHORTAGE, Code::MACH_SEND_NO_BUFFER, Code::MACH_RCV_BODY_ERROR] {
        assert!(codes.contains_key(&code.0), "{code:?} was never answered: the limits were not reached ({codes:?})");
    }
    let usual =
        [event::LINK, event::ROUTE_OUT, event::ROUTE_IN, event::ROUTE_STOP, event::ROUTE_END, event::ROUTE_CLOSED, event::LINK_DOWN];
    assert!(usual.iter().all(|kind| kinds.contains(kind)), "kinds of events that were told: {kinds:?}");
}

fn one(seed: u64, requests: u64, codes: &mut HashMap<u32, u64>, kinds: &mut BTreeSet<u32>) -> u64 {
    let config = Config { pid: 1, features: Features::PROCESSES, limits: LIMITS, direct: Direct::Always, machine: Default::default() };
    let mut storm = Storm {
        core: Core::new(config),
        rng: Rng::new(seed),
        members: Vec::new(),
        effects: Vec::new(),
        seq: 0,
        pending: HashMap::new(),
        codes: std::mem::take(codes),
        kinds: std::mem::take(kinds),
        links: Vec::new(),
        routes: Vec::new(),
        traces: 0,
    };
    for _ in 0..requests {
        storm.step();
        storm.check();
    }
    while let Some(member) = storm.members.pop() {
        storm.core.end_task(member.task, &mut storm.effects);
        storm.collect(member.probe);
        storm.check();
    }
    assert_eq!(storm.core.tasks(), 0);
    (*codes, *kinds) = (std::mem::take(&mut storm.codes), std::mem::take(&mut storm.kinds));
    storm.traces
}
