//! What each operation does, as a method of the interface that its handle serves. No waiting, no looking at other messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtask::interface::{self, Interface, OpenFile as Descriptor};
use libtask::{Caller, Lease, Next, Received, Region, SendRight, Task, TaskControl};
use umach_file_api::OpenOptions;
use umach_file_api::error::Fault;
use umach_file_api::protocol::{self, Access, INLINE_MAX, Opened, Page, READ_MAX, Stat, WRITE_MAX};

use crate::charge::Charges;
use crate::handle::{Handle, Handles, Node};
use crate::tree::{Directory, OpenFile, OpenHow, Result};

/// Shorter reads go in the answer itself, longer ones than the second in a region: what is lent to a client may stay with it for long.
const LOAN_MIN: u64 = 3 << 10;
const LOAN_MAX: u64 = 8 << 20;
/// Bytes of a client's memory that are copied before they are written: they stay in the cache between the two.
const PIECE: usize = 256 << 10;

/// Has what operations need beyond their handle.
#[derive(Debug)]
pub struct Operator {
    /// The server's task.
    pub task: Task,
    /// All handles.
    pub handles: Handles,
    /// Who holds how many.
    pub charges: Arc<Charges>,
    /// What is lent.
    pub lending: Lending,
}

/// How much memory the server has lent: regions are charged to their maker until the receiver has them, and clients that never look at their
/// answers could otherwise make the server hold as much as its quota allows.
///
/// What is lent is counted; what has come back only the kernel process knows, so it is asked when the count reaches the limit and not before.
#[derive(Debug)]
pub struct Lending {
    control: TaskControl,
    limit: u64,
    counted: AtomicU64,
}

impl Lending {
    /// For the regions of `task`, up to `limit` bytes.
    pub fn new(task: &Task, limit: u64) -> libtask::Result<Lending> {
        Ok(Lending { control: task.control()?, limit, counted: AtomicU64::new(0) })
    }
    /// Whether `length` bytes more may be lent. Two threads that ask at once can pass the limit by what they ask for; it is a bound, no account.
    fn admit(&self, length: u64) -> bool {
        if self.counted.fetch_add(length, Ordering::Relaxed) + length <= self.limit {
            return true;
        }
        let held = self.control.info().map_or(self.limit, |info| info.region_bytes);
        self.counted.store(held + length, Ordering::Relaxed);
        held + length <= self.limit
    }
}

/// A handle and what works on it: what the interfaces are implemented for. It is made for one request.
struct Service<'s> {
    operator: &'s Operator,
    handle: &'s Handle,
}

impl Operator {
    /// Works on one request to a handle and gives its answer.
    ///
    /// The interface is the one that the message is of, not the one that the handle serves: so who takes a file for a directory is told that, by the method he calls.
    pub fn answer(&self, handle: &Handle, request: &mut Received) -> Next {
        let id = request.id();
        let is_file = match handle.node() {
            Node::Directory(_) => <dyn protocol::File>::is_call(id),
            Node::File(_) => !<dyn protocol::Directory>::is_call(id),
        };
        let mut service = Service { operator: self, handle };
        if is_file {
            interface::answer::<dyn protocol::File, _>(&mut service, request)
        } else {
            interface::answer::<dyn protocol::Directory, _>(&mut service, request)
        }
    }

