//! Ends of routes: nothing is lost, doubled or overtaken.
//!
//! *An incoming route* is closed before its last messages are read (snapshot on end), so that each message is either taken or known by its sender
//! not to be. The kernel process hears of it when the last of them has left this task's hands ([`InRoute::perhaps_done`]): received by the program, or
//! handed back because the port is to be another's. Until then it delivers no mail to the port, the sender keeps copies, and if this task dies,
//! nothing is.
//!
//! *An outgoing route* that is closed tells how many messages were taken. If its receiver died and the port lives on, what had not been received is sent
//! again; the kernel process takes nothing else from this task for the port before that is done.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use smallvec::SmallVec;
use umach_abi::control::{Msg, PortRecall, RouteAck, RouteReturn, msg_flags};
use umach_abi::limits::PACKET_MAX;
use umach_abi::link;
use umach_abi::message::{HEADER, Header, Options};
use umach_abi::records::{Event, Frame, undelivered};
use umach_abi::{Code, Disposition, Name};
use umach_link::credit;

use super::Plane;
use super::call::Fate;
use super::contents::{Contents, ForKernel};
use super::kept::KeptBody;
use super::lend::Room;
use super::link::{Entry, Link};
use super::route::InRoute;
use super::table::{Body, Item, Place};
use crate::error::Result;
use crate::region::Region;
use crate::task::Task;
use crate::transport::Wait;
use crate::transport::pool::Need;

/// What a closed route's word holds: never the same for two routes that used one index.
fn closed_mark(index: u32) -> u32 {
    index.wrapping_add(1)
}

/// What is left to do about ends that were pulled.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) endings: Vec<Ending>,
    /// Outgoing routes of dead receivers, whose messages have been sent again.
    pub(super) buried: Vec<(Arc<Link>, u64)>,
}

/// An incoming route that has ended, and what to do with its undelivered messages.
pub(super) struct Ending {
    pub(super) route: Arc<InRoute>,
    pub(super) what: u32,
    /// Where in the ring a record of an unknown route was in the way.
    pub(super) missed: Option<u32>,
}

impl Plane {
    // Incoming.

    /// Closes an incoming route and sees to its messages. Given back: a record of an unknown route is in the way; pull and try again.
    pub(super) fn close(&self, task: &Task, ending: Ending) -> Result<Option<Ending>> {
        let Ending { route, what, missed } = ending;
        if !route.complete.load(Ordering::Acquire)
            && let Some(at) = self.read_to_the_end(task, &route, missed)
        {
            return Ok(Some(Ending { route, what, missed: Some(at) }));
        }
        match what {
            // Older mail that comes before its messages is with the kernel process: then it says "return".
            undelivered::KEEP => route.held.take().into_iter().flatten().for_each(|item| self.arrived(item)),
            undelivered::RETURN => {
                let items = self.take_items(&route);
                let count = items.len() as u32;
                self.hand_back(task, &route, items)?;
                route.returned(count, &mut route.link.inbox.lock());
            }
            _ => self.take_items(&route).into_iter().for_each(|item| self.drop_item(item)),
        }
        route.perhaps_done(&mut route.link.inbox.lock());
        Ok(None)
    }

