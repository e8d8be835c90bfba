//! `mach_msg` and its relatives.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use umach_abi::control::{Reply, SendMany, answer, msg_flags, phase};
use umach_abi::limits::{ANNEX_MAX, ANNEX_THRESHOLD};
use umach_abi::message::{Descriptor, Options, Place, TrailerRequest, descriptors, file_lost, round4};
use umach_abi::records::Frame;
use umach_abi::{Code, Name};

use super::{MsgBuffer, OolPart, Space};
use crate::error::Error;
use crate::exchange::{Either, Exchange, Post, exchange};
use crate::files::Staged;
use crate::received::{RawFrame, array_names, take_attached};
use crate::region::Memory;
use crate::task::Task;
use crate::transport::Wait;
use crate::transport::pool::Need;

/// A message in wire form: descriptors' addresses are places, and what they stand for is in the annex.
#[derive(Default)]
struct Wire {
    message: Vec<u8>,
    annex: Vec<u8>,
    /// Regions made for this message, by name; released if it is not sent.
    regions: Vec<Name>,
    /// Open files that were written to their lane.
    files: Vec<Staged>,
}

impl Wire {
    fn sent(&self) {
        self.files.iter().for_each(Staged::mark_sent);
    }
}

impl Space<'_> {
    /// `mach_msg`: sends `buffer`, receives into it, or both, as `options` say.
    ///
    /// * `rcv_size` is the room for message and trailer; nothing else limits what is received.
    /// * `timeout` is in milliseconds and counts for the phases whose `_TIMEOUT` option is set; 0 tries. When both are set, one deadline counts for
    ///   both together.
    /// * `options` may carry a trailer request ([`Space::mach_msg_options`] takes raw bits).
    ///
    /// After a receive, and after a failed send that gives the message back, the buffer holds the new message, its trailer in [`MsgBuffer::trailer`]. After
    /// `MACH_RCV_TOO_LARGE` it holds what Mach delivers then: the header, with the size that is needed.
    pub fn mach_msg(&self, buffer: &mut MsgBuffer, options: Options, rcv_size: u32, rcv_name: Name, timeout: u32, notify: Name) -> Code {
        self.mach_msg_options(buffer, options.bits(), rcv_size, rcv_name, timeout, notify)
    }

    /// The same with raw option bits. The last argument, which XNU no longer uses either, is ignored.
    pub fn mach_msg_options(
        &self,
        buffer: &mut MsgBuffer,
        options: u32,
        rcv_size: u32,
        rcv_name: Name,
        timeout: u32,
        _notify: Name,
    ) -> Code {
        match self.message(buffer, options, rcv_size, rcv_name, timeout) {
            Ok(code) => code,
            Err(failed) => failed.code(),
        }
    }

    /// Sends the buffer, waiting as long as it takes.
    pub fn send(&self, buffer: &mut MsgBuffer) -> Code {
        self.mach_msg(buffer, Options::SEND, 0, Name::NULL, 0, Name::NULL)
    }

    /// Sends the buffer, waiting at most so many milliseconds.
    pub fn send_timeout(&self, buffer: &mut MsgBuffer, timeout: u32) -> Code {
        self.mach_msg(buffer, Options::SEND | Options::SEND_TIMEOUT, 0, Name::NULL, timeout, Name::NULL)
    }

    /// Receives one message with an audit trailer, waiting at most so many milliseconds.
    pub fn receive(&self, name: Name, timeout: u32) -> Result<MsgBuffer, Code> {
        let mut buffer = MsgBuffer::default();
        let options = Options::RCV | Options::RCV_TIMEOUT | Options::from_bits_retain(TrailerRequest::Audit.options());
        self.mach_msg(&mut buffer, options, u32::MAX, name, timeout, Name::NULL).ok()?;
        Ok(buffer)
    }

    /// Receives what is ready, at most `count` messages, waiting at most so many milliseconds for the first.
    pub fn receive_many(&self, name: Name, count: u32, timeout: u32) -> Result<Vec<MsgBuffer>, Code> {
        let options = (Options::RCV | Options::RCV_TIMEOUT).bits() | TrailerRequest::Audit.options();
        let mut received = Vec::new();
        let code = self.exchange(None, options, u32::MAX, name, timeout, count, &mut received).map_err(|e| e.code())?;
        if received.is_empty() {
            code.ok()?;
        }
        Ok(received)
    }

    /// Sends several messages, none of which waits; stops at the first that fails. Says how many were sent, and how the last one ended.
    pub fn send_many(&self, buffers: &[MsgBuffer]) -> (u32, Code) {
        match self.send_frames(buffers) {
            Ok(done) => done,
            Err(failed) => (0, failed.code()),
        }
    }

    fn send_frames(&self, buffers: &[MsgBuffer]) -> Result<(u32, Code), Error> {
        let wires = buffers.iter().map(|buffer| self.wire_form(buffer, Some(Duration::ZERO))).collect::<Result<Vec<_>, _>>()?;
        let mut tail = Vec::new();
        for wire in &wires {
            let row = Frame {
                size: wire.message.len() as u32,
                annex: wire.annex.len() as u32,
                options: Options::SEND.bits(),
                ..Frame::default()
            };
            row.write(&mut tail);
            tail.extend_from_slice(&wire.message);
            tail.extend_from_slice(&wire.annex);
        }
        if self.task.0.plane.is_active() {
            return self.send_each(wires);
        }
        let mut lane = self.task.lane(Need::Prompt)?;
        lane.begin(&SendMany { count: buffers.len() as u32, tail: &tail });
        let code = lane.exchange(Wait::FOREVER, false)?.status;
        let sent = answer::SendMany::take(lane.fields()).map_err(Error::Protocol)?.sent;
        drop(lane);
        wires.iter().take(sent as usize).for_each(Wire::sent);
        for wire in wires.into_iter().skip(sent as usize) {
            self.drop_regions(wire.regions);
        }
        Ok((sent, code))
    }

    /// One after the other: some of them may go over links.
    fn send_each(&self, wires: Vec<Wire>) -> Result<(u32, Code), Error> {
        let mut sent = 0;
        let mut wires = wires.into_iter();
        for wire in wires.by_ref() {
            let (timed, flags) = (phase::SEND, msg_flags::TRY_SEND);
            let mut received = Vec::new();
            let code =
                self.pass_on(Some(&wire), Options::SEND.bits(), 0, Name::NULL, Wait { timed, ..Wait::FOREVER }, flags, 0, &mut received)?;
            if !code.is_ok() {
                self.drop_regions(wire.regions);
                wires.for_each(|wire| self.drop_regions(wire.regions));
                return Ok((sent, code));
            }
            wire.sent();
            sent += 1;
        }
        Ok((sent, Code::SUCCESS))
    }

    fn message(&self, buffer: &mut MsgBuffer, options: u32, rcv_size: u32, rcv_name: Name, timeout: u32) -> Result<Code, Error> {
        let sends = options & Options::SEND.bits() != 0;
        let timed = options & Options::SEND_TIMEOUT.bits() != 0;
        let patience = timed.then(|| Duration::from_millis(timeout as u64));
        let wire = if sends { Some(self.wire_form(buffer, patience)?) } else { None };
        let mut received = Vec::new();
        let regions = wire.as_ref().map_or(Vec::new(), |wire| wire.regions.clone());
        let code = self.exchange(wire.as_ref(), options, rcv_size, rcv_name, timeout, 1, &mut received)?;
        let receive_failed = code.0 >> 28 == 1 && code.0 & 0x4000 != 0;
        if code.is_ok() || receive_failed {
            wire.iter().for_each(Wire::sent);
        } else {
            // Those that the kernel took are no longer here, and releasing them again does nothing.
            self.drop_regions(regions);
        }
        if let Some(first) = received.pop() {
            *buffer = first;
        }
        Ok(code)
    }

    #[allow(clippy::too_many_arguments)] // Mach's own argument list
    fn exchange(
        &self,
        wire: Option<&Wire>,
        options: u32,
        limit: u32,
        receive: Name,
        timeout: u32,
        count: u32,
        received: &mut Vec<MsgBuffer>,
    ) -> Result<Code, Error> {
        let has = |option: Options| options & option.bits() != 0;
        let timed = if has(Options::SEND_TIMEOUT) { phase::SEND } else { 0 } | if has(Options::RCV_TIMEOUT) { phase::RECEIVE } else { 0 };
        let interruptible =
            if has(Options::SEND_INTERRUPT) { phase::SEND } else { 0 } | if has(Options::RCV_INTERRUPT) { phase::RECEIVE } else { 0 };
        let mut flags = 0;
        if timeout == 0 {
            flags |= if timed & phase::SEND != 0 { msg_flags::TRY_SEND } else { 0 };
            flags |= if timed & phase::RECEIVE != 0 { msg_flags::TRY_RECEIVE } else { 0 };
        }
        let wait = Wait { timeout: (timed != 0 && timeout > 0).then(|| Duration::from_millis(timeout as u64)), timed, interruptible };
        self.pass_on(wire, options, limit, receive, wait, flags, count, received)
    }

    #[allow(clippy::too_many_arguments)] // Mach's own argument list
    fn pass_on(
        &self,
        wire: Option<&Wire>,
        options: u32,
        limit: u32,
        receive: Name,
        wait: Wait,
        flags: u32,
        count: u32,
        received: &mut Vec<MsgBuffer>,
    ) -> Result<Code, Error> {
        let whole;
        let post = match wire {
            None => None,
            Some(wire) if wire.annex.is_empty() => Some(&wire.message[..]),
            Some(wire) => {
                whole = [&wire.message[..], &wire.annex].concat();
                Some(&whole[..])
            }
        };
        let post = post.zip(wire).map(|(bytes, wire)| Post { bytes, send_size: wire.message.len() as u32, rooms: &[] });
        let mut answered = exchange(self.task, &Exchange { options, flags, post, call: false, receive, limit, count, wait, from: None })?;
        let code = answered.code;
        let request = TrailerRequest::from_options(options).unwrap_or(TrailerRequest::Null);
        answered.each_typed(|message| {
            received.push(match message {
                Either::Typed(message) => {
                    let (bytes, trailer) = message.into_bytes(request);
                    MsgBuffer { bytes, ool: Vec::new(), trailer }
                }
                Either::Raw(frame) => from_wire(self.task, frame),
            });
            Ok(())
        })?;
        drop(answered);
        self.task.0.plane.look(self.task)?;
        Ok(code)
    }

    /// Writes the message as it travels: each out-of-line address becomes a place. An index that stands for nothing becomes a place that the
    /// kernel refuses, so that Mach's rules about what is consumed then are the kernel's too.
    fn wire_form(&self, buffer: &MsgBuffer, patience: Option<Duration>) -> Result<Wire, Error> {
        let mut wire = Wire { message: buffer.bytes.clone(), ..Wire::default() };
        if let Err(failed) = self.place_all(buffer, &mut wire, patience) {
            self.drop_regions(std::mem::take(&mut wire.regions));
            return Err(failed);
        }
        Ok(wire)
    }

    fn place_all(&self, buffer: &MsgBuffer, wire: &mut Wire, patience: Option<Duration>) -> Result<(), Error> {
        let until = patience.map(|patience| Instant::now() + patience);
        const NOWHERE: u64 = Place::Annex(u32::MAX).to_raw();
        for (at, descriptor) in descriptors(&buffer.bytes) {
            let Ok(mut descriptor) = descriptor else { break };
            match &mut descriptor {
                Descriptor::Memory { address, deallocate, size, .. } => {
                    *address = match buffer.ool.get(*address as usize) {
                        _ if *size == 0 => Place::Null.to_raw(),
                        Some(OolPart::Region(name)) => Place::Region(*name).to_raw(),
                        Some(part) => match part.bytes().and_then(|bytes| bytes.get(..*size as usize)) {
                            Some(bytes) => {
                                let (place, moved) = self.place_bytes(bytes, wire)?;
                                *deallocate |= moved;
                                place.to_raw()
                            }
                            None => NOWHERE,
                        },
                        None => NOWHERE,
                    };
                }
                Descriptor::Ports { address, count, .. } => {
                    let names = buffer.ool.get(*address as usize).and_then(OolPart::names).and_then(|names| names.get(..*count as usize));
                    *address = match names {
                        _ if *count == 0 => Place::Null.to_raw(),
                        Some(names) if wire.annex.len() + 4 * names.len() <= ANNEX_MAX => {
                            let at = wire.annex.len() as u32;
                            names.iter().for_each(|name| wire.annex.extend_from_slice(&name.0.to_le_bytes()));
                            Place::Annex(at).to_raw()
                        }
                        _ => NOWHERE,
                    };
                }
                Descriptor::File { lane, number } => {
                    let staged = match buffer.ool.get(*lane as usize) {
                        Some(OolPart::File(file)) => self.task.0.files.stage(self.task, buffer.header().remote, file.as_fd(), until)?,
                        _ => None,
                    };
                    (*lane, *number) = staged.as_ref().map_or((0, file_lost::NOT_SENT), Staged::token);
                    wire.files.extend(staged);
                }
                _ => continue,
            }
            descriptor.write_at(&mut wire.message, at);
        }
        Ok(())
    }

    /// Puts bytes into the annex, or into a region of their own that goes with the message.
    fn place_bytes(&self, bytes: &[u8], wire: &mut Wire) -> Result<(Place, bool), Error> {
        if bytes.len() > ANNEX_THRESHOLD || wire.annex.len() + round4(bytes.len()) > ANNEX_MAX {
            let name = self.task.region(bytes)?.into_right().into_raw()?;
            wire.regions.push(name);
            return Ok((Place::Region(name), true));
        }
        let at = wire.annex.len() as u32;
        wire.annex.extend_from_slice(bytes);
        wire.annex.resize(round4(wire.annex.len()), 0);
        Ok((Place::Annex(at), false))
    }

    fn drop_regions(&self, regions: Vec<Name>) {
        for name in regions {
            // Fails if the kernel has taken it.
            let _ = Space::new(self.task).port_deallocate(name);
        }
    }
}

