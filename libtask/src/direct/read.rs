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
use umach_link::{Bell, Evidence, Record, credit, slot};

use super::borrow::Borrowed;
use super::contents::Contents;
use super::table::{Body, Entry, InRoute, Inbox, Item, Link, Place};
use super::{Plane, wait};
use crate::error::Result;
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
    fn met(&self, link: &Link) {
        let (state, cpu) = umach_link::state(&*link.memory, 1 - link.mine);
        self.partner.store(if state == link::state::RUNS { cpu.wrapping_add(1) } else { 0 }, Ordering::Relaxed);
        link.show(link::state::RUNS, wait::cpu());
    }

    fn poll_link(&self, task: &Task, link: &Arc<Link>) -> Result<()> {
        // A record of a route that is new takes one pull; a second miss is a lie. But each round may take some others first.
        let mut missed = None;
        loop {
            match self.drain_to(link, None) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let at = link.inbox.lock().ring.position();
                    if missed == Some(at) {
                        let route = self.stuck_on(link);
                        self.accuse(task, link, &Evidence { rule: violation::ROUTE, found: route as u64, expected: 0 });
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

    fn stuck_on(&self, link: &Link) -> u32 {
        match link.inbox.lock().ring.next() {
            Ok(Some(record)) => record.route,
            _ => 0,
        }
    }

    /// Reads records up to `tail`, or as many as are there now. `false`: one whose route is not known is in the way.
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
        link.read_to.store(inbox.ring.position(), Ordering::Release);
        Ok(true)
    }

    fn step(&self, link: &Arc<Link>, inbox: &mut Inbox) -> Result<Step, Evidence> {
        let Some(record) = inbox.ring.next()? else { return Ok(Step::Empty) };
        match inbox.entry(record.route) {
            Entry::Live(route) if route.index == record.route => {
                let Some(item) = self.read_record(inbox, &route, &record)? else { return Ok(Step::Unknown) };
                link.ring(inbox.ring.consume(record));
                if matches!(&item.body, Body::Lent(contents) if contents.is_lost()) {
                    tracing::warn!(peer = link.peer.task, "a message is lost: its memory could not be mapped (see umach doctor)");
                    self.drop_item(item);
                    return Ok(Step::Taken);
                }
                let mut held = route.held.lock();
                match &mut *held {
                    Some(held) => held.push_back(item),
                    None => {
                        drop(held);
                        self.arrived(item);
                    }
                }
                Ok(Step::Taken)
            }
            // Published after its route was closed: its sender knows, and has sent it again.
            Entry::Closed(index) if !is_newer(record.route, index) => {
                link.ring(inbox.ring.consume(record));
                Ok(Step::Taken)
            }
            Entry::Live(route) if !is_newer(record.route, route.index) => {
                link.ring(inbox.ring.consume(record));
                Ok(Step::Taken)
            }
            _ => Ok(Step::Unknown),
        }
    }

    /// `None`: it is in an arena that is not known here.
    fn read_record(&self, inbox: &mut Inbox, route: &Arc<InRoute>, record: &Record) -> Result<Option<Item>, Evidence> {
        let lent = match record.kind {
            record::LEASE => match inbox.read_lent(&route.link, record)? {
                Some(contents) => Some(Box::new(contents)),
                None => return Ok(None),
            },
            _ => None,
        };
        let number = route.accepted.load(Ordering::Relaxed).wrapping_add(1);
        let ahead = number.wrapping_sub(route.delivered.load(Ordering::Acquire));
        if ahead > route.limit {
            return Err(Evidence { rule: violation::CREDIT, found: ahead as u64, expected: route.limit as u64 });
        }
        let reply = match record.slot {
            0 => None,
            slot if slot as usize <= SLOTS => {
                let slot = slot - 1;
                // Answers to older calls in this slot come too late from here on.
                let mut newest = route.link.owed[slot as usize].lock();
                if record.generation == *newest {
                    return Err(Evidence { rule: violation::SLOT, found: record.generation as u64, expected: *newest as u64 + 1 });
                }
                *newest = record.generation;
                drop(newest);
                route.link.slot_used_again(slot);
                Some((slot, record.generation))
            }
            slot => return Err(Evidence { rule: violation::SLOT, found: slot as u64, expected: SLOTS as u64 }),
        };
        let body = match record.kind {
            record::MESSAGE => {
                let len = record.len as usize;
                if round4(len) != len {
                    return Err(Evidence { rule: violation::RECORD, found: len as u64, expected: round4(len) as u64 });
                }
                let mut message = SmallVec::from_elem(0, HEADER + len);
                inbox.ring.payload_into(record, &mut message[HEADER..]);
                Body::Plain(message)
            }
            record::TICKET => Body::Ticket,
            record::LEASE => Body::Lent(lent.expect("just read")),
            kind => return Err(Evidence { rule: violation::RECORD, found: kind as u64, expected: record::MESSAGE as u64 }),
        };
        route.accepted.store(number, Ordering::Relaxed);
        Ok(Some(Item { route: route.clone(), number, id: record.id as i32, reply, body }))
    }

    /// A message is there: whoever waits for it is woken.
    pub(super) fn arrived(&self, item: Item) {
        let port = item.route.port.clone();
        port.push(item);
        self.wake_one(&port);
    }

    pub(super) fn wake_one(&self, port: &super::table::Port) {
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
        let queue = item.route.port.queue.lock();
        let bell = item.route.give_credit();
        drop(queue);
        item.route.link.ring(bell);
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
        umach_link::disarm(&*link.memory, link.mine);
        list.push(link.clone());
        *warm = list.into();
    }

    pub(super) fn cool(&self, link: &Arc<Link>) {
        let mut warm = self.warm.write();
        *warm = warm.iter().filter(|other| !Arc::ptr_eq(other, link)).cloned().collect();
    }
}

/// Whether index `a` was granted after `b` in the same place: the part above the place counts grants.
fn is_newer(a: u32, b: u32) -> bool {
    let grants = |index: u32| index / link::ROUTES as u32;
    grants(a).wrapping_sub(grants(b)) as i32 > 0
}

impl Inbox {
    /// The message with memory in the next record. `None`, once: an arena is not known.
    fn read_lent(&mut self, link: &Link, record: &Record) -> Result<Option<Contents<Borrowed>>, Evidence> {
        let mut payload: SmallVec<[u8; 256]> = SmallVec::from_elem(0, record.len as usize);
        self.ring.payload_into(record, &mut payload);
        match Contents::read(link, &payload, false) {
            Ok(contents) => Ok(Some(contents)),
            Err(ReadError::Broken(evidence)) => Err(evidence),
            // The kernel process told of an arena before its maker could lend from it.
            Err(ReadError::Unknown(arena)) if self.missed_at == Some(record.at) => {
                Err(Evidence { rule: violation::LEASE, found: arena.into(), expected: 0 })
            }
            Err(ReadError::Unknown(_)) => {
                self.missed_at = Some(record.at);
                Ok(None)
            }
        }
    }
}

impl Place {
    fn pop_waiter(&self) -> Option<Arc<super::wait::Waiter>> {
        let mut waiters = self.waiters.lock();
        if waiters.is_empty() { None } else { Some(waiters.remove(0)) }
    }
}

impl InRoute {
    /// The program has the message: its sender may send one more. To be called under the port's queue, and rung outside.
    #[must_use = "the sender may wait for it"]
    pub(super) fn give_credit(&self) -> Bell {
        self.delivered.fetch_add(1, Ordering::SeqCst);
        self.give_room();
        if self.ended.load(Ordering::Relaxed) {
            return Bell::None;
        }
        credit::delivered(&*self.link.memory, self.link.mine, self.index % link::ROUTES as u32)
    }
}

impl InRoute {
    /// Mail from before was received. To be called under the port's queue.
    pub(super) fn count_delivered(&self) {
        self.give_room();
        self.link.ring(credit::delivered(&*self.link.memory, self.link.mine, self.index % link::ROUTES as u32));
    }

    /// If the sender asked to be told when it has credit, and has some: it is to be told.
    pub(super) fn give_room(&self) {
        let ahead = self.accepted.load(Ordering::Relaxed).wrapping_sub(self.delivered.load(Ordering::SeqCst));
        let ahead = ahead + self.before.load(Ordering::Relaxed);
        if ahead < self.limit && self.room_wanted.swap(false, Ordering::SeqCst) {
            let due = &self.link.due;
            due.rooms.lock().push(self.id);
            due.any.store(true, Ordering::Release);
        }
    }
}

impl Link {
    /// Wakes the peer in the way it asked for.
    pub(super) fn ring(&self, how: Bell) {
        match how {
            Bell::None => {}
            Bell::Futex(at) => {
                self.count(link::counter::BELLS, 1);
                umach_link::Memory::wake(&*self.memory, at);
            }
            Bell::Kernel => self.ring_through_kernel(),
        }
    }

    #[cold]
    fn ring_through_kernel(&self) {
        self.count(link::counter::BELLS, 1);
        self.due.links.lock().push(self.id);
        self.due.any.store(true, Ordering::Release);
    }

    /// The call in this slot will not be answered.
    pub(super) fn answer_dropped(&self, at: u32, generation: u32) {
        let newest = self.owed[at as usize].lock();
        if *newest == generation && !self.is_down() {
            let bell = slot::drop_unanswered(&*self.memory, self.mine, at, generation);
            drop(newest);
            self.ring(bell);
        }
    }
}
