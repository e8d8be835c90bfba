//! Rights, memory and open files as values of serde: each becomes a part of the message, and its index in the body.
//!
//! Serde knows nothing of messages, so the parts of the one that a thread is just writing or reading are kept for that thread, between [`Outgoing::begin`] and
//! [`Outgoing::finish`], and while an [`Incoming`] lives. Messages whose types have no parts never come here. Elsewhere (a file, another format) such a value has no
//! form, and writing one is an error.
//!
//! A value is serialized by reference, and yet a right is to move. So a send right in a message is another handle to it, and moves if the argument was the last; of what
//! there is only one, the message takes over and the argument is left empty.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType, NamedType};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use umach_abi::{Name, RightKind};
use umach_describe::fixed::part;

use super::Target;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::message::Part;
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::region::{Memory, Region, SharedRegion};
use crate::right::{Held, SendOnceRight, SendRight};

thread_local! {
    static OUT: Cell<Option<Parts>> = const { Cell::new(None) };
    static IN: Cell<Option<Box<Came>>> = const { Cell::new(None) };
}

pub(crate) type Parts = SmallVec<[Part; 1]>;

/// Collects parts until it is finished or dropped.
pub(super) struct Outgoing {
    outer: Option<Parts>,
}

impl Outgoing {
    pub(super) fn begin() -> Outgoing {
        Outgoing { outer: OUT.replace(Some(Parts::new())) }
    }
    pub(super) fn finish(self) -> Parts {
        OUT.take().unwrap_or_default()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        OUT.set(self.outer.take());
    }
}

/// What came with a message, and why some of it could not be had.
struct Came {
    parts: Received,
    error: Option<Error>,
}

/// Gives parts out while it lives. What nobody takes is released with it.
pub struct Incoming {
    outer: Option<Box<Came>>,
}

impl Incoming {
    pub(super) fn begin(message: &mut Received) -> Incoming {
        let came = Came { parts: message.take_parts(), error: None };
        Incoming { outer: IN.replace(Some(Box::new(came))) }
    }
    /// What a part that could not be had was.
    pub(super) fn error(&self) -> Option<Error> {
        let mut came = IN.take()?;
        let error = came.error.take();
        IN.set(Some(came));
        error
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        drop(IN.replace(self.outer.take()));
    }
}

const NO_MESSAGE: &str = "rights, memory and open files travel only in messages of an interface";

fn put<S: Serializer>(serializer: S, part: Option<Part>) -> Result<S::Ok, S::Error> {
    let part = part.ok_or_else(|| S::Error::custom("what there is only one of stands in the message twice, or was given away before"))?;
    let index = OUT.take().map(|mut parts| {
        let index = parts.len() as u32;
        parts.push(part);
        OUT.set(Some(parts));
        index
    });
    index.ok_or_else(|| S::Error::custom(NO_MESSAGE))?.serialize(serializer)
}

fn take<'de, D: Deserializer<'de>, T>(deserializer: D, take: impl FnOnce(&mut Received, usize) -> Result<T>) -> Result<T, D::Error> {
    let index = u32::deserialize(deserializer)?;
    let mut came = IN.take().ok_or_else(|| D::Error::custom(NO_MESSAGE))?;
    let taken = take(&mut came.parts, index as usize);
    let taken = taken.map_err(|error| {
        let failed = D::Error::custom(&error);
        came.error = Some(error);
        failed
    });
    IN.set(Some(came));
    taken
}

/// The schema of a part.
macro_rules! part_schema {
    ($name:expr, $interface:expr) => {
        const SCHEMA: &'static NamedType =
            &NamedType { name: $name, ty: &DataModelType::NewtypeStruct(&NamedType { name: $interface, ty: &DataModelType::U32 }) };
    };
}

impl<I: ?Sized + Target> Schema for SendRight<I> {
    part_schema!(part::SEND, I::NAME);
}

/// A right whose port died on the way arrives as one to a dead port.
impl<I: ?Sized> Serialize for SendRight<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = match self.name() {
            Name::DEAD => Part::Empty(Name::DEAD),
            _ => Part::MoveSend { right: self.duplicate().untyped(), moved: false },
        };
        put(serializer, Some(part))
    }
}

