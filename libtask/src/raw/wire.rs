//! Messages in the form in which they travel: each out-of-line address is a place.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use umach_abi::limits::{ANNEX_MAX, ANNEX_THRESHOLD};
use umach_abi::message::{Descriptor, Header, Place, copy, descriptors, file_lost, round4};
use umach_abi::{Code, Name};

use super::Space;
use super::program::{Incoming, Lent, Outgoing, Program};
use crate::direct::Room;
use crate::error::Error;
use crate::exchange::Post;
use crate::files::Staged;
use crate::frame::{RawFrame, array_bytes, take_attached};
use crate::message::LEND_MAX;
use crate::task::Task;

/// A message in wire form: descriptors' addresses are places, and what they stand for is in the annex or in rooms.
#[derive(Default)]
pub(super) struct Wire {
    /// The message, then its annex.
    pub(super) bytes: Vec<u8>,
    /// How many of them are the message.
    pub(super) size: usize,
    /// Memory that is lent if the message goes over a link.
    pub(super) rooms: SmallVec<[Arc<Room>; 1]>,
    /// Regions made for this message, by name; released if it is not sent.
    pub(super) regions: SmallVec<[Name; 1]>,
    /// Open files that were written to their lane.
    pub(super) files: Vec<Staged>,
}

/// What a thread writes its messages with memory into; kept for its room.
const SCRATCH_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Wire {
    /// Keeps its room for the thread's next message.
    pub(super) fn give_back(self) {
        if self.bytes.capacity() <= SCRATCH_MAX {
            SCRATCH.set(self.bytes);
        }
    }
    pub(super) fn sent(&self) {
        self.files.iter().for_each(Staged::mark_sent);
    }
    pub(super) fn annex(&self) -> &[u8] {
        &self.bytes[self.size..]
    }
    pub(super) fn post(&self) -> Post<'_> {
        Post { bytes: &self.bytes, send_size: self.size as u32, rooms: &self.rooms }
    }
}

impl Space<'_> {
    /// Writes the message as it travels: each out-of-line address becomes a place. An address that stands for nothing becomes a place that the
    /// kernel refuses, so that Mach's rules about what is consumed then are the kernel's too. `lend`: memory may be written where it can be lent.
    pub(super) fn wire_form(&self, program: &impl Program, lend: bool, patience: Option<Duration>) -> Result<Wire, Error> {
        let mut bytes = SCRATCH.take();
        bytes.clear();
        bytes.extend_from_slice(program.message());
        let mut wire = Wire { size: bytes.len(), bytes, ..Wire::default() };
        if let Err(failed) = self.place_all(program, &mut wire, lend, patience) {
            self.drop_regions(&wire.regions);
            return Err(failed);
        }
        Ok(wire)
    }

    fn place_all(&self, program: &impl Program, wire: &mut Wire, lend: bool, patience: Option<Duration>) -> Result<(), Error> {
        let until = patience.map(|patience| Instant::now() + patience);
        const NOWHERE: u64 = Place::Annex(u32::MAX).to_raw();
        let message = program.message();
        let Some(header) = Header::read(message) else { return Ok(()) };
        // What a link can lend is plain memory and nothing else.
        let is_lent = |descriptor| matches!(descriptor, Ok(Descriptor::Memory { copy: copy::VIRTUAL, volatile: false, .. }));
        let dest = (lend && descriptors(message).all(|(_, descriptor)| is_lent(descriptor))).then_some(header.remote);
        for (at, descriptor) in descriptors(message) {
            let Ok(mut descriptor) = descriptor else { break };
            match &mut descriptor {
                Descriptor::Memory { size: 0, address, .. } => *address = Place::Null.to_raw(),
                Descriptor::Memory { address, deallocate, size, .. } => {
                    *address = match program.memory(*address, *size as usize) {
                        Some(Outgoing::Region(name)) => Place::Region(name).to_raw(),
                        Some(Outgoing::Bytes(bytes)) => {
                            let (place, moved) = self.place_bytes(bytes, wire, dest)?;
                            *deallocate |= moved;
                            place.to_raw()
                        }
                        None => NOWHERE,
                    };
                }
                Descriptor::Ports { count: 0, address, .. } => *address = Place::Null.to_raw(),
                Descriptor::Ports { address, count, .. } => {
                    let (from, count) = (wire.annex().len(), *count as usize);
                    let fits = from + 4 * count <= ANNEX_MAX;
                    *address =
                        if fits && program.names(*address, count, &mut wire.bytes) { Place::Annex(from as u32).to_raw() } else { NOWHERE };
                }
                Descriptor::File { lane, number } => {
                    let staged = match program.file(*lane) {
                        Some(file) => self.task.0.files.stage(self.task, header.remote, file, until)?,
                        None => None,
                    };
                    (*lane, *number) = staged.as_ref().map_or((0, file_lost::NOT_SENT), Staged::token);
                    wire.files.extend(staged);
                }
                _ => continue,
            }
            descriptor.write_at(&mut wire.bytes, at);
        }
        Ok(())
    }

    /// Puts bytes into the annex, or where they can be lent to whom the message is for, or into a region of their own that goes with it.
    fn place_bytes(&self, bytes: &[u8], wire: &mut Wire, dest: Option<Name>) -> Result<(Place, bool), Error> {
        let at = wire.annex().len();
        if bytes.len() <= ANNEX_THRESHOLD && at + round4(bytes.len()) <= ANNEX_MAX {
            wire.bytes.extend_from_slice(bytes);
            wire.bytes.resize(wire.size + round4(at + bytes.len()), 0);
            return Ok((Place::Annex(at as u32), false));
        }
        let room = dest.filter(|_| bytes.len() <= LEND_MAX).and_then(|dest| self.task.0.plane.copy_to_room(self.task, dest, bytes));
        if let Some(room) = room {
            wire.rooms.push(Arc::new(room));
            return Ok((Place::Lease(wire.rooms.len() as u32 - 1), false));
        }
        let name = self.task.region(bytes)?.into_right().into_raw()?;
        wire.regions.push(name);
        Ok((Place::Region(name), true))
    }

    pub(super) fn drop_regions(&self, regions: &[Name]) {
        for &name in regions {
            // Fails if the kernel has taken it.
            let _ = Space::new(self.task).port_deallocate(name);
        }
    }
}

