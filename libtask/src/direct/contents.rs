//! Messages with memory that go over a link: from the form in which they were to be sent to a record's payload, and from there to what a receiver
//! sees, or to mail if the kernel process must have them after all.

use std::sync::Arc;

use smallvec::SmallVec;
use umach_abi::Name;
use umach_abi::limits::{ANNEX_MAX, ANNEX_THRESHOLD, ATTACH_MAX, MESSAGE_MAX};
use umach_abi::link::lease::{HEAD, ROW};
use umach_abi::message::{BASE, Descriptor, HEADER, Header, Place, copy, descriptors, round4};
use umach_abi::records::violation;
use umach_link::Evidence;
use umach_link::lease::{self, Lent, Payload, Piece, ReadError};

use super::Plane;
use super::borrow::Borrowed;
use super::lend::{Pledge, Room};
use super::link::Link;
use super::replies::Owed;
use crate::error::Result;
use crate::exchange::Post;
use crate::region::Region;
use crate::task::Task;

/// From so many bytes on it takes longer to copy them than to wake somebody: a receiver that sleeps is woken first, and is awake when they are there.
const KNOCK_MIN: usize = 64 << 10;

/// A message that is ready to go over a link.
pub(crate) struct Lending {
    pub(super) payload: Vec<u8>,
    pub(super) pledge: Pledge,
    /// In the order of the leases.
    rooms: SmallVec<[Arc<Room>; 2]>,
}

impl Plane {
    /// Makes a payload of at most `room` bytes of a message without rights, whose memory, and body if it is too long, is lent. `None` if that cannot be,
    /// and the kernel process must have it.
    pub(crate) fn lend(&self, task: &Task, header: &Header, post: Post<'_>, room: usize) -> Option<Lending> {
        let link = &self.link_to(header.remote)?;
        let message = &post.bytes[..post.send_size as usize];
        if message.len() > MESSAGE_MAX || message.len() < HEADER || !message.len().is_multiple_of(4) || header.voucher_disposition() != 0 {
            return None;
        }
        let (memory, body) = memories(message, header, post)?;
        let mut left = room.checked_sub(HEAD + ROW * (memory.len() + 1))?;
        // The body first: it is there in most messages, and short.
        let lent_body = body.len() > left;
        left -= if lent_body { 0 } else { body.len() };
        let mut rooms: SmallVec<[Arc<Room>; 2]> = SmallVec::new();
        let mut pieces: SmallVec<[Option<&[u8]>; 2]> = SmallVec::new();
        for one in memory {
            let bytes: &[u8] = match one {
                Source::Bytes(bytes) => bytes,
                Source::Room(room) if room.is_of(link) => {
                    rooms.push(room.clone());
                    pieces.push(None);
                    continue;
                }
                Source::Room(room) => &room.block,
            };
            if round4(bytes.len()) <= left {
                left -= round4(bytes.len());
                pieces.push(Some(bytes));
            } else {
                rooms.push(self.filled(task, link, bytes)?);
                pieces.push(None);
            }
        }
        if lent_body {
            rooms.push(self.filled(task, link, body)?);
        }
        let pledge = Pledge::new(link, &rooms)?;
        let mut leases = pledge.lent.iter().copied();
        let mut next = || leases.next().expect("a lease for each room");
        let pieces = pieces.into_iter().map(|inline| inline.map_or_else(|| Piece::Lent(next()), Piece::Inline)).collect();
        let lent_body = lent_body.then(&mut next);
        let parts = Payload { pieces, body: if lent_body.is_some() { &[] } else { body }, lent_body };
        let mut payload = Vec::with_capacity(room - left);
        lease::write(&parts, &mut payload);
        Some(Lending { payload, pledge, rooms })
    }

    /// The link over which messages to this right, or the answer that this right is for, go now.
    pub(super) fn link_to(&self, name: Name) -> Option<Arc<Link>> {
        if !self.is_active() {
            return None;
        }
        self.owed_over(name).or_else(|| self.route(name).map(|route| route.link.clone()))
    }

    /// Room that messages to this right, or the answer that this right is for, can lend.
    pub(crate) fn room_for(&self, task: &Task, name: Name, len: usize) -> Option<Room> {
        self.room(task, &self.link_to(name)?, len)
    }

    /// Room that the answer which is owed can lend.
    pub(crate) fn room_for_answer(&self, task: &Task, owed: &Owed, len: usize) -> Option<Room> {
        self.room(task, owed.link(), len)
    }

