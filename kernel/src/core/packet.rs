//! An answer packet under construction.

use umach_abi::Code;
use umach_abi::control::Head;
use umach_abi::records::Frame;

use super::effect::{Attach, FileLaneId};

#[derive(Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    attach: Vec<Attach>,
    /// Attachments before the frame that is being written.
    frame_attach: usize,
    /// Lanes of the open files in it, one entry for each file.
    pub(super) files: Vec<FileLaneId>,
    /// 1 + the slot of a route that waits for the message of the frame that is being written.
    first_of: u32,
}

impl Packet {
    pub(super) fn new(op: u16, seq: u32) -> Packet {
        let mut bytes = Vec::with_capacity(256);
        Head { op, attached: 0, seq, status: Code::SUCCESS }.begin(&mut bytes);
        Packet { bytes, attach: Vec::new(), frame_attach: 0, files: Vec::new(), first_of: 0 }
    }
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
    pub(super) fn attached(&self) -> usize {
        self.attach.len()
    }
    /// Adds an attachment; gives its number within the frame.
    pub(super) fn attach(&mut self, what: Attach) -> u32 {
        self.attach.push(what);
        (self.attach.len() - self.frame_attach - 1) as u32
    }
    /// Leaves room for a frame's row; the message follows.
    pub(super) fn begin_frame(&mut self) -> usize {
        let at = self.bytes.len();
        self.bytes.resize(at + Frame::SIZE, 0);
        self.frame_attach = self.attach.len();
        at
    }
    /// The message of this frame comes before those of a route, which waits for it.
    pub(super) fn comes_first(&mut self, route: u32) {
        self.first_of = route;
    }
    /// Writes the row.
    pub(super) fn end_frame(&mut self, at: usize, status: Code, size: usize, trailer: usize, annex: usize) {
        let attach = (self.attach.len() - self.frame_attach) as u32;
        let options = std::mem::take(&mut self.first_of);
        let row = Frame { status: status.0, size: size as u32, trailer: trailer as u32, annex: annex as u32, attach, options };
        let mut bytes = Vec::with_capacity(Frame::SIZE);
        row.write(&mut bytes);
        self.bytes[at..at + Frame::SIZE].copy_from_slice(&bytes);
    }
    /// The whole packet.
    pub(super) fn finish(mut self, status: Code) -> (Vec<u8>, Vec<Attach>) {
        self.bytes[2..4].copy_from_slice(&(self.attach.len() as u16).to_le_bytes());
        self.bytes[12..16].copy_from_slice(&status.0.to_le_bytes());
        Head::finish(&mut self.bytes);
        (self.bytes, self.attach)
    }
}
