//! Tables with stable indices and generations.
//!
//! Slots live in chunks, so growing copies little (the first chunk only) and no insertion takes long. A freed slot goes to the *end*
//! of the free list and its generation rises: an id is never used again before 2^32 reuses of its slot.

use std::fmt;
use std::ops::{Index, IndexMut};

const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
const END: u32 = u32::MAX;

/// A slot and the generation it was given out in. Generations start at 1, so no id is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Id {
    /// As one number.
    pub fn to_raw(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
    /// From one number.
    pub fn from_raw(raw: u64) -> Id {
        Id { index: raw as u32, generation: (raw >> 32) as u32 }
    }
    /// The slot.
    pub fn index(self) -> u32 {
        self.index
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Free { next: u32 },
    Used(T),
}

/// A table of `T`.
#[derive(Debug)]
pub struct Arena<T> {
    chunks: Vec<Vec<Slot<T>>>,
    len: usize,
    slots: u32,
    free_head: u32,
    free_tail: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { chunks: Vec::new(), len: 0, slots: 0, free_head: END, free_tail: END }
    }
}

impl<T> Arena<T> {
    /// How many are in use.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Slots ever made; indices are below it.
    pub fn slots(&self) -> u32 {
        self.slots
    }
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        self.chunks.get((index >> CHUNK_BITS) as usize)?.get(index as usize % CHUNK)
    }
    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.chunks.get_mut((index >> CHUNK_BITS) as usize)?.get_mut(index as usize % CHUNK)
    }
    /// Adds `value`.
    pub fn insert(&mut self, value: T) -> Id {
        self.len += 1;
        if self.free_head != END {
            let index = self.free_head;
            let slot = self.slot_mut(index).expect("free slot exists");
            let Content::Free { next } = slot.content else { unreachable!("slot on the free list is free") };
            slot.content = Content::Used(value);
            let generation = slot.generation;
            self.free_head = next;
            if next == END {
                self.free_tail = END;
            }
            return Id { index, generation };
        }
        let index = self.slots;
        self.slots += 1;
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first chunk grows as it fills, so that small tables stay small.
            let room = if self.chunks.is_empty() { 4 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        self.chunks.last_mut().expect("just pushed").push(Slot { generation: 1, content: Content::Used(value) });
        Id { index, generation: 1 }
    }
    /// Takes it out.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.slot_mut(id.index)?;
        if slot.generation != id.generation || matches!(slot.content, Content::Free { .. }) {
            return None;
        }
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        let Content::Used(value) = std::mem::replace(&mut slot.content, Content::Free { next: END }) else { unreachable!() };
        self.len -= 1;
        match self.free_tail {
            END => self.free_head = id.index,
            tail => self.slot_mut(tail).expect("tail exists").content = Content::Free { next: id.index },
        }
        self.free_tail = id.index;
        Some(value)
    }
    /// Looks it up.
    pub fn get(&self, id: Id) -> Option<&T> {
        match self.slot(id.index)? {
            Slot { generation, content: Content::Used(value) } if *generation == id.generation => Some(value),
            _ => None,
        }
    }
    /// Looks it up.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        match self.slot_mut(id.index)? {
            Slot { generation, content: Content::Used(value) } if *generation == id.generation => Some(value),
            _ => None,
        }
    }
    /// All in use, from slot `start` on, in slot order.
    pub fn iter_from(&self, start: u32) -> impl Iterator<Item = (Id, &T)> {
        (start..self.slots).filter_map(|index| match self.slot(index)? {
            Slot { generation, content: Content::Used(value) } => Some((Id { index, generation: *generation }, value)),
            _ => None,
        })
    }
    /// All in use.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.iter_from(0)
    }
}

impl<T> Index<Id> for Arena<T> {
    type Output = T;
    fn index(&self, id: Id) -> &T {
        self.get(id).expect("id stands for something")
    }
}

impl<T> IndexMut<Id> for Arena<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        self.get_mut(id).expect("id stands for something")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_removed_stands_for_nothing_even_after_reuse() {
        let mut arena = Arena::default();
        let a = arena.insert(1);
        assert_eq!(arena.remove(a), Some(1));
        assert_eq!(arena.remove(a), None);
        let b = arena.insert(2);
        assert_eq!((a.index, arena.get(a), arena.get(b)), (b.index, None, Some(&2)));
    }

    #[test]
    fn freed_slots_are_reused_oldest_first() {
        let mut arena = Arena::default();
        let ids: Vec<_> = (0..300).map(|i| arena.insert(i)).collect();
        for &id in &ids[10..20] {
            arena.remove(id);
        }
        for expected in 10..20 {
            assert_eq!(arena.insert(0).index, expected);
        }
        assert_eq!((arena.len(), arena.slots()), (300, 300));
    }
}