    /// The same with these bytes in it.
    pub(crate) fn copy_to_room(&self, task: &Task, name: Name, bytes: &[u8]) -> Option<Room> {
        let link = self.link_to(name)?;
        let mut room = self.room(task, &link, bytes.len())?;
        if bytes.len() >= KNOCK_MIN {
            link.knock();
        }
        room.block.copy_from_slice(bytes);
        Some(room)
    }

    fn filled(&self, task: &Task, link: &Arc<Link>, bytes: &[u8]) -> Option<Arc<Room>> {
        let mut room = self.room(task, link, bytes.len())?;
        room.block.copy_from_slice(bytes);
        Some(Arc::new(room))
    }
}

/// Bytes of a message.
enum Source<'p> {
    Bytes(&'p [u8]),
    Room(&'p Arc<Room>),
}

/// The memory and the body of a message that carries nothing else. `None` if it does, or is malformed, or asks for more than a link can say.
fn memories<'p>(message: &'p [u8], header: &Header, post: Post<'p>) -> Option<(SmallVec<[Source<'p>; 2]>, &'p [u8])> {
    let annex = &post.bytes[post.send_size as usize..];
    let mut memory = SmallVec::new();
    if !header.is_complex() {
        return Some((memory, &message[HEADER..]));
    }
    let mut body = BASE;
    for (at, descriptor) in descriptors(message) {
        let Ok(descriptor @ Descriptor::Memory { address, size, copy: copy::VIRTUAL, volatile: false, .. }) = descriptor else {
            return None;
        };
        let len = size as usize;
        memory.push(match Place::from_raw(address)? {
            _ if len == 0 => Source::Bytes(&[]),
            Place::Annex(at) => Source::Bytes(annex.get(at as usize..)?.get(..len)?),
            Place::Lease(n) => Source::Room(post.rooms.get(n as usize).filter(|room| room.block.len() == len)?),
            _ => return None,
        });
        body = at + descriptor.size();
    }
    (1..=ATTACH_MAX).contains(&memory.len()).then_some((memory, message.get(body..)?))
}

/// A message with memory, its leases as `L`.
#[derive(Debug)]
pub(crate) struct Contents<L> {
    parts: SmallVec<[Part<L>; 1]>,
    body: SmallVec<[u8; 96]>,
    lent_body: Option<L>,
}

#[derive(Debug)]
enum Part<L> {
    Inline(Vec<u8>),
    Lent(L, u32),
}

impl<L> Contents<L> {
    fn new(payload: &Payload<'_>, mut lease: impl FnMut(Lent) -> L) -> Contents<L> {
        let parts = payload.pieces.iter().map(|piece| match *piece {
            Piece::Inline(bytes) => Part::Inline(bytes.to_vec()),
            Piece::Lent(lent) => Part::Lent(lease(lent), lent.len),
        });
        Contents { parts: parts.collect(), body: SmallVec::from_slice(payload.body), lent_body: payload.lent_body.map(&mut lease) }
    }
    pub(crate) fn is_complex(&self) -> bool {
        !self.parts.is_empty()
    }
}

impl Contents<Borrowed> {
    /// Reads a payload that came over a link. `answer`: as an answer.
    pub(super) fn read(link: &Link, payload: &[u8], answer: bool) -> Result<Contents<Borrowed>, ReadError> {
        let payload = lease::read(payload, MESSAGE_MAX - HEADER, |arena| link.lent_here.size_of(arena))?;
        let body = payload.lent_body.map_or(payload.body.len(), |lent| lent.len as usize);
        let fixed = if payload.pieces.is_empty() { HEADER } else { BASE + 16 * payload.pieces.len() };
        if payload.pieces.len() > ATTACH_MAX || fixed + body > MESSAGE_MAX {
            return Err(ReadError::Broken(Evidence { rule: violation::LEASE, found: (fixed + body) as u64, expected: MESSAGE_MAX as u64 }));
        }
        Ok(Contents::new(&payload, |lent| Borrowed::take(link, lent, answer)))
    }
    /// Bytes of the Mach message.
    pub(super) fn size(&self) -> usize {
        let body = self.lent_body.as_ref().map_or(self.body.len(), Borrowed::len);
        if self.is_complex() { BASE + 16 * self.parts.len() + body } else { HEADER + body }
    }
    /// The Mach message, header still blank, its annex, and its leases.
    pub(super) fn into_message(self) -> (SmallVec<[u8; 128]>, Vec<u8>, Vec<Option<Borrowed>>) {
        let (mut annex, mut leases) = (Vec::new(), Vec::new());
        let Contents { parts, body, lent_body } = self;
        let places = parts.into_iter().map(|part| match part {
            Part::Inline(bytes) => (push_annex(&mut annex, &bytes), bytes.len() as u32),
            Part::Lent(lease, len) => {
                leases.push(Some(lease));
                (Place::Lease(leases.len() as u32 - 1), len)
            }
        });
        let mut message = described(places);
        message.extend_from_slice(&body);
        if let Some(lent) = lent_body
            && let Some((memory, at)) = lent.memory()
        {
            let start = message.len();
            message.resize(start + lent.len(), 0);
            memory.read(at, &mut message[start..]);
        }
        (message, annex, leases)
    }
    /// The body is in memory that could not be mapped.
    pub(super) fn is_lost(&self) -> bool {
        self.lent_body.as_ref().is_some_and(|lent| lent.memory().is_none())
    }
    /// What the kernel process can take; `None` if some of it could not be mapped here.
    pub(super) fn into_mail(self, task: &Task) -> Result<Option<ForKernel>> {
        self.with_bytes(task, Borrowed::to_vec)
    }
}

