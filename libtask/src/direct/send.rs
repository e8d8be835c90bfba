//! Sending over links: plain messages into the ring, messages with rights through the kernel process with a ticket in the ring.
//!
//! A send is a list of checks and then a point of no return: the route is live, there is credit, there is room. Then the record is
//! published, and the receiver's count of closings looked at once more: if it has changed, the route may have been closed before this record was
//! seen, and the kernel process, which hears from the receiver how many it took, gets the message again under its number.

use std::cell::{Cell, LazyCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Instant;

use smallvec::SmallVec;
use umach_abi::link::{self, counter, record};
use umach_abi::records::violation;
use umach_abi::{Code, Name};
use umach_link::futex::Woken;
use umach_link::{Bell, Evidence, PushError, RecordHead, credit};

use super::Plane;
use super::call::Open;
use super::contents::Lending;
use super::link::Link;
use super::route::{OutRoute, Sending};
use super::wait;
use crate::error::Result;
use crate::task::Task;

/// What became of a message that was to go over a link.
pub(crate) enum Sent {
    /// It is on its way.
    Done,
    /// No room until the deadline, or until a signal handler ran (the code says which); nothing was sent.
    Over(Code),
    /// There is no route (any more): send it through the kernel process.
    NoRoute,
    /// It was published, perhaps too late: the kernel process must have it too, as this message of this route.
    Doubt(Doubt),
}

/// A message that was published about when its route was closed.
pub(crate) struct Doubt {
    route: Arc<OutRoute>,
    number: u32,
}

impl Doubt {
    /// Which route, and which message of it.
    pub(crate) fn ticket(&self) -> (u64, u32) {
        (self.route.id, self.number)
    }
    /// Whether the message has arrived, or has been sent again: asked once the kernel process has let the route go, so that its end is known here.
    pub(crate) fn is_done(&self, plane: &Plane) -> bool {
        drop(plane.pulling.lock()); // whoever applies the end has done so
        let mut outbox = self.route.outbox();
        let (_, sending) = outbox.of(&self.route);
        sending.sent_again || sending.taken.is_some_and(|taken| self.number <= taken)
    }
}

/// What of a message goes over a link.
pub(crate) enum Carry<'m> {
    /// The body of a plain message, in pieces.
    Plain([&'m [u8]; 3]),
    /// Memory or a long body, lent.
    Lent(Box<Lending>),
}

impl Carry<'_> {
    #[inline]
    pub(super) fn payload(&self) -> [&[u8]; 3] {
        match self {
            Carry::Plain(body) => *body,
            Carry::Lent(lending) => [&lending.payload, &[], &[]],
        }
    }
    pub(super) fn len(&self) -> usize {
        self.payload().iter().map(|part| part.len()).sum()
    }
    /// A lease is for one link.
    pub(super) fn fits(&self, link: &Arc<Link>) -> bool {
        match self {
            Carry::Plain(_) => true,
            Carry::Lent(lending) => lending.pledge.is_for(link),
        }
    }
    /// The record's and the answer's kind.
    pub(super) fn kinds(&self) -> (u32, u32) {
        match self {
            Carry::Plain(_) => (record::MESSAGE, 0),
            Carry::Lent(_) => (record::LEASE, link::lease::ANSWER),
        }
    }
}

/// Whether a send waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until its deadline.
    Waits,
    /// Until its deadline, or until a signal handler ran in the thread.
    UntilSignal,
}

/// Until when a send may wait; `None` for ever.
pub(crate) type Until = Option<Instant>;

/// The same, reckoned when somebody has to wait: most calls end before a clock could be read.
pub(crate) type Lazy<F> = LazyCell<Until, F>;

/// One try.
pub(super) enum Try {
    /// As the numbered message of the route. `doubt`: perhaps after it was closed.
    Published {
        number: u32,
        /// Slot and generation of the reply, if it is a call.
        reply: Option<(u32, u32)>,
        /// Of a call: still to be rung.
        bell: Bell,
        doubt: bool,
    },
    NoRoute,
    NoCredit,
    NoSpace,
}

