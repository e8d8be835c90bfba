//! Deciding what an operation means when its turn comes: which task, which lane, which names.

use umach_abi::control::{self, Request as Call};
use umach_abi::limits::{MESSAGE_MAX, UREFS_MAX};
use umach_abi::message::TrailerRequest;
use umach_abi::records::kobject;
use umach_abi::rights::flavor;
use umach_abi::{Disposition, Name, RightKind, notify};

use super::calls::TRAILERS;
use super::driver::Run;
use super::message::{DescReq, SendReq, is_plain};
use super::ops::{Class, Kind, Op, Pick, SendPlan};
use super::rng::liking;
use super::state::*;

/// Tasks alive at most.
const TASKS_MAX: usize = 5;
/// A space with more names than this is cut down instead of growing.
const NAMES_MAX: usize = 24;

/// An operation, with names and lanes put in.
#[derive(Debug)]
pub(crate) enum Act {
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
    pub(crate) fn choose(&self, task: TaskIx, pick: Pick) -> u32 {
        let space = &self.world.tasks[task].space;
        let own = self.world.tasks[task].self_name;
        let n = pick.n as usize;
        let fits = |entry: &Entry, class: Class| match (class, entry.holds) {
            (Class::Receive, Holding::Port { receive, .. }) => receive,
            (Class::Send, Holding::Port { sends, .. }) => sends > 0,
            (Class::Sendable, Holding::Port { port, .. } | Holding::Once { port }) => is_plain(&self.world.ports[port]),
            (Class::Control, Holding::Port { port, .. }) => self.world.ports[port].kobject == kobject::TASK,
            (Class::Once, Holding::Once { .. }) | (Class::Set, Holding::Set(_)) | (Class::Dead, Holding::Dead { .. }) | (Class::Any, _) => {
                true
            }
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
            Class::Bogus | Class::Retired => (n as u32 % 48) << 8 | if n.is_multiple_of(61) { 1 } else { 3 + 4 * (n as u32 / 64 % 3) },
            class => best(class).or_else(|| best(Class::Any)).unwrap_or(0x7f_ff03),
        };
        // A task that loses its own control right can do nothing any more.
        if chosen == own { 0x7f_ff03 } else { chosen }
    }
    /// A disposition that fits, mostly.
    pub(crate) fn disposition(&self, task: TaskIx, name: u32, n: u8) -> u8 {
        use Disposition::*;
        let all = [MoveReceive, MoveSend, MoveSendOnce, CopySend, MakeSend, MakeSendOnce];
        if n >= 244 {
            return 16 + n % 6;
        }
        let fitting: Vec<_> = all.into_iter().filter(|d| self.world.can_take(task, name, *d)).collect();
        fitting.get(n as usize % fitting.len().max(1)).map_or(19, |d| *d as u8)
    }
    pub(crate) fn sending(&self, task: TaskIx, name: u32, n: u8) -> u8 {
        match self.disposition(task, name, n) {
            16 if n < 244 => 20 + n % 2,
            disposition => disposition,
        }
    }
    pub(crate) fn plan_send(&mut self, task: TaskIx, plan: &SendPlan) -> Option<SendReq> {
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
    pub(crate) fn plan_receive(&self, task: TaskIx, op: &Op) -> RecvArgs {
        RecvArgs {
            name: self.choose(task, op.a),
            limit: if op.x.is_multiple_of(8) { 24 + (op.y as usize % 25) * 4 } else { MESSAGE_MAX },
            large: op.x & 0x100 != 0,
            trailer: TRAILERS[(op.x >> 10) as usize % TRAILERS.len()],
            count: if op.x & 0x200 != 0 { op.y >> 10 & 3 } else { 1 },
            try_only: op.x & 0x8_0000 != 0,
        }
    }
    pub(crate) fn plan(&mut self, op: &Op) -> Option<Act> {
        let alive = self.alive();
        let me = *alive.iter().max_by_key(|task| liking(op.task as u32, self.world.tasks[**task].tag))?;
        match op.kind {
            Kind::Connect => return (alive.len() < TASKS_MAX).then_some(Act::Connect),
            Kind::End => return (alive.len() > 2 && op.x.is_multiple_of(3)).then_some(Act::End { task: me, by: op.y % 2 }),
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
                return (lanes.len() > 2 && op.x.is_multiple_of(4)).then(|| Act::CloseLane(lanes[1 + op.y as usize % (lanes.len() - 1)]));
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
                // That the queue is full may be seen before that the destination is wrong: then nothing should be armed.
                for send in &mut sends {
                    let sendable = |d: Disposition| d.becomes() == RightKind::Send && self.world.can_take(me, send.dest.0, d);
                    send.notify &= Disposition::from_raw(send.dest.1).is_some_and(sendable);
                }
                Act::SendMany { lane, sends }
            }
            Kind::Allocate => {
                let right = if op.x.is_multiple_of(11) { op.x % 7 } else { [1, 3, 1, 3, 4][op.x as usize % 5] };
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
                let right = if op.x.is_multiple_of(10) { right } else { held };
                Act::Call(lane, Call::PortModRefs(control::PortModRefs { task, name, right, delta }))
            }
            Kind::GetRefs => Act::Call(lane, Call::PortGetRefs(control::PortGetRefs { task, name, right })),
            Kind::Type => Act::Call(lane, Call::PortType(control::PortType { task, name })),
            Kind::InsertRight => {
                let right = Name(self.choose(me, op.c));
                let disposition = self.disposition(me, right.0, op.y as u8) as u32;
                // Often under the name that it has there already, or a new one.
                let name = match self.world.entry(me, right.0).map(|entry| entry.holds) {
                    Some(Holding::Port { port, .. }) if op.x.is_multiple_of(3) => self.world.find_name(whose, port).map_or(name, Name),
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
                let flavor = if op.x.is_multiple_of(4) { flavor::LIMITS_INFO } else { flavor::RECEIVE_STATUS };
                Act::Call(lane, Call::PortGetAttributes(control::PortGetAttributes { task, name, flavor }))
            }
            Kind::SetLimit => Act::SetLimit { lane, task, name, qlimit: if op.x.is_multiple_of(40) { 1020 + op.y % 8 } else { op.y % 4 } },
            Kind::SetMscount => Act::Call(lane, Call::PortSetMscount(control::PortSetMscount { task, name, count: op.y % 4 })),
            Kind::SetSeqno => Act::Call(lane, Call::PortSetSeqno(control::PortSetSeqno { task, name, seqno: op.y % 64 })),
            Kind::RequestNotification => {
                let ids = [notify::DEAD_NAME, notify::DEAD_NAME, notify::NO_SENDERS, notify::PORT_DESTROYED, notify::SEND_POSSIBLE, 67];
                let id = ids[if op.x.is_multiple_of(50) { 5 } else { op.x as usize % 5 }];
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
                let guard = port.filter(|_| !op.x.is_multiple_of(8)).map_or(op.y as u64 % 4, |guard| guard.value);
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
                    Some(Holding::Port { port, .. }) if op.x.is_multiple_of(2) => self.world.ports[port].seqno.wrapping_add(op.y % 4),
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
}

pub(crate) fn act_line(act: &Act) -> String {
    match act {
        Act::Call(_, call) => format!("{call:?}"),
        other => format!("{other:x?}"),
    }
}

pub(crate) fn act_lane(act: &Act) -> Option<LaneIx> {
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
