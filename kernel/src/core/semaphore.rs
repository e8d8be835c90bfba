//! Semaphores: a count, and threads that wait until it is more than nothing.
//!
//! A semaphore is a port of the kernel's own, so a right to it travels like any other. It belongs to a task, whose account pays for it. It is *over*
//! when that task is, or when somebody who controls the task says so: then waiting threads are told, and everybody who uses it later. Its port stays,
//! so a right to it stays one, until the last send right goes. That ends waiting too, for nobody is left who could signal.
//!
//! The count is never positive while somebody waits. A thread waits as it does in a receive: its answer is kept back, and `Cancel` ends it.

use std::collections::VecDeque;

use umach_abi::control::{self, answer, semaphore_flags};
use umach_abi::{Code, Name, TypeBits};

use super::Core;
use super::arena::Id;
use super::effect::{LaneId, TaskId};
use super::mail::Right;
use super::port::{Kobject, Port, PortId, Receiver};
use super::quota::Kind;
use super::task::{Wait, unqueue};

/// A semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SemaphoreId(pub(super) Id);

/// `SYNC_POLICY_*`: first come, first served; and the other way round. Threads have no priorities here.
mod policy {
    pub(super) const REVERSED: u32 = 2;
    pub(super) const ALL: u32 = 3;
}

#[derive(Debug)]
pub(super) struct Semaphore {
    pub(super) port: PortId,
    /// `None` once it is over.
    pub(super) owner: Option<TaskId>,
    pub(super) count: u32,
    last_first: bool,
    pub(super) waiters: VecDeque<LaneId>,
}

/// What a signal does when nobody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// It counts.
    One,
    /// Wakes everybody; if nobody waits, nothing.
    All,
    /// If nobody waits, `KERN_NOT_WAITING`.
    Waiting,
    /// Wakes this thread, by the task that it is of and its number there; if it does not wait, `KERN_NOT_WAITING`.
    Thread(TaskId, u32),
}

