//! Calls over links: a request in the ring, and its answer in a slot.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use smallvec::SmallVec;
use umach_abi::Name;
use umach_abi::link::{self, SLOTS, bell, counter};
use umach_abi::records::violation;
use umach_link::lease::ReadError;
use umach_link::{Bell, Evidence, Memory, slot};

use super::borrow::Borrowed;
use super::contents::Contents;
use super::link::Link;
use super::route::OutRoute;
use super::send::{Carry, Lazy, Patience, Sent, Try, Until};
use super::{Plane, wait};
use crate::error::Result;
use crate::received::{Received, Sender};
use crate::task::Task;

/// A slot's word holds a generation above two bits of state.
const GENERATION_MAX: u32 = u32::MAX >> 2;

/// This task's open calls over one link, one for each slot in use.
#[derive(Default)]
pub(super) struct Calls {
    /// Free slots, the next one last.
    free: Vec<u32>,
    /// Of each slot ever used, the newest.
    generations: Vec<u32>,
    pub(super) open: OpenCalls,
}

/// By slot.
#[derive(Default)]
pub(super) struct OpenCalls(Vec<Option<Call>>);

impl OpenCalls {
    pub(super) fn get(&self, slot: u32) -> Option<&Call> {
        self.0.get(slot as usize)?.as_ref()
    }
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Call> {
        self.0.get_mut(slot as usize)?.as_mut()
    }
    pub(super) fn values(&self) -> impl Iterator<Item = &Call> {
        self.0.iter().flatten()
    }
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.0.iter_mut().flatten()
    }
}

/// A call that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) generation: u32,
    pub(super) route: u64,
    /// Which message of the route it is.
    pub(super) number: u32,
    /// The kernel process has the request: if the receiver does not take it, it is mail, and the reply moves.
    pub(super) ticket: bool,
    pub(super) fate: Fate,
}

/// What became of a call other than being answered in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// The answer comes as a message to this port, which is this task's.
    Moved(Name),
    /// The route was closed before the request was taken.
    NotTaken,
    /// The request was with the kernel process when the receiver died: the answer will come to a port, if it still was.
    Moving,
    /// The link is over.
    Died,
}

impl Calls {
    /// A slot and its new generation, for the numbered message of a route.
    pub(super) fn begin(&mut self, route: u64, number: u32) -> Option<(u32, u32)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.generations.len() < SLOTS => {
                self.generations.push(0);
                self.open.0.push(None);
                self.generations.len() as u32 - 1
            }
            None => return None,
        };
        let generation = &mut self.generations[slot as usize];
        *generation = (*generation % GENERATION_MAX) + 1;
        let generation = *generation;
        self.open.0[slot as usize] = Some(Call { generation, route, number, ticket: false, fate: Fate::Open });
        Some((slot, generation))
    }
    pub(super) fn end(&mut self, slot: u32) -> Option<Call> {
        let call = self.open.0.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(call)
    }
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

/// A call that waits for its answer in a slot.
pub(crate) struct Open {
    pub(super) route: Arc<OutRoute>,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// To be rung if no answer comes at once.
    pub(super) bell: Cell<Bell>,
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
    pub(crate) message: SmallVec<[u8; 128]>,
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
        peer: Sender,
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

impl Plane {
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

impl Link {
    /// A slot and its new generation, for the numbered message of a route.
    #[inline]
    pub(super) fn begin_call(&self, route: u64, number: u32) -> Option<(u32, u32)> {
        let (slot, generation) = self.calls.lock().begin(route, number)?;
        if generation.is_multiple_of(slot::GIVEN_UP_STEP) {
            // All before it are over; nobody has to be told now.
            slot::give_up(&*self.memory, self.mine, slot, generation - 1);
        }
        Some((slot, generation))
    }

    /// The word of a slot in which the peer answers.
    #[inline]
    pub(super) fn slot_word(&self, at: u32) -> &AtomicU32 {
        self.memory.word(slot::word_at(1 - self.mine, at))
    }
}
