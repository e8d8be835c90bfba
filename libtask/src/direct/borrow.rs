//! What a peer lends to this task: its arenas, as the kernel process tells of them, and leases of them that came with messages.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use umach_link::lease::{self, Lent};
use umach_link::{Foreign, Mapping};

use super::link::Link;

/// An arena of a peer's.
#[derive(Debug)]
pub(crate) struct PeerArena {
    len: u64,
    /// Absent if it could not be mapped here.
    memory: Option<Foreign>,
}

/// All arenas of a link's peer, by number.
#[derive(Default)]
pub(super) struct PeerArenas(RwLock<HashMap<u32, Arc<PeerArena>>>);

impl PeerArenas {
    pub(super) fn add(&self, number: u32, len: u64, memory: Option<Foreign>) {
        self.0.write().insert(number, Arc::new(PeerArena { len, memory }));
    }
    /// Leases of some of them are here.
    pub(super) fn are_borrowed(&self) -> bool {
        self.0.read().values().any(|arena| Arc::strong_count(arena) > 1)
    }
    pub(super) fn size_of(&self, number: u32) -> Option<u64> {
        self.0.read().get(&number).map(|arena| arena.len)
    }
}

/// A lease that came with a message. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Borrowed {
    arena: Arc<PeerArena>,
    at: Lent,
    link: Arc<Mapping>,
    mine: usize,
}

impl Borrowed {
    /// A lease whose place was checked. `answer`: it came with an answer, so its lender wants to know that it was taken.
    pub(super) fn take(link: &Link, at: Lent, answer: bool) -> Borrowed {
        let arena = link.lent_here.0.read().get(&at.arena).cloned().expect("a lease in an arena that is known");
        if answer {
            lease::taken(&*link.memory, link.mine, at.index, at.generation);
        }
        Borrowed { arena, at, link: link.memory.clone(), mine: link.mine }
    }
    pub(crate) fn len(&self) -> usize {
        self.at.len as usize
    }
    /// The memory it is in, if that could be mapped.
    pub(crate) fn memory(&self) -> Option<(&Foreign, u64)> {
        self.arena.memory.as_ref().map(|memory| (memory, self.at.offset))
    }
    /// A copy of its bytes.
    pub(crate) fn to_vec(&self) -> Option<Vec<u8>> {
        let (memory, at) = self.memory()?;
        let mut bytes = Vec::new();
        memory.append_to(at, self.len(), &mut bytes);
        Some(bytes)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        lease::done(&*self.link, self.mine, self.at.index, self.at.generation);
    }
}
