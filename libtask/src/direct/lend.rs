//! What this task lends to the peer of a link: its arenas, and what of them is out.
//!
//! A [`Room`] is a part of an arena that is being filled. Once it goes with a message it is *out* under an index and a generation, until the peer says
//! that it has done with it, or cannot have it any more: the message was not taken, its answer came too late, the link is over. Whoever may have to send
//! the message again holds the room too, so its bytes stay as they are.
//!
//! A peer that gives nothing back costs its lender the arenas of that one link, [`TOTAL_MAX`] bytes at most; memory to it then goes in regions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use umach_abi::control::{LinkArena, LinkArenaReady};
use umach_abi::link::lease::{ARENA_MAX, ARENAS};
use umach_abi::link::{self, LEASES, bell, counter};
use umach_link::lease::{self, GENERATIONS, Lent};
use umach_link::{Arena, Block, Memory};

use super::Plane;
use super::link::Link;
use crate::task::Task;
use crate::transport::Attached;

/// The first arena of a link has at least so many bytes; each next one twice as many as the last.
const ARENA_MIN: u64 = 1 << 20;
/// Bytes of all arenas of one link: two of the largest, and those on the way there.
const TOTAL_MAX: u64 = 256 << 20;

/// Bits of a bell's word that say how to ring.
const BELLS: u32 = 7;

/// A part of an arena. Its holder alone may write it until it is lent.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) block: Block,
    arena: u32,
    link: u64,
}

/// The lender's side of a link.
#[derive(Default)]
pub(super) struct Lender {
    state: Mutex<State>,
    /// Held while an arena is made.
    growing: Mutex<()>,
    /// Some of what is out went with an answer.
    answers: AtomicBool,
}

#[derive(Default)]
struct State {
    /// By number.
    arenas: Vec<Option<Arc<Arena>>>,
    out: Vec<Out>,
    /// Indices that are not out; the next one last.
    free: Vec<u32>,
    /// Of each index ever used, the newest.
    generations: Vec<u32>,
    /// The kernel process had no room for an arena of so many bytes.
    refused: Option<u64>,
    ended: bool,
}

/// A lease that the peer has, or may take.
struct Out {
    index: u32,
    generation: u32,
    /// Not free before the lease is back.
    _room: Arc<Room>,
    with: With,
}

/// Which message it goes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    Message { route: u64, number: u32 },
    Answer { slot: u32 },
}

impl State {
    fn take(&self, len: usize, link: u64) -> Option<Room> {
        // The oldest is the smallest, and the warmest.
        let arenas = self.arenas.iter().enumerate();
        let mut rooms = arenas.filter_map(|(n, arena)| Some((n as u32, arena.as_ref()?.take(len)?)));
        rooms.next().map(|(arena, block)| Room { block, arena, link })
    }
    fn total(&self) -> u64 {
        self.arenas.iter().flatten().map(|arena| arena.len()).sum()
    }
    /// How large the next arena is, if there is to be one.
    fn next(&self, len: usize) -> Option<u64> {
        let last = self.arenas.iter().flatten().map(|arena| arena.len()).max().unwrap_or(0);
        let size = (len as u64).checked_next_power_of_two()?.max(2 * last).clamp(ARENA_MIN, ARENA_MAX);
        let room = self.arenas.len() < ARENAS as usize && self.total() + size <= TOTAL_MAX && !self.ended;
        (room && size >= len as u64 && self.refused.is_none_or(|refused| size < refused)).then_some(size)
    }
}

