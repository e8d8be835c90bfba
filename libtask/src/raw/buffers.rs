//! A [`MsgBuffer`] as a program's memory.

use std::os::fd::{AsFd, BorrowedFd};

use smallvec::SmallVec;
use umach_abi::Code;
use umach_abi::message::Descriptor;

use super::program::{Incoming, Outgoing, Program};
use super::{MsgBuffer, OolPart};
use crate::frame::names_of;
use crate::region::Memory;

/// A [`MsgBuffer`] as a program: addresses are indices.
pub(super) struct Buffers<'b> {
    pub(super) send: Option<&'b MsgBuffer>,
    pub(super) received: SmallVec<[MsgBuffer; 1]>,
}

impl<'b> Buffers<'b> {
    pub(super) fn of(send: &'b MsgBuffer) -> Buffers<'b> {
        Buffers { send: Some(send), received: SmallVec::new() }
    }
    fn part(&self, address: u64) -> Option<&OolPart> {
        self.send?.ool.get(usize::try_from(address).ok()?)
    }
}

impl Program for Buffers<'_> {
    fn message(&self) -> &[u8] {
        self.send.map_or(&[], |buffer| &buffer.bytes)
    }
    fn memory(&self, address: u64, size: usize) -> Option<Outgoing<'_>> {
        match self.part(address)? {
            OolPart::Region(name) => Some(Outgoing::Region(*name)),
            part => part.bytes()?.get(..size).map(Outgoing::Bytes),
        }
    }
    fn names(&self, address: u64, count: usize, annex: &mut Vec<u8>) -> bool {
        let names = self.part(address).and_then(OolPart::names).and_then(|names| names.get(..count));
        names.map(|names| names.iter().for_each(|name| annex.extend_from_slice(&name.0.to_le_bytes()))).is_some()
    }
    fn file(&self, address: u64) -> Option<BorrowedFd<'_>> {
        match self.part(address)? {
            OolPart::File(file) => Some(file.as_fd()),
            _ => None,
        }
    }
    fn receive(&mut self, _code: Code, message: [&[u8]; 2], trailer: &[u8]) {
        self.received.push(MsgBuffer { bytes: message.concat(), ool: Vec::new(), trailer: trailer.to_vec() });
    }
    fn place(&mut self, memory: Incoming<'_>) -> Option<u64> {
        let ool = &mut self.received.last_mut()?.ool;
        ool.push(match memory {
            Incoming::Bytes(bytes) => OolPart::Bytes(bytes.to_vec()),
            Incoming::Lent(lent) => lent.0.to_vec().map_or(OolPart::Lost, OolPart::Bytes),
            Incoming::Sealed(file, size) => Memory::from_sealed(&file, size).map_or(OolPart::Lost, OolPart::Mapped),
            Incoming::Region(name, _) => OolPart::Region(name),
            Incoming::Names(bytes) => OolPart::Names(names_of(bytes)),
            Incoming::File(file) => OolPart::File(file),
            Incoming::Lost => OolPart::Lost,
        });
        Some(ool.len() as u64 - 1)
    }
    fn describe(&mut self, at: usize, descriptor: &Descriptor) {
        if let Some(message) = self.received.last_mut() {
            descriptor.write_at(&mut message.bytes, at);
        }
    }
}
