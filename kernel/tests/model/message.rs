//! Messages on the wire, as tasks write them and as answers bring them.

use umach_abi::message::{self, Descriptor, Header, Place, copy};
use umach_abi::records::{Frame, kobject};
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name, RightKind};

use super::state::*;

/// The sending half of a `Msg` request, with names as the sender writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendReq {
    pub(crate) id: i32,
    pub(crate) dest: (u32, u8),
    pub(crate) reply: (u32, u8),
    pub(crate) descs: Vec<DescReq>,
    pub(crate) words: u8,
    pub(crate) notify: bool,
    pub(crate) try_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DescReq {
    Port(u32, u8),
    Ports(Vec<u32>, u8),
    Memory(u8, bool),
    Unknown,
}

impl SendReq {
    /// The message and its annex, as they travel.
    pub(crate) fn wire(&self) -> (Vec<u8>, Vec<u8>) {
        let header = Header {
            bits: Header::make_bits(self.dest.1, self.reply.1, !self.descs.is_empty()),
            size: 0,
            remote: Name(self.dest.0),
            local: Name(self.reply.0),
            voucher: Name::NULL,
            id: self.id,
        };
        let mut message = header.to_bytes().to_vec();
        let mut annex = Vec::new();
        if !self.descs.is_empty() {
            message.extend_from_slice(&(self.descs.len() as u32).to_le_bytes());
        }
        for desc in &self.descs {
            match desc {
                DescReq::Port(name, disposition) => Descriptor::Port { name: Name(*name), disposition: *disposition }.push(&mut message),
                DescReq::Ports(names, disposition) => {
                    let place = if names.is_empty() { Place::Null } else { Place::Annex(annex.len() as u32) };
                    names.iter().for_each(|name| annex.extend_from_slice(&name.to_le_bytes()));
                    let count = names.len() as u32;
                    let (address, disposition) = (place.to_raw(), *disposition);
                    Descriptor::Ports { address, deallocate: false, copy: copy::PHYSICAL, disposition, count }.push(&mut message);
                }
                DescReq::Memory(size, deallocate) => {
                    let place = if *size == 0 { Place::Null } else { Place::Annex(annex.len() as u32) };
                    annex.extend(self.memory(*size));
                    annex.resize(message::round4(annex.len()), 0);
                    Descriptor::Memory {
                        address: place.to_raw(),
                        deallocate: *deallocate,
                        copy: copy::VIRTUAL,
                        size: *size as u32,
                        volatile: false,
                    }
                    .push(&mut message);
                }
                DescReq::Unknown => message.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 0]),
            }
        }
        message.extend(self.body());
        (message, annex)
    }
    pub(crate) fn price(&self) -> u64 {
        let (message, annex) = self.wire();
        let rights: usize = self
            .descs
            .iter()
            .map(|desc| match desc {
                DescReq::Port(..) => 1,
                DescReq::Ports(names, _) => names.len(),
                _ => 0,
            })
            .sum();
        OVERHEAD + (message.len() + annex.len()) as u64 + PER_RIGHT * rights as u64
    }
    pub(crate) fn memory(&self, size: u8) -> Vec<u8> {
        (0..size).map(|i| i.wrapping_mul(7).wrapping_add(self.id as u8)).collect()
    }
    pub(crate) fn body(&self) -> Vec<u8> {
        (0..self.words as u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) ^ self.id as u32).to_le_bytes()).collect()
    }
}

/// What a message costs, beside its bytes; what each right in it costs; and what is set aside for a notification.
const OVERHEAD: u64 = 256;
const PER_RIGHT: u64 = 16;
pub(crate) const NOTIFICATION: u64 = 256;

/// Why a send was refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing was consumed.
    Header(Vec<Code>),
    /// The header's rights and the body's up to the bad one are gone.
    Body(Code),
    /// It went where nobody is: success, and the message is gone.
    Lost,
}

/// One frame of an answer.
#[derive(Debug)]
pub(crate) struct FrameView<'a> {
    pub(crate) row: Frame,
    pub(crate) message: &'a [u8],
    pub(crate) trailer: &'a [u8],
    pub(crate) annex: &'a [u8],
}

pub(crate) fn read_frames(mut bytes: &[u8]) -> R<Vec<FrameView<'_>>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let row = Frame::read(bytes).ok_or("answer ends inside a frame's row")?;
        let mut cut = |size: usize| -> R<&[u8]> {
            let (head, rest) = bytes.split_at_checked(size).ok_or("answer ends inside a frame")?;
            bytes = rest;
            Ok(head)
        };
        cut(Frame::SIZE)?;
        let (message, trailer, annex) = (cut(row.size as usize)?, cut(row.trailer as usize)?, cut(row.annex as usize)?);
        frames.push(FrameView { row, message, trailer, annex });
    }
    Ok(frames)
}

/// What a disposition arrives as.
pub(crate) fn received_kind(disposition: Disposition) -> u8 {
    match disposition.becomes() {
        RightKind::Receive => received::RECEIVE,
        RightKind::Send => received::SEND,
        _ => received::SEND_ONCE,
    }
}

pub(crate) fn received_right(right: Right) -> u8 {
    match right {
        Right::Once(_) => received::SEND_ONCE,
        Right::Receive(_) => received::RECEIVE,
        _ => received::SEND,
    }
}

/// Whether the port is an ordinary one, on which tasks receive.
pub(crate) fn is_plain(port: &Port) -> bool {
    port.kobject == kobject::NONE
}