/// The message as the program sees it: places become indices.
fn from_wire(task: &Task, frame: RawFrame<'_>) -> MsgBuffer {
    let RawFrame { message, trailer, annex, mut attached, mut leases, .. } = frame;
    let mut bytes = message.to_vec();
    let mut ool = Vec::new();
    for (at, descriptor) in descriptors(message) {
        let Ok(mut descriptor) = descriptor else { break };
        let part = match &descriptor {
            Descriptor::Memory { address, size, .. } => match Place::from_raw(*address) {
                Some(Place::Null) => continue,
                Some(Place::Annex(from)) => {
                    annex.get(from as usize..from as usize + *size as usize).map_or(OolPart::Lost, |bytes| OolPart::Bytes(bytes.to_vec()))
                }
                Some(Place::Attached(n)) => take_attached(&mut attached, n)
                    .and_then(|file| Memory::from_sealed(&file, *size as u64).ok())
                    .map_or(OolPart::Lost, OolPart::Mapped),
                Some(Place::Region(name)) => OolPart::Region(name),
                Some(Place::Lease(n)) => {
                    leases.get_mut(n as usize).and_then(Option::take).and_then(|lease| lease.to_vec()).map_or(OolPart::Lost, OolPart::Bytes)
                }
                None => OolPart::Lost,
            },
            Descriptor::Ports { address, count, .. } if *count > 0 => {
                array_names(annex, *address, *count).map_or(OolPart::Lost, OolPart::Names)
            }
            Descriptor::File { lane, number } => task.0.files.claim(*lane, *number).map_or(OolPart::Lost, OolPart::File),
            _ => continue,
        };
        match &mut descriptor {
            Descriptor::File { lane, .. } => *lane = ool.len() as u64,
            Descriptor::Memory { address, .. } | Descriptor::Ports { address, .. } => *address = ool.len() as u64,
            _ => {}
        }
        ool.push(part);
        descriptor.write_at(&mut bytes, at);
    }
    MsgBuffer { bytes, ool, trailer: trailer.to_vec() }
}
