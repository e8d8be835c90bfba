//! The `mach_port_*`, `task_*` and `host_*` calls.

use std::fs::File;

use umach_abi::control::{self, Call};
use umach_abi::records::{HostRow, LinkRow, NameRow, PortRow, RouteRow, SpaceRow, TaskRow};
use umach_abi::rights::{ConstructFlags, flavor};
use umach_abi::{Code, Disposition, Name, RightKind, TypeBits};

use crate::direct::Unknown;
use crate::receive::PortStatus;
use crate::task::Task;
use crate::transport::Attached;

/// A task's space of names, seen by its control right.
#[derive(Debug, Clone, Copy)]
pub struct Space<'t> {
    pub(super) task: &'t Task,
    target: Name,
}

/// What `mach_port_peek` tells about a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeekInfo {
    /// The sequence number it will have.
    pub seqno: u32,
    /// Its size (XNU: eight more than was sent).
    pub size: u32,
    /// Its id.
    pub id: i32,
    /// The trailer that was asked for.
    pub trailer: Vec<u8>,
}

type Result<T, E = Code> = std::result::Result<T, E>;

fn names(bytes: &[u8]) -> impl Iterator<Item = Name> + '_ {
    bytes.chunks_exact(4).map(|b| Name(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
}

/// Collects a listing's pages.
fn pages<T>(mut page: impl FnMut(u32, &mut Vec<T>) -> Result<u32>) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    let mut start = 0;
    loop {
        let next = page(start, &mut rows)?;
        if next == 0 {
            return Ok(rows);
        }
        if next <= start {
            // A listing that does not move on would never end.
            return Err(Code::KERN_FAILURE);
        }
        start = next;
    }
}

impl<'t> Space<'t> {
    pub(crate) fn new(task: &'t Task) -> Space<'t> {
        Space { task, target: task.0.task_self }
    }
    /// The space of the task whose control right has this name here. Rights that a call takes or gives are still the caller's own.
    pub fn of(&self, control: Name) -> Space<'t> {
        Space { task: self.task, target: control }
    }
    /// The control right that the calls name.
    pub fn target(&self) -> Name {
        self.target
    }
    /// `mach_task_self`: the task's own control right; no new reference.
    pub fn task_self(&self) -> Name {
        self.task.0.task_self
    }
    /// The task's own name right; no new reference.
    pub fn task_name(&self) -> Name {
        self.task.0.task_name
    }
    /// `mach_host_self`: the host right; no new reference.
    pub fn host_self(&self) -> Name {
        self.task.0.host
    }

