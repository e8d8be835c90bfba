//! The rights, memories and files that a message carries, each taken out once.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;

use umach_abi::rights::received;
use umach_abi::{Name, RightKind};

use super::Received;
use crate::direct::Borrowed;
use crate::error::{Error, Result};
use crate::files::{Lost, Unclaimed};
use crate::lease::Lease;
use crate::receive::ReceiveRight;
use crate::region::{Memory, Region, SharedRegion};
use crate::right::{SendOnceRight, SendRight};
use crate::task::Task;

/// One slot of a received message.
pub(super) enum Slot {
    Null,
    Dead,
    Send(SendRight),
    SendOnce(SendOnceRight),
    Receive(ReceiveRight),
    Array(Vec<Slot>),
    Bytes(Vec<u8>),
    Mapped {
        file: File,
        len: u32,
    },
    Lent(Borrowed),
    /// Memory whose descriptor did not fit into this process's table.
    Lost,
    File(Unclaimed),
    FileLost(Lost),
    Taken,
}

/// A right as a part of a message.
pub(super) fn right_slot(task: &Task, name: Name, disposition: u8) -> Slot {
    match (name, disposition) {
        (Name::NULL, _) => Slot::Null,
        (Name::DEAD, _) => Slot::Dead,
        (_, received::RECEIVE) => Slot::Receive(ReceiveRight::adopt(task, name)),
        (_, received::SEND_ONCE) => Slot::SendOnce(SendOnceRight::adopt(task, name)),
        _ => Slot::Send(SendRight::adopt(task, name)),
    }
}

