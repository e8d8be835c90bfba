//! Runs operations on the core and on the model side by side, and compares all that can be seen.

use std::collections::HashMap;
use std::fmt::Write as _;

use umach_abi::control::{self, Head, Reply, Request as Call, answer, msg_flags};
use umach_abi::limits::{MESSAGE_MAX, UREFS_MAX};
use umach_abi::message::{Options, TrailerRequest};
use umach_abi::records::{Frame, SpaceRow, kobject};
use umach_abi::rights::flavor;
use umach_abi::{Code, Disposition, Features, Name, VERSION, notify};
use umach_kernel::core::{Attach, Config, Core, Effect, Effects, LaneId, Limits, Peer};

use super::calls::{TRAILERS, same};
use super::mail::{DescReq, SendReq, is_plain};
use super::ops::{Class, Kind, Op, Pick, SendPlan};
use super::rng::liking;
use super::state::*;

/// Tasks alive at most, and lanes that each works with.
const TASKS_MAX: usize = 5;
const LANES: usize = 3;
/// A space with more names than this is cut down instead of growing.
const NAMES_MAX: usize = 24;

/// One core and its model.
pub(crate) struct Run {
    pub(crate) core: Core,
    pub(crate) world: World,
    by_lane: HashMap<LaneId, LaneIx>,
    /// The core's ids of ports and of sets; each has its own numbers.
    objects: HashMap<(bool, u64), usize>,
    effects: Effects,
    packet: Vec<u8>,
    next_id: i32,
    steps: u64,
    /// Comparing, not doing: what is answered need not be told.
    looking: bool,
    /// Look at everything after every operation.
    thorough: bool,
    /// What was done, one line an operation, when it is to be told.
    pub(crate) log: Option<Vec<String>>,
}

/// An operation, with names and lanes put in.
#[derive(Debug)]
enum Act {
    Call(LaneIx, Call<'static>),
    SetLimit { lane: LaneIx, task: Name, name: Name, qlimit: u32 },
    Msg { lane: LaneIx, send: Option<SendReq>, receive: Option<RecvArgs> },
    SendMany { lane: LaneIx, sends: Vec<SendReq> },
    Cancel { lane: LaneIx, phases: u32, interrupted: bool },
    Connect,
    Create { lane: LaneIx },
    End { task: TaskIx, by: u32 },
    CloseLane(LaneIx),
}

impl Run {
    pub(crate) fn new(tell: bool, thorough: bool, limits: Limits) -> R<Run> {
        let features = Features::PROCESSES | Features::PIDFD_DEATH;
        let mut run = Run {
            core: Core::new(Config { pid: 1, features, limits }),
            world: World::default(),
            by_lane: HashMap::new(),
            objects: HashMap::new(),
            effects: Vec::new(),
            packet: Vec::new(),
            next_id: 1000,
            steps: 0,
            looking: false,
            thorough,
            log: tell.then(Vec::new),
        };
        run.world.host = run.world.new_port(kobject::HOST, None);
        for _ in 0..3 {
            run.connect()?;
        }
        run.share_controls()?;
        Ok(run)
    }

    // Talking to the core.