/// Bytes of copies from which on a sender looks how many of them are still needed: as many as stay in a processor's first cache. Then again after half as many more.
const KEPT_MANY: usize = 8 * 1024;

impl Plane {
    pub(super) fn route(&self, name: Name) -> Option<Arc<OutRoute>> {
        let find = || self.tables.read().out.get(&name).cloned();
        find().or_else(|| {
            // If its end is being applied, messages that were on their way may have to go before this one.
            drop(self.pulling.lock());
            find()
        })
    }

    /// Sends a message without rights.
    pub(crate) fn send(
        &self,
        task: &Task,
        name: Name,
        id: i32,
        carry: &mut Carry<'_>,
        until: &Lazy<impl FnOnce() -> Until>,
        patience: Patience,
    ) -> Result<Sent> {
        loop {
            self.look(task)?;
            let Some(route) = self.route_of(name).filter(|route| carry.fits(&route.link)) else { return Ok(Sent::NoRoute) };
            let no_credit = match self.try_send(task, &route, id, false, carry) {
                Try::Published { doubt: false, .. } => {
                    self.ring_due(task);
                    return Ok(Sent::Done);
                }
                Try::Published { number, .. } => return Ok(Sent::Doubt(Doubt { route, number })),
                Try::NoRoute => return Ok(Sent::NoRoute),
                Try::NoCredit => true,
                Try::NoSpace => false,
            };
            if let Err(code) = self.wait_for_room(task, &route, no_credit, &|| **until, patience)? {
                return Ok(Sent::Over(code));
            }
        }
    }

    pub(super) fn try_send(&self, task: &Task, route: &Arc<OutRoute>, id: i32, call: bool, carry: &mut Carry<'_>) -> Try {
        let link = &route.link;
        let mut outbox = route.outbox();
        let (ring, sending) = outbox.of(route);
        if sending.stopped || link.is_down() {
            drop(outbox);
            drop(self.pulling.lock());
            return Try::NoRoute;
        }
        match has_credit(route, sending) {
            Ok(true) => {}
            Ok(false) => return Try::NoCredit,
            Err(evidence) => {
                drop(outbox);
                self.accuse(task, link, &evidence);
                return Try::NoRoute;
            }
        }
        let number = sending.sent.wrapping_add(1);
        let reply = if call {
            let Some(reply) = link.begin_call(route.id, number) else { return Try::NoRoute };
            Some(reply)
        } else {
            None
        };
        let (slot, generation) = reply.map_or((0, 0), |(slot, generation)| (slot + 1, generation));
        let head = RecordHead { kind: carry.kinds().0, route: route.index, slot, generation, id: id as u32 };
        let bell = match ring.push(head, &carry.payload()) {
            Ok(bell) => bell,
            Err(error) => {
                drop(outbox);
                if let Some((slot, _)) = reply {
                    link.calls.lock().end(slot);
                }
                let PushError::Corrupt(evidence) = error else { return Try::NoSpace };
                self.accuse(task, link, &evidence);
                return Try::NoRoute;
            }
        };
        link.count(counter::MESSAGES, 1);
        link.count(counter::BYTES, carry.len() as u64);
        sending.sent = number;
        route.show_sent(sending);
        sending.kept.push(number, call, id, carry);
        if let Carry::Lent(lending) = carry {
            lending.pledge.sent(route.id, number);
        }
        let doubt = self.was_closed(route, sending);
        sending.stopped |= doubt;
        drop(outbox);
        // One of the receiver's threads is awake, and mostly about to look: a caller rings when it has waited in vain for a moment.
        let bell = if call && link.peer_runs() {
            bell
        } else {
            link.ring(bell);
            Bell::None
        };
        Try::Published { number, reply, bell, doubt }
    }

    /// Whether the receiver has closed the route, perhaps before it saw what was just published. The push has fenced.
    fn was_closed(&self, route: &Arc<OutRoute>, sending: &mut Sending) -> bool {
        let link = &route.link;
        let closings = link.theirs(link::CLOSINGS).load(Ordering::Acquire);
        if closings == sending.closings {
            return false;
        }
        sending.closings = closings;
        let mark = link.theirs(link::CREDITS + route.place() * link::CREDIT_SIZE + link::CREDIT_CLOSED).load(Ordering::Acquire);
        mark == route.index.wrapping_add(1)
    }

