//! Memory as a right: regions that are sealed and can only be read, regions that everybody who holds them may write, and the memory that
//! came with a message.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::sync::Arc;

use memmap2::{Mmap, MmapRaw};
use umach_abi::Name;
use umach_abi::control::{RegionCreate, RegionDrop, RegionMap, RegionSeal};
use umach_abi::limits::REGION_MAX;

use crate::error::{Error, Result};
use crate::right::SendRight;
use crate::sys::memory;
use crate::task::Task;
use crate::transport::Attached;

/// A sealed memory object: nobody can change it any more, and whoever holds the right may map it. It lives as long as somebody holds it or
/// has it mapped.
pub struct Region {
    right: SendRight,
    len: u64,
}

/// A region being filled. Write to it, or let Linux write into [`RegionWriter::file`], then [`RegionWriter::seal`] it.
pub struct RegionWriter {
    task: Task,
    id: u64,
    file: File,
    len: u64,
    sealed: bool,
}

/// A region that all its holders may read and write at the same time. What is in it is what others last wrote: trust nothing you read twice.
pub struct SharedRegion {
    right: SendRight,
    len: u64,
    map: MmapRaw,
}

/// Bytes that came with a message, or that are to go with one of an interface (`Memory::from` a vector). They are their holder's own: a snapshot that nobody can
/// change.
pub struct Memory(Arc<Inner>);

enum Inner {
    Bytes(Vec<u8>),
    Mapped(Mmap),
}

impl Task {
    /// A sealed region holding a copy of these bytes.
    pub fn region(&self, bytes: &[u8]) -> Result<Region> {
        let mut writer = self.region_writer(bytes.len() as u64)?;
        writer.write_all(bytes).map_err(|e| Error::io("filling a region", e))?;
        writer.seal()
    }
    /// A region of `size` bytes to fill.
    pub fn region_writer(&self, size: u64) -> Result<RegionWriter> {
        let (id, _, fd) = self.create_region(size, false)?;
        Ok(RegionWriter { task: self.clone(), id, file: fd, len: size, sealed: false })
    }
    /// A region of `size` bytes that everybody who holds it may write.
    pub fn shared_region(&self, size: u64) -> Result<SharedRegion> {
        let (_, name, file) = self.create_region(size, true)?;
        let right = SendRight::adopt(self, name);
        SharedRegion::map(right, size, file)
    }

    fn create_region(&self, size: u64, shared: bool) -> Result<(u64, Name, File)> {
        let what = "making a region";
        let call = RegionCreate { size, shared: shared as u32 };
        let (id, name, fd) = self.ask(what, &call, |answer, attached| (answer.region, answer.name, take_fd(attached)))?;
        match fd {
            Some(fd) => Ok((id, name, fd)),
            None if shared => {
                drop(SendRight::adopt(self, name));
                Err(no_descriptor(what))
            }
            None => {
                self.control_request(what, &RegionDrop { region: id })?;
                Err(no_descriptor(what))
            }
        }
    }
}

fn take_fd(attached: &mut Vec<Attached>) -> Option<File> {
    match attached.pop() {
        Some(Attached::Fd(fd)) => Some(File::from(fd)),
        _ => None,
    }
}

fn no_descriptor(what: &'static str) -> Error {
    Error::io(what, io::Error::from_raw_os_error(libc::EMFILE))
}

fn map_region(right: &SendRight) -> Result<(u64, bool, File)> {
    let what = "mapping a region";
    let call = RegionMap { name: right.name() };
    let (size, shared, fd) =
        right.task().ask_on(what, &right.held, &call, |answer, attached| (answer.size, answer.shared != 0, take_fd(attached)))?;
    Ok((size, shared, fd.ok_or_else(|| no_descriptor(what))?))
}

fn as_usize(len: u64) -> Result<usize> {
    usize::try_from(len)
        .ok()
        .filter(|_| len <= REGION_MAX)
        .ok_or_else(|| Error::Memory { why: format!("{len} bytes are more than can be mapped") })
}

