//! A space: a task's table of names.
//!
//! A name is a table index and a generation. Freed indices queue up and are taken again oldest first, and only when enough of them wait, so
//! that a stale name goes on meaning nothing for a long while. Indices far above the dense part of the table (a caller may choose any
//! name) live in a map, so a chosen name costs what any other costs.
//!
//! A send and a receive right to one port share a name; `reverse` finds it. Each send-once right has a name of its own and is not in
//! `reverse`. When a port dies, its id stops resolving; the entry turns into a dead name when somebody next looks at it
//! (`Core::refresh` in `rights.rs`).

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use umach_abi::limits::NAME_INDEX_MAX;
use umach_abi::{Name, TypeBits};

use super::port::{PortId, SetId};

/// Large chunks: a look-up in a space of a million names misses the TLB once less than with small ones.
const CHUNK: usize = 4096;
/// So many freed indices wait before the first of them is used again.
const RETIRED: usize = 32;
/// First generation, and the step between two: the low two bits are always set.
const FIRST_GENERATION: u8 = 0b11;
const STEP: u8 = 0b100;
/// A chosen index counts as near the table when it is no further above it than this.
const NEAR: u32 = 1024;
/// So many slots of the table are looked at for one page.
const PAGE_SLOTS: u32 = 16 * 1024;

/// What an entry refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// Dead names.
    None,
    Port(PortId),
    Set(SetId),
}

/// One name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) object: Object,
    /// Rights only; whether a request is registered is in `requested`.
    pub(super) bits: TypeBits,
    /// User references of the send right or dead name; 1 for send-once, 0 for a pure receive right or a set.
    pub(super) urefs: u16,
    /// A dead-name or send-possible request is registered with the port.
    pub(super) requested: bool,
}

