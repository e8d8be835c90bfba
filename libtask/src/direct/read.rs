//! Reading rings: from a peer's records to messages in this task's own queues.
//!
//! A record is an allegation. It counts only if its route is in the private table, and only so many of them as the route has credit.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use smallvec::SmallVec;
use umach_abi::link::{self, SLOTS, bell, record};
use umach_abi::message::{HEADER, round4};
use umach_abi::records::violation;
use umach_link::lease::ReadError;
use umach_link::{Evidence, Record, credit};

use super::borrow::Borrowed;
use super::contents::Contents;
use super::floor::Waiter;
use super::link::{Entry, Inbox, Link};
use super::receive::Want;
use super::replies::Owed;
use super::route::InRoute;
use super::table::{Body, Item, Place, Port};
use super::{Plane, wait};
use crate::error::Result;
use crate::received::Received;
use crate::task::Task;

/// Links that are looked at by themselves; the others ring through the kernel process.
const WARM_MAX: usize = 32;

/// What became of one record.
enum Step {
    Taken,
    /// Nothing is there.
    Empty,
    /// Its route is not known: pull events and look again.
    Unknown,
}

impl Plane {
    /// Reads what has come on the links that this task looks at.
    pub(super) fn poll(&self, task: &Task, warm: &[Arc<Link>]) -> Result<()> {
        for link in warm {
            if link.has_more() {
                self.met(link);
                self.poll_link(task, link)?;
            }
        }
        if self.has_missed.swap(false, Ordering::AcqRel) {
            let missed = std::mem::take(&mut *self.missed.lock());
            for link in missed {
                self.poll_link(task, &link)?;
            }
        }
        Ok(())
    }

    /// There is something from this link's peer: where it runs, and where this thread does.
    pub(super) fn met(&self, link: &Link) {
        let (state, cpu) = umach_link::state(&*link.memory, 1 - link.mine);
        self.partner.store(if state == link::state::RUNS { cpu.wrapping_add(1) } else { 0 }, Ordering::Relaxed);
        link.show(link::state::RUNS, wait::cpu());
    }

