//! The transitions: everything that can happen to the core, and the only way to change it.

use umach_abi::control::{Head, Reply, Request, answer, create_flags, encode_answer, exception_flags};
use umach_abi::records::Frame;
use umach_abi::{Code, Features, Name, VERSION, control, limits};

use super::Core;
use super::effect::{Attach, Effect, Effects, LaneId, Peer, RegionId, TaskId, Violation};
use super::mail::Right;
use super::packet::Packet;
use super::quota::Kind;
use super::task::{Lane, Pending, Wait};

/// Pieces of teardown that a request does itself, if no older ones are waiting.
const OWN_WORK: usize = 128;

impl Core {
    /// A peer connected at the listening socket, or is a private kernel's first task: makes a task and its first lane. `trusted`: it may
    /// have the host's control right.
    pub fn connect(&mut self, peer: Peer, trusted: bool) -> Result<LaneId, Code> {
        let task = self.new_task(peer, None, String::new()).ok_or(Code::KERN_RESOURCE_SHORTAGE)?;
        self.tasks[task.0].trusted = trusted;
        if let Some(port) = self.bootstrap.and_then(|port| self.ports.get_mut(port.0)) {
            port.srights += 1;
            self.tasks[task.0].bootstrap = self.bootstrap;
        }
        Ok(self.tasks[task.0].lanes[0])
    }

    /// The first packet on the first lane of a task made by `TaskCreate` came from this process.
    pub fn identify(&mut self, lane: LaneId, peer: Peer) {
        let Some(task) = self.task_of(lane) else { return };
        let task = &mut self.tasks[task.0];
        if !task.said_hello {
            task.peer = peer;
            self.ledger.rehome(task.account, peer.uid);
        }
    }

    /// A decoded request. A violation should be logged and the task ended ([`Core::end_task`]).
    pub fn request(&mut self, lane: LaneId, head: Head, request: &Request<'_>, effects: &mut Effects) -> Result<(), Violation> {
        let Some(entry) = self.lanes.get_mut(lane.0) else { return Ok(()) };
        let task = entry.task;
        let busy = !self.work.is_empty();
        self.pulled.clear();
        self.requests += 1;
        if let Request::Cancel(cancel) = request {
            self.cancel(lane, cancel.seq, cancel.phases, cancel.interrupted != 0);
        } else if !matches!(request, Request::LaneBell(_)) {
            if let Some(pending) = &entry.pending {
                return Err(Violation::InFlight { op: head.op, pending: pending.op });
            }
            match (self.tasks[task.0].said_hello, request) {
                (false, Request::Hello(hello)) if hello.version != VERSION => {
                    return Err(Violation::Version { theirs: hello.version, ours: VERSION });
                }
                (false, Request::Hello(_)) | (true, _) => {}
                (false, _) => return Err(Violation::BeforeHello { op: head.op }),
            }
            entry.pending = Some(Pending { op: head.op, seq: head.seq, what: Wait::Outside });
            entry.last = (head.op, head.seq);
            if !entry.files.is_empty() {
                let read = std::mem::take(&mut entry.files);
                self.files_read(read);
            }
            self.dispatch(lane, task, request)?;
        }
        self.settle(if busy { 0 } else { OWN_WORK }, effects);
        Ok(())
    }

    /// Names that the task of this lane wants released, in order ([`Core::request`] of `PortDeallocate` for each, without answers).
    pub fn release_names(&mut self, lane: LaneId, names: &[Name], effects: &mut Effects) {
        let Some(task) = self.task_of(lane) else { return };
        let busy = !self.work.is_empty();
        self.pulled.clear();
        self.requests += 1;
        for &name in names {
            // A name that is not one is the task's own loss.
            let _ = self.port_deallocate(task, name);
        }
        self.settle(if busy { 0 } else { OWN_WORK }, effects);
    }

