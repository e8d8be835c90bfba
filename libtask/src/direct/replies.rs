//! Replies that this task owes in slots: send-once rights that the kernel process does not know.
//!
//! Each has a name, as a right must, from the top of the range of names, where the kernel process gives none. It is made an ordinary right when it
//! is given to a third task, or asked about.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use slab::Slab;
use umach_abi::Name;
use umach_abi::control::ReplyExplicit;
use umach_abi::limits::NAME_INDEX_MAX;
use umach_abi::link::counter;
use umach_link::slot;

use super::Plane;
use super::send::Carry;
use super::table::Link;
use super::watch::CallerWatch;
use crate::error::Result;
use crate::task::Task;

/// Names from this index on are this module's.
const FIRST: u32 = NAME_INDEX_MAX - (1 << 20) + 1;

/// An answer that is owed in a slot.
pub(crate) struct Owed {
    link: Arc<Link>,
    slot: u32,
    generation: u32,
}

impl Owed {
    pub(super) fn new(link: Arc<Link>, slot: u32, generation: u32) -> Owed {
        Owed { link, slot, generation }
    }
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }
    /// To see whether the caller gives up.
    pub(crate) fn watch(&self) -> CallerWatch {
        CallerWatch::new(self.link.clone(), self.slot, self.generation)
    }
}

/// One that has a name.
struct Named {
    owed: Owed,
    /// Distinguishes names that use one entry one after the other.
    turn: u8,
}

#[derive(Default)]
pub(super) struct Replies {
    owed: Mutex<(Slab<Named>, u8)>,
    /// Names of this module's whose rights the kernel process knows by now, and by which names.
    made: Mutex<HashMap<Name, Name>>,
}

fn place_of(name: Name) -> Option<usize> {
    (name.is_valid() && name.index() >= FIRST).then(|| (name.index() - FIRST) as usize)
}

impl Replies {
    pub(super) fn add(&self, owed: Owed) -> Name {
        let (all, turn) = &mut *self.owed.lock();
        *turn = turn.wrapping_add(1);
        let at = all.insert(Named { owed, turn: *turn });
        // Index in the upper 24 bits; the low byte would be the generation of an ordinary name.
        Name((FIRST + at as u32) << 8 | *turn as u32)
    }

    fn take(&self, name: Name) -> Option<Owed> {
        let (owed, _) = &mut *self.owed.lock();
        let at = place_of(name)?;
        if owed.get(at)?.turn != name.0 as u8 {
            return None;
        }
        owed.try_remove(at).map(|named| named.owed)
    }
}

impl Plane {
    /// Whether the name is a reply owed in a slot.
    pub(crate) fn owes(&self, name: Name) -> bool {
        match place_of(name) {
            Some(at) => self.replies.owed.lock().0.get(at).is_some_and(|owed| owed.turn == name.0 as u8),
            None => false,
        }
    }

    /// The link over which a reply is owed.
    pub(super) fn owed_over(&self, name: Name) -> Option<Arc<Link>> {
        let at = place_of(name)?;
        let owed = self.replies.owed.lock();
        owed.0.get(at).filter(|named| named.turn == name.0 as u8).map(|named| named.owed.link.clone())
    }

    /// To see whether the caller gives up, if the name is one of these.
    pub(crate) fn watch_owed(&self, name: Name) -> Option<CallerWatch> {
        let at = place_of(name)?;
        let owed = self.replies.owed.lock();
        owed.0.get(at).filter(|named| named.turn == name.0 as u8).map(|named| named.owed.watch())
    }

    /// Gives it a name, as a right of its own.
    pub(crate) fn name_reply(&self, owed: Owed) -> Name {
        self.replies.add(owed)
    }

    /// Answers in the slot. Too late is as good as done.
    pub(crate) fn reply(&self, task: &Task, owed: &Owed, id: i32, carry: &mut Carry<'_>) {
        let Owed { link, slot, generation } = owed;
        let newest = link.owed[*slot as usize].lock();
        if *newest == *generation && !link.is_down() && carry.fits(link) {
            if let Carry::Lent(lending) = carry {
                lending.pledge.answers(*slot);
            }
            let (payload, kind) = (carry.payload(), carry.kinds().1);
            let bell = slot::answer(&*link.memory, link.mine, *slot, *generation, id as u32, kind, &payload);
            link.count(counter::MESSAGES, 1);
            link.count(counter::BYTES, carry.len() as u64);
            drop(newest);
            link.ring(bell);
            self.ring_due(task);
        }
    }

    /// Answers in the slot; false if the name is none of these.
    pub(crate) fn reply_to(&self, task: &Task, name: Name, id: i32, carry: &mut Carry<'_>) -> bool {
        let owed = self.replies.take(name);
        owed.inspect(|owed| self.reply(task, owed, id, carry)).is_some()
    }

    /// No answer will come: the caller is told.
    pub(crate) fn drop_owed(&self, task: &Task, owed: &Owed) {
        owed.link.answer_dropped(owed.slot, owed.generation);
        self.ring_due(task);
    }

    /// Drops the right unused: the caller is told. False if the name is none of these.
    pub(crate) fn drop_reply(&self, task: &Task, name: Name) -> bool {
        let owed = self.replies.take(name);
        owed.inspect(|owed| self.drop_owed(task, owed)).is_some()
    }

    /// The name under which the kernel process knows the right, which is made known to it now if it was not; `None` if the name is none of
    /// these.
    pub(crate) fn make_explicit(&self, task: &Task, name: Name) -> Result<Option<Name>> {
        let Some(Owed { link, slot, generation }) = self.replies.take(name) else {
            return Ok(place_of(name).and_then(|_| self.replies.made.lock().get(&name).copied()));
        };
        let call = ReplyExplicit { link: link.id, slot, generation };
        let known = match task.request(&call, |answer, _| answer.name)? {
            Ok(known) => known,
            Err(code) => {
                if !link.is_down() {
                    tracing::warn!(%code, "a reply could not be made an ordinary right: its caller is told that there is none");
                    link.answer_dropped(slot, generation);
                }
                Name::DEAD
            }
        };
        // From here on the slot is not to be answered.
        let mut newest = link.owed[slot as usize].lock();
        if *newest == generation {
            *newest = generation | 1 << 31;
        }
        drop(newest);
        self.replies.made.lock().insert(name, known);
        Ok(Some(known))
    }

    /// The right with this name is used up or given back: the name that the kernel process knows, if it knows one.
    pub(crate) fn forget_reply(&self, name: Name) -> Option<Name> {
        place_of(name)?;
        self.replies.made.lock().remove(&name)
    }
}
