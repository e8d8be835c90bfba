//! What the kernel process says about links and routes, pulled and applied in order by one thread at a time.
//!
//! The two rules of order meet here. *Drain on miss*: whoever finds a record of an unknown route pulls first and looks again. *Snapshot on end*:
//! an incoming route that has ended is closed before its last messages are read, so that each message is either taken or known by its
//! sender not to be (see [`Plane::close`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use parking_lot::Mutex;
use smallvec::SmallVec;
use umach_abi::control::{Events, LinkEnd, Msg, PortModRefs, PortRecall, PortUnreceive, RouteAck, RouteReturn, msg_flags};
use umach_abi::limits::PACKET_MAX;
use umach_abi::link;
use umach_abi::message::{HEADER, Header, Options};
use umach_abi::records::{Event, Frame, event, undelivered, violation};
use umach_abi::rights::RightKind;
use umach_abi::{Code, Disposition, Name};
use umach_link::{Evidence, Foreign, Mapping, credit};

use super::Plane;
use super::contents::{Contents, ForKernel};
use super::lend::Room;
use super::replies::Owed;
use super::table::{Body, Entry, Fate, Holding, InRoute, Item, Kept, KeptBody, Link, OutRoute, Peer, Sending};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::sys::attention::Attention;
use crate::task::Task;
use crate::transport::pool::Need;
use crate::transport::{Attached, Wait};

/// What a closed route's word holds: never the same for two routes that used one index.
fn closed_mark(index: u32) -> u32 {
    index.wrapping_add(1)
}

/// An incoming route that has ended, and what to do with its undelivered messages.
struct Ending {
    route: Arc<InRoute>,
    what: u32,
}

impl Plane {
    /// Pulls and applies whatever there is to pull.
    #[cold]
    pub(crate) fn settle(&self, task: &Task) -> Result<()> {
        let _one = self.pulling.lock();
        self.settle_alone(task)
    }

    /// The same for a thread that may be in the middle of it, or of something that this would wait for: another time, then.
    pub(crate) fn settle_if_free(&self, task: &Task) {
        if let Some(_one) = self.pulling.try_lock()
            && let Err(error) = self.settle_alone(task)
        {
            tracing::debug!(%error, "events could not be pulled");
        }
    }

    fn settle_alone(&self, task: &Task) -> Result<()> {
        let mut endings = Vec::new();
        // Each round pulls until nothing is left; closing a route may show that there is more.
        for _ in 0..64 {
            let control = self.control_word();
            task.0.events_wait.store(false, Ordering::Relaxed);
            self.pull(task, &mut endings)?;
            let Some(ending) = endings.pop() else {
                // Not before: whoever sees this value relies on what has ended being closed.
                self.pulled.store(control, Ordering::Release);
                if task.0.events_wait.load(Ordering::Relaxed) || self.control_word() != control {
                    continue;
                }
                break;
            };
            if !self.close(task, &ending)? {
                // A record of a route that is not known yet came first.
                endings.push(ending);
            }
            task.0.events_wait.store(true, Ordering::Relaxed);
        }
        self.floor.wake_all();
        task.0.files.settle(task);
        Ok(())
    }

