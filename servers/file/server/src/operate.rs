//! What each operation does: from a request on a handle to an answer. No waiting, no looking at other messages.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtask::{Lease, Loan, Message, Received, Region, SendRight, Sender, Task, TaskControl};
use umach_file_api::error::{Failure, Fault};
use umach_file_api::protocol::{
    self, Access, Append, Bytes, Descriptor, GetStat, INLINE_MAX, List, Mkdir, Narrow, Op, Open, Opened, READ_MAX, Read, ReadLink, Remove,
    Rename, Request, Sync, Truncate, WRITE_MAX, Write, Written,
};

use crate::charge::Charges;
use crate::handle::{Handle, Handles, Node};
use crate::tree::{Directory, OpenFile, OpenHow};

/// Shorter reads go in the answer itself, longer ones than the second in a region: what is lent to a client may stay with it for long.
const LOAN_MIN: u64 = 3 << 10;
const LOAN_MAX: u64 = 8 << 20;
/// Bytes of a client's memory that are copied before they are written: they stay in the cache between the two.
const PIECE: usize = 256 << 10;
/// No request carries more rights or memory than this.
pub const PARTS_MAX: usize = 1;

/// A request, taken out of its message: no more than an operation can need.
#[derive(Debug)]
pub struct Parcel<'b> {
    /// Which operation; not checked yet.
    pub id: i32,
    /// Who asks, as the kernel process says.
    pub sender: Sender,
    body: Cow<'b, [u8]>,
    right: Option<SendRight>,
    /// Left where the client put it until it is written: what waits takes no memory here.
    memory: Option<Lease>,
}

impl<'b> Parcel<'b> {
    /// Takes out what may belong to a request, and leaves the message for its answer. `None` if it carries more than any does.
    pub fn unpack(received: &'b mut Received) -> Option<(Parcel<'b>, &'b Received)> {
        if received.parts() > PARTS_MAX {
            return None;
        }
        let (right, memory) = (received.take_send(0).ok(), received.take_lease(0).ok());
        let received: &'b Received = received;
        let parcel = Parcel { id: received.id(), sender: received.sender(), body: Cow::Borrowed(received.bytes()), right, memory };
        Some((parcel, received))
    }
    /// A copy that can wait without its message.
    pub fn into_owned(self) -> Parcel<'static> {
        let Parcel { id, sender, body, right, memory } = self;
        Parcel { id, sender, body: Cow::Owned(body.into_owned()), right, memory }
    }
    fn request<R: Request>(&self) -> Result<R, Failure> {
        protocol::request(&self.body)
    }
    /// The bytes to write. A client that changes them meanwhile has them written as they then are.
    fn payload(&self) -> Result<&Lease, Failure> {
        let memory = self.memory.as_ref().ok_or(Fault::BadRequest)?;
        if memory.len() as u64 > WRITE_MAX {
            return Err(Fault::TooLarge.into());
        }
        Ok(memory)
    }
}

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

/// What to answer.
#[derive(Debug)]
pub struct Answer {
    /// The message.
    pub message: Message,
    /// Whether it lends memory. Until the message is dropped, the server holds that too: send it at once, and not together with a receive that may
    /// last.
    pub lends: bool,
}

impl From<Message> for Answer {
    fn from(message: Message) -> Answer {
        Answer { message, lends: false }
    }
}

/// Gives memory of some length to answer with; `None` if nobody waits for the answer.
pub type Lend<'l> = Option<&'l dyn Fn(usize) -> Loan>;

type Done = Result<Answer, Failure>;

/// An answer without anything attached.
fn plain<R: Request>(reply: R::Reply) -> Done {
    Ok(protocol::answer::<R>(&Ok(reply)).into())
}

impl Operator {
    /// Works on one request and gives its answer.
    pub fn answer(&self, handle: &Handle, parcel: &mut Parcel<'_>, lend: Lend<'_>) -> Answer {
        let id = parcel.id;
        let done = match Op::from_id(id) {
            Some(op) => self.operate(op, handle, parcel, lend),
            None => Err(Fault::UnknownOperation.into()),
        };
        done.unwrap_or_else(|failure| protocol::refusal(id, self.explain(handle, failure)).into())
    }

