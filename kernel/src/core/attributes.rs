//! Attributes of receive rights: status, limits, counts, guards, context, and a look at the queue.

use umach_abi::control::answer;
use umach_abi::limits::QLIMIT_MAX;
use umach_abi::message::{Trailer, TrailerRequest, u32_at};
use umach_abi::rights::flavor;
use umach_abi::{Code, Name};

use super::Core;
use super::effect::TaskId;

/// `mach_port_status_t.mps_flags`.
mod status_flags {
    pub(super) const GUARDED: u32 = 0x02;
    pub(super) const STRICT_GUARD: u32 = 0x04;
    pub(super) const GUARD_IMMOVABLE_RECEIVE: u32 = 0x40;
}

/// Flags of `PortGuard`.
mod guard_options {
    pub(super) const STRICT: u32 = 1;
    pub(super) const IMMOVABLE_RECEIVE: u32 = 2;
}

/// What `PortPeek` saw.
pub(super) struct Peeked {
    pub(super) seqno: u32,
    pub(super) size: u32,
    pub(super) id: i32,
    pub(super) trailer: Vec<u8>,
}

impl Core {
    pub(super) fn port_get_attributes(&mut self, task: TaskId, name: Name, which: u32) -> Result<Vec<u8>, Code> {
        if which == flavor::DNREQUESTS_SIZE {
            let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
            let port = entry.port().ok_or(Code::KERN_INVALID_RIGHT)?;
            let size = self.ports[port.0].watches.as_ref().map_or(0, |watches| watches.requests.len() as u32);
            return Ok(size.to_le_bytes().to_vec());
        }
        let id = self.receive_right(task, name)?;
        let port = &self.ports[id.0];
        match which {
            flavor::LIMITS_INFO => Ok(port.qlimit.to_le_bytes().to_vec()),
            flavor::RECEIVE_STATUS => Ok(self.status(id)),
            flavor::INFO_EXT => {
                let mut bytes = self.status(id);
                bytes.resize(68, 0);
                Ok(bytes)
            }
            flavor::GUARD_INFO => {
                let guard = if port.guarded && !port.strict { port.context } else { 0 };
                Ok(guard.to_le_bytes().to_vec())
            }
            flavor::TEMPOWNER | flavor::IMPORTANCE_RECEIVER | flavor::DENAP_RECEIVER | flavor::SERVICE_THROTTLED => Ok(vec![0; 4]),
            _ => Err(Code::KERN_INVALID_ARGUMENT),
        }
    }

    /// `mach_port_status_t`.
    fn status(&self, id: super::port::PortId) -> Vec<u8> {
        let port = &self.ports[id.0];
        let watches = port.watches.as_ref();
        let mut flags = 0;
        for (on, flag) in [
            (port.guarded, status_flags::GUARDED),
            (port.strict, status_flags::STRICT_GUARD),
            (port.immovable, status_flags::GUARD_IMMOVABLE_RECEIVE),
        ] {
            flags |= if on { flag } else { 0 };
        }
        [
            u32::from(port.sets.iter().any(|set| self.sets.get(set.0).is_some())),
            port.seqno,
            port.mscount,
            port.qlimit,
            port.queue.len() as u32,
            port.sorights,
            u32::from(port.srights > 0),
            u32::from(watches.is_some_and(|w| w.destroyed.is_some())),
            u32::from(watches.is_some_and(|w| w.no_senders.is_some())),
            flags,
        ]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect()
    }

    pub(super) fn port_set_attributes(
        &mut self,
        task: TaskId,
        name: Name,
        which: u32,
        info: &[u8],
    ) -> Result<answer::PortSetAttributes, Code> {
        match which {
            flavor::LIMITS_INFO => {
                let qlimit = u32_at(info, 0).ok_or(Code::KERN_FAILURE)?;
                let port = self.receive_right(task, name)?;
                if qlimit > QLIMIT_MAX {
                    return Err(Code::KERN_INVALID_VALUE);
                }
                self.recall_if_routed(port);
                self.ports[port.0].qlimit = qlimit;
                self.refill(port);
                self.pump(port);
            }
            flavor::DNREQUESTS_SIZE => {
                u32_at(info, 0).ok_or(Code::KERN_FAILURE)?;
                self.receive_right(task, name)?;
            }
            flavor::TEMPOWNER | flavor::IMPORTANCE_RECEIVER | flavor::DENAP_RECEIVER => {
                self.receive_right(task, name)?;
            }
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        }
        Ok(answer::PortSetAttributes {})
    }

