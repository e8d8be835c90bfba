//! How messages come into being: of a frame from the kernel process, or over a link.

use smallvec::SmallVec;
use umach_abi::control::Malformed;
use umach_abi::message::{Descriptor, HEADER, Header, Place, Trailer, TrailerRequest, descriptors};
use umach_abi::rights::received;
use umach_abi::{Name, notify};

use super::answer::{Answer, ReplyRight};
use super::notification::Notification;
use super::parts::{Slot, right_slot};
use super::pool::{Inner, Pooled};
use super::{Received, Sender};
use crate::direct::Owed;
use crate::error::{Error, Result};
use crate::files::Unclaimed;
use crate::frame::{RawFrame, array_names, take_attached};
use crate::task::Task;

impl Received {
    /// Makes typed values of what arrived. From here on every right in the message belongs to one of them.
    pub(crate) fn parse(task: &Task, mut frame: RawFrame<'_>) -> Result<Received> {
        let message = frame.message;
        let malformed = || Error::Protocol(Malformed::Short { have: message.len(), need: HEADER });
        let header = Header::read(message).ok_or_else(malformed)?;
        let trailer = Trailer::read(frame.trailer).unwrap_or_default();
        let mut body_at = if header.is_complex() { HEADER + 4 } else { HEADER };
        let mut slots = SmallVec::new();
        for (at, descriptor) in descriptors(message) {
            let descriptor = descriptor.map_err(|_| malformed())?;
            body_at = at + descriptor.size();
            slots.push(match descriptor {
                Descriptor::Port { name, disposition } | Descriptor::Guarded { name, disposition, .. } => {
                    right_slot(task, name, disposition)
                }
                Descriptor::File { lane, number } => match task.0.files.claim(lane, number) {
                    Ok(file) => Slot::File(Unclaimed::new(file)),
                    Err(lost) => Slot::FileLost(lost),
                },
                Descriptor::Ports { address, disposition, count, .. } => match array_names(frame.annex, address, count) {
                    Some(names) => Slot::Array(names.into_iter().map(|name| right_slot(task, name, disposition)).collect()),
                    None => Slot::Lost,
                },
                Descriptor::Memory { address, size, .. } => match Place::from_raw(address) {
                    Some(Place::Null) if size == 0 => Slot::Bytes(Vec::new()),
                    Some(Place::Annex(at)) => match frame.annex.get(at as usize..at as usize + size as usize) {
                        Some(bytes) => Slot::Bytes(bytes.to_vec()),
                        None => Slot::Lost,
                    },
                    Some(Place::Attached(n)) => match take_attached(&mut frame.attached, n) {
                        Some(file) => Slot::Mapped { file, len: size },
                        None => Slot::Lost,
                    },
                    Some(Place::Lease(n)) => match frame.leases.get_mut(n as usize).and_then(Option::take) {
                        Some(lease) if lease.memory().is_some() => Slot::Lent(lease),
                        _ => Slot::Lost,
                    },
                    _ => Slot::Lost,
                },
            });
        }
        let reply = match right_slot(task, header.remote, header.remote_disposition()) {
            Slot::SendOnce(right) => Answer::Right(ReplyRight::Once(right)),
            Slot::Send(right) => Answer::Right(ReplyRight::Send(right)),
            _ => Answer::None,
        };
        let from_kernel = trailer.uid == notify::KERNEL_ID && trailer.gid == notify::KERNEL_ID && trailer.pid == 0;
        let notification = if from_kernel { Notification::parse(task, message) } else { None };
        let body = SmallVec::from_slice(message.get(body_at..).unwrap_or_default());
        let mut inner = Pooled::stale();
        *inner = Inner { header, trailer, body, slots, reply, notification };
        Ok(Received { task: task.clone(), inner })
    }

    /// A plain message that came over a link: on which port, from whom, its id, its sequence number and the port's context. `read` is to fill the whole of
    /// its body, of `len` bytes.
    #[inline]
    pub(crate) fn over_link(
        task: &Task,
        port: Name,
        from: Sender,
        id: i32,
        (seqno, context): (u32, u64),
        reply: Option<Owed>,
        (len, read): (usize, impl FnOnce(&mut [u8])),
    ) -> Received {
        let bits = Header::make_bits(if reply.is_some() { received::SEND_ONCE } else { 0 }, received::SEND, false);
        let header = Header { bits, local: port, id, ..Header::default() };
        let mut message = Received::plain(task, header, Trailer { seqno, context, ..from.trailer() }, len, read);
        if let Some(owed) = reply {
            message.inner.reply = Answer::Slot(owed);
        }
        message
    }
    /// A plain answer that came over a link.
    #[inline]
    pub(crate) fn answer_over_link(task: &Task, from: Sender, id: i32, len: usize, read: impl FnOnce(&mut [u8])) -> Received {
        let bits = Header::make_bits(0, received::SEND_ONCE, false);
        Received::plain(task, Header { bits, id, ..Header::default() }, from.trailer(), len, read)
    }
    #[inline]
    fn plain(task: &Task, header: Header, trailer: Trailer, len: usize, read: impl FnOnce(&mut [u8])) -> Received {
        let mut pooled = Pooled::stale();
        let inner = &mut *pooled;
        inner.header = Header { size: (HEADER + len) as u32, ..header };
        inner.trailer = trailer;
        inner.body.resize(len, 0);
        read(&mut inner.body);
        Received { task: task.clone(), inner: pooled }
    }
    pub(crate) fn set_seqno(&mut self, seqno: u32) {
        self.inner.trailer.seqno = seqno;
    }
    /// It counts as having come on this port.
    pub(crate) fn set_port(&mut self, port: Name) {
        self.inner.header.local = port;
    }
    /// What Mach sends in place of an answer that will not come.
    pub(crate) fn no_answer(task: &Task) -> Received {
        let kernel = Sender { task: 0, pid: 0, uid: notify::KERNEL_ID, gid: notify::KERNEL_ID };
        let mut received = Received::answer_over_link(task, kernel, notify::SEND_ONCE, 0, |_| ());
        received.inner.notification = Some(Notification::SendOnce);
        received
    }
    /// A message that came over a link as Mach's bytes, with as much of a trailer as was asked for. If it wants an answer, that becomes a right.
    pub(crate) fn into_bytes(self, request: TrailerRequest) -> (Vec<u8>, Vec<u8>) {
        self.with_parts(request, |parts, trailer| (parts.concat(), trailer.to_vec()))
    }
    /// The same in parts (header, body), not copied.
    #[inline]
    pub(crate) fn with_parts<T>(mut self, request: TrailerRequest, take: impl FnOnce([&[u8]; 2], &[u8]) -> T) -> T {
        let inner = &mut *self.inner;
        if let Answer::Slot(owed) = std::mem::take(&mut inner.reply) {
            inner.header.remote = self.task.0.plane.name_reply(owed);
        }
        take([&inner.header.to_bytes(), &inner.body], &inner.trailer.to_bytes(request)[..request.size()])
    }
}
