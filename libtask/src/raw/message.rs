//! A message in Mach's own layout, with what its out-of-line descriptors stand for beside it.

use std::os::fd::OwnedFd;

use umach_abi::message::{BASE, COMPLEX, Descriptor, HEADER, Header, Trailer, copy, descriptors, round4, u32_at};
use umach_abi::{Disposition, Name};

use crate::region::Memory;

/// What an out-of-line descriptor stands for.
#[derive(Debug)]
pub enum OolPart {
    /// Memory.
    Bytes(Vec<u8>),
    /// A port array.
    Names(Vec<Name>),
    /// Sending: the bytes of the sealed region with this name; the descriptor's `deallocate` gives the region's right away too.
    Region(Name),
    /// Received memory that is mapped.
    Mapped(Memory),
    /// An open file. What is sent is a duplicate.
    File(OwnedFd),
    /// Received memory or open file that could not be had (this process's table of descriptors was full, or its seals are wrong).
    Lost,
}

impl OolPart {
    /// The bytes of memory.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            OolPart::Bytes(bytes) => Some(bytes),
            OolPart::Mapped(memory) => Some(memory),
            _ => None,
        }
    }
    /// The names of a port array.
    pub fn names(&self) -> Option<&[Name]> {
        match self {
            OolPart::Names(names) => Some(names),
            _ => None,
        }
    }
}

/// A message as `mach_msg` takes and gives it. `bytes` is header, descriptors and body in XNU's layout; the `address` of an out-of-line
/// descriptor is its index in `ool`.
///
/// The builder methods append descriptors and must come before [`MsgBuffer::body`]. Everything they write can be overwritten in `bytes`: a test of
/// malformed messages does just that.
#[derive(Debug, Default)]
pub struct MsgBuffer {
    /// Header, descriptor count, descriptors, body. Its length is the size that is sent.
    pub bytes: Vec<u8>,
    /// What out-of-line descriptors stand for.
    pub ool: Vec<OolPart>,
    /// Received: the trailer.
    pub trailer: Vec<u8>,
}

