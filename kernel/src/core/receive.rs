//! Receiving: from a queue to the receiver's bytes; waiting threads; and messages handed back to a sender that gave up.

use umach_abi::limits::{ATTACH_MAX, PACKET_MAX};
use umach_abi::message::{self, BASE, COMPLEX, Descriptor, HEADER, Header, Place, Trailer, TrailerRequest, copy, file_lost, guard_flags};
use umach_abi::records::{Frame, trace as record};
use umach_abi::{Code, Name, RightKind, TypeBits};

use super::Core;
use super::effect::{Attach, LaneId, TaskId};
use super::mail::{Carried, Mail, MailId, Right, as_received};
use super::packet::Packet;
use super::port::{PortId, Receiver};
use super::route::RouteId;
use super::space::Object;
use super::task::{Receive, Source, Wait, unqueue};

impl Core {
    /// A thread receives, or waits.
    pub(super) fn begin_receive(&mut self, lane: LaneId, want: Receive) {
        let task = self.lanes[lane.0].task;
        let from = match self.tasks[task.0].space.get(want.name).map(|entry| (entry.object, entry.bits)) {
            Some((Object::Port(port), bits)) if bits.contains(TypeBits::RECEIVE) => Source::Port(port),
            Some((Object::Set(set), _)) => Source::Set(set),
            _ => return self.finish_receive(lane, Code::MACH_RCV_INVALID_NAME),
        };
        if let Some((route, number)) = want.ticket {
            return self.receive_ticket(lane, from, route, number, &want);
        }
        match from {
            Source::Port(port) => self.ports[port.0].pinned |= self.tasks[task.0].plane.agreed,
            Source::Set(set) => self.sets[set.0].pinned_at = self.requests,
        }
        if let Some(port) = self.next_ready(from) {
            return self.receive_from(lane, from, port, &want);
        }
        let plane = &self.tasks[task.0].plane;
        let routed = match from {
            Source::Port(port) => self.ports[port.0].routed(),
            Source::Set(set) => self.sets[set.0].routed > 0,
        };
        if plane.attention && (want.watch || routed || !plane.notes.is_empty()) {
            return self.put_off(lane, from);
        }
        if want.poll {
            return self.finish_receive(lane, Code::MACH_RCV_TIMED_OUT);
        }
        match from {
            Source::Port(port) => self.ports[port.0].waiters().receivers.push_back(lane),
            Source::Set(set) => self.sets[set.0].receivers.push_back(lane),
        }
        self.wait(lane, Wait::Receive { from, want });
    }

    fn next_ready(&self, from: Source) -> Option<PortId> {
        match from {
            Source::Port(port) => self.ports[port.0].ready().then_some(port),
            Source::Set(set) => self.sets[set.0].ready.first_key_value().map(|(_, &port)| port),
        }
    }

    /// Hands what is queued at a port to threads that wait for it, first come first served; those on the port before those on its sets.
    pub(super) fn pump(&mut self, id: PortId) {
        while let Some(port) = self.ports.get_mut(id.0) {
            if !port.ready() {
                return;
            }
            let mut lane = port.waiters.as_mut().and_then(|waiters| waiters.receivers.pop_front());
            port.tidy();
            if lane.is_none() {
                let sets = &mut self.sets;
                lane = self.ports[id.0].sets.iter().find_map(|set| sets.get_mut(set.0)?.receivers.pop_front());
            }
            let Some(lane) = lane else { return self.ring_watchers(id) };
            let Some(Wait::Receive { from, want }) = self.lanes[lane.0].pending.as_ref().map(|pending| &pending.what) else {
                unreachable!("a waiting lane waits");
            };
            let (from, want) = (*from, *want);
            self.receive_from(lane, from, id, &want);
        }
    }

    /// Answers a thread with the message at the head of `port`, and as many more as it asked for and are there.
    fn receive_from(&mut self, lane: LaneId, from: Source, port: PortId, want: &Receive) {
        let task = self.lanes[lane.0].task;
        let mut packet = self.open_packet(lane);
        let status = self.take_one(task, port, want, &mut packet);
        let mut taken = 1;
        while status.is_ok() && taken < want.count {
            let Some(next) = self.next_ready(from) else { break };
            if !self.fits(self.measure(next, want), want, &packet) {
                break;
            }
            if !self.take_one(task, next, want, &mut packet).is_ok() {
                break; // its frame says what is wrong
            }
            taken += 1;
        }
        self.answer(lane, packet, status);
    }