    /// From here on the route's sender sees, after it has published, that it must ask. Whatever was published before is taken. If a record of an unknown
    /// route is in the way, gives its place; the second time that is a lie.
    fn read_to_the_end(&self, task: &Task, route: &Arc<InRoute>, missed: Option<u32>) -> Option<u32> {
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
            Ok(false) => {
                let at = link.inbox.lock().ring.position();
                if missed != Some(at) {
                    return Some(at);
                }
                self.accuse(task, link, &self.stuck_on(link));
            }
            Err(evidence) => self.accuse(task, link, &evidence),
        }
        let mut inbox = link.inbox.lock();
        inbox.set(route.index, Entry::Closed(route.index));
        route.complete.store(true, Ordering::Release);
        None
    }

    /// All messages of the route that the program has not received, in order. What a thread is about to fetch finds its place by its number.
    fn take_items(&self, route: &Arc<InRoute>) -> VecDeque<Item> {
        let held = route.held.take();
        let mut queue = route.port.queue.lock();
        route.returning.store(true, Ordering::Relaxed);
        let (mut mine, rest): (VecDeque<Item>, VecDeque<Item>) = queue.drain(..).partition(|item| item.route.id == route.id);
        *queue = rest;
        route.port.queued.store(queue.len(), Ordering::Release);
        mine.extend(held.into_iter().flatten());
        mine
    }

    /// Gives the kernel process messages back, as many at a time as fit. It has those with rights.
    fn hand_back(&self, task: &Task, route: &Arc<InRoute>, items: VecDeque<Item>) -> Result<()> {
        let mut batches: Vec<Batch> = Vec::new();
        for Item { number, id, reply, body, .. } in items {
            let Some(mail) = for_kernel(task, body)? else { continue };
            let (attach, options) = reply.map_or((0, 0), |(slot, generation)| (slot + 1, generation));
            let mut frame = Vec::new();
            let row = Frame { trailer: number, attach, options, ..Frame::default() };
            write_frame(&mail, row, Header { id, ..Header::default() }, &mut frame);
            Batch::add(&mut batches, &frame, mail.regions);
        }
        for Batch { count, tail, regions } in batches {
            let taken = task.request(&RouteReturn { route: route.id, count, tail: &tail }, |answer, _| answer.taken)?;
            given_away(task, route.id, count, taken, regions);
        }
        Ok(())
    }

    /// Nothing of the route is in this task's hands: it is closed. To be called with no lock but `pulling` held.
    pub(super) fn acknowledge(&self, task: &Task, route: &InRoute) {
        self.tables.write().incoming.remove(&route.id);
        // A refusal means that the kernel process has let the route go meanwhile.
        let _ = task.request(&RouteAck { route: route.id, accepted: route.accepted.load(Ordering::Relaxed) }, |_, _| ());
        for place in route.port.places.read().iter() {
            // What the kernel process held back may be there now.
            place.asked.store(Place::UNKNOWN, Ordering::Release);
            for waiter in std::mem::take(&mut *place.waiters.lock()) {
                waiter.wake();
            }
        }
    }

    /// Takes a port off the direct plane, with its queue: the kernel process knows everything about it afterwards.
    pub(crate) fn recall(&self, task: &Task, name: Name) -> Result<()> {
        if !self.is_active() {
            return Ok(());
        }
        self.forget_reply_ports();
        if let Some(place) = self.place(name).filter(|place| place.has_pending.load(Ordering::Acquire)) {
            self.drop_pending(task, name, &place, true);
        }
        let Some(port) = self.tables.read().ports.get(&name).cloned() else { return Ok(()) };
        if port.recalled.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let seqno = port.seqno.load(Ordering::Relaxed);
        let _ = task.request(&PortRecall { name, seqno }, |_, _| ())?;
        task.0.events_wait.store(true, Ordering::Relaxed);
        self.settle(task)
    }

    // Outgoing.

    /// An outgoing route is closed.
    pub(super) fn closed(&self, task: &Task, event: &Event, ends: &mut Ends) {
        let Some((name, route)) = self.tables.write().out_ids.remove(&event.route) else { return };
        let orphaned = event.flags & 1 != 0;
        let link = &route.link;
        // Nothing of the route is in its receiver's hands any more, so this does not change again before the next route is here.
        let counted = credit::read(&*link.memory, 1 - link.mine, route.place() as u32);
        link.counted.lock().insert(route.place(), counted);
        let (taken, kept) = {
            let mut outbox = route.outbox();
            let (_, sending) = outbox.of(&route);
            sending.stopped = true;
            let taken = if orphaned {
                // The receiver is dead: what it counted last is how far it came, or what came back. It cannot have received what was never sent.
                let received = sending.delivered_of(counted);
                let received = if sending.sent.wrapping_sub(received) > route.limit { sending.sent } else { received };
                received.max(event.value)
            } else {
                event.value
            };
            sending.received(taken);
            sending.taken = Some(taken);
            sending.sent_again = orphaned;
            (taken, std::mem::take(&mut sending.kept))
        };
        if !orphaned {
            link.not_taken(route.id, taken);
        }
        for call in link.calls.lock().open.values_mut() {
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
            ends.buried.push((link.clone(), route.id));
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
        let flags = msg_flags::AGAIN;
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
    fn send_lent_again(&self, task: &Task, name: Name, of: (u64, u32), id: i32, contents: Contents<Weak<Room>>) {
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

    /// Whatever replies have moved because their receivers died, the events since have said so. A call without word was received by one that
    /// died before it could count that.
    pub(super) fn give_up(&self, buried: Vec<(Arc<Link>, u64)>) {
        for (link, route) in buried {
            let mut calls = link.calls.lock();
            for call in calls.open.values_mut().filter(|call| call.route == route && call.fate == Fate::Moving) {
                call.fate = Fate::Died;
            }
            let moving = calls.open.values().any(|call| call.fate == Fate::Moving);
            drop(calls);
            if link.is_down() && !moving {
                self.tables.write().links.remove(&link.id);
            }
        }
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
