//! Runs operations on the core and on the model side by side, and compares all that can be seen.

use std::collections::HashMap;
use std::fmt::Write as _;

use umach_abi::control::{self, Head, Reply, Request as Call, answer, msg_flags};
use umach_abi::message::Options;
use umach_abi::records::{Frame, SpaceRow, kobject};
use umach_abi::rights::flavor;
use umach_abi::{Code, Features, Name, VERSION};
use umach_kernel::core::{Attach, Config, Core, Direct, Effect, Effects, LaneId, Limits, Peer};

use super::calls::same;
use super::message::SendReq;
use super::ops::Op;
use super::plan::{Act, act_lane, act_line};
use super::state::*;

/// Lanes that each task works with.
const LANES: usize = 3;

/// One core and its model.
pub(crate) struct Run {
    pub(crate) core: Core,
    pub(crate) world: World,
    by_lane: HashMap<LaneId, LaneIx>,
    /// The core's ids of ports and of sets; each has its own numbers.
    objects: HashMap<(bool, u64), usize>,
    effects: Effects,
    packet: Vec<u8>,
    pub(crate) next_id: i32,
    steps: u64,
    /// Comparing, not doing: what is answered need not be told.
    looking: bool,
    /// Look at everything after every operation.
    thorough: bool,
    /// What was done, one line an operation, when it is to be told.
    pub(crate) log: Option<Vec<String>>,
}

