//! Subsystem `semaphore` (617200).

use umach_abi::Code;

use super::super::Core;
use super::super::mail::{Carried, Right};
use super::super::port::Kobject;
use super::super::semaphore::{SemaphoreId, Signal};
use super::Call;
use super::reply::Reply;
use super::routine::Routine;
use super::routine::Target::Semaphore;

/// In XNU's order. Waiting is a request of the control protocol only, as it is a trap in XNU: a thread waits, and not a message.
pub(super) const ROUTINES: &[Routine] = &[
    Routine::new(617_200, "semaphore_signal", Semaphore, 0, |core, call| {
        let semaphore = call.semaphore()?;
        core.signal_semaphore(semaphore, Signal::One).and_then(|()| Reply::done())
    }),
    Routine::new(617_201, "semaphore_signal_all", Semaphore, 0, |core, call| {
        let semaphore = call.semaphore()?;
        core.signal_semaphore(semaphore, Signal::All).and_then(|()| Reply::done())
    }),
    Routine::unserved(617_202, "semaphore_wait"),
    Routine::unserved(617_203, "semaphore_signal_thread"),
    Routine::unserved(617_204, "semaphore_timedwait"),
    Routine::unserved(617_205, "semaphore_wait_signal"),
    Routine::unserved(617_206, "semaphore_timedwait_signal"),
];

impl Call<'_> {
    /// The semaphore that the message was sent to.
    fn semaphore(&self) -> Result<SemaphoreId, Code> {
        match self.kobject {
            Kobject::Semaphore(id) => Ok(id),
            _ => Err(Code::KERN_INVALID_ARGUMENT),
        }
    }

    /// The semaphore of a descriptor; its right stays with the message.
    pub(super) fn semaphore_at(&self, core: &Core, at: usize) -> Result<SemaphoreId, Code> {
        let Carried::Port { right: Right::Send(port), .. } = &self.carried[at] else { return Err(Code::KERN_INVALID_ARGUMENT) };
        match core.ports.get(port.0).and_then(|port| port.kobject()) {
            Some(Kobject::Semaphore(id)) => Ok(id),
            _ => Err(Code::KERN_INVALID_ARGUMENT),
        }
    }
}
