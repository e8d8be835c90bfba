//! Taking a message from its sender (1.2), and queueing it (1.3, 1.5).

use umach_abi::control::phase;
use umach_abi::limits::UREFS_MAX;
use umach_abi::message::{self, copy};
use umach_abi::notify;
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name, RightKind};

use super::message::*;
use super::state::*;

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
        // With several things wrong, any of the codes will do.
        let tight = status == Some(Code::MACH_SEND_NO_BUFFER) && self.lacks_room(task, req);
        let refuse = |codes: &[Code]| refuse(&[codes, if tight { &[Code::MACH_SEND_NO_BUFFER] } else { &[] }].concat());
        let is_dead = |name: u32| matches!(self.entry(task, name), Some(Entry { holds: Holding::Dead { .. }, .. }));
        let dest_ok = self.can_take(task, req.dest.0, dest_disposition) && !is_dead(req.dest.0);
        let lost_once = matches!(self.entry(task, req.dest.0), Some(Entry { holds: Holding::Dead { was_once: true, .. }, .. }))
            && dest_disposition == Disposition::MoveSendOnce;
        let reply_named = reply_disposition.is_some() && Name(req.reply.0).is_valid();
        let reply_ok = !reply_named || reply_disposition.is_some_and(|d| self.can_take(task, req.reply.0, d)) && !is_dead(req.reply.0);
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
        if self.lacks_room(task, req) {
            return refuse(&[Code::MACH_SEND_NO_BUFFER]);
        }

        // Point of no return for the header. Copies before moves, so that a pair of the same name works out. What is taken is in limbo.
        let base = self.limbo.len();
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
            self.limbo.push(rights[slot]);
        }
        let [dest, reply] = rights;
        if let Right::Send(port) | Right::Once(port) = dest {
            self.entering = Some((port, req.price()));
        }
        self.hear()?;
        if matches!(dest, Right::Send(port) if self.is_full(port)) {
            self.arm(task, req);
        }
        let mut descs = Vec::new();
        let mut failed = None;
        for desc in &req.descs {
            // What became of one right: taken, or why not.
            let pick = |world: &mut World, name: u32, disposition: u8, into: &mut Vec<Right>| -> R<Option<Code>> {
                let right = match (name, Disposition::from_raw(disposition)) {
                    (0, _) => Right::Null,
                    (u32::MAX, _) => Right::Dead,
                    (_, Some(disposition)) if world.can_take(task, name, disposition) => {
                        if world.is_short(task, name, disposition) {
                            return Ok(Some(Code::MACH_SEND_NO_BUFFER));
                        }
                        world.take(task, name, disposition)?
                    }
                    _ => return Ok(Some(Code::MACH_SEND_INVALID_RIGHT)),
                };
                into.push(right);
                world.limbo.push(right);
                world.hear()?;
                Ok(None)
            };
            let mut rights = Vec::new();
            let kind = |disposition: u8| Disposition::from_raw(disposition).map_or(0, received_kind);
            match desc {
                DescReq::Port(name, disposition) => {
                    failed = pick(self, *name, *disposition, &mut rights)?;
                    descs.extend(rights.into_iter().map(|right| Desc::Port { right, kind: kind(*disposition) }));
                }
                DescReq::Ports(names, disposition) => {
                    for name in names {
                        if failed.is_none() {
                            failed = pick(self, *name, *disposition, &mut rights)?;
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
            sharer: Some(task).filter(|sender| self.payer(dest) != Some(*sender)),
            note: None,
            batch: 0,
        };
        self.limbo.truncate(base);
        self.entering = None;
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

    /// A thread that waits may get what the taking of a right has to tell, before the next one is taken.
    fn hear(&mut self) -> R {
        if !self.notes.is_empty() && self.somebody_hears() { self.pump() } else { Ok(()) }
    }
    /// The send found a full queue: a send-possible request on the destination's name is armed, if the sender wants that.
    pub(crate) fn arm(&mut self, task: TaskIx, req: &SendReq) {
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
    pub(crate) fn post_note(&mut self, to: PortIx, what: What) -> R {
        let (id, size, descs) = match what {
            What::Deleted(_) | What::Ended { .. } => (notify::PORT_DELETED, 36, vec![]),
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
            sharer: None,
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
        if sent as usize == sends.len() && answer.status.is_ok() {
            Ok(())
        } else {
            Err(format!("lane {lane}: {sent} sent, {:?}", answer.status))
        }
    }
    /// Whether the destination, were it taken, is a send right to a full queue.
    pub(crate) fn dest_is_full(&self, task: TaskIx, req: &SendReq) -> bool {
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
        if header.remote_disposition() != received_right(mail.dest)
            || header.local_disposition() != mail.reply_kind && mail.reply != Right::Null
        {
            return Err(format!("handed back with dispositions {:#x}, sent {mail:?}", header.bits));
        }
        self.copy_out(task, mail.dest, header.remote, "destination handed back")?;
        self.copy_out(task, mail.reply, header.local, "reply handed back")?;
        self.copy_out_body(task, &mail, frame)
    }
}