impl Region {
    pub(crate) fn adopt(right: SendRight, len: u64) -> Region {
        Region { right, len }
    }
    /// Takes a send right that came in a message for what it is. Fails, and gives the right back, if it is not one to a sealed region.
    pub fn from_right(right: SendRight) -> Result<Region> {
        let (len, shared, _) = map_region(&right)?;
        if shared {
            return Err(Error::Memory { why: "the region is a shared one (SharedRegion::from_right)".into() });
        }
        Ok(Region { right, len })
    }
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The right: sending it gives the region.
    pub fn right(&self) -> &SendRight {
        &self.right
    }
    /// Only the right.
    pub fn into_right(self) -> SendRight {
        self.right
    }
    /// Another handle to the same region.
    pub fn duplicate(&self) -> Region {
        Region { right: self.right.duplicate(), len: self.len }
    }
    /// Maps it for reading, after looking at its seals.
    pub fn map(&self) -> Result<Memory> {
        let (size, _, file) = map_region(&self.right)?;
        Memory::from_sealed(&file, size.min(self.len))
    }
}

impl RegionWriter {
    /// The file to fill: `sendfile`, `copy_file_range`, `pwrite`. What is left unwritten is zero.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Bytes that the region will have.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether it will have none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Ends the writing for ever and gives the region. Nothing may have it mapped for writing.
    pub fn seal(mut self) -> Result<Region> {
        memory::seal(&self.file, self.len).map_err(|e| Error::io("sealing a region", e))?;
        let name = self.task.ask("sealing a region", &RegionSeal { region: self.id }, |answer, _| answer.name)?;
        self.sealed = true;
        Ok(Region { right: SendRight::adopt(&self.task, name), len: self.len })
    }
}

impl Write for RegionWriter {
    /// Stops at the region's end: a write past it is short, and one at it returns 0.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use std::io::Seek;
        let room = self.len.saturating_sub(self.file.stream_position()?);
        let take = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.file.write(&bytes[..take])
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for RegionWriter {
    fn drop(&mut self) {
        if !self.sealed {
            // Given up; if the kernel process is gone, so is the region.
            let _ = self.task.control_request("dropping a region", &RegionDrop { region: self.id });
        }
    }
}

impl SharedRegion {
    fn map(right: SendRight, len: u64, file: File) -> Result<SharedRegion> {
        let map = memory::map_shared(&file, as_usize(len)?).map_err(|why| Error::Memory { why })?;
        Ok(SharedRegion { right, len, map })
    }
    /// Takes a send right that came in a message for what it is, and maps it.
    pub fn from_right(right: SendRight) -> Result<SharedRegion> {
        let (len, shared, file) = map_region(&right)?;
        if !shared {
            return Err(Error::Memory { why: "the region is a sealed one (Region::from_right)".into() });
        }
        SharedRegion::map(right, len, file)
    }
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The right: sending it shares the region.
    pub fn right(&self) -> &SendRight {
        &self.right
    }
    /// Copies out. Others may be writing: bytes may come from different writes. Panics past the end.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        memory::read_shared(&self.map, at, out);
    }
    /// Copies in. Panics past the end.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        memory::write_shared(&self.map, at, bytes);
    }
    /// The mapping, for programs that have their own rules about who writes when. Never make a Rust reference into it.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }
}

impl Memory {
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Memory {
        Memory(Arc::new(Inner::Bytes(bytes)))
    }
    pub(crate) fn from_sealed(file: &File, len: u64) -> Result<Memory> {
        if len == 0 {
            return Ok(Memory::from_bytes(Vec::new()));
        }
        let map = memory::map_sealed(file, as_usize(len)?).map_err(|why| Error::Memory { why })?;
        Ok(Memory(Arc::new(Inner::Mapped(map))))
    }
    /// The same memory for another holder.
    pub(crate) fn share(&self) -> Memory {
        Memory(self.0.clone())
    }
    /// The bytes in a vector: moved if they came in the packet, copied if they are mapped.
    pub fn into_vec(self) -> Vec<u8> {
        match Arc::try_unwrap(self.0) {
            Ok(Inner::Bytes(bytes)) => bytes,
            Ok(Inner::Mapped(map)) => map.to_vec(),
            Err(shared) => Memory(shared).to_vec(),
        }
    }
    /// Whether the bytes are mapped and not copied.
    pub fn is_mapped(&self) -> bool {
        matches!(*self.0, Inner::Mapped(_))
    }
}

impl Deref for Memory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Inner::Bytes(bytes) => bytes,
            Inner::Mapped(map) => map,
        }
    }
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Memory {
        Memory::from_bytes(bytes)
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

macro_rules! debug_as {
    ($($Type:ident: $text:literal),*) => {$(
        impl std::fmt::Debug for $Type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, $text, self.len())
            }
        }
    )*};
}
debug_as!(Region: "region of {} bytes", RegionWriter: "region of {} bytes being filled", SharedRegion: "shared region of {} bytes", Memory: "memory of {} bytes");