    fn poll_link(&self, task: &Task, link: &Arc<Link>) -> Result<()> {
        // A record of a route or an arena that is new takes one pull of this thread's; a second miss is a lie. But each round may take some others first.
        let mut missed = None;
        loop {
            match self.drain_to(link, None) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let at = link.inbox.lock().ring.position();
                    if missed == Some(at) {
                        self.accuse(task, link, &self.stuck_on(link));
                        return Ok(());
                    }
                    missed = Some(at);
                    self.settle(task)?;
                }
                Err(evidence) => {
                    self.accuse(task, link, &evidence);
                    return Ok(());
                }
            }
        }
    }

    /// What is in the way, after all that the kernel process says has been heard.
    pub(super) fn stuck_on(&self, link: &Link) -> Evidence {
        let inbox = &mut *link.inbox.lock();
        let Ok(Some(record)) = inbox.ring.next() else { return Evidence { rule: violation::ROUTE, found: 0, expected: 0 } };
        if record.kind == record::LEASE
            && matches!(judge(&record, inbox.entry(record.route)), Judged::Message(_))
            && let Err(ReadError::Unknown(arena)) = inbox.read_lent(link, &record)
        {
            return Evidence { rule: violation::LEASE, found: arena.into(), expected: 0 };
        }
        Evidence { rule: violation::ROUTE, found: record.route.into(), expected: 0 }
    }

    /// Reads records up to `tail`, or as many as are there now. `false`: one whose route or arena is not known is in the way.
    pub(super) fn drain_to(&self, link: &Arc<Link>, tail: Option<u32>) -> Result<bool, Evidence> {
        let mut inbox = link.inbox.lock();
        // A peer that keeps publishing must not keep us here.
        let mut budget = link::RING_SIZE / link::RECORD_HEAD;
        while budget > 0 && tail != Some(inbox.ring.position()) && !link.poisoned.load(Ordering::Relaxed) {
            budget -= 1;
            match self.step(link, &mut inbox)? {
                Step::Taken => {}
                Step::Empty => break,
                Step::Unknown => return Ok(false),
            }
        }
        link.has_read(&inbox.ring);
        Ok(true)
    }

    fn step(&self, link: &Arc<Link>, inbox: &mut Inbox) -> Result<Step, Evidence> {
        let Some(record) = inbox.ring.next()? else { return Ok(Step::Empty) };
        match judge(&record, inbox.entry(record.route)) {
            Judged::Message(route) => {
                let route = route.clone();
                let Some(item) = read_record(inbox, &route, &record)? else { return Ok(Step::Unknown) };
                link.ring(inbox.ring.consume(record));
                if matches!(&item.body, Body::Lent(contents) if contents.is_lost()) {
                    tracing::warn!(peer = link.peer.task, "a message is lost: its memory could not be mapped (see umach doctor)");
                    if let Some((at, generation)) = item.reply {
                        link.answer_dropped(at, generation);
                    }
                    route.give_credit(inbox);
                    return Ok(Step::Taken);
                }
                if let Some(item) = route.held.push(item) {
                    self.arrived(item);
                }
                Ok(Step::Taken)
            }
            Judged::Late => {
                link.ring(inbox.ring.consume(record));
                Ok(Step::Taken)
            }
            Judged::Unknown => Ok(Step::Unknown),
        }
    }

    /// Takes messages for this place straight out of a link's ring, at most `max` of them; what lies between them for other ports goes to their queues. What
    /// should not be decided here is left, with all that comes after it: then nothing is taken, or less than there is.
    pub(super) fn draw(
        &self,
        task: &Task,
        link: &Arc<Link>,
        place: &Place,
        want: &Want,
        max: usize,
        messages: &mut SmallVec<[Received; 1]>,
    ) -> Result<usize, Evidence> {
        let (inbox, own) = (&mut *link.inbox.lock(), place.port.get());
        let before = messages.len();
        let drawn = self.draw_from(inbox, task, link, (place, own), want, max, messages);
        let taken = &mut messages[before..];
        if let Some(port) = own
            && !taken.is_empty()
        {
            let first = port.seqno.fetch_add(taken.len() as u32, Ordering::Relaxed);
            taken.iter_mut().zip(0..).for_each(|(message, n)| message.set_seqno(first.wrapping_add(n)));
        }
        drawn
    }

    /// The same. Messages of the place's `own` port have no sequence numbers yet.
    #[inline]
    #[allow(clippy::too_many_arguments)] // a part of one function
    fn draw_from(
        &self,
        inbox: &mut Inbox,
        task: &Task,
        link: &Arc<Link>,
        (place, own): (&Place, Option<&Arc<Port>>),
        want: &Want,
        max: usize,
        messages: &mut SmallVec<[Received; 1]>,
    ) -> Result<usize, Evidence> {
        // A buffer without room for a header takes nothing, not even a message without a body: such a receive asks what is there.
        let Some(longest) = (want.limit as usize).checked_sub(HEADER + want.trailer().size()) else { return Ok(0) };
        // Routes whose senders may wait for the credit that they were given here. Mostly one.
        let mut credited: SmallVec<[u32; 4]> = SmallVec::new();
        let (mut taken, mut budget) = (0, link::RING_SIZE / link::RECORD_HEAD);
        while taken < max && budget > 0 && !link.poisoned.load(Ordering::Relaxed) {
            budget -= 1;
            let Some(record) = inbox.ring.next()? else { break };
            let Judged::Message(route) = judge(&record, inbox.entry(record.route)) else { break };
            let port = &route.port;
            if !place.takes(port) {
                match self.step(link, inbox)? {
                    Step::Taken => continue,
                    _ => break,
                }
            }
            let plain = record.kind == record::MESSAGE && record.len as usize <= longest;
            if !plain || route.held.holds() || port.queued.load(Ordering::Acquire) > 0 {
                break;
            }
            check_length(&record)?;
            let reply = owe(link, &record)?.map(|(slot, generation)| Owed::new(link.clone(), slot, generation));
            route.accept(inbox.ring.looks())?;
            route.deliver();
            credit::add(&*link.memory, link.mine, route.place(), 1);
            if !credited.contains(&route.place()) {
                credited.push(route.place());
            }
            let seqno = if own.is_some() { 0 } else { port.seqno.fetch_add(1, Ordering::Relaxed) };
            let context = port.context.load(Ordering::Relaxed);
            let read = |body: &mut [u8]| inbox.ring.payload_into(&record, body);
            let body = (record.len as usize, read);
            messages.push(Received::over_link(task, port.name, link.sender(), record.id as i32, (seqno, context), reply, body));
            taken += 1;
            link.ring(inbox.ring.consume(record));
        }
        for place in credited {
            link.ring(credit::wanted(&*link.memory, link.mine, place));
            if let Entry::Live(route) = inbox.entry(place) {
                route.give_room();
            }
        }
        link.has_read(&inbox.ring);
        Ok(taken)
    }

    /// A message is there: whoever waits for it is woken.
    pub(super) fn arrived(&self, item: Item) {
        let port = item.route.port.clone();
        port.push(item);
        self.wake_one(&port);
        self.tell_pollers();
    }

    pub(super) fn wake_one(&self, port: &Port) {
        for place in port.places.read().iter() {
            if let Some(waiter) = place.pop_waiter() {
                waiter.wake();
                return;
            }
        }
    }

    /// A message ends unreceived: its sender is told if it waits for a reply.
    pub(super) fn drop_item(&self, item: Item) {
        if let Some((at, generation)) = item.reply {
            item.route.link.answer_dropped(at, generation);
        }
        item.route.received();
    }

    /// The link is to be looked at by itself. If there are too many of those, the one that was so for longest is not any more.
    pub(super) fn warm(&self, link: &Arc<Link>) {
        let mut warm = self.warm.write();
        if link.is_down() || warm.iter().any(|other| Arc::ptr_eq(other, link)) {
            return;
        }
        let mut list = warm.to_vec();
        if list.len() == WARM_MAX {
            let oldest = list.remove(0);
            umach_link::arm(&*oldest.memory, oldest.mine, bell::KERNEL);
            fence(Ordering::SeqCst);
            if oldest.has_more() {
                // It came just before the peer could see that it has to ring.
                self.missed.lock().push(oldest);
                self.has_missed.store(true, Ordering::Release);
            }
        }
        umach_link::leave(&*link.memory, link.mine, || self.pollers.are_armed());
        list.push(link.clone());
        *warm = list.into();
    }

    pub(super) fn cool(&self, link: &Arc<Link>) {
        let mut warm = self.warm.write();
        *warm = warm.iter().filter(|other| !Arc::ptr_eq(other, link)).cloned().collect();
    }
}