    /// The far end of this lane is closed. If it was the task's first one, the task ends.
    pub fn hang_up(&mut self, lane: LaneId, effects: &mut Effects) {
        let Some(task) = self.task_of(lane) else { return };
        match self.tasks[task.0].lanes.first() {
            Some(&first) if first == lane => self.kill_task(task),
            _ => self.close_lane(lane),
        }
        self.settle(0, effects);
    }

    /// The task's process is dead, or it broke the protocol.
    pub fn end_task(&mut self, task: TaskId, effects: &mut Effects) {
        self.kill_task(task);
        self.settle(0, effects);
    }

    /// `attach` of the answer for `lane` could not be made, and that answer was not sent: undoes what it was for, and answers with a
    /// resource shortage.
    pub fn attach_failed(&mut self, lane: LaneId, attach: Attach, effects: &mut Effects) {
        match attach {
            Attach::NewRegion { id, .. } => self.undo_region(lane, id),
            Attach::NewLane(new) => match self.task_of(new) {
                Some(task) if self.task_of(lane) != Some(task) => self.undo_task(lane, task),
                _ => self.close_lane(new),
            },
            Attach::FileInbox(task) => {
                if let Some(task) = self.tasks.get_mut(task.0) {
                    task.files.inbox = false;
                }
            }
            Attach::NewFileLane { lane, .. } => self.undo_file_lane(lane),
            Attach::LaneMemory(lane) => self.undo_lane_memory(lane),
            Attach::NewArena { link, side, number, .. } => self.undo_arena(link, side, number),
            Attach::Region(_) | Attach::Link(_) | Attach::Attention { .. } | Attach::Arena { .. } => {
                self.events_failed(lane, attach);
            }
        }
        if let Some(entry) = self.lanes.get(lane.0) {
            let (op, seq) = entry.last;
            let (packet, attach) = Packet::new(op, seq).finish(Code::KERN_RESOURCE_SHORTAGE);
            self.effects.push(Effect::Answer { lane, packet, attach });
        }
        self.settle(OWN_WORK, effects);
    }

    fn undo_region(&mut self, lane: LaneId, id: RegionId) {
        let Some(task) = self.task_of(lane) else { return };
        self.tasks[task.0].drafts.retain(|&draft| draft != id);
        match self.regions.get(id.0).map(|region| region.port) {
            Some(Some(port)) => {
                if let Some(name) = self.tasks[task.0].space.name_of(port) {
                    self.destroy_entry(task, name);
                }
            }
            Some(None) => self.drop_region(id),
            None => {}
        }
    }

    fn undo_lane_memory(&mut self, lane: LaneId) {
        if let Some(charge) = self.lanes.get_mut(lane.0).and_then(|lane| lane.memory.take()) {
            self.ledger.release(charge);
        }
    }

    fn undo_task(&mut self, lane: LaneId, new: TaskId) {
        let Some(task) = self.task_of(lane) else { return };
        let control = self.tasks[new.0].control;
        let name = self.tasks[task.0].space.name_of(control);
        self.kill_task(new);
        if let Some(name) = name {
            self.destroy_entry(task, name);
        }
    }

    /// What [`Effect::CheckSeals`] found.
    pub fn seals_checked(&mut self, region: RegionId, sealed: bool, effects: &mut Effects) {
        self.region_sealed(region, sealed);
        self.settle(0, effects);
    }

    /// Does at most `budget` pieces of outstanding teardown; true if more is left. To be called soon, between requests.
    pub fn work(&mut self, budget: usize, effects: &mut Effects) -> bool {
        self.settle(budget, effects);
        !self.work.is_empty()
    }

    pub(super) fn settle(&mut self, budget: usize, effects: &mut Effects) {
        self.tell_tracers();
        self.resume_receives();
        self.do_work(budget);
        self.settle_events();
        effects.append(&mut self.effects);
    }

    /// The task behind a lane.
    pub fn task_of(&self, lane: LaneId) -> Option<TaskId> {
        self.lanes.get(lane.0).map(|lane| lane.task)
    }