    fn request(&mut self, lane: LaneIx, call: &Call<'_>) -> R {
        self.world.lanes[lane].seq += 1;
        call.encode(self.world.lanes[lane].seq, &mut self.packet);
        self.send_packet(lane)
    }
    fn send_packet(&mut self, lane: LaneIx) -> R {
        let (head, call): (Head, Call<'_>) = Call::decode(&self.packet).map_err(|e| format!("model: request not readable: {e}"))?;
        let to = self.world.lanes[lane].core;
        self.core.request(to, head, &call, &mut self.effects).map_err(|violation| format!("violation on lane {lane}: {violation}"))?;
        self.collect()
    }
    /// Lets the core finish its work, and sorts what it wants done.
    fn collect(&mut self) -> R {
        let more = self.core.work(usize::MAX, &mut self.effects);
        if more {
            return Err("work(MAX) left work to do".into());
        }
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Answer { lane, packet, attach } => {
                    let (head, fields) = Head::read(&packet).map_err(|e| format!("answer not readable: {e}"))?;
                    if head.attached as usize != attach.len() {
                        return Err(format!("answer says {} attached, has {}", head.attached, attach.len()));
                    }
                    let Some(&ix) = self.by_lane.get(&lane) else { return Err(format!("answer on unknown {lane:?}")) };
                    let answer = Answer { op: head.op, seq: head.seq, status: head.status, fields: fields.to_vec(), attach };
                    if let Some(log) = self.log.as_mut().filter(|_| !self.looking)
                        && let Some(line) = log.last_mut()
                    {
                        let _ = write!(line, "\n        -> lane {ix}: {:?}", answer.status);
                    }
                    if let Some(twice) = self.world.actual.insert(ix, answer) {
                        return Err(format!("lane {ix} was answered twice: first {:?}", twice.status));
                    }
                }
                Effect::CloseLane(lane) => {
                    if let Some(ix) = self.by_lane.remove(&lane) {
                        self.world.actual.remove(&ix);
                    }
                }
                Effect::TaskGone(_) | Effect::Signal { .. } | Effect::DropRegion(_) => {}
                Effect::CheckSeals { .. } => return Err("seals to check, though there are no regions".into()),
            }
        }
        Ok(())
    }
    fn ask<'a>(&mut self, lane: LaneIx, call: &Call<'_>) -> R<Answer> {
        self.request(lane, call)?;
        self.world.take_answer(lane, &[Code::SUCCESS])
    }

    // Tasks.

    fn add_lane(&mut self, core: LaneId, task: TaskIx) -> LaneIx {
        let lane = Lane { task, core, open: true, seq: 0, state: State::Idle, since: 0 };
        self.world.lanes.push(lane);
        let ix = self.world.lanes.len() - 1;
        self.by_lane.insert(core, ix);
        ix
    }
    fn connect(&mut self) -> R {
        let n = self.world.tasks.len() as u32;
        let peer = Peer { pid: 100 + n, uid: 1000 + n % 2, gid: 2000 + n % 3 };
        let lane = self.core.connect(peer, n == 0).map_err(|code| format!("connect: {code}"))?;
        let task = self.world.tasks.len();
        let lane = self.add_lane(lane, task);
        let (control, name_port) = (self.world.new_port(kobject::TASK, None), self.world.new_port(kobject::TASK_NAME, None));
        self.introduce(lane, peer, control, name_port, self.world.host_bootstrap, [Right::Null; 3])
    }
    /// The first request of a new task, and its further lanes.
    fn introduce(
        &mut self,
        lane: LaneIx,
        peer: Peer,
        control: PortIx,
        name_port: PortIx,
        bootstrap: Right,
        registered: [Right; 3],
    ) -> R {
        let task = self.world.tasks.len();
        self.world.ports[control].stands_for = Some(task);
        self.world.ports[name_port].stands_for = Some(task);
        let core = self.core.task_of(self.world.lanes[lane].core).ok_or("a new lane belongs to no task")?;
        self.world.tasks.push(Task {
            alive: true,
            tag: (self.world.serial << 3) + task as u32 % 8,
            core,
            uid: peer.uid,
            gid: peer.gid,
            pid: peer.pid,
            probe: lane,
            lanes: vec![lane],
            control,
            name_port,
            self_name: 0,
            space: Default::default(),
            retired: Default::default(),
            bootstrap,
            registered,
            suspended: 0,
        });
        let features = Features::all().bits();
        let answer = self.ask(lane, &Call::Hello(control::Hello { version: VERSION, features }))?;
        let hello = answer::Hello::take(&answer.fields).map_err(|e| e.to_string())?;
        same("version and task of Hello", &(hello.version, hello.task), &(VERSION, core.to_raw()))?;
        let world = &mut self.world;
        world.copy_out(task, Right::Send(control), hello.task_self, "own control right")?;
        world.copy_out(task, Right::Send(name_port), hello.task_name, "own name right")?;
        world.copy_out(task, Right::Send(world.host), hello.host, "host right")?;
        world.copy_out(task, bootstrap, hello.bootstrap, "bootstrap right")?;
        world.tasks[task].self_name = hello.task_self.0;
        for _ in 0..LANES {
            let answer = self.ask(lane, &Call::LaneOpen(control::LaneOpen {}))?;
            let [Attach::NewLane(new)] = answer.attach[..] else { return Err("LaneOpen brought no lane".into()) };
            let new = self.add_lane(new, task);
            self.world.tasks[task].lanes.push(new);
        }
        Ok(())
    }
    /// The first task gets everybody's control right through the host.
    fn share_controls(&mut self) -> R {
        let lane = self.world.tasks[0].probe;
        let answer = self.ask(lane, &Call::HostControl(control::HostControl {}))?;
        let host = answer::HostControl::take(&answer.fields).map_err(|e| e.to_string())?.name;
        let port = self.world.new_port(kobject::HOST_CONTROL, None);
        self.world.copy_out(0, Right::Send(port), host, "host control right")?;
        for task in 1..self.world.tasks.len() {
            let id = self.world.tasks[task].core.to_raw();
            let answer = self.ask(lane, &Call::HostTask(control::HostTask { host, task: id }))?;
            let control = answer::HostTask::take(&answer.fields).map_err(|e| e.to_string())?.control;
            self.world.copy_out(0, Right::Send(self.world.tasks[task].control), control, "another's control right")?;
        }
        Ok(())
    }
    fn nth_lane(&self, lane: LaneIx) -> u32 {
        let lanes = &self.world.tasks[self.world.lanes[lane].task].lanes;
        lanes.iter().position(|other| *other == lane).map_or(0, |at| at as u32)
    }
    fn alive(&self) -> Vec<TaskIx> {
        (0..self.world.tasks.len()).filter(|ix| self.world.tasks[*ix].alive).collect()
    }

    // Deciding what an operation means now.

    fn choose(&self, task: TaskIx, pick: Pick) -> u32 {
        let space = &self.world.tasks[task].space;
        let own = self.world.tasks[task].self_name;
        let n = pick.n as usize;
        let fits = |entry: &Entry, class: Class| match (class, entry.holds) {
            (Class::Receive, Holding::Port { receive, .. }) => receive,
            (Class::Send, Holding::Port { sends, .. }) => sends > 0,
            (Class::Sendable, Holding::Port { port, .. } | Holding::Once { port }) => is_plain(&self.world.ports[port]),
            (Class::Control, Holding::Port { port, .. }) => self.world.ports[port].kobject == kobject::TASK,
            (Class::Once, Holding::Once { .. }) | (Class::Set, Holding::Set(_)) | (Class::Dead, Holding::Dead { .. }) | (Class::Any, _) => true,
            _ => false,
        };
        let best = |class: Class| {
            let names = space.iter().filter(|(name, entry)| **name != own && fits(entry, class));
            names.max_by_key(|(_, entry)| liking(n as u32, entry.tag)).map(|(name, _)| *name)
        };
        let retired = &self.world.tasks[task].retired;
        let chosen = match pick.class {
            Class::Null => 0,
            Class::DeadConst => u32::MAX,
            Class::Retired if !retired.is_empty() => retired[n % retired.len()],
            Class::Bogus | Class::Retired => (n as u32 % 48) << 8 | if n % 61 == 0 { 1 } else { 3 + 4 * (n as u32 / 64 % 3) },
            class => best(class).or_else(|| best(Class::Any)).unwrap_or(0x7f_ff03),
        };
        // A task that loses its own control right can do nothing any more.
        if chosen == own { 0x7f_ff03 } else { chosen }
    }
    /// A disposition that fits, mostly.
    fn disposition(&self, task: TaskIx, name: u32, n: u8) -> u8 {
        use Disposition::*;
        let all = [MoveReceive, MoveSend, MoveSendOnce, CopySend, MakeSend, MakeSendOnce];
        if n >= 244 {
            return 16 + n % 6;
        }
        let fitting: Vec<_> = all.into_iter().filter(|d| self.world.can_take(task, name, *d)).collect();
        fitting.get(n as usize % fitting.len().max(1)).map_or(19, |d| *d as u8)
    }
    fn sending(&self, task: TaskIx, name: u32, n: u8) -> u8 {
        match self.disposition(task, name, n) {
            16 if n < 244 => 20 + n % 2,
            disposition => disposition,
        }
    }
    fn plan_send(&mut self, task: TaskIx, plan: &SendPlan) -> Option<SendReq> {
        self.next_id += 1;
        let mut dest = self.choose(task, plan.dest.0);
        let is_kernels = |name: u32| match self.world.entry(task, name).map(|entry| entry.holds) {
            Some(Holding::Port { port, .. } | Holding::Once { port }) => !is_plain(&self.world.ports[port]),
            _ => false,
        };
        if is_kernels(dest) {
            dest = self.choose(task, Pick { class: Class::Sendable, n: plan.dest.0.n });
            if is_kernels(dest) {
                return None;
            }
        }
        let own = self.world.tasks[task].self_name;
        let reply = plan.reply.map_or((0, 0), |(pick, n)| {
            let name = if plan.same { dest } else { self.choose(task, pick) };
            (name, self.sending(task, name, n))
        });
        let right = |(pick, n): &(Pick, u8)| {
            if pick.class == Class::Control && n % 4 == 0 {
                return (own, Disposition::CopySend as u8);
            }
            let name = self.choose(task, *pick);
            (name, self.disposition(task, name, *n))
        };
        let descs = plan.descs.iter().map(|desc| match desc.shape {
            70..85 => {
                let names: Vec<_> = desc.picks.iter().map(right).collect();
                let disposition = names.first().map_or(19, |first| first.1);
                let names = names.into_iter().map(|(name, _)| name).filter(|name| *name != own || disposition == 19);
                DescReq::Ports(names.collect(), disposition)
            }
            85..98 => DescReq::Memory(desc.picks.first().map_or(0, |pick| pick.1 / 8), desc.shape % 2 == 0),
            98.. => DescReq::Unknown,
            _ => desc.picks.first().map(right).map_or(DescReq::Unknown, |(name, disposition)| DescReq::Port(name, disposition)),
        });
        let mut descs: Vec<_> = descs.collect();
        // An unknown descriptor is refused before or after its neighbours are taken: alone it is clear.
        if descs.contains(&DescReq::Unknown) {
            descs = vec![DescReq::Unknown];
        }
        let dest = (dest, self.sending(task, dest, plan.dest.1));
        Some(SendReq { id: self.next_id, dest, reply, descs, words: plan.words, notify: plan.notify, try_only: !plan.wait })
    }
    fn plan_receive(&self, task: TaskIx, op: &Op) -> RecvArgs {
        RecvArgs {
            name: self.choose(task, op.a),
            limit: if op.x % 8 == 0 { 24 + (op.y as usize % 25) * 4 } else { MESSAGE_MAX },
            large: op.x & 0x100 != 0,
            trailer: TRAILERS[(op.x >> 10) as usize % TRAILERS.len()],
            count: if op.x & 0x200 != 0 { op.y >> 10 & 3 } else { 1 },
            try_only: op.x & 0x8_0000 != 0,
        }
    }
    fn plan(&mut self, op: &Op) -> Option<Act> {
        let alive = self.alive();
        let me = *alive.iter().max_by_key(|task| liking(op.task as u32, self.world.tasks[**task].tag))?;
        match op.kind {
            Kind::Connect => return (alive.len() < TASKS_MAX).then_some(Act::Connect),
            Kind::End => return (alive.len() > 2 && op.x % 3 == 0).then_some(Act::End { task: me, by: op.y % 2 }),
            Kind::Cancel => {
                let blocked: Vec<_> = (0..self.world.lanes.len())
                    .filter(|ix| self.world.lanes[*ix].open && self.world.lanes[*ix].state != State::Idle)
                    .collect();
                let tag = |lane: LaneIx| self.world.tasks[self.world.lanes[lane].task].tag << 4 | self.nth_lane(lane);
                let lane = blocked.into_iter().max_by_key(|lane| liking(op.x, tag(*lane)))?;
                return Some(Act::Cancel { lane, phases: 1 + op.y % 3, interrupted: op.y & 16 != 0 });
            }
            Kind::CloseLane => {
                let lanes: Vec<_> = self.world.tasks[me].lanes.iter().copied().filter(|ix| self.world.lanes[*ix].open).collect();
                return (lanes.len() > 2 && op.x % 4 == 0).then(|| Act::CloseLane(lanes[1 + op.y as usize % (lanes.len() - 1)]));
            }
            _ => {}
        }
        let lanes: Vec<_> = self.world.tasks[me].lanes[1..]
            .iter()
            .copied()
            .filter(|ix| self.world.lanes[*ix].open && self.world.lanes[*ix].state == State::Idle)
            .collect();
        let lane = lanes.into_iter().max_by_key(|lane| liking(op.lane as u32, self.nth_lane(*lane)))?;
        let own = Name(self.world.tasks[me].self_name);
        let task = if op.via < 30 { Name(self.choose(me, Pick { class: Class::Control, n: op.x as u16 })) } else { own };
        let whose = self.world.target(lane, task).unwrap_or(me);
        let (a, b) = (Name(self.choose(whose, op.a)), Name(self.choose(whose, op.b)));
        let crowded = self.world.tasks[whose].space.len() > NAMES_MAX;
        let kind = match op.kind {
            Kind::Allocate | Kind::AllocateName | Kind::Construct | Kind::InsertRight if crowded => Kind::Destroy,
            Kind::Create if alive.len() >= TASKS_MAX => return None,
            kind => kind,
        };
        let name = if kind == Kind::Destroy && !matches!(op.kind, Kind::Destroy) {
            Name(self.choose(whose, Pick { class: Class::Any, n: op.a.n }))
        } else {
            a
        };
        let right = (op.x % 8).min(5);
        let delta = match op.y % 16 {
            0..7 => -1,
            7..10 => 1,
            10 => 0,
            11 => 2,
            12 => -2,
            13 => UREFS_MAX as i32,
            14 => -(UREFS_MAX as i32),
            _ => 65_530,
        };
        Some(match kind {
            Kind::Send => Act::Msg { lane, send: Some(self.plan_send(me, op.sends.first()?)?), receive: None },
            Kind::Receive => Act::Msg { lane, send: None, receive: Some(self.plan_receive(me, op)) },
            Kind::SendReceive => {
                let receive = Some(self.plan_receive(me, op));
                Act::Msg { lane, send: Some(self.plan_send(me, op.sends.first()?)?), receive }
            }
            Kind::SendMany => {
                let sends: Option<Vec<_>> = op.sends.iter().map(|plan| self.plan_send(me, plan)).collect();
                let mut sends = sends?;
                // A port that dies of one of the messages may be seen dead by the next one, or not yet: leave that out.
                for desc in sends.iter_mut().flat_map(|send| &mut send.descs) {
                    if let DescReq::Port(_, disposition @ 16) | DescReq::Ports(_, disposition @ 16) = desc {
                        *disposition = Disposition::MakeSend as u8;
                    }
                }
                Act::SendMany { lane, sends }
            }
            Kind::Allocate => {
                let right = if op.x % 11 == 0 { op.x % 7 } else { [1, 3, 1, 3, 4][op.x as usize % 5] };
                Act::Call(lane, Call::PortAllocate(control::PortAllocate { task, right, name: Name::NULL }))
            }
            Kind::AllocateName => {
                let right = [1, 3, 4][op.x as usize % 3];
                let name = if name == Name::DEAD { Name::NULL } else { name };
                Act::Call(lane, Call::PortAllocate(control::PortAllocate { task, right, name }))
            }
            Kind::Construct => {
                let flags = 2 | if op.x & 1 == 0 { 0x10 } else { 0 } | if op.x & 0xf0 == 0 { 0x80 } else { 0 };
                let flags = flags | if op.x & 0xf00 == 0 { 1 | (op.x >> 12 & 1) << 5 } else { 0 };
                let context = if flags & 1 != 0 { 1 + op.y as u64 % 3 } else { 0 };
                let qlimit = if op.y % 40 == 39 { 1024 + op.y % 2 } else { op.y % 4 };
                Act::Call(lane, Call::PortConstruct(control::PortConstruct { task, flags, qlimit, context }))
            }
            Kind::Deallocate => Act::Call(lane, Call::PortDeallocate(control::PortDeallocate { task, name })),
            Kind::Destroy => Act::Call(lane, Call::PortDestroy(control::PortDestroy { task, name })),
            Kind::Destruct => {
                let srdelta = [0, 0, -1, -2, 1][op.x as usize % 5];
                Act::Call(lane, Call::PortDestruct(control::PortDestruct { task, name, srdelta, guard: op.y as u64 % 4 }))
            }
            Kind::ModRefs => {
                let held = self.world.entry(whose, name.0).map_or(right, |entry| match entry.holds {
                    Holding::Port { sends: 0, .. } => 1,
                    Holding::Port { receive: true, .. } => op.x >> 8 & 1,
                    Holding::Port { .. } => 0,
                    Holding::Once { .. } => 2,
                    Holding::Set(_) => 3,
                    Holding::Dead { .. } => 4,
                });
                let right = if op.x % 10 == 0 { right } else { held };
                Act::Call(lane, Call::PortModRefs(control::PortModRefs { task, name, right, delta }))
            }
            Kind::GetRefs => Act::Call(lane, Call::PortGetRefs(control::PortGetRefs { task, name, right })),
            Kind::Type => Act::Call(lane, Call::PortType(control::PortType { task, name })),
            Kind::InsertRight => {
                let right = Name(self.choose(me, op.c));
                let disposition = self.disposition(me, right.0, op.y as u8) as u32;
                // Often under the name that it has there already, or a new one.
                let name = match self.world.entry(me, right.0).map(|entry| entry.holds) {
                    Some(Holding::Port { port, .. }) if op.x % 3 == 0 => self.world.find_name(whose, port).map_or(name, Name),
                    _ => name,
                };
                Act::Call(lane, Call::PortInsertRight(control::PortInsertRight { task, name, right, disposition }))
            }
            Kind::ExtractRight => {
                let disposition = self.disposition(whose, name.0, op.y as u8) as u32;
                Act::Call(lane, Call::PortExtractRight(control::PortExtractRight { task, name, disposition }))
            }
            Kind::MoveMember => Act::Call(lane, Call::PortMoveMember(control::PortMoveMember { task, member: name, after: b })),
            Kind::InsertMember => Act::Call(lane, Call::PortInsertMember(control::PortInsertMember { task, member: name, set: b })),
            Kind::ExtractMember => Act::Call(lane, Call::PortExtractMember(control::PortExtractMember { task, member: name, set: b })),
            Kind::GetSetStatus => Act::Call(lane, Call::PortGetSetStatus(control::PortGetSetStatus { task, name, start: 0 })),
            Kind::GetAttributes => {
                let flavor = if op.x % 4 == 0 { flavor::LIMITS_INFO } else { flavor::RECEIVE_STATUS };
                Act::Call(lane, Call::PortGetAttributes(control::PortGetAttributes { task, name, flavor }))
            }
            Kind::SetLimit => Act::SetLimit { lane, task, name, qlimit: if op.x % 40 == 0 { 1020 + op.y % 8 } else { op.y % 4 } },
            Kind::SetMscount => Act::Call(lane, Call::PortSetMscount(control::PortSetMscount { task, name, count: op.y % 4 })),
            Kind::SetSeqno => Act::Call(lane, Call::PortSetSeqno(control::PortSetSeqno { task, name, seqno: op.y % 64 })),
            Kind::RequestNotification => {
                let ids = [notify::DEAD_NAME, notify::DEAD_NAME, notify::NO_SENDERS, notify::PORT_DESTROYED, notify::SEND_POSSIBLE, 67];
                let id = ids[if op.x % 50 == 0 { 5 } else { op.x as usize % 5 }];
                let of_receive = matches!(id, notify::NO_SENDERS | notify::PORT_DESTROYED);
                let class = if of_receive && op.a.class == Class::Any { Class::Receive } else { op.a.class };
                let name = Name(self.choose(whose, Pick { class, n: op.a.n }));
                let (notify, disposition) = match op.y % 16 {
                    0 => (0, 21),
                    1..4 => (self.choose(me, Pick { class: Class::Once, n: op.b.n }), 18),
                    _ => (self.choose(me, op.b), 21),
                };
                let sync = if id == notify::PORT_DESTROYED { (op.x >> 8 & 31 == 0) as u32 } else { op.x >> 8 & 3 };
                let notify = Name(notify);
                let request = control::PortRequestNotification { task, name, id: id as u32, sync, notify, disposition };
                Act::Call(lane, Call::PortRequestNotification(request))
            }
            Kind::Guard => {
                let guard = 1 + op.y as u64 % 3;
                Act::Call(lane, Call::PortGuard(control::PortGuard { task, name, guard, flags: op.x & 3 }))
            }
            Kind::Unguard => {
                let port = self.world.entry(whose, name.0).and_then(|entry| match entry.holds {
                    Holding::Port { port, .. } => self.world.ports[port].guard,
                    _ => None,
                });
                let guard = port.filter(|_| op.x % 8 != 0).map_or(op.y as u64 % 4, |guard| guard.value);
                Act::Call(lane, Call::PortUnguard(control::PortUnguard { task, name, guard }))
            }
            Kind::SwapGuard => {
                let (old, new) = (op.x as u64 % 4, 1 + op.y as u64 % 3);
                Act::Call(lane, Call::PortSwapGuard(control::PortSwapGuard { task, name, old, new }))
            }
            Kind::GetContext => Act::Call(lane, Call::PortGetContext(control::PortGetContext { task, name })),
            Kind::SetContext => Act::Call(lane, Call::PortSetContext(control::PortSetContext { task, name, context: op.y as u64 })),
            Kind::Peek => {
                let seqno = match self.world.entry(whose, name.0).map(|entry| entry.holds) {
                    Some(Holding::Port { port, .. }) if op.x % 2 == 0 => self.world.ports[port].seqno.wrapping_add(op.y % 4),
                    _ => 0,
                };
                let options = TrailerRequest::Full.options();
                Act::Call(lane, Call::PortPeek(control::PortPeek { task, name, options, seqno }))
            }
            Kind::GetSrights => Act::Call(lane, Call::PortGetSrights(control::PortGetSrights { task, name })),
            Kind::Suspend => Act::Call(lane, Call::TaskSuspend(control::TaskSuspend { task })),
            Kind::Resume => Act::Call(lane, Call::TaskResume(control::TaskResume { task })),
            Kind::TaskInfo => Act::Call(lane, Call::TaskInfo(control::TaskInfo { task })),
            Kind::GetSpecial => Act::Call(lane, Call::TaskGetSpecialPort(control::TaskGetSpecialPort { task, which: 1 + op.y % 4 })),
            Kind::SetSpecial => {
                let right = Name(self.choose(me, op.a));
                Act::Call(lane, Call::TaskSetSpecialPort(control::TaskSetSpecialPort { task, which: 4, right }))
            }
            Kind::Register => {
                let [first, second, third] = [op.a, op.b, Pick { class: Class::Null, n: 0 }].map(|pick| Name(self.choose(me, pick)));
                Act::Call(lane, Call::PortsRegister(control::PortsRegister { task, first, second, third }))
            }
            Kind::Lookup => Act::Call(lane, Call::PortsLookup(control::PortsLookup { task })),
            Kind::Create => Act::Create { lane },
            Kind::Connect | Kind::End | Kind::Cancel | Kind::CloseLane => return None,
        })
    }

    // Doing it.

    /// One operation on both sides.
    pub(crate) fn step(&mut self, op: &Op) -> R {
        let Some(act) = self.plan(op) else { return Ok(()) };
        if let Some(log) = &mut self.log {
            log.push(self.world.tell(&act_line(&act), act_lane(&act)));
        }
        self.world.begin(op.serial);
        self.perform(act)?;
        self.steps += 1;
        self.looking = true;
        self.compare()?;
        self.looking = false;
        Ok(())
    }
    /// Ends every task: nothing may be left.
    pub(crate) fn end(&mut self) -> R {
        for task in self.alive() {
            self.world.begin(0);
            self.perform(Act::End { task, by: 0 })?;
            for other in self.alive() {
                self.compare_space(other)?;
            }
        }
        same("tasks at the end", &self.core.tasks(), &0)?;
        self.core.check().map_err(|broken| format!("the core's own check at the end: {broken}"))
    }
    fn perform(&mut self, act: Act) -> R {
        match act {
            Act::Call(lane, call) => {
                self.request(lane, &call)?;
                self.world.call(lane, &call)?;
                self.world.settle()
            }
            Act::SetLimit { lane, task, name, qlimit } => {
                let info = qlimit.to_le_bytes();
                let call = Call::PortSetAttributes(control::PortSetAttributes { task, name, flavor: flavor::LIMITS_INFO, info: &info });
                self.request(lane, &call)?;
                self.world.call(lane, &call)?;
                self.world.settle()
            }
            Act::Msg { lane, send, receive } => {
                let (message, annex) = send.as_ref().map_or_else(Default::default, SendReq::wire);
                let tail = [&message[..], &annex[..]].concat();
                let call = Call::Msg(msg_request(send.as_ref(), receive.as_ref(), message.len() as u32, annex.len() as u32, &tail));
                self.request(lane, &call)?;
                match (&send, receive) {
                    (Some(send), then) => self.world.send(lane, send, then)?,
                    (None, Some(args)) => self.world.receive(lane, args)?,
                    (None, None) => {}
                }
                self.world.settle()
            }
            Act::SendMany { lane, sends } => {
                self.request_many(lane, &sends)?;
                self.world.send_many(lane, &sends)?;
                self.world.settle()
            }
            Act::Cancel { lane, phases, interrupted } => {
                let seq = self.world.lanes[lane].seq;
                Call::Cancel(control::Cancel { seq, phases, interrupted: interrupted as u32 }).encode(seq, &mut self.packet);
                self.send_packet(lane)?;
                self.world.cancel(lane, phases, interrupted)?;
                self.world.settle()
            }
            Act::Connect => self.connect(),
            Act::Create { lane } => self.create(lane),
            Act::End { task, by } => {
                let core = self.world.tasks[task].core;
                match by {
                    0 => self.core.end_task(core, &mut self.effects),
                    _ => self.core.hang_up(self.world.lanes[self.world.tasks[task].probe].core, &mut self.effects),
                }
                self.collect()?;
                self.world.end_task(task)?;
                self.world.settle()
            }
            Act::CloseLane(lane) => {
                self.core.hang_up(self.world.lanes[lane].core, &mut self.effects);
                self.collect()?;
                self.world.close_lane(lane);
                self.world.settle()
            }
        }
    }
    fn request_many(&mut self, lane: LaneIx, sends: &[SendReq]) -> R {
        let mut tail = Vec::new();
        for send in sends {
            let (message, annex) = send.wire();
            let options = Options::SEND | if send.notify { Options::SEND_NOTIFY } else { Options::empty() };
            let row = Frame { size: message.len() as u32, annex: annex.len() as u32, options: options.bits(), ..Frame::default() };
            row.write(&mut tail);
            tail.extend_from_slice(&message);
            tail.extend_from_slice(&annex);
        }
        self.request(lane, &Call::SendMany(control::SendMany { count: sends.len() as u32, tail: &tail }))
    }
    fn create(&mut self, lane: LaneIx) -> R {
        let parent = self.world.lanes[lane].task;
        let answer = self.ask(lane, &Call::TaskCreate(control::TaskCreate { flags: 0, label: b"child" }))?;
        let created = answer::TaskCreate::take(&answer.fields).map_err(|e| e.to_string())?;
        let [Attach::NewLane(new)] = answer.attach[..] else { return Err("TaskCreate brought no lane".into()) };
        let (control, name_port) = (self.world.new_port(kobject::TASK, None), self.world.new_port(kobject::TASK_NAME, None));
        self.world.copy_out(parent, Right::Send(control), created.control, "control right of a new task")?;
        let (bootstrap, registered) = (self.world.tasks[parent].bootstrap, self.world.tasks[parent].registered);
        let n = self.world.tasks.len();
        let new = self.add_lane(new, n);
        let peer = Peer { pid: 100 + n as u32, uid: self.world.tasks[parent].uid, gid: self.world.tasks[parent].gid };
        self.core.identify(self.world.lanes[new].core, peer);
        self.introduce(new, peer, control, name_port, bootstrap, registered)
    }

    // Comparing what can be seen.

    fn compare(&mut self) -> R {
        for task in self.alive() {
            self.compare_space(task)?;
        }
        if self.thorough || self.steps % 8 == 0 {
            self.core.check().map_err(|broken| format!("the core's own check: {broken}"))?;
        }
        if self.thorough || self.steps % 16 == 0 {
            same("tasks alive", &self.core.tasks(), &self.alive().len())?;
            for task in self.alive() {
                let (lane, own) = (self.world.tasks[task].probe, Name(self.world.tasks[task].self_name));
                let call = Call::TaskInfo(control::TaskInfo { task: own });
                self.request(lane, &call)?;
                self.world.call(lane, &call).map_err(|e| format!("t{task}: {e}"))?;
            }
        }
        Ok(())
    }
    /// The whole space, row by row.
    fn compare_space(&mut self, task: TaskIx) -> R {
        let (lane, own) = (self.world.tasks[task].probe, Name(self.world.tasks[task].self_name));
        let mut start = 0;
        let mut seen = 0;
        loop {
            let answer = self.ask(lane, &Call::PortSpaceInfo(control::PortSpaceInfo { task: own, start }))?;
            let page = answer::PortSpaceInfo::take(&answer.fields).map_err(|e| e.to_string())?;
            for row in SpaceRow::all(page.rows) {
                seen += 1;
                self.compare_row(task, &row).map_err(|e| format!("t{task}, name {}: {e}", row.name))?;
            }
            if page.next == 0 {
                break;
            }
            start = page.next;
        }
        same(&format!("names of t{task}"), &seen, &self.world.tasks[task].space.len())
    }
    fn compare_row(&mut self, task: TaskIx, row: &SpaceRow) -> R {
        let Some(entry) = self.world.entry(task, row.name.0) else { return Err(format!("not in the model's space: {row:x?}")) };
        same("type", &row.kind, &World::type_bits(&entry).bits())?;
        let (urefs, object) = match entry.holds {
            Holding::Port { port, sends, .. } => (sends, Some((false, port))),
            Holding::Once { port } => (1, Some((false, port))),
            Holding::Dead { urefs, .. } => (urefs, None),
            Holding::Set(set) => (0, Some((true, set))),
        };
        if urefs > 0 || row.urefs > 1 {
            same("user references", &row.urefs, &urefs)?;
        }
        let Some((is_set, ix)) = object else { return Ok(()) };
        let known = if is_set { &mut self.world.sets[ix].object } else { &mut self.world.ports[ix].object };
        match known {
            Some(id) if *id == row.object => {}
            Some(id) => return Err(format!("stands for object {:#x}, not {id:#x}", row.object)),
            None => {
                *known = Some(row.object);
                if let Some(other) = self.objects.insert((is_set, row.object), ix) {
                    return Err(format!("object {:#x} is the model's {other} as well as {ix}", row.object));
                }
            }
        }
        if !is_set {
            same("kind of object", &row.kobject, &self.world.ports[ix].kobject)?;
            let receiver = self.world.find_receiver(ix).map_or(0, |(task, _)| self.world.tasks[task].core.to_raw());
            same("receiver", &row.receiver, &receiver)?;
        }
        Ok(())
    }
}

