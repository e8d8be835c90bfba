//! Messages to the kernel process's own ports: the calls of the control protocol in the form in which MIG's stubs make them.
//!
//! A message to a task's control port, to the host or to a semaphore is a call: its id says which, its body holds the arguments, and the answer goes
//! to the reply right under the id plus 100. `table` has a row for each routine of XNU's that there is (ids are positions in XNU's interface files);
//! `ports`, `tasks`, `host` and `semaphores` have the routines.
//!
//! 1. A routine decides nothing. It takes its arguments apart, calls the function that the request of the control protocol calls, and puts what
//!    comes back into a reply.
//! 2. Form comes before meaning, as in a server that MIG made: sizes and the number of descriptors (`MIG_BAD_ARGUMENTS`), then their kinds
//!    (`MIG_TYPE_ERROR`), then what the message was sent to.
//! 3. Rights in the request that the routine did not take end with it. Rights in the reply end with the reply if it finds no room.
//! 4. Who asks uses up its own share of the room at the port that the reply goes to, whoever receives there.

mod clock;
mod host;
mod ports;
mod reply;
mod routine;
mod semaphores;
#[cfg(test)]
mod storm;
mod table;
mod tasks;

use umach_abi::message::{self, BASE, Descriptor, HEADER, Place, u32_at};
use umach_abi::{Code, Name, RightKind};

use super::Core;
use super::effect::TaskId;
use super::mail::{Carried, Mail, Right, Sender, price};
use super::port::{Kobject, PortId};
use super::send::Posted;
use reply::Reply;
use routine::{Routine, Target, Want};

/// NDR record.
const NDR: usize = message::NDR.len();

/// What XNU calls the routine of this id, if the kernel process knows it.
pub fn routine_name(id: i32) -> Option<&'static str> {
    table::find(id).map(|routine| routine.name).filter(|name| !name.is_empty())
}

/// A call, its form checked.
pub(super) struct Call<'m> {
    /// Who asks.
    caller: TaskId,
    /// What it was sent to.
    kobject: Kobject,
    /// The task that it is about; the caller if it is about something else.
    task: TaskId,
    /// Arguments that are still to be read.
    args: &'m [u8],
    bytes: &'m [u8],
    annex: &'m [u8],
    carried: &'m mut [Carried],
    /// Where the answer goes, unless the routine takes it, and the answer's id.
    reply: &'m mut Right,
    id: i32,
}

impl<'m> Call<'m> {
    fn take(&mut self, size: usize) -> &'m [u8] {
        debug_assert!(size <= self.args.len(), "the row says that there are fewer arguments");
        let (head, rest) = self.args.split_at(size.min(self.args.len()));
        self.args = rest;
        head
    }
    fn word(&mut self) -> u32 {
        u32_at(self.take(4), 0).unwrap_or(0)
    }
    fn int(&mut self) -> i32 {
        self.word() as i32
    }
    fn name(&mut self) -> Name {
        Name(self.word())
    }
    fn long(&mut self) -> u64 {
        let low = self.word() as u64;
        low | (self.word() as u64) << 32
    }
    /// The array at the end, `size` bytes an element.
    fn array(&mut self, size: usize) -> &'m [u8] {
        let count = self.word() as usize;
        self.take(size * count)
    }
    /// The right in a descriptor; it is the routine's from here on.
    fn right(&mut self, at: usize) -> Right {
        match &mut self.carried[at] {
            Carried::Port { right, .. } => std::mem::replace(right, Right::Null),
            _ => Right::Null,
        }
    }
    /// A send right that may be null.
    fn send_right(&mut self, at: usize) -> Result<Option<PortId>, Code> {
        sendable(self.right(at))
    }
    /// The rights in an array.
    fn rights(&mut self, at: usize) -> Vec<Right> {
        match &mut self.carried[at] {
            Carried::Ports { rights, .. } => std::mem::take(rights),
            _ => Vec::new(),
        }
    }
    /// The memory of a descriptor. A region's is not the kernel process's to read.
    fn memory(&self, at: usize) -> Option<&'m [u8]> {
        let (_, descriptor) = message::descriptors(self.bytes).nth(at)?;
        match (&self.carried[at], descriptor.ok()?) {
            (Carried::Bytes, Descriptor::Memory { address, size, .. }) => match Place::from_raw(address)? {
                Place::Annex(from) => self.annex.get(from as usize..)?.get(..size as usize),
                _ => (size == 0).then_some(&[][..]),
            },
            _ => None,
        }
    }
}

/// A right that was moved or copied as a send right.
fn sendable(right: Right) -> Result<Option<PortId>, Code> {
    match right {
        Right::Send(port) => Ok(Some(port)),
        Right::Null => Ok(None),
        _ => Err(Code::KERN_INVALID_CAPABILITY),
    }
}

impl Core {
    /// A message to the kernel process itself.
    pub(super) fn serve_kobject(&mut self, kobject: Kobject, mut mail: Mail) {
        let caller = TaskId::from_raw(mail.sender.task);
        let mut reply = std::mem::replace(&mut mail.reply, Right::Null);
        let id = mail.id.wrapping_add(100);
        // Nobody asks in an answer of the kernel process to itself.
        if self.tasks.get(caller.0).is_none() {
            reply = Right::Null;
        }
        let result = self.call_routine(kobject, caller, &mut mail, &mut reply, id);
        self.destroy_mail(mail);
        self.answer_call(caller, reply, id, result);
    }