    /// Tasks that are not ending.
    pub fn tasks(&self) -> usize {
        self.living
    }

    /// Answers the lane's request.
    pub(super) fn reply<'r, R: Reply<'r>>(&mut self, lane: LaneId, result: Result<R, Code>) {
        let pending = self.lanes[lane.0].pending.take().expect("a request is being answered");
        let mut packet = Vec::with_capacity(64);
        match result {
            Ok(fields) => encode_answer(pending.op, pending.seq, Code::SUCCESS, 0, Some(&fields), &mut packet),
            Err(code) => encode_answer(pending.op, pending.seq, code, 0, None::<&R>, &mut packet),
        }
        self.effects.push(Effect::Answer { lane, packet, attach: Vec::new() });
    }

    /// Answers the lane's request with something attached.
    pub(super) fn reply_with<'r, R: Reply<'r>>(&mut self, lane: LaneId, fields: R, attach: Attach) {
        let pending = self.lanes[lane.0].pending.take().expect("a request is being answered");
        let mut packet = Vec::with_capacity(64);
        encode_answer(pending.op, pending.seq, Code::SUCCESS, 1, Some(&fields), &mut packet);
        self.effects.push(Effect::Answer { lane, packet, attach: vec![attach] });
    }

    /// Starts the answer to a lane's `Msg`.
    pub(super) fn open_packet(&self, lane: LaneId) -> Packet {
        let pending = self.lanes[lane.0].pending.as_ref().expect("a request is being answered");
        Packet::new(pending.op, pending.seq)
    }

    /// Sends the answer to a lane's `Msg`.
    pub(super) fn answer(&mut self, lane: LaneId, mut packet: Packet, status: Code) {
        self.lanes[lane.0].pending = None;
        self.lanes[lane.0].files = std::mem::take(&mut packet.files);
        let (packet, attach) = packet.finish(status);
        self.effects.push(Effect::Answer { lane, packet, attach });
    }

    /// The lane's request waits.
    pub(super) fn wait(&mut self, lane: LaneId, what: Wait) {
        self.lanes[lane.0].pending.as_mut().expect("a request is being served").what = what;
    }

    /// One more lane for a task.
    pub(super) fn new_lane(&mut self, task: TaskId) -> Option<LaneId> {
        let account = self.tasks[task.0].account;
        let charge = self.ledger.charge(account, Kind::Lanes, 1)?;
        let lane = LaneId(self.lanes.insert(Lane { task, pending: None, last: (0, 0), files: Vec::new(), charge, memory: None }));
        self.tasks[task.0].lanes.push(lane);
        Some(lane)
    }

    /// A lane gets memory, once.
    fn lane_memory(&mut self, lane: LaneId, task: TaskId) -> Result<(), Code> {
        if self.lanes[lane.0].memory.is_some() {
            return Err(Code::KERN_FAILURE);
        }
        let charge = self.ledger.charge(self.tasks[task.0].account, Kind::LaneBytes, umach_abi::lane::SIZE as u64);
        self.lanes[lane.0].memory = Some(charge.ok_or(Code::KERN_RESOURCE_SHORTAGE)?);
        Ok(())
    }