    fn pull(&self, task: &Task, endings: &mut Vec<Ending>) -> Result<()> {
        loop {
            let (more, events, attached) = task.request(&Events {}, |answer, attached| {
                (answer.more != 0, Event::all(answer.events).collect::<Vec<_>>(), std::mem::take(attached))
            })??;
            let mut attached = attached.into_iter();
            for event in events {
                let came = if event::attaches(event.kind) { attached.next() } else { None };
                self.apply(task, event, came, endings);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn apply(&self, task: &Task, event: Event, attached: Option<Attached>, endings: &mut Vec<Ending>) {
        tracing::trace!(task = task.id(), ?event, "event");
        match event.kind {
            event::ATTENTION => self.take_attention(attached),
            event::LINK => self.add_link(task, &event, attached),
            event::ROUTE_OUT => self.add_out(&event),
            event::ROUTE_IN => self.add_in(&event),
            event::ROUTE_OPEN => self.open(event.route),
            event::ROUTE_STOP => self.stop(event.route),
            event::ROUTE_END => {
                if let Some(route) = self.tables.write().incoming.remove(&event.route) {
                    endings.push(Ending { route, what: event.value });
                }
            }
            event::ROUTE_CLOSED => self.closed(task, &event),
            event::LINK_DOWN => self.link_down(event.link),
            event::REPLY_MOVED => self.reply_moved(task, &event),
            event::ROOM_WANTED => self.room_wanted(event.route),
            event::MEMBER => self.member(&event),
            event::ARENA => self.add_arena(&event, attached),
            event::FILES => task.0.files.look_soon(),
            event::RANG => {
                if let Some(link) = self.tables.read().links.get(&event.link) {
                    self.warm(link);
                }
            }
            kind => tracing::debug!(kind, "an event of a kind that this version does not know"),
        }
    }

    fn take_attention(&self, attached: Option<Attached>) {
        if let Some(Attached::Fd(fd)) = attached {
            match Attention::map(&fd.into()) {
                Ok(attention) => drop(self.attention.set(attention)),
                Err(why) => tracing::warn!(%why, "the attention page cannot be mapped"),
            }
        }
    }

    fn add_link(&self, task: &Task, event: &Event, attached: Option<Attached>) {
        let mapped = match attached {
            Some(Attached::Fd(fd)) => Mapping::new(&fd).map_err(|why| why.to_string()),
            _ => Err("its memory did not come: this process's table of descriptors is full (see umach doctor)".to_owned()),
        };
        let memory = match mapped {
            Ok(memory) if self.attention.get().is_some() => Arc::new(memory),
            other => {
                let why = other.err().unwrap_or_else(|| "there is no attention page".to_owned());
                tracing::warn!(task = task.id(), why, "a link cannot be used");
                let _ = self.end_link(task, event.link, violation::NONE, 0, 0);
                return;
            }
        };
        let peer = Peer { task: event.task, pid: event.pid, uid: event.uid, gid: event.gid };
        let link = Arc::new(Link::new(event.link, peer, memory, event.index as usize & 1, self.due.clone()));
        self.tables.write().links.insert(event.link, link.clone());
        self.warm(&link);
        self.active.store(true, Ordering::Release);
    }

    fn add_arena(&self, event: &Event, attached: Option<Attached>) {
        let Some(link) = self.tables.read().links.get(&event.link).cloned() else { return };
        let memory = match attached {
            Some(Attached::Fd(fd)) => Foreign::new(&fd, event.context).map_err(|why| why.to_string()),
            _ => Err("its memory did not come: this process's table of descriptors is full (see umach doctor)".to_owned()),
        };
        if let Err(why) = &memory {
            tracing::warn!(link = event.link, why, "memory that a peer lends cannot be mapped, and messages that use it are lost");
        }
        link.lent_here.add(event.index, event.context, memory.ok());
    }

    fn add_out(&self, event: &Event) {
        let mut tables = self.tables.write();
        let Some(link) = tables.links.get(&event.link).cloned() else { return };
        let place = event.index as usize % link::ROUTES;
        let base = credit::read(&*link.memory, 1 - link.mine, place as u32);
        let closings = link.theirs(link::CLOSINGS).load(Ordering::Acquire);
        let sending = Sending {
            sent: 0,
            base,
            before: event.flags >> 8,
            seen: base,
            closings,
            stopped: false,
            taken: None,
            sent_again: false,
            kept: Kept::default(),
        };
        let route = Arc::new(OutRoute {
            id: event.route,
            name: event.name,
            plane: self.number(),
            index: event.index,
            limit: event.value.max(1),
            link,
            wanting: AtomicU32::new(0),
            over: AtomicBool::new(false),
            sending: Mutex::new(sending),
        });
        route.show_sent(&route.sending.lock());
        tables.out.insert(event.name, route.clone());
        tables.out_ids.insert(event.route, (event.name, route));
    }

    fn add_in(&self, event: &Event) {
        let mut tables = self.tables.write();
        let Some(link) = tables.links.get(&event.link).cloned() else { return };
        let port = tables.port(event.name, event.context, event.pid);
        let route = Arc::new(InRoute {
            id: event.route,
            index: event.index,
            limit: event.value.max(1),
            link: link.clone(),
            port,
            accepted: AtomicU32::new(0),
            delivered: AtomicU32::new(0),
            then: AtomicU32::new(0),
            look: AtomicU32::new(0),
            before: AtomicU32::new(event.flags >> 8),
            held: Holding::new(event.flags & 1 != 0),
            ended: AtomicBool::new(false),
            room_wanted: AtomicBool::new(false),
        });
        tables.incoming.insert(event.route, route.clone());
        let mut inbox = link.inbox.lock();
        // Some of the older mail has been received before this task knew of the route.
        for _ in event.flags >> 8..event.uid {
            route.count_delivered(&mut inbox);
        }
        inbox.set(event.index, Entry::Live(route));
    }

    fn open(&self, route: u64) {
        let Some(route) = self.tables.read().incoming.get(&route).cloned() else { return };
        let mut inbox = route.link.inbox.lock();
        let held = route.held.take();
        for item in held.into_iter().flatten() {
            self.arrived(item);
        }
        // By now all of that mail has been received, whichever way.
        for _ in 0..route.before.swap(0, Ordering::Relaxed) {
            route.count_delivered(&mut inbox);
        }
    }

    /// Nothing more goes out on the route. Whoever is in the middle of a send has finished it afterwards.
    fn stop(&self, id: u64) {
        let mut tables = self.tables.write();
        let Some((name, route)) = tables.out_ids.get(&id).cloned() else { return };
        if tables.out.get(&name).is_some_and(|other| other.id == id) {
            tables.out.remove(&name);
        }
        route.over.store(true, Ordering::Release);
        drop(tables);
        route.sending.lock().stopped = true;
    }

    fn closed(&self, task: &Task, event: &Event) {
        let Some((name, route)) = self.tables.write().out_ids.remove(&event.route) else { return };
        let orphaned = event.flags & 1 != 0;
        let (taken, kept) = {
            let mut sending = route.sending.lock();
            sending.stopped = true;
            let taken = if orphaned {
                // The receiver is dead: what it counted last is how far it came. It cannot have received what was never sent.
                let link = &route.link;
                let place = route.index % link::ROUTES as u32;
                let received = sending.delivered_of(credit::read(&*link.memory, 1 - link.mine, place));
                if sending.sent.wrapping_sub(received) > route.limit { sending.sent } else { received }
            } else {
                event.value
            };
            sending.received(taken);
            sending.taken = Some(taken);
            sending.sent_again = orphaned;
            (taken, std::mem::take(&mut sending.kept))
        };
        if !orphaned {
            route.link.not_taken(route.id, taken);
        }
        for call in route.link.calls.lock().open.values_mut() {
            if call.route == event.route && call.number > taken && matches!(call.fate, Fate::Open | Fate::Died) {
                call.fate = match (call.ticket, orphaned) {
                    (false, _) => Fate::NotTaken,
                    (true, true) => Fate::Moving,
                    (true, false) => Fate::Open,
                };
            }
        }
        if orphaned {
            for (number, id, body) in kept.into_messages() {
                let of = (route.id, number);
                match body {
                    KeptBody::Plain(body) => {
                        self.send_again(task, name, of, id, false, (&body, &[]));
                    }
                    KeptBody::Lent(contents) => self.send_lent_again(task, name, of, id, *contents),
                }
            }
            // Refused if the port died as well.
            let _ = task.request(&RouteAck { route: route.id, accepted: taken }, |_, _| ());
        }
    }

    /// A message that a dead receiver did not receive goes to whoever has its port now; if nobody has, it is gone as the port is.
    fn send_again(&self, task: &Task, name: Name, of: (u64, u32), id: i32, complex: bool, (body, annex): (&[u8], &[u8])) -> bool {
        let (route, number) = of;
        let size = (HEADER + body.len()) as u32;
        let bits = Header::make_bits(Disposition::CopySend as u8, 0, complex);
        let header = Header { bits, size, remote: name, id, ..Header::default() };
        let tail = [&header.to_bytes()[..], body, annex].concat();
        let options = Options::SEND.bits();
        let flags = msg_flags::DOUBT | msg_flags::TRY_SEND;
        let (receive, limit, count, send_size, annex) = (Name::NULL, 0, 0, size, annex.len() as u32);
        let sent = task.lane(Need::Prompt).and_then(|mut lane| {
            lane.begin(&Msg { options, flags, receive, limit, route, number, count, send_size, annex, tail: &tail });
            Ok(lane.exchange(Wait::FOREVER, true)?.status)
        });
        if !matches!(sent, Ok(Code::SUCCESS | Code::MACH_SEND_INVALID_DEST)) {
            tracing::warn!(task = task.id(), ?sent, "a message to a receiver that died could not be sent again");
        }
        matches!(sent, Ok(Code::SUCCESS))
    }

    /// The same for a message with memory. If some of that has come back, the message had been received.
    fn send_lent_again(&self, task: &Task, name: Name, of: (u64, u32), id: i32, contents: Contents<std::sync::Weak<Room>>) {
        match contents.into_mail(task) {
            Ok(Some(mail)) => {
                if self.send_again(task, name, of, id, mail.is_complex, (&mail.message[HEADER..], &mail.annex)) {
                    mail.sent();
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(task = task.id(), %error, "a message to a receiver that died could not be sent again"),
        }
    }

    fn link_down(&self, id: u64) {
        let mut tables = self.tables.write();
        let Some(link) = tables.links.get(&id).cloned() else { return };
        if !link.calls.lock().open.values().any(|call| call.fate == Fate::Moving) {
            tables.links.remove(&id);
        }
        tables.out.retain(|_, route| {
            let stays = route.link.id != id;
            route.over.fetch_or(!stays, Ordering::Release);
            stays
        });
        tables.out_ids.retain(|_, (_, route)| route.link.id != id);
        drop(tables);
        self.forget_link(&link);
    }

    fn forget_link(&self, link: &Arc<Link>) {
        link.down.store(true, Ordering::Release);
        link.stop_lending();
        for call in link.calls.lock().open.values_mut() {
            if call.fate == Fate::Open {
                call.fate = Fate::Died;
            }
        }
        self.cool(link);
    }

    fn reply_moved(&self, task: &Task, event: &Event) {
        let taken = self.tables.read().links.get(&event.link).is_some_and(|link| {
            let mut calls = link.calls.lock();
            match calls.open.get_mut(event.index) {
                Some(call) if call.generation == event.value && matches!(call.fate, Fate::Open | Fate::Moving | Fate::Died) => {
                    call.fate = Fate::Moved(event.name);
                    true
                }
                _ => false,
            }
        });
        if !taken {
            // Nobody waits for it any more; whoever holds the send-once right is told.
            self.drop_port(task, event.name);
        }
    }

    /// Destroys a port that carries one reply.
    pub(crate) fn drop_port(&self, task: &Task, name: Name) {
        let call = PortModRefs { task: task.0.task_self, name, right: RightKind::Receive as u32, delta: -1 };
        let _ = task.request(&call, |_, _| ());
    }

    fn room_wanted(&self, route: u64) {
        let Some(route) = self.tables.read().incoming.get(&route).cloned() else { return };
        // What is in the ring counts as well. If a record is in the way, a later message gives room and looks again.
        let _ = self.drain_to(&route.link, None);
        let _inbox = route.link.inbox.lock();
        route.room_wanted.store(true, Ordering::Relaxed);
        route.give_room();
    }

    fn member(&self, event: &Event) {
        let mut tables = self.tables.write();
        let Some(port) = tables.ports.get(&event.name).cloned() else { return };
        let place = tables.set_place(Name(event.index));
        drop(tables);
        let mut places = port.places.write();
        let mut members = place.members.write();
        places.retain(|other| !Arc::ptr_eq(other, &place));
        members.retain(|other| !Arc::ptr_eq(other, &port));
        if event.flags & 1 != 0 {
            places.push(place.clone());
            members.push(port.clone());
        }
    }

    /// Closes an incoming route: from here on its sender sees, after it has published, that it must ask. Whatever was published before is
    /// taken. `false`: a record of an unknown route is in the way; pull and try again.
    fn close(&self, task: &Task, ending: &Ending) -> Result<bool> {
        let Ending { route, what } = ending;
        let link = &route.link;
        if !route.ended.swap(true, Ordering::AcqRel) {
            let place = route.index as usize % link::ROUTES;
            link.mine(link::CREDITS + place * link::CREDIT_SIZE + link::CREDIT_CLOSED).store(closed_mark(route.index), Ordering::Relaxed);
            let closings = link.mine(link::CLOSINGS);
            closings.store(closings.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
        fence(Ordering::SeqCst);
        let tail = link.inbox.lock().ring.tail_now();
        match self.drain_to(link, Some(tail)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(evidence) => self.accuse(task, link, &evidence),
        }
        let mut inbox = link.inbox.lock();
        inbox.set(route.index, Entry::Closed(route.index));
        drop(inbox);
        // What waited for older mail: that mail is with the kernel process, and goes first there as well.
        let held = route.held.take();
        match *what {
            undelivered::KEEP => {
                for item in held.into_iter().flatten() {
                    self.arrived(item);
                }
                self.mark_ended(route);
            }
            undelivered::RETURN => {
                let mut items = self.take_items(route);
                items.extend(held.into_iter().flatten());
                self.hand_back(task, route, items)?;
            }
            _ => {
                let mut items = self.take_items(route);
                items.extend(held.into_iter().flatten());
                items.into_iter().for_each(|item| self.drop_item(item));
            }
        }
        let accepted = route.accepted.load(Ordering::Relaxed);
        // A refusal means that the kernel process has let the route go meanwhile.
        let _ = task.request(&RouteAck { route: route.id, accepted }, |_, _| ())?;
        for place in route.port.places.read().iter() {
            // What the kernel process held back may be there now.
            place.asked.store(super::table::Place::UNKNOWN, Ordering::Release);
            for waiter in std::mem::take(&mut *place.waiters.lock()) {
                waiter.wake();
            }
        }
        Ok(true)
    }

    /// Takes a port off the direct plane, with its queue: the kernel process knows everything about it afterwards.
    pub(crate) fn recall(&self, task: &Task, name: Name) -> Result<()> {
        if !self.is_active() {
            return Ok(());
        }
        let Some(port) = self.tables.read().ports.get(&name).cloned() else { return Ok(()) };
        if port.recalled.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let seqno = port.seqno.load(Ordering::Relaxed);
        let _ = task.request(&PortRecall { name, seqno }, |_, _| ())?;
        task.0.events_wait.store(true, Ordering::Relaxed);
        self.settle(task)?;
        // What is still here came over routes that had ended before.
        let items = std::mem::take(&mut *port.queue.lock());
        port.queued.store(0, Ordering::Release);
        port.of_ended.store(0, Ordering::Release);
        self.unreceive(task, name, items)
    }

    fn unreceive(&self, task: &Task, name: Name, items: VecDeque<Item>) -> Result<()> {
        let mut batches: Vec<Batch> = Vec::new();
        for item in items {
            let Item { route, number, id, reply, body } = item;
            let mut frame = Vec::new();
            let Some(mail) = for_kernel(task, body)? else {
                let (low, high) = (route.id as u32, (route.id >> 32) as u32);
                Frame { status: low, trailer: high, options: number, ..Frame::default() }.write(&mut frame);
                Batch::add(&mut batches, &frame, Vec::new());
                continue;
            };
            let local = match reply {
                None => Name::NULL,
                Some((slot, generation)) => {
                    let owed = self.replies.add(Owed::new(route.link.clone(), slot, generation));
                    let known = self.make_explicit(task, owed)?;
                    self.forget_reply(owed);
                    known.unwrap_or(Name::DEAD)
                }
            };
            write_frame(&mail, Frame::default(), Header { local, id, ..Header::default() }, &mut frame);
            Batch::add(&mut batches, &frame, mail.regions);
        }
        // Each goes to the front of the queue, so the last one first.
        for Batch { count, tail, regions } in batches.into_iter().rev() {
            let taken = task.request(&PortUnreceive { name, count, tail: &tail }, |answer, _| answer.taken)?;
            given_away(task, name.0 as u64, count, taken, regions);
        }
        Ok(())
    }

    fn mark_ended(&self, route: &Arc<InRoute>) {
        let queue = route.port.queue.lock();
        let old = queue.iter().filter(|item| item.route.ended.load(Ordering::Relaxed)).count();
        route.port.of_ended.store(old, Ordering::Release);
    }

    /// All messages of the route that the program has not received, in order.
    fn take_items(&self, route: &Arc<InRoute>) -> Vec<Item> {
        let mut queue = route.port.queue.lock();
        let (mine, rest): (VecDeque<Item>, VecDeque<Item>) = queue.drain(..).partition(|item| item.route.id == route.id);
        *queue = rest;
        route.port.queued.store(queue.len(), Ordering::Release);
        mine.into()
    }

    fn hand_back(&self, task: &Task, route: &Arc<InRoute>, items: Vec<Item>) -> Result<()> {
        let mut batches: Vec<Batch> = Vec::new();
        for Item { number, id, reply, body, .. } in items {
            let mut frame = Vec::new();
            let attach = reply.map_or(0, |(slot, _)| slot + 1);
            match for_kernel(task, body)? {
                None => {
                    Frame { attach, options: number, ..Frame::default() }.write(&mut frame);
                    Batch::add(&mut batches, &frame, Vec::new());
                }
                Some(mail) => {
                    let options = reply.map_or(0, |(_, generation)| generation);
                    write_frame(&mail, Frame { attach, options, ..Frame::default() }, Header { id, ..Header::default() }, &mut frame);
                    Batch::add(&mut batches, &frame, mail.regions);
                }
            }
        }
        for Batch { count, tail, regions } in batches {
            let taken = task.request(&RouteReturn { route: route.id, count, tail: &tail }, |answer, _| answer.taken)?;
            given_away(task, route.id, count, taken, regions);
        }
        Ok(())
    }

    /// The peer broke a rule: the link ends, and the log says why.
    #[cold]
    pub(super) fn accuse(&self, task: &Task, link: &Arc<Link>, evidence: &Evidence) {
        tracing::warn!(task = task.id(), peer = link.peer.task, pid = link.peer.pid, %evidence, "a peer broke a rule of its link");
        link.poisoned.store(true, Ordering::Release);
        self.forget_link(link);
        let _ = self.end_link(task, link.id, evidence.rule, evidence.found, evidence.expected);
    }

    fn end_link(&self, task: &Task, link: u64, why: u32, found: u64, expected: u64) -> Result<Result<(), Code>> {
        task.request(&LinkEnd { link, why, found, expected }, |_, _| ())
    }
}

/// Messages that go back to the kernel process in one request.
struct Batch {
    count: u32,
    tail: Vec<u8>,
    regions: Vec<Region>,
}

impl Batch {
    fn add(batches: &mut Vec<Batch>, frame: &[u8], regions: Vec<Region>) {
        match batches.last_mut() {
            Some(last) if last.tail.len() + frame.len() <= PACKET_MAX / 2 => {
                last.count += 1;
                last.tail.extend_from_slice(frame);
                last.regions.extend(regions);
            }
            _ => batches.push(Batch { count: 1, tail: frame.to_vec(), regions }),
        }
    }
}

/// A message as the kernel process can take it; `None` if it has it already. One whose memory could not be mapped is empty.
fn for_kernel(task: &Task, body: Body) -> Result<Option<ForKernel>> {
    Ok(match body {
        Body::Ticket => None,
        Body::Plain(message) => Some(ForKernel { message, ..ForKernel::default() }),
        Body::Lent(contents) => Some(contents.into_mail(task)?.unwrap_or_else(|| {
            tracing::warn!(task = task.id(), "the memory of a message of a port that moves is lost: it could not be mapped");
            ForKernel { message: SmallVec::from_elem(0, HEADER), ..ForKernel::default() }
        })),
    })
}

fn write_frame(mail: &ForKernel, row: Frame, header: Header, out: &mut Vec<u8>) {
    let size = mail.message.len() as u32;
    Frame { size, annex: mail.annex.len() as u32, ..row }.write(out);
    let bits = Header::make_bits(Disposition::CopySend as u8, 0, mail.is_complex);
    out.extend_from_slice(&Header { bits, size, ..header }.to_bytes());
    out.extend_from_slice(&mail.message[HEADER..]);
    out.extend_from_slice(&mail.annex);
}

/// The kernel process took so many of these messages, with their regions.
fn given_away(task: &Task, of: u64, count: u32, taken: Result<u32, Code>, regions: Vec<Region>) {
    if taken == Ok(count) {
        regions.iter().for_each(|region| region.right().held.forget());
    } else {
        tracing::warn!(task = task.id(), of, count, ?taken, "messages of a port that moves could not be handed on");
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error::mach(code, "asking the kernel process about links")
    }
}
