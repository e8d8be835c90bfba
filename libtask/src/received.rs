//! A message that arrived, taken apart: what is not taken out is released with it.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use umach_abi::control::Malformed;
use umach_abi::message::{Descriptor, HEADER, Header, Place, Trailer, TrailerRequest, descriptors, u32_at};
use umach_abi::records::Written;
use umach_abi::rights::received;
use umach_abi::{Code, Name, RightKind, notify};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::deliver;
use crate::direct::{Borrowed, CallerWatch, Owed};
use crate::error::{Error, Result, SendError};
use crate::files::{Lost, Unclaimed};
use crate::frame::{RawFrame, array_names, take_attached};
use crate::lease::Lease;
use crate::loan::Loan;
use crate::message::Message;
use crate::receive::ReceiveRight;
use crate::region::{Memory, Region, SharedRegion};
use crate::right::{DeadName, Held, SendOnceRight, SendRight, is_dead};
use crate::task::Task;

/// A received message. Rights and memory are counted from 0 in the order in which the sender added them; each is taken out once.
/// Dropping the message releases everything that was not taken; dropping it unanswered tells a waiting caller at once.
pub struct Received {
    task: Task,
    inner: Pooled,
}

/// What a message consists of, in memory of its own, so that handing it on costs a pointer. Who drops it keeps the memory for the next.
struct Pooled(Option<Box<Inner>>);

/// Messages whose memory a thread keeps.
const SPARE: usize = 64;

thread_local! {
    #[allow(clippy::vec_box)] // it is the boxes that are kept
    static POOL: Cell<Vec<Box<Inner>>> = const { Cell::new(Vec::new()) };
}

impl Pooled {
    /// Memory whose header, trailer and body are what they happen to be: to be set by the caller. All else is empty.
    #[inline]
    fn stale() -> Pooled {
        let spare = POOL.try_with(|pool| {
            let mut spare = pool.take();
            let last = spare.pop();
            pool.set(spare);
            last
        });
        Pooled(Some(spare.ok().flatten().unwrap_or_default()))
    }
}

impl Drop for Pooled {
    #[inline]
    fn drop(&mut self) {
        let Some(mut inner) = self.0.take() else { return };
        // What is dropped here may be messages again.
        if !matches!(inner.reply, Answer::None) {
            inner.reply = Answer::None;
        }
        if inner.notification.is_some() {
            inner.notification = None;
        }
        inner.slots.clear();
        if inner.body.spilled() {
            inner.body = SmallVec::new();
        }
        let _ = POOL.try_with(|pool| {
            let mut spare = pool.take();
            if spare.len() < SPARE {
                spare.push(inner);
            }
            pool.set(spare);
        });
    }
}

impl Deref for Pooled {
    type Target = Inner;
    #[inline]
    fn deref(&self) -> &Inner {
        self.0.as_ref().expect("present until drop")
    }
}

impl DerefMut for Pooled {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inner {
        self.0.as_mut().expect("present until drop")
    }
}

#[derive(Default)]
struct Inner {
    header: Header,
    trailer: Trailer,
    /// All behind the rights. Short ones need no allocation of their own.
    body: SmallVec<[u8; 96]>,
    slots: SmallVec<[Slot; 1]>,
    reply: Answer,
    notification: Option<Notification>,
}

/// Where the answer to a received message goes.
#[derive(Default)]
pub(crate) enum Answer {
    #[default]
    None,
    Right(ReplyRight),
    /// Into a slot of the caller's, which is a right with a name only if somebody asks for one.
    Slot(Owed),
}

impl Drop for Received {
    #[inline]
    fn drop(&mut self) {
        if let Answer::Slot(owed) = &self.inner.reply {
            self.task.0.plane.drop_owed(&self.task, owed);
        }
    }
}

/// Who sent a message, as the kernel process saw it. No sender can fake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The task's id; 0 for the kernel process itself.
    pub task: u64,
    /// Its process.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Where an answer goes.
#[derive(Debug)]
pub enum ReplyRight {
    /// A send-once right: what [`SendRight::call`] waits on. Dropping it unused tells the caller.
    Once(SendOnceRight),
    /// An ordinary send right.
    Send(SendRight),
}