impl<'de, I: ?Sized> Deserialize<'de> for SendRight<I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SendRight<I>, D::Error> {
        take(deserializer, |came, index| match came.right_kind(index) {
            Some(RightKind::DeadName) => Ok(SendRight::dead(came.task())),
            _ => came.take_send(index).map(SendRight::typed),
        })
    }
}

impl<I: ?Sized + Target> Schema for ReceiveRight<I> {
    part_schema!(part::RECEIVE, I::NAME);
}

/// The message takes the right over: the value is left without it.
impl<I: ?Sized> Serialize for ReceiveRight<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = self.held.is_live().then(|| Part::MoveReceive(ReceiveRight::holding(self.held.take_over())));
        put(serializer, part)
    }
}

impl<'de, I: ?Sized> Deserialize<'de> for ReceiveRight<I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReceiveRight<I>, D::Error> {
        take(deserializer, |came, index| came.take_receive(index).map(ReceiveRight::typed))
    }
}

impl Schema for SendOnceRight {
    part_schema!(part::SEND_ONCE, "");
}

/// The message takes the right over: the value is left without it.
impl Serialize for SendOnceRight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = self.held.is_live().then(|| Part::MoveSendOnce(SendOnceRight { held: self.held.take_over() }));
        put(serializer, part)
    }
}

impl<'de> Deserialize<'de> for SendOnceRight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SendOnceRight, D::Error> {
        take(deserializer, |came, index| came.take_send_once(index))
    }
}

impl Schema for Region {
    part_schema!(part::REGION, "");
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(serializer, Some(Part::MoveSend { right: self.right().duplicate(), moved: false }))
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Region, D::Error> {
        take(deserializer, Received::take_region)
    }
}

impl Schema for SharedRegion {
    part_schema!(part::SHARED_REGION, "");
}

impl Serialize for SharedRegion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(serializer, Some(Part::MoveSend { right: self.right().duplicate(), moved: false }))
    }
}

impl<'de> Deserialize<'de> for SharedRegion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedRegion, D::Error> {
        take(deserializer, Received::take_shared_region)
    }
}

impl Schema for Memory {
    part_schema!(part::MEMORY, "");
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(serializer, Some(Part::Shared(self.share())))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Memory, D::Error> {
        take(deserializer, Received::memory)
    }
}

impl Schema for Lease {
    part_schema!(part::MEMORY, "");
}

/// Of a loan and of own memory nothing is copied here; what is itself lent is.
impl Serialize for Lease {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(serializer, Some(self.part()))
    }
}

impl<'de> Deserialize<'de> for Lease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lease, D::Error> {
        take(deserializer, Received::take_lease)
    }
}

/// An open file as an argument or result of an interface: anything with a descriptor. See [`crate::Message::file`] for what is promised.
#[derive(Clone)]
pub struct OpenFile(Arc<OwnedFd>);

impl OpenFile {
    /// The descriptor. Fails only if it must be duplicated, since a message that was not sent yet has it too.
    pub fn into_fd(self) -> std::io::Result<OwnedFd> {
        Arc::try_unwrap(self.0).or_else(|shared| shared.try_clone())
    }
}

impl<F: Into<OwnedFd>> From<F> for OpenFile {
    fn from(file: F) -> OpenFile {
        OpenFile(Arc::new(file.into()))
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an open file")
    }
}

impl Schema for OpenFile {
    part_schema!(part::FILE, "");
}

impl Serialize for OpenFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(serializer, Some(Part::File(self.0.clone(), None)))
    }
}

impl<'de> Deserialize<'de> for OpenFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OpenFile, D::Error> {
        take(deserializer, |came, index| came.take_file(index).map(OpenFile::from))
    }
}

/// The send right for a stream's items, made when the request is sent.
pub struct End<'p>(pub(super) &'p ReceiveRight);

impl Serialize for End<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(serializer, Some(Part::MakeSend(self.0.held.clone())))
    }
}

impl SendRight {
    /// A right whose port is dead.
    fn dead<I: ?Sized>(task: &crate::task::Task) -> SendRight<I> {
        let held = Held::new(task, RightKind::Send, Name::DEAD);
        held.forget();
        SendRight::of(held)
    }
}
