//! `mach_msg` and its relatives.

use std::time::Duration;

use smallvec::SmallVec;
use umach_abi::control::{Reply, SendMany, answer, msg_flags, phase};
use umach_abi::link::RECORD_MAX;
use umach_abi::message::{BITS_USED, HEADER, Header, Options, TrailerRequest};
use umach_abi::records::Frame;
use umach_abi::{Code, Disposition, Name};

use super::buffers::Buffers;
use super::program::Program;
use super::wire::{Wire, from_wire};
use super::{MsgBuffer, Space};
use crate::direct::{Carry, Want};
use crate::error::Error;
use crate::exchange::{
    Answered, Either, Exchange, OwnCall, Post, answer_plain, call_own, doubted, exchange, is_receive_error, receive_soon_by_name,
    send_plain,
};
use crate::received::Received;
use crate::transport::Wait;
use crate::transport::pool::Need;

/// What a receive asked for.
#[derive(Clone, Copy)]
struct Asked {
    options: u32,
    receive: Name,
    limit: u32,
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
        let mut program = Buffers { send: None, received: SmallVec::new() };
        let code = self.exchange(&mut program, options, u32::MAX, name, timeout, count).map_err(|e| e.code())?;
        if program.received.is_empty() {
            code.ok()?;
        }
        Ok(program.received.into_vec())
    }

    /// Sends several messages, none of which waits; stops at the first that fails. Says how many were sent, and how the last one ended.
    pub fn send_many(&self, buffers: &[MsgBuffer]) -> (u32, Code) {
        match self.send_frames(buffers) {
            Ok(done) => done,
            Err(failed) => (0, failed.code()),
        }
    }

    fn send_frames(&self, buffers: &[MsgBuffer]) -> Result<(u32, Code), Error> {
        let patience = Some(Duration::ZERO);
        let wires = buffers.iter().map(|buffer| self.wire_form(&Buffers::of(buffer), false, patience)).collect::<Result<Vec<_>, _>>()?;
        let mut tail = Vec::new();
        for wire in &wires {
            let row = Frame { size: wire.size as u32, annex: wire.annex().len() as u32, options: Options::SEND.bits(), ..Frame::default() };
            row.write(&mut tail);
            tail.extend_from_slice(&wire.bytes);
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
            self.drop_regions(&wire.regions);
        }
        Ok((sent, code))
    }

    /// One after the other: some of them may go over links.
    fn send_each(&self, wires: Vec<Wire>) -> Result<(u32, Code), Error> {
        let mut sent = 0;
        let mut wires = wires.into_iter();
        for wire in wires.by_ref() {
            let want = Exchange {
                options: Options::SEND.bits(),
                flags: msg_flags::TRY_SEND,
                post: Some(wire.post()),
                call: false,
                receive: Name::NULL,
                limit: 0,
                count: 0,
                wait: Wait { timed: phase::SEND, ..Wait::FOREVER },
                from: None,
            };
            let code = exchange(self.task, &want)?.code;
            self.task.0.plane.look(self.task)?;
            if !code.is_ok() {
                self.drop_regions(&wire.regions);
                wires.for_each(|wire| self.drop_regions(&wire.regions));
                return Ok((sent, code));
            }
            wire.sent();
            sent += 1;
        }
        Ok((sent, Code::SUCCESS))
    }

    fn message(&self, buffer: &mut MsgBuffer, options: u32, rcv_size: u32, rcv_name: Name, timeout: u32) -> Result<Code, Error> {
        let mut program = Buffers::of(buffer);
        let code = self.exchange(&mut program, options, rcv_size, rcv_name, timeout, 1)?;
        if let Some(first) = program.received.pop() {
            *buffer = first;
        }
        Ok(code)
    }

    /// `mach_msg` on a program's own memory; see [`Program`].
    pub fn mach_msg_of(&self, program: &mut impl Program, options: u32, rcv_size: u32, rcv_name: Name, timeout: u32) -> Code {
        self.exchange(program, options, rcv_size, rcv_name, timeout, 1).unwrap_or_else(|failed| failed.code())
    }

    fn exchange(
        &self,
        program: &mut impl Program,
        options: u32,
        limit: u32,
        receive: Name,
        timeout: u32,
        count: u32,
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
        let mut want = Exchange { options, flags, post: None, call: false, receive, limit, count, wait, from: None };
        let asked = Asked { options, receive, limit };
        let trailer = TrailerRequest::from_options(options);
        // What a server does: the answer to a call goes into its slot and never waits; what is left is a receive.
        let answered = has(Options::SEND) && {
            let message = program.message();
            let header = Header::read(message).unwrap_or_default();
            is_plain_answer(&header, message) && answer_plain(self.task, header.remote, header.id, &message[HEADER..])?
        };
        if answered && !has(Options::RCV) {
            self.task.0.plane.look(self.task)?;
            return Ok(Code::SUCCESS);
        }
        if answered || !has(Options::SEND) {
            want.options &= !Options::SEND.bits();
            if let Some(trailer) = trailer.filter(|_| has(Options::RCV) && count == 1) {
                let here = Want { name: receive, options: want.options, limit, count };
                if let Some(message) = receive_soon_by_name(self.task, &here, flags & msg_flags::TRY_RECEIVE == 0)? {
                    message.with_parts(trailer, |parts, trailer| program.receive(Code::SUCCESS, parts, trailer));
                    return Ok(Code::SUCCESS);
                }
            }
            return self.deliver(exchange(self.task, &want)?, program, asked);
        }
        let patience = has(Options::SEND_TIMEOUT).then(|| Duration::from_millis(timeout as u64));
        let message = program.message();
        let header = Header::read(message).unwrap_or_default();
        if !header.is_complex() {
            let post = Post { bytes: message, send_size: message.len() as u32, rooms: &[] };
            want.post = Some(post);
            // What a client does: a call with its own reply port.
            if let Some(trailer) = trailer.filter(|_| has(Options::RCV) && is_plain_call(&header, message, receive)) {
                match call_own(self.task, &want, &header, post)? {
                    Some(OwnCall::Answered(mut answer)) => {
                        answer.set_port(receive);
                        let code = self.deliver_typed(answer, Code::SUCCESS, trailer, asked, program)?;
                        self.task.0.plane.look(self.task)?;
                        return Ok(code);
                    }
                    Some(OwnCall::Else(answered)) => return self.deliver(answered, program, asked),
                    None => {}
                }
            }
            let alone = !has(Options::RCV) && !has(Options::SEND_NOTIFY) && is_short_and_plain(&header, message);
            let sent = if alone {
                send_plain(
                    self.task,
                    header.remote,
                    header.id,
                    &mut Carry::Plain([&message[HEADER..], &[], &[]]),
                    patience,
                    want.patience(),
                )?
            } else {
                None
            };
            return match sent {
                Some(Ok(code)) => Ok(code),
                Some(Err(doubt)) => self.deliver(doubted(self.task, &want, post, &doubt)?, program, asked),
                None => self.deliver(exchange(self.task, &want)?, program, asked),
            };
        }
        let wire = self.wire_form(program, true, patience)?;
        want.post = Some(wire.post());
        let answered = exchange(self.task, &want)?;
        let code = answered.code;
        let came_back = matches!(code.plain(), Code::MACH_SEND_TIMED_OUT | Code::MACH_SEND_INTERRUPTED) && answered.has_messages();
        if code.is_ok() || is_receive_error(code) {
            wire.sent();
        }
        let delivered = self.deliver(answered, program, asked);
        if !code.is_ok() && !is_receive_error(code) && !came_back {
            // Those that the kernel took are no longer here, and releasing them again does nothing.
            self.drop_regions(&wire.regions);
        }
        wire.give_back();
        delivered
    }

    /// Gives the program what came.
    fn deliver(&self, mut answered: Answered<'_>, program: &mut impl Program, asked: Asked) -> Result<Code, Error> {
        let mut code = answered.code;
        let request = TrailerRequest::from_options(asked.options).unwrap_or(TrailerRequest::Null);
        answered.each_typed(|message| {
            match message {
                Either::Typed(message) => code = self.deliver_typed(message, code, request, asked, program)?,
                // An answer that was lent has not been measured either.
                Either::Raw(frame) if code.is_ok() && frame.message.len() + request.size() > asked.limit as usize => {
                    code = Code::MACH_RCV_TOO_LARGE;
                    program.receive(code, [frame.message.get(..HEADER).unwrap_or_default(), &[]], &[]);
                }
                Either::Raw(frame) => {
                    if !from_wire(self.task, code, frame, program) && code.is_ok() {
                        code = Code(Code::MACH_RCV_BODY_ERROR.0 | Code::VM_SPACE);
                    }
                }
            }
            Ok(())
        })?;
        drop(answered);
        self.task.0.plane.look(self.task)?;
        Ok(code)
    }

    /// One that came over a link, if there is room for it.
    #[inline]
    fn deliver_typed(
        &self,
        message: Received,
        code: Code,
        request: TrailerRequest,
        asked: Asked,
        program: &mut impl Program,
    ) -> Result<Code, Error> {
        // What is received from a port has been measured; an answer has not.
        if HEADER + message.raw_body().len() + request.size() > asked.limit as usize {
            return self.deliver_too_large(message, request, asked, program);
        }
        message.with_parts(request, |parts, trailer| program.receive(code, parts, trailer));
        Ok(code)
    }

    /// An answer that has not room enough: its header comes alone, as Mach has it. With `MACH_RCV_LARGE` the answer goes where it would have waited, to the port;
    /// from there it comes as this task's own.
    #[cold]
    fn deliver_too_large(
        &self,
        message: Received,
        request: TrailerRequest,
        asked: Asked,
        program: &mut impl Program,
    ) -> Result<Code, Error> {
        let stays = asked.options & Options::RCV_LARGE.bits() != 0;
        let (id, body) = (message.id(), message.raw_body().to_vec());
        message.with_parts(TrailerRequest::Null, |[header, _], trailer| {
            let Some(mut header) = Header::read(header) else { return };
            header.size = (HEADER + body.len() + if stays { request.size() } else { 0 }) as u32;
            program.receive(Code::MACH_RCV_TOO_LARGE, [&header.to_bytes(), &[]], if stays { &[] } else { trailer });
        });
        if stays {
            let again = MsgBuffer::new(id).remote(asked.receive, Disposition::MakeSendOnce).body(&body);
            let post = Post { bytes: &again.bytes, send_size: again.bytes.len() as u32, rooms: &[] };
            let options = Options::SEND.bits();
            let (receive, wait) = (Name::NULL, Wait::FOREVER);
            let send = Exchange { options, flags: 0, post: Some(post), call: false, receive, limit: 0, count: 0, wait, from: None };
            exchange(self.task, &send)?;
        }
        Ok(Code::MACH_RCV_TOO_LARGE)
    }
}

/// An answer with a send-once right that asks for none, fit for a slot if its right is one of a slot's.
fn is_plain_answer(header: &Header, message: &[u8]) -> bool {
    const BITS: u32 = Disposition::MoveSendOnce as u32;
    header.bits & BITS_USED == BITS && header.local == Name::NULL && message.len().is_multiple_of(4) && message.len() >= HEADER
}

/// A call to a copied send right whose answer comes to the port that is received from, fit for a record.
fn is_plain_call(header: &Header, message: &[u8], receive: Name) -> bool {
    const BITS: u32 = Disposition::CopySend as u32 | (Disposition::MakeSendOnce as u32) << 8;
    header.bits & BITS_USED == BITS
        && header.local == receive
        && message.len().is_multiple_of(4)
        && (HEADER..=HEADER + RECORD_MAX).contains(&message.len())
}

/// A message that fits a record of a link as it is: bytes to a copied send right, and no answer asked for.
fn is_short_and_plain(header: &Header, message: &[u8]) -> bool {
    const BITS: u32 = Disposition::CopySend as u32;
    header.bits & BITS_USED == BITS
        && header.local == Name::NULL
        && message.len().is_multiple_of(4)
        && (HEADER..=HEADER + RECORD_MAX).contains(&message.len())
}