    /// Waits until the receiver has taken something, or something has happened to the route. `Err`: the send is over, by this code.
    #[cold]
    pub(super) fn wait_for_room(
        &self,
        task: &Task,
        route: &Arc<OutRoute>,
        credit: bool,
        until: &dyn Fn() -> Until,
        patience: Patience,
    ) -> Result<Result<(), Code>> {
        const LATE: Result<(), Code> = Err(Code::MACH_SEND_TIMED_OUT);
        if patience == Patience::None {
            return Ok(LATE);
        }
        let until = until();
        let link = &route.link;
        link.count(if credit { counter::NO_CREDIT } else { counter::NO_SPACE }, 1);
        if until.is_some_and(|at| at <= Instant::now()) {
            return Ok(LATE);
        }
        let control = self.pulled.load(Ordering::Acquire);
        let word = if credit {
            link.theirs(link::CREDITS + route.place() * link::CREDIT_SIZE + link::CREDIT_DELIVERED)
        } else {
            link.theirs(link::HEAD)
        };
        // `None`: the route is closed, so it is not this that the send waits for any more.
        let has_room = |seen: u32| {
            if credit {
                let mut outbox = route.outbox();
                let (_, sending) = outbox.of(route);
                (!sending.stopped).then(|| sending.ahead(seen) < route.limit)
            } else {
                Some(link.outbox.lock().ring.space() >= link::RECORD_HEAD + link::RECORD_MAX)
            }
        };
        let full = |seen: u32| has_room(seen) == Some(false);
        let seen = word.load(Ordering::Acquire);
        let changed = || word.load(Ordering::Acquire) != seen || self.control_word() != control;
        // A signal ends a sleep, not a look.
        let looks = patience != Patience::UntilSignal;
        if !full(seen) || (looks && wait::look(|cpu| link.is_near(cpu), until, changed)) {
            link.count(counter::SPUN, 1);
            return Ok(Ok(()));
        }
        // Say that somebody waits, and look once more before sleeping.
        if credit {
            route.want_credit(false, true);
        } else {
            link.outbox.lock().ring.want_space(true);
        }
        fence(Ordering::SeqCst);
        let seen = word.load(Ordering::Acquire);
        let start = Instant::now();
        let mut interrupted = false;
        if full(seen) && self.control_word() == control && !link.is_down() {
            link.count(counter::SLEEPS, 1);
            interrupted = self.sleep(&[(word, seen)], control, until) == Woken::Interrupted && patience == Patience::UntilSignal;
        }
        if credit {
            route.want_credit(false, false);
        } else {
            link.outbox.lock().ring.want_space(false);
        }
        wait::learn(start.elapsed());
        self.check_kernel(task, start.elapsed())?;
        let now = word.load(Ordering::Acquire);
        // Room that came meanwhile is used.
        if interrupted && has_room(now) != Some(true) {
            return Ok(Err(Code::MACH_SEND_INTERRUPTED));
        }
        Ok(if now == seen && until.is_some_and(|at| at <= Instant::now()) { LATE } else { Ok(()) })
    }

    /// Sleeps on these words and on the kernel process's for events.
    pub(super) fn sleep(&self, words: &[(&AtomicU32, u32)], control: u32, until: Until) -> Woken {
        let Some(attention) = self.attention.get() else { return Woken::Changed };
        let mut all: SmallVec<[(&AtomicU32, u32); 4]> = words.iter().copied().collect();
        all.push((attention.control(), control));
        wait::sleep(attention, &mut all, Plane::nap(until).0)
    }