/// The message as the program sees it: places become addresses. False if there was no room for something.
pub(super) fn from_wire(task: &Task, code: Code, frame: RawFrame<'_>, program: &mut impl Program) -> bool {
    let RawFrame { message, trailer, annex, mut attached, mut leases, .. } = frame;
    program.receive(code, [message, &[]], trailer);
    let mut all = true;
    for (at, descriptor) in descriptors(message) {
        let Ok(mut descriptor) = descriptor else { break };
        let incoming = match &descriptor {
            Descriptor::Memory { address, size, .. } => match Place::from_raw(*address) {
                Some(Place::Null) => continue,
                Some(Place::Annex(from)) => {
                    annex.get(from as usize..from as usize + *size as usize).map_or(Incoming::Lost, Incoming::Bytes)
                }
                Some(Place::Attached(n)) => {
                    take_attached(&mut attached, n).map_or(Incoming::Lost, |file| Incoming::Sealed(file, *size as u64))
                }
                Some(Place::Region(name)) => Incoming::Region(name, *size as u64),
                Some(Place::Lease(n)) => leases
                    .get_mut(n as usize)
                    .and_then(Option::take)
                    .filter(|lease| lease.memory().is_some())
                    .map_or(Incoming::Lost, |lease| Incoming::Lent(Lent(lease))),
                None => Incoming::Lost,
            },
            Descriptor::Ports { address, count, .. } if *count > 0 => {
                array_bytes(annex, *address, *count).map_or(Incoming::Lost, Incoming::Names)
            }
            Descriptor::File { lane, number } => task.0.files.claim(*lane, *number).map_or(Incoming::Lost, Incoming::File),
            _ => continue,
        };
        let placed = program.place(incoming);
        all &= placed.is_some();
        let to = placed.unwrap_or(0);
        match &mut descriptor {
            Descriptor::File { lane, .. } => *lane = to,
            Descriptor::Memory { address, size, .. } => {
                *address = to;
                *size = if placed.is_some() { *size } else { 0 };
            }
            Descriptor::Ports { address, count, .. } => {
                *address = to;
                *count = if placed.is_some() { *count } else { 0 };
            }
            _ => {}
        }
        program.describe(at, &descriptor);
    }
    all
}
