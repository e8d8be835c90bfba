//! What the kernel process and its tasks agree on: numbers, byte layouts, limits, and one table of requests.
//!
//! Everything here is little-endian and speaks XNU's dialect (`docs/semantics.md`): the message that travels on the wire *is* a Mach
//! message ([`message`]), and the table in [`control`] is the only place where a request is described. Both sides' encoding, the
//! protocol document and the tracer are made from it.
//!
//! Nothing in this crate does anything: no sockets, no state. It may be used from either side of the trust boundary, so every
//! decoder treats its input as an allegation: it returns an error, never panics, and never reads past the end.
#![forbid(unsafe_code)]

pub mod control;
pub mod error;
pub mod exception;
pub mod explain;
pub mod lane;
pub mod limits;
pub mod link;
pub mod message;
pub mod notify;
pub mod records;
pub mod rights;
pub mod task_info;

pub use error::Code;
pub use explain::Explanation;
pub use rights::{Disposition, Name, RightKind, TypeBits};

/// The protocol's version; both sides of a connection must speak the same one.
pub const VERSION: u32 = 1;

bitflags::bitflags! {
    /// What a side can do beyond the base protocol, agreed in the first exchange: the answer is the intersection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Features: u64 {
        /// The kernel process has `SO_PASSRIGHTS=0` on its end of every socket: descriptors sent up are refused by Linux.
        const REFUSES_DESCRIPTORS = 1 << 0;
        /// Deaths are seen through a pidfd, so a withheld hang-up hides nothing.
        const PIDFD_DEATH = 1 << 1;
        /// Tasks are processes of their own (absent: the in-process kernel).
        const PROCESSES = 1 << 2;
        /// Open files travel in messages, on file lanes.
        const FILES = 1 << 3;
        /// Links and routes: plain messages go through memory that two tasks share (the direct plane).
        const DIRECT_PLANE = 1 << 32;
    }
}