    /// `None` if there is no room for a region or the file has become shorter meanwhile.
    fn fill_region(&self, file: &OpenFile, offset: u64, length: u64) -> Result<Option<Region>> {
        let no_room = |error: libtask::Error| {
            tracing::debug!(%error, length, "no region for a long read");
            None
        };
        if !self.lending.admit(length) {
            return Ok(None);
        }
        let writer = match self.task.region_writer(length) {
            Ok(writer) => writer,
            Err(error) => return Ok(no_room(error)),
        };
        match file.copy_to(writer.file(), offset, length) {
            Ok(copied) if copied == length => Ok(writer.seal().map_or_else(no_room, Some)),
            Ok(_) => Ok(None),
            // The file's own errors come again from the short read, and then count; these can be the region's.
            Err(error) if matches!(error.fault(), Some(Fault::NoSpace | Fault::ServerFull)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl protocol::Directory for Service<'_> {
    fn open(&self, path: &[u8], how: OpenOptions, caller: &Caller) -> Result<(SendRight<dyn protocol::File>, Opened)> {
        let OpenOptions { access, create, create_new, truncate, no_follow, mode } = how;
        self.in_directory(Access::empty(), |directory| {
            if access.is_empty() || (truncate && !access.contains(Access::WRITE)) {
                return Err(Fault::InvalidArgument.into());
            }
            self.handle.require(access)?;
            if create || create_new {
                self.handle.require(Access::WRITE)?;
            }
            let (read, write) = (access.contains(Access::READ), access.intersects(Access::WRITE | Access::APPEND));
            let how = OpenHow { read, write, create, create_new, truncate, no_follow, mode };
            self.hand_out(caller, access, || Ok(Node::File(Arc::new(directory.open(path, &how)?))))
        })
    }
    fn narrow(&self, path: &[u8], access: Option<Access>, caller: &Caller) -> Result<(SendRight<dyn protocol::Directory>, Opened)> {
        self.in_directory(Access::empty(), |directory| {
            self.narrower(access.unwrap_or(self.handle.access()), caller, || match path {
                [] => Ok(self.handle.node().clone()),
                path => Ok(Node::Directory(Arc::new(directory.subdirectory(path)?))),
            })
        })
    }
    fn mkdir(&self, path: &[u8], mode: u32) -> Result<()> {
        self.in_directory(Access::WRITE, |directory| directory.make_directory(path, mode))
    }
    fn rename(&self, from: &[u8], to: &[u8], replace: bool, target: Option<SendRight<dyn protocol::Directory>>) -> Result<()> {
        self.in_directory(Access::WRITE, |here| match target {
            None => here.rename(from, here, to, replace),
            Some(right) => {
                let target = self.operator.handles.find(&right).ok_or(Fault::ForeignDirectory)?;
                let there = target.directory()?;
                target.require(Access::WRITE)?;
                here.rename(from, there, to, replace)
            }
        })
    }
    fn remove(&self, path: &[u8]) -> Result<()> {
        self.in_directory(Access::WRITE, |directory| directory.remove(path))
    }
    fn stat(&self, path: &[u8], follow: bool) -> Result<Stat> {
        self.in_directory(Access::empty(), |directory| directory.stat(path, follow))
    }
    fn list(&self, cursor: u64, stat: bool) -> Result<Page> {
        self.in_directory(Access::READ, |directory| directory.list(cursor, stat))
    }
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.in_directory(Access::READ, |directory| directory.read_link(path))
    }
    fn sync(&self) -> Result<()> {
        self.in_directory(Access::empty(), Directory::sync)
    }
}

impl protocol::File for Service<'_> {
    /// Linux reads from the file into memory that the client has mapped too, where there is such memory. Else short reads come in the packet, and long ones
    /// in a region that Linux fills and that is lent to the client as it is; if there is no memory for one, the answer is a short read, and the client goes
    /// on from there.
    fn read(&self, offset: u64, length: u64, caller: &Caller) -> Result<Lease> {
        let file = self.file(Access::READ)?;
        let length = length.min(READ_MAX);
        let there = length.min(file.stat()?.size.saturating_sub(offset));
        if (LOAN_MIN..=LOAN_MAX).contains(&there) {
            let mut loan = caller.loan(there as usize);
            if loan.is_in_place() {
                let filled = file.read_into(offset, &mut loan)?;
                loan.truncate(filled);
                return Ok(loan.into());
            }
        }
        if there > INLINE_MAX as u64
            && let Some(region) = self.operator.fill_region(file, offset, there)?
        {
            return Ok(region.into());
        }
        // Also at and behind the end: files whose size Linux does not know (those of /proc) say 0 and have bytes.
        Ok(file.read(offset, (length as usize).min(INLINE_MAX))?.into())
    }
    /// A client that changes the bytes meanwhile has them written as they then are.
    fn write(&self, offset: u64, bytes: Lease) -> Result<u64> {
        write(self.file(Access::WRITE)?, offset, bounded(&bytes)?)
    }
    /// In one piece, so that no other writer's comes between.
    fn append(&self, bytes: Lease) -> Result<u64> {
        let file = self.file(Access::APPEND)?;
        match bounded(&bytes)?.own_bytes() {
            Some(own) => file.append(own),
            None => file.append(&bytes.to_vec()),
        }
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.file(Access::WRITE)?.truncate(size)
    }
    fn stat(&self) -> Result<Stat> {
        self.file(Access::empty())?.stat()
    }
    fn sync(&self, data_only: bool) -> Result<()> {
        self.file(Access::empty())?.sync(data_only)
    }
    fn narrow(&self, access: Access, caller: &Caller) -> Result<(SendRight<dyn protocol::File>, Opened)> {
        self.file(Access::empty())?;
        self.narrower(access, caller, || Ok(self.handle.node().clone()))
    }
    fn descriptor(&self) -> Result<Descriptor> {
        let file = self.file(Access::empty())?;
        // Not for adding only: whoever has such a descriptor can make it one for writing.
        let (read, write) = (self.handle.access().contains(Access::READ), self.handle.access().contains(Access::WRITE));
        if !read && !write {
            return Err(Fault::NotPermitted.into());
        }
        Ok(file.descriptor(read, write)?.into())
    }
}

impl Service<'_> {
    /// The file that the handle stands for, if it permits that.
    fn file(&self, access: Access) -> Result<&OpenFile> {
        let file = self.handle.file()?;
        self.handle.require(access)?;
        Ok(file)
    }

