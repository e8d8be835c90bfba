//! Task and host calls: making and ending tasks, special and registered ports, and what the host shows.

use umach_abi::control::answer;
use umach_abi::limits::{LABEL_MAX, REGISTERED_PORTS};
use umach_abi::records::{HostRow, PortRow, TaskRow, kobject};
use umach_abi::rights::special;
use umach_abi::{Code, Disposition, Name, VERSION};

use super::Core;
use super::effect::{Attach, Effect, LaneId, Peer, Signal, TaskId};
use super::mail::Right;
use super::port::{Kobject, Port, PortId, Receiver};
use super::quota::Kind;
use super::space::Space;
use super::task::{Task, Wait};

/// Rows in one page of a host listing.
const PAGE: usize = 256;

/// The number of a port's kind for listings.
pub(super) fn kobject_of(port: &Port) -> u32 {
    match port.kobject() {
        None => kobject::NONE,
        Some(Kobject::Task(_)) => kobject::TASK,
        Some(Kobject::TaskName(_)) => kobject::TASK_NAME,
        Some(Kobject::Host) => kobject::HOST,
        Some(Kobject::HostControl) => kobject::HOST_CONTROL,
        Some(Kobject::Region(_)) => kobject::REGION,
        Some(Kobject::Semaphore(_)) => kobject::SEMAPHORE,
        Some(Kobject::Clock(_)) => kobject::CLOCK,
    }
}

/// Which special port can be set.
pub(super) fn may_set_special(which: u32) -> Result<(), Code> {
    match which {
        special::BOOTSTRAP => Ok(()),
        special::KERNEL | special::HOST | special::NAME => Err(Code::KERN_NO_ACCESS),
        _ => Err(Code::KERN_INVALID_ARGUMENT),
    }
}

impl Core {
    /// A task with one lane, whose process has not yet said Hello.
    pub(super) fn new_task(&mut self, peer: Peer, parent: Option<TaskId>, label: String) -> Option<TaskId> {
        let account = self.ledger.open(peer.uid)?;
        let Some(names) = self.ledger.charge(account, Kind::Names, 0) else {
            self.ledger.close(account);
            return None;
        };
        let blank = Port::new(Receiver::Transit(None));
        let control = PortId(self.ports.insert(blank));
        let name_port = PortId(self.ports.insert(Port::new(Receiver::Transit(None))));
        let task = TaskId(self.tasks.insert(Task {
            peer,
            parent,
            label,
            space: Space::default(),
            names,
            account,
            lanes: Vec::new(),
            said_hello: false,
            trusted: false,
            dying: false,
            suspended: 0,
            control,
            name_port,
            bootstrap: None,
            registered: [None; REGISTERED_PORTS],
            exceptions: None,
            semaphores: Default::default(),
            alarms: Default::default(),
            sent: 0,
            received: 0,
            drafts: Vec::new(),
            files: Default::default(),
            plane: Default::default(),
        }));
        self.living += 1;
        self.ports[control.0].receiver = Receiver::Kernel(Kobject::Task(task));
        self.ports[name_port.0].receiver = Receiver::Kernel(Kobject::TaskName(task));
        if self.new_lane(task).is_none() {
            self.kill_task(task);
            return None;
        }
        Some(task)
    }

    pub(super) fn task_create(&mut self, lane: LaneId, caller: TaskId, inherit: bool, label: &[u8]) {
        let label = match std::str::from_utf8(label) {
            Ok(label) if label.len() <= LABEL_MAX => label.to_owned(),
            _ => return self.reply::<answer::TaskCreate>(lane, Err(Code::KERN_INVALID_VALUE)),
        };
        let peer = Peer { pid: 0, ..self.tasks[caller.0].peer };
        let Some(new) = self.new_task(peer, Some(caller), label) else {
            return self.reply::<answer::TaskCreate>(lane, Err(Code::KERN_RESOURCE_SHORTAGE));
        };
        if inherit {
            let parent = &self.tasks[caller.0];
            let (bootstrap, registered) = (parent.bootstrap, parent.registered);
            for port in bootstrap.iter().chain(registered.iter().flatten()) {
                if let Some(port) = self.ports.get_mut(port.0) {
                    port.srights += 1;
                }
            }
            let task = &mut self.tasks[new.0];
            (task.bootstrap, task.registered) = (bootstrap, registered);
            self.inherit_exception_handlers(caller, new);
        }
        let (control, first) = (self.tasks[new.0].control, self.tasks[new.0].lanes[0]);
        match self.give_send(caller, control) {
            Ok(control) => self.reply_with(lane, answer::TaskCreate { control, task: new.to_raw() }, Attach::NewLane(first)),
            Err(()) => {
                self.kill_task(new);
                self.reply::<answer::TaskCreate>(lane, Err(Code::KERN_NO_SPACE));
            }
        }
    }

