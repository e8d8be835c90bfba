//! The file server's messages: ids, bodies, and the one way to ask and to answer. All that client and server must agree on is here.
//!
//! A request is a message to a handle's port: the id says which operation, the body is one of the structures below in postcard, bytes to
//! write travel as the only memory descriptor, the target directory of a rename as the only right. The answer's id is the request's plus
//! [`REPLY`]; its body is `Result<Reply, Failure>`; bytes read, or a page of a listing, are its only memory; an opened handle its only right.
//!
//! | operation | on | descriptors of the request | of the answer |
//! |---|---|---|---|
//! | open, narrow | directory (narrow: both) | – | send right to the new handle |
//! | mkdir, remove, stat, read link, sync | directory (stat, sync: both) | – | – |
//! | rename | directory | send right to the target directory, unless it is the same | – |
//! | list | directory | – | memory: the entries |
//! | read | file | – | memory: the bytes |
//! | write, append | file | memory: the bytes | – |
//! | truncate | file | – | – |
//! | descriptor | file | – | open file |
//!
//! A client that sends requests without waiting for their answers may see them done at the same time, in any order, and refused when they
//! are too many; what it asked of a handle whose last right it dropped meanwhile may be dropped too.
//!
//! Names are bytes. A path is relative to the handle, and is looked up beneath it, never elsewhere. An empty path in `stat`, `narrow` and `list` means
//! the handle itself.

use bitflags::bitflags;
use libtask::{Memory, Message, PendingCall, Received, SendRight};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Failure, Fault, FileError, Subject};

/// Added to a request's id in its answer (MIG's convention).
pub const REPLY: i32 = 100;
/// Most bytes that one read answers with. A message's work is bounded, so that others get their turn.
pub const READ_MAX: u64 = 64 << 20;
/// Most bytes that one write or append takes.
pub const WRITE_MAX: u64 = 64 << 20;
/// Most bytes of entries in one page of a listing: they fit into a packet, so a page costs no region.
pub const PAGE_MAX: usize = 30 * 1024;
/// Most bytes that travel inside a packet; more go as a region.
pub const INLINE_MAX: usize = 32 * 1024;
/// Longest path, the terminating NUL of the system call not counted.
pub const PATH_MAX: usize = 4095;
/// Longest component of a path.
pub const NAME_MAX: usize = 255;

bitflags! {
    /// What a handle permits. A handle made from another one never permits more.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Access: u8 {
        /// Read a file's bytes; open for reading and list a directory.
        const READ = 1;
        /// Write and truncate a file; create, rename, remove in a directory and open for writing.
        const WRITE = 2;
        /// Add to a file's end. Implied by `WRITE`; alone it makes a handle that can add but not change.
        const APPEND = 4;
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.bits())
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Access, D::Error> {
        let bits = u8::deserialize(deserializer)?;
        Access::from_bits(bits).ok_or_else(|| D::Error::custom("unknown access bits"))
    }
}

/// What an entry or handle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// Facts about a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawEntry {
    /// Its name: bytes, no slash, no NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Inode number.
    pub inode: u64,
    /// Its facts, when asked for and it still existed.
    pub stat: Option<Stat>,
}