    /// Does something with the directory that the handle stands for, if it permits that.
    fn in_directory<T>(&self, access: Access, act: impl FnOnce(&Directory) -> Result<T>) -> Result<T> {
        let directory = self.handle.directory()?;
        self.handle.require(access)?;
        act(directory).map_err(|failure| match failure.fault() {
            // In a removed directory nothing is found, but that is not the name's fault.
            Some(Fault::NotFound) if directory.is_removed() => Fault::Stale.into(),
            _ => failure,
        })
    }

    fn narrower<I: ?Sized>(&self, access: Access, caller: &Caller, node: impl FnOnce() -> Result<Node>) -> Result<(SendRight<I>, Opened)> {
        if access.is_empty() {
            return Err(Fault::InvalidArgument.into());
        }
        self.handle.require(access)?;
        self.hand_out(caller, access, node)
    }

    /// Makes a handle, charged to the task that asked. Charged first: a client at its limit opens, creates and cuts nothing.
    fn hand_out<I: ?Sized>(&self, caller: &Caller, access: Access, node: impl FnOnce() -> Result<Node>) -> Result<(SendRight<I>, Opened)> {
        let sender = caller.sender();
        let charge = self.operator.charges.take(sender.task, sender.uid)?;
        let node = node()?;
        let stat = node.stat()?;
        let right = self.operator.handles.open(node, access, charge).map_err(|error| {
            tracing::warn!(%error, "no port for a handle");
            Fault::ServerFull
        })?;
        Ok((right.typed(), Opened { access, stat }))
    }
}

fn bounded(bytes: &Lease) -> Result<&Lease> {
    if bytes.len() as u64 > WRITE_MAX { Err(Fault::TooLarge.into()) } else { Ok(bytes) }
}

fn write(file: &OpenFile, offset: u64, payload: &Lease) -> Result<u64> {
    if let Some(bytes) = payload.own_bytes() {
        return file.write(offset, bytes);
    }
    let mut piece = vec![0; PIECE.min(payload.len())];
    let mut done = 0;
    while done < payload.len() {
        let part = &mut piece[..PIECE.min(payload.len() - done)];
        payload.read_at(part, done);
        let end = offset.checked_add(done as u64).ok_or(Fault::InvalidArgument)?;
        match file.write(end, part) {
            Ok(written) => done += written as usize,
            Err(error) if done == 0 => return Err(error),
            // The next call says why.
            Err(_) => break,
        }
        if !done.is_multiple_of(PIECE) {
            break;
        }
    }
    Ok(done as u64)
}
