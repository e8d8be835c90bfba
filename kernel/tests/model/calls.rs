//! The `mach_port_*` and task calls (1.6 to 1.10) on the model.
//!
//! Each call first decides whether it is refused; then nothing changes. Where the reference table leaves the code open (several
//! arguments are wrong at once, or the name is null), any of the codes that apply will do.

use umach_abi::control::{Reply, Request as Call, answer};
use umach_abi::limits::QLIMIT_MAX;
use umach_abi::message::{TrailerRequest, u32_at};
use umach_abi::records::{TaskRow, kobject};
use umach_abi::rights::{ConstructFlags, flavor, special};
use umach_abi::{Code, Disposition, Name, RightKind};

use super::message::received_kind;
use super::state::*;

pub(crate) type Codes = Vec<Code>;

macro_rules! or_refuse {
    ($world:ident, $lane:ident, $what:expr) => {
        match $what {
            Ok(value) => value,
            Err(codes) => return $world.finish($lane, &codes),
        }
    };
}

pub(crate) use or_refuse;

/// What a guarded port's destruction is refused with.
pub(crate) const GUARDED: [Code; 3] = [Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_ARGUMENT, Code::KERN_FAILURE];

impl World {
    /// The live task whose control right has this name.
    pub(crate) fn target(&self, lane: LaneIx, name: Name) -> Result<TaskIx, Codes> {
        let bad = || vec![Code::KERN_INVALID_TASK, Code::KERN_INVALID_NAME, Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_ARGUMENT];
        let entry = self.entry(self.lanes[lane].task, name.0).ok_or_else(bad)?;
        match entry.holds {
            Holding::Port { port, sends, .. } if sends > 0 && self.ports[port].kobject == kobject::TASK => {
                self.ports[port].stands_for.ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }
    pub(crate) fn lookup(&self, task: TaskIx, name: Name) -> Result<Entry, Codes> {
        if !name.is_valid() {
            return Err(vec![Code::KERN_INVALID_NAME, Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_ARGUMENT]);
        }
        self.entry(task, name.0).ok_or_else(|| vec![Code::KERN_INVALID_NAME])
    }
    pub(crate) fn receive_named(&self, task: TaskIx, name: Name) -> Result<PortIx, Codes> {
        match self.lookup(task, name)?.holds {
            Holding::Port { port, receive: true, .. } => Ok(port),
            _ => Err(vec![Code::KERN_INVALID_RIGHT]),
        }
    }
    pub(crate) fn set_named(&self, task: TaskIx, name: Name) -> Result<SetIx, Codes> {
        match self.lookup(task, name)?.holds {
            Holding::Set(set) => Ok(set),
            _ => Err(vec![Code::KERN_INVALID_RIGHT]),
        }
    }
    pub(crate) fn granted<T>(&mut self, lane: LaneIx, read: impl FnOnce(&[u8]) -> R<T>) -> R<T> {
        let answer = self.take_answer(lane, &[Code::SUCCESS])?;
        read(&answer.fields)
    }
    pub(crate) fn granted_name(&mut self, lane: LaneIx) -> R<Name> {
        self.granted(lane, |fields| u32_at(fields, 0).filter(|_| fields.len() == 4).map(Name).ok_or("answer is no name".into()))
    }

    /// One call, answered at once.
    pub(crate) fn call(&mut self, lane: LaneIx, call: &Call<'_>) -> R {
        let me = self.lanes[lane].task;
        match *call {
            Call::PortAllocate(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.allocate(lane, task, RightKind::from_raw(a.right), a.name)
            }
            Call::PortConstruct(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let flags = ConstructFlags::from_bits_retain(a.flags);
                if flags.contains(ConstructFlags::QLIMIT) && a.qlimit > QLIMIT_MAX {
                    return self.finish(lane, &[Code::KERN_INVALID_VALUE]);
                }
                let name = self.granted_name(lane)?;
                let port = self.new_port(kobject::NONE, Some(task));
                let send = flags.contains(ConstructFlags::INSERT_SEND_RIGHT);
                let record = &mut self.ports[port];
                record.context = a.context;
                if flags.contains(ConstructFlags::QLIMIT) {
                    record.qlimit = a.qlimit;
                }
                if flags.contains(ConstructFlags::CONTEXT_AS_GUARD) {
                    record.guard = Some(Guard { value: a.context, strict: flags.contains(ConstructFlags::STRICT) });
                }
                record.immovable = flags.contains(ConstructFlags::IMMOVABLE_RECEIVE);
                record.mscount = send as u32;
                self.enter_chosen(task, name, Holding::Port { port, sends: send as u32, receive: true })
            }
            Call::PortDeallocate(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.deallocate(lane, task, a.name)
            }
            Call::PortDestroy(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                if !a.name.is_valid() {
                    return self.finish(lane, &[Code::SUCCESS]);
                }
                let entry = or_refuse!(self, lane, self.lookup(task, a.name));
                if let Holding::Port { port, receive: true, .. } = entry.holds
                    && self.ports[port].guard.is_some()
                {
                    return self.finish(lane, &GUARDED);
                }
                self.finish(lane, &[Code::SUCCESS])?;
                let mut holds = entry.holds;
                if let Holding::Port { port, sends: 1.., receive: true } = holds
                    && self.somebody_hears()
                {
                    // The two rights go one after the other: a thread that waits on the port may hear of the loss of the first.
                    holds = Holding::Port { port, sends: 0, receive: true };
                    self.set_holding(task, a.name.0, holds);
                    self.drop_right(Right::Send(port))?;
                    self.pump()?;
                }
                self.free_name(task, a.name.0);
                self.drop_holding(holds)
            }
            Call::PortDestruct(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.destruct(lane, task, a.name, a.srdelta, a.guard)
            }
            Call::PortModRefs(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.mod_refs(lane, task, a.name, RightKind::from_raw(a.right), a.delta)
            }
            Call::PortGetRefs(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let Some(kind) = RightKind::from_raw(a.right) else { return self.finish(lane, &[Code::KERN_INVALID_VALUE]) };
                let refs = if !a.name.is_valid() {
                    match kind {
                        RightKind::Send | RightKind::SendOnce => 1,
                        _ => return self.finish(lane, &[Code::KERN_INVALID_NAME]),
                    }
                } else {
                    let entry = or_refuse!(self, lane, self.lookup(task, a.name));
                    match (entry.holds, kind) {
                        (Holding::Port { sends, .. }, RightKind::Send) => sends,
                        (Holding::Port { receive, .. }, RightKind::Receive) => receive as u32,
                        (Holding::Once { .. }, RightKind::SendOnce) | (Holding::Set(_), RightKind::PortSet) => 1,
                        (Holding::Dead { urefs, .. }, RightKind::DeadName) => urefs,
                        _ => 0,
                    }
                };
                self.expect_number(lane, refs)
            }
            Call::PortType(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                if a.name == Name::DEAD {
                    return self.expect_number(lane, RightKind::DeadName.bit().bits());
                }
                let entry = or_refuse!(self, lane, self.lookup(task, a.name));
                self.expect_number(lane, World::type_bits(&entry).bits())
            }
            Call::PortInsertRight(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.insert_right(lane, me, task, a.name, a.right, Disposition::from_raw(a.disposition as u8))
            }
            Call::PortExtractRight(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let Some(disposition) = Disposition::from_raw(a.disposition as u8) else {
                    return self.finish(lane, &[Code::KERN_INVALID_VALUE, Code::KERN_INVALID_ARGUMENT]);
                };
                or_refuse!(self, lane, self.lookup(task, a.name));
                let refused = self.actual.get(&lane).is_some_and(|answer| !answer.status.is_ok());
                let dead = matches!(self.entry(task, a.name.0), Some(Entry { holds: Holding::Dead { .. }, .. }));
                if !self.can_take(task, a.name.0, disposition) || dead && refused {
                    return self.finish(lane, &[Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_CAPABILITY]);
                }
                if self.is_short(task, a.name.0, disposition) {
                    return self.finish(lane, &[Code::KERN_RESOURCE_SHORTAGE]);
                }
                let (name, kind) = self.granted(lane, |fields| {
                    let answer = answer::PortExtractRight::take(fields).map_err(|e| e.to_string())?;
                    Ok((answer.name, answer.kind))
                })?;
                if kind != received_kind(disposition) as u32 {
                    return Err(format!("extracted as kind {kind} by {disposition:?}"));
                }
                let right = self.take(task, a.name.0, disposition)?;
                self.copy_out(me, right, name, "extracted right")
            }
            Call::PortMoveMember(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = self.receive_named(task, a.member);
                let set = if a.after == Name::NULL { Ok(None) } else { self.set_named(task, a.after).map(Some) };
                let (port, set) = or_refuse!(self, lane, both(port, set));
                if set.is_none() && self.sets_of(port) == 0 {
                    return self.finish(lane, &[Code::KERN_NOT_IN_SET]);
                }
                self.finish(lane, &[Code::SUCCESS])?;
                self.sets.iter_mut().for_each(|set| set.members.retain(|member| *member != port));
                if let Some(set) = set {
                    self.sets[set].members.push(port);
                }
                Ok(())
            }
            Call::PortInsertMember(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let found = both(self.receive_named(task, a.member), self.set_named(task, a.set));
                let (port, set) = or_refuse!(self, lane, found);
                if self.sets[set].members.contains(&port) {
                    return self.finish(lane, &[Code::KERN_ALREADY_IN_SET]);
                }
                self.sets[set].members.push(port);
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortExtractMember(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let found = both(self.receive_named(task, a.member), self.set_named(task, a.set));
                let (port, set) = or_refuse!(self, lane, found);
                if !self.sets[set].members.contains(&port) {
                    return self.finish(lane, &[Code::KERN_NOT_IN_SET]);
                }
                self.sets[set].members.retain(|member| *member != port);
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortGetSetStatus(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let set = or_refuse!(self, lane, self.set_named(task, a.name));
                let mut names = self.granted(lane, |fields| {
                    let answer = answer::PortGetSetStatus::take(fields).map_err(|e| e.to_string())?;
                    Ok(answer.names.chunks_exact(4).filter_map(|row| u32_at(row, 0)).collect::<Vec<_>>())
                })?;
                names.sort_unstable();
                let mut expected: Vec<_> = self.sets[set].members.iter().filter_map(|port| self.find_name(task, *port)).collect();
                expected.sort_unstable();
                same("members", &names, &expected)
            }
            Call::PortGetAttributes(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                let info = self.granted(lane, |fields| Ok(fields.to_vec()))?;
                match a.flavor {
                    flavor::RECEIVE_STATUS => self.check_status(port, &info),
                    flavor::LIMITS_INFO => same("queue limit", &u32_at(&info, 0), &Some(self.ports[port].qlimit)),
                    _ => Ok(()),
                }
            }
            Call::PortSetAttributes(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let Some(qlimit) = u32_at(a.info, 0) else { return Err("model: no limit to set".into()) };
                let port = self.receive_named(task, a.name);
                let value = if qlimit > QLIMIT_MAX { Err(vec![Code::KERN_INVALID_VALUE]) } else { Ok(()) };
                let (port, ()) = or_refuse!(self, lane, both(port, value));
                self.ports[port].qlimit = qlimit;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortSetMscount(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                self.ports[port].mscount = a.count;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortSetSeqno(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                self.ports[port].seqno = a.seqno;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortRequestNotification(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.request_notification(lane, me, task, &a)
            }
            Call::PortGuard(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                // As in XNU the guard is kept where the context is: a port has one or the other.
                if self.ports[port].guard.is_some() || self.ports[port].context != 0 {
                    return self.finish(lane, &[Code::KERN_INVALID_ARGUMENT]);
                }
                self.ports[port].context = a.guard;
                self.ports[port].guard = Some(Guard { value: a.guard, strict: a.flags & 1 != 0 });
                self.ports[port].immovable |= a.flags & 2 != 0;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortUnguard(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                if self.ports[port].guard.is_none_or(|guard| guard.value != a.guard) {
                    return self.finish(lane, &[Code::KERN_INVALID_ARGUMENT]);
                }
                self.ports[port].guard = None;
                self.ports[port].immovable = false;
                self.ports[port].context = 0;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortSwapGuard(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                match &mut self.ports[port].guard {
                    Some(guard) if guard.value == a.old => guard.value = a.new,
                    _ => return self.finish(lane, &[Code::KERN_INVALID_ARGUMENT]),
                }
                self.ports[port].context = a.new;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortGetContext(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                let context = self.granted(lane, |fields| Ok(answer::PortGetContext::take(fields).map_err(|e| e.to_string())?.context))?;
                let hidden = self.ports[port].guard.is_some_and(|guard| guard.strict);
                same("context", &context, &if hidden { 0 } else { self.ports[port].context })
            }
            Call::PortSetContext(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                match &mut self.ports[port].guard {
                    Some(guard) if guard.strict => return self.finish(lane, &[Code::KERN_INVALID_ARGUMENT]),
                    Some(guard) => guard.value = a.context,
                    None => {}
                }
                self.ports[port].context = a.context;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::PortPeek(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                self.peek(lane, port, a.seqno)
            }
            Call::PortGetSrights(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let port = or_refuse!(self, lane, self.receive_named(task, a.name));
                let count = self.count_sends(port);
                self.expect_number(lane, count)
            }
            Call::TaskSuspend(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                self.tasks[task].suspended += 1;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::TaskResume(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                if self.tasks[task].suspended == 0 {
                    return self.finish(lane, &[Code::KERN_FAILURE]);
                }
                self.tasks[task].suspended -= 1;
                self.finish(lane, &[Code::SUCCESS])
            }
            Call::TaskInfo(a) => {
                let named = match self.entry(me, a.task.0).map(|entry| entry.holds) {
                    Some(Holding::Port { port, .. }) if self.ports[port].kobject == kobject::TASK_NAME => self.ports[port].stands_for,
                    _ => None,
                };
                let task = or_refuse!(self, lane, named.map_or_else(|| self.target(lane, a.task), Ok));
                let row = self.granted(lane, |fields| TaskRow::read(fields).ok_or("short task row".into()))?;
                self.check_task(task, &row)
            }
            Call::TaskGetSpecialPort(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let right = match a.which {
                    special::KERNEL => Right::Send(self.tasks[task].control),
                    special::HOST => Right::Send(self.host),
                    special::NAME => Right::Send(self.tasks[task].name_port),
                    special::BOOTSTRAP => self.tasks[task].bootstrap,
                    _ => return self.finish(lane, &[Code::KERN_INVALID_ARGUMENT, Code::KERN_INVALID_VALUE]),
                };
                let name = self.granted_name(lane)?;
                self.copy_out(me, right, name, "special port")
            }
            Call::TaskSetSpecialPort(a) => {
                // On the host's control right: what tasks that come through the listening socket will find.
                let host = matches!(self.entry(me, a.task.0), Some(Entry { holds: Holding::Port { port, .. }, .. })
                    if self.ports[port].kobject == kobject::HOST_CONTROL);
                let task = if host { None } else { Some(or_refuse!(self, lane, self.target(lane, a.task))) };
                let right = or_refuse!(self, lane, self.copied(lane, me, a.right));
                self.finish(lane, &[Code::SUCCESS])?;
                let place = match task {
                    Some(task) => &mut self.tasks[task].bootstrap,
                    None => &mut self.host_bootstrap,
                };
                let old = std::mem::replace(place, right);
                self.drop_right(old)
            }
            Call::PortsRegister(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let (first, second) = or_refuse!(self, lane, both(self.copied(lane, me, a.first), self.copied(lane, me, a.second)));
                let third = or_refuse!(self, lane, self.copied(lane, me, a.third));
                self.finish(lane, &[Code::SUCCESS])?;
                let old = std::mem::replace(&mut self.tasks[task].registered, [first, second, third]);
                self.drop_all(old.to_vec())
            }
            Call::PortsLookup(a) => {
                let task = or_refuse!(self, lane, self.target(lane, a.task));
                let names = self.granted(lane, |fields| {
                    let a = answer::PortsLookup::take(fields).map_err(|e| e.to_string())?;
                    Ok([a.first, a.second, a.third])
                })?;
                for (right, name) in self.tasks[task].registered.into_iter().zip(names) {
                    self.copy_out(me, right, name, "registered port")?;
                }
                Ok(())
            }
            ref other => Err(format!("model: no rule for {other:?}")),
        }
    }

    pub(crate) fn expect_number(&mut self, lane: LaneIx, expected: u32) -> R {
        let number = self.granted_name(lane)?.0;
        if number != expected {
            return Err(format!("lane {lane}: answered {number:#x}, expected {expected:#x}"));
        }
        Ok(())
    }
    /// A copy of a send right of the caller; null is null.
    pub(crate) fn copied(&self, lane: LaneIx, me: TaskIx, name: Name) -> Result<Right, Codes> {
        let bad = || vec![Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_NAME, Code::KERN_INVALID_CAPABILITY, Code::KERN_INVALID_VALUE];
        match (name, self.entry(me, name.0).map(|entry| entry.holds)) {
            (Name::NULL, _) => Ok(Right::Null),
            (_, Some(Holding::Port { port, sends, .. })) if sends > 0 => Ok(Right::Send(port)),
            (Name::DEAD, _) | (_, Some(Holding::Dead { .. })) if self.actual.get(&lane).is_some_and(|a| a.status.is_ok()) => {
                Ok(Right::Dead)
            }
            _ => Err(bad()),
        }
    }
    pub(crate) fn peek(&mut self, lane: LaneIx, port: PortIx, seqno: u32) -> R {
        let first = self.ports[port].seqno;
        let at = if seqno == 0 { 0 } else { seqno.wrapping_sub(first) as usize };
        if at >= self.ports[port].queue.len() {
            return self.finish(lane, &[Code::KERN_FAILURE, Code::KERN_INVALID_VALUE]);
        }
        let (seqno, size, id) = self.granted(lane, |fields| {
            let answer = answer::PortPeek::take(fields).map_err(|e| e.to_string())?;
            Ok((answer.seqno, answer.size, answer.id))
        })?;
        let mail = &self.ports[port].queue[at];
        let open = |mail: &Mail| matches!(mail.note, Some(What::NoSenders { or_once: true, .. } | What::Ended { .. }));
        let like = |mail: &Mail| (mail.size as u32 + 8, mail.id) == (size, id) || open(mail);
        let shuffled = self.ports[port].queue.iter().any(|other| other.batch == mail.batch && like(other));
        if seqno != first.wrapping_add(at as u32) || !(like(mail) || shuffled) {
            return Err(format!("peeked seqno {seqno}, size {size}, id {id}; at {at} is {mail:?}"));
        }
        Ok(())
    }
    pub(crate) fn check_status(&self, port: PortIx, info: &[u8]) -> R {
        let word = |at: usize| u32_at(info, 4 * at).ok_or("port status too short");
        let record = &self.ports[port];
        let seen = [word(1)?, word(2)?, word(3)?, word(4)?, word(5)?];
        let flags = [word(0)? != 0, word(6)? != 0, word(7)? != 0, word(8)? != 0];
        let expected = [record.seqno, record.mscount, record.qlimit, record.queue.len() as u32, self.count_onces(port)];
        same("port status (seqno, mscount, qlimit, messages, send-once rights)", &seen, &expected)?;
        let expected = [self.sets_of(port) > 0, self.count_sends(port) > 0, record.destroyed.is_some(), record.no_senders.is_some()];
        same("port status (in a set, send rights, port-destroyed, no-senders)", &flags, &expected)
    }
    pub(crate) fn check_task(&self, task: TaskIx, row: &TaskRow) -> R {
        let record = &self.tasks[task];
        let open = |lane: &&LaneIx| self.lanes[**lane].open;
        let sending = |lane: &&LaneIx| matches!(self.lanes[**lane].state, State::Sending { .. });
        let receiving = |lane: &&LaneIx| matches!(self.lanes[**lane].state, State::Receiving { .. });
        let count = |test: &dyn Fn(&&LaneIx) -> bool| record.lanes.iter().filter(|lane| open(lane) && test(lane)).count() as u32;
        let seen = (row.task, row.names, row.suspended, row.lanes, row.blocked_sends, row.blocked_receives);
        let names = record.space.len() as u32;
        let expected = (record.core.to_raw(), names, record.suspended, count(&|_| true), count(&sending), count(&receiving));
        same("task row (id, names, suspended, lanes, blocked sends, blocked receives)", &seen, &expected)?;
        let mine = |port: &&Port| port.alive && port.payer == Some(task);
        let owned = self.tasks[task].space.values().filter(|entry| matches!(entry.holds, Holding::Set(_))).count();
        let ports = self.ports.iter().filter(mine).count() + owned;
        same("task row (ports)", &row.ports, &(ports as u32))?;
        same("task row (bytes queued)", &row.queued_bytes, &self.queued_bytes(task))
    }
}

fn both<A, B>(a: Result<A, Codes>, b: Result<B, Codes>) -> Result<(A, B), Codes> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(a.into_iter().chain(b).collect()),
        (Err(codes), _) | (_, Err(codes)) => Err(codes),
    }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expected: &T) -> R {
    if seen == expected { Ok(()) } else { Err(format!("{what}: the kernel says {seen:x?}, the model {expected:x?}")) }
}

/// The trailers that receives ask for.
pub(crate) const TRAILERS: [TrailerRequest; 6] = [
    TrailerRequest::Null,
    TrailerRequest::Seqno,
    TrailerRequest::Sender,
    TrailerRequest::Audit,
    TrailerRequest::Context,
    TrailerRequest::Full,
];
