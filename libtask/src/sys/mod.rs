//! The edge to Linux: sockets with deadlines and descriptors, mappings, fork detection, descriptors for children.
//!
//! All unsafe code of this crate is below here, each block with its obligations.

pub(crate) mod attention;
pub(crate) mod fork;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod socket;
#[cfg(feature = "tokio")]
pub(crate) mod watch;