    pub(super) fn task_terminate(&mut self, task: TaskId) {
        if self.tasks.get(task.0).is_some_and(|task| !task.dying && task.peer.pid != 0) {
            self.effects.push(Effect::Signal { task, signal: Signal::Kill });
        }
        self.kill_task(task);
    }

    pub(super) fn task_suspend(&mut self, task: TaskId) -> Result<answer::TaskSuspend, Code> {
        let entry = &mut self.tasks[task.0];
        entry.suspended = entry.suspended.checked_add(1).ok_or(Code::KERN_FAILURE)?;
        if entry.suspended == 1 {
            self.effects.push(Effect::Signal { task, signal: Signal::Stop });
        }
        Ok(answer::TaskSuspend {})
    }

    pub(super) fn task_resume(&mut self, task: TaskId) -> Result<answer::TaskResume, Code> {
        let entry = &mut self.tasks[task.0];
        entry.suspended = entry.suspended.checked_sub(1).ok_or(Code::KERN_FAILURE)?;
        if entry.suspended == 0 {
            self.effects.push(Effect::Signal { task, signal: Signal::Continue });
        }
        Ok(answer::TaskResume {})
    }

    /// Like [`Core::resolve`], but a name right serves as well.
    pub(super) fn resolve_named(&mut self, caller: TaskId, name: Name) -> Result<TaskId, Code> {
        let kobject = self.refresh(caller, name).and_then(|entry| entry.port()).and_then(|port| self.ports[port.0].kobject());
        match kobject {
            Some(Kobject::TaskName(task)) => Ok(task),
            _ => self.resolve(caller, name),
        }
    }

    pub(super) fn task_row(&self, id: TaskId) -> TaskRow {
        let task = &self.tasks[id.0];
        let waits = |f: fn(&Wait) -> bool| {
            let pending = task.lanes.iter().filter_map(|lane| self.lanes[lane.0].pending.as_ref());
            pending.filter(|pending| f(&pending.what)).count() as u32
        };
        let used = |kind| self.ledger.used(task.account, kind);
        TaskRow {
            task: id.to_raw(),
            pid: task.peer.pid,
            uid: task.peer.uid,
            gid: task.peer.gid,
            suspended: task.suspended,
            names: task.space.len() as u32,
            ports: used(Kind::Ports) as u32,
            regions: used(Kind::Regions) as u32,
            lanes: task.lanes.len() as u32,
            queued_bytes: used(Kind::QueuedBytes),
            region_bytes: used(Kind::RegionBytes),
            sent: task.sent,
            received: task.received,
            blocked_sends: waits(|wait| matches!(wait, Wait::Send { .. })),
            blocked_receives: waits(|wait| matches!(wait, Wait::Receive { .. } | Wait::Semaphore(..))),
            names_limit: self.ledger.limit(Kind::Names) as u32,
            ports_limit: self.ledger.limit(Kind::Ports) as u32,
            queued_bytes_limit: self.ledger.limit(Kind::QueuedBytes),
            parent: task.parent.map_or(0, TaskId::to_raw),
        }
    }

    /// `task_for_pid`: the control right of a task that runs in this process. Of the caller itself; of a task whose control right it holds anyway; and
    /// of any for who holds the host's.
    pub(super) fn task_for_pid(&mut self, caller: TaskId, pid: u32) -> Result<answer::TaskForPid, Code> {
        let all = self.tasks[caller.0].space.name_of(self.host_control).is_some();
        let runs = |task: &Task| task.peer.pid == pid && !task.dying && task.said_hello;
        let found = if runs(&self.tasks[caller.0]) {
            Some(self.tasks[caller.0].control)
        } else {
            let space = &self.tasks[caller.0].space;
            let mut tasks = self.tasks.iter().filter(|(_, task)| runs(task)).map(|(_, task)| task.control);
            tasks.find(|&control| all || space.name_of(control).is_some())
        };
        let control = found.ok_or(Code::KERN_FAILURE)?;
        self.give_send(caller, control).map(|control| answer::TaskForPid { control }).map_err(|()| Code::KERN_NO_SPACE)
    }