    /// A message with rights, or one that does not fit a record: `post` hands it to the kernel process as the numbered message of the route. Its place in
    /// the ring is kept meanwhile, so that it stays in order.
    pub(crate) fn send_ticket<T>(
        &self,
        task: &Task,
        name: Name,
        call: bool,
        until: Until,
        patience: Patience,
        mut post: impl FnMut((u64, u32), Option<(u32, u32)>) -> Result<(Code, T)>,
    ) -> Result<Ticketed<T>> {
        loop {
            self.look(task)?;
            let Some(route) = self.route_of(name) else { return Ok(Ticketed::NoRoute) };
            let link = &route.link;
            let asking = route.asking.lock();
            let mut outbox = link.outbox.lock();
            let (ring, sending) = outbox.of(&route);
            if sending.stopped || link.is_down() {
                drop((outbox, asking));
                drop(self.pulling.lock());
                return Ok(Ticketed::NoRoute);
            }
            let credit = match has_credit(&route, sending) {
                Ok(credit) => credit,
                Err(evidence) => {
                    drop((outbox, asking));
                    self.accuse(task, link, &evidence);
                    continue;
                }
            };
            if !credit || ring.reserve(0).is_err() {
                drop((outbox, asking));
                if let Err(code) = self.wait_for_room(task, &route, !credit, &|| until, patience)? {
                    return Ok(Ticketed::Over(code));
                }
                continue;
            }
            let number = sending.sent.wrapping_add(1);
            let reply = if call { link.begin_call(route.id, number) } else { None };
            drop(outbox);
            let posted = post((route.id, number), reply);
            let mut outbox = link.outbox.lock();
            let (ring, sending) = outbox.of(&route);
            let ok = matches!(&posted, Ok((code, _)) if code.is_ok());
            let (slot, generation) = reply.map_or((0, 0), |(slot, generation)| (slot + 1, generation));
            if ok {
                sending.sent = number;
                route.show_sent(sending);
                sending.kept.push_ticket(number);
                if let Some((slot, _)) = reply
                    && let Some(call) = link.calls.lock().open.get_mut(slot)
                {
                    call.ticket = true;
                }
                let head = RecordHead { kind: record::TICKET, route: route.index, slot, generation, id: 0 };
                link.count(counter::MESSAGES, 1);
                link.count(counter::TICKETS, 1);
                let bell = ring.push_reserved(head, &[]);
                drop((outbox, asking));
                link.ring(bell);
                self.ring_due(task);
                let open = reply.map(|(slot, generation)| Open { route, slot, generation, bell: Cell::new(Bell::None) });
                return Ok(Ticketed::Done(posted?.1, open));
            }
            ring.unreserve(0);
            drop(outbox);
            if let Some((slot, _)) = reply {
                link.calls.lock().end(slot);
            }
            let (code, rest) = posted?;
            if code.plain() == Code::MACH_SEND_IN_PROGRESS {
                // The route has ended, and this task will hear of it.
                link.outbox.lock().of(&route).1.stopped = true;
                return Ok(Ticketed::NoRoute);
            }
            return Ok(Ticketed::Refused(code, rest));
        }
    }
}

/// Whether one more message may go out.
fn has_credit(route: &OutRoute, sending: &mut Sending) -> Result<bool, Evidence> {
    if sending.ahead(sending.seen) < route.limit && sending.kept.size() < sending.look_from {
        return Ok(true);
    }
    let link = &route.link;
    let seen = credit::read(&*link.memory, 1 - link.mine, route.place() as u32);
    if sending.ahead(seen) > sending.ahead(sending.seen) {
        // More than there is, or fewer than before; whoever counts so does not get more by it.
        return Err(Evidence { rule: violation::CREDIT, found: seen as u64, expected: sending.seen as u64 });
    }
    sending.seen = seen;
    sending.received(sending.delivered_of(seen));
    // If its receiver is far behind, not with each message: the word is in the receiver's cache.
    sending.look_from = KEPT_MANY.max(sending.kept.size() + KEPT_MANY / 2);
    Ok(sending.ahead(seen) < route.limit)
}

/// What became of a message with a ticket.
pub(crate) enum Ticketed<T> {
    /// It is on its way; and the slot of its reply, if it is a call and there was one.
    Done(T, Option<Open>),
    /// No room, as for [`Sent::Over`].
    Over(Code),
    NoRoute,
    /// The kernel process refused it.
    Refused(Code, T),
}