impl Contents<std::sync::Weak<Room>> {
    /// What is kept of a message that goes over a link.
    pub(super) fn kept(lending: &Lending) -> Contents<std::sync::Weak<Room>> {
        let payload = lease::read(&lending.payload, MESSAGE_MAX, |_| Some(u64::MAX)).expect("what was just written");
        let mut rooms = lending.rooms.iter();
        Contents::new(&payload, |_| Arc::downgrade(rooms.next().expect("a room for each lease")))
    }
    /// What the kernel process can take; `None` if some of it has come back, so that the message had been received.
    pub(super) fn into_mail(self, task: &Task) -> Result<Option<ForKernel>> {
        self.with_bytes(task, |room| room.upgrade().map(|room| room.block.to_vec()))
    }
}

impl<L> Contents<L> {
    fn with_bytes(self, task: &Task, bytes_of: impl Fn(&L) -> Option<Vec<u8>>) -> Result<Option<ForKernel>> {
        let Contents { parts, mut body, lent_body } = self;
        if let Some(lent) = &lent_body {
            let Some(bytes) = bytes_of(lent) else { return Ok(None) };
            body = SmallVec::from_vec(bytes);
        }
        let mut mail = ForKernel::default();
        let mut places: SmallVec<[(Place, u32); 2]> = SmallVec::new();
        for part in &parts {
            let taken;
            let bytes = match part {
                Part::Inline(bytes) => bytes,
                Part::Lent(lease, _) => {
                    let Some(bytes) = bytes_of(lease) else { return Ok(None) };
                    taken = bytes;
                    &taken
                }
            };
            places.push((mail.place(task, bytes)?, bytes.len() as u32));
        }
        mail.message = described(places.into_iter());
        mail.message.extend_from_slice(&body);
        mail.is_complex = !parts.is_empty();
        Ok(Some(mail))
    }
}

/// A message that the kernel process can take.
#[derive(Default)]
pub(crate) struct ForKernel {
    /// Header still blank.
    pub(super) message: SmallVec<[u8; 128]>,
    pub(super) is_complex: bool,
    pub(crate) annex: Vec<u8>,
    /// What its bytes became that are too many for the annex: they go with it.
    pub(crate) regions: Vec<Region>,
}

impl ForKernel {
    /// Puts bytes where the kernel process finds them.
    pub(crate) fn place(&mut self, task: &Task, bytes: &[u8]) -> Result<Place> {
        if bytes.len() <= ANNEX_THRESHOLD && self.annex.len() + round4(bytes.len()) <= ANNEX_MAX {
            return Ok(push_annex(&mut self.annex, bytes));
        }
        let region = task.region(bytes)?;
        let name = region.right().name();
        self.regions.push(region);
        Ok(Place::Region(name))
    }
    /// The kernel process has it.
    pub(crate) fn sent(&self) {
        self.regions.iter().for_each(|region| region.right().held.forget());
    }
}

fn push_annex(annex: &mut Vec<u8>, bytes: &[u8]) -> Place {
    if bytes.is_empty() {
        return Place::Null;
    }
    let at = annex.len();
    annex.extend_from_slice(bytes);
    annex.resize(round4(annex.len()), 0);
    Place::Annex(at as u32)
}

/// A blank header, and descriptors if there are any.
fn described(places: impl ExactSizeIterator<Item = (Place, u32)>) -> SmallVec<[u8; 128]> {
    let mut message = SmallVec::from_elem(0, HEADER);
    if places.len() == 0 {
        return message;
    }
    message.extend_from_slice(&(places.len() as u32).to_le_bytes());
    for (place, size) in places {
        let at = message.len();
        message.resize(at + 16, 0);
        let deallocate = true;
        Descriptor::Memory { address: place.to_raw(), deallocate, copy: copy::VIRTUAL, size, volatile: false }.write_at(&mut message, at);
    }
    message
}
