//! Mail: a message in the kernel, with the rights that are in transit in it.
//!
//! `bytes` and `annex` are what the sender gave; descriptors and port arrays are filled in anew when the receiver's names are known
//! (`receive.rs`). Until then the rights live in `carried`, in the order of their descriptors.

use umach_abi::RightKind;
use umach_abi::rights::received;

use super::arena::Id;
use super::effect::{LinkId, RegionId};
use super::file::FileToken;
use super::port::PortId;
use super::quota::Charge;

/// A message in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MailId(pub(super) Id);

/// A right outside any space. Not `Clone`: it ends in a space, or in `Core::discard`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a right in transit must be delivered or discarded"]
pub(super) enum Right {
    /// `MACH_PORT_NULL` was carried.
    Null,
    /// `MACH_PORT_DEAD` was carried, or the name was dead.
    Dead,
    Send(PortId),
    SendOnce(PortId),
    Receive(PortId),
}

impl Right {
    pub(super) fn port(&self) -> Option<PortId> {
        match *self {
            Right::Null | Right::Dead => None,
            Right::Send(port) | Right::SendOnce(port) | Right::Receive(port) => Some(port),
        }
    }
}

/// A kind of right as a received message shows it (`MACH_MSG_TYPE_PORT_*`).
pub(super) fn as_received(kind: RightKind) -> u8 {
    match kind {
        RightKind::Receive => received::RECEIVE,
        RightKind::SendOnce => received::SEND_ONCE,
        _ => received::SEND,
    }
}

/// What one descriptor carries.
#[derive(Debug)]
pub(super) enum Carried {
    Port {
        right: Right,
        kind: RightKind,
    },
    Guarded {
        right: Right,
        /// Becomes immovable and guarded at the receiver.
        immovable: bool,
    },
    /// An array in the annex.
    Ports {
        rights: Vec<Right>,
        kind: RightKind,
        at: u32,
    },
    /// Bytes in the annex: they need no care.
    Bytes,
    /// A sealed region: a send right to its port.
    Region(Right, RegionId),
    /// An open file, unless there is none.
    File(Option<FileToken>),
}

/// Who sent it, for the trailer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sender {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
    pub(super) task: u64,
}

#[derive(Debug)]
pub(super) struct Mail {
    /// Send or send-once; `Null` once taken.
    pub(super) dest: Right,
    /// Where to reply.
    pub(super) reply: Right,
    /// What the reply right is, also when it is null or dead.
    pub(super) reply_kind: Option<RightKind>,
    pub(super) id: i32,
    /// The whole message as sent.
    pub(super) bytes: Vec<u8>,
    pub(super) annex: Vec<u8>,
    pub(super) carried: Vec<Carried>,
    pub(super) complex: bool,
    pub(super) sender: Sender,
    /// The task after whose messages on a route it counts: the sender, also if nobody vouches for that.
    pub(super) origin: u64,
    /// Paid by the receiver; for a notification, out of what its send-once right had set aside. `None` to the kernel itself.
    pub(super) charge: Option<Charge>,
    /// Its reply is wanted in a slot of a link, while it is a ticket of a route.
    pub(super) slot: Option<Box<Slot>>,
    /// Traces were told that it was sent, and are to be told what comes of it.
    pub(super) seen: Option<Box<Seen>>,
}

/// A message that is traced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Its number in all traces.
    pub(super) number: u64,
    /// A bit for the place of each trace that was told.
    pub(super) by: u8,
}

/// A slot in the caller's memory of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) link: LinkId,
    /// Which of its tasks calls.
    pub(super) caller: usize,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What a message costs: its bytes, and room for what its rights may turn into.
pub(super) fn price(bytes: usize, annex: usize, rights: usize) -> u64 {
    OVERHEAD + (bytes + annex + 16 * rights) as u64
}

/// Fixed part of a message's price.
pub(super) const OVERHEAD: u64 = 256;

/// What is set aside for the notification that the end of a send-once right may cause.
pub(super) const NOTIFICATION: u64 = 256;
