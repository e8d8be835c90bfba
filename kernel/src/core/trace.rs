//! Traces: who holds the host's control right may be told of the messages that pass the kernel process.
//!
//! A trace is a filter and a send right to a port of the tracer's. Each message that the filter covers makes one record when it is sent, and one when it
//! is received or ends otherwise; the tracer puts them together by the message's number. Rules:
//!
//! 1. *Nobody waits for a tracer.* Records are kept in chunks, which go to its port as mail while that has room. The next chunk is sent when the
//!    tracer's queue is empty, so an idle tracer is told at once, and a busy one in pieces that are worth its while. What finds no room is counted.
//! 2. *The tracer pays*: for what is kept, and like any receiver for what is queued.
//! 3. *A tracer sees itself nowhere*: no record of what the owner of a trace sends or receives.
//! 4. *What is traced goes through the kernel process*: no route is granted that a trace covers, and those that there are end, unless the trace says that
//!    they may stay. When the trace is over nothing stands in their way, so they come back as they came first.
//! 5. A trace ends with its port, or with its owner.
//! 6. A trace may *follow*: ports at which sender or receiver of a wanted message receives, and to which that message carries a right, are wanted from then on. So a
//!    trace of a service shows the files that it opened and the items of its streams, and one of the name server not all services.
//!
//! Records have a time, and the core has no clock: new records wait until the outside has read it ([`Effect::ReadClocks`]), which it does before
//! it answers anybody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::control::{HostTrace, HostTraceEnd, answer};
use umach_abi::limits::{TRACE_PREVIEW_MAX, TRACES_MAX};
use umach_abi::message::{self, BASE, Descriptor, HEADER, Header};
use umach_abi::records::{TraceHead, TraceRight, TraceRow, trace as record, undelivered};
use umach_abi::{Code, Disposition, RightKind};

use super::Core;
use super::destroy::Work;
use super::effect::{Clocks, Effect, TaskId};
use super::mail::{Carried, Mail, Right, Seen, Sender, price};
use super::port::{PortId, Receiver};
use super::quota::{Charge, Kind};
use super::route::{RouteId, State};
use super::tasks::kobject_of;

/// Bytes of records in one message to a tracer.
const CHUNK: usize = 32 << 10;
/// Bytes of records that are kept for one tracer, beside those in its queue.
const KEPT_MAX: usize = 1 << 20;
/// Tasks and ports that one filter names.
const NAMED_MAX: usize = 1024;
/// Ports of which a trace remembers that they expect answers to what it has seen.
const REPLIES_MAX: usize = 4096;
/// Ports that a trace follows to.
const FOLLOWED_MAX: usize = 4096;
/// Rights that a record lists, and a trace follows; it counts them all.
const RIGHTS_MAX: usize = 32;
/// Routes that one piece of work looks at.
const LOOK: usize = 256;

/// One trace.
#[derive(Debug)]
pub(super) struct Trace {
    /// Never used again.
    id: u64,
    owner: TaskId,
    /// Where the records go: a send right is held.
    port: PortId,
    /// Sorted. Without tasks and ports, the trace covers everything.
    tasks: Vec<TaskId>,
    ports: Vec<PortId>,
    /// First and last id of messages that are wanted, and of those only their answers have others.
    ids: (i32, i32),
    keep_routes: bool,
    /// Ports that wanted messages led to, if it follows.
    followed: Option<BTreeSet<PortId>>,
    /// Bytes of each body.
    preview: usize,
    /// Tasks that it has been told of.
    known: BTreeSet<TaskId>,
    /// How many answers are expected at a port to messages that were seen.
    replies: BTreeMap<PortId, u32>,
    /// Records without a time.
    fresh: Vec<u8>,
    /// Records to be sent.
    chunks: VecDeque<Vec<u8>>,
    /// For both.
    charge: Charge,
    lost: u64,
    /// How many of those it knows of.
    lost_told: u64,
}

