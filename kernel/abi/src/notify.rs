//! Notification messages: ids and what their bodies carry.
//!
//! A notification is an ordinary message; what makes it trustworthy is its trailer: the sender is the kernel (`uid` and `gid` are
//! [`KERNEL_ID`], `pid` is 0), which no task can produce.

use crate::Name;
use crate::message::{HEADER, Header};

/// A name with a dead-name request was deleted by other means; body: the name.
pub const PORT_DELETED: i32 = 65;
/// The queue of the named port has room; body: the name.
pub const SEND_POSSIBLE: i32 = 66;
/// A receive right would have been destroyed; carries the right itself.
pub const PORT_DESTROYED: i32 = 69;
/// The last send right is gone; body: the make-send count.
pub const NO_SENDERS: i32 = 70;
/// A send-once right was destroyed unused; no body.
pub const SEND_ONCE: i32 = 71;
/// The named port died; body: the name, which holds one more dead-name reference.
pub const DEAD_NAME: i32 = 72;

/// `uid` and `gid` in the trailer of a message that the kernel process itself sent.
pub const KERNEL_ID: u32 = !0;

/// A received notification, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification {
    /// See [`PORT_DELETED`].
    PortDeleted(Name),
    /// See [`SEND_POSSIBLE`].
    SendPossible(Name),
    /// See [`PORT_DESTROYED`]; the name is that of the receive right just received.
    PortDestroyed(Name),
    /// See [`NO_SENDERS`].
    NoSenders(u32),
    /// See [`SEND_ONCE`].
    SendOnce,
    /// See [`DEAD_NAME`].
    DeadName(Name),
}

impl Notification {
    /// Reads a delivered message. `None` if the id or the size is not that of a notification. Whether the kernel sent it is for the
    /// trailer to say.
    pub fn parse(message: &[u8]) -> Option<Notification> {
        let header = Header::read(message)?;
        let word = |at: usize| message.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Some(match header.id {
            PORT_DELETED => Notification::PortDeleted(Name(word(32)?)),
            SEND_POSSIBLE => Notification::SendPossible(Name(word(32)?)),
            PORT_DESTROYED => Notification::PortDestroyed(Name(word(28)?)),
            NO_SENDERS => Notification::NoSenders(word(32)?),
            SEND_ONCE => Notification::SendOnce,
            DEAD_NAME => Notification::DeadName(Name(word(32)?)),
            _ => return None,
        })
    }
}

/// Writes the body of a simple notification behind its header: an NDR record and one word (36 bytes in all).
pub fn write_word(out: &mut Vec<u8>, word: u32) {
    debug_assert_eq!(out.len(), HEADER);
    out.extend_from_slice(&crate::message::NDR);
    out.extend_from_slice(&word.to_le_bytes());
}
