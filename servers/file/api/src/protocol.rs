//! What client and server agree on: two interfaces, [`Directory`] and [`File`], and the types in them.
//!
//! A handle is a port that serves one of the two. Requests and answers are those of any interface (`docs/interfaces.md`); a refusal is a [`Failure`]. Long
//! reads and writes are [`Lease`]s: memory that the two tasks share, a region, or bytes in the packet, whichever there is.
//!
//! A client that sends requests without waiting for their answers may see them done at the same time, in any order, and refused when they
//! are too many; what it asked of a handle whose last right it dropped meanwhile may be dropped too.
//!
//! Names are bytes. A path is relative to the handle, and is looked up beneath it, never elsewhere. An empty path in `stat` and `narrow` means
//! the handle itself.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use bitflags::bitflags;
use libtask::interface::OpenFile;
use libtask::{Caller, Lease, SendRight};

use crate::dir::OpenOptions;
use crate::error::Failure;

/// Most bytes that one read answers with. A message's work is bounded, so that others get their turn.
pub const READ_MAX: u64 = 64 << 20;
/// Most bytes that one write or append takes.
pub const WRITE_MAX: u64 = 64 << 20;
/// Most bytes of entries in one page of a listing: they fit into a message.
pub const PAGE_MAX: usize = 56 * 1024;
/// Most bytes that travel inside a packet; more go as a region.
pub const INLINE_MAX: usize = 32 * 1024;
/// Longest path, the terminating NUL of the system call not counted.
pub const PATH_MAX: usize = 4095;
/// Longest component of a path.
pub const NAME_MAX: usize = 255;

/// What a handle permits. A handle made from another one never permits more.
#[libtask::data]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access(u8);

bitflags! {
    // A bit that is none of these is kept, and permitted by nobody.
    impl Access: u8 {
        /// Read a file's bytes; open for reading and list a directory.
        const READ = 1;
        /// Write and truncate a file; create, rename, remove in a directory and open for writing.
        const WRITE = 2;
        /// Add to a file's end. Implied by `WRITE`; alone it makes a handle that can add but not change.
        const APPEND = 4;
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(")?;
        bitflags::parser::to_writer(self, &mut *f)?;
        f.write_str(")")
    }
}

/// What an entry or handle is.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A fifo.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Something that this version does not know.
    Unknown,
}

/// A moment, as the file system keeps it.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// Facts about a file or directory.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits (12).
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes on disk.
    pub blocks: u64,
    /// Inode number.
    pub inode: u64,
    /// Hard links.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Last change of the inode.
    pub changed: Timestamp,
}

/// One entry of a directory.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    name: Vec<u8>,
    kind: Kind,
    inode: u64,
    stat: Option<Stat>,
}

impl Entry {
    /// An entry, for servers.
    pub fn new(name: &[u8], kind: Kind, inode: u64, stat: Option<Stat>) -> Entry {
        Entry { name: name.to_vec(), kind, inode, stat }
    }
    /// It has at most so many bytes in a message: the name, its length, and a number or a dozen of at most ten bytes.
    pub fn size_max(&self) -> usize {
        self.name.len() + if self.stat.is_some() { 112 } else { 16 }
    }
    /// Its name: one component, bytes that may be no UTF-8.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }
    /// What it is; a link is a link.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// Inode number.
    pub fn inode(&self) -> u64 {
        self.inode
    }
    /// Its facts, from [`Dir::list_with_stat`](crate::Dir::list_with_stat), unless it went away meanwhile.
    pub fn stat(&self) -> Option<&Stat> {
        self.stat.as_ref()
    }
}

/// Some entries of a directory.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries. There may be none, and yet a next page.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<u64>,
}

/// What is known of a handle when it is made.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What it permits.
    pub access: Access,
    /// Facts about what it stands for.
    pub stat: Stat,
}

/// A directory of an exported tree. Holding the right is the permission to use what is beneath it, as far as the handle permits.
#[libtask::interface(name = "umach.Directory", base = 4200)]
pub trait Directory {
    /// Opens a regular file beneath the directory.
    #[id(0)]
    fn open(&self, path: &[u8], how: OpenOptions, caller: &Caller) -> Result<(SendRight<dyn File>, Opened), Failure>;
    /// Makes a narrower handle: of a sub-directory, of fewer permissions, or both. What this one does not permit is refused.
    #[id(1)]
    fn narrow(&self, path: &[u8], access: Option<Access>, caller: &Caller) -> Result<(SendRight<dyn Directory>, Opened), Failure>;
    /// Makes a directory, with these permission bits under the server's umask.
    #[id(2)]
    fn mkdir(&self, path: &[u8], mode: u32) -> Result<(), Failure>;
    /// Renames what `from` names here to `to` in `target`, or in this directory. `replace`: whether an existing target is replaced.
    #[id(3)]
    fn rename(&self, from: &[u8], to: &[u8], replace: bool, target: Option<SendRight<dyn Directory>>) -> Result<(), Failure>;
    /// Removes a file, link, special file or empty directory.
    #[id(4)]
    fn remove(&self, path: &[u8]) -> Result<(), Failure>;
    /// Facts about a path. `follow`: whether a link at its end is followed.
    #[id(5)]
    fn stat(&self, path: &[u8], follow: bool) -> Result<Stat, Failure>;
    /// Some of the entries, from `cursor` on: 0 at first, then what the page before says. `stat`: whether with each entry's facts.
    #[id(6)]
    fn list(&self, cursor: u64, stat: bool) -> Result<Page, Failure>;
    /// A symbolic link's target.
    #[id(7)]
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Failure>;
    /// Brings the directory's entries to the disk.
    #[id(8)]
    fn sync(&self) -> Result<(), Failure>;
}

/// An open regular file. Offsets are the caller's, so all who hold it can use it at the same time.
#[libtask::interface(name = "umach.File", base = 4500)]
pub trait File {
    /// Bytes from `offset` on, at most `length`. Fewer come at the end of the file, and when the server is short of memory; none means the end.
    #[id(0)]
    fn read(&self, offset: u64, length: u64, caller: &Caller) -> Result<Lease, Failure>;
    /// Writes at `offset`. Says how many bytes were taken: fewer when the file system ran out of room on the way.
    #[id(1)]
    fn write(&self, offset: u64, bytes: Lease) -> Result<u64, Failure>;
    /// Adds at the end, wherever that is at that moment. Says how many bytes were taken.
    #[id(2)]
    fn append(&self, bytes: Lease) -> Result<u64, Failure>;
    /// Cuts or extends it.
    #[id(3)]
    fn truncate(&self, size: u64) -> Result<(), Failure>;
    /// Facts about it.
    #[id(4)]
    fn stat(&self) -> Result<Stat, Failure>;
    /// Brings it to the disk. `data_only`: its contents, not times and such.
    #[id(5)]
    fn sync(&self, data_only: bool) -> Result<(), Failure>;
    /// A handle of the same open file with fewer permissions.
    #[id(6)]
    fn narrow(&self, access: Access, caller: &Caller) -> Result<(SendRight<dyn File>, Opened), Failure>;
    /// The file as Linux has it: for reading, writing or both, as the handle permits.
    #[id(7)]
    fn descriptor(&self) -> Result<OpenFile, Failure>;
}
