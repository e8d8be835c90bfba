//! What futures wait for, looked at without taking anything.
//!
//! A future leaves one of these with its task's hub ([`crate::aio`]). Before that it has said how it wants to be rung for: through the kernel process, as
//! for a poller. Whoever hears the bell looks at each, which costs a few loads, and wakes only those whose time has come.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use umach_abi::Name;
use umach_abi::link::{self, bell};
use umach_link::slot;

use super::call::{Fate, Finished, Open};
use super::link::Link;
use super::route::OutRoute;
use super::{Plane, wait};
use crate::error::Result;
use crate::poller::Bell;
use crate::task::Task;

/// An answer that is to come in a slot.
pub(crate) struct AnswerWatch {
    link: Arc<Link>,
    slot: u32,
    generation: u32,
}

impl AnswerWatch {
    /// Whether something has become of the call.
    pub(crate) fn is_over(&self) -> bool {
        if slot::is_of(self.link.slot_word(self.slot).load(Ordering::Acquire), self.generation) {
            return true;
        }
        match self.link.calls.lock().open.get(self.slot) {
            Some(call) => call.generation != self.generation || !matches!(call.fate, Fate::Open | Fate::Moving),
            None => true,
        }
    }
}

/// Room for a message on a route.
pub(crate) struct RoomWatch {
    route: Arc<OutRoute>,
    credit: bool,
}

impl RoomWatch {
    /// Whether a send would not find it full.
    pub(crate) fn is_over(&self) -> bool {
        self.route.over.load(Ordering::Acquire) || self.route.link.is_down() || !self.route.is_full(self.credit)
    }
}

impl Drop for RoomWatch {
    fn drop(&mut self) {
        if self.credit {
            self.route.want_credit(true, false);
        } else {
            self.route.link.outbox.lock().ring.want_space_polled(false);
        }
    }
}

/// A call of the peer's that it may give up.
#[derive(Clone)]
pub(crate) struct CallerWatch {
    link: Arc<Link>,
    slot: u32,
    generation: u32,
}

impl CallerWatch {
    pub(super) fn new(link: Arc<Link>, slot: u32, generation: u32) -> CallerWatch {
        CallerWatch { link, slot, generation }
    }
    /// Whether the caller does not wait for the answer any more, or is gone. A hint: it is not seen any more once the slot is another call's.
    pub(crate) fn is_over(&self) -> bool {
        // That the slot is used again says less: the call may have been answered.
        self.link.is_down() || slot::is_given_up(&*self.link.memory, self.link.mine, self.slot, self.generation)
    }
}

impl OutRoute {
    fn is_full(&self, credit: bool) -> bool {
        if !credit {
            return self.link.outbox.lock().ring.space() < link::RECORD_HEAD + link::RECORD_MAX;
        }
        let seen = umach_link::credit::read(&*self.link.memory, 1 - self.link.mine, self.place() as u32);
        let mut outbox = self.outbox();
        let (_, sending) = outbox.of(self);
        sending.ahead(seen) >= self.limit && !sending.stopped
    }
}

impl Plane {
    /// Has the answer rung for.
    pub(crate) fn watch_answer(&self, open: &Open) -> AnswerWatch {
        let (link, slot, generation) = open.parts();
        slot::wait_flag(&*link.memory, link.mine, slot, bell::KERNEL);
        AnswerWatch { link, slot, generation }
    }

    /// What has become of a call, if something has. Does not wait.
    pub(crate) fn look_at_call(&self, task: &Task, open: &Open) -> Result<Option<Finished>> {
        self.look(task)?;
        Ok(self.poll_answer(task, open).or_else(|| match self.fate_of(open) {
            Fate::Open | Fate::Moving => None,
            Fate::Moved(name) => Some(Finished::Moved(name)),
            Fate::NotTaken => Some(Finished::NotTaken),
            // What was answered before the end is an answer.
            Fate::Died => Some(self.poll_answer(task, open).unwrap_or(Finished::Died)),
        }))
    }

    /// If the right has a route that is full, has room on it rung for.
    pub(crate) fn watch_room(&self, name: Name) -> Option<RoomWatch> {
        let route = self.route(name)?;
        let credit = route.is_full(true);
        if !credit && !route.is_full(false) {
            return None;
        }
        if credit {
            route.want_credit(true, true);
        } else {
            route.link.outbox.lock().ring.want_space_polled(true);
        }
        fence(Ordering::SeqCst);
        Some(RoomWatch { route, credit })
    }

    /// Whether a route leads from this right.
    pub(crate) fn has_route(&self, name: Name) -> bool {
        self.route(name).is_some()
    }

    /// Whether a message for this name is here, or an answer that counts as one.
    pub(crate) fn has_message(&self, name: Name) -> bool {
        self.place(name)
            .is_some_and(|place| place.has_messages() || place.pending_came() || self.warm.read().iter().any(|link| link.has_more()))
    }

    /// Looks for a message for this name as long as that pays, and no longer. True if something has come.
    pub(crate) fn linger(&self, name: Name) -> bool {
        let Some(place) = self.place(name) else { return false };
        let _looking = self.looking();
        let (warm, control, mail) = (self.warm.read().clone(), self.control_word(), self.mail_word());
        let near = |cpu: u32| self.partner.load(Ordering::Relaxed) == cpu.wrapping_add(1);
        let ready = || {
            warm.iter().any(|link| link.has_more()) || place.has_messages() || self.control_word() != control || self.mail_word() != mail
        };
        wait::look(near, None, ready)
    }

    /// What a future that came to sleeping learnt: see [`wait::learn`].
    pub(crate) fn learn(&self, slept: Duration) {
        wait::learn(slept);
    }

    /// Has the descriptor made readable by what comes from now on, and reads what has come, which may leave it unarmed again. Look at all that is waited for
    /// afterwards.
    pub(crate) fn arm_for_futures(&self, task: &Task, bell: &Bell) -> Result<()> {
        let warm = self.arm_links(bell);
        if self.is_active() {
            self.poll(task, &warm)?;
        }
        self.arm_pending();
        Ok(())
    }
}
