//! The memory of a lane: one memfd for a task and the kernel process, sealed shrink, grow and seal, of two halves.
//!
//! A lane works without. Once it has been used often the task may ask for memory (`LaneMemory`); then a short request may go through it
//! while the kernel process looks at it, and so may names of rights to release, which need no answer. Each word has one writer; what the
//! task writes is an allegation, of which the kernel process takes one copy.
//!
//! ```text
//! task's half   | RELEASED, names | ASKED, its length, SLEEPS | request bytes |
//! kernel's half | LOOKS, CPU | RELEASES_DONE | ANSWERED, its length | answer bytes |
//! ```

/// Bytes of one half.
pub const HALF: usize = 0x4000;
/// Bytes of the memory of a lane.
pub const SIZE: usize = 2 * HALF;

/// u32: names ever written to [`NAMES`] (mod 2^32).
pub const RELEASED: usize = 0x000;
/// Names of rights to release (`PortDeallocate`), in order: a ring of [`RELEASES`] u32s.
pub const NAMES: usize = 0x040;
/// Names that the ring takes, a power of two.
pub const RELEASES: usize = 128;
/// u32: the number of the newest request. Numbers rise by one, modulo 2^30, from 0, which is none.
pub const ASKED: usize = 0x240;
/// u32: bytes of that request.
pub const ASKED_LEN: usize = 0x244;
/// u32: nonzero while a thread sleeps on [`ANSWERED`].
pub const SLEEPS: usize = 0x248;
/// u32: the CPU that asked, plus one; 0 if not known.
pub const ASKED_CPU: usize = 0x24c;
/// The request's packet.
pub const REQUEST: usize = 0x250;
/// Longest request; longer ones go over the socket.
pub const REQUEST_MAX: usize = HALF - REQUEST;

/// u32: nonzero while the kernel process looks at this memory by itself; else it must be told (`LaneBell`, `LaneFlush`).
pub const LOOKS: usize = HALF;
/// u32: the CPU on which it looks, plus one; 0 if not known.
pub const LOOKS_CPU: usize = HALF + 0x004;
/// u32: how many of the names at [`NAMES`] have been released.
pub const RELEASES_DONE: usize = HALF + 0x040;
/// u32: `number << 2 |` one of [`answered`]. The task sleeps on it.
pub const ANSWERED: usize = HALF + 0x080;
/// u32: bytes of that answer.
pub const ANSWERED_LEN: usize = HALF + 0x084;
/// The answer's packet.
pub const ANSWER: usize = HALF + 0x088;
/// Longest answer; longer ones, and those with descriptors, go over the socket.
pub const ANSWER_MAX: usize = SIZE - ANSWER;

/// Numbers of requests are below this.
pub const NUMBERS: u32 = 1 << 30;

/// Where the answer to a request is.
pub mod answered {
    /// In the memory.
    pub const HERE: u32 = 1;
    /// At the socket, now or later.
    pub const SOCKET: u32 = 2;
}

const _: () = assert!(RELEASES.is_power_of_two() && NAMES + 4 * RELEASES == ASKED && REQUEST < HALF);
