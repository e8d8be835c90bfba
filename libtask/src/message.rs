//! The message being built: an id, a body, rights and memory in order, and where to answer.
//!
//! A body of this library is its exact length as a word and then the bytes, for Mach pads every message to four bytes and does not say how
//! much. Programs that write their own format use [`Message::raw_body`].
//!
//! Nothing happens to a right before the message is sent: a message that is dropped, or that comes back from a failed send, has all its
//! rights.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use smallvec::SmallVec;
use umach_abi::limits::{ANNEX_MAX, ANNEX_THRESHOLD, MESSAGE_MAX, MESSAGE_PORTS_MAX};
use umach_abi::link::{RECORD_MAX, SLOT_MAX};
use umach_abi::message::{COMPLEX, Descriptor, HEADER, Header, Place, copy, file_lost, round4};
use umach_abi::{Code, Disposition, Name};
use zerocopy::{Immutable, IntoBytes};

use crate::direct::{Carry, Room};
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::loan::{self, Loan};
use crate::receive::ReceiveRight;
use crate::region::{Memory, Region};
use crate::right::{Held, SendOnceRight, SendRight};
use crate::task::Task;

/// Memory of more bytes goes in a region, which its receiver maps; what is lent it copies, and so much of it to fresh pages. A call with a vector, every byte
/// read, lent and in a region, µs: 4 KiB 6.5, 27; 32 KiB 12, 37; 256 KiB 27, 100; 1 MiB 160, 410; 4 MiB 900, 2200; 16 MiB 15,000, 24,000; 32 MiB 69,000, 55,000; 64 MiB
/// 176,000, 93,000. What insists on being lent uses [`SendRight::loan`].
pub(crate) const LEND_MAX: usize = 16 << 20;

/// A message to send. See the methods: each adds something and returns the message.
pub struct Message {
    id: i32,
    body: SmallVec<[u8; 96]>,
    /// Whether the body goes as it is, without its length in front.
    raw: bool,
    /// What a plain message has none of. Apart, for a message is moved several times before it is sent.
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    parts: SmallVec<[Part; 1]>,
    reply: Option<Reply>,
    /// A body that could not be written (its type, and why); reported when sent.
    failed: Option<(&'static str, String)>,
}

/// Where postcard writes a body.
struct Encode<'m>(&'m mut SmallVec<[u8; 96]>);

impl postcard::ser_flavors::Flavor for Encode<'_> {
    type Output = ();
    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The longest body that fits a record or a slot, behind its length.
const PLAIN_MAX: usize = if RECORD_MAX < SLOT_MAX { RECORD_MAX } else { SLOT_MAX } - 4;

/// A right or memory in a message.
pub(crate) enum Part {
    /// Moves if nobody shares the reference; else it is copied and this handle dropped. `moved` records which, once encoded.
    MoveSend {
        right: SendRight,
        moved: bool,
    },
    CopySend(Arc<Held>),
    MakeSend(Arc<Held>),
    MakeSendOnce(Arc<Held>),
    MoveSendOnce(SendOnceRight),
    MoveReceive(ReceiveRight),
    /// No right: null, or dead in a message that came back.
    Empty(Name),
    Rights {
        rights: Vec<SendRight>,
        moved: bool,
    },
    Bytes(Vec<u8>),
    /// The same, which others hold too.
    Shared(Memory),
    /// Bytes that were too many for the packet.
    OwnRegion(Region),
    LendRegion(Region),
    /// And where it was written to, once that is done.
    File(Arc<OwnedFd>, Option<Staged>),
    Loan(Loan),
}

/// Where the answer should go.
pub(crate) enum Reply {
    Once(SendOnceRight),
    Make(Arc<Held>),
    Send { right: SendRight, moved: bool },
}

/// What can be given to [`Message::reply_to`]: a send-once right (moved), or a receive right (a send-once right is made from it).
pub trait ReplyTo {
    #[doc(hidden)]
    fn set(self, message: &mut Message);
}

impl ReplyTo for SendOnceRight {
    fn set(self, message: &mut Message) {
        message.set_reply(Reply::Once(self));
    }
}

impl<I: ?Sized> ReplyTo for &ReceiveRight<I> {
    fn set(self, message: &mut Message) {
        message.set_reply(Reply::Make(self.held.clone()));
    }
}