    /// Whether one more message goes into an answer.
    fn fits(&self, (size, annex, attached): (usize, usize, usize), want: &Receive, packet: &Packet) -> bool {
        let room = packet.len() + Frame::SIZE + size + annex <= PACKET_MAX && packet.attached() + attached <= ATTACH_MAX;
        room && size <= want.limit as usize
    }

    /// Size with trailer, annex and attachments of the message at the head of a port.
    fn measure(&self, port: PortId, want: &Receive) -> (usize, usize, usize) {
        self.measure_mail(self.ports[port.0].queue[0], want)
    }

    fn measure_mail(&self, mail: MailId, want: &Receive) -> (usize, usize, usize) {
        let mail = &self.mails[mail.0];
        let regions = mail.carried.iter().filter(|c| matches!(c, Carried::Region(..))).count();
        (received_size(mail, want.guarded) + want.trailer.size(), mail.annex.len(), regions)
    }

    /// Takes the message at the head of `id` and writes its frame.
    fn take_one(&mut self, task: TaskId, id: PortId, want: &Receive, packet: &mut Packet) -> Code {
        let mail = self.ports[id.0].queue[0];
        self.take_mail(task, id, mail, want, packet, |core| core.dequeue(id))
    }

    /// A receive of a ticket, and of as many more that follow it as were asked for and fit.
    fn receive_ticket(&mut self, lane: LaneId, from: Source, route: RouteId, number: u32, want: &Receive) {
        let task = self.lanes[lane.0].task;
        let Source::Port(port) = from else { return self.finish_receive(lane, Code::MACH_RCV_INVALID_NAME) };
        let Some(mail) = self.find_ticket(task, port, route, number) else {
            return self.finish_receive(lane, Code::MACH_RCV_INVALID_DATA);
        };
        let mut packet = self.open_packet(lane);
        let status = self.take_mail(task, port, mail, want, &mut packet, |core| core.take_ticket(route, number));
        let mut next = number;
        for _ in 1..want.count {
            next = next.wrapping_add(1);
            let Some(mail) = self.find_ticket(task, port, route, next).filter(|_| status.is_ok()) else { break };
            if !self.fits(self.measure_mail(mail, want), want, &packet) {
                break;
            }
            if !self.take_mail(task, port, mail, want, &mut packet, |core| core.take_ticket(route, next)).is_ok() {
                break; // its frame says what is wrong
            }
        }
        self.answer(lane, packet, status);
    }

    /// Writes the frame of `mail`, after taking it out of where it is.
    fn take_mail(
        &mut self,
        task: TaskId,
        id: PortId,
        mail: MailId,
        want: &Receive,
        packet: &mut Packet,
        take: impl FnOnce(&mut Core) -> (Mail, u32),
    ) -> Code {
        let (needed, ..) = self.measure_mail(mail, want);
        let Receiver::Space(_, local) = self.ports[id.0].receiver else { unreachable!("only a receiver receives") };
        if needed <= want.limit as usize {
            let (mut mail, seqno) = take(self);
            self.trace_received(task, id, &mut mail);
            packet.comes_first(std::mem::take(&mut self.came_first));
            return self.copy_out(task, id, local, mail, seqno, want, packet);
        }
        let status = Code::MACH_RCV_TOO_LARGE;
        let header = Header { size: needed as u32, local: if want.identity { local } else { want.name }, ..Header::default() };
        let frame = packet.begin_frame();
        if want.large {
            packet.bytes.extend_from_slice(&header.to_bytes());
            packet.end_frame(frame, status, HEADER, 0, 0);
            return status;
        }
        // The message is gone: the receiver gets its header, the rights end.
        let (mut mail, seqno) = take(self);
        self.trace_received(task, id, &mut mail);
        packet.comes_first(std::mem::take(&mut self.came_first));
        let bits = Header::make_bits(0, dest_kind(&mail), false);
        let header = Header { bits, size: mail.bytes.len() as u32, local, id: mail.id, ..Header::default() };
        packet.bytes.extend_from_slice(&header.to_bytes());
        self.trailer(id, &mail, seqno).write(TrailerRequest::Null, &mut packet.bytes);
        packet.end_frame(frame, status, HEADER, TrailerRequest::Null.size(), 0);
        let dest = std::mem::replace(&mut mail.dest, Right::Null);
        self.destroy_mail(mail);
        self.consume_destination(dest);
        status
    }

