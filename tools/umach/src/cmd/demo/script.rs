//! What the demo's tasks say to each other: the client reports each thing it does to the director, which narrates, draws and counts.
//!
//! The director's port is the first registered port of the tasks that it spawns.

use serde::{Deserialize, Serialize};

/// Id of a [`Report`], from the client to the director.
pub(super) const REPORT: i32 = 7001;
/// Id of the message that hands an open file (its only right) to the reader, to be answered with the file's bytes as memory.
pub(super) const READ_THIS: i32 = 7002;
/// How much of it, from its start, the reader sends back.
pub(super) const READ_BACK: u64 = 32 << 20;
/// Service name of the exported tree.
pub(super) const FILES: &str = "files";
/// Service name of the generated tree, which holds a large file.
pub(super) const SCRATCH: &str = "scratch";
/// Service name of the third task.
pub(super) const READER: &str = "reader";

/// One thing that the client did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// A sentence for people.
    Said(String),
    /// A message went from one actor to another.
    Arrow { from: String, to: String, text: String, answer: bool },
    /// Something held, or did not.
    Checked { what: String, holds: bool, detail: String },
    /// A tree was walked.
    Walked(Counts),
    /// The client waits for the notice of the file server's death: kill it now.
    Armed,
    /// The notice came, at this moment of the monotonic clock.
    Noticed { nanos: u64 },
    /// The client is done.
    Done,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) bytes: u64,
    /// Files whose bytes, at least in part, came as shared memory.
    pub(super) mapped_files: u64,
    /// Bytes that came as shared memory.
    pub(super) mapped_bytes: u64,
    /// Bytes that came out of line, mapped or not.
    pub(super) memory_bytes: u64,
    /// Files that differ from the original.
    pub(super) different: u64,
    /// Entries left out: links, special files, files that may not be read, what is beyond the limits.
    pub(super) skipped: u64,
    /// Rights that arrived or were given away.
    pub(super) rights: u64,
}

impl Counts {
    /// Adds another tree's.
    pub(super) fn add(&mut self, other: Counts) {
        self.files += other.files;
        self.directories += other.directories;
        self.bytes += other.bytes;
        self.mapped_files += other.mapped_files;
        self.mapped_bytes += other.mapped_bytes;
        self.memory_bytes += other.memory_bytes;
        self.different += other.different;
        self.skipped += other.skipped;
        self.rights += other.rights;
    }
}

/// Nanoseconds of the clock that all processes of a machine share.
pub(super) fn now_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
