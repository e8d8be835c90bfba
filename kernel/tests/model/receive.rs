//! Receiving: which message comes next, and what of it arrives in whose space (1.4, 1.5).

use umach_abi::limits::UREFS_MAX;
use umach_abi::message::{self, Descriptor, Header, Place, Trailer, TrailerRequest};
use umach_abi::notify::{self, KERNEL_ID, Notification};
use umach_abi::{Code, Name};

use super::message::*;
use super::state::*;

impl World {
    pub(crate) fn source(&self, task: TaskIx, name: u32) -> Option<Source> {
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
        if self.serve(lane)? || !args.try_only {
            return Ok(());
        }
        // What the same request set off may still be on its way: teardown is done in pieces.
        let fresh = |(port, at): &(PortIx, usize)| {
            let mail = &self.ports[*port].queue[*at];
            mail.batch == self.batch && mail.note.is_some()
        };
        match self.actual.get(&lane).map(|answer| answer.status) {
            // Served when it arrives.
            Some(Code::SUCCESS | Code::MACH_RCV_TOO_LARGE) => Ok(()),
            _ if !self.available(source).iter().all(fresh) => {
                Err(format!("lane {lane}: nothing received, though {:?} is there", self.available(source)))
            }
            // An interrupted receive that had not begun may say so.
            _ => self.finish(lane, &[Code::MACH_RCV_TIMED_OUT, Code::MACH_RCV_INTERRUPTED]),
        }
    }
    /// Messages that a receive from `source` may get next: `(port, position)`.
    pub(crate) fn available(&self, source: Source) -> Vec<(PortIx, usize)> {
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
            // Messages keep their order; a notification may come before or after what the same operation queued.
            let mut mails = 0;
            for (at, mail) in queue.iter().enumerate().take_while(|(_, mail)| mail.batch == head.batch) {
                mails += mail.note.is_none() as u32;
                if mail.note.is_some() || mails == 1 {
                    found.push((port, at));
                }
            }
        }
        found
    }
    /// Gives a waiting lane what the core gave it, if the core answered and there is something.
    pub(crate) fn serve(&mut self, lane: LaneIx) -> R<bool> {
        let State::Receiving { args, source } = self.lanes[lane].state else { return Ok(false) };
        let task = self.lanes[lane].task;
        let status = self.actual.get(&lane).map(|answer| answer.status);
        let Some(status @ (Code::SUCCESS | Code::MACH_RCV_TOO_LARGE)) = status else { return Ok(false) };
        let answer = self.take_answer(lane, &[status])?;
        let frames = read_frames(&answer.fields)?;
        let first = frames.first();
        if let Some(frame) = first {
            self.decide_either(task, source, frame);
        }
        let found = self.available(source);
        let fits = |at: &(PortIx, usize)| self.ports[at.0].queue[at.1].size + args.trailer.size() <= args.limit;
        let mut likely = found.iter().filter(|at| first.is_some_and(|frame| self.looks_like(task, **at, frame)));
        let plausible = match status {
            Code::SUCCESS => likely.next().is_some(),
            _ if args.large => found.iter().any(|at| !fits(at)),
            _ => likely.any(|at| !fits(at)),
        };
        if !plausible {
            // Perhaps somebody who waits elsewhere comes first, or the message is still on its way.
            self.actual.insert(lane, answer);
            return Ok(false);
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
            let mut chosen = self.matching(task, source, frame).first().copied();
            if chosen.is_none() {
                // What the operation destroys may tell of it between two messages.
                self.collapse()?;
                chosen = self.matching(task, source, frame).first().copied();
            }
            let Some((port, position)) = chosen else { return Err(self.unexpected(&self.available(source), frame)) };
            let mail = self.ports[port].queue.remove(position).ok_or("model: message vanished")?;
            if mail.size + args.trailer.size() > args.limit {
                return Err(format!(
                    "lane {lane}: a message of {} + {} bytes in a buffer of {}",
                    mail.size,
                    args.trailer.size(),
                    args.limit
                ));
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
    /// The messages that may have come out as this frame, the certain ones first.
    pub(crate) fn matching(&mut self, task: TaskIx, source: Source, frame: &FrameView<'_>) -> Vec<(PortIx, usize)> {
        self.decide_either(task, source, frame);
        let mut found = self.available(source);
        found.retain(|at| self.looks_like(task, *at, frame));
        found.sort_by_key(|at| self.is_open(*at));
        found
    }
    /// Whether it is not yet decided which of two notifications it is.
    pub(crate) fn is_open(&self, (port, at): (PortIx, usize)) -> bool {
        matches!(self.ports[port].queue[at].note, Some(What::NoSenders { or_once: true, .. } | What::Ended { .. }))
    }
    pub(crate) fn next_seqno(&mut self, port: PortIx) -> u32 {
        let seqno = self.ports[port].seqno;
        self.ports[port].seqno = seqno.wrapping_add(1);
        seqno
    }
    /// Nobody who waits at the same place for longer goes away with nothing.
    pub(crate) fn check_first_in_line(&self, lane: LaneIx, at: Source) -> R {
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
    pub(crate) fn looks_like(&self, task: TaskIx, (port, position): (PortIx, usize), frame: &FrameView<'_>) -> bool {
        let mail = &self.ports[port].queue[position];
        let Some(header) = Header::read(frame.message) else { return false };
        let here = self.find_receiver(port) == Some((task, header.local.0));
        let Some(what) = mail.note else { return here && header.id == mail.id };
        here && match (Notification::parse(frame.message), what) {
            (Some(Notification::PortDeleted(Name(name))), What::Deleted(n) | What::Ended { name: n, .. }) => name == n,
            (Some(Notification::DeadName(Name(name))), What::Ended { name: n, port }) => name == n && !self.ports[port].alive,
            (Some(Notification::SendPossible(Name(name))), What::Possible(n)) => name == n,
            (Some(Notification::DeadName(Name(name))), What::DeadName(n)) => name == n,
            (Some(Notification::NoSenders(seen)), What::NoSenders { count, or_once, .. }) => seen == count || or_once,
            (Some(Notification::SendOnce), What::SendOnce | What::NoSenders { or_once: true, .. }) => true,
            (Some(Notification::PortDestroyed(name)), What::Destroyed(port)) => self.would_name(task, Right::Receive(port), name),
            // Of one that was too large only the header arrives.
            (None, What::Ended { port, .. }) if header.id == notify::DEAD_NAME => !self.ports[port].alive,
            (None, _) => header.id == mail.id && frame.message.len() == message::HEADER,
            _ => false,
        }
    }
    /// Whether a right could come out under this name.
    pub(crate) fn would_name(&self, task: TaskIx, right: Right, name: Name) -> bool {
        match right {
            Right::Receive(port) if self.ports[port].alive => match self.find_name(task, port) {
                Some(held) => held == name.0,
                None => self.entry(task, name.0).is_none(),
            },
            _ => name == Name::DEAD,
        }
    }
    pub(crate) fn unexpected(&self, found: &[(PortIx, usize)], frame: &FrameView<'_>) -> String {
        let heads: Vec<_> = found.iter().map(|(port, at)| (port, &self.ports[*port].queue[*at])).collect();
        let what = Notification::parse(frame.message);
        format!("received {:?} {what:?}, but next are: {heads:#?}", Header::read(frame.message))
    }
    /// Where two notifications were possible, what came out decides.
    pub(crate) fn decide_either(&mut self, task: TaskIx, source: Source, frame: &FrameView<'_>) {
        let (size, decided) = match Notification::parse(frame.message) {
            Some(Notification::SendOnce) => (message::HEADER, What::SendOnce),
            Some(Notification::DeadName(Name(name))) => (36, What::DeadName(name)),
            _ => return,
        };
        let found = self.available(source);
        let here = |at: &(PortIx, usize)| self.looks_like(task, *at, frame);
        let open = |at: &(PortIx, usize)| self.is_open(*at);
        if found.iter().any(|at| here(at) && !open(at)) {
            return;
        }
        if let Some((port, at)) = found.into_iter().find(|at| here(at) && open(at)) {
            let id = Header::read(frame.message).map_or(0, |header| header.id);
            let mail = &mut self.ports[port].queue[at];
            (mail.id, mail.size, mail.note) = (id, size, Some(decided));
        }
    }
    pub(crate) fn too_large(&mut self, task: TaskIx, source: Source, args: &RecvArgs, frames: &[FrameView<'_>]) -> R {
        let found = self.available(source);
        let header = frames.first().and_then(|frame| Header::read(frame.message));
        if args.large {
            let sizes = |at: &(PortIx, usize)| {
                let size = self.ports[at.0].queue[at.1].size;
                [size, if self.is_open(*at) { message::HEADER } else { size }]
            };
            let needs = found.iter().flat_map(sizes).map(|size| size + args.trailer.size()).filter(|need| *need > args.limit);
            return match header {
                Some(header) if !needs.clone().any(|need| need == header.size as usize) => {
                    Err(format!("too large: says {} bytes are needed, not {:?}", header.size, needs.collect::<Vec<_>>()))
                }
                _ => Ok(()),
            };
        }
        let like = frames.first().map(|frame| self.matching(task, source, frame)).unwrap_or_default();
        let fits = |at: &(PortIx, usize)| self.ports[at.0].queue[at.1].size + args.trailer.size() <= args.limit;
        let like: Vec<_> = like.into_iter().filter(|at| !fits(at)).collect();
        let Some(&(port, position)) = like.get(self.choice % like.len().max(1)) else {
            return Err(format!("too large: delivered header {header:?} fits no queued message"));
        };
        let mail = self.ports[port].queue.remove(position).ok_or("model: message vanished")?;
        self.next_seqno(port);
        // The header is received: its destination right is used up, not destroyed unused. All else is destroyed.
        let (dest, rest) = (mail.dest, mail.rights().skip(1));
        self.ruins.extend(rest);
        self.limbo.push(dest);
        self.fill(port)?;
        self.limbo.pop();
        if let Right::Send(port) = dest {
            self.lost_send(port);
        }
        Ok(())
    }

    pub(crate) fn check_fixed(&self, mail: &Mail, frame: &FrameView<'_>) -> R<Header> {
        let header = Header::read(frame.message).ok_or("a frame shorter than a header")?;
        if header.id != mail.id
            || header.size as usize != mail.size
            || frame.message.len() != mail.size
            || header.is_complex() != mail.complex
        {
            return Err(format!("delivered {header:?} ({} bytes), expected {mail:?}", frame.message.len()));
        }
        Ok(header)
    }
    pub(crate) fn deliver(&mut self, task: TaskIx, port: PortIx, seqno: u32, mail: &Mail, frame: &FrameView<'_>, args: &RecvArgs) -> R {
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
        // Several notices of one operation may reach several threads: which got the first, only the numbers tell.
        let seqno = match trailer.seqno.wrapping_sub(seqno).cast_signed() {
            -4..=4 if mail.note.is_some() && self.answered > 1 && args.trailer >= TrailerRequest::Seqno => trailer.seqno,
            _ => seqno,
        };
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
    pub(crate) fn copy_out_body(&mut self, task: TaskIx, mail: &Mail, frame: &FrameView<'_>) -> R {
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
    pub(crate) fn copy_out_descriptor(&mut self, task: TaskIx, descriptor: Descriptor, desc: &Desc, frame: &FrameView<'_>) -> R {
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
                let queue = self.ports[port].queue.iter_mut();
                let blocked = self.lanes.iter_mut().filter_map(|lane| match &mut lane.state {
                    State::Sending { mail, .. } if mail.port() == port => Some(mail),
                    _ => None,
                });
                queue.chain(blocked).filter(|mail| mail.sharer == Some(task)).for_each(|mail| mail.sharer = None);
                Holding::Port { port, sends, receive: true }
            }
            _ => Holding::Port { port, sends: (sends + 1).min(UREFS_MAX), receive },
        };
        self.set_holding(task, got.0, holds);
        Ok(())
    }
}
