//! Sending over links: plain messages into the ring, messages with rights through the kernel process with a ticket in the ring, replies
//! into slots.
//!
//! A send is a list of checks and then a point of no return: the route is live, there is credit, there is room. Then the record is
//! published, and the receiver's count of closings looked at once more: if it has changed, the route may have been closed before this record was
//! seen, and the kernel process, which hears from the receiver how many it took, gets the message again under its number.

use std::cell::{Cell, LazyCell};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use umach_abi::link::{self, bell, counter, record};
use umach_abi::records::violation;
use umach_abi::{Code, Name};
use umach_link::futex::Woken;
use umach_link::lease::ReadError;
use umach_link::{Bell, Evidence, PushError, RecordHead, credit, futex, slot};

use super::Plane;
use super::borrow::Borrowed;
use super::contents::{Contents, Lending};
use super::table::{Call, Fate, Link, OutRoute};
use super::wait;
use crate::error::Result;
use crate::received::Received;
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
enum Try {
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

    fn try_send(&self, task: &Task, route: &Arc<OutRoute>, id: i32, call: bool, carry: &mut Carry<'_>) -> Try {
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
    fn was_closed(&self, route: &Arc<OutRoute>, sending: &mut super::table::Sending) -> bool {
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
    fn wait_for_room(
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
        if !full(seen)
            || wait::look(|cpu| link.is_near(cpu), until, || word.load(Ordering::Acquire) != seen || self.control_word() != control)
        {
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
    pub(super) fn sleep(&self, words: &[(&std::sync::atomic::AtomicU32, u32)], control: u32, until: Until) -> Woken {
        let Some(attention) = self.attention.get() else { return Woken::Changed };
        let mut all: smallvec::SmallVec<[(&std::sync::atomic::AtomicU32, u32); 4]> = words.iter().copied().collect();
        all.push((attention.control(), control));
        futex::wait(&all, Some(Plane::nap(until).0))
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

    /// Starts a call with a request without rights. `Err`: how it failed to start.
    pub(crate) fn begin_call(
        &self,
        task: &Task,
        name: Name,
        id: i32,
        carry: &mut Carry<'_>,
        until: &Lazy<impl FnOnce() -> Until>,
        patience: Patience,
    ) -> Result<Result<Open, Sent>> {
        loop {
            self.look(task)?;
            let Some(route) = self.route_of(name).filter(|route| carry.fits(&route.link)) else { return Ok(Err(Sent::NoRoute)) };
            let no_credit = match self.try_send(task, &route, id, true, carry) {
                // If the receiver did not take it, the kernel process says so while we wait for the answer.
                Try::Published { reply, bell, .. } => {
                    let (slot, generation) = reply.expect("a call has a slot");
                    self.ring_due(task);
                    return Ok(Ok(Open { route, slot, generation, bell: Cell::new(bell) }));
                }
                Try::NoRoute => return Ok(Err(Sent::NoRoute)),
                Try::NoCredit => true,
                Try::NoSpace => false,
            };
            if let Err(code) = self.wait_for_room(task, &route, no_credit, &|| **until, patience)? {
                return Ok(Err(Sent::Over(code)));
            }
        }
    }

    /// Waits for the answer of a call.
    #[inline]
    pub(crate) fn finish_call(&self, task: &Task, open: Open, until: &Lazy<impl FnOnce() -> Until>) -> Result<Finished> {
        if let Some(finished) = self.glance_at_answer(task, &open) {
            self.end_call(&open);
            return Ok(finished);
        }
        self.finish_slowly(task, open, **until)
    }

    fn finish_slowly(&self, task: &Task, open: Open, until: Until) -> Result<Finished> {
        let link = &open.route.link;
        let finished = loop {
            let (seen, control) = match self.look_for_answer(task, &open, until)? {
                Look::Finished(finished) => break finished,
                Look::Again => continue,
                Look::Sleep { seen, control } => (seen, control),
            };
            if until.is_some_and(|at| at <= Instant::now()) {
                break self.poll_answer(task, &open).unwrap_or(Finished::Late);
            }
            let word = link.slot_word(open.slot);
            slot::wait_flag(&*link.memory, link.mine, open.slot, bell::FUTEX);
            let start = Instant::now();
            if word.load(Ordering::Acquire) == seen && self.control_word() == control {
                link.count(counter::SLEEPS, 1);
                link.show(link::state::SLEEPS, wait::cpu());
                self.sleep(&[(word, seen)], control, until);
                link.show(link::state::RUNS, wait::cpu());
            }
            slot::wait_flag(&*link.memory, link.mine, open.slot, bell::NONE);
            wait::learn(start.elapsed());
            self.check_kernel(task, start.elapsed())?;
        };
        match finished {
            Finished::Late => self.give_up_call(task, &open),
            _ => self.end_call(&open),
        }
        Ok(finished)
    }

    /// The same for as long as it would not sleep: the call goes on if nothing has come of it.
    pub(crate) fn finish_soon(
        &self,
        task: &Task,
        open: Open,
        until: &Lazy<impl FnOnce() -> Until>,
    ) -> Result<std::result::Result<Finished, Open>> {
        let mut finished = self.glance_at_answer(task, &open);
        while finished.is_none() {
            finished = match self.look_for_answer(task, &open, **until)? {
                Look::Finished(finished) => Some(finished),
                Look::Again => None,
                Look::Sleep { .. } => return Ok(Err(open)),
            };
        }
        self.end_call(&open);
        Ok(Ok(finished.expect("just seen")))
    }

    /// One look for the answer, as long as it pays.
    fn look_for_answer(&self, task: &Task, open: &Open, until: Until) -> Result<Look> {
        let link = &open.route.link;
        let word = link.slot_word(open.slot);
        let control = self.pulled.load(Ordering::Acquire);
        let seen = word.load(Ordering::Acquire);
        if let Some(finished) = self.poll_answer(task, open) {
            return Ok(Look::Finished(finished));
        }
        if self.control_word() != control {
            self.settle(task)?;
            return Ok(Look::Again);
        }
        match self.fate_of(open) {
            Fate::Open | Fate::Moving => {}
            Fate::Moved(name) => return Ok(Look::Finished(Finished::Moved(name))),
            Fate::NotTaken => return Ok(Look::Finished(Finished::NotTaken)),
            // What was answered before the end is an answer.
            Fate::Died => return Ok(Look::Finished(self.poll_answer(task, open).unwrap_or(Finished::Died))),
        }
        let news = || word.load(Ordering::Acquire) != seen || self.control_word() != control;
        if wait::look(|cpu| link.is_near(cpu), until, news) {
            link.count(counter::SPUN, 1);
            return Ok(Look::Again);
        }
        Ok(Look::Sleep { seen, control })
    }

    /// Wakes the receiver of a call, if it did not look by itself meanwhile. Who does not wait for the answer at once has to.
    pub(crate) fn ring_for(&self, task: &Task, open: &Open) {
        open.route.link.ring(open.bell.replace(Bell::None));
        self.ring_due(task);
    }

    /// The answer, if it is there by the time a processor can look a few times.
    #[inline]
    pub(super) fn glance_at_answer(&self, task: &Task, open: &Open) -> Option<Finished> {
        let link = &open.route.link;
        link.show(link::state::RUNS, wait::cpu());
        let word = link.slot_word(open.slot);
        if !wait::glance(|cpu| link.is_near(cpu), || slot::is_of(word.load(Ordering::Acquire), open.generation)) {
            self.ring_for(task, open);
        }
        self.poll_answer(task, open)
    }

    /// What became of a call other than being answered in its slot.
    pub(super) fn fate_of(&self, open: &Open) -> Fate {
        open.route.link.calls.lock().open.get(open.slot).map_or(Fate::Died, |call: &Call| call.fate)
    }

    /// Nobody waits for the answer any more: one that comes finds another generation.
    #[inline]
    pub(crate) fn end_call(&self, open: &Open) {
        let link = &open.route.link;
        // Before the slot is another call's.
        slot::stop_waiting(&*link.memory, link.mine, open.slot);
        link.calls.lock().end(open.slot);
    }

    /// The same of a call that was not answered: its server may ask, and is rung for if it wants to be.
    pub(crate) fn give_up_call(&self, task: &Task, open: &Open) {
        let link = &open.route.link;
        let answered = slot::is_of(link.slot_word(open.slot).load(Ordering::Acquire), open.generation);
        if slot::give_up(&*link.memory, link.mine, open.slot, open.generation) && !answered && !link.is_down() {
            link.ring(Bell::Kernel);
        }
        slot::stop_waiting(&*link.memory, link.mine, open.slot);
        let call = link.calls.lock().end(open.slot);
        if let Some(Call { fate: Fate::Moved(port), .. }) = call {
            // Nobody has looked there yet. Whoever holds the send-once right is told.
            self.drop_port(task, port);
        }
        self.ring_due(task);
    }

    /// The answer, if it is there.
    #[inline]
    pub(super) fn poll_answer(&self, task: &Task, open: &Open) -> Option<Finished> {
        let link = &open.route.link;
        let (len, id) = match slot::poll(&*link.memory, link.mine, open.slot, open.generation) {
            Ok(None) => return None,
            Ok(Some(slot::Outcome::Dropped)) => return Some(Finished::Dropped),
            Ok(Some(slot::Outcome::Answered { len, id, kind: 0 })) if len.is_multiple_of(4) => (len, id as i32),
            Ok(Some(slot::Outcome::Answered { len, id, kind })) => return Some(self.lent_answer(task, open, len, id as i32, kind)),
            Err(evidence) => {
                self.accuse(task, link, &evidence);
                return Some(Finished::Died);
            }
        };
        if !len.is_multiple_of(4) {
            self.accuse(task, link, &Evidence { rule: violation::REPLY, found: len as u64, expected: 0 });
            return Some(Finished::Died);
        }
        let read = |body: &mut [u8]| slot::read_into(&*link.memory, link.mine, open.slot, body);
        Some(Finished::Answered(Received::answer_over_link(task, link.sender(), id, len, read)))
    }

    fn lent_answer(&self, task: &Task, open: &Open, len: usize, id: i32, kind: u32) -> Finished {
        let link = &open.route.link;
        let answer = match kind {
            link::lease::ANSWER => self.read_lent_answer(task, open, len),
            _ => Err(Evidence { rule: violation::REPLY, found: kind as u64 | (len as u64) << 32, expected: 0 }),
        };
        match answer {
            Ok(Some(answer)) => Finished::Lent { id, answer: Box::new(answer), peer: link.sender() },
            Ok(None) => Finished::Dropped,
            Err(evidence) => {
                self.accuse(task, link, &evidence);
                Finished::Died
            }
        }
    }

    /// `None`: its memory could not be mapped here.
    fn read_lent_answer(&self, task: &Task, open: &Open, len: usize) -> Result<Option<Answer>, Evidence> {
        let link = &open.route.link;
        let mut payload = Vec::with_capacity(len);
        slot::read(&*link.memory, link.mine, open.slot, len, &mut payload);
        let mut read = Contents::read(link, &payload, true);
        if let Err(ReadError::Unknown(_)) = read {
            // The kernel process told of the arena before the replier could lend from it.
            let _ = self.settle(task);
            read = Contents::read(link, &payload, true);
        }
        match read {
            Ok(contents) if contents.is_lost() => Ok(None),
            Ok(contents) => {
                let is_complex = contents.is_complex();
                let (message, annex, leases) = contents.into_message();
                Ok(Some(Answer { message, is_complex, annex, leases }))
            }
            Err(ReadError::Broken(evidence)) => Err(evidence),
            Err(ReadError::Unknown(arena)) => Err(Evidence { rule: violation::LEASE, found: arena.into(), expected: 0 }),
        }
    }
}

/// Whether one more message may go out.
fn has_credit(route: &OutRoute, sending: &mut super::table::Sending) -> Result<bool, Evidence> {
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

/// What came of looking for an answer.
enum Look {
    Finished(Finished),
    /// Something is new.
    Again,
    /// Nothing is, and it was these words of the slot and of the kernel process.
    Sleep {
        seen: u32,
        control: u32,
    },
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

/// A call that waits for its answer in a slot.
pub(crate) struct Open {
    route: Arc<OutRoute>,
    slot: u32,
    generation: u32,
    /// To be rung if no answer comes at once.
    bell: Cell<Bell>,
}

impl Open {
    /// Link, slot and generation.
    pub(super) fn parts(&self) -> (Arc<Link>, u32, u32) {
        (self.route.link.clone(), self.slot, self.generation)
    }
}

/// An answer that came in a slot.
pub(crate) struct Answer {
    /// The Mach message, header still blank.
    pub(crate) message: smallvec::SmallVec<[u8; 128]>,
    pub(crate) is_complex: bool,
    pub(crate) annex: Vec<u8>,
    pub(crate) leases: Vec<Option<Borrowed>>,
}

/// How a call ended.
#[allow(clippy::large_enum_variant)] // the large one is the common one
pub(crate) enum Finished {
    Answered(Received),
    /// With memory, or long.
    Lent {
        id: i32,
        answer: Box<Answer>,
        peer: crate::received::Sender,
    },
    /// The request was dropped unanswered.
    Dropped,
    /// The peer is gone.
    Died,
    /// The answer comes to this port of ours.
    Moved(Name),
    /// The request was not taken: send it through the kernel process.
    NotTaken,
    Late,
}

impl Link {
    pub(super) fn sender(&self) -> crate::received::Sender {
        let super::table::Peer { task, pid, uid, gid } = self.peer;
        crate::received::Sender { task, pid, uid, gid }
    }
    /// A slot and its new generation, for the numbered message of a route.
    #[inline]
    fn begin_call(&self, route: u64, number: u32) -> Option<(u32, u32)> {
        let (slot, generation) = self.calls.lock().begin(route, number)?;
        if generation.is_multiple_of(slot::GIVEN_UP_STEP) {
            // All before it are over; nobody has to be told now.
            slot::give_up(&*self.memory, self.mine, slot, generation - 1);
        }
        Some((slot, generation))
    }
    /// The word of a slot in which the peer answers.
    #[inline]
    pub(super) fn slot_word(&self, at: u32) -> &std::sync::atomic::AtomicU32 {
        umach_link::Memory::word(&*self.memory, slot::word_at(1 - self.mine, at))
    }
}