    fn trailer(&self, port: PortId, mail: &Mail, seqno: u32) -> Trailer {
        let context = self.ports.get(port.0).map_or(0, |port| port.context);
        let s = &mail.sender;
        Trailer { seqno, uid: s.uid, gid: s.gid, pid: s.pid, task: s.task, context }
    }

    /// The destination's right has done its work.
    pub(super) fn consume_destination(&mut self, dest: Right) {
        match dest {
            Right::Send(port) => self.release_send(port),
            Right::SendOnce(port) => self.use_send_once(port),
            _ => {}
        }
    }

    /// Takes the first message out of a queue; blocked senders move up.
    fn dequeue(&mut self, id: PortId) -> (Mail, u32) {
        let port = &mut self.ports[id.0];
        let id_of_mail = port.queue.pop_front().expect("queue is not empty");
        let seqno = port.seqno;
        port.seqno = seqno.wrapping_add(1);
        self.came_first = self.held_route(id, id_of_mail);
        self.mail_gone(id, id_of_mail);
        let mail = self.mails.remove(id_of_mail.0).expect("queued mail exists");
        self.ports[id.0].queued_bytes -= mail.charge.as_ref().map_or(0, |charge| charge.amount());
        self.rotate(id);
        self.refill(id);
        (mail, seqno)
    }

    /// The port was served: it goes behind the other ready ports of its sets.
    fn rotate(&mut self, id: PortId) {
        let Core { ports, sets, .. } = self;
        for set in &ports[id.0].sets {
            let Some(set) = sets.get_mut(set.0) else { continue };
            set.unmark(id);
            if ports[id.0].ready() {
                set.mark_ready(id);
            }
        }
    }

    /// Tells the port's sets that it has messages.
    pub(super) fn mark_ready(&mut self, id: PortId) {
        let Core { ports, sets, .. } = self;
        if !ports[id.0].ready() {
            return;
        }
        for set in &ports[id.0].sets {
            if let Some(set) = sets.get_mut(set.0) {
                set.mark_ready(id);
            }
        }
    }

    /// Lets blocked senders put their mail into the room there is, in order; then tells those who asked.
    pub(super) fn refill(&mut self, id: PortId) {
        while let Some(port) = self.ports.get_mut(id.0) {
            if port.full() {
                return;
            }
            let Some(lane) = port.waiters.as_mut().and_then(|waiters| waiters.senders.pop_front()) else { break };
            port.tidy();
            let mail = self.sent(lane);
            let bytes = self.mails[mail.0].charge.as_ref().map_or(0, |charge| charge.amount());
            let port = &mut self.ports[id.0];
            port.queue.push_back(mail);
            port.queued_bytes += bytes;
            self.mark_ready(id);
        }
        self.fire_send_possible(id);
    }

    /// A blocked send is done: answers it, or lets its receive begin. Gives its mail.
    pub(super) fn sent(&mut self, lane: LaneId) -> MailId {
        let pending = self.lanes[lane.0].pending.as_mut().expect("a blocked lane has a request");
        let Wait::Send { mail, then, .. } = std::mem::replace(&mut pending.what, Wait::Outside) else {
            unreachable!("the lane was blocked in a send");
        };
        match then {
            Some(want) => self.resumed.push_back((lane, want)),
            None => {
                let packet = self.open_packet(lane);
                self.answer(lane, packet, Code::SUCCESS);
            }
        }
        mail
    }

    /// Ends a receive without a message.
    pub(super) fn finish_receive(&mut self, lane: LaneId, code: Code) {
        let packet = self.open_packet(lane);
        self.answer(lane, packet, code);
    }