    /// In a removed directory nothing is found, but that is not the name's fault.
    fn explain(&self, handle: &Handle, failure: Failure) -> Failure {
        match handle.node() {
            Node::Directory(directory) if failure.fault() == Some(Fault::NotFound) && directory.is_removed() => Fault::Stale.into(),
            _ => failure,
        }
    }

    fn operate(&self, op: Op, handle: &Handle, parcel: &mut Parcel<'_>, lend: Lend<'_>) -> Done {
        match op {
            Op::Open => self.open(handle, parcel),
            Op::Narrow => self.narrow(handle, parcel),
            Op::Mkdir => {
                let Mkdir { path, mode } = parcel.request()?;
                writable(handle)?.make_directory(&path, mode)?;
                plain::<Mkdir>(())
            }
            Op::Rename => self.rename(handle, parcel),
            Op::Remove => {
                let Remove { path } = parcel.request()?;
                writable(handle)?.remove(&path)?;
                plain::<Remove>(())
            }
            Op::GetStat => {
                let GetStat { path, follow } = parcel.request()?;
                plain::<GetStat>(if path.is_empty() { handle.node().stat()? } else { handle.directory()?.stat(&path, follow)? })
            }
            Op::List => {
                let List { cursor, stat } = parcel.request()?;
                let (page, rows) = readable(handle)?.list(cursor, stat)?;
                Ok(protocol::answer::<List>(&Ok(page)).memory(rows).into())
            }
            Op::ReadLink => {
                let ReadLink { path } = parcel.request()?;
                plain::<ReadLink>(readable(handle)?.read_link(&path)?)
            }
            Op::Sync => {
                let Sync { data_only } = parcel.request()?;
                match handle.node() {
                    Node::Directory(directory) => directory.sync()?,
                    Node::File(file) => file.sync(data_only)?,
                }
                plain::<Sync>(())
            }
            Op::Read => {
                let Read { offset, length } = parcel.request()?;
                let file = handle.file()?;
                handle.require(Access::READ)?;
                self.read(file, offset, length.min(READ_MAX), lend)
            }
            Op::Write => {
                let Write { offset } = parcel.request()?;
                let file = handle.file()?;
                handle.require(Access::WRITE)?;
                plain::<Write>(Written { length: write(file, offset, parcel.payload()?)? })
            }
            Op::Append => {
                let Append {} = parcel.request()?;
                let file = handle.file()?;
                handle.require(Access::APPEND)?;
                let payload = parcel.payload()?;
                // In one piece, so that no other writer's comes between.
                let length = match payload.own_bytes() {
                    Some(bytes) => file.append(bytes)?,
                    None => file.append(&payload.to_vec())?,
                };
                plain::<Append>(Written { length })
            }
            Op::Truncate => {
                let Truncate { size } = parcel.request()?;
                let file = handle.file()?;
                handle.require(Access::WRITE)?;
                file.truncate(size)?;
                plain::<Truncate>(())
            }
            Op::Descriptor => {
                let Descriptor {} = parcel.request()?;
                let file = handle.file()?;
                // Not for adding only: whoever has such a descriptor can make it one for writing.
                let (read, write) = (handle.access().contains(Access::READ), handle.access().contains(Access::WRITE));
                if !read && !write {
                    return Err(Fault::NotPermitted.into());
                }
                Ok(protocol::answer::<Descriptor>(&Ok(())).file(file.descriptor(read, write)?).into())
            }
        }
    }

    fn open(&self, handle: &Handle, parcel: &Parcel<'_>) -> Done {
        let Open { path, access, create, create_new, truncate, no_follow, mode } = parcel.request()?;
        let directory = handle.directory()?;
        if access.is_empty() || (truncate && !access.contains(Access::WRITE)) {
            return Err(Fault::InvalidArgument.into());
        }
        handle.require(access)?;
        if create || create_new {
            handle.require(Access::WRITE)?;
        }
        let how = OpenHow {
            read: access.contains(Access::READ),
            write: access.intersects(Access::WRITE | Access::APPEND),
            create,
            create_new,
            truncate,
            no_follow,
            mode,
        };
        // Charged first: a client at its limit opens, creates and cuts nothing.
        self.hand_out::<Open>(parcel, access, || Ok(Node::File(Arc::new(directory.open(&path, &how)?))))
    }