impl Trace {
    fn is_all(&self) -> bool {
        self.tasks.is_empty() && self.ports.is_empty()
    }
    /// Whether what `from` sends to `port`, where `to` receives, is wanted.
    fn covers(&self, from: TaskId, to: Option<TaskId>, port: PortId) -> bool {
        let named = |task: TaskId| self.tasks.binary_search(&task).is_ok();
        let followed = || self.followed.as_ref().is_some_and(|ports| ports.contains(&port));
        self.is_all() || named(from) || to.is_some_and(named) || self.ports.binary_search(&port).is_ok() || followed()
    }
    fn kept(&self) -> usize {
        self.fresh.len() + self.chunks.iter().map(Vec::len).sum::<usize>()
    }
}

/// All there are, each in its place.
#[derive(Debug, Default)]
pub(super) struct Traces {
    list: [Option<Trace>; TRACES_MAX],
    /// How many.
    count: usize,
    /// Numbers of traces and of messages, given so far.
    ids: u64,
    messages: u64,
    /// The outside has been asked for the time of fresh records.
    stamping: bool,
}

impl Traces {
    /// The one test that a message pays for while nothing is traced.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.count > 0
    }
    fn iter(&self) -> impl Iterator<Item = &Trace> {
        self.list.iter().flatten()
    }
    /// Ports that batches go to, one send right for each.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortId> {
        self.iter().map(|trace| trace.port)
    }
    /// Those of one owner.
    pub(super) fn ports_of(&self, owner: TaskId) -> impl Iterator<Item = PortId> {
        self.iter().filter(move |trace| trace.owner == owner).map(|trace| trace.port)
    }
    pub(super) fn charges(&self) -> impl Iterator<Item = &Charge> {
        self.iter().map(|trace| &trace.charge)
    }
    fn is_tracer(&self, task: TaskId) -> bool {
        self.iter().any(|trace| trace.owner == task)
    }
    /// Whether a message is a tracer's.
    fn is_own(&self, from: TaskId, to: Option<TaskId>, port: PortId) -> bool {
        self.iter().any(|trace| trace.owner == from || Some(trace.owner) == to || trace.port == port)
    }
    /// Whether messages of `from` to `port`, where `to` receives, have to go through the kernel process.
    pub(super) fn switch(&self, from: TaskId, to: TaskId, port: PortId) -> bool {
        let wanted = |trace: &Trace| !trace.keep_routes && trace.covers(from, Some(to), port);
        self.iter().any(wanted) && !self.is_tracer(from) && !self.is_tracer(to)
    }
    fn find(&self, id: u64) -> Option<usize> {
        self.list.iter().position(|trace| trace.as_ref().is_some_and(|trace| trace.id == id))
    }
    /// A task is called something else: its tracers are told when they next hear of it.
    pub(super) fn forget_label(&mut self, task: TaskId) {
        self.list.iter_mut().flatten().for_each(|trace| {
            trace.known.remove(&task);
        });
    }
}

/// A record that is being made; what is cut, each trace cuts for itself.
struct Draft<'a> {
    row: TraceRow,
    rights: &'a [TraceRight],
    body: &'a [u8],
}

