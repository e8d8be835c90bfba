//! Exception ports: where a task's faults are to be told.
//!
//! The core only keeps the table. A fault is known to the faulting task's own library, in its signal handler: it asks for the port of its kind
//! (`TaskExceptionPort`), sends the message itself, and the answer decides what becomes of the signal (`docs/adr/0008-exception-ports.md`).

use umach_abi::control::answer;
use umach_abi::exception::{KINDS, check_behavior, check_mask, kinds};
use umach_abi::records::ExceptionRow;
use umach_abi::{Code, Name};

use super::Core;
use super::effect::TaskId;
use super::mail::Right;
use super::port::PortId;

/// Who is told of one kind of exception, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Handler {
    /// A send right held for the task.
    pub(super) port: Option<PortId>,
    pub(super) behavior: u32,
    pub(super) flavor: u32,
}

/// A task's handlers by kind.
pub(super) type Handlers = Box<[Handler; KINDS as usize]>;

/// Handlers that are alike, as one row.
#[derive(Debug)]
pub(super) struct Alike {
    pub(super) mask: u32,
    pub(super) handler: Handler,
}

impl Core {
    fn handler(&self, task: TaskId, kind: usize) -> Handler {
        self.tasks[task.0].exceptions.as_ref().map_or(Handler::default(), |handlers| handlers[kind])
    }

    /// The handlers of these kinds; those that are alike are told as one.
    pub(super) fn exception_handlers(&self, task: TaskId, mask: u32) -> Result<Vec<Alike>, Code> {
        check_mask(mask)?;
        let mut rows: Vec<Alike> = Vec::new();
        for kind in kinds(mask) {
            let handler = self.handler(task, kind);
            match rows.iter_mut().find(|row| row.handler == handler) {
                Some(row) => row.mask |= 1 << kind,
                None => rows.push(Alike { mask: 1 << kind, handler }),
            }
        }
        Ok(rows)
    }

    /// Makes a send right, or nothing, the exception port of these kinds. The right is used up.
    pub(super) fn set_exception_handlers(&mut self, task: TaskId, mask: u32, right: Right, how: u32, flavor: u32) -> Result<(), Code> {
        let port = match right {
            Right::Send(port) => Some(port),
            _ => None,
        };
        let checked = check_mask(mask).and_then(|()| match port {
            Some(_) => check_behavior(how),
            None => Ok(()),
        });
        if checked.is_ok() {
            for kind in kinds(mask) {
                if let Some(port) = port.and_then(|port| self.ports.get_mut(port.0)) {
                    port.srights += 1;
                }
                let handlers = self.tasks[task.0].exceptions.get_or_insert_default();
                let old = std::mem::replace(&mut handlers[kind], Handler { port, behavior: how, flavor });
                old.port.into_iter().for_each(|port| self.release_send(port));
            }
        }
        self.discard(right);
        checked
    }

    /// A new task has its maker's.
    pub(super) fn inherit_exception_handlers(&mut self, from: TaskId, to: TaskId) {
        let handlers = self.tasks[from.0].exceptions.clone();
        for handler in handlers.iter().flat_map(|handlers| handlers.iter()) {
            if let Some(port) = handler.port.and_then(|port| self.ports.get_mut(port.0)) {
                port.srights += 1;
            }
        }
        self.tasks[to.0].exceptions = handlers;
    }

    /// `task_set_exception_ports`, and with `give` what was there before, as `task_swap_exception_ports` has it.
    pub(super) fn task_swap_exception_ports(
        &mut self,
        caller: TaskId,
        task: TaskId,
        mask: u32,
        port: Name,
        (how, flavor): (u32, u32),
        give: bool,
    ) -> Result<Vec<u8>, Code> {
        let right = self.copy_send(caller, port)?.map_or(Right::Null, Right::Send);
        let before = match if give { self.exception_handlers(task, mask) } else { Ok(Vec::new()) } {
            Ok(rows) => self.hold(rows),
            Err(code) => {
                self.discard(right);
                return Err(code);
            }
        };
        match self.set_exception_handlers(task, mask, right, how, flavor) {
            Ok(()) => self.deliver_handlers(caller, before),
            Err(code) => {
                before.into_iter().for_each(|(_, right)| self.discard(right));
                Err(code)
            }
        }
    }

    pub(super) fn task_get_exception_ports(&mut self, caller: TaskId, task: TaskId, mask: u32) -> Result<Vec<u8>, Code> {
        let rows = self.exception_handlers(task, mask)?;
        let held = self.hold(rows);
        self.deliver_handlers(caller, held)
    }

    /// A right for each row, on its way to somebody.
    pub(super) fn hold(&mut self, rows: Vec<Alike>) -> Vec<(Alike, Right)> {
        rows.into_iter()
            .map(|row| {
                let right = self.copy_of(row.handler.port);
                (row, right)
            })
            .collect()
    }

    /// Rows of `records::ExceptionRow`, all or none.
    fn deliver_handlers(&mut self, caller: TaskId, rows: Vec<(Alike, Right)>) -> Result<Vec<u8>, Code> {
        let (mut bytes, mut given, mut full) = (Vec::new(), Vec::new(), false);
        for (row, right) in rows {
            if full {
                self.discard(right);
                continue;
            }
            match self.deliver(caller, right) {
                Ok(port) => {
                    given.push(port);
                    let Handler { behavior, flavor, .. } = row.handler;
                    ExceptionRow { mask: row.mask, port, behavior, flavor }.write(&mut bytes);
                }
                Err(right) => {
                    self.discard(right);
                    full = true;
                }
            }
        }
        if !full {
            return Ok(bytes);
        }
        for name in given {
            // It has just been delivered.
            let _ = self.port_deallocate(caller, name);
        }
        Err(Code::KERN_NO_SPACE)
    }

    /// The handler of one kind.
    pub(super) fn task_exception_port(&mut self, caller: TaskId, task: TaskId, kind: u32) -> Result<answer::TaskExceptionPort, Code> {
        if !(1..KINDS).contains(&kind) {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let Handler { port, behavior, flavor } = self.handler(task, kind as usize);
        let right = self.copy_of(port);
        match self.deliver(caller, right) {
            Ok(port) => Ok(answer::TaskExceptionPort { port, behavior, flavor }),
            Err(right) => {
                self.discard(right);
                Err(Code::KERN_NO_SPACE)
            }
        }
    }
}
