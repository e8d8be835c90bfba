//! Lanes that lead here: reading what their senders wrote.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use hashbrown::HashMap;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use umach_abi::control::file_packet;
use umach_abi::limits::LANE_FILES_MAX;
use umach_abi::message::file_lost;

use super::closer::{self, Unclaimed};

/// Files of one lane that wait for their messages at most: twice what the kernel process allows to be on its way, for the sender has some in hand. A
/// sender with more is not this library.
const KEPT_MAX: usize = 2 * LANE_FILES_MAX;

/// Why a file did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The message was handed on, or its port had moved.
    Moved,
    /// The sender did not send it, or broke its lane.
    NotSent,
    /// This process's table of descriptors was full.
    NoRoom,
    /// Descriptors that came before cannot be closed.
    Stuck,
}

impl Lost {
    pub(super) fn from_number(number: u32) -> Lost {
        if number == file_lost::MOVED { Lost::Moved } else { Lost::NotSent }
    }
    /// For people.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Lost::Moved => "the message was received by another task than the one it was sent to, and its file stayed behind",
            Lost::NotSent => "its sender did not send it",
            Lost::NoRoom => "this process's table of descriptors was full (see umach doctor)",
            Lost::Stuck => "too many descriptors from others wait to be closed in this process",
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Lanes {
    /// Where the kernel process hands over new ones.
    pub(super) inbox: Option<OwnedFd>,
    lanes: HashMap<u64, Lane>,
    /// Files that were not taken out while many waited to be closed.
    refused: Vec<(u64, u32)>,
}

struct Lane {
    socket: OwnedFd,
    /// By number; `None` where the descriptor was lost.
    kept: HashMap<u32, Option<Unclaimed>>,
}

/// One packet with at most one descriptor.
enum Packet {
    Came {
        bytes: [u8; 8],
        len: usize,
        fd: Option<OwnedFd>,
        /// There was one, and this process's table is full.
        lost: bool,
    },
    /// With more than one.
    Crowded,
    Nothing,
    End,
}

/// Reads a packet.
fn read_packet(socket: &OwnedFd) -> Packet {
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Packet::Nothing,
            Err(_) => return Packet::End,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    let lost = got.flags.contains(ReturnFlags::CTRUNC);
    if fds.len() > 1 || (lost && !fds.is_empty()) {
        fds.into_iter().for_each(closer::close);
        return Packet::Crowded;
    }
    let fd = fds.pop();
    if got.bytes == 0 && fd.is_none() && !lost {
        return Packet::End;
    }
    Packet::Came { bytes, len: got.bytes, fd, lost }
}

impl Lanes {
    /// The file of a message. The sender wrote it before the message was handed over, so it is there or never will be.
    pub(super) fn claim(&mut self, lane: u64, number: u32) -> Result<OwnedFd, Lost> {
        if closer::is_stuck() {
            self.refused.push((lane, number));
            return Err(Lost::Stuck);
        }
        for (lane, number) in std::mem::take(&mut self.refused) {
            self.void(lane, number);
        }
        if !self.lanes.contains_key(&lane) {
            self.read_inbox();
        }
        if !self.read_to(lane, number) {
            self.poison(lane);
        }
        match self.lanes.get_mut(&lane).and_then(|lane| lane.kept.remove(&number)) {
            Some(Some(file)) => Ok(file.take()),
            Some(None) => Err(Lost::NoRoom),
            None => Err(Lost::NotSent),
        }
    }

    /// Takes in the ends of new lanes.
    pub(super) fn read_inbox(&mut self) {
        let Some(inbox) = &self.inbox else { return };
        // The kernel process puts a few there at most.
        while let Packet::Came { bytes, len, fd, .. } = read_packet(inbox) {
            if let (8, Some(socket)) = (len, fd) {
                self.lanes.insert(u64::from_le_bytes(bytes), Lane { socket, kept: HashMap::new() });
            }
        }
    }

    /// Reads the lane until it has the file of this number, or nothing is left. False if its sender broke a rule.
    fn read_to(&mut self, lane: u64, number: u32) -> bool {
        let Some(lane) = self.lanes.get_mut(&lane) else { return true };
        while !lane.kept.contains_key(&number) {
            let (bytes, len, fd, lost) = match read_packet(&lane.socket) {
                Packet::Came { bytes, len, fd, lost } => (bytes, len, fd, lost),
                Packet::Nothing | Packet::End => return true,
                Packet::Crowded => return false,
            };
            let fd = fd.map(Unclaimed::new);
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            match (len, word(0), word(4)) {
                (8, file_packet::FILE, number) if fd.is_some() || lost => {
                    if lane.kept.len() == KEPT_MAX || lane.kept.insert(number, fd).is_some() {
                        return false;
                    }
                }
                (8, file_packet::VOID, number) if fd.is_none() && !lost => drop(lane.kept.remove(&number)),
                _ => return false,
            }
        }
        true
    }

    /// The sender broke a rule: nothing more is taken from it, and it finds the lane closed.
    fn poison(&mut self, lane: u64) {
        tracing::warn!(lane, "the sender of a file lane broke a rule; its files are dropped");
        self.end(lane);
    }

    /// The message with this file is gone.
    pub(super) fn void(&mut self, lane: u64, number: u32) {
        if closer::is_stuck() {
            return self.refused.push((lane, number));
        }
        if !self.lanes.contains_key(&lane) {
            self.read_inbox();
        }
        if !self.read_to(lane, number) {
            self.poison(lane);
        }
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.kept.remove(&number);
        }
    }

    /// No message with a file of this lane will come.
    pub(super) fn end(&mut self, lane: u64) {
        if !self.lanes.contains_key(&lane) {
            self.read_inbox();
        }
        if let Some(Lane { socket, kept }) = self.lanes.remove(&lane) {
            // What was not read from it goes with it.
            closer::close(socket);
            drop(kept);
        }
    }
}

impl Drop for Lanes {
    /// The task is over, and perhaps not the process: what strangers put into the lanes is closed like the rest.
    fn drop(&mut self) {
        self.inbox.take().into_iter().for_each(closer::close);
        self.lanes.drain().for_each(|(_, lane)| closer::close(lane.socket));
    }
}
