//! A file handle, and the standard library's reader and writer over one.

use std::io::{self, Seek, SeekFrom, Write};

use libtask::{Memory, Message, SendRight};

use crate::error::{FileError, Subject};
use crate::protocol::{self, Access, Append, GetStat, INLINE_MAX, Narrow, READ_MAX, Stat, Sync, Truncate, WRITE_MAX, call};
use crate::reader::Reader;

/// How much a whole-file read or a long write moves per message: large enough that the cost of a message is
/// small beside it, small enough that other clients of the server get their turn.
const PIECE: usize = 4 << 20;

/// An open file of a file server: a send right, so it can be sent to another task and be used there ([`File::into_right`],
/// [`File::from_right`]). What it permits was settled when it was opened; it can only be narrowed. Offsets are explicit, so all who hold it can
/// use it at the same time. The server closes it when the last right is gone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct File {
    right: SendRight,
}

fn on(operation: &'static str) -> Subject {
    Subject::new(operation, b"")
}

impl File {
    /// Takes a right for what it is said to be. If it is something else, the first use says so.
    pub fn from_right(right: SendRight) -> File {
        File { right }
    }
    /// Only the right.
    pub fn into_right(self) -> SendRight {
        self.right
    }
    /// The right, to copy into a message.
    pub fn right(&self) -> &SendRight {
        &self.right
    }
    /// Another value for the same handle.
    pub fn duplicate(&self) -> File {
        File { right: self.right.duplicate() }
    }

    /// Up to `length` bytes from `offset`, in memory that the server lends: long reads are mapped, not copied. Fewer come at the end of the file, above
    /// 64 MiB, and when the server is short of memory; none means the end.
    pub fn read_range(&self, offset: u64, length: u64) -> Result<Memory, FileError> {
        let subject = on("read");
        let length = length.min(READ_MAX);
        let (head, mut answer) = call(&self.right, &protocol::Read { offset, length }, &subject, |m| m)?;
        let memory = protocol::take_memory(&mut answer, &subject)?;
        if memory.len() as u64 != head.length || head.length > length {
            return Err(FileError::Protocol { on: subject, detail: "a read answered with another length than it says" });
        }
        Ok(memory)
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
        let subject = on("write");
        let bytes = &bytes[..bytes.len().min(WRITE_MAX as usize)];
        let (written, _) = self.with_memory(&protocol::Write { offset }, bytes, &subject)?;
        checked(written.length, bytes.len(), subject)
    }
    /// Writes all of it at `offset`, in as many messages as it takes.
    pub fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        let mut done = 0;
        while done < bytes.len() {
            let piece = &bytes[done..bytes.len().min(done + PIECE)];
            match self.write_at(offset + done as u64, piece)? {
                0 => return Err(FileError::NoSpace(on("write"))),
                n => done += n,
            }
        }
        Ok(())
    }
    /// Adds at the end, wherever that is; bytes of one call stay together, whoever else appends. Says how many were taken.
    pub fn append(&self, bytes: &[u8]) -> Result<usize, FileError> {
        let subject = on("append");
        let bytes = &bytes[..bytes.len().min(WRITE_MAX as usize)];
        let (written, _) = self.with_memory(&Append {}, bytes, &subject)?;
        checked(written.length, bytes.len(), subject)
    }
    fn with_memory<R: protocol::Request>(
        &self,
        request: &R,
        bytes: &[u8],
        subject: &Subject,
    ) -> Result<(R::Reply, libtask::Received), FileError> {
        if bytes.len() <= INLINE_MAX {
            return call(&self.right, request, subject, |message: Message| message.memory(bytes));
        }
        let mut loan = self.right.loan(bytes.len());
        if loan.is_in_place() {
            loan.copy_from_slice(bytes);
            return call(&self.right, request, subject, |message| message.loan(loan));
        }
        let region = self.right.task().region(bytes).map_err(|source| FileError::Ipc { on: subject.clone(), source })?;
        call(&self.right, request, subject, |message| message.lend_region(&region))
    }

    /// Facts about it.
    pub fn stat(&self) -> Result<Stat, FileError> {
        call(&self.right, &GetStat { path: Vec::new(), follow: true }, &on("stat"), |m| m).map(|(stat, _)| stat)
    }
    /// Cuts or extends it.
    pub fn truncate(&self, size: u64) -> Result<(), FileError> {
        call(&self.right, &Truncate { size }, &on("truncate"), |m| m).map(|_| ())
    }
    /// Brings it to the disk.
    pub fn sync(&self) -> Result<(), FileError> {
        call(&self.right, &Sync { data_only: false }, &on("sync"), |m| m).map(|_| ())
    }
    /// Brings its contents to the disk, not times and such.
    pub fn sync_data(&self) -> Result<(), FileError> {
        call(&self.right, &Sync { data_only: true }, &on("sync"), |m| m).map(|_| ())
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
        let subject = on("descriptor");
        let (_, mut answer) = call(&self.right, &protocol::Descriptor {}, &subject, |m| m)?;
        let file = answer.take_file(0).map_err(|source| FileError::Ipc { on: subject, source })?;
        Ok(file.into())
    }
    /// A handle of the same open file with fewer permissions.
    pub fn narrow(&self, access: Access) -> Result<File, FileError> {
        let subject = on("narrow");
        let (_, mut answer) = call(&self.right, &Narrow { path: Vec::new(), access: Some(access) }, &subject, |m| m)?;
        Ok(File::from_right(protocol::take_right(&mut answer, &subject)?))
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

fn checked(written: u64, given: usize, subject: Subject) -> Result<usize, FileError> {
    match usize::try_from(written) {
        Ok(written) if written <= given => Ok(written),
        _ => Err(FileError::Protocol { on: subject, detail: "more bytes were written than given" }),
    }
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