    fn narrow(&self, handle: &Handle, parcel: &Parcel<'_>) -> Done {
        let Narrow { path, access } = parcel.request()?;
        let access = access.unwrap_or(handle.access());
        if access.is_empty() {
            return Err(Fault::InvalidArgument.into());
        }
        handle.require(access)?;
        self.hand_out::<Narrow>(parcel, access, || match path.as_slice() {
            [] => Ok(handle.node().clone()),
            path => Ok(Node::Directory(Arc::new(handle.directory()?.subdirectory(path)?))),
        })
    }

    /// Makes a handle, charged to the task that asked.
    fn hand_out<R: Request<Reply = Opened>>(
        &self,
        parcel: &Parcel<'_>,
        access: Access,
        node: impl FnOnce() -> Result<Node, Failure>,
    ) -> Done {
        let charge = self.charges.take(parcel.sender.task, parcel.sender.uid)?;
        let node = node()?;
        let stat = node.stat()?;
        let right = self.handles.open(node, access, charge).map_err(|error| {
            tracing::warn!(%error, "no port for a handle");
            Fault::ServerFull
        })?;
        Ok(protocol::answer::<R>(&Ok(Opened { access, stat })).move_send(right).into())
    }

    fn rename(&self, handle: &Handle, parcel: &mut Parcel<'_>) -> Done {
        let Rename { from, to, replace } = parcel.request()?;
        let here = writable(handle)?;
        match parcel.right.take() {
            None => here.rename(&from, here, &to, replace)?,
            Some(right) => {
                let target = self.handles.find(&right).ok_or(Fault::ForeignDirectory)?;
                here.rename(&from, writable(&target)?, &to, replace)?;
            }
        }
        plain::<Rename>(())
    }

    /// Linux reads from the file into memory that the client has mapped too, where there is such memory. Else short reads come in the packet, and long ones
    /// in a region that Linux fills and that is lent to the client as it is; if there is no memory for one, the answer is a short read, and the client goes
    /// on from there.
    fn read(&self, file: &OpenFile, offset: u64, length: u64, lend: Lend<'_>) -> Done {
        let size = file.stat()?.size;
        let there = length.min(size.saturating_sub(offset));
        if (LOAN_MIN..=LOAN_MAX).contains(&there)
            && let Some(lend) = lend
        {
            let mut loan = lend(there as usize);
            if loan.is_in_place() {
                let length = file.read_into(offset, &mut loan)?;
                loan.truncate(length);
                let message = protocol::answer::<Read>(&Ok(Bytes { length: length as u64 })).loan(loan);
                return Ok(Answer { message, lends: true });
            }
        }
        if there > INLINE_MAX as u64
            && let Some(region) = self.fill_region(file, offset, there)?
        {
            let message = protocol::answer::<Read>(&Ok(Bytes { length: there })).lend_region(&region);
            return Ok(Answer { message, lends: true });
        }
        // Also at and behind the end: files whose size Linux does not know (those of /proc) say 0 and have bytes.
        let bytes = file.read(offset, (length as usize).min(INLINE_MAX))?;
        Ok(protocol::answer::<Read>(&Ok(Bytes { length: bytes.len() as u64 })).memory(bytes).into())
    }

    /// `None` if there is no room for a region or the file has become shorter meanwhile.
    fn fill_region(&self, file: &OpenFile, offset: u64, length: u64) -> Result<Option<Region>, Failure> {
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

fn write(file: &OpenFile, offset: u64, payload: &Lease) -> Result<u64, Failure> {
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

fn readable(handle: &Handle) -> Result<&Directory, Failure> {
    let directory = handle.directory()?;
    handle.require(Access::READ)?;
    Ok(directory)
}

fn writable(handle: &Handle) -> Result<&Directory, Failure> {
    let directory = handle.directory()?;
    handle.require(Access::WRITE)?;
    Ok(directory)
}