    pub(super) fn task_set_label(&mut self, task: TaskId, label: &[u8]) -> Result<answer::TaskSetLabel, Code> {
        let label = std::str::from_utf8(label).ok().filter(|label| label.len() <= LABEL_MAX).ok_or(Code::KERN_INVALID_VALUE)?;
        label.clone_into(&mut self.tasks[task.0].label);
        self.traces.forget_label(task);
        Ok(answer::TaskSetLabel {})
    }

    /// A task's special port, if it has that one.
    pub(super) fn special_port(&self, task: TaskId, which: u32) -> Result<Option<PortId>, Code> {
        let entry = &self.tasks[task.0];
        Ok(match which {
            special::KERNEL => Some(entry.control),
            special::NAME => Some(entry.name_port),
            special::HOST => Some(self.host),
            special::BOOTSTRAP => entry.bootstrap,
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        })
    }

    pub(super) fn task_get_special_port(&mut self, caller: TaskId, task: TaskId, which: u32) -> Result<answer::TaskGetSpecialPort, Code> {
        let name = match self.special_port(task, which)? {
            Some(port) => self.give_send(caller, port).map_err(|()| Code::KERN_NO_SPACE)?,
            None => Name::NULL,
        };
        Ok(answer::TaskGetSpecialPort { name })
    }

    /// Sets the bootstrap port of a task, or of the host.
    pub(super) fn set_special_port(
        &mut self,
        caller: TaskId,
        task: Option<TaskId>,
        which: u32,
        right: Name,
    ) -> Result<answer::TaskSetSpecialPort, Code> {
        may_set_special(which)?;
        let new = self.copy_send(caller, right)?;
        self.replace_bootstrap(task, new);
        Ok(answer::TaskSetSpecialPort {})
    }

    /// Makes a send right the bootstrap port of a task, or of the host.
    pub(super) fn replace_bootstrap(&mut self, task: Option<TaskId>, new: Option<PortId>) {
        let slot = match task {
            Some(task) => &mut self.tasks[task.0].bootstrap,
            None => &mut self.bootstrap,
        };
        let old = std::mem::replace(slot, new);
        old.into_iter().for_each(|port| self.release_send(port));
    }

    /// A copy of a send right, or nothing for the null name.
    pub(super) fn copy_send(&mut self, caller: TaskId, name: Name) -> Result<Option<PortId>, Code> {
        if name == Name::NULL {
            return Ok(None);
        }
        match self.take(caller, name, Disposition::CopySend, false) {
            Ok(Right::Send(port)) => Ok(Some(port)),
            Ok(right) => {
                self.discard(right);
                Err(Code::KERN_INVALID_CAPABILITY)
            }
            Err(code) => Err(code),
        }
    }

    pub(super) fn ports_register(
        &mut self,
        caller: TaskId,
        task: TaskId,
        names: [Name; REGISTERED_PORTS],
    ) -> Result<answer::PortsRegister, Code> {
        let mut new = [None; REGISTERED_PORTS];
        for (i, name) in names.into_iter().enumerate() {
            match self.copy_send(caller, name) {
                Ok(port) => new[i] = port,
                Err(code) => {
                    new.into_iter().flatten().for_each(|port| self.release_send(port));
                    return Err(code);
                }
            }
        }
        self.replace_registered(task, new);
        Ok(answer::PortsRegister {})
    }

    /// Makes send rights the registered ports of a task.
    pub(super) fn replace_registered(&mut self, task: TaskId, new: [Option<PortId>; REGISTERED_PORTS]) {
        let old = std::mem::replace(&mut self.tasks[task.0].registered, new);
        old.into_iter().flatten().for_each(|port| self.release_send(port));
    }