impl MsgBuffer {
    /// An empty message (a header).
    pub fn new(id: i32) -> MsgBuffer {
        // Most messages fit without growing.
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&Header { id, size: HEADER as u32, ..Header::default() }.to_bytes());
        MsgBuffer { bytes, ool: Vec::new(), trailer: Vec::new() }
    }
    /// Sets the destination.
    pub fn remote(self, name: Name, disposition: Disposition) -> MsgBuffer {
        self.remote_raw(name, disposition as u8)
    }
    /// The same with any number as the disposition.
    pub fn remote_raw(mut self, name: Name, disposition: u8) -> MsgBuffer {
        self.edit_header(|header| {
            header.remote = name;
            header.bits = header.bits & !0x1f | disposition as u32 & 0x1f;
        });
        self
    }
    /// Sets where the answer goes.
    pub fn local(self, name: Name, disposition: Disposition) -> MsgBuffer {
        self.local_raw(name, disposition as u8)
    }
    /// The same with any number as the disposition.
    pub fn local_raw(mut self, name: Name, disposition: u8) -> MsgBuffer {
        self.edit_header(|header| {
            header.local = name;
            header.bits = header.bits & !0x1f00 | (disposition as u32 & 0x1f) << 8;
        });
        self
    }
    /// Adds a right.
    pub fn port(self, name: Name, disposition: Disposition) -> MsgBuffer {
        self.descriptor(Descriptor::Port { name, disposition: disposition as u8 })
    }
    /// Adds memory.
    pub fn memory(mut self, bytes: impl Into<Vec<u8>>) -> MsgBuffer {
        let bytes = bytes.into();
        let (address, size) = (self.ool.len() as u64, bytes.len() as u32);
        self.ool.push(OolPart::Bytes(bytes));
        self.descriptor(Descriptor::Memory { address, deallocate: false, copy: copy::VIRTUAL, size, volatile: false })
    }
    /// Adds a sealed region's bytes as memory. `deallocate`: give its right away too.
    pub fn region(mut self, region: Name, size: u32, deallocate: bool) -> MsgBuffer {
        let address = self.ool.len() as u64;
        self.ool.push(OolPart::Region(region));
        self.descriptor(Descriptor::Memory { address, deallocate, copy: copy::VIRTUAL, size, volatile: false })
    }
    /// Adds an array of rights, all taken by one disposition.
    pub fn ports(mut self, names: impl Into<Vec<Name>>, disposition: Disposition) -> MsgBuffer {
        let names = names.into();
        let (address, count) = (self.ool.len() as u64, names.len() as u32);
        self.ool.push(OolPart::Names(names));
        self.descriptor(Descriptor::Ports { address, deallocate: false, copy: copy::PHYSICAL, disposition: disposition as u8, count })
    }
    /// Adds a guarded receive right.
    pub fn guarded(self, name: Name, context: u64, flags: u16) -> MsgBuffer {
        self.descriptor(Descriptor::Guarded { context, flags, disposition: Disposition::MoveReceive as u8, name })
    }
    /// Adds an open file.
    pub fn file(mut self, file: impl Into<OwnedFd>) -> MsgBuffer {
        let lane = self.ool.len() as u64;
        self.ool.push(OolPart::File(file.into()));
        self.descriptor(Descriptor::File { lane, number: 0 })
    }
    /// Adds any descriptor.
    pub fn descriptor(mut self, descriptor: Descriptor) -> MsgBuffer {
        if !self.header().is_complex() {
            self.edit_header(|header| header.bits |= COMPLEX);
            self.bytes.extend_from_slice(&0u32.to_le_bytes());
        }
        let count = u32_at(&self.bytes, HEADER).unwrap_or(0) + 1;
        self.bytes[HEADER..BASE].copy_from_slice(&count.to_le_bytes());
        descriptor.push(&mut self.bytes);
        self.fix_size();
        self
    }
    /// Appends a body, padded with zeros to a multiple of four.
    pub fn body(mut self, bytes: &[u8]) -> MsgBuffer {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(round4(self.bytes.len()), 0);
        self.fix_size();
        self
    }
    fn fix_size(&mut self) {
        let size = self.bytes.len() as u32;
        self.edit_header(|header| header.size = size);
    }
    /// Changes the header. The buffer must hold one.
    pub fn edit_header(&mut self, edit: impl FnOnce(&mut Header)) {
        let mut header = self.header();
        edit(&mut header);
        self.bytes[..HEADER].copy_from_slice(&header.to_bytes());
    }

    /// The header; all zero if the buffer is shorter than one.
    pub fn header(&self) -> Header {
        Header::read(&self.bytes).unwrap_or_default()
    }
    /// The descriptors, as far as they can be read.
    pub fn descriptors(&self) -> Vec<Descriptor> {
        descriptors(&self.bytes).map_while(|(_, descriptor)| descriptor.ok()).collect()
    }
    /// The name that the `i`-th descriptor carries, if it carries one.
    pub fn port_at(&self, i: usize) -> Option<Name> {
        match self.descriptors().get(i)? {
            Descriptor::Port { name, .. } | Descriptor::Guarded { name, .. } => Some(*name),
            _ => None,
        }
    }
    /// The bytes that the `i`-th descriptor carries, if it is memory.
    pub fn memory_at(&self, i: usize) -> Option<&[u8]> {
        match self.descriptors().get(i)? {
            Descriptor::Memory { size: 0, .. } => Some(&[]),
            Descriptor::Memory { address, .. } => self.ool.get(*address as usize)?.bytes(),
            _ => None,
        }
    }
    /// Takes the open file that the `i`-th descriptor stands for.
    pub fn take_file_at(&mut self, i: usize) -> Option<OwnedFd> {
        let Descriptor::File { lane, .. } = self.descriptors().get(i).copied()? else { return None };
        let part = self.ool.get_mut(lane as usize).filter(|part| matches!(part, OolPart::File(_)))?;
        match std::mem::replace(part, OolPart::Lost) {
            OolPart::File(file) => Some(file),
            _ => unreachable!("just seen"),
        }
    }
    /// The names that the `i`-th descriptor carries, if it is a port array.
    pub fn ports_at(&self, i: usize) -> Option<&[Name]> {
        match self.descriptors().get(i)? {
            Descriptor::Ports { count: 0, .. } => Some(&[]),
            Descriptor::Ports { address, .. } => self.ool.get(*address as usize)?.names(),
            _ => None,
        }
    }
    /// Everything behind header and descriptors.
    pub fn body_bytes(&self) -> &[u8] {
        let mut at = if self.header().is_complex() { BASE } else { HEADER };
        for (start, descriptor) in descriptors(&self.bytes) {
            match descriptor {
                Ok(descriptor) => at = start + descriptor.size(),
                Err(_) => break,
            }
        }
        self.bytes.get(at..).unwrap_or(&[])
    }
    /// The trailer that was received, read.
    pub fn trailer(&self) -> Option<Trailer> {
        Trailer::read(&self.trailer)
    }
    /// What the message says if it is a notification from the kernel; the trailer must have been asked for (`TrailerRequest::Audit`).
    pub fn notification(&self) -> Option<umach_abi::notify::Notification> {
        let trailer = self.trailer()?;
        let kernel = umach_abi::notify::KERNEL_ID;
        (trailer.uid == kernel && trailer.gid == kernel && trailer.pid == 0).then(|| umach_abi::notify::Notification::parse(&self.bytes))?
    }
}