impl<I: ?Sized> ReplyTo for SendRight<I> {
    fn set(self, message: &mut Message) {
        message.set_reply(Reply::Send { right: self.untyped(), moved: false });
    }
}

impl Message {
    /// An empty message; `id` tells the receiver what it is about.
    #[inline]
    pub fn new(id: i32) -> Message {
        Message { id, body: SmallVec::new(), raw: false, more: None }
    }
    /// The id.
    pub fn id(&self) -> i32 {
        self.id
    }
    /// Sets the body to these bytes. Up to about 64 KiB; more goes with [`Message::memory`].
    #[inline]
    pub fn bytes(mut self, bytes: &[u8]) -> Message {
        self.clear_body();
        self.body.extend_from_slice(bytes);
        self
    }
    /// Sets the body to a value, encoded by postcard. If that fails, sending reports it.
    pub fn body<T: Serialize + ?Sized>(mut self, value: &T) -> Message {
        self.write_body(value);
        self
    }
    #[inline]
    pub(crate) fn write_body<T: Serialize + ?Sized>(&mut self, value: &T) {
        self.clear_body();
        if let Err(e) = value.serialize(&mut postcard::Serializer { output: Encode(&mut self.body) }) {
            self.more().failed = Some((std::any::type_name::<T>(), e.to_string()));
        }
    }
    /// Whether the body could not be written.
    pub(crate) fn has_failed(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.failed.is_some())
    }
    #[inline]
    fn clear_body(&mut self) {
        self.raw = false;
        self.body.clear();
        if let Some(more) = &mut self.more {
            more.failed = None;
        }
    }
    /// Sets the body to the bytes of plain old data.
    pub fn pod<T: IntoBytes + Immutable + ?Sized>(self, value: &T) -> Message {
        self.bytes(value.as_bytes())
    }
    /// Sets the body to bytes in a format of the program's own (MIG's, say): exactly these, padded with zeros to a multiple of four.
    pub fn raw_body(mut self, bytes: &[u8]) -> Message {
        self = self.bytes(bytes);
        self.raw = true;
        self
    }

    /// Adds a send right that this task gives away.
    pub fn move_send<I: ?Sized>(self, right: SendRight<I>) -> Message {
        self.part(Part::MoveSend { right: right.untyped(), moved: false })
    }
    /// Adds a copy of a send right.
    pub fn copy_send<I: ?Sized>(self, right: &SendRight<I>) -> Message {
        self.part(Part::CopySend(right.held.clone()))
    }
    /// Adds a new send right to a port that this task receives on, made when the message is sent.
    pub fn make_send<I: ?Sized>(self, port: &ReceiveRight<I>) -> Message {
        self.part(Part::MakeSend(port.held.clone()))
    }
    /// Adds a new send-once right to a port that this task receives on, made when the message is sent.
    pub fn make_send_once<I: ?Sized>(self, port: &ReceiveRight<I>) -> Message {
        self.part(Part::MakeSendOnce(port.held.clone()))
    }
    /// Adds a send-once right that this task gives away.
    pub fn move_send_once(self, right: SendOnceRight) -> Message {
        self.part(Part::MoveSendOnce(right))
    }
    /// Adds a receive right that this task gives away, with the messages that are queued.
    pub fn move_receive<I: ?Sized>(self, right: ReceiveRight<I>) -> Message {
        self.part(Part::MoveReceive(right.untyped()))
    }
    /// Adds an array of send rights (one part) that this task gives away.
    pub fn rights(self, rights: impl IntoIterator<Item = SendRight>) -> Message {
        self.part(Part::Rights { rights: rights.into_iter().collect(), moved: false })
    }
    /// Adds a snapshot of these bytes as memory: the receiver has them to itself. They travel in the packet, are lent over a link, or go in a region, whichever
    /// is quickest for so many. See [`SendRight::loan`] for memory that is not copied at all.
    pub fn memory(self, bytes: impl Into<Vec<u8>>) -> Message {
        self.part(Part::Bytes(bytes.into()))
    }
    /// Adds memory that was filled in place.
    pub fn loan(self, loan: Loan) -> Message {
        match loan.0 {
            loan::Inner::Own(bytes) => self.memory(bytes),
            room => self.part(Part::Loan(Loan(room))),
        }
    }
    /// Adds a copy of the right to a region.
    pub fn region(self, region: &Region) -> Message {
        self.copy_send(region.right())
    }
    /// Adds the right to a region, which this task gives away.
    pub fn move_region(self, region: Region) -> Message {
        self.move_send(region.into_right())
    }
    /// Adds a region's bytes as memory: the receiver sees a snapshot, and nothing is copied.
    pub fn lend_region(self, region: &Region) -> Message {
        self.part(Part::LendRegion(region.duplicate()))
    }
    /// Adds an open file, which this task gives away: a file, a socket, a pipe's end, anything with a descriptor. The receiver gets a descriptor of its own to
    /// the same open file ([`Received::take_file`](crate::Received::take_file)): offset and flags are shared with duplicates that this task may have kept.
    ///
    /// It goes to the task that receives on the destination at the moment of sending. If the message is then received by another (the port moved, or
    /// the message was handed on unread), the receiver finds no file, and is told so.
    ///
    /// ```
    /// use std::io::{Read, Seek, Write};
    /// use libtask::{Message, run_local};
    ///
    /// run_local(|kernel| -> Result<(), Box<dyn std::error::Error>> {
    ///     let port = kernel.task("reader")?.new_port()?;
    ///     let mut file = tempfile::tempfile()?;
    ///     file.write_all(b"hello")?;
    ///     file.rewind()?;
    ///     port.make_send()?.send(Message::new(1).file(file))?;
    ///     let mut text = String::new();
    ///     std::fs::File::from(port.receive()?.take_file(0)?).read_to_string(&mut text)?;
    ///     assert_eq!(text, "hello");
    ///     Ok(())
    /// }).unwrap();
    /// ```
    pub fn file(self, file: impl Into<OwnedFd>) -> Message {
        self.part(Part::File(Arc::new(file.into()), None))
    }
    /// Says where the answer should go. [`SendRight::call`] does this itself.
    pub fn reply_to(mut self, reply: impl ReplyTo) -> Message {
        reply.set(&mut self);
        self
    }
    /// Adds an empty slot, so that the parts behind it keep their indices.
    pub fn no_right(self) -> Message {
        self.part(Part::Empty(Name::NULL))
    }

    pub(crate) fn part(mut self, part: Part) -> Message {
        self.more().parts.push(part);
        self
    }
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
    pub(crate) fn set_reply(&mut self, reply: Reply) {
        self.more().reply = Some(reply);
    }
    pub(crate) fn has_reply(&self) -> bool {
        self.reply().is_some()
    }
    fn reply(&self) -> Option<&Reply> {
        self.more.as_ref()?.reply.as_ref()
    }
    fn reply_mut(&mut self) -> Option<&mut Reply> {
        self.more.as_mut()?.reply.as_mut()
    }
    pub(crate) fn parts(&self) -> &[Part] {
        self.more.as_ref().map_or(&[], |more| &more.parts)
    }
    fn parts_mut(&mut self) -> &mut [Part] {
        self.more.as_mut().map_or(&mut [], |more| &mut more.parts)
    }

    /// The message as a plain one, if it is: no rights, no memory, nowhere to answer, and not too long for a record.
    #[inline]
    pub(crate) fn plain<'m>(&'m self, length: &'m mut [u8; 4]) -> Option<Carry<'m>> {
        const PADDING: [u8; 3] = [0; 3];
        let is_more = |more: &More| !more.parts.is_empty() || more.reply.is_some() || more.failed.is_some();
        if self.body.len() > PLAIN_MAX || self.more.as_deref().is_some_and(is_more) {
            return None;
        }
        let padding = &PADDING[..round4(self.body.len()) - self.body.len()];
        let head: &[u8] = if self.raw || self.body.is_empty() {
            &[]
        } else {
            *length = (self.body.len() as u32).to_le_bytes();
            length
        };
        Some(Carry::Plain([head, &self.body, padding]))
    }

    /// Does what needs requests of its own before the message can be written: bytes that do not fit the packet become regions.
    /// `dest`: the right that it is sent to.
    pub(crate) fn prepare(&mut self, task: &Task, dest: Name) -> Result<()> {
        if let Some((what, why)) = self.more.as_ref().and_then(|more| more.failed.as_ref()) {
            return Err(Error::Body { id: self.id, len: 0, what, why: why.clone() });
        }
        let mut annex = 0;
        for part in self.parts_mut() {
            let bytes: Option<&[u8]> = match part {
                Part::Bytes(bytes) => Some(bytes),
                Part::Shared(memory) => Some(memory),
                _ => None,
            };
            match bytes {
                Some(bytes) if bytes.len() > ANNEX_THRESHOLD || annex + round4(bytes.len()) > ANNEX_MAX => {
                    check_length(bytes.len() as u64)?;
                    let lent = if bytes.len() <= LEND_MAX { task.0.plane.copy_to_room(task, dest, bytes) } else { None };
                    *part = match lent {
                        Some(room) => Part::Loan(Loan(loan::Inner::Room(Arc::new(room)))),
                        None => Part::OwnRegion(task.region(bytes)?),
                    };
                    continue;
                }
                Some(bytes) => annex += round4(bytes.len()),
                None => {}
            }
            match part {
                Part::Rights { rights, .. } => {
                    annex += 4 * rights.len();
                    if rights.len() > MESSAGE_PORTS_MAX || annex > ANNEX_MAX {
                        return Err(Error::mach(Code::MACH_SEND_TOO_LARGE, "sending so many rights in one message"));
                    }
                }
                Part::LendRegion(region) => check_length(region.len())?,
                Part::MoveSendOnce(right) => right.make_known()?,
                _ => {}
            }
        }
        if let Some(Reply::Once(right)) = self.reply_mut() {
            right.make_known()?;
        }
        let body = if self.body.is_empty() { 0 } else { 4 + self.body.len() };
        let size = HEADER + 4 + 16 * self.parts().len() + round4(body);
        if size > MESSAGE_MAX {
            return Err(Error::mach(Code::MACH_SEND_TOO_LARGE, "sending a message with so large a body"));
        }
        Ok(())
    }

    /// Writes its open files to the lane that leads to the receiver behind `dest`. Gives what is left of the time.
    pub(crate) fn stage(&mut self, task: &Task, dest: Name, timeout: Option<Duration>) -> Result<Option<Duration>> {
        if !self.parts().iter().any(|part| matches!(part, Part::File(..))) {
            return Ok(timeout);
        }
        let until = timeout.map(|timeout| Instant::now() + timeout);
        for part in self.parts_mut() {
            if let Part::File(file, staged) = part {
                *staged = task.0.files.stage(task, dest, file.as_fd(), until)?;
            }
        }
        Ok(until.map(|until| until.saturating_duration_since(Instant::now())))
    }

    /// It was not sent, and may be kept for long: its files need not wait at the receiver.
    pub(crate) fn unstage(&mut self) {
        for part in self.parts_mut() {
            if let Part::File(_, staged) = part {
                *staged = None;
            }
        }
    }

    /// Whether it holds memory that is lent with it: the sender's too until the message is dropped.
    pub(crate) fn lends(&self) -> bool {
        self.parts().iter().any(|part| matches!(part, Part::Loan(_) | Part::LendRegion(_)))
    }

    /// What memory in the order of [`Place::Lease`] is.
    pub(crate) fn rooms(&self) -> SmallVec<[Arc<Room>; 1]> {
        let room = |part: &Part| match part {
            Part::Loan(Loan(loan::Inner::Room(room))) => Some(room.clone()),
            _ => None,
        };
        self.parts().iter().filter_map(room).collect()
    }

    /// Appends message and annex to the packet; gives their sizes. Call [`Message::prepare`] first. `reply` goes into the header if the
    /// message has no reply of its own.
    pub(crate) fn encode(
        &mut self,
        task: &Task,
        dest: (Name, Disposition),
        reply: Option<(Name, Disposition)>,
        out: &mut Vec<u8>,
    ) -> Result<Sizes> {
        let start = out.len();
        let (local, local_disposition) = match self.reply_mut() {
            Some(own) => own.encode(task)?,
            None => reply.map_or((Name::NULL, 0), |(name, disposition)| (name, disposition as u8)),
        };
        let complex = !self.parts().is_empty();
        let bits = Header::make_bits(dest.1 as u8, local_disposition, complex);
        debug_assert!(!complex || bits & COMPLEX != 0);
        let header = Header { bits, size: 0, remote: dest.0, local, voucher: Name::NULL, id: self.id };
        out.extend_from_slice(&header.to_bytes());
        let mut annex = Vec::new();
        if complex {
            out.extend_from_slice(&(self.parts().len() as u32).to_le_bytes());
            let mut lent = 0;
            for part in self.parts_mut() {
                part.encode(task, &mut annex, &mut lent)?.push(out);
            }
        }
        if !self.body.is_empty() {
            if !self.raw {
                out.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
            }
            out.extend_from_slice(&self.body);
        }
        out.resize(start + round4(out.len() - start), 0);
        let send_size = (out.len() - start) as u32;
        out[start + 4..start + 8].copy_from_slice(&send_size.to_le_bytes());
        out.extend_from_slice(&annex);
        Ok(Sizes { send_size })
    }

    /// The message was sent: what it moved is no longer this task's.
    pub(crate) fn sent(self) {
        self.parts().iter().for_each(Part::sent);
        self.reply().into_iter().for_each(Reply::sent);
    }

    /// The send failed in the body: rights before the bad one are gone and those behind it are not, and which is the bad one is not told. A
    /// reference that may be gone is given up rather than released twice.
    ///
    /// A receive right is unique in its space, so `still` can ask for it.
    pub(crate) fn lost(self, mut still: impl FnMut(Name) -> bool) {
        for part in self.parts() {
            match part {
                Part::MoveReceive(right) if right.held.is_live() && still(right.name()) => {}
                // The receiver is told by whoever has the message's remains, or by this part's end.
                Part::File(..) => {}
                _ => part.sent(),
            }
        }
        self.reply().into_iter().for_each(Reply::sent);
    }

    /// Whether sending it makes rights that did not exist.
    pub(crate) fn makes_rights(&self) -> bool {
        self.parts().iter().any(|part| matches!(part, Part::MakeSend(_) | Part::MakeSendOnce(_)))
    }

    /// Body, parts and reply apart: to rebuild a message that came back.
    pub(crate) fn take_apart(mut self) -> (Message, SmallVec<[Part; 1]>, Option<Reply>) {
        let (parts, reply) = self.more.take().map_or_else(Default::default, |more| (more.parts, more.reply));
        (self, parts, reply)
    }
}