/// What the kernel process tells about a right.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notification {
    /// A right with a dead-name or send-possible request was released by other means; its name was this.
    PortDeleted(Name),
    /// The queue of the port that this send right names has room.
    SendPossible(Name),
    /// A receive right would have been destroyed. It is here instead: `take_receive(0)`.
    PortDestroyed,
    /// The last send right is gone.
    NoSenders {
        /// How many were ever made from the receive right by its holder: compare, if some are made at the same time.
        make_send_count: u32,
    },
    /// A send-once right was dropped unused.
    SendOnce,
    /// The port died. [`DeadName::was`] tells which.
    DeadName(DeadName),
}

/// One slot of a received message.
enum Slot {
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

fn right_slot(task: &Task, name: Name, disposition: u8) -> Slot {
    match (name, disposition) {
        (Name::NULL, _) => Slot::Null,
        (Name::DEAD, _) => Slot::Dead,
        (_, received::RECEIVE) => Slot::Receive(ReceiveRight::adopt(task, name)),
        (_, received::SEND_ONCE) => Slot::SendOnce(SendOnceRight::adopt(task, name)),
        _ => Slot::Send(SendRight::adopt(task, name)),
    }
}

impl Received {
    /// Makes typed values of what arrived. From here on every right in the message belongs to one of them.
    pub(crate) fn parse(task: &Task, mut frame: RawFrame<'_>) -> Result<Received> {
        let message = frame.message;
        let malformed = || Error::Protocol(Malformed::Short { have: message.len(), need: HEADER });
        let header = Header::read(message).ok_or_else(malformed)?;
        let trailer = Trailer::read(frame.trailer).unwrap_or_default();
        let mut body_at = if header.is_complex() { HEADER + 4 } else { HEADER };
        let mut slots = SmallVec::new();
        for (at, descriptor) in descriptors(message) {
            let descriptor = descriptor.map_err(|_| malformed())?;
            body_at = at + descriptor.size();
            slots.push(match descriptor {
                Descriptor::Port { name, disposition } | Descriptor::Guarded { name, disposition, .. } => {
                    right_slot(task, name, disposition)
                }
                Descriptor::File { lane, number } => match task.0.files.claim(lane, number) {
                    Ok(file) => Slot::File(Unclaimed::new(file)),
                    Err(lost) => Slot::FileLost(lost),
                },
                Descriptor::Ports { address, disposition, count, .. } => match array_names(frame.annex, address, count) {
                    Some(names) => Slot::Array(names.into_iter().map(|name| right_slot(task, name, disposition)).collect()),
                    None => Slot::Lost,
                },
                Descriptor::Memory { address, size, .. } => match Place::from_raw(address) {
                    Some(Place::Null) if size == 0 => Slot::Bytes(Vec::new()),
                    Some(Place::Annex(at)) => match frame.annex.get(at as usize..at as usize + size as usize) {
                        Some(bytes) => Slot::Bytes(bytes.to_vec()),
                        None => Slot::Lost,
                    },
                    Some(Place::Attached(n)) => match take_attached(&mut frame.attached, n) {
                        Some(file) => Slot::Mapped { file, len: size },
                        None => Slot::Lost,
                    },
                    Some(Place::Lease(n)) => match frame.leases.get_mut(n as usize).and_then(Option::take) {
                        Some(lease) if lease.memory().is_some() => Slot::Lent(lease),
                        _ => Slot::Lost,
                    },
                    _ => Slot::Lost,
                },
            });
        }
        let reply = match right_slot(task, header.remote, header.remote_disposition()) {
            Slot::SendOnce(right) => Answer::Right(ReplyRight::Once(right)),
            Slot::Send(right) => Answer::Right(ReplyRight::Send(right)),
            _ => Answer::None,
        };
        let from_kernel = trailer.uid == notify::KERNEL_ID && trailer.gid == notify::KERNEL_ID && trailer.pid == 0;
        let notification = if from_kernel { Notification::parse(task, message) } else { None };
        let body = SmallVec::from_slice(message.get(body_at..).unwrap_or_default());
        let mut inner = Pooled::stale();
        *inner = Inner { header, trailer, body, slots, reply, notification };
        Ok(Received { task: task.clone(), inner })
    }