    fn dispatch(&mut self, lane: LaneId, task: TaskId, request: &Request<'_>) -> Result<(), Violation> {
        // Most calls name the task they are about; the caller itself is null.
        macro_rules! on {
            ($r:ident, |$t:ident| $body:expr) => {{
                let result = self.resolve(task, $r.task).and_then(|$t| $body);
                self.reply(lane, result)
            }};
        }
        match request {
            Request::Hello(r) => {
                if self.tasks[task.0].said_hello {
                    return Err(Violation::SecondHello);
                }
                let result = self.hello(task, Features::from_bits_truncate(r.features));
                self.reply(lane, result);
            }
            Request::LaneOpen(_) => match self.new_lane(task) {
                Some(new) => self.reply_with(lane, answer::LaneOpen { lane: new.0.index() }, Attach::NewLane(new)),
                None => self.reply::<answer::LaneOpen>(lane, Err(Code::KERN_RESOURCE_SHORTAGE)),
            },
            Request::LaneMemory(_) => match self.lane_memory(lane, task) {
                Ok(()) => self.reply_with(lane, answer::LaneMemory {}, Attach::LaneMemory(lane)),
                Err(code) => self.reply::<answer::LaneMemory>(lane, Err(code)),
            },
            // Whoever drives the core has released what was to be.
            Request::LaneFlush(_) => self.reply(lane, Ok(answer::LaneFlush {})),
            Request::Cancel(_) | Request::LaneBell(_) => unreachable!("served before"),
            Request::Msg(r) => return self.msg(lane, task, r),
            Request::SendMany(r) => return self.send_many(lane, task, r),
            Request::PortAllocate(r) => on!(r, |t| self.port_allocate(t, r.right, r.name)),
            Request::PortConstruct(r) => on!(r, |t| self.port_construct(t, r.flags, r.qlimit, r.context)),
            Request::PortDeallocate(r) => on!(r, |t| self.port_deallocate(t, r.name).map(|()| answer::PortDeallocate {})),
            Request::PortDestroy(r) => on!(r, |t| self.port_destroy(t, r.name)),
            Request::PortDestruct(r) => on!(r, |t| self.port_destruct(t, r.name, r.srdelta, r.guard)),
            Request::PortModRefs(r) => on!(r, |t| self.port_mod_refs(t, r.name, r.right, r.delta)),
            Request::PortGetRefs(r) => on!(r, |t| self.port_get_refs(t, r.name, r.right)),
            Request::PortType(r) => on!(r, |t| self.port_type(t, r.name)),
            Request::PortNames(r) => {
                let page = self.resolve(task, r.task).map(|t| self.port_names(t, r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::PortNames { next: *next, rows }).map_err(|c| *c));
            }
            Request::PortInsertRight(r) => on!(r, |t| self.port_insert_right(task, t, r.name, r.right, r.disposition)),
            Request::PortExtractRight(r) => on!(r, |t| self.port_extract_right(task, t, r.name, r.disposition)),
            Request::PortMoveMember(r) => on!(r, |t| self.port_move_member(t, r.member, r.after)),
            Request::PortInsertMember(r) => on!(r, |t| self.port_insert_member(t, r.member, r.set)),
            Request::PortExtractMember(r) => on!(r, |t| self.port_extract_member(t, r.member, r.set)),
            Request::PortGetSetStatus(r) => {
                let status = self.resolve(task, r.task).and_then(|t| self.port_get_set_status(t, r.name, r.start));
                self.reply(lane, status.as_ref().map(|(next, names)| answer::PortGetSetStatus { next: *next, names }).map_err(|c| *c));
            }
            Request::PortGetAttributes(r) => {
                let info = self.resolve(task, r.task).and_then(|t| self.port_get_attributes(t, r.name, r.flavor));
                self.reply(lane, info.as_ref().map(|info| answer::PortGetAttributes { info }).map_err(|c| *c));
            }
            Request::PortSetAttributes(r) => on!(r, |t| self.port_set_attributes(t, r.name, r.flavor, r.info)),
            Request::PortSetMscount(r) => on!(r, |t| self.port_set_mscount(t, r.name, r.count)),
            Request::PortSetSeqno(r) => on!(r, |t| self.port_set_seqno(t, r.name, r.seqno)),
            Request::PortRequestNotification(r) => on!(r, |t| self.port_request_notification(task, t, r)),
            Request::PortGuard(r) => on!(r, |t| self.port_guard(t, r.name, r.guard, r.flags)),
            Request::PortUnguard(r) => on!(r, |t| self.port_unguard(t, r.name, r.guard)),
            Request::PortSwapGuard(r) => on!(r, |t| self.port_swap_guard(t, r.name, r.old, r.new)),
            Request::PortGetContext(r) => on!(r, |t| self.port_get_context(t, r.name)),
            Request::PortSetContext(r) => on!(r, |t| self.port_set_context(t, r.name, r.context)),
            Request::PortPeek(r) => {
                let peeked = self.resolve(task, r.task).and_then(|t| self.port_peek(t, r.name, r.options, r.seqno));
                let fields = peeked.as_ref().map(|p| answer::PortPeek { seqno: p.seqno, size: p.size, id: p.id, trailer: &p.trailer });
                self.reply(lane, fields.map_err(|c| *c));
            }
            Request::PortSpaceInfo(r) => {
                let info = self.resolve(task, r.task).map(|t| self.port_space_info(t, r.start));
                let fields =
                    info.as_ref().map(|(table_size, next, rows)| answer::PortSpaceInfo { table_size: *table_size, next: *next, rows });
                self.reply(lane, fields.map_err(|c| *c));
            }
            Request::PortAssertAttributes(r) => on!(r, |t| self.port_assert_attributes(t, r.name, r.flavor, r.info)),
            Request::PortKobject(r) => on!(r, |t| self.port_kobject(t, r.name)),
            Request::PortGetSrights(r) => on!(r, |t| self.port_get_srights(t, r.name)),
            Request::TaskCreate(r) => self.task_create(lane, task, r.flags & create_flags::NO_INHERIT == 0, r.label),
            Request::TaskTerminate(r) => match self.resolve(task, r.task) {
                // A task that ends itself gets no answer: its lanes are closed.
                Ok(target) => {
                    if target != task {
                        self.reply(lane, Ok(answer::TaskTerminate {}));
                    }
                    self.task_terminate(target);
                }
                Err(code) => self.reply::<answer::TaskTerminate>(lane, Err(code)),
            },
            Request::TaskSuspend(r) => on!(r, |t| self.task_suspend(t)),
            Request::TaskResume(r) => on!(r, |t| self.task_resume(t)),
            Request::TaskInfo(r) => {
                let row = self.resolve_named(task, r.task).map(|t| self.task_row(t));
                let mut bytes = Vec::new();
                row.iter().for_each(|row| row.write(&mut bytes));
                self.reply(lane, row.map(|_| answer::TaskInfo { row: &bytes }));
            }
            Request::TaskLabel(r) => {
                let label = self.resolve_named(task, r.task).map(|t| self.tasks[t.0].label.clone());
                self.reply(lane, label.as_ref().map(|label| answer::TaskLabel { label: label.as_bytes() }).map_err(|c| *c));
            }
            Request::TaskSetLabel(r) => on!(r, |t| self.task_set_label(t, r.label)),
            Request::TaskGetSpecialPort(r) => on!(r, |t| self.task_get_special_port(task, t, r.which)),
            Request::TaskSetSpecialPort(r) => {
                let result = match self.resolve_host(task, r.task, true) {
                    Ok(()) => self.set_special_port(task, None, r.which, r.right),
                    Err(_) => self.resolve(task, r.task).and_then(|t| self.set_special_port(task, Some(t), r.which, r.right)),
                };
                self.reply(lane, result);
            }
            Request::PortsRegister(r) => on!(r, |t| self.ports_register(task, t, [r.first, r.second, r.third])),
            Request::PortsLookup(r) => on!(r, |t| self.ports_lookup(task, t)),
            Request::TaskSwapExceptionPorts(r) => {
                let how = (r.behavior, r.flavor);
                let give = r.flags & exception_flags::GIVE != 0;
                let rows = self.resolve(task, r.task).and_then(|t| self.task_swap_exception_ports(task, t, r.mask, r.port, how, give));
                self.reply(lane, rows.as_ref().map(|rows| answer::TaskSwapExceptionPorts { rows }).map_err(|c| *c));
            }
            Request::TaskGetExceptionPorts(r) => {
                let rows = self.resolve(task, r.task).and_then(|t| self.task_get_exception_ports(task, t, r.mask));
                self.reply(lane, rows.as_ref().map(|rows| answer::TaskGetExceptionPorts { rows }).map_err(|c| *c));
            }
            Request::TaskExceptionPort(r) => on!(r, |t| self.task_exception_port(task, t, r.exception)),
            Request::TaskForPid(r) => {
                let result = self.task_for_pid(task, r.pid);
                self.reply(lane, result);
            }
            Request::SemaphoreCreate(r) => on!(r, |t| self.semaphore_create(task, t, r.policy, r.value)),
            Request::SemaphoreDestroy(r) => on!(r, |t| self.semaphore_destroy(task, t, r.semaphore)),
            Request::SemaphoreSignal(r) => {
                let result = self.semaphore_signal(task, r);
                self.reply(lane, result);
            }
            Request::SemaphoreWait(r) => self.semaphore_wait(lane, task, r),
            Request::HostControl(_) => {
                let result = self.host_control(task);
                self.reply(lane, result);
            }
            Request::HostInfo(r) => {
                let row = self.resolve_host(task, r.host, false).map(|()| self.host_row());
                let mut bytes = Vec::new();
                row.iter().for_each(|row| row.write(&mut bytes));
                self.reply(lane, row.map(|_| answer::HostInfo { row: &bytes }));
            }
            Request::HostTasks(r) => {
                let page = self.resolve_host(task, r.host, true).map(|()| self.host_tasks(r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostTasks { next: *next, rows }).map_err(|c| *c));
            }
            Request::HostPorts(r) => {
                let page = self.resolve_host(task, r.host, true).map(|()| self.host_ports(r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostPorts { next: *next, rows }).map_err(|c| *c));
            }
            Request::HostTask(r) => {
                let result = self.resolve_host(task, r.host, true).and_then(|()| self.host_task(task, r.task));
                self.reply(lane, result);
            }
            Request::RegionCreate(r) => self.region_create(lane, task, r.size, r.shared != 0),
            Request::RegionSeal(r) => self.region_seal(lane, task, r.region),
            Request::RegionDrop(r) => {
                let result = self.region_abandon(task, r.region);
                self.reply(lane, result);
            }
            Request::RegionMap(r) => self.region_map(lane, task, r.name),
            Request::HostLinks(r) => {
                let page = self.resolve_host(task, r.host, true).map(|()| self.host_links(r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostLinks { next: *next, rows }).map_err(|c| *c));
            }
            Request::HostRoutes(r) => {
                let page = self.resolve_host(task, r.host, true).map(|()| self.host_routes(r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostRoutes { next: *next, rows }).map_err(|c| *c));
            }
            Request::HostTrace(r) => {
                let result = self.trace(task, r);
                self.reply(lane, result);
            }
            Request::HostTraceEnd(r) => {
                let result = self.trace_end(task, r);
                self.reply(lane, result);
            }
            Request::HostLinkMap(r) => match self.resolve_host(task, r.host, true) {
                Ok(()) => self.host_link_map(lane, r.link),
                Err(code) => self.reply::<answer::HostLinkMap>(lane, Err(code)),
            },
            Request::Events(_) => self.events(lane, task, None),
            Request::Poll(r) => self.poll(lane, task, r.seen),
            Request::EventsWait(r) => self.events(lane, task, Some(r.mail)),
            Request::RouteReturn(r) => match self.route_return(task, r)? {
                Ok((taken, status)) => {
                    let pending = self.lanes[lane.0].pending.take().expect("a request is being answered");
                    let mut packet = Vec::with_capacity(32);
                    encode_answer(pending.op, pending.seq, status, 0, Some(&answer::RouteReturn { taken }), &mut packet);
                    self.effects.push(Effect::Answer { lane, packet, attach: Vec::new() });
                }
                Err(code) => self.reply::<answer::RouteReturn>(lane, Err(code)),
            },
            Request::RouteAck(r) => {
                let result = self.route_ack(task, r.route, r.accepted);
                self.reply(lane, result);
            }
            Request::PortRecall(r) => {
                let result = self.port_recall(task, r.name, r.seqno);
                self.reply(lane, result);
            }
            Request::ReplyExplicit(r) => {
                let result = self.reply_explicit(task, r);
                self.reply(lane, result);
            }
            Request::RouteWant(r) => {
                let result = self.route_want(task, r.route);
                self.reply(lane, result);
            }
            Request::RouteRoom(r) => {
                let result = self.route_room(task, r.route);
                self.reply(lane, result);
            }
            Request::LinkRing(r) => {
                let result = self.link_ring(task, r.link);
                self.reply(lane, result);
            }
            Request::LinkEnd(r) => {
                let result = self.link_end(task, r.link, r.why, r.found, r.expected);
                self.reply(lane, result);
            }
            Request::LinkArena(r) => self.link_arena(lane, task, r.link, r.size),
            Request::LinkArenaReady(r) => {
                let result = self.link_arena_ready(task, r.link, r.arena);
                self.reply(lane, result);
            }
            Request::FileInbox(_) => self.file_inbox(lane, task),
            Request::FileLane(r) => self.file_lane(lane, task, r.name, r.except),
            Request::FileNews(_) => {
                let (more, rows) = self.file_news(task);
                self.reply(lane, Ok(answer::FileNews { more, rows: &rows }));
            }
            Request::HostHeld(r) => {
                let page = self.resolve_host(task, r.host, true).and_then(|()| match r.what {
                    1 => Ok(self.host_in_transit(r.start)),
                    2 => Ok(self.host_kept(r.start)),
                    _ => Err(Code::KERN_INVALID_ARGUMENT),
                });
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostHeld { next: *next, rows }).map_err(|c| *c));
            }
            Request::HostWaits(r) => {
                let page = self.resolve_host(task, r.host, true).map(|()| self.host_waits(r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostWaits { next: *next, rows }).map_err(|c| *c));
            }
            Request::HostFileLanes(r) => {
                let page = self.resolve_host(task, r.host, true).map(|()| self.host_file_lanes(r.start));
                self.reply(lane, page.as_ref().map(|(next, rows)| answer::HostFileLanes { next: *next, rows }).map_err(|c| *c));
            }
        }
        Ok(())
    }

    fn hello(&mut self, task: TaskId, features: Features) -> Result<answer::Hello, Code> {
        let (control, name_port, bootstrap) = {
            let task = &mut self.tasks[task.0];
            task.said_hello = true;
            task.plane.agreed = (features & self.config.features).contains(Features::DIRECT_PLANE);
            (task.control, task.name_port, task.bootstrap)
        };
        let give = |core: &mut Core, port| core.give_send(task, port).map_err(|()| Code::KERN_NO_SPACE);
        let host = self.host;
        Ok(answer::Hello {
            version: VERSION,
            features: (features & self.config.features).bits(),
            task: task.to_raw(),
            task_self: give(self, control)?,
            task_name: give(self, name_port)?,
            host: give(self, host)?,
            bootstrap: bootstrap.map_or(Ok(Name::NULL), |port| give(self, port))?,
        })
    }

    /// One more send right to `port` for `task`.
    pub(super) fn give_send(&mut self, task: TaskId, port: super::port::PortId) -> Result<Name, ()> {
        let Some(entry) = self.ports.get_mut(port.0) else { return Ok(Name::DEAD) };
        entry.srights += 1;
        self.deliver(task, Right::Send(port)).map_err(|right| self.discard(right))
    }
}

// Requests and answers of every row fit a packet; rows of listings are paged to do so.
const _: () = assert!(limits::PACKET_MAX > limits::MESSAGE_MAX + limits::ANNEX_MAX + control::HEAD + Frame::SIZE + 128);