impl Link {
    /// Room for `len` bytes that the peer can be lent, if there is some now.
    fn room(&self, len: usize) -> Option<Room> {
        self.reap();
        self.lender.state.lock().take(len, self.id)
    }
    /// Something is about to be published: who sleeps until then gets up. It looks for it for a while, and goes to sleep again if it does not come.
    pub(super) fn knock(&self) {
        if self.theirs(link::ARMED).load(Ordering::Acquire) & BELLS == bell::FUTEX {
            self.memory.wake(self.mine * link::HALF + link::TAIL);
        }
    }
    /// Takes note of what came back.
    fn reap(&self) {
        let mut back: SmallVec<[Out; 4]> = SmallVec::new();
        let mut state = self.lender.state.lock();
        let mut n = 0;
        while let Some(out) = state.out.get(n) {
            if lease::word(&*self.memory, 1 - self.mine, out.index) == (out.generation, true) {
                let out = state.out.swap_remove(n);
                state.free.push(out.index);
                back.push(out);
            } else {
                n += 1;
            }
        }
        drop(state);
        self.came_back(back.len());
    }
    fn came_back(&self, count: usize) {
        if count > 0 {
            self.count(counter::LEASES_BACK, count as u64);
        }
    }
    /// Takes back what the peer cannot have any more.
    fn take_back(&self, cannot_have: impl Fn(&Out) -> bool) {
        let mut state = self.lender.state.lock();
        let (back, out): (Vec<Out>, Vec<Out>) = std::mem::take(&mut state.out).into_iter().partition(|out| cannot_have(out));
        state.out = out;
        state.free.extend(back.iter().map(|out| out.index));
        drop(state);
        self.came_back(back.len());
    }
    /// Messages of a route behind the `taken`-th never arrived.
    pub(super) fn not_taken(&self, of: u64, taken: u32) {
        self.take_back(|out| matches!(out.with, With::Message { route, number } if route == of && number > taken));
    }
    /// The peer makes another call in this slot: what the answer to the last one lent is the peer's if it took it, and else is back.
    pub(super) fn slot_used_again(&self, at: u32) {
        if self.lender.answers.load(Ordering::Relaxed) {
            let peer = 1 - self.mine;
            self.take_back(|out| out.with == With::Answer { slot: at } && lease::word(&*self.memory, peer, out.index).0 != out.generation);
        }
    }
    /// Something is out, or about to be.
    pub(super) fn lends(&self) -> bool {
        self.reap();
        let state = self.lender.state.lock();
        !state.out.is_empty() || state.arenas.iter().flatten().any(|arena| Arc::strong_count(arena) > 1)
    }
    /// The link is over.
    pub(super) fn stop_lending(&self) {
        let mut state = self.lender.state.lock();
        state.ended = true;
        let gone = (std::mem::take(&mut state.out), std::mem::take(&mut state.arenas));
        drop(state);
        gone.1.iter().flatten().for_each(|arena| arena.end());
    }
    /// Puts rooms out for a message that is about to be published.
    fn put_out(&self, rooms: &[Arc<Room>]) -> Option<SmallVec<[Lent; 2]>> {
        let mut state = self.lender.state.lock();
        if state.ended || state.out.len() + rooms.len() > LEASES {
            return None;
        }
        let lent = rooms.iter().map(|room| {
            let index = state.free.pop().unwrap_or_else(|| {
                state.generations.push(0);
                state.generations.len() as u32 - 1
            });
            let generation = state.generations[index as usize] % GENERATIONS + 1;
            state.generations[index as usize] = generation;
            state.out.push(Out { index, generation, _room: room.clone(), with: With::Nothing });
            Lent { arena: room.arena, index, generation, offset: room.block.offset(), len: room.block.len() as u32 }
        });
        Some(lent.collect())
    }
    fn set_with(&self, lent: &[Lent], with: With) {
        let mut state = self.lender.state.lock();
        for out in &mut state.out {
            if lent.iter().any(|lent| (lent.index, lent.generation) == (out.index, out.generation)) {
                out.with = with;
            }
        }
        drop(state);
        self.count(counter::LEASES, lent.len() as u64);
        self.count(counter::LENT_BYTES, lent.iter().map(|lent| u64::from(lent.len)).sum());
    }
}

/// Leases that are out for one message, and come back unless it is sent.
pub(super) struct Pledge {
    link: Arc<Link>,
    pub(super) lent: SmallVec<[Lent; 2]>,
    sent: bool,
}

impl Pledge {
    pub(super) fn new(link: &Arc<Link>, rooms: &[Arc<Room>]) -> Option<Pledge> {
        let lent = link.put_out(rooms)?;
        Some(Pledge { link: link.clone(), lent, sent: false })
    }
    pub(super) fn is_for(&self, link: &Arc<Link>) -> bool {
        Arc::ptr_eq(&self.link, link)
    }
    /// The message was published as the numbered one of its route, whose sending lock is held.
    pub(super) fn sent(&mut self, route: u64, number: u32) {
        self.sent = true;
        self.link.set_with(&self.lent, With::Message { route, number });
    }
    /// It is about to be written as the answer in a slot, whose lock is held.
    pub(super) fn answers(&mut self, slot: u32) {
        self.sent = true;
        self.link.lender.answers.store(true, Ordering::Relaxed);
        self.link.set_with(&self.lent, With::Answer { slot });
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        if !self.sent && !self.lent.is_empty() {
            let ours = |out: &Out| self.lent.iter().any(|lent| (lent.index, lent.generation) == (out.index, out.generation));
            let mut state = self.link.lender.state.lock();
            let (back, out): (Vec<Out>, Vec<Out>) = std::mem::take(&mut state.out).into_iter().partition(ours);
            state.out = out;
            state.free.extend(back.iter().map(|out| out.index));
        }
    }
}

impl Room {
    pub(super) fn is_of(&self, link: &Link) -> bool {
        self.link == link.id
    }
}

impl Plane {
    /// Room for `len` bytes to be lent to the peer of a link, if need be in a new arena. To be called with no lane and no lock held.
    pub(super) fn room(&self, task: &Task, link: &Arc<Link>, len: usize) -> Option<Room> {
        if link.is_down() || len > u32::MAX as usize {
            return None;
        }
        if let Some(room) = link.room(len) {
            return Some(room);
        }
        let _one = link.lender.growing.lock();
        if let Some(room) = link.room(len) {
            return Some(room);
        }
        let size = link.lender.state.lock().next(len)?;
        self.grow(task, link, size);
        link.room(len)
    }

    fn grow(&self, task: &Task, link: &Link, size: u64) {
        let made = task.request(&LinkArena { link: link.id, size }, |answer, attached| (answer.arena, attached.pop()));
        let (number, fd) = match made {
            Ok(Ok((number, Some(Attached::Fd(fd))))) => (number, fd),
            other => {
                tracing::debug!(task = task.id(), size, refused = ?other.map(|other| other.err()), "no arena");
                link.lender.state.lock().refused = Some(size);
                return;
            }
        };
        let arena = Arena::new(&fd, size);
        if let Err(why) = &arena {
            tracing::warn!(task = task.id(), %why, "an arena cannot be used");
        }
        let ready = arena.is_ok() && matches!(task.request(&LinkArenaReady { link: link.id, arena: number }, |_, _| ()), Ok(Ok(())));
        let mut state = link.lender.state.lock();
        let at = number as usize;
        if at >= state.arenas.len() && at < ARENAS as usize {
            state.arenas.resize(at + 1, None);
        }
        if ready && !state.ended && at < state.arenas.len() {
            state.arenas[at] = arena.ok();
        }
    }
}