    /// Delivers a message's rights and writes its frame.
    #[allow(clippy::too_many_arguments)] // one call site; a struct would only rename them
    fn copy_out(&mut self, task: TaskId, id: PortId, local: Name, mut mail: Mail, seqno: u32, want: &Receive, packet: &mut Packet) -> Code {
        let frame = packet.begin_frame();
        let trailer = self.trailer(id, &mail, seqno);
        let dest = std::mem::replace(&mut mail.dest, Right::Null);
        let reply = std::mem::replace(&mut mail.reply, Right::Null);
        let dest_kind = if matches!(dest, Right::SendOnce(_)) { RightKind::SendOnce } else { RightKind::Send };
        self.tasks[task.0].received += 1;
        let remote = match self.deliver(task, reply) {
            Ok(name) => name,
            Err(right) => {
                self.discard(right);
                self.destroy_mail(mail);
                self.consume_destination(dest);
                let status = Code(Code::MACH_RCV_HEADER_ERROR.0 | Code::IPC_SPACE);
                packet.end_frame(frame, status, 0, 0, 0);
                return status;
            }
        };
        let bits = Header::make_bits(mail.reply_kind.map_or(0, as_received), as_received(dest_kind), false);
        let header = Header { bits, size: 0, remote, local, voucher: Name::NULL, id: mail.id };
        let (size, complete) = self.write_message(task, header, &mut mail, want.guarded, packet);
        trailer.write(want.trailer, &mut packet.bytes);
        packet.bytes.extend_from_slice(&mail.annex);
        let status = if complete { Code::SUCCESS } else { Code(Code::MACH_RCV_BODY_ERROR.0 | Code::IPC_SPACE) };
        packet.end_frame(frame, status, size, want.trailer.size(), mail.annex.len());
        if let Some(charge) = mail.charge.take() {
            self.ledger.release(charge);
        }
        self.consume_destination(dest);
        status
    }

    /// Hands a message back to the sender that gave up (pseudo-receive): nothing is swapped, rights come back as moved ones.
    pub(super) fn give_back(&mut self, lane: LaneId, mut mail: Mail, code: Code) {
        self.trace_gone(record::RETURNED, &mut mail);
        let task = self.lanes[lane.0].task;
        let mut packet = self.open_packet(lane);
        let frame = packet.begin_frame();
        let mut complete = true;
        for carried in &mut mail.carried {
            if let Carried::File(token) = carried
                && let Some(token) = token.take()
            {
                self.return_file(token);
            }
        }
        let dest = std::mem::replace(&mut mail.dest, Right::Null);
        let reply = std::mem::replace(&mut mail.reply, Right::Null);
        let dest_kind = if matches!(dest, Right::SendOnce(_)) { RightKind::SendOnce } else { RightKind::Send };
        let bits = Header::make_bits(as_received(dest_kind), mail.reply_kind.map_or(0, as_received), false);
        let remote = self.deliver_or_null(task, dest, &mut complete);
        let local = self.deliver_or_null(task, reply, &mut complete);
        let header = Header { bits, size: 0, remote, local, voucher: Name::NULL, id: mail.id };
        let (size, body) = self.write_message(task, header, &mut mail, true, &mut packet);
        packet.bytes.extend_from_slice(&mail.annex);
        let status = if complete && body { code } else { Code(code.0 | Code::IPC_SPACE) };
        packet.end_frame(frame, status, size, 0, mail.annex.len());
        if let Some(charge) = mail.charge.take() {
            self.ledger.release(charge);
        }
        self.answer(lane, packet, status);
    }

    fn deliver_or_null(&mut self, task: TaskId, right: Right, complete: &mut bool) -> Name {
        self.deliver(task, right).unwrap_or_else(|right| {
            self.discard(right);
            *complete = false;
            Name::NULL
        })
    }