    pub(super) fn ports_lookup(&mut self, caller: TaskId, task: TaskId) -> Result<answer::PortsLookup, Code> {
        let mut names = [Name::NULL; REGISTERED_PORTS];
        for (i, port) in self.tasks[task.0].registered.into_iter().enumerate() {
            if let Some(port) = port {
                names[i] = self.give_send(caller, port).map_err(|()| Code::KERN_NO_SPACE)?;
            }
        }
        let [first, second, third] = names;
        Ok(answer::PortsLookup { first, second, third })
    }

    pub(super) fn host_control(&mut self, task: TaskId) -> Result<answer::HostControl, Code> {
        if !self.tasks[task.0].trusted {
            return Err(Code::KERN_NO_ACCESS);
        }
        let port = self.host_control;
        self.give_send(task, port).map(|name| answer::HostControl { name }).map_err(|()| Code::KERN_NO_SPACE)
    }

    /// Checks that `name` is a host right; its control right if `control`.
    pub(super) fn resolve_host(&mut self, caller: TaskId, name: Name, control: bool) -> Result<(), Code> {
        let kobject = self.refresh(caller, name).and_then(|entry| entry.port()).and_then(|port| self.ports[port.0].kobject());
        match kobject {
            Some(Kobject::HostControl) => Ok(()),
            Some(Kobject::Host) if !control => Ok(()),
            _ => Err(Code::KERN_INVALID_HOST),
        }
    }

    pub(super) fn host_row(&self) -> HostRow {
        HostRow {
            version: VERSION,
            pid: self.config.pid,
            features: self.config.features.bits(),
            tasks: self.tasks.len() as u32,
            ports: self.ports.len() as u32,
            sets: self.sets.len() as u32,
            messages: self.mails.len() as u32,
            names: self.ledger.total(Kind::Names),
            regions: self.regions.len() as u32,
            lanes: self.lanes.len() as u32,
            message_bytes: self.ledger.total(Kind::QueuedBytes),
            region_bytes: self.ledger.total(Kind::RegionBytes),
            requests: self.requests,
            sent: self.sent,
            work: self.work.len() as u64,
        }
    }

    pub(super) fn host_tasks(&self, start: u32) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let mut tasks = self.tasks.iter_from(start).filter(|(_, task)| !task.dying);
        for (id, _) in tasks.by_ref().take(PAGE) {
            self.task_row(TaskId(id)).write(&mut rows);
        }
        (tasks.next().map_or(0, |(id, _)| id.index()), rows)
    }

    pub(super) fn host_ports(&self, start: u32) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let mut ports = self.ports.iter_from(start);
        for (id, port) in ports.by_ref().take(PAGE) {
            let (receiver, name) = match port.receiver {
                Receiver::Space(task, name) => (task.to_raw(), name),
                _ => (0, Name::NULL),
            };
            let watches = port.watches.as_ref();
            let waiters = port.waiters.as_ref();
            PortRow {
                object: id.to_raw(),
                receiver,
                name,
                kobject: kobject_of(port),
                send_rights: port.srights,
                send_once_rights: port.sorights,
                queued: port.queue.len() as u32,
                qlimit: port.qlimit,
                queued_bytes: port.queued_bytes,
                blocked_senders: waiters.map_or(0, |w| w.senders.len() as u32),
                waiting_receivers: waiters.map_or(0, |w| w.receivers.len() as u32),
                seqno: port.seqno,
                mscount: port.mscount,
                sets: port.sets.len() as u32,
                flags: u32::from(watches.is_some_and(|w| w.no_senders.is_some()))
                    | u32::from(watches.is_some_and(|w| w.destroyed.is_some())) << 1
                    | u32::from(port.guarded) << 2,
            }
            .write(&mut rows);
        }
        (ports.next().map_or(0, |(id, _)| id.index()), rows)
    }

    pub(super) fn host_task(&mut self, caller: TaskId, raw: u64) -> Result<answer::HostTask, Code> {
        let id = TaskId::from_raw(raw);
        let control = self.tasks.get(id.0).filter(|task| !task.dying).map(|task| task.control).ok_or(Code::KERN_NOT_FOUND)?;
        self.give_send(caller, control).map(|control| answer::HostTask { control }).map_err(|()| Code::KERN_NO_SPACE)
    }
}