    /// `mach_port_assert_attributes`: that the port is strictly guarded with this guard.
    pub(super) fn port_assert_attributes(
        &mut self,
        task: TaskId,
        name: Name,
        which: u32,
        info: &[u8],
    ) -> Result<answer::PortAssertAttributes, Code> {
        if which != flavor::GUARD_INFO {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let guard = info.first_chunk().map(|guard| u64::from_le_bytes(*guard)).ok_or(Code::KERN_FAILURE)?;
        let id = self.receive_right(task, name)?;
        let port = &self.ports[id.0];
        if port.guarded && port.strict && port.context == guard {
            Ok(answer::PortAssertAttributes {})
        } else {
            Err(Code::KERN_INVALID_ARGUMENT)
        }
    }

    pub(super) fn port_set_mscount(&mut self, task: TaskId, name: Name, count: u32) -> Result<answer::PortSetMscount, Code> {
        let port = self.receive_right(task, name)?;
        self.ports[port.0].mscount = count;
        Ok(answer::PortSetMscount {})
    }

    pub(super) fn port_set_seqno(&mut self, task: TaskId, name: Name, seqno: u32) -> Result<answer::PortSetSeqno, Code> {
        let port = self.receive_right(task, name)?;
        self.recall_if_routed(port);
        self.ports[port.0].seqno = seqno;
        Ok(answer::PortSetSeqno {})
    }

    pub(super) fn port_guard(&mut self, task: TaskId, name: Name, guard: u64, flags: u32) -> Result<answer::PortGuard, Code> {
        if flags & !(guard_options::STRICT | guard_options::IMMOVABLE_RECEIVE) != 0 {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let id = self.receive_right(task, name)?;
        let port = &mut self.ports[id.0];
        // The guard lives in the context, so a port with a context cannot be guarded.
        if port.guarded || port.context != 0 {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        port.context = guard;
        port.guarded = true;
        port.strict = flags & guard_options::STRICT != 0;
        port.immovable |= flags & guard_options::IMMOVABLE_RECEIVE != 0;
        self.recall_if_routed(id);
        Ok(answer::PortGuard {})
    }

    pub(super) fn port_unguard(&mut self, task: TaskId, name: Name, guard: u64) -> Result<answer::PortUnguard, Code> {
        let id = self.receive_right(task, name)?;
        let port = &mut self.ports[id.0];
        if !port.guarded || port.context != guard {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        (port.guarded, port.strict, port.immovable, port.context) = (false, false, false, 0);
        self.recall_if_routed(id);
        Ok(answer::PortUnguard {})
    }

    pub(super) fn port_swap_guard(&mut self, task: TaskId, name: Name, old: u64, new: u64) -> Result<answer::PortSwapGuard, Code> {
        let id = self.receive_right(task, name)?;
        let port = &mut self.ports[id.0];
        if !port.guarded || port.context != old {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        port.context = new;
        self.recall_if_routed(id);
        Ok(answer::PortSwapGuard {})
    }

    pub(super) fn port_get_context(&mut self, task: TaskId, name: Name) -> Result<answer::PortGetContext, Code> {
        let port = self.receive_right(task, name)?;
        let port = &self.ports[port.0];
        // A strict guard is a secret: it is not shown.
        Ok(answer::PortGetContext { context: if port.strict { 0 } else { port.context } })
    }

    pub(super) fn port_set_context(&mut self, task: TaskId, name: Name, context: u64) -> Result<answer::PortSetContext, Code> {
        let id = self.receive_right(task, name)?;
        let port = &mut self.ports[id.0];
        if port.strict && port.context != context {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        port.context = context;
        self.recall_if_routed(id);
        Ok(answer::PortSetContext {})
    }

    pub(super) fn port_peek(&mut self, task: TaskId, name: Name, options: u32, seqno: u32) -> Result<Peeked, Code> {
        let trailer = TrailerRequest::from_options(options).ok_or(Code::KERN_INVALID_VALUE)?;
        let id = self.receive_right(task, name)?;
        let port = &self.ports[id.0];
        let at = if seqno == 0 { 0 } else { seqno.wrapping_sub(port.seqno) as usize };
        let mail = port.queue.get(at).ok_or(Code::KERN_FAILURE)?;
        let mail = &self.mails[mail.0];
        let s = &mail.sender;
        let facts =
            Trailer { seqno: port.seqno.wrapping_add(at as u32), uid: s.uid, gid: s.gid, pid: s.pid, task: s.task, context: port.context };
        let mut bytes = Vec::new();
        facts.write(trailer, &mut bytes);
        // XNU counts the minimal trailer into the size.
        let size = (mail.bytes.len() + TrailerRequest::Null.size()) as u32;
        Ok(Peeked { seqno: facts.seqno, size, id: mail.id, trailer: bytes })
    }
}