/// A request's body, bound to its id and its answer.
pub trait Request: Serialize + DeserializeOwned {
    /// Message id.
    const OP: Op;
    /// Body of a successful answer.
    type Reply: Serialize + DeserializeOwned;
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])* $id:literal $Op:ident $word:literal { $($(#[doc = $fdoc:literal])* $field:ident : $ty:ty),* $(,)? } => $Reply:ty;)*) => {
        /// Message ids. The numbers are stable: a new operation gets a new one, and none is reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Op {
            $($(#[doc = $doc])* $Op = $id,)*
        }

        impl Op {
            /// Every operation.
            pub const ALL: &[Op] = &[$(Op::$Op),*];
            /// From a message's id.
            pub fn from_id(id: i32) -> Option<Op> {
                Some(match id { $($id => Op::$Op,)* _ => return None })
            }
            /// The word for messages and logs.
            pub fn word(self) -> &'static str {
                match self { $(Op::$Op => $word,)* }
            }
        }

        $(
            $(#[doc = $doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            pub struct $Op { $($(#[doc = $fdoc])* pub $field: $ty),* }

            impl Request for $Op {
                const OP: Op = Op::$Op;
                type Reply = $Reply;
            }
        )*
    };
}

operations! {
    /// Opens a file beneath a directory.
    4200 Open "open" {
        /// Path beneath the directory.
        path: Vec<u8>,
        /// What the new handle shall permit.
        access: Access,
        /// Create it if it is not there.
        create: bool,
        /// Create it; fail if it is there.
        create_new: bool,
        /// Cut it to nothing.
        truncate: bool,
        /// Refuse a link at the end of the path.
        no_follow: bool,
        /// Permission bits of a created file, under the server's umask.
        mode: u32,
    } => Opened;
    /// Makes a narrower handle: of a sub-directory, of fewer permissions, or both.
    4201 Narrow "narrow" {
        /// Path of a directory; empty for the handle itself.
        path: Vec<u8>,
        /// What the new handle shall permit; what the old one does not permit is refused.
        access: Option<Access>,
    } => Opened;
    /// Makes a directory.
    4202 Mkdir "mkdir" {
        /// Path beneath the directory.
        path: Vec<u8>,
        /// Permission bits, under the server's umask.
        mode: u32,
    } => ();
    /// Renames; the message may carry a right to the target directory.
    4203 Rename "rename" {
        /// Path beneath the directory.
        from: Vec<u8>,
        /// Path beneath the target directory.
        to: Vec<u8>,
        /// Whether an existing target is replaced.
        replace: bool,
    } => ();
    /// Removes a file, link, special file or empty directory.
    4204 Remove "remove" {
        /// Path beneath the directory.
        path: Vec<u8>,
    } => ();
    /// Facts about a path, or about the handle.
    4205 GetStat "stat" {
        /// Path beneath the directory; empty for the handle itself.
        path: Vec<u8>,
        /// Whether a link at the end is followed.
        follow: bool,
    } => Stat;
    /// One page of a directory's entries.
    4206 List "list" {
        /// Where to go on: `next` of the page before, 0 at first.
        cursor: u64,
        /// Whether to fetch each entry's facts as well.
        stat: bool,
    } => Page;
    /// A symbolic link's target.
    4207 ReadLink "read link" {
        /// Path beneath the directory.
        path: Vec<u8>,
    } => Vec<u8>;
    /// Brings a file, or a directory's entries, to the disk.
    4208 Sync "sync" {
        /// Contents only, not times and such.
        data_only: bool,
    } => ();
    /// Reads bytes. Fewer come at the end of the file, and when the server is short of memory; none means the end.
    4209 Read "read" {
        /// First byte.
        offset: u64,
        /// At most this many.
        length: u64,
    } => Bytes;
    /// Writes the memory that comes along.
    4210 Write "write" {
        /// Where the first byte goes.
        offset: u64,
    } => Written;
    /// Adds the memory that comes along at the end, wherever that is at that moment.
    4211 Append "append" {} => Written;
    /// Cuts or extends a file.
    4212 Truncate "truncate" {
        /// New size.
        size: u64,
    } => ();
    /// A descriptor for a file, which comes along: for reading, writing or both, as the handle permits.
    4213 Descriptor "descriptor" {} => ();
}

/// Answer of open and narrow; the handle's right comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// What the handle permits.
    pub access: Access,
    /// Facts at the time of opening.
    pub stat: Stat,
}

/// Answer of list; `RawEntry` rows in postcard, one behind the other, come along as memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// How many rows.
    pub count: u32,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<u64>,
}

/// Answer of read; the bytes come along as memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// How many.
    pub length: u64,
}

/// Answer of write and append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// How many bytes were taken; fewer than sent when the file system ran out of room on the way.
    pub length: u64,
}

/// The body of every answer.
pub type Answer<R> = Result<<R as Request>::Reply, Failure>;

/// Asks and waits: the one way in which the client speaks to a server. `add` adds memory or a right to the message.
pub(crate) fn call<R: Request>(
    right: &SendRight,
    request: &R,
    subject: &Subject,
    add: impl FnOnce(Message) -> Message,
) -> Result<(R::Reply, Received), FileError> {
    let message = add(Message::new(R::OP as i32).body(request));
    let answer = right.call(message).map_err(|source| failed(source, subject))?;
    read_answer::<R>(answer, subject)
}

/// A request without anything attached, whose answer is read later.
pub(crate) fn begin<R: Request>(right: &SendRight, request: &R, subject: &Subject) -> Result<PendingCall, FileError> {
    right.begin_call(Message::new(R::OP as i32).body(request)).map_err(|source| failed(source.error, subject))
}

