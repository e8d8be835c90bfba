//! A file handle, and the standard library's reader and writer over one.

use std::io::{self, Seek, SeekFrom, Write};

use libtask::{CallError, Error, Lease, Memory, SendRight};

use crate::error::{Failure, FileError, Subject};
use crate::protocol::{self, Access, FileClient, INLINE_MAX, READ_MAX, Stat, WRITE_MAX};
use crate::reader::Reader;

/// How much a whole-file read or a long write moves per message: large enough that the cost of a message is
/// small beside it, small enough that other clients of the server get their turn.
const PIECE: usize = 4 << 20;

/// An open file of a file server: a send right, so it can be sent to another task and be used there ([`File::into_right`],
/// [`File::from_right`]). What it permits was settled when it was opened; it can only be narrowed. Offsets are explicit, so all who hold it can
/// use it at the same time. The server closes it when the last right is gone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct File {
    right: SendRight<dyn protocol::File>,
}

impl File {
    /// Takes a right for what it is said to be. If it is something else, the first use says so.
    pub fn from_right(right: SendRight) -> File {
        File { right: right.typed() }
    }
    /// Only the right.
    pub fn into_right(self) -> SendRight {
        self.right.untyped()
    }
    /// The right, to copy into a message.
    pub fn right(&self) -> &SendRight<dyn protocol::File> {
        &self.right
    }
    /// Another value for the same handle.
    pub fn duplicate(&self) -> File {
        File { right: self.right.duplicate() }
    }
    pub(crate) fn client(&self) -> FileClient {
        self.right.duplicate().client()
    }