fn check_length(len: u64) -> Result<()> {
    if len > u32::MAX as u64 {
        return Err(Error::mach(
            Code::MACH_SEND_TOO_LARGE,
            "sending memory of 4 GiB or more out of line (send the region's right instead)",
        ));
    }
    Ok(())
}

/// Sizes of an encoded message.
pub(crate) struct Sizes {
    /// Bytes of the message; the annex follows it.
    pub(crate) send_size: u32,
}

fn own<'h>(task: &Task, held: &'h Held) -> Result<&'h Held> {
    if held.task() != task {
        return Err(Error::on(Code::KERN_INVALID_CAPABILITY, "sending a right that another task holds", held.kind(), held.name()));
    }
    if !held.is_live() {
        return Err(Error::on(Code::KERN_INVALID_NAME, "sending a right that was released meanwhile", held.kind(), held.name()));
    }
    Ok(held)
}

fn is_unique(right: &SendRight) -> bool {
    Arc::strong_count(&right.held) == 1
}

impl Part {
    fn encode(&mut self, task: &Task, annex: &mut Vec<u8>, lent: &mut u32) -> Result<Descriptor> {
        let port =
            |held: &Held, disposition: Disposition| Ok(Descriptor::Port { name: own(task, held)?.name(), disposition: disposition as u8 });
        match self {
            Part::MoveSend { right, moved } => {
                *moved = is_unique(right);
                port(&right.held, if *moved { Disposition::MoveSend } else { Disposition::CopySend })
            }
            Part::CopySend(held) => port(held, Disposition::CopySend),
            Part::MakeSend(held) => port(held, Disposition::MakeSend),
            Part::MakeSendOnce(held) => port(held, Disposition::MakeSendOnce),
            Part::MoveSendOnce(right) => port(&right.held, Disposition::MoveSendOnce),
            Part::MoveReceive(right) => port(&right.held, Disposition::MoveReceive),
            Part::Empty(name) => Ok(Descriptor::Port { name: *name, disposition: Disposition::CopySend as u8 }),
            Part::Rights { rights, moved } => {
                *moved = rights.iter().all(is_unique);
                let at = annex.len() as u32;
                for right in rights.iter() {
                    annex.extend_from_slice(&own(task, &right.held)?.name().0.to_le_bytes());
                }
                let disposition = if *moved { Disposition::MoveSend } else { Disposition::CopySend };
                let address = if rights.is_empty() { Place::Null } else { Place::Annex(at) };
                let count = rights.len() as u32;
                Ok(Descriptor::Ports {
                    address: address.to_raw(),
                    deallocate: false,
                    copy: copy::PHYSICAL,
                    disposition: disposition as u8,
                    count,
                })
            }
            Part::Bytes(bytes) => Ok(bytes_to_annex(bytes, annex)),
            Part::Shared(memory) => Ok(bytes_to_annex(memory, annex)),
            Part::Loan(loan) => {
                *lent += 1;
                Ok(memory(Place::Lease(*lent - 1), false, loan.len() as u64))
            }
            Part::OwnRegion(region) => Ok(memory(Place::Region(own(task, &region.right().held)?.name()), true, region.len())),
            Part::LendRegion(region) if region.is_empty() => Ok(memory(Place::Null, false, 0)),
            Part::LendRegion(region) => Ok(memory(Place::Region(own(task, &region.right().held)?.name()), false, region.len())),
            Part::File(_, staged) => {
                let (lane, number) = staged.as_ref().map_or((0, file_lost::NOT_SENT), Staged::token);
                Ok(Descriptor::File { lane, number })
            }
        }
    }