    fn call_routine(&mut self, kobject: Kobject, caller: TaskId, mail: &mut Mail, reply: &mut Right, id: i32) -> Result<Reply, Code> {
        let routine = table::find(mail.id).ok_or(Code::MIG_BAD_ID)?;
        let run = routine.run?;
        self.tasks.get(caller.0).ok_or(Code::KERN_INVALID_TASK)?;
        check_form(routine, mail)?;
        let task = target(routine.target, kobject)?.unwrap_or(caller);
        let Mail { bytes, annex, carried, .. } = mail;
        let arguments = arguments_at(routine).min(bytes.len());
        let mut call = Call { caller, kobject, task, args: &bytes[arguments..], bytes, annex, carried, reply, id };
        run(self, &mut call)
    }

    /// Sends an answer to who asked, if it says where to.
    fn answer_call(&mut self, caller: TaskId, to: Right, id: i32, result: Result<Reply, Code>) {
        let result = result.and_then(|reply| self.move_to_regions(caller, reply));
        let (complex, bytes, annex, carried) = reply::encode(id, result);
        let kernel = umach_abi::notify::KERNEL_ID;
        let sender = Sender { uid: kernel, gid: kernel, pid: 0, task: 0 };
        let mut mail = Mail {
            dest: Right::Null,
            reply: Right::Null,
            reply_kind: None,
            id,
            bytes,
            annex,
            carried,
            complex,
            origin: 0,
            sender,
            charge: None,
            slot: None,
            seen: None,
        };
        let payer = match &to {
            Right::Send(port) | Right::SendOnce(port) if self.alive(*port) => self.payer(*port),
            _ => None,
        };
        let actor = self.tasks.get(caller.0).map(|task| task.account);
        let rights = mail.carried.iter().map(|carried| super::send::rights_of(carried).len()).sum();
        let price = price(mail.bytes.len(), mail.annex.len(), rights);
        match (payer, actor) {
            (Some(payer), Some(actor)) if self.ledger.may_queue(payer, actor, price) => {
                mail.charge = Some(self.ledger.queue(payer, actor, price));
                mail.dest = to;
                if let Posted::Full(mail, _) = self.post(mail) {
                    self.destroy_mail(mail);
                }
            }
            _ => {
                self.discard(to);
                self.destroy_mail(mail);
            }
        }
    }

    /// One more send right to a port that the kernel process holds one to, on its way to somebody.
    pub(super) fn copy_of(&mut self, port: Option<PortId>) -> Right {
        let Some(id) = port else { return Right::Null };
        match self.ports.get_mut(id.0) {
            Some(port) => {
                port.srights += 1;
                Right::Send(id)
            }
            None => Right::Dead,
        }
    }
}

/// Where a routine's arguments begin.
fn arguments_at(routine: &Routine) -> usize {
    let descriptors: usize = routine.wants.iter().map(|want| want.size()).sum();
    let base = if routine.wants.is_empty() { HEADER } else { BASE + descriptors };
    base + if routine.has_arguments() { NDR } else { 0 }
}

/// What a server made by MIG checks before it calls the routine.
fn check_form(routine: &Routine, mail: &Mail) -> Result<(), Code> {
    let complex = !routine.wants.is_empty();
    if mail.complex != complex || mail.carried.len() != routine.wants.len() {
        return Err(Code::MIG_BAD_ARGUMENTS);
    }
    let mut size = arguments_at(routine) + routine.fixed;
    if let Some((element, most)) = routine.array {
        let count = u32_at(&mail.bytes, size - 4).ok_or(Code::MIG_BAD_ARGUMENTS)? as usize;
        if count > most {
            return Err(Code::MIG_BAD_ARGUMENTS);
        }
        size += (count * element).next_multiple_of(4);
    }
    if mail.bytes.len() != size {
        return Err(Code::MIG_BAD_ARGUMENTS);
    }
    let fits = |(want, carried): (&Want, &Carried)| match (want, carried) {
        (Want::Send, Carried::Port { kind, .. }) => *kind == RightKind::Send,
        (Want::SendOnce, Carried::Port { kind, .. }) => *kind == RightKind::SendOnce,
        (Want::Right, Carried::Port { .. }) => true,
        (Want::Sends, Carried::Ports { kind, .. }) => *kind == RightKind::Send,
        (Want::Memory, Carried::Bytes | Carried::Region(..)) => true,
        _ => false,
    };
    if routine.wants.iter().zip(&mail.carried).all(fits) { Ok(()) } else { Err(Code::MIG_TYPE_ERROR) }
}

/// The task that a message was sent to, if it is for one.
fn target(wanted: Target, kobject: Kobject) -> Result<Option<TaskId>, Code> {
    match (wanted, kobject) {
        (Target::Space | Target::Task | Target::AnyTask, Kobject::Task(task)) | (Target::AnyTask, Kobject::TaskName(task)) => {
            Ok(Some(task))
        }
        (Target::Host, Kobject::Host | Kobject::HostControl) => Ok(None),
        (Target::Clock, Kobject::Clock(_)) | (Target::Semaphore, Kobject::Semaphore(_)) => Ok(None),
        (Target::Space, _) => Err(Code::KERN_INVALID_TASK),
        _ => Err(Code::KERN_INVALID_ARGUMENT),
    }
}
