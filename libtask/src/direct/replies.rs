//! Replies that this task owes in slots: send-once rights that the kernel process does not know.
//!
//! Each has a name, as a right must, from the top of the range of names, where the kernel process gives none. It is made an ordinary right, under that name,
//! when it is given to a third task, or asked about in a way that only the kernel process can answer. Its entry here stays until it is used up, so that the
//! name is not given out twice.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use umach_abi::control::{PortType, ReplyExplicit};
use umach_abi::limits::NAME_INDEX_MAX;
use umach_abi::link::counter;
use umach_abi::{Code, Name, TypeBits};
use umach_link::slot;

use super::Plane;
use super::link::Link;
use super::send::Carry;
use super::watch::CallerWatch;
use crate::error::Result;
use crate::task::Task;

/// Names from this index on are this module's.
const FIRST: u32 = NAME_INDEX_MAX - (1 << 20) + 1;
/// So many entries rest before the first of them is used again, as in the kernel process.
const RETIRED: usize = 32;

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

/// What a name of this module's stands for.
enum Held {
    /// The kernel process does not know it.
    Owed(Owed),
    /// It does, by this name: the same one, unless that was taken. The null name: it is being told.
    Known(Name),
    /// It could not have it: a dead name.
    Dead,
}

/// What the kernel process does not know.
#[derive(Default)]
pub(crate) struct Unknown {
    /// Rights by name, with what they are and the task that would be answered.
    pub(crate) rights: Vec<(Name, TypeBits, u64)>,
    /// Rights that it knows by other names: its names, and this task's.
    pub(crate) renamed: Vec<(Name, Name)>,
}

#[derive(Default)]
struct Entry {
    held: Option<Held>,
    /// Distinguishes names that use one entry one after the other.
    turn: u8,
}

impl Entry {
    fn name(&self, at: usize) -> Name {
        // As the kernel process's names: the low two bits are set.
        Name::new(FIRST + at as u32, self.turn << 2 | 3)
    }
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    free: VecDeque<u32>,
}