    pub(super) fn ask<C: Call, T>(&self, call: &C, read: impl for<'r> FnOnce(C::Answer<'r>, &mut Vec<Attached>) -> T) -> Result<T> {
        match self.task.request(call, read) {
            Ok(answer) => answer,
            Err(failed) => Err(failed.code()),
        }
    }
    fn tell(&self, call: &impl Call) -> Result<()> {
        self.ask(call, |_, _| ())
    }

    // A reply right that came over a link is a slot of its caller's, under a name that the kernel process does not know until it has to.

    /// What such a name stands for; `None` if it is none, or one that the kernel process knows by now.
    fn kind_here(&self, name: Name) -> Option<RightKind> {
        let bits = if self.target == self.task.0.task_self { self.task.0.plane.type_of_reply(self.task, name) } else { None };
        bits.map(|bits| if bits == TypeBits::DEAD_NAME { RightKind::DeadName } else { RightKind::SendOnce })
    }
    /// Gives such a right up: its caller is told. False if it is none.
    fn drops_reply(&self, name: Name) -> bool {
        self.target == self.task.0.task_self && self.task.0.plane.drop_reply(self.task, name)
    }
    /// The name by which the kernel process knows a right of the caller's; it is told of it if it does not.
    fn known(&self, name: Name) -> Result<Name> {
        Ok(self.task.0.plane.make_explicit(self.task, name).map_err(|error| error.code())?.unwrap_or(name))
    }
    /// The same of this space.
    fn known_here(&self, name: Name) -> Result<Name> {
        if self.target == self.task.0.task_self { self.known(name) } else { Ok(name) }
    }
    /// The same, for the last time.
    fn last_known(&self, name: Name) -> Name {
        let known = if self.target == self.task.0.task_self { self.task.0.plane.forget_reply(name) } else { None };
        known.unwrap_or(name)
    }
    /// A listing of this space, with what the kernel process does not know of it. `make`: a row of a right's name, its kind, and the task that receives.
    fn complete<R>(
        &self,
        list: impl FnOnce() -> Result<Vec<R>>,
        name_of: fn(&mut R) -> &mut Name,
        make: fn(Name, TypeBits, u64) -> R,
    ) -> Result<Vec<R>> {
        if self.target != self.task.0.task_self {
            return list();
        }
        let Unknown { rights, renamed } = self.task.0.plane.unknown_replies(self.task);
        let mut rows = list()?;
        for row in &mut rows {
            let name = name_of(row);
            *name = renamed.iter().find(|(known, _)| known == name).map_or(*name, |(_, ours)| *ours);
        }
        for (name, kind, receiver) in rights {
            // It may have become known meanwhile.
            if !rows.iter_mut().rev().any(|row| *name_of(row) == name) {
                rows.push(make(name, kind, receiver));
            }
        }
        Ok(rows)
    }

    /// `mach_port_allocate`: a receive right, a port set or a dead name.
    pub fn port_allocate(&self, right: RightKind) -> Result<Name> {
        self.port_allocate_raw(right as u32, Name::NULL)
    }
    /// `mach_port_allocate_name`: the same under a name of the caller's choice.
    pub fn port_allocate_name(&self, right: RightKind, name: Name) -> Result<()> {
        self.port_allocate_raw(right as u32, name).map(drop)
    }
    /// The same with any number as the right.
    pub fn port_allocate_raw(&self, right: u32, name: Name) -> Result<Name> {
        self.ask(&control::PortAllocate { task: self.target, right, name }, |answer, _| answer.name)
    }
    /// `mach_port_construct`.
    pub fn port_construct(&self, flags: ConstructFlags, qlimit: u32, context: u64) -> Result<Name> {
        self.ask(&control::PortConstruct { task: self.target, flags: flags.bits(), qlimit, context }, |answer, _| answer.name)
    }
    /// `mach_port_deallocate`: drops one user reference of a send right, send-once right or dead name.
    pub fn port_deallocate(&self, name: Name) -> Result<()> {
        if self.drops_reply(name) {
            return Ok(());
        }
        self.tell(&control::PortDeallocate { task: self.target, name: self.last_known(name) })
    }
    /// `mach_port_destroy`: drops every right under the name.
    pub fn port_destroy(&self, name: Name) -> Result<()> {
        if self.drops_reply(name) {
            return Ok(());
        }
        self.tell(&control::PortDestroy { task: self.target, name: self.last_known(name) })?;
        self.gave_up(name);
        Ok(())
    }
    /// `mach_port_destruct`.
    pub fn port_destruct(&self, name: Name, srdelta: i32, guard: u64) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortDestruct { task: self.target, name, srdelta, guard })?;
        self.gave_up(name);
        Ok(())
    }
    /// `mach_port_mod_refs`.
    pub fn port_mod_refs(&self, name: Name, right: RightKind, delta: i32) -> Result<()> {
        self.port_mod_refs_raw(name, right as u32, delta)
    }
    /// The same with any number as the right.
    pub fn port_mod_refs_raw(&self, name: Name, right: u32, delta: i32) -> Result<()> {
        if let Some(kind) = self.kind_here(name) {
            return match (RightKind::from_raw(right), delta) {
                (None, _) => Err(Code::KERN_INVALID_VALUE),
                (Some(right), 0) if right == kind => Ok(()),
                (Some(right), -1) if right == kind => self.port_deallocate(name),
                (Some(right), _) if right == kind => Err(Code::KERN_INVALID_VALUE),
                _ => Err(Code::KERN_INVALID_RIGHT),
            };
        }
        let known = self.known_here(name)?;
        self.tell(&control::PortModRefs { task: self.target, name: known, right, delta })?;
        self.task.0.plane.doubt_reply(name);
        if right == RightKind::Receive as u32 {
            self.gave_up(name);
        }
        Ok(())
    }
    /// A receive right with this name may be gone.
    fn gave_up(&self, name: Name) {
        if self.target == self.task.0.task_self {
            self.task.0.plane.ended(self.task, name);
        }
    }
    /// `mach_port_get_refs`.
    pub fn port_get_refs(&self, name: Name, right: RightKind) -> Result<u32> {
        if let Some(kind) = self.kind_here(name) {
            return Ok(u32::from(right == kind));
        }
        let name = self.known_here(name)?;
        self.ask(&control::PortGetRefs { task: self.target, name, right: right as u32 }, |answer, _| answer.refs)
    }
    /// `mach_port_type`.
    pub fn port_type(&self, name: Name) -> Result<TypeBits> {
        if let Some(kind) = self.kind_here(name) {
            return Ok(kind.bit());
        }
        let name = self.known_here(name)?;
        self.ask(&control::PortType { task: self.target, name }, |answer, _| TypeBits::from_bits_retain(answer.kind))
    }
    /// `mach_port_names`.
    pub fn port_names(&self) -> Result<Vec<NameRow>> {
        let list = || {
            pages(|start, rows| {
                self.ask(&control::PortNames { task: self.target, start }, |answer, _| {
                    rows.extend(NameRow::all(answer.rows));
                    answer.next
                })
            })
        };
        self.complete(list, |row| &mut row.name, |name, kind, _| NameRow { name, kind: kind.bits() })
    }
    /// `mach_port_insert_right`: the caller's right `right` goes into this space under `name`.
    pub fn port_insert_right(&self, name: Name, right: Name, disposition: Disposition) -> Result<()> {
        self.port_insert_right_raw(name, right, disposition as u32)
    }
    /// The same with any number as the disposition.
    pub fn port_insert_right_raw(&self, name: Name, right: Name, disposition: u32) -> Result<()> {
        let right = self.known(right)?;
        self.tell(&control::PortInsertRight { task: self.target, name, right, disposition })
    }
    /// `mach_port_extract_right`: a right out of this space comes to the caller; the second value says as what ([`super::received`]).
    pub fn port_extract_right(&self, name: Name, disposition: Disposition) -> Result<(Name, u32)> {
        let name = self.known_here(name)?;
        self.ask(&control::PortExtractRight { task: self.target, name, disposition: disposition as u32 }, |answer, _| {
            (answer.name, answer.kind)
        })
    }
    /// `mach_port_move_member`: out of all sets, then into `after` unless that is null.
    pub fn port_move_member(&self, member: Name, after: Name) -> Result<()> {
        let member = self.known_here(member)?;
        self.tell(&control::PortMoveMember { task: self.target, member, after })
    }
    /// `mach_port_insert_member`.
    pub fn port_insert_member(&self, member: Name, set: Name) -> Result<()> {
        self.tell(&control::PortInsertMember { task: self.target, member, set })
    }
    /// `mach_port_extract_member`.
    pub fn port_extract_member(&self, member: Name, set: Name) -> Result<()> {
        self.tell(&control::PortExtractMember { task: self.target, member, set })
    }
    /// `mach_port_get_set_status`.
    pub fn port_get_set_status(&self, name: Name) -> Result<Vec<Name>> {
        let name = self.known_here(name)?;
        pages(|start, rows| {
            self.ask(&control::PortGetSetStatus { task: self.target, name, start }, |answer, _| {
                rows.extend(names(answer.names));
                answer.next
            })
        })
    }
    /// `mach_port_get_attributes`: the flavour's bytes.
    pub fn port_get_attributes(&self, name: Name, flavor: u32) -> Result<Vec<u8>> {
        let name = self.known_here(name)?;
        self.ask(&control::PortGetAttributes { task: self.target, name, flavor }, |answer, _| answer.info.to_vec())
    }
    /// `mach_port_get_attributes` with `MACH_PORT_RECEIVE_STATUS`, read.
    pub fn port_get_receive_status(&self, name: Name) -> Result<PortStatus> {
        self.port_get_attributes(name, flavor::RECEIVE_STATUS).map(|info| PortStatus::read(&info))
    }
    /// `mach_port_set_attributes`.
    pub fn port_set_attributes(&self, name: Name, flavor: u32, info: &[u8]) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortSetAttributes { task: self.target, name, flavor, info })
    }
    /// `mach_port_set_attributes` with `MACH_PORT_LIMITS_INFO`.
    pub fn port_set_qlimit(&self, name: Name, qlimit: u32) -> Result<()> {
        self.port_set_attributes(name, flavor::LIMITS_INFO, &qlimit.to_le_bytes())
    }
    /// `mach_port_set_mscount`.
    pub fn port_set_mscount(&self, name: Name, count: u32) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortSetMscount { task: self.target, name, count })
    }
    /// `mach_port_set_seqno`.
    pub fn port_set_seqno(&self, name: Name, seqno: u32) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortSetSeqno { task: self.target, name, seqno })
    }
    /// `mach_port_request_notification`: `notify` is taken by `disposition` (make or move send-once); a null one withdraws the request. The
    /// send-once right of the request before comes back.
    pub fn port_request_notification(&self, name: Name, id: i32, sync: u32, notify: Name, disposition: Disposition) -> Result<Name> {
        let (name, notify) = (self.known_here(name)?, self.known(notify)?);
        let call =
            control::PortRequestNotification { task: self.target, name, id: id as u32, sync, notify, disposition: disposition as u32 };
        self.ask(&call, |answer, _| answer.previous)
    }
    /// `mach_port_guard` and `mach_port_guard_with_flags` (1: strict, 2: immovable receive).
    pub fn port_guard(&self, name: Name, guard: u64, flags: u32) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortGuard { task: self.target, name, guard, flags })
    }
    /// `mach_port_unguard`.
    pub fn port_unguard(&self, name: Name, guard: u64) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortUnguard { task: self.target, name, guard })
    }
    /// `mach_port_swap_guard`.
    pub fn port_swap_guard(&self, name: Name, old: u64, new: u64) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortSwapGuard { task: self.target, name, old, new })
    }
    /// `mach_port_get_context`.
    pub fn port_get_context(&self, name: Name) -> Result<u64> {
        let name = self.known_here(name)?;
        self.ask(&control::PortGetContext { task: self.target, name }, |answer, _| answer.context)
    }
    /// `mach_port_set_context`.
    pub fn port_set_context(&self, name: Name, context: u64) -> Result<()> {
        let name = self.known_here(name)?;
        self.tell(&control::PortSetContext { task: self.target, name, context })
    }
    /// `mach_port_peek`: the queued message with `seqno` (0: the first), with the trailer that `options` ask for.
    pub fn port_peek(&self, name: Name, options: u32, seqno: u32) -> Result<PeekInfo> {
        let name = self.known_here(name)?;
        self.ask(&control::PortPeek { task: self.target, name, options, seqno }, |answer, _| PeekInfo {
            seqno: answer.seqno,
            size: answer.size,
            id: answer.id,
            trailer: answer.trailer.to_vec(),
        })
    }
    /// `mach_port_space_info`.
    pub fn port_space_info(&self) -> Result<Vec<SpaceRow>> {
        let list = || {
            pages(|start, rows| {
                self.ask(&control::PortSpaceInfo { task: self.target, start }, |answer, _| {
                    rows.extend(SpaceRow::all(answer.rows));
                    answer.next
                })
            })
        };
        let make = |name, kind: TypeBits, receiver| SpaceRow { name, kind: kind.bits(), urefs: 1, kobject: 0, object: 0, receiver };
        self.complete(list, |row| &mut row.name, make)
    }
    /// `mach_port_kobject`: what the port stands for ([`super::kobject`]) and its id.
    pub fn port_kobject(&self, name: Name) -> Result<(u32, u64)> {
        let name = self.known_here(name)?;
        self.ask(&control::PortKobject { task: self.target, name }, |answer, _| (answer.kind, answer.object))
    }
    /// `mach_port_get_srights`.
    pub fn port_get_srights(&self, name: Name) -> Result<u32> {
        let name = self.known_here(name)?;
        self.ask(&control::PortGetSrights { task: self.target, name }, |answer, _| answer.count)
    }

    /// Makes a task without a process; gives its control right, its id and, unless the kernel is in this process, the lane for its process.
    pub fn task_create(&self, flags: u32, label: &str) -> Result<(Name, u64, Option<std::os::fd::OwnedFd>)> {
        self.ask(&control::TaskCreate { flags, label: label.as_bytes() }, |answer, attached| {
            let lane = match attached.pop() {
                Some(Attached::Fd(fd)) => Some(fd),
                _ => None,
            };
            (answer.control, answer.task, lane)
        })
    }
    /// `task_terminate`.
    pub fn task_terminate(&self) -> Result<()> {
        self.tell(&control::TaskTerminate { task: self.target })
    }
    /// `task_suspend`.
    pub fn task_suspend(&self) -> Result<()> {
        self.tell(&control::TaskSuspend { task: self.target })
    }
    /// `task_resume`.
    pub fn task_resume(&self) -> Result<()> {
        self.tell(&control::TaskResume { task: self.target })
    }
    /// `task_info`. The target may also be a name right.
    pub fn task_info(&self) -> Result<TaskRow> {
        self.ask(&control::TaskInfo { task: self.target }, |answer, _| TaskRow::read(answer.row))?.ok_or(Code::KERN_FAILURE)
    }
    /// `task_get_special_port` ([`super::special`]).
    pub fn task_get_special_port(&self, which: u32) -> Result<Name> {
        self.ask(&control::TaskGetSpecialPort { task: self.target, which }, |answer, _| answer.name)
    }
    /// `task_set_special_port`: a copy of the caller's send right; null clears it.
    pub fn task_set_special_port(&self, which: u32, right: Name) -> Result<()> {
        self.tell(&control::TaskSetSpecialPort { task: self.target, which, right })
    }
    /// `mach_ports_register`.
    pub fn ports_register(&self, rights: [Name; 3]) -> Result<()> {
        let [first, second, third] = rights;
        self.tell(&control::PortsRegister { task: self.target, first, second, third })
    }
    /// `mach_ports_lookup`.
    pub fn ports_lookup(&self) -> Result<[Name; 3]> {
        self.ask(&control::PortsLookup { task: self.target }, |answer, _| [answer.first, answer.second, answer.third])
    }
    /// The host's control right, for those who may have it.
    pub fn host_control(&self) -> Result<Name> {
        self.ask(&control::HostControl {}, |answer, _| answer.name)
    }
    /// `host_info`.
    pub fn host_info(&self, host: Name) -> Result<HostRow> {
        self.ask(&control::HostInfo { host }, |answer, _| HostRow::read(answer.row))?.ok_or(Code::KERN_FAILURE)
    }
    /// Every task; needs the host's control right.
    pub fn host_tasks(&self, host: Name) -> Result<Vec<TaskRow>> {
        pages(|start, rows| {
            self.ask(&control::HostTasks { host, start }, |answer, _| {
                rows.extend(TaskRow::all(answer.rows));
                answer.next
            })
        })
    }
    /// Every port; needs the host's control right.
    pub fn host_ports(&self, host: Name) -> Result<Vec<PortRow>> {
        pages(|start, rows| {
            self.ask(&control::HostPorts { host, start }, |answer, _| {
                rows.extend(PortRow::all(answer.rows));
                answer.next
            })
        })
    }
    /// Every link between two tasks; needs the host's control right.
    pub fn host_links(&self, host: Name) -> Result<Vec<LinkRow>> {
        pages(|start, rows| {
            self.ask(&control::HostLinks { host, start }, |answer, _| {
                rows.extend(LinkRow::all(answer.rows));
                answer.next
            })
        })
    }
    /// Every route; needs the host's control right.
    pub fn host_routes(&self, host: Name) -> Result<Vec<RouteRow>> {
        pages(|start, rows| {
            self.ask(&control::HostRoutes { host, start }, |answer, _| {
                rows.extend(RouteRow::all(answer.rows));
                answer.next
            })
        })
    }
    /// A link's memory ([`umach_abi::link`]), to look at; needs the host's control right.
    pub fn host_link_map(&self, host: Name, link: u64) -> Result<File> {
        self.ask(&control::HostLinkMap { host, link }, |_, attached| take_file(attached))?.ok_or(Code::KERN_RESOURCE_SHORTAGE)
    }
    /// The control right of the task with this id; needs the host's control right.
    pub fn host_task(&self, host: Name, task: u64) -> Result<Name> {
        self.ask(&control::HostTask { host, task }, |answer, _| answer.control)
    }

    /// A new region: its id, the right if it is a shared one, and its memfd.
    pub fn region_create(&self, size: u64, shared: bool) -> Result<(u64, Name, File)> {
        let made = self.ask(&control::RegionCreate { size, shared: shared as u32 }, |answer, attached| {
            (answer.region, answer.name, take_file(attached))
        })?;
        Ok((made.0, made.1, made.2.ok_or(Code::KERN_RESOURCE_SHORTAGE)?))
    }
    /// Gives the right to a region that the caller has sealed.
    pub fn region_seal(&self, region: u64) -> Result<Name> {
        self.ask(&control::RegionSeal { region }, |answer, _| answer.name)
    }
    /// Drops a region that was never sealed.
    pub fn region_drop(&self, region: u64) -> Result<()> {
        self.tell(&control::RegionDrop { region })
    }
    /// A region's size, whether it is shared, and its memfd.
    pub fn region_map(&self, name: Name) -> Result<(u64, bool, File)> {
        let mapped = self.ask(&control::RegionMap { name }, |answer, attached| (answer.size, answer.shared != 0, take_file(attached)))?;
        Ok((mapped.0, mapped.1, mapped.2.ok_or(Code::KERN_RESOURCE_SHORTAGE)?))
    }
}

fn take_file(attached: &mut Vec<Attached>) -> Option<File> {
    match attached.pop() {
        Some(Attached::Fd(fd)) => Some(File::from(fd)),
        _ => None,
    }
}
