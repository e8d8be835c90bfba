//! Mach's own calls with bare names, one to one: what a C interface is made from, and what tests of Mach's rules are written against.
//!
//! A [`Space`] is a task's table of names seen through a control right: `task.raw()` is one's own, [`Space::of`] another task's. Functions are
//! named after Mach's and return Mach's codes; nothing is released by itself. When the connection fails they return `KERN_TERMINATED` (the
//! kernel process is gone) or `KERN_INVALID_TASK` (this process was forked).
//!
//! [`Space::mach_msg`] takes a [`MsgBuffer`]: the message in Mach's byte layout, and beside it what out-of-line descriptors point to. In place
//! of a pointer a descriptor's `address` holds the index into [`MsgBuffer::ool`]; so the form is safe to build, and complete.
//!
//! ```
//! use libtask::raw::{MsgBuffer, Options};
//! use libtask::{Code, Disposition, Name, RightKind};
//!
//! libtask::run_local(|kernel| {
//!     let task = kernel.task("raw").unwrap();
//!     let space = task.raw();
//!     let port = space.port_allocate(RightKind::Receive)?;
//!     let mut message = MsgBuffer::new(7).remote(port, Disposition::MakeSend).body(b"four");
//!     space.mach_msg(&mut message, Options::SEND, 0, Name::NULL, 0, Name::NULL).ok()?;
//!     let mut answer = MsgBuffer::default();
//!     space.mach_msg(&mut answer, Options::RCV | Options::RCV_TIMEOUT, 1024, port, 1000, Name::NULL).ok()?;
//!     assert_eq!((answer.header().id, answer.body_bytes()), (7, &b"four"[..]));
//!     Ok::<(), Code>(())
//! })
//! # .unwrap();
//! ```

mod aside;
mod buffers;
mod calls;
mod message;
mod msg;
mod objects;
mod program;
mod wire;

pub use aside::Aside;
pub use calls::{PeekInfo, Space};
pub use message::{MsgBuffer, OolPart};
pub use program::{Incoming, Lent, Outgoing, Program};
pub use umach_abi::message::{Descriptor, Header, NDR, Options, Trailer, TrailerRequest, copy, guard_flags, kind};
pub use umach_abi::records::{ExceptionRow, HostRow, LinkRow, NameRow, PortRow, RouteRow, SpaceRow, TaskRow, kobject};
pub use umach_abi::rights::{ConstructFlags, flavor, received, special};
pub use umach_abi::{Code, Disposition, Name, RightKind, TypeBits, notify};