impl Core {
    /// `HostTrace`.
    pub(super) fn trace(&mut self, task: TaskId, r: &HostTrace<'_>) -> Result<answer::HostTrace, Code> {
        self.resolve_host(task, r.host, true)?;
        if !r.who.len().is_multiple_of(8) || r.who.len() / 8 > NAMED_MAX || r.tasks as usize > r.who.len() / 8 || r.first > r.last {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let place = self.traces.list.iter().position(Option::is_none).ok_or(Code::KERN_RESOURCE_SHORTAGE)?;
        let who = r.who.chunks_exact(8).map(|raw| u64::from_le_bytes(raw.try_into().expect("eight bytes")));
        let mut tasks: Vec<TaskId> = who.clone().take(r.tasks as usize).map(TaskId::from_raw).collect();
        let mut ports: Vec<PortId> = who.skip(r.tasks as usize).map(|raw| PortId(super::Id::from_raw(raw))).collect();
        tasks.sort_unstable();
        ports.sort_unstable();
        let port = match self.take(task, r.port, Disposition::CopySend, false)? {
            Right::Send(port) if self.ports[port.0].kobject().is_none() => port,
            right => {
                self.discard(right);
                return Err(Code::KERN_INVALID_CAPABILITY);
            }
        };
        let Some(charge) = self.ledger.charge(self.tasks[task.0].account, Kind::QueuedBytes, 0) else {
            self.release_send(port);
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        };
        self.traces.ids += 1;
        let id = self.traces.ids;
        self.traces.list[place] = Some(Trace {
            id,
            owner: task,
            port,
            tasks,
            ports,
            ids: (r.first, r.last),
            keep_routes: r.flags & record::KEEP_ROUTES != 0,
            followed: (r.flags & record::FOLLOW != 0).then(BTreeSet::new),
            preview: (r.preview as usize).min(TRACE_PREVIEW_MAX),
            known: BTreeSet::new(),
            replies: BTreeMap::new(),
            fresh: Vec::new(),
            chunks: VecDeque::new(),
            charge,
            lost: 0,
            lost_told: 0,
        });
        self.traces.count += 1;
        if r.flags & record::KEEP_ROUTES == 0 && !self.routes.is_empty() {
            self.work.push_front(Work::Switch(id, 0));
        }
        Ok(answer::HostTrace { trace: id })
    }

    /// `HostTraceEnd`: from whoever may trace. What is kept for the tracer goes to it.
    pub(super) fn trace_end(&mut self, task: TaskId, r: &HostTraceEnd) -> Result<answer::HostTraceEnd, Code> {
        self.resolve_host(task, r.host, true)?;
        let place = self.traces.find(r.trace).ok_or(Code::KERN_NOT_FOUND)?;
        self.tell_tracer(place, true);
        let lost = self.traces.list[place].as_ref().map_or(0, |trace| trace.lost);
        self.end_trace(place);
        Ok(answer::HostTraceEnd { lost })
    }

    fn end_trace(&mut self, place: usize) {
        let Some(trace) = self.traces.list[place].take() else { return };
        self.traces.count -= 1;
        self.ledger.release(trace.charge);
        self.release_send(trace.port);
        // Its owner was not seen by the others as long as it traced: what they cover of its messages has routes perhaps.
        let others = self.traces.iter().find(|other| !other.keep_routes).map(|other| other.id);
        if let Some(other) = others.filter(|_| !self.routes.is_empty()) {
            self.work.push_front(Work::Switch(other, 0));
        }
    }

    /// Traces end whose owner or port does.
    #[cold]
    pub(super) fn end_traces(&mut self, over: impl Fn(TaskId, PortId) -> bool) {
        for place in 0..TRACES_MAX {
            if self.traces.list[place].as_ref().is_some_and(|trace| over(trace.owner, trace.port)) {
                self.end_trace(place);
            }
        }
    }

    /// Ends the next route that a new trace covers; the others follow.
    pub(super) fn switch_routes(&mut self, trace: u64, from: u32) {
        if self.traces.find(trace).is_none() {
            return;
        }
        let covered = |route: &super::route::Route| {
            matches!(route.state, State::Offered | State::Live) && self.traces.switch(route.from, route.to, route.port)
        };
        let mut routes = self.routes.iter_from(from);
        let found = routes.by_ref().take(LOOK).find(|(_, route)| covered(route)).map(|(id, _)| id);
        let next = found.map_or_else(|| routes.next().map(|(id, _)| id.index()), |id| Some(id.index() + 1));
        drop(routes);
        if let Some(next) = next {
            self.work.push_front(Work::Switch(trace, next));
        }
        if let Some(id) = found {
            self.end_route(RouteId(id), undelivered::KEEP);
        }
    }

    // What is recorded.

    /// A message is on its way to `id`, or lost if that is dead.
    #[inline]
    pub(super) fn trace_sent(&mut self, mail: &mut Mail, ticket: bool) {
        if self.traces.is_on() {
            self.record_sent(mail, ticket);
        }
    }

    #[cold]
    fn record_sent(&mut self, mail: &mut Mail, ticket: bool) {
        let Some(id) = mail.dest.port() else { return };
        let (from, port) = (TaskId::from_raw(mail.origin), self.ports.get(id.0));
        let to = port.and_then(|port| if let Receiver::Space(task, _) = port.receiver { Some(task) } else { None });
        if self.traces.is_own(from, to, id) {
            return;
        }
        let once = matches!(mail.dest, Right::SendOnce(_));
        let wanted: Vec<usize> = (0..TRACES_MAX).filter(|&place| self.is_wanted(place, from, to, id, mail.id, once)).collect();
        if wanted.is_empty() {
            return;
        }
        self.traces.messages += 1;
        let number = self.traces.messages;
        let (rights, count) = list_rights(mail);
        let body = mail.bytes.get(body_at(mail)..).unwrap_or_default();
        let port = self.ports.get(id.0);
        let mut flags = 0;
        for (flag, holds) in [
            (record::ONCE, once),
            (record::TICKET, ticket),
            (record::DEAD, port.is_none()),
            (record::FULL, !once && port.is_some_and(|port| port.kobject().is_none() && port.full())),
            (record::REPLY_ONCE, matches!(mail.reply, Right::SendOnce(_)) || mail.slot.is_some()),
        ] {
            flags |= if holds { flag } else { 0 };
        }
        let row = TraceRow {
            kind: record::SENT,
            flags,
            number,
            sender: from.to_raw(),
            receiver: to.map_or(0, TaskId::to_raw),
            port: id.0.to_raw(),
            reply: mail.reply.port().map_or(0, |port| port.0.to_raw()),
            id: mail.id,
            bytes: mail.bytes.len() as u32,
            annex: mail.annex.len() as u32,
            body: body.len() as u32,
            rights: count,
            kobject: port.map_or(0, kobject_of),
            queued: port.map_or(0, |port| port.queue.len() as u32),
            ..TraceRow::default()
        };
        let expects = match mail.reply {
            Right::SendOnce(port) => Some(port),
            _ => None,
        };
        let by = wanted.iter().fold(0, |by, place| by | 1 << place);
        mail.seen = Some(Box::new(Seen { number, by }));
        for place in wanted {
            self.introduce(place, Some(from));
            self.introduce(place, to);
            if let (Some(expects), Some(trace)) = (expects, &mut self.traces.list[place]) {
                let ports = &self.ports;
                if trace.replies.len() >= REPLIES_MAX {
                    trace.replies.retain(|port, _| ports.get(port.0).is_some());
                }
                if trace.replies.len() < REPLIES_MAX {
                    *trace.replies.entry(expects).or_insert(0) += 1;
                }
            }
            self.write(place, Draft { row, rights: &rights, body });
            self.follow(place, [Some(from), to], &rights);
        }
    }

    /// A wanted message carries these rights. Where one of the two that talk receives, messages are wanted too.
    fn follow(&mut self, place: usize, talk: [Option<TaskId>; 2], rights: &[TraceRight]) {
        let Some(trace) = &mut self.traces.list[place] else { return };
        let Some(followed) = &mut trace.followed else { return };
        let ports = &self.ports;
        if !rights.is_empty() && followed.len() + rights.len() > FOLLOWED_MAX {
            followed.retain(|port| ports.get(port.0).is_some());
        }
        let mut has_routes = false;
        for right in rights {
            let id = PortId(super::Id::from_raw(right.port));
            let Some(port) = ports.get(id.0) else { continue };
            let theirs = match port.receiver {
                Receiver::Space(task, _) => talk.contains(&Some(task)),
                // In this message.
                Receiver::Transit(_) => right.what == record::RECEIVE_RIGHT,
                Receiver::Kernel(_) => false,
            };
            let is_new = theirs && followed.len() < FOLLOWED_MAX && followed.insert(id);
            has_routes |= is_new && port.plane.as_ref().is_some_and(|plane| !plane.live.is_empty());
        }
        if has_routes && !trace.keep_routes {
            self.work.push_front(Work::Switch(trace.id, 0));
        }
    }

    /// Whether a trace wants a message. An answer that it expects is one less to expect.
    fn is_wanted(&mut self, place: usize, from: TaskId, to: Option<TaskId>, port: PortId, id: i32, once: bool) -> bool {
        let Some(trace) = &mut self.traces.list[place] else { return false };
        let mut answers = false;
        if once && let Some(count) = trace.replies.get_mut(&port) {
            answers = true;
            *count -= 1;
            if *count == 0 {
                trace.replies.remove(&port);
            }
        }
        answers || (trace.covers(from, to, port) && (trace.ids.0..=trace.ids.1).contains(&id))
    }

    /// A message was received by `task`. From here on it is nobody's.
    #[inline]
    pub(super) fn trace_received(&mut self, task: TaskId, id: PortId, mail: &mut Mail) {
        if self.traces.is_on() {
            self.record_end(record::RECEIVED, Some(task), id, mail);
        }
    }

    /// A message ended unreceived: it was given back to its sender (`record::RETURNED`), or destroyed (`record::DESTROYED`).
    #[inline]
    pub(super) fn trace_gone(&mut self, kind: u32, mail: &mut Mail) {
        if mail.seen.is_some()
            && let Some(id) = mail.dest.port()
        {
            self.record_end(kind, None, id, mail);
        }
    }

    #[cold]
    pub(super) fn record_end(&mut self, kind: u32, to: Option<TaskId>, id: PortId, mail: &mut Mail) {
        let from = TaskId::from_raw(mail.origin);
        let seen = mail.seen.take().map_or(Seen { number: 0, by: 0 }, |seen| *seen);
        if self.traces.is_own(from, to, id) {
            return;
        }
        let row = TraceRow {
            kind,
            number: seen.number,
            sender: from.to_raw(),
            receiver: to.map_or(0, TaskId::to_raw),
            port: id.0.to_raw(),
            id: mail.id,
            bytes: mail.bytes.len() as u32,
            annex: mail.annex.len() as u32,
            queued: self.ports.get(id.0).map_or(0, |port| port.queue.len() as u32),
            ..TraceRow::default()
        };
        for place in 0..TRACES_MAX {
            let Some(trace) = &self.traces.list[place] else { continue };
            let covered = trace.covers(from, to, id) && (trace.ids.0..=trace.ids.1).contains(&mail.id);
            if seen.by & 1 << place != 0 || covered {
                self.introduce(place, Some(from));
                self.introduce(place, to);
                self.write(place, Draft { row, rights: &[], body: &[] });
            }
        }
    }

    /// Says who a task is, once.
    fn introduce(&mut self, place: usize, task: Option<TaskId>) {
        let Some((id, task)) = task.and_then(|id| Some((id, self.tasks.get(id.0)?))) else { return };
        let Some(trace) = &mut self.traces.list[place] else { return };
        if !trace.known.insert(id) {
            return;
        }
        let parent = task.parent.map_or(0, TaskId::to_raw);
        let label = task.label.clone();
        let row = TraceRow {
            kind: record::TASK,
            sender: id.to_raw(),
            receiver: parent,
            id: task.peer.pid as i32,
            bytes: task.peer.uid,
            body: label.len() as u32,
            ..TraceRow::default()
        };
        self.write(place, Draft { row, rights: &[], body: label.as_bytes() });
    }

    /// A task ends: those who have heard of it are told, and its own traces end.
    #[cold]
    pub(super) fn trace_death(&mut self, task: TaskId) {
        self.end_traces(|owner, _| owner == task);
        for place in 0..TRACES_MAX {
            if self.traces.list[place].as_mut().is_some_and(|trace| trace.known.remove(&task)) {
                let row = TraceRow { kind: record::ENDED, sender: task.to_raw(), ..TraceRow::default() };
                self.write(place, Draft { row, rights: &[], body: &[] });
            }
        }
    }

    /// Keeps a record until its time is known, if there is room.
    fn write(&mut self, place: usize, draft: Draft<'_>) {
        let Core { traces, ledger, effects, .. } = self;
        let Some(trace) = &mut traces.list[place] else { return };
        let limit = if draft.row.kind == record::TASK { usize::MAX } else { trace.preview };
        let preview = &draft.body[..draft.body.len().min(limit)];
        let size = (TraceRow::SIZE + TraceRight::SIZE * draft.rights.len() + preview.len()).next_multiple_of(8);
        if trace.kept() + size > KEPT_MAX || !ledger.grow(&mut trace.charge, size as u64) {
            trace.lost += 1;
            return;
        }
        let start = trace.fresh.len();
        let row = TraceRow { size: size as u32, listed: draft.rights.len() as u32, preview: preview.len() as u32, time: 0, ..draft.row };
        row.write(&mut trace.fresh);
        draft.rights.iter().for_each(|right| right.write(&mut trace.fresh));
        trace.fresh.extend_from_slice(preview);
        trace.fresh.resize(start + size, 0);
        if !std::mem::replace(&mut traces.stamping, true) {
            effects.push(Effect::ReadClocks);
        }
    }

    /// Fresh records happened just now.
    pub(super) fn stamp_records(&mut self, now: Clocks) {
        self.traces.stamping = false;
        let time = (now.system.as_nanos() as u64).to_le_bytes();
        for trace in self.traces.list.iter_mut().flatten() {
            let mut fresh = &mut std::mem::take(&mut trace.fresh)[..];
            while let Some(row) = TraceRow::read(fresh) {
                let (one, rest) = fresh.split_at_mut(row.size as usize);
                one[TraceRow::TIME_AT..][..8].copy_from_slice(&time);
                match trace.chunks.back_mut().filter(|chunk| chunk.len() + one.len() <= CHUNK) {
                    Some(chunk) => chunk.extend_from_slice(one),
                    None => trace.chunks.push_back(one.to_vec()),
                }
                fresh = rest;
            }
        }
    }

    /// Sends tracers what is kept for them, as far as it is worth their while and there is room.
    #[inline]
    pub(super) fn tell_tracers(&mut self) {
        if self.traces.is_on() {
            (0..TRACES_MAX).for_each(|place| self.tell_tracer(place, false));
        }
    }

    #[cold]
    fn tell_tracer(&mut self, place: usize, all: bool) {
        loop {
            let Some(trace) = &mut self.traces.list[place] else { return };
            let Some(port) = self.ports.get(trace.port.0) else { return };
            let news = !trace.chunks.is_empty() || trace.lost > trace.lost_told;
            let idle = port.queue.is_empty();
            if !news || port.full() || !(all || idle || trace.chunks.len() > 1) {
                return;
            }
            let size = trace.chunks.front().map_or(0, Vec::len);
            let price = price(HEADER + TraceHead::SIZE + size, 0, 0);
            let payer = port.charge.as_ref().map(Charge::account);
            if payer.is_some_and(|payer| !self.ledger.may_queue(payer, payer, price)) {
                return;
            }
            let chunk = trace.chunks.pop_front().unwrap_or_default();
            self.ledger.shrink(&mut trace.charge, size as u64);
            trace.lost_told = trace.lost;
            let mut bytes = Header { id: record::BATCH, ..Header::default() }.to_bytes().to_vec();
            TraceHead { trace: trace.id, lost: trace.lost }.write(&mut bytes);
            bytes.extend_from_slice(&chunk);
            let to = trace.port;
            let kernel = umach_abi::notify::KERNEL_ID;
            let mail = Mail {
                dest: Right::Send(to),
                reply: Right::Null,
                reply_kind: None,
                id: record::BATCH,
                bytes,
                annex: Vec::new(),
                carried: Vec::new(),
                complex: false,
                origin: 0,
                sender: Sender { uid: kernel, gid: kernel, pid: 0, task: 0 },
                charge: payer.map(|payer| self.ledger.queue(payer, payer, price)),
                slot: None,
                seen: None,
            };
            self.ports[to.0].srights += 1;
            self.enqueue(to, mail);
        }
    }

    /// What must always hold.
    pub(super) fn check_traces(&self) -> Result<(), String> {
        let there = self.traces.iter().count();
        if there != self.traces.count {
            return Err(format!("{} traces are counted, there are {there}", self.traces.count));
        }
        for trace in self.traces.iter() {
            if !self.living(trace.owner) || self.ports.get(trace.port.0).is_none() {
                return Err(format!("trace {} outlives its owner or its port", trace.id));
            }
            if trace.charge.amount() != trace.kept() as u64 || trace.kept() > KEPT_MAX {
                return Err(format!("trace {}: {} bytes charged, {} kept", trace.id, trace.charge.amount(), trace.kept()));
            }
            if trace.replies.values().any(|&count| count == 0) || trace.replies.len() > REPLIES_MAX {
                return Err(format!("trace {}: expects answers that nobody owes", trace.id));
            }
        }
        let switching = self.work.iter().any(|work| matches!(work, Work::Switch(..)));
        let covered = |route: &super::route::Route| {
            matches!(route.state, State::Offered | State::Live) && self.traces.switch(route.from, route.to, route.port)
        };
        if !switching && self.routes.iter().any(|(_, route)| covered(route)) {
            return Err("a message that is traced could go over a route".into());
        }
        Ok(())
    }
}

/// Where the body begins, behind the descriptors.
fn body_at(mail: &Mail) -> usize {
    if !mail.complex {
        return HEADER;
    }
    let ends = message::descriptors(&mail.bytes).filter_map(|(at, descriptor)| descriptor.ok().map(|one| at + one.size()));
    ends.last().unwrap_or(BASE)
}

/// What rights and memory a message carries, as far as they are listed, and how many there are.
fn list_rights(mail: &Mail) -> (Vec<TraceRight>, u32) {
    let (mut rows, mut count) = (Vec::new(), 0);
    let mut add = |row: TraceRight| {
        count += 1;
        if rows.len() < RIGHTS_MAX {
            rows.push(row);
        }
    };
    for ((_, descriptor), carried) in message::descriptors(&mail.bytes).zip(&mail.carried) {
        let size = match descriptor {
            Ok(Descriptor::Memory { size, .. }) => u64::from(size),
            _ => 0,
        };
        match carried {
            Carried::Port { right, kind } => add(right_row(right, *kind)),
            Carried::Guarded { right, .. } => add(right_row(right, RightKind::Receive)),
            Carried::Ports { rights, kind, .. } => rights.iter().for_each(|right| add(right_row(right, *kind))),
            Carried::Bytes => add(TraceRight { what: record::MEMORY, size, ..TraceRight::default() }),
            Carried::Region(right, _) => {
                add(TraceRight { what: record::REGION, port: right.port().map_or(0, |port| port.0.to_raw()), size });
            }
            Carried::File(_) => add(TraceRight { what: record::FILE, ..TraceRight::default() }),
        }
    }
    (rows, count)
}

fn right_row(right: &Right, kind: RightKind) -> TraceRight {
    let what = match (right, kind) {
        (Right::Null, _) => record::NULL,
        (Right::Dead, _) => record::DEAD_NAME,
        (_, RightKind::Receive) => record::RECEIVE_RIGHT,
        (_, RightKind::SendOnce) => record::SEND_ONCE_RIGHT,
        _ => record::SEND_RIGHT,
    };
    TraceRight { what, port: right.port().map_or(0, |port| port.0.to_raw()), size: 0 }
}