    /// Writes header, descriptors with the receiver's names, and body; fills port arrays into the mail's annex. Says how large the message
    /// became and whether every right found a name.
    fn write_message(&mut self, task: TaskId, mut header: Header, mail: &mut Mail, guarded: bool, packet: &mut Packet) -> (usize, bool) {
        let start = packet.len();
        let mut complete = true;
        if !mail.complex {
            packet.bytes.extend_from_slice(&header.to_bytes());
            packet.bytes.extend_from_slice(&mail.bytes[HEADER..]);
        } else {
            header.bits |= COMPLEX;
            packet.bytes.extend_from_slice(&header.to_bytes());
            packet.bytes.extend_from_slice(&mail.bytes[HEADER..BASE]);
            let mut end = BASE;
            let carried = std::mem::take(&mut mail.carried);
            for ((at, descriptor), carried) in message::descriptors(&mail.bytes).zip(carried) {
                let descriptor = descriptor.expect("checked when it was sent");
                end = at + descriptor.size();
                let out = self.deliver_carried(task, descriptor, carried, guarded, &mut mail.annex, packet, &mut complete);
                out.push(&mut packet.bytes);
            }
            packet.bytes.extend_from_slice(&mail.bytes[end..]);
        }
        let size = packet.len() - start;
        packet.bytes[start + 4..start + 8].copy_from_slice(&(size as u32).to_le_bytes());
        (size, complete)
    }

    #[allow(clippy::too_many_arguments)] // one call site
    fn deliver_carried(
        &mut self,
        task: TaskId,
        sent: Descriptor,
        carried: Carried,
        guarded: bool,
        annex: &mut [u8],
        packet: &mut Packet,
        complete: &mut bool,
    ) -> Descriptor {
        match carried {
            Carried::Port { right, kind } => {
                Descriptor::Port { name: self.deliver_or_null(task, right, complete), disposition: as_received(kind) }
            }
            Carried::Guarded { right, immovable } => {
                let port = right.port();
                let name = self.deliver_or_null(task, right, complete);
                let disposition = as_received(RightKind::Receive);
                if !guarded {
                    return Descriptor::Port { name, disposition };
                }
                let mut context = 0;
                if let (true, true, Some(id)) = (immovable, name.is_valid(), port) {
                    let port = &mut self.ports[id.0];
                    context = id.0.to_raw();
                    (port.immovable, port.guarded, port.strict, port.context) = (true, true, true, context);
                }
                let flags = if immovable { guard_flags::IMMOVABLE_RECEIVE } else { 0 };
                Descriptor::Guarded { context, flags, disposition, name }
            }
            Carried::Ports { rights, kind, at } => {
                let count = rights.len() as u32;
                for (i, right) in rights.into_iter().enumerate() {
                    let name = self.deliver_or_null(task, right, complete);
                    annex[at as usize + 4 * i..][..4].copy_from_slice(&name.0.to_le_bytes());
                }
                let address = if count == 0 { Place::Null } else { Place::Annex(at) }.to_raw();
                Descriptor::Ports { address, deallocate: true, copy: copy::VIRTUAL, disposition: as_received(kind), count }
            }
            Carried::File(token) => {
                let Some(token) = token else { return Descriptor::File { lane: 0, number: file_lost::NOT_SENT } };
                match self.deliver_file(task, token) {
                    Some(token) => {
                        packet.files.push(token.lane);
                        Descriptor::File { lane: token.lane.to_raw(), number: token.number }
                    }
                    None => Descriptor::File { lane: 0, number: file_lost::MOVED },
                }
            }
            Carried::Bytes | Carried::Region(..) => {
                let Descriptor::Memory { address, copy, size, volatile, .. } = sent else {
                    unreachable!("memory is carried for memory descriptors");
                };
                let mut address = if size == 0 { 0 } else { address };
                if let Carried::Region(right, region) = carried {
                    address = Place::Attached(packet.attach(Attach::Region(region))).to_raw();
                    self.discard(right);
                }
                Descriptor::Memory { address, deallocate: copy == copy::VIRTUAL, copy, size, volatile }
            }
        }
    }

