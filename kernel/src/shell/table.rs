//! What the shell knows beside one of the core's ids. The core numbers its things densely, so this is an array, not a map; a stale id (an
//! event that was already on its way when the thing ended) finds nothing.

use crate::core::{Id, LaneId, RegionId, TaskId};

/// An id of the core.
pub(super) trait Key: Copy {
    /// Slot and generation.
    fn id(self) -> Id;
}

macro_rules! keys {
    ($($Id:ident),*) => {$(
        impl Key for $Id {
            fn id(self) -> Id {
                self.0
            }
        }
    )*};
}
keys!(LaneId, TaskId, RegionId);

/// One `T` beside each id that has one.
#[derive(Debug)]
pub(super) struct Table<K, T> {
    rows: Vec<Option<(Id, T)>>,
    key: std::marker::PhantomData<K>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Table { rows: Vec::new(), key: std::marker::PhantomData }
    }
}

impl<K: Key, T> Table<K, T> {
    /// Puts `value` beside `key` and gives back what was there under the same slot.
    pub(super) fn insert(&mut self, key: K, value: T) -> Option<T> {
        let id = key.id();
        let index = id.index() as usize;
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, || None);
        }
        self.rows[index].replace((id, value)).map(|(_, value)| value)
    }

    /// What is beside `key`.
    pub(super) fn get(&self, key: K) -> Option<&T> {
        match self.rows.get(key.id().index() as usize) {
            Some(Some((id, value))) if *id == key.id() => Some(value),
            _ => None,
        }
    }

    /// What is beside `key`.
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        match self.rows.get_mut(key.id().index() as usize) {
            Some(Some((id, value))) if *id == key.id() => Some(value),
            _ => None,
        }
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        self.rows[key.id().index() as usize].take().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(index: u64, generation: u64) -> LaneId {
        LaneId::from_raw(generation << 32 | index)
    }

    #[test]
    fn id_of_an_older_generation_finds_nothing() {
        let mut table = Table::default();
        assert_eq!(table.insert(lane(3, 1), 'a'), None);
        assert_eq!((table.get(lane(3, 1)), table.get(lane(3, 2)), table.get(lane(9, 1))), (Some(&'a'), None, None));
        assert_eq!(table.remove(lane(3, 2)), None);
        assert_eq!(table.remove(lane(3, 1)), Some('a'));
        assert_eq!(table.insert(lane(3, 2), 'b'), None);
        assert_eq!(table.get_mut(lane(3, 1)), None);
        assert_eq!(table.get_mut(lane(3, 2)), Some(&mut 'b'));
    }
}
