//! Messages in the model: how one is taken from its sender (1.2), queued, and delivered (1.3, 1.5).

use umach_abi::control::phase;
use umach_abi::limits::UREFS_MAX;
use umach_abi::message::{self, Descriptor, Header, Place, Trailer, copy};
use umach_abi::notify::{self, KERNEL_ID, Notification};
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
    fn memory(&self, size: u8) -> Vec<u8> {
        (0..size).map(|i| i.wrapping_mul(7).wrapping_add(self.id as u8)).collect()
    }
    fn body(&self) -> Vec<u8> {
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

impl World {
    // Taking rights from a space.

    /// Whether `disposition` can be applied to what `name` holds.
    pub(crate) fn can_take(&self, task: TaskIx, name: u32, disposition: Disposition) -> bool {
        let Some(entry) = self.entry(task, name) else { return false };
        match (entry.holds, disposition) {
            (Holding::Port { port, receive, .. }, Disposition::MoveReceive) => {
                receive && !self.ports[port].immovable && !self.ports[port].guard.is_some_and(|guard| guard.strict)
            }
            (Holding::Port { receive, .. }, Disposition::MakeSend | Disposition::MakeSendOnce) => receive,
            (Holding::Port { sends, .. }, Disposition::CopySend | Disposition::MoveSend) => sends > 0,
            (Holding::Once { .. }, Disposition::MoveSendOnce) => true,
            (Holding::Dead { .. }, Disposition::CopySend | Disposition::MoveSend | Disposition::MoveSendOnce) => true,
            _ => false,
        }
    }
    /// Takes a right, when [`World::can_take`] says so.
    pub(crate) fn take(&mut self, task: TaskIx, name: u32, disposition: Disposition) -> R<Right> {
        let entry = self.entry(task, name).ok_or("model: took from a free name")?;
        Ok(match (entry.holds, disposition) {
            (Holding::Port { port, sends, .. }, Disposition::MoveReceive) => {
                if sends > 0 {
                    self.set_holding(task, name, Holding::Port { port, sends, receive: false });
                } else {
                    self.free_name(task, name);
                }
                self.clear_receiver(port)?;
                Right::Receive(port)
            }
            (Holding::Port { port, .. }, Disposition::MakeSend) => {
                self.ports[port].mscount = self.ports[port].mscount.wrapping_add(1);
                Right::Send(port)
            }
            (Holding::Port { port, .. }, Disposition::MakeSendOnce) => Right::Once(port),
            (Holding::Port { port, .. }, Disposition::CopySend) => Right::Send(port),
            (Holding::Port { port, sends, receive }, _) => {
                let left = if sends == UREFS_MAX { sends } else { sends - 1 };
                if left == 0 && !receive {
                    self.free_name(task, name);
                } else {
                    self.set_holding(task, name, Holding::Port { port, sends: left, receive });
                }
                Right::Send(port)
            }
            (Holding::Once { port }, _) => {
                self.free_name(task, name);
                Right::Once(port)
            }
            (Holding::Dead { .. }, Disposition::CopySend) => Right::Dead,
            (Holding::Dead { urefs, was_once }, _) => {
                match urefs {
                    1 => self.free_name(task, name),
                    UREFS_MAX => {}
                    _ => self.set_holding(task, name, Holding::Dead { urefs: urefs - 1, was_once }),
                }
                Right::Dead
            }
            (Holding::Set(_), _) => return Err("model: took from a set".into()),
        })
    }

    /// Takes a message from its sender. `status`: what the core answered, if it did; used only where the semantics leave a choice.
    pub(crate) fn copy_in(&mut self, task: TaskIx, req: &SendReq, status: Option<Code>) -> R<Result<Mail, Refusal>> {
        let (dest_disposition, reply_disposition) = (Disposition::from_raw(req.dest.1), Disposition::from_raw(req.reply.1));
        let header_ok = dest_disposition.is_some_and(Disposition::can_send)
            && if req.reply.1 == 0 { req.reply.0 == 0 } else { reply_disposition.is_some_and(Disposition::can_send) };
        let refuse = |codes: &[Code]| Ok(Err(Refusal::Header(codes.to_vec())));
        if !header_ok {
            return refuse(&[Code::MACH_SEND_INVALID_HEADER]);
        }
        let Some(dest_disposition) = dest_disposition else { return refuse(&[Code::MACH_SEND_INVALID_HEADER]) };
        let is_dead = |name: u32| matches!(self.entry(task, name), Some(Entry { holds: Holding::Dead { .. }, .. }));
        let dest_ok = self.can_take(task, req.dest.0, dest_disposition) && !is_dead(req.dest.0);
        let lost_once = matches!(self.entry(task, req.dest.0), Some(Entry { holds: Holding::Dead { was_once: true, .. }, .. }))
            && dest_disposition == Disposition::MoveSendOnce;
        let reply_named = reply_disposition.is_some() && Name(req.reply.0).is_valid();
        let reply_ok = !reply_named
            || reply_disposition.is_some_and(|d| self.can_take(task, req.reply.0, d)) && !is_dead(req.reply.0);
        if reply_named && req.reply.0 == req.dest.0 {
            let sends = match self.entry(task, req.dest.0) {
                Some(Entry { holds: Holding::Port { sends, .. }, .. }) => sends,
                _ => 0,
            };
            let pair = [Some(dest_disposition), reply_disposition];
            let moves = pair.iter().filter(|d| **d == Some(Disposition::MoveSend)).count() as u32;
            if !dest_ok || !reply_ok || pair.contains(&Some(Disposition::MoveSendOnce)) || moves > sends {
                return refuse(&[Code::MACH_SEND_INVALID_DEST]);
            }
        } else {
            match (dest_ok || lost_once, reply_ok) {
                (true, true) => {}
                (true, false) if dest_ok => return refuse(&[Code::MACH_SEND_INVALID_REPLY]),
                (false, true) => return refuse(&[Code::MACH_SEND_INVALID_DEST]),
                (_, false) => return refuse(&[Code::MACH_SEND_INVALID_DEST, Code::MACH_SEND_INVALID_REPLY]),
            }
        }
        if lost_once && status == Some(Code::MACH_SEND_INVALID_DEST) {
            return refuse(&[Code::MACH_SEND_INVALID_DEST]);
        }

        // Point of no return for the header. Copies before moves, so that a pair of the same name works out.
        let mut rights = [Right::Null; 2];
        let mut order = [(0, req.dest.0, Some(dest_disposition)), (1, req.reply.0, reply_disposition)];
        if matches!(order[0].2, Some(Disposition::MoveSend | Disposition::MoveSendOnce)) {
            order.reverse();
        }
        for (slot, name, disposition) in order {
            rights[slot] = match (name, disposition) {
                (_, None) | (0, _) => Right::Null,
                (u32::MAX, _) => Right::Dead,
                (_, Some(disposition)) => self.take(task, name, disposition)?,
            };
        }
        let [dest, reply] = rights;
        if matches!(dest, Right::Send(port) if self.is_full(port)) {
            self.arm(task, req);
        }
        let mut descs = Vec::new();
        let mut failed = None;
        for desc in &req.descs {
            let pick = |world: &mut World, name: u32, disposition: u8, into: &mut Vec<Right>| -> R<bool> {
                into.push(match name {
                    0 => Right::Null,
                    u32::MAX => Right::Dead,
                    _ => match Disposition::from_raw(disposition) {
                        Some(disposition) if world.can_take(task, name, disposition) => world.take(task, name, disposition)?,
                        _ => return Ok(false),
                    },
                });
                Ok(true)
            };
            let mut rights = Vec::new();
            let kind = |disposition: u8| Disposition::from_raw(disposition).map_or(0, received_kind);
            match desc {
                DescReq::Port(name, disposition) => {
                    if !pick(self, *name, *disposition, &mut rights)? {
                        failed = Some(Code::MACH_SEND_INVALID_RIGHT);
                    }
                    descs.extend(rights.into_iter().map(|right| Desc::Port { right, kind: kind(*disposition) }));
                }
                DescReq::Ports(names, disposition) => {
                    for name in names {
                        if failed.is_none() && !pick(self, *name, *disposition, &mut rights)? {
                            failed = Some(Code::MACH_SEND_INVALID_RIGHT);
                        }
                    }
                    descs.push(Desc::Ports { rights, kind: kind(*disposition) });
                }
                DescReq::Memory(size, _) => descs.push(Desc::Memory { bytes: req.memory(*size), copy: copy::VIRTUAL }),
                DescReq::Unknown => failed = Some(Code::MACH_SEND_INVALID_TYPE),
            }
            if failed.is_some() {
                break;
            }
        }
        let mail = Mail {
            id: req.id,
            dest,
            reply,
            reply_kind: reply_disposition.map_or(0, received_kind),
            complex: !req.descs.is_empty(),
            descs,
            body: req.body(),
            size: req.wire().0.len(),
            price: req.price(),
            from: Some(task),
            note: None,
            batch: 0,
        };
        if let Some(code) = failed {
            self.destroy_mail(&mail);
            return Ok(Err(Refusal::Body(code)));
        }
        if dest == Right::Dead {
            self.destroy_mail(&mail);
            return Ok(Err(Refusal::Lost));
        }
        Ok(Ok(mail))
    }

    // Sending.

    /// The send found a full queue: a send-possible request on the destination's name is armed, if the sender wants that.
    fn arm(&mut self, task: TaskIx, req: &SendReq) {
        if let Some(Entry { request: Some(request), .. }) = self.tasks[task].space.get_mut(&req.dest.0) {
            request.armed |= request.possible && req.notify;
        }
    }

    /// Whether the message closes a circle and must be destroyed.
    pub(crate) fn closes_circle(&self, mail: &Mail) -> bool {
        mail.rights().any(|right| matches!(right, Right::Receive(moved) if self.is_circular(moved, mail.port())))
    }
    /// Queues a message.
    pub(crate) fn post(&mut self, mut mail: Mail) -> R {
        if !self.ports[mail.port()].alive || self.closes_circle(&mail) {
            self.destroy_mail(&mail);
            return Ok(());
        }
        mail.batch = self.batch;
        let port = mail.port();
        self.ports[port].queue.push_back(mail);
        Ok(())
    }
    fn post_note(&mut self, to: PortIx, what: What) -> R {
        let (id, size, descs) = match what {
            What::Deleted(_) => (notify::PORT_DELETED, 36, vec![]),
            What::Possible(_) => (notify::SEND_POSSIBLE, 36, vec![]),
            What::DeadName(_) => (notify::DEAD_NAME, 36, vec![]),
            What::NoSenders { .. } => (notify::NO_SENDERS, 36, vec![]),
            What::SendOnce => (notify::SEND_ONCE, 24, vec![]),
            What::Destroyed(port) => {
                let right = Desc::Port { right: Right::Receive(port), kind: received::RECEIVE };
                (notify::PORT_DESTROYED, 40, vec![right])
            }
        };
        self.post(Mail {
            id,
            dest: Right::Once(to),
            reply: Right::Null,
            reply_kind: 0,
            complex: !descs.is_empty(),
            descs,
            body: Vec::new(),
            size,
            price: 0,
            from: None,
            note: Some(what),
            batch: 0,
        })
    }
    /// A lane's send is over, successfully.
    pub(crate) fn send_done(&mut self, lane: LaneIx, then: Option<RecvArgs>) -> R {
        self.lanes[lane].state = State::Idle;
        match then {
            Some(args) => self.resumed.push_back((lane, args)),
            None => self.finish(lane, &[Code::SUCCESS])?,
        }
        Ok(())
    }
    /// The whole send phase of a request.
    pub(crate) fn send(&mut self, lane: LaneIx, req: &SendReq, then: Option<RecvArgs>) -> R {
        let task = self.lanes[lane].task;
        let status = self.actual.get(&lane).map(|answer| answer.status);
        let mail = match self.copy_in(task, req, status)? {
            Ok(mail) => mail,
            Err(Refusal::Header(codes)) => return self.finish(lane, &codes),
            Err(Refusal::Body(code)) => return self.finish(lane, &[code]),
            Err(Refusal::Lost) => return self.send_done(lane, then),
        };
        // Taking rights away may notify; those messages were there first.
        self.flush_notes()?;
        if matches!(mail.dest, Right::Once(_)) || self.closes_circle(&mail) || !self.is_full(mail.port()) {
            self.post(mail)?;
            return self.send_done(lane, then);
        }
        if req.try_only {
            return self.hand_back(lane, mail, &[Code::MACH_SEND_TIMED_OUT]);
        }
        self.lanes[lane].since = self.tick();
        self.lanes[lane].state = State::Sending { mail, then };
        Ok(())
    }
    /// Several sends, none of which waits; the first that fails ends it. A full queue consumes nothing.
    pub(crate) fn send_many(&mut self, lane: LaneIx, sends: &[SendReq]) -> R {
        let task = self.lanes[lane].task;
        let Some(answer) = self.actual.remove(&lane) else { return Err(format!("lane {lane} was not answered")) };
        let sent = message::u32_at(&answer.fields, 0).ok_or("SendMany answered no count")?;
        for (at, req) in sends.iter().enumerate() {
            let last = (at as u32 == sent && !answer.status.is_ok()).then_some(answer.status);
            let full = self.dest_is_full(task, req);
            if full && last == Some(Code::MACH_SEND_TIMED_OUT) {
                self.arm(task, req);
                return Ok(());
            }
            let behind = match self.entry(task, req.dest.0).map(|entry| entry.holds) {
                Some(Holding::Port { port, .. } | Holding::Once { port }) => self.is_full(port),
                _ => false,
            };
            let mut header = false;
            let codes = match self.copy_in(task, req, last)? {
                Ok(_) if full => return Err(format!("lane {lane}: message {at} went into a full queue")),
                Ok(mail) => {
                    self.flush_notes()?;
                    self.post(mail)?;
                    self.pump()?;
                    Vec::new()
                }
                Err(Refusal::Lost) => Vec::new(),
                Err(Refusal::Header(codes)) => {
                    header = true;
                    codes
                }
                Err(Refusal::Body(code)) => vec![code],
            };
            match last {
                Some(status) if codes.contains(&status) => return Ok(()),
                // Refused either way, and nothing is consumed: that the queue is full may be seen first.
                Some(Code::MACH_SEND_TIMED_OUT) if header && behind => return Ok(()),
                None if codes.is_empty() && (at as u32) < sent => {}
                _ => return Err(format!("lane {lane}: {sent} sent, then {:?}; for message {at} expected {codes:?}", answer.status)),
            }
        }
        if sent as usize == sends.len() && answer.status.is_ok() { Ok(()) } else { Err(format!("lane {lane}: {sent} sent, {:?}", answer.status)) }
    }
    /// Whether the destination, were it taken, is a send right to a full queue.
    fn dest_is_full(&self, task: TaskIx, req: &SendReq) -> bool {
        match self.entry(task, req.dest.0).map(|entry| entry.holds) {
            Some(Holding::Port { port, .. }) => {
                let disposition = Disposition::from_raw(req.dest.1);
                disposition.is_some_and(|d| d.becomes() == RightKind::Send && self.can_take(task, req.dest.0, d)) && self.is_full(port)
            }
            _ => false,
        }
    }
    /// A wait is given up.
    pub(crate) fn cancel(&mut self, lane: LaneIx, phases: u32, interrupted: bool) -> R {
        let pick = |timed_out, interrupt| if interrupted { interrupt } else { timed_out };
        match std::mem::replace(&mut self.lanes[lane].state, State::Idle) {
            State::Sending { mail, .. } if phases & phase::SEND != 0 => {
                self.hand_back(lane, mail, &[pick(Code::MACH_SEND_TIMED_OUT, Code::MACH_SEND_INTERRUPTED)])
            }
            State::Sending { mail, then } => {
                // Its receive will only try.
                let then = then.map(|args| RecvArgs { try_only: true, ..args });
                self.lanes[lane].state = State::Sending { mail, then };
                Ok(())
            }
            State::Receiving { .. } if phases & phase::RECEIVE != 0 => {
                self.finish(lane, &[pick(Code::MACH_RCV_TIMED_OUT, Code::MACH_RCV_INTERRUPTED)])
            }
            other => {
                self.lanes[lane].state = other;
                Ok(())
            }
        }
    }
    /// Nobody is at the other end of a lane any more: what it was sending is lost.
    pub(crate) fn close_lane(&mut self, lane: LaneIx) {
        self.lanes[lane].open = false;
        if let State::Sending { mail, .. } = std::mem::replace(&mut self.lanes[lane].state, State::Idle) {
            self.destroy_mail(&mail);
        }
    }
    /// Pseudo-receive: a send that was given up brings the message back, header ports not swapped.
    pub(crate) fn hand_back(&mut self, lane: LaneIx, mail: Mail, codes: &[Code]) -> R {
        self.lanes[lane].state = State::Idle;
        let task = self.lanes[lane].task;
        let answer = self.take_answer(lane, codes)?;
        let frames = read_frames(&answer.fields)?;
        let [frame] = &frames[..] else { return Err(format!("{} frames in the answer to a send given up", frames.len())) };
        let header = self.check_fixed(&mail, frame)?;
        if header.remote_disposition() != received_right(mail.dest) || header.local_disposition() != mail.reply_kind && mail.reply != Right::Null {
            return Err(format!("handed back with dispositions {:#x}, sent {mail:?}", header.bits));
        }
        self.copy_out(task, mail.dest, header.remote, "destination handed back")?;
        self.copy_out(task, mail.reply, header.local, "reply handed back")?;
        self.copy_out_body(task, &mail, frame)
    }

    // Receiving.

    fn source(&self, task: TaskIx, name: u32) -> Option<Source> {
        match self.entry(task, name)?.holds {
            Holding::Port { port, receive: true, .. } => Some(Source::Port(port)),
            Holding::Set(set) => Some(Source::Set(set)),
            _ => None,
        }
    }
    /// The receive phase of a request, after the send if there was one.
    pub(crate) fn receive(&mut self, lane: LaneIx, args: RecvArgs) -> R {
        let task = self.lanes[lane].task;
        let Some(source) = self.source(task, args.name) else { return self.finish(lane, &[Code::MACH_RCV_INVALID_NAME]) };
        self.lanes[lane].since = self.tick();
        self.lanes[lane].state = State::Receiving { args, source };
        // What the same request set off may still be on its way: teardown is done in pieces.
        let fresh = |(port, at): &(PortIx, usize)| {
            let mail = &self.ports[*port].queue[*at];
            mail.batch == self.batch && mail.note.is_some()
        };
        let timed_out = self.actual.get(&lane).is_some_and(|answer| answer.status == Code::MACH_RCV_TIMED_OUT);
        let missed = timed_out && self.available(source).iter().all(fresh);
        if missed || !self.serve(lane)? && args.try_only {
            // An interrupted receive that had not begun may say so.
            self.finish(lane, &[Code::MACH_RCV_TIMED_OUT, Code::MACH_RCV_INTERRUPTED])?;
        }
        Ok(())
    }
    /// Messages that a receive from `source` may get next: `(port, position)`. The head of each queue; where it is a notification, also
    /// the others raised by the same operation.
    fn available(&self, source: Source) -> Vec<(PortIx, usize)> {
        let one = [match source {
            Source::Port(port) => port,
            Source::Set(_) => usize::MAX,
        }];
        let ports: &[PortIx] = match source {
            Source::Port(_) => &one,
            Source::Set(set) => &self.sets[set].members,
        };
        let mut found = Vec::new();
        for &port in ports {
            let queue = &self.ports[port].queue;
            let Some(head) = queue.front() else { continue };
            found.push((port, 0));
            if head.note.is_some() {
                let same = |mail: &Mail| mail.note.is_some() && mail.batch == head.batch;
                found.extend(queue.iter().enumerate().skip(1).filter(|(_, mail)| same(mail)).map(|(at, _)| (port, at)));
            }
        }
        found
    }
    /// Gives a waiting lane what the core gave it, if the core answered and there is something.
    pub(crate) fn serve(&mut self, lane: LaneIx) -> R<bool> {
        let State::Receiving { args, source } = self.lanes[lane].state else { return Ok(false) };
        let task = self.lanes[lane].task;
        if self.available(source).is_empty() {
            return Ok(false);
        }
        let Some(status) = self.actual.get(&lane).map(|answer| answer.status) else {
            return if args.try_only { Err(format!("lane {lane}: no answer although a message is there")) } else { Ok(false) };
        };
        let answer = self.take_answer(lane, &[Code::SUCCESS, Code::MACH_RCV_TOO_LARGE])?;
        let frames = read_frames(&answer.fields)?;
        if let (Code::SUCCESS, Some(frame)) = (status, frames.first()) {
            self.decide_either(task, source, frame);
            if !self.available(source).iter().any(|at| self.looks_like(task, *at, frame)) {
                // Perhaps somebody who waits elsewhere comes first.
                let wrong = self.unexpected(&self.available(source), frame);
                self.actual.insert(lane, answer);
                return if args.try_only { Err(wrong) } else { Ok(false) };
            }
        }
        self.check_first_in_line(lane, source)?;
        self.lanes[lane].state = State::Idle;
        if status == Code::MACH_RCV_TOO_LARGE {
            self.too_large(task, source, &args, &frames)?;
            return Ok(true);
        }
        if frames.is_empty() || frames.len() > args.count.max(1) as usize {
            return Err(format!("lane {lane}: {} messages for a receive of at most {}", frames.len(), args.count));
        }
        for frame in &frames {
            self.decide_either(task, source, frame);
            let found = self.available(source);
            let chosen = found.iter().copied().find(|at| self.looks_like(task, *at, frame));
            let Some((port, position)) = chosen else { return Err(self.unexpected(&found, frame)) };
            let mail = self.ports[port].queue.remove(position).ok_or("model: message vanished")?;
            if mail.size + args.trailer.size() > args.limit {
                return Err(format!("lane {lane}: a message of {} + {} bytes in a buffer of {}", mail.size, args.trailer.size(), args.limit));
            }
            // Blocked senders move up as soon as there is room, before anything that delivery sets off.
            let seqno = self.next_seqno(port);
            self.deliver(task, port, seqno, &mail, frame, &args)?;
            self.limbo.push(mail.dest);
            self.fill(port)?;
            self.limbo.pop();
            if let Right::Send(port) = mail.dest {
                self.lost_send(port);
            }
            self.fire_possible();
            self.flush_notes()?;
        }
        if frames.len() < args.count.max(1) as usize {
            let fits = |(port, at): &(PortIx, usize)| {
                let mail = &self.ports[*port].queue[*at];
                *at == 0 && mail.batch < self.batch && mail.size + args.trailer.size() <= args.limit
            };
            // In a set, a queue's head that is too large may end the batch before another queue's turn.
            let stops = self.available(source).iter().any(|at| !fits(at));
            if self.available(source).iter().any(fits) && !stops {
                return Err(format!("lane {lane}: {} messages although more were ready for a receive of {}", frames.len(), args.count));
            }
        }
        Ok(true)
    }
    fn next_seqno(&mut self, port: PortIx) -> u32 {
        let seqno = self.ports[port].seqno;
        self.ports[port].seqno = seqno.wrapping_add(1);
        seqno
    }
    /// Nobody who waits at the same place for longer goes away with nothing.
    fn check_first_in_line(&self, lane: LaneIx, at: Source) -> R {
        for other in self.waiting() {
            if other == lane {
                break;
            }
            let same = matches!(self.lanes[other].state, State::Receiving { source, .. } if source == at);
            if same && !self.actual.contains_key(&other) {
                return Err(format!("lane {lane} was served before lane {other}, which has waited longer"));
            }
        }
        Ok(())
    }
    fn looks_like(&self, task: TaskIx, (port, position): (PortIx, usize), frame: &FrameView<'_>) -> bool {
        let mail = &self.ports[port].queue[position];
        let Some(header) = Header::read(frame.message) else { return false };
        let here = self.find_receiver(port) == Some((task, header.local.0));
        let Some(what) = mail.note else { return here && header.id == mail.id };
        here && match (Notification::parse(frame.message), what) {
            (Some(Notification::PortDeleted(Name(name))), What::Deleted(n)) => name == n,
            (Some(Notification::SendPossible(Name(name))), What::Possible(n)) => name == n,
            (Some(Notification::DeadName(Name(name))), What::DeadName(n)) => name == n,
            (Some(Notification::NoSenders(seen)), What::NoSenders { count, .. }) => seen == count,
            (Some(Notification::SendOnce), What::SendOnce | What::NoSenders { or_once: true, .. }) => true,
            (Some(Notification::PortDestroyed(name)), What::Destroyed(port)) => self.would_name(task, Right::Receive(port), name),
            _ => false,
        }
    }
    /// Whether a right could come out under this name.
    fn would_name(&self, task: TaskIx, right: Right, name: Name) -> bool {
        match right {
            Right::Receive(port) if self.ports[port].alive => match self.find_name(task, port) {
                Some(held) => held == name.0,
                None => self.entry(task, name.0).is_none(),
            },
            _ => name == Name::DEAD,
        }
    }
    fn unexpected(&self, found: &[(PortIx, usize)], frame: &FrameView<'_>) -> String {
        let heads: Vec<_> = found.iter().map(|(port, at)| (port, &self.ports[*port].queue[*at])).collect();
        let what = Notification::parse(frame.message);
        format!("received {:?} {what:?}, but next are: {heads:#?}", Header::read(frame.message))
    }
    /// Where no-senders and send-once were both possible, what came out decides.
    fn decide_either(&mut self, task: TaskIx, source: Source, frame: &FrameView<'_>) {
        if Header::read(frame.message).is_none_or(|header| header.id != notify::SEND_ONCE) {
            return;
        }
        let found = self.available(source);
        let here = |at: &(PortIx, usize)| self.looks_like(task, *at, frame);
        let either = |at: &(PortIx, usize)| matches!(self.ports[at.0].queue[at.1].note, Some(What::NoSenders { .. }));
        if found.iter().any(|at| here(at) && !either(at)) {
            return;
        }
        if let Some((port, at)) = found.into_iter().find(|at| here(at) && either(at)) {
            let mail = &mut self.ports[port].queue[at];
            (mail.id, mail.size, mail.note) = (notify::SEND_ONCE, message::HEADER, Some(What::SendOnce));
        }
    }
    fn too_large(&mut self, task: TaskIx, source: Source, args: &RecvArgs, frames: &[FrameView<'_>]) -> R {
        if let Some(frame) = frames.first() {
            self.decide_either(task, source, frame);
        }
        let fits = |world: &World, at: (PortIx, usize)| world.ports[at.0].queue[at.1].size + args.trailer.size() <= args.limit;
        let Some(chosen) = self.available(source).into_iter().find(|at| !fits(self, *at)) else {
            return Err(format!("too large, but everything there fits into {}", args.limit));
        };
        let mail = &self.ports[chosen.0].queue[chosen.1];
        let header = frames.first().and_then(|frame| Header::read(frame.message));
        if args.large {
            let need = mail.size + args.trailer.size();
            return match header {
                Some(header) if matches!(source, Source::Port(_)) && mail.note.is_none() && header.size as usize != need => {
                    Err(format!("too large: says {} bytes are needed, not {need}", header.size))
                }
                _ => Ok(()),
            };
        }
        let at = header.and_then(|header| self.available(source).into_iter().find(|at| {
            let mail = &self.ports[at.0].queue[at.1];
            mail.id == header.id && self.find_receiver(at.0) == Some((task, header.local.0)) && !fits(self, *at)
        }));
        let (port, position) = at.ok_or_else(|| format!("too large: delivered header {header:?} fits no queued message"))?;
        let mail = self.ports[port].queue.remove(position).ok_or("model: message vanished")?;
        self.next_seqno(port);
        let base = self.limbo.len();
        self.limbo.extend(mail.rights());
        self.fill(port)?;
        self.limbo.truncate(base);
        let mut rights: Vec<Right> = mail.rights().collect();
        // The header is received: its destination right is used up, not destroyed unused.
        if let Right::Once(_) = rights[0] {
            rights[0] = Right::Null;
        }
        self.ruins.extend(rights);
        Ok(())
    }

    fn check_fixed(&self, mail: &Mail, frame: &FrameView<'_>) -> R<Header> {
        let header = Header::read(frame.message).ok_or("a frame shorter than a header")?;
        if header.id != mail.id || header.size as usize != mail.size || frame.message.len() != mail.size || header.is_complex() != mail.complex {
            return Err(format!("delivered {header:?} ({} bytes), expected {mail:?}", frame.message.len()));
        }
        Ok(header)
    }
    fn deliver(&mut self, task: TaskIx, port: PortIx, seqno: u32, mail: &Mail, frame: &FrameView<'_>, args: &RecvArgs) -> R {
        let header = self.check_fixed(mail, frame)?;
        if frame.row.status != 0 {
            return Err(format!("frame status {:?} for {mail:?}", Code(frame.row.status)));
        }
        let reply_kind = if mail.reply == Right::Null { header.remote_disposition() } else { mail.reply_kind };
        if header.local_disposition() != received_right(mail.dest) || header.remote_disposition() != reply_kind {
            return Err(format!("delivered with bits {:#x}, expected {mail:?}", header.bits));
        }
        self.copy_out(task, mail.reply, header.remote, "reply")?;
        self.copy_out_body(task, mail, frame)?;
        let trailer = Trailer::read(frame.trailer).ok_or("no trailer")?;
        if frame.trailer.len() != args.trailer.size() {
            return Err(format!("trailer of {} bytes, asked for {:?}", frame.trailer.len(), args.trailer));
        }
        let mut expected = Trailer { seqno, uid: KERNEL_ID, gid: KERNEL_ID, pid: 0, task: trailer.task, context: self.ports[port].context };
        if let Some(from) = mail.from {
            let from = &self.tasks[from];
            expected = Trailer { uid: from.uid, gid: from.gid, pid: from.pid, task: from.core.to_raw(), ..expected };
        }
        let mut bytes = Vec::new();
        expected.write(args.trailer, &mut bytes);
        if bytes != frame.trailer {
            return Err(format!("trailer {trailer:?}, expected {expected:?} cut to {:?}, of {mail:?}", args.trailer));
        }
        Ok(())
    }
    fn copy_out_body(&mut self, task: TaskIx, mail: &Mail, frame: &FrameView<'_>) -> R {
        let mut at = message::HEADER;
        if mail.complex {
            at = message::BASE;
            let seen: Vec<_> = message::descriptors(frame.message).collect();
            if seen.len() != mail.descs.len() {
                return Err(format!("{} descriptors delivered, expected {mail:?}", seen.len()));
            }
            for ((offset, descriptor), desc) in seen.into_iter().zip(&mail.descs) {
                let descriptor = descriptor.map_err(|_| "a delivered descriptor is malformed")?;
                at = offset + descriptor.size();
                self.copy_out_descriptor(task, descriptor, desc, frame)?;
            }
        }
        let body = &frame.message[at..];
        match mail.note {
            None if body != mail.body => Err(format!("body {body:x?}, expected {mail:?}")),
            _ => Ok(()),
        }
    }
    fn copy_out_descriptor(&mut self, task: TaskIx, descriptor: Descriptor, desc: &Desc, frame: &FrameView<'_>) -> R {
        let in_annex = |address: u64, size: usize| match Place::from_raw(address) {
            Some(Place::Null) if size == 0 => Ok(&[][..]),
            Some(Place::Annex(at)) => frame.annex.get(at as usize..at as usize + size).ok_or("annex too short".to_owned()),
            place => Err(format!("{size} bytes at {place:?}")),
        };
        match (descriptor, desc) {
            (Descriptor::Port { name, disposition }, Desc::Port { right, kind }) if disposition == *kind => {
                self.copy_out(task, *right, name, "body right")
            }
            (Descriptor::Ports { address, disposition, count, .. }, Desc::Ports { rights, kind })
                if disposition == *kind && count as usize == rights.len() =>
            {
                let names = in_annex(address, 4 * rights.len())?;
                for (at, right) in rights.iter().enumerate() {
                    let name = message::u32_at(names, 4 * at).unwrap_or(0);
                    self.copy_out(task, *right, Name(name), "right in an array")?;
                }
                Ok(())
            }
            (Descriptor::Memory { address, size, .. }, Desc::Memory { bytes, .. })
                if size as usize == bytes.len() && in_annex(address, bytes.len())? == &bytes[..] =>
            {
                Ok(())
            }
            _ => Err(format!("delivered {descriptor:?}, expected {desc:?}")),
        }
    }
    /// A right enters a space; the core says under which name.
    pub(crate) fn copy_out(&mut self, task: TaskIx, right: Right, got: Name, what: &str) -> R {
        let wrong = |expected: &str| Err(format!("{what}: t{task} got {right:?} as {got}, expected {expected}"));
        let port = match right {
            Right::Null => return if got == Name::NULL { Ok(()) } else { wrong("null") },
            Right::Send(port) | Right::Once(port) | Right::Receive(port) if self.ports[port].alive => port,
            _ => return if got == Name::DEAD { Ok(()) } else { wrong("dead") },
        };
        if let Right::Once(_) = right {
            return self.enter_chosen(task, got, Holding::Once { port });
        }
        let held = self.find_name(task, port);
        if held.is_some_and(|name| name != got.0) {
            return wrong(&format!("{:#x}, under which it is held already", held.unwrap_or(0)));
        }
        let (sends, receive) = match held.and_then(|name| self.entry(task, name)) {
            Some(Entry { holds: Holding::Port { sends, receive, .. }, .. }) => (sends, receive),
            _ => {
                self.enter_chosen(task, got, Holding::Port { port, sends: 0, receive: false })?;
                (0, false)
            }
        };
        let holds = match right {
            Right::Receive(_) => {
                // The queue comes along, and is paid for by who has it now.
                self.ports[port].payer = Some(task);
                Holding::Port { port, sends, receive: true }
            }
            _ => Holding::Port { port, sends: (sends + 1).min(UREFS_MAX), receive },
        };
        self.set_holding(task, got.0, holds);
        Ok(())
    }

    // What follows from an operation.

    /// Room in a queue goes to blocked senders, in order; when room is left, armed send-possible requests fire.
    pub(crate) fn fill(&mut self, port: PortIx) -> R {
        while self.ports[port].alive && !self.is_full(port) {
            let Some(&lane) = self.blocked_on(port).first() else { break };
            let State::Sending { mail, then } = std::mem::replace(&mut self.lanes[lane].state, State::Idle) else { break };
            self.post(mail)?;
            self.send_done(lane, then)?;
        }
        Ok(())
    }
    pub(crate) fn flush_notes(&mut self) -> R {
        while let Some((to, what)) = self.notes.pop_front() {
            self.post_note(to, what)?;
        }
        Ok(())
    }
    fn fire_possible(&mut self) {
        for task in 0..self.tasks.len() {
            let armed = self.tasks[task].space.iter().filter_map(|(name, entry)| match (entry.request, entry.holds) {
                (Some(request), Holding::Port { port, .. }) if request.armed && !self.is_full(port) => Some((*name, request)),
                _ => None,
            });
            let armed: Vec<(u32, Request)> = armed.collect();
            for (name, request) in armed {
                if let Some(entry) = self.tasks[task].space.get_mut(&name) {
                    entry.request = None;
                }
                self.notify(request.notify, What::Possible(name));
            }
        }
    }
    /// Whether a lane was told that a message is too large for it, before that went to somebody who waits elsewhere.
    fn is_passed_over(&self, lane: LaneIx, waiting: &[LaneIx]) -> bool {
        let source = |lane: LaneIx| match self.lanes[lane].state {
            State::Receiving { source, args } => Some((source, args.large)),
            _ => None,
        };
        let told = |lane: LaneIx| self.actual.get(&lane).map(|answer| answer.status);
        let mut earlier = waiting.iter().take_while(|other| **other != lane);
        let behind = earlier.any(|other| source(*other).map(|s| s.0) == source(lane).map(|s| s.0) && told(*other) == Some(Code::SUCCESS));
        !behind && told(lane) == Some(Code::MACH_RCV_TOO_LARGE) && source(lane).is_some_and(|(_, large)| large)
    }
    /// Notifications go out, senders move up, and who waits gets what there is.
    pub(crate) fn pump(&mut self) -> R {
        loop {
            let has_room = |port: &PortIx| self.ports[*port].alive && !self.is_full(*port) && !self.blocked_on(*port).is_empty();
            if let Some(port) = (0..self.ports.len()).find(has_room) {
                self.fill(port)?;
                continue;
            }
            self.fire_possible();
            if !self.notes.is_empty() {
                self.flush_notes()?;
                continue;
            }
            // Who waits already comes before who only now begins to receive.
            let mut served = false;
            let waiting = self.waiting();
            let first: Vec<_> = waiting.iter().copied().filter(|lane| self.is_passed_over(*lane, &waiting)).collect();
            for lane in first.into_iter().chain(waiting) {
                served |= self.serve(lane)?;
            }
            if !served {
                return Ok(());
            }
        }
    }
    fn settle_receives(&mut self) -> R {
        self.pump()?;
        while let Some((lane, args)) = self.resumed.pop_front() {
            if self.lanes[lane].open {
                self.receive(lane, args)?;
            }
            self.pump()?;
        }
        Ok(())
    }
    /// Runs until nothing follows any more.
    pub(crate) fn settle(&mut self) -> R {
        self.settle_receives()?;
        while !self.ruins.is_empty() || !self.late.is_empty() {
            let ruins = std::mem::take(&mut self.ruins);
            self.drop_all(ruins)?;
            self.notes.append(&mut self.late);
            self.settle_receives()?;
        }
        for lane in self.waiting().into_iter().filter(|lane| !self.actual.contains_key(lane)) {
            let State::Receiving { source, .. } = self.lanes[lane].state else { continue };
            if let Some((port, at)) = self.available(source).first() {
                let mail = &self.ports[*port].queue[*at];
                return Err(format!("lane {lane} still waits at {source:?} although this is queued at port {port}: {mail:?}"));
            }
        }
        if let Some((&lane, answer)) = self.actual.iter().next() {
            if let State::Receiving { source, .. } = self.lanes[lane].state
                && let Some(frame) = read_frames(&answer.fields)?.first()
            {
                return Err(format!("lane {lane} {}", self.unexpected(&self.available(source), frame)));
            }
            let code = answer.status;
            return Err(format!("lane {lane} was answered ({code:?}, request {}), which the model does not expect", answer.op));
        }
        Ok(())
    }

    // Answers.

    /// The lane's answer, whose status must be one of `codes`.
    pub(crate) fn take_answer(&mut self, lane: LaneIx, codes: &[Code]) -> R<Answer> {
        let Some(answer) = self.actual.remove(&lane) else { return Err(format!("lane {lane} was not answered; expected {codes:?}")) };
        if answer.seq != self.lanes[lane].seq {
            return Err(format!("lane {lane}: answer to request {}, not {}", answer.seq, self.lanes[lane].seq));
        }
        if !codes.contains(&answer.status) {
            return Err(format!("lane {lane}: answered {:?}, expected {codes:?}", answer.status));
        }
        Ok(answer)
    }
    /// The lane's request is over, with this status and nothing else.
    pub(crate) fn finish(&mut self, lane: LaneIx, codes: &[Code]) -> R {
        self.lanes[lane].state = State::Idle;
        let answer = self.take_answer(lane, codes)?;
        if answer.status.is_ok() && !answer.fields.is_empty() {
            return Err(format!("lane {lane}: {} unexpected bytes in the answer", answer.fields.len()));
        }
        Ok(())
    }
}

/// What a disposition arrives as.
pub(crate) fn received_kind(disposition: Disposition) -> u8 {
    match disposition.becomes() {
        RightKind::Receive => received::RECEIVE,
        RightKind::Send => received::SEND,
        _ => received::SEND_ONCE,
    }
}

fn received_right(right: Right) -> u8 {
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