impl Received {
    /// How many rights and memories it carries.
    pub fn parts(&self) -> usize {
        self.inner.slots.len()
    }
    /// What kind of right is at index `i`: `DeadName` if its port died on the way, `None` if there is none (memory, null, taken).
    pub fn right_kind(&self, i: usize) -> Option<RightKind> {
        match self.inner.slots.get(i)? {
            Slot::Send(_) => Some(RightKind::Send),
            Slot::SendOnce(_) => Some(RightKind::SendOnce),
            Slot::Receive(_) => Some(RightKind::Receive),
            Slot::Dead => Some(RightKind::DeadName),
            _ => None,
        }
    }
    /// Takes the send right at index `i`.
    pub fn take_send(&mut self, i: usize) -> Result<SendRight> {
        match self.take(i, "a send right", |slot| matches!(slot, Slot::Send(_)))? {
            Slot::Send(right) => Ok(right),
            _ => unreachable!("checked by take"),
        }
    }
    /// Takes the send-once right at index `i`.
    pub fn take_send_once(&mut self, i: usize) -> Result<SendOnceRight> {
        match self.take(i, "a send-once right", |slot| matches!(slot, Slot::SendOnce(_)))? {
            Slot::SendOnce(right) => Ok(right),
            _ => unreachable!("checked by take"),
        }
    }
    /// Takes the receive right at index `i`.
    pub fn take_receive(&mut self, i: usize) -> Result<ReceiveRight> {
        match self.take(i, "a receive right", |slot| matches!(slot, Slot::Receive(_)))? {
            Slot::Receive(right) => Ok(right),
            _ => unreachable!("checked by take"),
        }
    }
    /// Takes the array of send rights at index `i`; `None` where a port died on the way.
    pub fn take_rights(&mut self, i: usize) -> Result<Vec<Option<SendRight>>> {
        let sends = |slot: &Slot| match slot {
            Slot::Array(slots) => slots.iter().all(|slot| matches!(slot, Slot::Send(_) | Slot::Dead | Slot::Null)),
            _ => false,
        };
        match self.take(i, "an array of send rights", sends)? {
            Slot::Array(slots) => Ok(slots
                .into_iter()
                .map(|slot| match slot {
                    Slot::Send(right) => Some(right),
                    _ => None,
                })
                .collect()),
            _ => unreachable!("checked by take"),
        }
    }
    /// Takes the memory at index `i`, to have it as bytes that nobody else can change: mapped if it is a region, copied if it is lent.
    pub fn memory(&mut self, i: usize) -> Result<Memory> {
        match self.take_memory(i)? {
            Slot::Bytes(bytes) => Ok(Memory::from_bytes(bytes)),
            Slot::Mapped { file, len } => Memory::from_sealed(&file, len as u64),
            Slot::Lent(lease) => Ok(Memory::from_bytes(lease.to_vec().expect("mapped, or it would be lost"))),
            _ => unreachable!("checked by take"),
        }
    }
    /// Takes the memory at index `i`, to read it where it is. See [`Lease`] for what that means.
    pub fn take_lease(&mut self, i: usize) -> Result<Lease> {
        match self.take_memory(i)? {
            Slot::Bytes(bytes) => Ok(Lease::own(Memory::from_bytes(bytes))),
            Slot::Mapped { file, len } => Memory::from_sealed(&file, len as u64).map(Lease::own),
            Slot::Lent(lease) => Ok(Lease::lent(lease)),
            _ => unreachable!("checked by take"),
        }
    }
    fn take_memory(&mut self, i: usize) -> Result<Slot> {
        if let Some(Slot::Lost) = self.inner.slots.get(i) {
            return Err(Error::Memory {
                why: "its file descriptor did not arrive: this process's table is full (see umach doctor)".into(),
            });
        }
        self.take(i, "memory", |slot| matches!(slot, Slot::Bytes(_) | Slot::Mapped { .. } | Slot::Lent(_)))
    }
    /// Takes the open file at index `i`, with a descriptor that is this process's own (close-on-exec). It is a stranger's: what reading, closing or
    /// even looking at it does depends on what it is, and a file that its sender serves may never answer.
    ///
    /// [`Error::File`] says why there is none: the message came to another task than it was sent to, or this process had no descriptor left.
    pub fn take_file(&mut self, i: usize) -> Result<OwnedFd> {
        if let Some(Slot::FileLost(lost)) = self.inner.slots.get(i) {
            return Err(Error::File { why: lost.why() });
        }
        match self.take(i, "an open file", |slot| matches!(slot, Slot::File(_)))? {
            Slot::File(file) => Ok(file.take()),
            _ => unreachable!("checked by take"),
        }
    }
    /// Takes the right to a sealed region at index `i`.
    pub fn take_region(&mut self, i: usize) -> Result<Region> {
        Region::from_right(self.take_send(i)?)
    }
    /// Takes the right to a shared region at index `i`, and maps it.
    pub fn take_shared_region(&mut self, i: usize) -> Result<SharedRegion> {
        SharedRegion::from_right(self.take_send(i)?)
    }
    fn take(&mut self, index: usize, wanted: &'static str, fits: impl Fn(&Slot) -> bool) -> Result<Slot> {
        let found = match self.inner.slots.get_mut(index) {
            Some(slot) if fits(slot) => return Ok(std::mem::replace(slot, Slot::Taken)),
            Some(slot) => slot.name(),
            None => "absent",
        };
        Err(Error::Part { id: self.inner.header.id, index, found, wanted })
    }
}

impl Slot {
    fn name(&self) -> &'static str {
        match self {
            Slot::Null => "a null right",
            Slot::Dead => "a right whose port died on the way",
            Slot::Send(_) => "a send right",
            Slot::SendOnce(_) => "a send-once right",
            Slot::Receive(_) => "a receive right",
            Slot::Array(_) => "an array of rights",
            Slot::Bytes(_) | Slot::Mapped { .. } | Slot::Lent(_) => "memory",
            Slot::File(_) => "an open file",
            Slot::FileLost(_) => "an open file that did not come",
            Slot::Lost => "memory that could not be delivered",
            Slot::Taken => "taken already",
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Send(right) => right.fmt(f),
            Slot::SendOnce(right) => right.fmt(f),
            Slot::Receive(right) => right.fmt(f),
            Slot::Array(slots) => write!(f, "{slots:?}"),
            Slot::Bytes(bytes) => write!(f, "memory of {} bytes", bytes.len()),
            Slot::Mapped { len, .. } => write!(f, "memory of {len} bytes in a region"),
            Slot::Lent(lease) => write!(f, "memory of {} bytes, lent", lease.len()),
            other => f.write_str(other.name()),
        }
    }
}