/// What a record's route makes of it.
enum Judged<'a> {
    Message(&'a Arc<InRoute>),
    /// Published after its route was closed: its sender knows, and has sent it again.
    Late,
    /// Its route is not known: pull events and look again.
    Unknown,
}

#[inline]
fn judge<'a>(record: &Record, entry: &'a Entry) -> Judged<'a> {
    match entry {
        Entry::Live(route) if route.index == record.route => Judged::Message(route),
        Entry::Closed(index) if !is_newer(record.route, *index) => Judged::Late,
        Entry::Live(route) if !is_newer(record.route, route.index) => Judged::Late,
        _ => Judged::Unknown,
    }
}

/// `None`: it is in an arena that is not known here.
fn read_record(inbox: &mut Inbox, route: &Arc<InRoute>, record: &Record) -> Result<Option<Item>, Evidence> {
    check_length(record)?;
    let body = match record.kind {
        record::MESSAGE => {
            let mut message = SmallVec::from_elem(0, HEADER + record.len as usize);
            inbox.ring.payload_into(record, &mut message[HEADER..]);
            Body::Plain(message)
        }
        record::TICKET => Body::Ticket,
        record::LEASE => match inbox.read_lent(&route.link, record) {
            Ok(contents) => Body::Lent(Box::new(contents)),
            Err(ReadError::Broken(evidence)) => return Err(evidence),
            Err(ReadError::Unknown(_)) => return Ok(None),
        },
        kind => return Err(Evidence { rule: violation::RECORD, found: kind as u64, expected: record::MESSAGE as u64 }),
    };
    let reply = owe(&route.link, record)?;
    let number = route.accept(inbox.ring.looks())?;
    Ok(Some(Item { route: route.clone(), number, id: record.id as i32, reply, body }))
}

#[inline]
fn check_length(record: &Record) -> Result<(), Evidence> {
    let len = record.len as usize;
    if record.kind == record::MESSAGE && round4(len) != len {
        return Err(Evidence { rule: violation::RECORD, found: len as u64, expected: round4(len) as u64 });
    }
    Ok(())
}

/// Slot and generation of the reply that a record wants. Answers to older calls in this slot come too late from here on.
#[inline]
fn owe(link: &Link, record: &Record) -> Result<Option<(u32, u32)>, Evidence> {
    let Some(slot) = record.slot.checked_sub(1) else { return Ok(None) };
    if slot as usize >= SLOTS {
        return Err(Evidence { rule: violation::SLOT, found: record.slot as u64, expected: SLOTS as u64 });
    }
    let mut newest = link.owed[slot as usize].lock();
    if record.generation == *newest {
        return Err(Evidence { rule: violation::SLOT, found: record.generation as u64, expected: *newest as u64 + 1 });
    }
    *newest = record.generation;
    drop(newest);
    link.slot_used_again(slot);
    Ok(Some((slot, record.generation)))
}

/// Whether index `a` was granted after `b` in the same place: the part above the place counts grants.
fn is_newer(a: u32, b: u32) -> bool {
    let grants = |index: u32| index / link::ROUTES as u32;
    grants(a).wrapping_sub(grants(b)) as i32 > 0
}

impl Inbox {
    /// The message with memory in the next record. The kernel process told of an arena before its maker could lend from it; whether that was heard here is for the
    /// thread that hears it, so who does not know the arena accuses nobody yet.
    fn read_lent(&mut self, link: &Link, record: &Record) -> Result<Contents<Borrowed>, ReadError> {
        let mut payload: SmallVec<[u8; 256]> = SmallVec::from_elem(0, record.len as usize);
        self.ring.payload_into(record, &mut payload);
        Contents::read(link, &payload, false)
    }
}

impl Place {
    pub(super) fn wake_all(&self) {
        for waiter in std::mem::take(&mut *self.waiters.lock()) {
            waiter.wake();
        }
    }
    fn pop_waiter(&self) -> Option<Arc<Waiter>> {
        let mut waiters = self.waiters.lock();
        if waiters.is_empty() { None } else { Some(waiters.remove(0)) }
    }
}