    /// A plain message that came over a link: on which port, from whom, its id, its sequence number and the port's context. `read` is to fill the whole of
    /// its body, of `len` bytes.
    #[inline]
    pub(crate) fn over_link(
        task: &Task,
        port: Name,
        from: Sender,
        id: i32,
        (seqno, context): (u32, u64),
        reply: Option<Owed>,
        (len, read): (usize, impl FnOnce(&mut [u8])),
    ) -> Received {
        let bits = Header::make_bits(if reply.is_some() { received::SEND_ONCE } else { 0 }, received::SEND, false);
        let header = Header { bits, local: port, id, ..Header::default() };
        let mut message = Received::plain(task, header, Trailer { seqno, context, ..from.trailer() }, len, read);
        if let Some(owed) = reply {
            message.inner.reply = Answer::Slot(owed);
        }
        message
    }
    /// A plain answer that came over a link.
    #[inline]
    pub(crate) fn answer_over_link(task: &Task, from: Sender, id: i32, len: usize, read: impl FnOnce(&mut [u8])) -> Received {
        let bits = Header::make_bits(0, received::SEND_ONCE, false);
        Received::plain(task, Header { bits, id, ..Header::default() }, from.trailer(), len, read)
    }
    #[inline]
    fn plain(task: &Task, header: Header, trailer: Trailer, len: usize, read: impl FnOnce(&mut [u8])) -> Received {
        let mut pooled = Pooled::stale();
        let inner = &mut *pooled;
        inner.header = Header { size: (HEADER + len) as u32, ..header };
        inner.trailer = trailer;
        inner.body.resize(len, 0);
        read(&mut inner.body);
        Received { task: task.clone(), inner: pooled }
    }
    pub(crate) fn set_seqno(&mut self, seqno: u32) {
        self.inner.trailer.seqno = seqno;
    }
    /// It counts as having come on this port.
    pub(crate) fn set_port(&mut self, port: Name) {
        self.inner.header.local = port;
    }
    /// What Mach sends in place of an answer that will not come.
    pub(crate) fn no_answer(task: &Task) -> Received {
        let kernel = Sender { task: 0, pid: 0, uid: notify::KERNEL_ID, gid: notify::KERNEL_ID };
        let mut received = Received::answer_over_link(task, kernel, notify::SEND_ONCE, 0, |_| ());
        received.inner.notification = Some(Notification::SendOnce);
        received
    }
    /// A message that came over a link as Mach's bytes, with as much of a trailer as was asked for. If it wants an answer, that becomes a right.
    pub(crate) fn into_bytes(self, request: TrailerRequest) -> (Vec<u8>, Vec<u8>) {
        self.with_parts(request, |parts, trailer| (parts.concat(), trailer.to_vec()))
    }
    /// The same in parts (header, body), not copied.
    #[inline]
    pub(crate) fn with_parts<T>(mut self, request: TrailerRequest, take: impl FnOnce([&[u8]; 2], &[u8]) -> T) -> T {
        let inner = &mut *self.inner;
        if let Answer::Slot(owed) = std::mem::take(&mut inner.reply) {
            inner.header.remote = self.task.0.plane.name_reply(owed);
        }
        take([&inner.header.to_bytes(), &inner.body], &inner.trailer.to_bytes(request)[..request.size()])
    }