    /// The message that it is part of was sent.
    pub(crate) fn sent(&self) {
        match self {
            Part::MoveSend { right, moved: true } => right.held.forget(),
            Part::MoveSendOnce(right) => right.held.forget(),
            Part::MoveReceive(right) => right.held.forget(),
            Part::OwnRegion(region) => region.right().held.forget(),
            Part::Rights { rights, moved: true } => rights.iter().for_each(|right| right.held.forget()),
            Part::File(_, Some(staged)) => staged.mark_sent(),
            _ => {}
        }
    }
}

fn bytes_to_annex(bytes: &[u8], annex: &mut Vec<u8>) -> Descriptor {
    let at = annex.len();
    annex.extend_from_slice(bytes);
    annex.resize(round4(annex.len()), 0);
    let place = if bytes.is_empty() { Place::Null } else { Place::Annex(at as u32) };
    memory(place, false, bytes.len() as u64)
}

fn memory(place: Place, deallocate: bool, len: u64) -> Descriptor {
    Descriptor::Memory { address: place.to_raw(), deallocate, copy: copy::VIRTUAL, size: len as u32, volatile: false }
}

impl Reply {
    fn encode(&mut self, task: &Task) -> Result<(Name, u8)> {
        let (held, disposition) = match self {
            Reply::Once(right) => (&right.held, Disposition::MoveSendOnce),
            Reply::Make(held) => (&*held, Disposition::MakeSendOnce),
            Reply::Send { right, moved } => {
                *moved = is_unique(right);
                (&right.held, if *moved { Disposition::MoveSend } else { Disposition::CopySend })
            }
        };
        Ok((own(task, held)?.name(), disposition as u8))
    }
    /// The message that it is part of was sent.
    pub(crate) fn sent(&self) {
        match self {
            Reply::Once(right) => right.held.forget(),
            Reply::Send { right, moved: true } => right.held.forget(),
            _ => {}
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}, {} bytes", self.id, self.body.len())?;
        for part in self.parts() {
            write!(f, ", {part:?}")?;
        }
        match self.reply() {
            Some(Reply::Once(right)) => write!(f, ", reply to {right}"),
            Some(Reply::Make(held)) => write!(f, ", reply to {}", held.label()),
            Some(Reply::Send { right, .. }) => write!(f, ", reply to {right}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::MoveSend { right, .. } => write!(f, "move {right}"),
            Part::CopySend(held) => write!(f, "copy {}", held.label()),
            Part::MakeSend(held) => write!(f, "make send from {}", held.label()),
            Part::MakeSendOnce(held) => write!(f, "make send-once from {}", held.label()),
            Part::MoveSendOnce(right) => write!(f, "move {right}"),
            Part::MoveReceive(right) => write!(f, "move {right}"),
            Part::Empty(name) => write!(f, "{name} right"),
            Part::Rights { rights, .. } => write!(f, "{} rights", rights.len()),
            Part::Bytes(bytes) => write!(f, "memory of {} bytes", bytes.len()),
            Part::Shared(memory) => write!(f, "memory of {} bytes", memory.len()),
            Part::File(..) => f.write_str("an open file"),
            Part::Loan(loan) => write!(f, "memory of {} bytes, lent", loan.len()),
            Part::OwnRegion(region) | Part::LendRegion(region) => write!(f, "memory of {} bytes in a region", region.len()),
        }
    }
}
