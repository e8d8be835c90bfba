//! libtask: tasks, ports and messages.
#![warn(missing_docs)]

mod connect;
mod control;
mod deliver;
mod error;
pub mod local;
mod message;
pub mod raw;
mod receive;
mod received;
mod region;
mod right;
pub mod spawn;
mod sys;
mod task;
mod trace;
mod transport;

pub use control::{Host, HostControl, TaskControl};
pub use error::{Error, Result, RightLabel, SendError};
pub use local::{LocalKernel, run_local};
pub use message::{Message, ReplyTo};
pub use receive::{Next, PortOptions, PortSet, PortStatus, ReceiveRight};
pub use received::{Notification, Received, ReplyRight, Sender};
pub use region::{Memory, Region, RegionWriter, SharedRegion};
pub use right::{CALL_TIMEOUT, DeadName, DeadNameRequest, SendOnceRight, SendRight};
pub use spawn::{Child, Command};
pub use task::Task;
pub use umach_abi::records::{HostRow, NameRow, PortRow, SpaceRow, TaskRow};
pub use umach_abi::{Code, Disposition, Features, Name, RightKind, TypeBits};
pub use zerocopy;