    /// The task that received it.
    pub fn task(&self) -> &Task {
        &self.task
    }
    /// The id that the sender gave it.
    pub fn id(&self) -> i32 {
        self.inner.header.id
    }
    /// The body of a message that this library built, exactly as long as it was. For other programs' messages see [`Received::raw_body`];
    /// if the body does not start with its length, it is returned whole here too.
    pub fn bytes(&self) -> &[u8] {
        let raw = self.raw_body();
        match u32_at(raw, 0) {
            Some(len) if (raw.len() - 4).wrapping_sub(len as usize) < 4 => &raw[4..4 + len as usize],
            _ => raw,
        }
    }
    /// All bytes behind the rights, padding included.
    pub fn raw_body(&self) -> &[u8] {
        &self.inner.body
    }
    /// The body as a value encoded by postcard.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T> {
        let bytes = self.bytes();
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(self.body_error::<T>(bytes.len(), format!("{} bytes are left over", rest.len()))),
            Err(e) => Err(self.body_error::<T>(bytes.len(), e.to_string())),
        }
    }
    /// The body as plain old data, copied out. It must be exactly as long.
    pub fn pod<T: FromBytes>(&self) -> Result<T> {
        let bytes = self.bytes();
        T::read_from_bytes(bytes).map_err(|_| self.body_error::<T>(bytes.len(), format!("{} bytes expected", size_of::<T>())))
    }
    /// The body as plain old data, in place: nothing is copied. For types that may lie at any address (fields of zerocopy's `byteorder`, bytes).
    ///
    /// ```
    /// use libtask::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U32};
    /// use libtask::{Message, run_local};
    ///
    /// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
    /// #[repr(C)]
    /// struct Sample { at: U32, value: U32 }
    ///
    /// run_local(|kernel| -> libtask::Result<()> {
    ///     let port = kernel.task("meter")?.new_port()?;
    ///     port.make_send()?.send(Message::new(1).pod(&Sample { at: 7.into(), value: 9.into() }))?;
    ///     assert_eq!(port.receive()?.pod_ref::<Sample>()?.value, 9);
    ///     Ok(())
    /// }).unwrap();
    /// ```
    pub fn pod_ref<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self) -> Result<&T> {
        let bytes = self.bytes();
        T::ref_from_bytes(bytes).map_err(|_| self.body_error::<T>(bytes.len(), format!("{} bytes expected", size_of::<T>())))
    }
    fn body_error<T>(&self, len: usize, why: String) -> Error {
        Error::Body { id: self.inner.header.id, len, what: std::any::type_name::<T>(), why }
    }

    /// The whole message, to keep it or hand it on where it was only lent ([`crate::PortSet::serve`]). What is left is empty and wants no answer.
    pub fn take_message(&mut self) -> Received {
        let mut inner = Pooled::stale();
        inner.header = Header::default();
        inner.trailer = Trailer::default();
        inner.body.clear();
        let empty = Received { task: self.task.clone(), inner };
        std::mem::replace(self, empty)
    }
    /// A message of which only the parts are left, which this one had.
    pub(crate) fn take_parts(&mut self) -> Received {
        let mut inner = Pooled::stale();
        inner.header = self.inner.header;
        inner.body.clear();
        inner.slots = std::mem::take(&mut self.inner.slots);
        Received { task: self.task.clone(), inner }
    }
    /// A message of which only the right to answer is left, which this one had.
    pub(crate) fn take_reply(&mut self) -> Received {
        let mut inner = Pooled::stale();
        inner.header = self.inner.header;
        inner.trailer = self.inner.trailer;
        inner.body.clear();
        inner.reply = self.take_answer();
        Received { task: self.task.clone(), inner }
    }
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

    /// Who sent it.
    pub fn sender(&self) -> Sender {
        let Trailer { task, pid, uid, gid, .. } = self.inner.trailer;
        Sender { task, pid, uid, gid }
    }
    /// Its position among the messages received on its port.
    pub fn seqno(&self) -> u32 {
        self.inner.trailer.seqno
    }
    /// The context of the port it came on (see [`ReceiveRight::set_context`]): the quickest way to tell the members of a set apart.
    pub fn context(&self) -> u64 {
        self.inner.trailer.context
    }
    /// The name of the port it came on; compare with [`ReceiveRight::name`].
    pub fn port(&self) -> Name {
        self.inner.header.local
    }
    /// Whether it came on this port.
    pub fn came_on<I: ?Sized>(&self, port: &ReceiveRight<I>) -> bool {
        self.port() == port.name() && &self.task == port.task()
    }
    /// Takes the right to answer, to keep it for later or give it to another thread or task.
    pub fn reply_right(&mut self) -> Option<ReplyRight> {
        self.take_answer().into_right(&self.task)
    }
    /// Memory of `len` bytes for the answer: see [`SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        match &self.inner.reply {
            Answer::None => Loan::own(len),
            Answer::Right(right) => Loan::new(right.held(), len),
            Answer::Slot(owed) => Loan::over(&self.task, owed, len),
        }
    }
    /// Whether somebody waits for an answer.
    pub fn wants_reply(&self) -> bool {
        !matches!(self.inner.reply, Answer::None)
    }
    /// Whether whoever wanted an answer has given the call up, or is gone: then there is no point in working on one. A hint, which costs nothing for a call that came over a
    /// link, and a request to the kernel process for any other.
    pub fn is_given_up(&self) -> bool {
        if let Some(watch) = self.caller_watch() {
            return watch.is_over();
        }
        matches!(&self.inner.reply, Answer::Right(right) if right.is_dead())
    }
    /// To see whether the caller gives up, if the answer goes into a slot.
    pub(crate) fn caller_watch(&self) -> Option<CallerWatch> {
        match &self.inner.reply {
            Answer::None => None,
            Answer::Slot(owed) => Some(owed.watch()),
            Answer::Right(right) => self.task.0.plane.watch_owed(right.held().name()),
        }
    }
    /// The send-once right to answer, if that is what there is.
    pub(crate) fn answer_once(&self) -> Option<&Arc<Held>> {
        match &self.inner.reply {
            Answer::Right(ReplyRight::Once(right)) => Some(&right.held),
            _ => None,
        }
    }
    /// Takes the right to answer as it is.
    pub(crate) fn take_answer(&mut self) -> Answer {
        std::mem::take(&mut self.inner.reply)
    }
    /// Answers. Fails with `MACH_SEND_INVALID_REPLY` if no answer was asked for, or it was given already.
    pub fn reply(&mut self, message: Message) -> Result<(), SendError> {
        match self.take_answer() {
            Answer::Slot(owed) => deliver::reply(&self.task, owed, message),
            Answer::Right(right) => right.send(message),
            Answer::None => {
                let error = Error::mach(Code::MACH_SEND_INVALID_REPLY, "answering a message that asked for no answer");
                Err(SendError { error, message: Some(Box::new(message)) })
            }
        }
    }
    /// What the kernel process tells with this message; `None` for every message that a task sent, whatever its id.
    pub fn notification(&self) -> Option<&Notification> {
        self.inner.notification.as_ref()
    }
    /// The same, taken out.
    pub fn take_notification(&mut self) -> Option<Notification> {
        self.inner.notification.take()
    }

    /// Whether the reply that was waited for will not come.
    pub(crate) fn is_send_once_notification(&self) -> bool {
        matches!(self.inner.notification, Some(Notification::SendOnce))
    }
}