    /// `Cancel`: a thread gives up waiting.
    pub(super) fn cancel(&mut self, lane: LaneId, seq: u32, phases: u32, interrupted: bool) {
        use umach_abi::control::phase;
        let Some(pending) = self.lanes[lane.0].pending.as_mut().filter(|pending| pending.seq == seq) else { return };
        match &mut pending.what {
            Wait::Send { port, mail, .. } if phases & phase::SEND != 0 => {
                let (port, mail) = (*port, *mail);
                pending.what = Wait::Outside;
                self.stop_waiting_to_send(lane, port);
                self.mail_gone(port, mail);
                let mail = self.mails.remove(mail.0).expect("parked mail exists");
                let code = if interrupted { Code::MACH_SEND_INTERRUPTED } else { Code::MACH_SEND_TIMED_OUT };
                self.give_back(lane, mail, code);
            }
            Wait::Send { then: Some(want), .. } if phases & phase::RECEIVE != 0 => want.poll = true,
            Wait::Receive { from, .. } if phases & phase::RECEIVE != 0 => {
                let from = *from;
                self.stop_waiting_to_receive(lane, from);
                self.finish_receive(lane, if interrupted { Code::MACH_RCV_INTERRUPTED } else { Code::MACH_RCV_TIMED_OUT });
            }
            Wait::Events { .. } if phases & phase::RECEIVE != 0 => {
                self.stop_waiting_for_events(lane);
                let code = if interrupted { Code::MACH_RCV_INTERRUPTED } else { Code::MACH_RCV_TIMED_OUT };
                self.reply::<umach_abi::control::answer::EventsWait<'_>>(lane, Err(code));
            }
            Wait::Poll { .. } if phases & phase::RECEIVE != 0 => self.end_poll(lane),
            Wait::Semaphore(id, _) if phases & phase::RECEIVE != 0 => {
                let id = *id;
                self.cancel_semaphore_wait(lane, id, interrupted);
            }
            _ => {}
        }
    }

    /// A lane closes while its request is blocked.
    pub(super) fn abandon(&mut self, lane: LaneId) {
        if matches!(self.lanes[lane.0].pending.as_ref().map(|pending| &pending.what), Some(Wait::Events { .. } | Wait::Poll { .. })) {
            self.stop_waiting_for_events(lane);
        }
        let Some(pending) = self.lanes[lane.0].pending.take() else { return };
        match pending.what {
            Wait::Send { port, mail, .. } => {
                self.stop_waiting_to_send(lane, port);
                self.mail_gone(port, mail);
                let mail = self.mails.remove(mail.0).expect("parked mail exists");
                self.destroy_mail(mail);
            }
            Wait::Receive { from, .. } => self.stop_waiting_to_receive(lane, from),
            Wait::Semaphore(id, _) => self.stop_waiting_for_semaphore(lane, id),
            Wait::Events { .. } | Wait::Poll { .. } | Wait::Outside => {}
        }
    }

    pub(super) fn stop_waiting_to_send(&mut self, lane: LaneId, port: PortId) {
        let port = &mut self.ports[port.0];
        unqueue(&mut port.waiters().senders, lane);
        port.tidy();
    }

    fn stop_waiting_for_events(&mut self, lane: LaneId) {
        let task = self.lanes[lane.0].task;
        let plane = &mut self.tasks[task.0].plane;
        plane.waiting.retain(|&other| other != lane);
        plane.polling.retain(|&other| other != lane);
    }

    pub(super) fn stop_waiting_to_receive(&mut self, lane: LaneId, from: Source) {
        match from {
            Source::Port(port) => {
                let port = &mut self.ports[port.0];
                unqueue(&mut port.waiters().receivers, lane);
                port.tidy();
            }
            Source::Set(set) => unqueue(&mut self.sets[set.0].receivers, lane),
        }
    }
}

fn dest_kind(mail: &Mail) -> u8 {
    as_received(if matches!(mail.dest, Right::SendOnce(_)) { RightKind::SendOnce } else { RightKind::Send })
}

/// Bytes of the message as this receiver gets it: without the option, guarded descriptors shrink to port descriptors.
fn received_size(mail: &Mail, guarded: bool) -> usize {
    let shrunk = if guarded { 0 } else { mail.carried.iter().filter(|c| matches!(c, Carried::Guarded { .. })).count() };
    mail.bytes.len() - 4 * shrunk
}