impl Table {
    fn get(&mut self, name: Name) -> Option<&mut Option<Held>> {
        let entry = self.entries.get_mut(place_of(name)?)?;
        (entry.turn << 2 | 3 == name.generation() && entry.held.is_some()).then_some(&mut entry.held)
    }
    fn add(&mut self, held: Held) -> Name {
        let at = if self.free.len() > RETIRED { self.free.pop_front() } else { None };
        let at = at.map_or(self.entries.len(), |at| at as usize);
        if at == self.entries.len() {
            self.entries.push(Entry::default());
        }
        let entry = &mut self.entries[at];
        entry.held = Some(held);
        entry.name(at)
    }
    fn remove(&mut self, name: Name) -> Option<Held> {
        let held = self.get(name)?.take();
        let at = place_of(name)?;
        self.entries[at].turn = (self.entries[at].turn + 1) & 0x3f;
        self.free.push_back(at as u32);
        held
    }
    fn owed(&mut self, name: Name) -> Option<&Owed> {
        match self.get(name)? {
            Some(Held::Owed(owed)) => Some(owed),
            _ => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Replies {
    table: Mutex<Table>,
    /// Held while the kernel process is told of one.
    telling: Mutex<()>,
    /// Names of rights that the kernel process knows and that may have ended there.
    unsure: Mutex<Vec<Name>>,
}

fn place_of(name: Name) -> Option<usize> {
    (name.is_valid() && name.index() >= FIRST).then(|| (name.index() - FIRST) as usize)
}

impl Replies {
    pub(super) fn add(&self, owed: Owed) -> Name {
        self.table.lock().add(Held::Owed(owed))
    }

    /// Takes it out if the kernel process does not know it.
    fn take(&self, name: Name) -> Option<Owed> {
        place_of(name)?;
        let mut table = self.table.lock();
        table.owed(name)?;
        match table.remove(name) {
            Some(Held::Owed(owed)) => Some(owed),
            _ => None,
        }
    }
}

impl Plane {
    /// Whether the name is a reply owed in a slot.
    pub(crate) fn owes(&self, name: Name) -> bool {
        place_of(name).is_some() && self.replies.table.lock().owed(name).is_some()
    }

    /// What the name stands for, if it is a right that the kernel process does not know.
    pub(crate) fn type_of_reply(&self, task: &Task, name: Name) -> Option<TypeBits> {
        place_of(name)?;
        // Its caller may have died; and if nobody can say, it is as it was.
        let _ = self.look(task);
        match self.replies.table.lock().get(name)? {
            Some(held) => kind_of(held),
            None => None,
        }
    }

    /// What the kernel process does not know of the names that this module gave out.
    pub(crate) fn unknown_replies(&self, task: &Task) -> Unknown {
        let _ = self.look(task);
        let Unknown { mut rights, mut renamed } = Unknown::default();
        // Those that are just being made known are so after this.
        drop(self.replies.telling.lock());
        for (at, entry) in self.replies.table.lock().entries.iter().enumerate() {
            match &entry.held {
                Some(Held::Known(known)) if *known != entry.name(at) => renamed.push((*known, entry.name(at))),
                Some(held) => {
                    let peer = if let Held::Owed(owed) = held { owed.link.peer.task } else { 0 };
                    rights.extend(kind_of(held).map(|kind| (entry.name(at), kind, peer)));
                }
                None => {}
            }
        }
        Unknown { rights, renamed }
    }

    /// The link over which a reply is owed.
    pub(super) fn owed_over(&self, name: Name) -> Option<Arc<Link>> {
        place_of(name)?;
        self.replies.table.lock().owed(name).map(|owed| owed.link.clone())
    }

    /// To see whether the caller gives up, if the name is one of these.
    pub(crate) fn watch_owed(&self, name: Name) -> Option<CallerWatch> {
        place_of(name)?;
        self.replies.table.lock().owed(name).map(Owed::watch)
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
        if place_of(name).is_none() {
            return false;
        }
        self.await_told(name);
        if let Some(owed) = self.replies.take(name) {
            self.drop_owed(task, &owed);
            return true;
        }
        let mut table = self.replies.table.lock();
        let dead = matches!(table.get(name), Some(Some(Held::Dead)));
        dead && table.remove(name).is_some()
    }

    /// The name under which the kernel process knows the right, which is made known to it now if it was not; `None` if the name is none of
    /// these. A right that it cannot have is dead from then on, and its caller is told that there is no answer.
    pub(crate) fn make_explicit(&self, task: &Task, name: Name) -> Result<Option<Name>> {
        if place_of(name).is_none() { Ok(None) } else { self.tell_of(task, name, false) }
    }

    /// Makes the replies that a message to this task's own control port may be about known to the kernel process: those that it names, or all if it asks
    /// for all names. One that cannot be made known stays as it is.
    pub(crate) fn make_mentioned_explicit(&self, task: &Task, id: i32, body: &[u8]) -> Result<()> {
        /// `mach_port_names`, `mach_port_space_info`, `mach_port_space_basic_info`.
        const LISTINGS: [i32; 3] = [3200, 3223, 3235];
        let mentioned = |name: &Name| LISTINGS.contains(&id) || body.chunks_exact(4).any(|word| word == name.0.to_le_bytes());
        let names: Vec<Name> = {
            let table = self.replies.table.lock();
            let held = |(at, entry): (usize, &Entry)| entry.held.as_ref().map(|_| entry.name(at));
            table.entries.iter().enumerate().filter_map(held).filter(mentioned).collect()
        };
        for &name in &names {
            self.tell_of(task, name, true)?;
        }
        // What is asked may be to end them.
        names.into_iter().for_each(|name| self.doubt_reply(name));
        Ok(())
    }

    /// Tells the kernel process of a reply if it does not know it: by which name it does then. `None`: there is none of this name, or (if it is to be kept
    /// then) it cannot be told.
    fn tell_of(&self, task: &Task, name: Name, keep: bool) -> Result<Option<Name>> {
        let _telling = self.replies.telling.lock();
        self.forget_ended(task)?;
        let owed = {
            let mut table = self.replies.table.lock();
            match table.get(name) {
                None => return Ok(None),
                Some(Some(Held::Known(known))) => return Ok(Some(*known)),
                Some(Some(Held::Dead) | None) => return Ok(Some(Name::DEAD)),
                Some(held) => match held.replace(Held::Known(Name::NULL)) {
                    Some(Held::Owed(owed)) => owed,
                    _ => unreachable!("just seen"),
                },
            }
        };
        let Owed { link, slot, generation } = &owed;
        let call = ReplyExplicit { link: link.id, slot: *slot, generation: *generation, wanted: name };
        let (held, known) = match task.request(&call, |answer, _| answer.name) {
            Err(failed) => (Held::Owed(owed), Err(failed)),
            Ok(Ok(known)) => {
                // From here on the slot is not to be answered.
                let mut newest = link.owed[*slot as usize].lock();
                if *newest == *generation {
                    *newest = generation | 1 << 31;
                }
                drop(newest);
                (Held::Known(known), Ok(Some(known)))
            }
            Ok(Err(_)) if keep => (Held::Owed(owed), Ok(None)),
            Ok(Err(code)) => {
                if !link.is_down() {
                    tracing::warn!(%code, "a reply could not be made an ordinary right: its caller is told that there is none");
                    link.answer_dropped(*slot, *generation);
                }
                (Held::Dead, Ok(Some(Name::DEAD)))
            }
        };
        if let Some(entry) = self.replies.table.lock().get(name) {
            *entry = Some(held);
        }
        known
    }

    /// Until nobody is telling the kernel process of it.
    fn await_told(&self, name: Name) {
        let is_told = |replies: &Replies| !matches!(replies.table.lock().get(name), Some(Some(Held::Known(Name::NULL))));
        while !is_told(&self.replies) {
            drop(self.replies.telling.lock());
        }
    }

    /// Entries of rights that have ended at the kernel process without this side's doing are used again.
    fn forget_ended(&self, task: &Task) -> Result<()> {
        let unsure = std::mem::take(&mut *self.replies.unsure.lock());
        for name in unsure {
            let known = match self.replies.table.lock().get(name) {
                Some(Some(Held::Known(known))) => *known,
                _ => continue,
            };
            let call = PortType { task: task.0.task_self, name: known };
            if task.request(&call, |_, _| ())? == Err(Code::KERN_INVALID_NAME) {
                self.replies.table.lock().remove(name);
            }
        }
        Ok(())
    }

    /// The right with this name may have been used up.
    pub(crate) fn doubt_reply(&self, name: Name) {
        if place_of(name).is_some() {
            self.replies.unsure.lock().push(name);
        }
    }

    /// The right with this name is used up or given back: the name by which the kernel process knows it, if it does.
    pub(crate) fn forget_reply(&self, name: Name) -> Option<Name> {
        place_of(name)?;
        self.await_told(name);
        let mut table = self.replies.table.lock();
        if matches!(table.get(name), Some(Some(Held::Owed(_)))) {
            return None;
        }
        match table.remove(name)? {
            Held::Known(known) => Some(known),
            _ => Some(Name::DEAD),
        }
    }
}

/// What a right that the kernel process does not know is; `None` if it does.
fn kind_of(held: &Held) -> Option<TypeBits> {
    match held {
        Held::Owed(owed) if owed.link.is_down() => Some(TypeBits::DEAD_NAME),
        Held::Owed(_) => Some(TypeBits::SEND_ONCE),
        Held::Dead => Some(TypeBits::DEAD_NAME),
        Held::Known(_) => None,
    }
}
