//! A message that arrived, taken apart: what is not taken out is released with it.

mod answer;
mod arrival;
mod notification;
mod parts;
mod pool;

use std::fmt;

use serde::de::DeserializeOwned;
use umach_abi::Name;
use umach_abi::message::{Header, Trailer, u32_at};
use umach_abi::records::Written;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(crate) use self::answer::Answer;
pub use self::answer::ReplyRight;
pub use self::notification::Notification;
use self::pool::Pooled;
use crate::error::{Error, Result};
use crate::receive::ReceiveRight;
use crate::task::Task;

/// A received message. Rights and memory are counted from 0 in the order in which the sender added them; each is taken out once.
/// Dropping the message releases everything that was not taken; dropping it unanswered tells a waiting caller at once.
pub struct Received {
    task: Task,
    inner: Pooled,
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

impl Received {
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
}

impl Sender {
    pub(crate) fn trailer(self) -> Trailer {
        Trailer { uid: self.uid, gid: self.gid, pid: self.pid, task: self.task, ..Trailer::default() }
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