impl Core {
    /// A new semaphore of `owner`, and its first send right.
    pub(super) fn new_semaphore(&mut self, owner: TaskId, policy: u32, value: i32) -> Result<Right, Code> {
        let count = u32::try_from(value).map_err(|_| Code::KERN_INVALID_ARGUMENT)?;
        if policy & !policy::ALL != 0 {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let charge = self.ledger.charge(self.tasks[owner.0].account, Kind::Ports, 1).ok_or(Code::KERN_RESOURCE_SHORTAGE)?;
        let port = PortId(self.ports.insert(Port::new(Receiver::Transit(None))));
        let id = SemaphoreId(self.semaphores.insert(Semaphore {
            port,
            owner: Some(owner),
            count,
            last_first: policy & policy::REVERSED != 0,
            waiters: VecDeque::new(),
        }));
        let entry = &mut self.ports[port.0];
        (entry.receiver, entry.charge, entry.srights) = (Receiver::Kernel(Kobject::Semaphore(id)), Some(charge), 1);
        self.tasks[owner.0].semaphores.insert(id);
        Ok(Right::Send(port))
    }

    pub(super) fn semaphore_create(
        &mut self,
        caller: TaskId,
        owner: TaskId,
        policy: u32,
        value: i32,
    ) -> Result<answer::SemaphoreCreate, Code> {
        let right = self.new_semaphore(owner, policy, value)?;
        match self.deliver(caller, right) {
            Ok(semaphore) => Ok(answer::SemaphoreCreate { semaphore }),
            Err(right) => {
                self.discard(right);
                Err(Code::KERN_NO_SPACE)
            }
        }
    }

    /// The semaphore to which `name` is a send right.
    pub(super) fn semaphore_of(&mut self, task: TaskId, name: Name) -> Result<SemaphoreId, Code> {
        let entry = self.refresh(task, name).filter(|_| name.is_valid()).ok_or(Code::KERN_INVALID_NAME)?;
        let port = entry.port().filter(|_| entry.has(TypeBits::SEND)).ok_or(Code::KERN_INVALID_RIGHT)?;
        match self.ports[port.0].kobject() {
            Some(Kobject::Semaphore(id)) => Ok(id),
            _ => Err(Code::KERN_INVALID_CAPABILITY),
        }
    }

    /// Uses up one reference of the name, as XNU does, also if the semaphore is another task's and goes on.
    pub(super) fn semaphore_destroy(&mut self, caller: TaskId, owner: TaskId, name: Name) -> Result<answer::SemaphoreDestroy, Code> {
        let id = self.semaphore_of(caller, name)?;
        self.end_semaphore_of(owner, id);
        self.port_deallocate(caller, name)?;
        Ok(answer::SemaphoreDestroy {})
    }

    /// The semaphore is over if it belongs to `owner`.
    pub(super) fn end_semaphore_of(&mut self, owner: TaskId, id: SemaphoreId) {
        if self.semaphores.get(id.0).is_some_and(|semaphore| semaphore.owner == Some(owner)) {
            self.end_semaphore(id);
        }
    }

    /// It is over: who waits is told.
    pub(super) fn end_semaphore(&mut self, id: SemaphoreId) {
        let Some(semaphore) = self.semaphores.get_mut(id.0) else { return };
        semaphore.count = 0;
        let owner = semaphore.owner.take();
        let waiters = std::mem::take(&mut semaphore.waiters);
        if let Some(owner) = owner.and_then(|owner| self.tasks.get_mut(owner.0)) {
            owner.semaphores.remove(&id);
        }
        for lane in waiters {
            self.wake(lane, Err(Code::KERN_TERMINATED));
        }
    }

    /// Nobody has a right to it any more.
    pub(super) fn drop_semaphore(&mut self, id: SemaphoreId) {
        self.end_semaphore(id);
        if let Some(semaphore) = self.semaphores.remove(id.0) {
            self.destroy_port(semaphore.port);
        }
    }

    fn wake(&mut self, lane: LaneId, how: Result<answer::SemaphoreWait, Code>) {
        self.reply(lane, how);
    }

    fn live_semaphore(&mut self, id: SemaphoreId) -> Result<&mut Semaphore, Code> {
        let Core { semaphores, tasks, .. } = self;
        let semaphore = semaphores.get_mut(id.0).ok_or(Code::KERN_TERMINATED)?;
        let owner = semaphore.owner.and_then(|owner| tasks.get(owner.0));
        if owner.is_some_and(|owner| !owner.dying) { Ok(semaphore) } else { Err(Code::KERN_TERMINATED) }
    }

    pub(super) fn signal_semaphore(&mut self, id: SemaphoreId, how: Signal) -> Result<(), Code> {
        let semaphore = self.live_semaphore(id)?;
        if how == Signal::All {
            let waiters = std::mem::take(&mut semaphore.waiters);
            waiters.into_iter().for_each(|lane| self.wake(lane, Ok(answer::SemaphoreWait {})));
            return Ok(());
        }
        let next = match how {
            Signal::Thread(task, thread) => return self.wake_thread(id, task, thread),
            _ if semaphore.last_first => semaphore.waiters.pop_back(),
            _ => semaphore.waiters.pop_front(),
        };
        match next {
            Some(lane) => self.wake(lane, Ok(answer::SemaphoreWait {})),
            None if how == Signal::Waiting => return Err(Code::KERN_NOT_WAITING),
            None => semaphore.count = semaphore.count.saturating_add(1).min(i32::MAX as u32),
        }
        Ok(())
    }

    fn wake_thread(&mut self, id: SemaphoreId, task: TaskId, thread: u32) -> Result<(), Code> {
        let is_it = |lane: &&LaneId| {
            let lane = &self.lanes[lane.0];
            lane.task == task
                && matches!(lane.pending.as_ref().map(|pending| &pending.what), Some(Wait::Semaphore(_, number)) if *number == thread)
        };
        let lane = *self.semaphores[id.0].waiters.iter().find(is_it).ok_or(Code::KERN_NOT_WAITING)?;
        self.stop_waiting_for_semaphore(lane, id);
        self.wake(lane, Ok(answer::SemaphoreWait {}));
        Ok(())
    }

    pub(super) fn semaphore_signal(&mut self, caller: TaskId, r: &control::SemaphoreSignal) -> Result<answer::SemaphoreSignal, Code> {
        let how = match r.flags {
            0 => Signal::One,
            semaphore_flags::ALL => Signal::All,
            semaphore_flags::WAITING => Signal::Waiting,
            semaphore_flags::THREAD => Signal::Thread(caller, r.thread),
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        let id = self.semaphore_of(caller, r.semaphore)?;
        self.signal_semaphore(id, how)?;
        Ok(answer::SemaphoreSignal {})
    }

    /// Waits, and once it does, signals another one. That one being over ends the wait, as in XNU.
    pub(super) fn semaphore_wait(&mut self, lane: LaneId, caller: TaskId, r: &control::SemaphoreWait) {
        if let Err(code) = self.begin_semaphore_wait(lane, caller, r) {
            self.wake(lane, code);
        }
    }

    /// `Err`: the thread does not wait, and this is its answer.
    fn begin_semaphore_wait(
        &mut self,
        lane: LaneId,
        caller: TaskId,
        r: &control::SemaphoreWait,
    ) -> Result<(), Result<answer::SemaphoreWait, Code>> {
        let control::SemaphoreWait { semaphore: name, signal, flags, thread } = *r;
        if flags & !semaphore_flags::TRY != 0 {
            return Err(Err(Code::KERN_INVALID_ARGUMENT));
        }
        let signal = if signal == Name::NULL { None } else { Some(self.semaphore_of(caller, signal).map_err(Err)?) };
        let id = self.semaphore_of(caller, name).map_err(Err)?;
        let done = match self.live_semaphore(id) {
            Err(code) => Some(Err(code)),
            Ok(semaphore) if semaphore.count > 0 => {
                semaphore.count -= 1;
                Some(Ok(answer::SemaphoreWait {}))
            }
            Ok(_) if flags & semaphore_flags::TRY != 0 => Some(Err(Code::KERN_OPERATION_TIMED_OUT)),
            Ok(semaphore) => {
                semaphore.waiters.push_back(lane);
                None
            }
        };
        if done.is_none() {
            self.wait(lane, Wait::Semaphore(id, thread));
        }
        let signalled = signal.map_or(Ok(()), |signal| self.signal_semaphore(signal, Signal::One));
        match (done, signalled) {
            (Some(done), _) => Err(done),
            // Whoever it was that should have been signalled will not come; unless it was this thread itself that was woken.
            (None, Err(_)) if self.waits_for(lane, id) => {
                self.stop_waiting_for_semaphore(lane, id);
                Err(Err(Code::KERN_TERMINATED))
            }
            (None, _) => Ok(()),
        }
    }

    fn waits_for(&self, lane: LaneId, id: SemaphoreId) -> bool {
        self.semaphores.get(id.0).is_some_and(|semaphore| semaphore.waiters.contains(&lane))
    }

    pub(super) fn stop_waiting_for_semaphore(&mut self, lane: LaneId, id: SemaphoreId) {
        if let Some(semaphore) = self.semaphores.get_mut(id.0) {
            unqueue(&mut semaphore.waiters, lane);
        }
    }

    /// `Cancel` of a wait.
    pub(super) fn cancel_semaphore_wait(&mut self, lane: LaneId, id: SemaphoreId, interrupted: bool) {
        self.stop_waiting_for_semaphore(lane, id);
        self.wake(lane, Err(if interrupted { Code::KERN_ABORTED } else { Code::KERN_OPERATION_TIMED_OUT }));
    }

    /// What must hold of semaphores, for `Core::check`.
    pub(super) fn check_semaphores(&self) -> Result<(), String> {
        for (id, semaphore) in self.semaphores.iter() {
            let id = SemaphoreId(id);
            let port = self.ports.get(semaphore.port.0).ok_or_else(|| format!("{id:?}: has no port"))?;
            if port.kobject() != Some(Kobject::Semaphore(id)) || port.srights == 0 {
                return Err(format!("{id:?}: its port is another's, or nobody holds it"));
            }
            if !semaphore.waiters.is_empty() && semaphore.count > 0 {
                return Err(format!("{id:?}: threads wait although it counts {}", semaphore.count));
            }
            if semaphore.owner.is_none() && (!semaphore.waiters.is_empty() || semaphore.count > 0) {
                return Err(format!("{id:?}: is over and still counts"));
            }
            if let Some(owner) = semaphore.owner.and_then(|owner| self.tasks.get(owner.0))
                && !owner.dying
                && !owner.semaphores.contains(&id)
            {
                return Err(format!("{id:?}: its owner does not know it"));
            }
            for lane in &semaphore.waiters {
                let waits = self.lanes.get(lane.0).and_then(|lane| lane.pending.as_ref());
                if !waits.is_some_and(|pending| matches!(pending.what, Wait::Semaphore(other, _) if other == id)) {
                    return Err(format!("{id:?}: lane {lane:?} is said to wait"));
                }
            }
        }
        for (id, lane) in self.lanes.iter() {
            if let Some(Wait::Semaphore(semaphore, _)) = lane.pending.as_ref().map(|pending| &pending.what)
                && !self.waits_for(LaneId(id), *semaphore)
            {
                return Err(format!("lane {id:?} waits for a semaphore that does not know it"));
            }
        }
        Ok(())
    }
}
