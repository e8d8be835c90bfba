//! Replies of routines.

use umach_abi::limits::ANNEX_MAX;
use umach_abi::message::{COMPLEX, Descriptor, Header, NDR, Place, copy};
use umach_abi::{Code, RightKind};

use super::super::Core;
use super::super::effect::RegionId;
use super::super::effect::TaskId;
use super::super::mail::{Carried, Right, as_received};

/// What a routine answers: descriptors, and what follows the return code.
#[derive(Debug, Default)]
pub(super) struct Reply {
    parts: Vec<Part>,
    body: Vec<u8>,
    /// 0: success.
    code: u32,
}

#[derive(Debug)]
enum Part {
    Port(Right, RightKind),
    Memory(Vec<u8>),
    /// The same as a region: its right, and how many bytes.
    Region(Right, RegionId, u32),
    Sends(Vec<Right>),
}

impl Reply {
    /// Nothing but success.
    pub(super) fn done() -> Result<Reply, Code> {
        Ok(Reply::default())
    }
    /// One that has a code other than success and words behind it.
    pub(super) fn of(code: Code) -> Reply {
        Reply { code: code.0, ..Reply::default() }
    }
    pub(super) fn word(mut self, word: u32) -> Reply {
        self.body.extend_from_slice(&word.to_le_bytes());
        self
    }
    pub(super) fn long(mut self, long: u64) -> Reply {
        self.body.extend_from_slice(&long.to_le_bytes());
        self
    }
    /// Bytes without a count, a multiple of 4 of them.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Reply {
        debug_assert!(bytes.len().is_multiple_of(4));
        self.body.extend_from_slice(bytes);
        self
    }
    /// An array of words.
    pub(super) fn words(self, bytes: &[u8]) -> Reply {
        self.word((bytes.len() / 4) as u32).bytes(bytes)
    }
    /// An array of characters.
    pub(super) fn chars(self, bytes: &[u8]) -> Reply {
        let mut reply = self.word(bytes.len() as u32);
        reply.body.extend_from_slice(bytes);
        reply.body.resize(reply.body.len().next_multiple_of(4), 0);
        reply
    }
    /// A string that may be shorter than its type: an offset, the length with the zero behind it, and the characters.
    pub(super) fn string(self, text: &str) -> Reply {
        let mut text = text.as_bytes().to_vec();
        text.push(0);
        self.word(0).chars(&text)
    }
    pub(super) fn port(mut self, right: Right, kind: RightKind) -> Reply {
        self.parts.push(Part::Port(right, kind));
        self
    }
    pub(super) fn send(self, right: Right) -> Reply {
        self.port(right, RightKind::Send)
    }
    pub(super) fn memory(mut self, bytes: Vec<u8>) -> Reply {
        self.parts.push(Part::Memory(bytes));
        self
    }
    pub(super) fn sends(mut self, rights: Vec<Right>) -> Reply {
        self.parts.push(Part::Sends(rights));
        self
    }
}

/// The most bytes of memory in one reply: the kernel process does nothing else while it writes them.
const MEMORY_MAX: usize = 4 << 20;

/// Whether memory of this size goes into one reply.
pub(super) fn fits(bytes: usize) -> Result<(), Code> {
    if bytes <= MEMORY_MAX { Ok(()) } else { Err(Code::KERN_RESOURCE_SHORTAGE) }
}

impl Core {
    /// Memory that is too much for the packet becomes regions, which who asks pays for until it has received them.
    pub(super) fn move_to_regions(&mut self, caller: TaskId, mut reply: Reply) -> Result<Reply, Code> {
        let size = |part: &Part| if let Part::Memory(memory) = part { memory.len() } else { 0 };
        // A port array is small, and so is what alignment adds.
        if reply.parts.iter().map(size).sum::<usize>() <= ANNEX_MAX {
            return Ok(reply);
        }
        for at in 0..reply.parts.len() {
            let Part::Memory(memory) = &mut reply.parts[at] else { continue };
            if memory.is_empty() {
                continue;
            }
            let memory = std::mem::take(memory);
            let size = memory.len() as u32;
            match self.filled_region(caller, memory) {
                Some((right, region)) => reply.parts[at] = Part::Region(right, region, size),
                None => {
                    reply.parts.into_iter().for_each(|part| self.drop_part(part));
                    return Err(Code::KERN_RESOURCE_SHORTAGE);
                }
            }
        }
        Ok(reply)
    }

    fn drop_part(&mut self, part: Part) {
        match part {
            Part::Port(right, _) | Part::Region(right, ..) => self.discard(right),
            Part::Sends(rights) => rights.into_iter().for_each(|right| self.discard(right)),
            Part::Memory(_) => {}
        }
    }
}

/// Whether the message is complex, its bytes, its annex, and what it carries.
pub(super) fn encode(id: i32, result: Result<Reply, Code>) -> (bool, Vec<u8>, Vec<u8>, Vec<Carried>) {
    let Reply { parts, body, code } = result.unwrap_or_else(Reply::of);
    let complex = !parts.is_empty();
    let mut bytes = Header { bits: if complex { COMPLEX } else { 0 }, id, ..Header::default() }.to_bytes().to_vec();
    let (mut annex, mut carried) = (Vec::new(), Vec::with_capacity(parts.len()));
    if complex {
        bytes.extend_from_slice(&(parts.len() as u32).to_le_bytes());
    }
    for part in parts {
        let at = annex.len() as u32;
        let (descriptor, part) = match part {
            Part::Port(right, kind) => {
                let descriptor = Descriptor::Port { name: umach_abi::Name::NULL, disposition: as_received(kind) };
                (descriptor, Carried::Port { right, kind })
            }
            Part::Memory(memory) => {
                annex.extend_from_slice(&memory);
                let address = if memory.is_empty() { Place::Null } else { Place::Annex(at) }.to_raw();
                let size = memory.len() as u32;
                (Descriptor::Memory { address, deallocate: true, copy: copy::VIRTUAL, size, volatile: false }, Carried::Bytes)
            }
            Part::Region(right, region, size) => {
                let (address, copy) = (Place::Null.to_raw(), copy::VIRTUAL);
                (Descriptor::Memory { address, deallocate: true, copy, size, volatile: false }, Carried::Region(right, region))
            }
            Part::Sends(rights) => {
                let (kind, count) = (RightKind::Send, rights.len() as u32);
                annex.resize(annex.len() + 4 * rights.len(), 0);
                let (address, disposition) = (Place::Annex(at).to_raw(), as_received(kind));
                (
                    Descriptor::Ports { address, deallocate: true, copy: copy::VIRTUAL, disposition, count },
                    Carried::Ports { rights, kind, at },
                )
            }
        };
        descriptor.push(&mut bytes);
        carried.push(part);
    }
    if !complex || !body.is_empty() {
        bytes.extend_from_slice(&NDR);
    }
    if !complex {
        bytes.extend_from_slice(&code.to_le_bytes());
    }
    bytes.extend_from_slice(&body);
    (complex, bytes, annex, carried)
}
