//! A task without the library: control packets on a socket, and nothing else. What it measures is the kernel process alone.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use umach_abi::control::{self, Call, HEAD, Head, Hello, Reply};
use umach_abi::limits::PACKET_MAX;
use umach_abi::message::Header;
use umach_abi::records::Frame;
use umach_abi::{Code, Name, VERSION};

/// A task on one lane.
pub(crate) struct Wire {
    socket: OwnedFd,
    seq: u32,
    out: Vec<u8>,
    input: Vec<u8>,
    len: usize,
    pub(crate) task_self: Name,
    pub(crate) bootstrap: Name,
}

impl Wire {
    /// Becomes the task behind this lane.
    pub(crate) fn hello(socket: OwnedFd) -> Result<Wire> {
        let (task_self, bootstrap) = (Name::NULL, Name::NULL);
        let mut wire = Wire { socket, seq: 0, out: Vec::new(), input: vec![0; PACKET_MAX], len: 0, task_self, bootstrap };
        let answer = wire.ask(&Hello { version: VERSION, features: 0 })?;
        (wire.task_self, wire.bootstrap) = (answer.task_self, answer.bootstrap);
        Ok(wire)
    }

    /// A request that must succeed.
    pub(crate) fn ask<C: Call>(&mut self, call: &C) -> Result<C::Answer<'_>> {
        match self.request(call)? {
            Code::SUCCESS => Ok(Reply::take(&self.input[HEAD..self.len])?),
            refused => bail!("request {}: {refused}", C::OP),
        }
    }

    /// A request that may be refused; see [`Wire::answer`] and [`Wire::messages`].
    pub(crate) fn request<C: Call>(&mut self, call: &C) -> Result<Code> {
        self.seq = self.seq.wrapping_add(1);
        call.encode(self.seq, &mut self.out);
        self.exchange()
    }

    /// A packet that was written before, sent again under a new number.
    pub(crate) fn again(&mut self, packet: &[u8]) -> Result<Code> {
        self.seq = self.seq.wrapping_add(1);
        self.out.clear();
        self.out.extend_from_slice(packet);
        self.out[4..8].copy_from_slice(&self.seq.to_le_bytes());
        self.exchange()
    }

    fn exchange(&mut self) -> Result<Code> {
        send(&self.socket, &self.out, SendFlags::NOSIGNAL).context("sending a request to the kernel process")?;
        self.len = recv(&self.socket, &mut self.input[..], RecvFlags::empty()).context("receiving from the kernel process")?.0;
        ensure!(self.len > 0, "the kernel process has ended this task");
        let (head, _) = Head::read(&self.input[..self.len])?;
        ensure!(head.seq == self.seq, "answer {} to request {}", head.seq, self.seq);
        Ok(head.status)
    }

    /// The fields of the answer last read, for the requests that have them in failure too.
    pub(crate) fn answer<'w, R: Reply<'w>>(&'w self) -> Result<R> {
        Ok(R::take(&self.input[HEAD..self.len])?)
    }

    /// The messages of the answer last read: header, message, annex.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Header, &[u8], &[u8])> {
        let mut rest = &self.input[HEAD..self.len];
        std::iter::from_fn(move || {
            let row = Frame::read(rest)?;
            let (size, trailer, annex) = (row.size as usize, row.trailer as usize, row.annex as usize);
            let message = rest.get(Frame::SIZE..Frame::SIZE + size)?;
            let annex_at = Frame::SIZE + size + trailer;
            let annex = rest.get(annex_at..annex_at + annex)?;
            rest = &rest[annex_at + annex.len()..];
            Some((Header::read(message)?, message, annex))
        })
    }

    /// The first of them.
    pub(crate) fn message(&self) -> Result<(Header, &[u8], &[u8])> {
        self.messages().next().context("an answer without a message")
    }
}

/// A `Msg` request, written out. Its number is set by [`Wire::again`].
pub(crate) fn msg(options: u32, receive: Name, count: u32, message: &[u8], annex: &[u8]) -> Vec<u8> {
    let tail = [message, annex].concat();
    let mut packet = Vec::new();
    let (send_size, annex) = (message.len() as u32, annex.len() as u32);
    control::Msg { options, flags: 0, receive, limit: u32::MAX, route: 0, number: 0, count, send_size, annex, tail: &tail }
        .encode(0, &mut packet);
    packet
}

/// Where the sent message begins in a packet made by [`msg`].
pub(crate) fn message_at() -> usize {
    msg(0, Name::NULL, 0, &[], &[]).len()
}