impl Run {
    pub(crate) fn new(tell: bool, thorough: bool, limits: Limits) -> R<Run> {
        let features = Features::PROCESSES | Features::PIDFD_DEATH;
        let mut run = Run {
            core: Core::new(Config { pid: 1, features, limits, direct: Direct::Always, machine: Default::default() }),
            world: World { budget: limits.task_queued_bytes, ..World::default() },
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

    pub(crate) fn request(&mut self, lane: LaneIx, call: &Call<'_>) -> R {
        self.world.lanes[lane].seq += 1;
        call.encode(self.world.lanes[lane].seq, &mut self.packet);
        self.send_packet(lane)
    }
    pub(crate) fn send_packet(&mut self, lane: LaneIx) -> R {
        let (head, call): (Head, Call<'_>) = Call::decode(&self.packet).map_err(|e| format!("model: request not readable: {e}"))?;
        let to = self.world.lanes[lane].core;
        self.core.request(to, head, &call, &mut self.effects).map_err(|violation| format!("violation on lane {lane}: {violation}"))?;
        self.collect()
    }
    /// Lets the core finish its work, and sorts what it wants done.
    pub(crate) fn collect(&mut self) -> R {
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
                Effect::Attention { .. } | Effect::DropLink(_) | Effect::LinkBroken { .. } => {
                    return Err("something of the direct plane, which no task of the model speaks".into());
                }
                Effect::CheckSeals { .. } => return Err("seals to check, though there are no regions".into()),
                Effect::ReadProcess(_) | Effect::FillRegion { .. } | Effect::Alarm(_) => {
                    return Err("something of an answer to a message to a task, which none of the model sends".into());
                }
                Effect::ReadClocks => return Err("clocks to read, though nobody has a right to one".into()),
            }
        }
        Ok(())
    }
    pub(crate) fn ask(&mut self, lane: LaneIx, call: &Call<'_>) -> R<Answer> {
        self.request(lane, call)?;
        self.world.take_answer(lane, &[Code::SUCCESS])
    }

    // Tasks.

    pub(crate) fn add_lane(&mut self, core: LaneId, task: TaskIx) -> LaneIx {
        let lane = Lane { task, core, open: true, seq: 0, state: State::Idle, since: 0 };
        self.world.lanes.push(lane);
        let ix = self.world.lanes.len() - 1;
        self.by_lane.insert(core, ix);
        ix
    }
    pub(crate) fn connect(&mut self) -> R {
        let n = self.world.tasks.len() as u32;
        let peer = Peer { pid: 100 + n, uid: 1000 + n % 2, gid: 2000 + n % 3 };
        let lane = self.core.connect(peer, n == 0).map_err(|code| format!("connect: {code}"))?;
        let task = self.world.tasks.len();
        let lane = self.add_lane(lane, task);
        let (control, name_port) = (self.world.new_port(kobject::TASK, None), self.world.new_port(kobject::TASK_NAME, None));
        // One that died is none.
        let bootstrap = match self.world.host_bootstrap {
            Right::Send(port) if self.world.ports[port].alive => Right::Send(port),
            _ => Right::Null,
        };
        self.introduce(lane, peer, control, name_port, bootstrap, [Right::Null; 3])
    }
    /// The first request of a new task, and its further lanes.
    pub(crate) fn introduce(
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
        // Links are for tasks that say they can: none of these does.
        let features = (Features::all() - Features::DIRECT_PLANE).bits();
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
    pub(crate) fn share_controls(&mut self) -> R {
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
    pub(crate) fn nth_lane(&self, lane: LaneIx) -> u32 {
        let lanes = &self.world.tasks[self.world.lanes[lane].task].lanes;
        lanes.iter().position(|other| *other == lane).map_or(0, |at| at as u32)
    }
    pub(crate) fn alive(&self) -> Vec<TaskIx> {
        (0..self.world.tasks.len()).filter(|ix| self.world.tasks[*ix].alive).collect()
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
    pub(crate) fn perform(&mut self, act: Act) -> R {
        match act {
            Act::Call(lane, call) => {
                self.request(lane, &call)?;
                self.follow(|world| world.call(lane, &call))
            }
            Act::SetLimit { lane, task, name, qlimit } => {
                let info = qlimit.to_le_bytes();
                let call = Call::PortSetAttributes(control::PortSetAttributes { task, name, flavor: flavor::LIMITS_INFO, info: &info });
                self.request(lane, &call)?;
                self.follow(|world| world.call(lane, &call))
            }
            Act::Msg { lane, send, receive } => {
                let (message, annex) = send.as_ref().map_or_else(Default::default, SendReq::wire);
                let tail = [&message[..], &annex[..]].concat();
                let call = Call::Msg(msg_request(send.as_ref(), receive.as_ref(), message.len() as u32, annex.len() as u32, &tail));
                self.request(lane, &call)?;
                self.follow(|world| match (&send, receive) {
                    (Some(send), then) => world.send(lane, send, then),
                    (None, Some(args)) => world.receive(lane, args),
                    (None, None) => Ok(()),
                })
            }
            Act::SendMany { lane, sends } => {
                self.request_many(lane, &sends)?;
                self.follow(|world| world.send_many(lane, &sends))
            }
            Act::Cancel { lane, phases, interrupted } => {
                let seq = self.world.lanes[lane].seq;
                Call::Cancel(control::Cancel { seq, phases, interrupted: interrupted as u32 }).encode(seq, &mut self.packet);
                self.send_packet(lane)?;
                self.follow(|world| world.cancel(lane, phases, interrupted))
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
                self.follow(|world| world.end_task(task))
            }
            Act::CloseLane(lane) => {
                self.core.hang_up(self.world.lanes[lane].core, &mut self.effects);
                self.collect()?;
                self.follow(|world| {
                    world.close_lane(lane);
                    Ok(())
                })
            }
        }
    }
    /// Lets the model follow what the core did. Two things are open and matter at once: where a blocked sender goes on to receive while
    /// teardown is under way, which piece falls first; and which of several notifications of one kind was too large, for only a header
    /// arrived. If one answer does not explain what is seen, another must.
    pub(crate) fn follow(&mut self, step: impl Fn(&mut World) -> R) -> R {
        self.world.answered = self.world.actual.len();
        let resumes = |lane: &Lane| matches!(lane.state, State::Sending { then: Some(_), .. });
        let cut = |answer: &Answer| answer.status == Code::MACH_RCV_TOO_LARGE;
        if !self.world.lanes.iter().any(resumes) && !self.world.actual.values().any(cut) {
            return step(&mut self.world).and_then(|()| self.world.settle());
        }
        let before = (self.world.clone(), self.objects.clone());
        let mut first = None;
        for (header_first, choice) in [(false, 0), (true, 0), (false, 1), (true, 1), (false, 2), (true, 2)] {
            (self.world.header_first, self.world.choice) = (header_first, choice);
            let result = step(&mut self.world).and_then(|()| self.world.settle()).and_then(|()| self.compare_all());
            (self.world.header_first, self.world.choice) = (false, 0);
            let Err(wrong) = result else { return Ok(()) };
            first.get_or_insert(wrong);
            (self.world, self.objects) = before.clone();
        }
        first.map_or(Ok(()), Err)
    }
    pub(crate) fn request_many(&mut self, lane: LaneIx, sends: &[SendReq]) -> R {
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
    pub(crate) fn create(&mut self, lane: LaneIx) -> R {
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

    /// Every name, and the state of every port that somebody receives on.
    pub(crate) fn compare_all(&mut self) -> R {
        self.looking = true;
        for task in self.alive() {
            self.compare_space(task)?;
            let (lane, own) = (self.world.tasks[task].probe, Name(self.world.tasks[task].self_name));
            let received = |entry: &Entry| matches!(entry.holds, Holding::Port { receive: true, .. });
            let names = self.world.tasks[task].space.iter().filter(|(_, entry)| received(entry)).map(|(name, _)| Name(*name));
            let status = |name| Call::PortGetAttributes(control::PortGetAttributes { task: own, name, flavor: flavor::RECEIVE_STATUS });
            let info = Call::TaskInfo(control::TaskInfo { task: own });
            for call in names.map(status).chain([info]).collect::<Vec<_>>() {
                self.request(lane, &call)?;
                self.world.call(lane, &call)?;
            }
        }
        self.looking = false;
        Ok(())
    }
    pub(crate) fn compare(&mut self) -> R {
        for task in self.alive() {
            self.compare_space(task)?;
        }
        if self.thorough || self.steps.is_multiple_of(8) {
            self.core.check().map_err(|broken| format!("the core's own check: {broken}"))?;
        }
        if self.thorough || self.steps.is_multiple_of(16) {
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
    pub(crate) fn compare_space(&mut self, task: TaskIx) -> R {
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
    pub(crate) fn compare_row(&mut self, task: TaskIx, row: &SpaceRow) -> R {
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
        route: 0,
        number: 0,
        count: receive.map_or(0, |args| args.count),
        send_size: size,
        annex,
        tail,
    }
}