impl Notification {
    fn parse(task: &Task, message: &[u8]) -> Option<Notification> {
        use umach_abi::notify::Notification as Raw;
        Some(match Raw::parse(message)? {
            Raw::PortDeleted(name) => Notification::PortDeleted(name),
            Raw::SendPossible(name) => Notification::SendPossible(name),
            Raw::PortDestroyed(_) => Notification::PortDestroyed,
            Raw::NoSenders(make_send_count) => Notification::NoSenders { make_send_count },
            Raw::SendOnce => Notification::SendOnce,
            Raw::DeadName(name) => Notification::DeadName(DeadName::adopt(task, name)),
        })
    }
}

impl Answer {
    /// As a right of its own.
    pub(crate) fn into_right(self, task: &Task) -> Option<ReplyRight> {
        match self {
            Answer::None => None,
            Answer::Right(right) => Some(right),
            Answer::Slot(owed) => Some(ReplyRight::Once(SendOnceRight::adopt(task, task.0.plane.name_reply(owed)))),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::None => f.write_str("nobody"),
            Answer::Right(right) => right.fmt(f),
            Answer::Slot(_) => f.write_str("the caller"),
        }
    }
}

impl Sender {
    pub(crate) fn trailer(self) -> Trailer {
        Trailer { uid: self.uid, gid: self.gid, pid: self.pid, task: self.task, ..Trailer::default() }
    }
}

impl ReplyRight {
    pub(crate) fn held(&self) -> &Held {
        match self {
            ReplyRight::Once(right) => &right.held,
            ReplyRight::Send(right) => &right.held,
        }
    }
    /// Memory of `len` bytes for the answer: see [`SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        Loan::new(self.held(), len)
    }
    /// Whether nobody waits there.
    fn is_dead(&self) -> bool {
        is_dead(self.held()).unwrap_or(true)
    }
    /// Sends the answer. Never waits: to a send right whose queue is full it fails and gives the message back.
    pub fn send(self, message: Message) -> Result<(), SendError> {
        match self {
            ReplyRight::Once(right) => right.send(message),
            ReplyRight::Send(right) => right.try_send(message),
        }
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

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} on {}, {} bytes", self.id(), self.port(), self.raw_body().len())?;
        for slot in &self.inner.slots {
            write!(f, ", {slot:?}")?;
        }
        if self.wants_reply() {
            write!(f, ", reply to {:?}", self.inner.reply)?;
        }
        match &self.inner.notification {
            Some(notification) => write!(f, ", the kernel says {notification:?}"),
            None => {
                let sender = Written('T', self.inner.trailer.task);
                write!(f, ", from {sender} (pid {}, uid {})", self.inner.trailer.pid, self.inner.trailer.uid)
            }
        }
    }
}