impl Entry {
    pub(super) fn port(&self) -> Option<PortId> {
        match self.object {
            Object::Port(port) => Some(port),
            _ => None,
        }
    }
    pub(super) fn has(&self, bits: TypeBits) -> bool {
        self.bits.contains(bits)
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    entry: Entry,
    generation: u8,
    /// In the free queue already.
    queued: bool,
}

impl Slot {
    const FREE: Slot = Slot {
        entry: Entry { object: Object::None, bits: TypeBits::empty(), urefs: 0, requested: false },
        generation: FIRST_GENERATION,
        queued: false,
    };
    fn used(&self) -> bool {
        !self.entry.bits.is_empty()
    }
}

/// Why a chosen name cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// By an entry of the same generation.
    Same,
    /// By one of another generation, or it is index 0.
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Space {
    chunks: Vec<Vec<Slot>>,
    dense: u32,
    free: VecDeque<u32>,
    chosen: BTreeMap<u32, Slot>,
    reverse: HashMap<PortId, Name>,
    used: usize,
}

impl Space {
    pub(super) fn len(&self) -> usize {
        self.used
    }
    /// Indices are below this, in the dense part.
    pub(super) fn table_size(&self) -> u32 {
        self.dense
    }
    fn slot(&self, index: u32) -> Option<&Slot> {
        if index < self.dense {
            return self.chunks[index as usize / CHUNK].get(index as usize % CHUNK);
        }
        if self.chosen.is_empty() { None } else { self.chosen.get(&index) }
    }
    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        if index < self.dense {
            return self.chunks[index as usize / CHUNK].get_mut(index as usize % CHUNK);
        }
        self.chosen.get_mut(&index)
    }
    pub(super) fn get(&self, name: Name) -> Option<&Entry> {
        self.slot(name.index()).filter(|slot| slot.used() && slot.generation == name.generation()).map(|slot| &slot.entry)
    }
    pub(super) fn get_mut(&mut self, name: Name) -> Option<&mut Entry> {
        self.slot_mut(name.index()).filter(|slot| slot.used() && slot.generation == name.generation()).map(|slot| &mut slot.entry)
    }
    /// The name under which this space holds a send or receive right to `port`.
    pub(super) fn name_of(&self, port: PortId) -> Option<Name> {
        self.reverse.get(&port).copied()
    }
    fn push_slot(&mut self, slot: Slot) {
        if (self.dense as usize).is_multiple_of(CHUNK) {
            let room = if self.chunks.is_empty() { 8 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        self.chunks.last_mut().expect("just pushed").push(slot);
        self.dense += 1;
    }
    /// Finds a name for `entry`; `None` when all 2^24 are in use.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Name> {
        if self.dense == 0 {
            self.push_slot(Slot::FREE); // index 0 stays free: it would make the null name; the last index, the dead one
        }
        let index = loop {
            if self.free.len() > RETIRED || self.dense >= NAME_INDEX_MAX {
                let index = self.free.pop_front()?;
                let slot = self.slot_mut(index).expect("queued index is dense");
                slot.queued = false;
                if !slot.used() {
                    break index;
                }
            } else {
                let index = self.dense;
                // A name chosen earlier moves into the table as the table reaches it.
                let slot = self.chosen.remove(&index).unwrap_or(Slot::FREE);
                self.push_slot(slot);
                if !slot.used() {
                    break index;
                }
            }
        };
        let slot = self.slot_mut(index).expect("index is dense");
        slot.entry = entry;
        let name = Name::new(index, slot.generation);
        self.added(name, &entry);
        Some(name)
    }
    /// Puts `entry` under a chosen name.
    pub(super) fn insert_at(&mut self, name: Name, entry: Entry) -> Result<(), Taken> {
        self.vacant(name)?;
        match self.slot_mut(name.index()) {
            Some(slot) => (slot.entry, slot.generation) = (entry, name.generation()),
            None => {
                self.chosen.insert(name.index(), Slot { entry, generation: name.generation(), queued: false });
            }
        }
        self.added(name, &entry);
        Ok(())
    }
    /// Whether a chosen name can be had.
    pub(super) fn vacant(&self, name: Name) -> Result<(), Taken> {
        match self.slot(name.index()) {
            _ if name.index() == 0 => Err(Taken::Other),
            Some(slot) if slot.used() && slot.generation == name.generation() => Err(Taken::Same),
            Some(slot) if slot.used() => Err(Taken::Other),
            _ => Ok(()),
        }
    }
    fn added(&mut self, name: Name, entry: &Entry) {
        self.used += 1;
        if let (Object::Port(port), false) = (entry.object, entry.has(TypeBits::SEND_ONCE)) {
            self.reverse.insert(port, name);
        }
    }
    /// Frees a name; it must be in use.
    pub(super) fn remove(&mut self, name: Name) -> Entry {
        let index = name.index();
        let dense = index < self.dense;
        let slot = self.slot_mut(index).expect("name is in use");
        let entry = std::mem::replace(&mut slot.entry, Slot::FREE.entry);
        slot.generation = slot.generation.wrapping_add(STEP);
        if !dense {
            // Near the table, the generation is kept until the table reaches it: the name must not come back soon.
            if index >= self.dense.saturating_add(NEAR) {
                self.chosen.remove(&index);
            }
        } else if !slot.queued {
            slot.queued = true;
            self.free.push_back(index);
        }
        self.used -= 1;
        self.forget(name, &entry);
        entry
    }
    /// The entry no longer refers to its port.
    pub(super) fn forget(&mut self, name: Name, entry: &Entry) {
        if let (Object::Port(port), false) = (entry.object, entry.has(TypeBits::SEND_ONCE))
            && self.reverse.get(&port) == Some(&name)
        {
            self.reverse.remove(&port);
        }
    }
    /// At most `most` names in use from index `start` on, looking at a bounded part of the table; and where to go on (`None`: at the end).
    pub(super) fn page(&self, start: u32, most: usize) -> (Vec<Name>, Option<u32>) {
        let end = self.dense.min(start.saturating_add(PAGE_SLOTS));
        let mut names = Vec::new();
        for index in start..end {
            let Some(slot) = self.slot(index).filter(|slot| slot.used()) else { continue };
            if names.len() == most {
                return (names, Some(index));
            }
            names.push(Name::new(index, slot.generation));
        }
        if end < self.dense {
            return (names, Some(end));
        }
        for (&index, slot) in self.chosen.range(start.max(self.dense)..).filter(|(_, slot)| slot.used()) {
            if names.len() == most {
                return (names, Some(index));
            }
            names.push(Name::new(index, slot.generation));
        }
        (names, None)
    }
    /// Names in use from index `start` on, in index order.
    pub(super) fn iter_from(&self, start: u32) -> impl Iterator<Item = (Name, &Entry)> {
        let dense = (start..self.dense).filter_map(|index| self.slot(index).map(|slot| (index, slot)));
        let chosen = self.chosen.range(start.max(self.dense)..).map(|(&index, slot)| (index, slot));
        dense.chain(chosen).filter(|(_, slot)| slot.used()).map(|(index, slot)| (Name::new(index, slot.generation), &slot.entry))
    }
    /// For the checker: every send or receive right is found in reverse, and nothing else.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut mapped = 0;
        for (name, entry) in self.iter_from(0) {
            if let (Object::Port(port), false) = (entry.object, entry.has(TypeBits::SEND_ONCE)) {
                mapped += 1;
                if self.name_of(port) != Some(name) {
                    return Err(format!("name {name} of {port:?} is not found in reverse"));
                }
            }
        }
        if mapped != self.reverse.len() || self.iter_from(0).count() != self.used {
            return Err(format!("{mapped} of {} names mapped, {} in reverse", self.used, self.reverse.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Entry = Entry { object: Object::None, bits: TypeBits::DEAD_NAME, urefs: 1, requested: false };

    #[test]
    fn name_freed_means_nothing_and_its_index_rests() {
        let mut space = Space::default();
        let first = space.insert(DEAD).unwrap();
        assert_eq!((first.index(), first.generation() & 3), (1, 3));
        space.remove(first);
        for _ in 0..1000 {
            let name = space.insert(DEAD).unwrap();
            assert!(name != first && space.get(first).is_none());
            space.remove(name);
        }
        assert!(space.table_size() < 64);
    }

    #[test]
    fn chosen_names_cost_no_table_and_are_not_given_out_again() {
        let mut space = Space::default();
        let (far, near) = (Name::new(1 << 23, 7), Name::new(5, 3));
        space.insert_at(far, DEAD).unwrap();
        space.insert_at(near, DEAD).unwrap();
        assert_eq!(space.insert_at(near, DEAD), Err(Taken::Same));
        assert_eq!(space.insert_at(Name::new(5, 7), DEAD), Err(Taken::Other));
        assert_eq!(space.insert_at(Name::new(0, 123), DEAD), Err(Taken::Other));
        for _ in 0..50 {
            assert_ne!(space.insert(DEAD).unwrap().index(), 5);
        }
        assert!(space.get(far).is_some() && space.get(near).is_some() && space.table_size() < 64);
        space.check().unwrap();
    }

    #[test]
    fn chosen_name_freed_near_the_table_does_not_come_back_at_once() {
        let mut space = Space::default();
        let chosen = Name::new(12, 3);
        space.insert_at(chosen, DEAD).unwrap();
        space.remove(chosen);
        let names: Vec<_> = (0..20).map(|_| space.insert(DEAD).unwrap()).collect();
        assert!(names.iter().any(|name| name.index() == 12) && !names.contains(&chosen));
        space.check().unwrap();
    }

    #[test]
    fn choosing_and_freeing_over_and_over_keeps_the_queue_short() {
        let mut space = Space::default();
        let name = space.insert(DEAD).unwrap();
        space.remove(name);
        for _ in 0..1000 {
            space.insert_at(Name::new(1, 7), DEAD).unwrap();
            space.remove(Name::new(1, 7));
        }
        assert_eq!(space.free.len(), 1);
    }
}