/// Its answer.
pub(crate) fn finish<R: Request>(call: PendingCall, subject: &Subject) -> Result<(R::Reply, Received), FileError> {
    let answer = call.finish().map_err(|source| failed(source, subject))?;
    read_answer::<R>(answer, subject)
}

fn failed(source: libtask::Error, subject: &Subject) -> FileError {
    let on = subject.clone();
    if source.is_dead() || source.is_server_died() { FileError::Gone { on, source } } else { FileError::Ipc { on, source } }
}

fn read_answer<R: Request>(answer: Received, subject: &Subject) -> Result<(R::Reply, Received), FileError> {
    let malformed = |detail| FileError::Protocol { on: subject.clone(), detail };
    if answer.id() != R::OP as i32 + REPLY {
        return Err(malformed("it answers another request"));
    }
    match answer.body::<Answer<R>>().map_err(|_| malformed("its body is of another type"))? {
        Ok(reply) => Ok((reply, answer)),
        Err(failure) => Err(FileError::new(failure, subject.clone())),
    }
}

/// The right of an answer that promises one.
pub(crate) fn take_right(answer: &mut Received, subject: &Subject) -> Result<SendRight, FileError> {
    answer.take_send(0).map_err(|_| FileError::Protocol { on: subject.clone(), detail: "it brings no handle" })
}

/// The memory of an answer that promises some.
pub(crate) fn take_memory(answer: &mut Received, subject: &Subject) -> Result<Memory, FileError> {
    answer.memory(0).map_err(|_| FileError::Protocol { on: subject.clone(), detail: "it brings no memory" })
}

/// The server's side: an answer, to which memory or a right may be added.
pub fn answer<R: Request>(answer: &Answer<R>) -> Message {
    Message::new(R::OP as i32 + REPLY).body(answer)
}

/// The server's side: a refusal, whatever was asked, also by an id that is no operation.
pub fn refusal(id: i32, failure: Failure) -> Message {
    Message::new(id.wrapping_add(REPLY)).body(&Err::<(), Failure>(failure))
}

/// The server's side: a request's body. An allegation: it says nothing but that it can be read.
pub fn request<R: Request>(body: &[u8]) -> Result<R, Failure> {
    match postcard::take_from_bytes(body) {
        Ok((request, [])) => Ok(request),
        _ => Err(Fault::BadRequest.into()),
    }
}

/// Appends one row of a page.
pub fn push_entry(entry: &RawEntry, page: &mut Vec<u8>) {
    // Writing plain data to a Vec has no way to fail; an entry that could not be written would be a bug here.
    let bytes = postcard::to_stdvec(entry).expect("an entry is plain data");
    page.extend_from_slice(&bytes);
}

/// Reads the rows of a page. `None` if they are not `count` whole rows.
pub fn read_entries(mut page: &[u8], count: u32) -> Option<Vec<RawEntry>> {
    // `count` is a claim: a row has at least four bytes, so no more room is reserved than the page can fill.
    let mut entries = Vec::with_capacity((count as usize).min(page.len() / 4 + 1));
    for _ in 0..count {
        let (entry, rest) = postcard::take_from_bytes(page).ok()?;
        entries.push(entry);
        page = rest;
    }
    page.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_answers_do_not_collide() {
        for (i, op) in Op::ALL.iter().enumerate() {
            assert_eq!(Op::from_id(*op as i32), Some(*op));
            assert_eq!(Op::from_id(*op as i32 + REPLY), None, "{op:?}'s answer is a request");
            assert!(Op::ALL[i + 1..].iter().all(|other| *other as i32 != *op as i32));
        }
    }

    #[test]
    fn page_rows_are_read_back_and_a_wrong_count_is_refused() {
        let entries: Vec<RawEntry> =
            (0..50u64).map(|i| RawEntry { name: vec![0xff, i as u8], kind: Kind::Fifo, inode: i, stat: None }).collect();
        let mut page = Vec::new();
        entries.iter().for_each(|entry| push_entry(entry, &mut page));
        assert_eq!(read_entries(&page, 50).as_deref(), Some(&entries[..]));
        assert_eq!(read_entries(&page, 49), None);
        assert_eq!(read_entries(&page, 51), None);
        assert_eq!(read_entries(&page, u32::MAX), None);
        assert_eq!(read_entries(&page[..page.len() - 1], 50), None);
    }
}