fn msg_request<'a>(send: Option<&SendReq>, receive: Option<&RecvArgs>, size: u32, annex: u32, tail: &'a [u8]) -> control::Msg<'a> {
    let mut options = Options::empty();
    let mut flags = 0;
    if let Some(send) = send {
        options |= Options::SEND;
        options.set(Options::SEND_NOTIFY, send.notify);
        if send.try_only {
            options |= Options::SEND_TIMEOUT;
            flags |= msg_flags::TRY_SEND;
        }
    }
    let mut bits = 0;
    if let Some(args) = receive {
        options |= Options::RCV;
        options.set(Options::RCV_LARGE, args.large);
        bits = args.trailer.options();
        if args.try_only {
            options |= Options::RCV_TIMEOUT;
            flags |= msg_flags::TRY_RECEIVE;
        }
    }
    control::Msg {
        options: options.bits() | bits,
        flags,
        receive: Name(receive.map_or(0, |args| args.name)),
        limit: receive.map_or(0, |args| args.limit as u32),
        notify: Name::NULL,
        count: receive.map_or(0, |args| args.count),
        send_size: size,
        annex,
        tail,
    }
}

fn act_line(act: &Act) -> String {
    match act {
        Act::Call(_, call) => format!("{call:?}"),
        other => format!("{other:x?}"),
    }
}

fn act_lane(act: &Act) -> Option<LaneIx> {
    match act {
        Act::Call(lane, _)
        | Act::SetLimit { lane, .. }
        | Act::Msg { lane, .. }
        | Act::SendMany { lane, .. }
        | Act::Cancel { lane, .. }
        | Act::Create { lane }
        | Act::CloseLane(lane) => Some(*lane),
        Act::Connect | Act::End { .. } => None,
    }
}
