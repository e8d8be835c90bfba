//! The core: all of Mach's rules, and nothing else.
//!
//! A pure state machine. Its transitions are the public methods of [`Core`] in `apply.rs`; each takes what happened, changes the state,
//! and appends to a list of [`Effect`]s what the outside should now do. There are no sockets, clocks, threads or file descriptors in
//! here, so the daemon, the in-process kernel, the model test and the fuzzers all run the very same rules.
//!
//! Deadlines are the waiting task's business: it gives a blocked request up with `Cancel`. So the core needs no clock.
#![forbid(unsafe_code)]

pub mod arena;
mod effect;
mod quota;

pub use arena::Id;
pub use effect::{Attach, Effect, Effects, LaneId, Peer, RegionId, Signal, TaskId, Violation};
pub use quota::Limits;
mod skeleton;
pub use skeleton::{Config, Core};