    /// Up to `length` bytes from `offset`, in memory that the server lends: long reads are mapped, not copied. Fewer come at the end of the file, above
    /// 64 MiB, and when the server is short of memory; none means the end.
    pub fn read_range(&self, offset: u64, length: u64) -> Result<Memory, FileError> {
        let length = length.min(READ_MAX);
        let lease = checked_lease(self.client().read(offset, length), length)?;
        Ok(lease.into_own().unwrap_or_else(|lent| lent.to_vec().into()))
    }
    /// Fills as much of `buffer` as one answer brings; 0 means the end (or an empty buffer).
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        let memory = self.read_range(offset, buffer.len() as u64)?;
        buffer[..memory.len()].copy_from_slice(&memory);
        Ok(memory.len())
    }
    /// The whole file. It is read until its end, so it may grow or shrink meanwhile, and files whose size Linux does not know work too.
    pub fn read_all(&self) -> Result<Vec<u8>, FileError> {
        let mut all = Vec::new();
        loop {
            let piece = self.read_range(all.len() as u64, PIECE as u64)?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&piece);
        }
    }

    /// Writes at `offset`; says how many bytes were taken, fewer than given when the file system ran full on the way or above 64 MiB.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, FileError> {
        self.lend("write", bytes, |client, lease| client.write(offset, lease))
    }
    /// Writes all of it at `offset`, in as many messages as it takes.
    pub fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        let mut done = 0;
        while done < bytes.len() {
            let piece = &bytes[done..bytes.len().min(done + PIECE)];
            match self.write_at(offset + done as u64, piece)? {
                0 => return Err(FileError::NoSpace(Subject::new("write", b""))),
                n => done += n,
            }
        }
        Ok(())
    }
    /// Adds at the end, wherever that is; bytes of one call stay together, whoever else appends. Says how many were taken.
    pub fn append(&self, bytes: &[u8]) -> Result<usize, FileError> {
        self.lend("append", bytes, |client, lease| client.append(lease))
    }
    /// Has as much of `bytes` written as goes into one request; says how many were taken.
    fn lend(
        &self,
        operation: &'static str,
        bytes: &[u8],
        write: impl FnOnce(FileClient, Lease) -> Result<u64, CallError<Failure>>,
    ) -> Result<usize, FileError> {
        let bytes = &bytes[..bytes.len().min(WRITE_MAX as usize)];
        let written = self.lease(bytes).map_err(CallError::Call).and_then(|lease| write(self.client(), lease));
        match written.map_err(|error| FileError::of(error, operation, b""))? {
            written if written <= bytes.len() as u64 => Ok(written as usize),
            _ => Err(FileError::Protocol { on: Subject::new(operation, b""), detail: "more bytes were written than given" }),
        }
    }
    fn lease(&self, bytes: &[u8]) -> libtask::Result<Lease> {
        if bytes.len() <= INLINE_MAX {
            return Ok(bytes.to_vec().into());
        }
        let mut loan = self.right.loan(bytes.len());
        if !loan.is_in_place() {
            return Ok(self.right.task().region(bytes)?.into());
        }
        loan.copy_from_slice(bytes);
        Ok(loan.into())
    }

    /// Facts about it.
    pub fn stat(&self) -> Result<Stat, FileError> {
        self.client().stat().map_err(|error| FileError::of(error, "stat", b""))
    }
    /// Cuts or extends it.
    pub fn truncate(&self, size: u64) -> Result<(), FileError> {
        self.client().truncate(size).map_err(|error| FileError::of(error, "truncate", b""))
    }
    /// Brings it to the disk.
    pub fn sync(&self) -> Result<(), FileError> {
        self.client().sync(false).map_err(|error| FileError::of(error, "sync", b""))
    }
    /// Brings its contents to the disk, not times and such.
    pub fn sync_data(&self) -> Result<(), FileError> {
        self.client().sync(true).map_err(|error| FileError::of(error, "sync", b""))
    }
    /// The file as Linux has it: a descriptor of this process's own, with a position of its own, for reading, writing or both, as this handle permits. Reading,
    /// writing and mapping it no longer concern the server. A handle that can only add to the file has none, since Linux lets who has a
    /// descriptor for adding make one for writing of it.
    ///
    /// ```no_run
    /// # fn map(root: umach_file_api::Dir) -> Result<(), umach_file_api::FileError> {
    /// let file: std::fs::File = root.open_read("table")?.descriptor()?;
    /// # drop(file); Ok(()) }
    /// ```
    pub fn descriptor(&self) -> Result<std::fs::File, FileError> {
        let file = self.client().descriptor().and_then(|file| {
            let own = file.into_fd().map_err(|error| Error::Io { what: "duplicating a descriptor", source: error })?;
            Ok(own.into())
        });
        file.map_err(|error| FileError::of(error, "descriptor", b""))
    }
    /// A handle of the same open file with fewer permissions.
    pub fn narrow(&self, access: Access) -> Result<File, FileError> {
        let (right, _) = self.client().narrow(access).map_err(|error| FileError::of(error, "narrow", b""))?;
        Ok(File { right })
    }
    /// A handle of the same open file that can only read.
    pub fn read_only(&self) -> Result<File, FileError> {
        self.narrow(Access::READ)
    }

    /// A reader from the start. It asks for what comes next while the program looks at what came ([`BufRead`](io::BufRead)), so no buffer around it is needed.
    pub fn reader(&self) -> Reader {
        Reader::new(self.duplicate())
    }
    /// A writer from the start. Each write is a message, so put a `BufWriter` around it for small ones.
    pub fn writer(&self) -> Writer {
        Writer { file: self.duplicate(), position: 0 }
    }
}

/// The answer to a read of `length` bytes.
pub(crate) fn checked_lease(answer: Result<Lease, CallError<Failure>>, length: u64) -> Result<Lease, FileError> {
    let lease = answer.map_err(|error| FileError::of(error, "read", b""))?;
    if lease.len() as u64 > length {
        return Err(FileError::Protocol { on: Subject::new("read", b""), detail: "a read gave more bytes than were asked for" });
    }
    Ok(lease)
}

/// Writes a file from a position on; see [`File::writer`].
#[derive(Debug)]
pub struct Writer {
    file: File,
    position: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write_at(self.position, &bytes[..bytes.len().min(PIECE)])?;
        self.position += n as u64;
        Ok(n)
    }
    /// Nothing is kept back here; [`File::sync`] goes to the disk.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Writer {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = seek(&self.file, self.position, to)?;
        Ok(self.position)
    }
}

pub(crate) fn seek(file: &File, position: u64, to: SeekFrom) -> io::Result<u64> {
    let (base, delta) = match to {
        SeekFrom::Start(at) => return Ok(at),
        SeekFrom::Current(delta) => (position, delta),
        SeekFrom::End(delta) => (file.stat()?.size, delta),
    };
    base.checked_add_signed(delta).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek to before the file's start"))
}
